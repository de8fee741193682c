"""Make mappings/canaries.json from the scenarios: for every rule an order that fires it, and little else.

.venv/bin/python tests/canaries.py
"""

from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
from scenario import Json, Scenario, load_scenarios, render

from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import evaluate
from cdshooks.wire.hooks import read_call

TARGET = Path(__file__).parent.parent / "mappings" / "canaries.json"


def make_canaries() -> list[Json]:
    """For each rule the gravest order, which stays so when a threshold moves a little; of those the smallest."""
    knowledge = load_knowledge()
    fired: list[tuple[Scenario, frozenset[str], int]] = []
    for scenario in load_scenarios():
        body = orjson.dumps(render(scenario))
        call = read_call(scenario.service, body, max_depth=64, max_entries=10_000, prefetch_keys={})
        cards = evaluate(call, knowledge=knowledge, today=scenario.today, zone=ZoneInfo("UTC")).cards
        rules = {rule for card in cards for rule in card["extension"]["cmv-cds.finding"]["checks"]}
        gravest = max((("info", "warning", "critical").index(card["indicator"]) for card in cards), default=0)
        fired.append((scenario, frozenset(rules), gravest))
    every = sorted(set().union(*(rules for _, rules, _ in fired)))
    able = {rule: [entry for entry in fired if rule in entry[1]] for rule in every}
    chosen: list[Json] = []
    watched: set[str] = set()
    for rule in sorted(every, key=lambda rule: len(able[rule])):  # those that few orders fire bring others with them
        if rule in watched:
            continue
        scenario, fires, _ = min(able[rule], key=lambda entry: (-entry[2], len(orjson.dumps(render(entry[0])))))
        canary = {
            "name": scenario.name,
            "service": scenario.service,
            "today": scenario.today.isoformat(),
            "rules": sorted(fires - watched),
            "request": render(scenario),
        }
        chosen.append(canary)
        watched |= fires
    return chosen


if __name__ == "__main__":
    lines = b",\n".join(orjson.dumps(canary) for canary in make_canaries())
    TARGET.write_bytes(b"[\n" + lines + b"\n]\n")
