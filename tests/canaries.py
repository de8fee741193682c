"""Make mappings/canaries.json from the scenarios: for every rule an order that fires it, and little else.

.venv/bin/python tests/canaries.py
"""

from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
from scenario import Json, Scenario, load_scenarios, render

from cdshooks.medicine.knowledge import load_knowledge
from cdshooks.pipeline import evaluate
from cdshooks.wire.hooks import read_call

TARGET = Path(__file__).parent.parent / "mappings" / "canaries.json"


def make_canaries() -> list[Json]:
    """The chosen orders: the gravest, which stay so when a threshold moves a little; of those the simplest."""
    knowledge = load_knowledge()
    fired: list[tuple[Scenario, frozenset[str], int]] = []
    for scenario in load_scenarios():
        body = orjson.dumps(render(scenario))
        call = read_call(scenario.service, body, max_depth=64, max_entries=10_000, prefetch_keys={})
        cards = evaluate(call, knowledge=knowledge, today=scenario.today, zone=ZoneInfo("UTC")).cards
        rules = {rule for card in cards for rule in card["extension"]["cmv-cds.finding"]["checks"]}
        gravest = max((("info", "warning", "critical").index(card["indicator"]) for card in cards), default=0)
        fired.append((scenario, frozenset(rules), gravest))
    chosen: dict[str, Json] = {}
    for rule in sorted(set().union(*(rules for _, rules, _ in fired))):
        able = [entry for entry in fired if rule in entry[1]]
        scenario, _, _ = min(able, key=lambda entry: (-entry[2], len(entry[1]), entry[0].hook != "order-sign"))
        canary = chosen.setdefault(
            scenario.name,
            {
                "name": scenario.name,
                "service": scenario.service,
                "today": scenario.today.isoformat(),
                "rules": [],
                "request": render(scenario),
            },
        )
        canary["rules"].append(rule)
    return list(chosen.values())


if __name__ == "__main__":
    lines = b",\n".join(orjson.dumps(canary) for canary in make_canaries())
    TARGET.write_bytes(b"[\n" + lines + b"\n]\n")
