"""Make two files of the scenarios.

mappings/canaries.json: for every rule an order that fires it, and little else.
cdshooks/service/scenarios.json: for every rule the names of all scenarios in which it gives a card.

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
NAMES = Path(__file__).parent.parent / "cdshooks" / "service" / "scenarios.json"


Fired = list[tuple[Scenario, list[Json]]]


def fired() -> Fired:
    """Every scenario with its cards."""
    knowledge = load_knowledge()
    found = []
    for scenario in load_scenarios():
        body = orjson.dumps(render(scenario))
        call = read_call(scenario.service, body, max_depth=64, max_entries=10_000, prefetch_keys={})
        found.append((scenario, evaluate(call, knowledge=knowledge, today=scenario.today, zone=ZoneInfo("UTC")).cards))
    return found


def rules_of(card: Json) -> list[str]:
    named: list[str] = card["extension"]["cmv-cds.finding"]["checks"]
    return named


def make_canaries(every: Fired) -> list[Json]:
    """For each rule the gravest order, which stays so when a threshold moves a little; of those the smallest."""
    orders: list[tuple[Scenario, frozenset[str], int]] = []
    for scenario, cards in every:
        rules = frozenset(rule for card in cards for rule in rules_of(card))
        gravest = max((("info", "warning", "critical").index(card["indicator"]) for card in cards), default=0)
        orders.append((scenario, rules, gravest))
    named = sorted(frozenset().union(*(rules for _, rules, _ in orders)))
    able = {rule: [entry for entry in orders if rule in entry[1]] for rule in named}
    chosen: list[Json] = []
    watched: set[str] = set()
    for rule in sorted(named, key=lambda rule: len(able[rule])):  # those that few orders fire bring others with them
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


def make_names(every: Fired) -> dict[str, list[tuple[str, str, str]]]:
    """For each rule (scenario, topic, indicator) of its cards."""
    names: dict[str, list[tuple[str, str, str]]] = {}
    for scenario, cards in every:
        for card in cards:
            for rule in rules_of(card):
                names.setdefault(rule, []).append((scenario.name, card["source"]["topic"]["code"], card["indicator"]))
    return dict(sorted(names.items()))


if __name__ == "__main__":
    judged = fired()
    TARGET.write_bytes(b"[\n" + b",\n".join(map(orjson.dumps, make_canaries(judged))) + b"\n]\n")
    entries = (orjson.dumps(rule) + b": " + orjson.dumps(told) for rule, told in make_names(judged).items())
    NAMES.write_bytes(b"{\n" + b",\n".join(entries) + b"\n}\n")
