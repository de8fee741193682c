"""Both opinions side by side. The only module here that knows the product."""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from io import StringIO
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from flask.testing import FlaskClient

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import evaluate
from cdshooks.service.app import create_app
from cdshooks.service.config import Settings
from cdshooks.wire.hooks import read_call

from .cases import TODAY, Case, edge_cases, random_case
from .labels import DRUGS, Regimen
from .others import Other, edge_others, predict_other, random_other
from .predict import Prediction, predict
from .request import Json, request, request_other

DOSE_CARDS = ("renalDose", "doseAdvice", "contraindication", "dose")
HTTP_EVERY = 50
_SERVICE = "cmv-order-sign"


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the two opinions part: in short, in full, and the call that shows it."""

    case: Case | Other
    kinds: tuple[str, ...]
    call: Json

    def __str__(self) -> str:
        """For reading and repeating."""
        return f"{self.case}\n  {'; '.join(self.kinds)}\n  {json.dumps(self.call)}"


def differences(seed: int, start: int, count: int) -> list[Difference]:
    """Random cases `start` to `start + count` of a seed; every so many also through the HTTP door."""
    numbers = range(start, start + count)
    return [d for n in numbers if (d := difference(any_case(seed, n), by_http=n % HTTP_EVERY == 0))]


def any_case(seed: int, number: int) -> Case | Other:
    """Case `number` of a seed: by kidney function and by what else doses hang on, in turn."""
    return random_case(seed, number) if number % 2 else random_other(seed, number)


def every_edge() -> Iterator[Case | Other]:
    """The cases at the edges, of both kinds."""
    yield from edge_cases()
    yield from edge_others()


def edge_differences(part: int, parts: int) -> list[Difference]:
    """One part of the cases at the edges."""
    chosen = islice(enumerate(every_edge()), part, None, parts)
    return [d for n, case in chosen if (d := difference(case, by_http=n % HTTP_EVERY == 0))]


def in_parallel(cases: int, seed: int, size: int = 1000) -> Iterator[tuple[int, list[Difference]]]:
    """(how many were done, differences) as the parts come in, on all processors: the edges, then random cases."""
    edges = sum(1 for _ in every_edge())
    parts = edges // size + 1
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        at_edges = [pool.submit(edge_differences, part, parts) for part in range(parts)]
        starts = range(0, cases, size)
        sizes = [min(size, cases - start) for start in starts]
        at_random = pool.map(differences, [seed] * len(sizes), starts, sizes)
        for part, future in enumerate(at_edges):
            yield len(range(part, edges, parts)), future.result()
        yield from zip(sizes, at_random, strict=True)


def difference(case: Case | Other, *, by_http: bool = False) -> Difference | None:
    """None when both say the same."""
    call, expected = both(case)
    answer = cards(call)
    found = [f"{case.drug}: {kind}" for kind in kinds(expected, answer, case)]
    if by_http and _cards_by_http(call) != answer:
        found.append("the HTTP door answers otherwise")
    return Difference(case, tuple(found), call) if found else None


def both(case: Case | Other) -> tuple[Json, Prediction]:
    """The call of a case, and what its answer ought to hold."""
    return (request(case), predict(case)) if isinstance(case, Case) else (request_other(case), predict_other(case))


# --------------------------------------------------------------------------------------------------------------------
# The product


@cache
def _knowledge() -> Knowledge:
    return load_knowledge()


@cache
def _client() -> FlaskClient:
    with redirect_stderr(StringIO()):  # its log
        app = create_app(Settings(database="sqlite:///:memory:"), knowledge=_knowledge(), today=TODAY)
    return app.test_client()


def cards(call: Json) -> list[Json]:
    """What the product answers, below the HTTP door; a check that raises is an error."""
    read = read_call(_SERVICE, json.dumps(call).encode(), max_depth=64, max_entries=10_000, prefetch_keys={})
    answer = evaluate(read, knowledge=_knowledge(), today=TODAY, zone=ZoneInfo("UTC"))
    for name, error in answer.failures:
        raise AssertionError(f"the check {name!r} raised") from error
    found: list[Json] = json.loads(answer.body)["cards"]
    return found


def _cards_by_http(call: Json) -> list[Json]:
    response = _client().post(f"/cds-services/{_SERVICE}", json=call)
    if response.status_code != 200:
        raise AssertionError(f"HTTP {response.status_code}")
    found: list[Json] = response.get_json()["cards"]
    return found


# --------------------------------------------------------------------------------------------------------------------
# Comparing


def kinds(expected: Prediction, cards: list[Json], case: Case | Other) -> Iterator[str]:
    """What is different between a prediction and the cards of an answer, in words."""
    met = {card["source"]["topic"]["code"]: card for card in cards}
    removes = any(action["type"] == "delete" for action in actions(cards))
    critical = any(card["indicator"] == "critical" for card in cards)
    if removes and critical and not expected.can_be_mended:  # an order to be removed gets no dose
        unadvised = {topic: grades for topic, grades in expected.cards.items() if topic != "doseAdvice"}
        expected = replace(expected, cards=unadvised, offered=())
    for topic in expected.topics:
        wanted = expected.cards.get(topic, frozenset({""}))
        found = met[topic]["indicator"] if topic in met else ""
        if found not in wanted:
            yield f"{topic} {_said(found)}, expected {' or '.join(_said(one) for one in sorted(wanted))}"
    dose = next((met[topic] for topic in DOSE_CARDS if topic in met and topic in expected.cards), None)
    if dose:
        named = set(_named(dose["extension"]["cmv-cds.finding"].get("expected", "")))
        if missing := expected.named - named:
            yield f"the card does not name {_shown(missing)}"
    offered = list(dict.fromkeys(r for card in cards for r in _offered(card)))  # two cards may offer the same
    ways = expected.offered if dose else ()
    if not _would_do(offered, ways):
        yield f"offered {_shown(offered)}, expected {' and '.join(map(_shown, ways)) or 'none'}"
    if removes != expected.removes and "contraindication" in expected.topics:
        yield "removal is offered" if removes else "removal is not offered"
    for value in _clearances(cards) if isinstance(case, Case) else ():
        step = Fraction(1, 100) if DRUGS[case.drug].per_kg else Fraction(1, 10)
        if expected.clearance is not None and abs(value - expected.clearance) > step / 2:
            yield "another clearance"


def _said(indicator: str) -> str:
    return indicator or "silent"


def _shown(regimens: Any) -> str:
    return ", ".join(f"{float(r.amount):g} {r.unit} x {r.times} a week" for r in sorted(regimens)) or "none"


def _would_do(offered: list[Regimen], expected: tuple[frozenset[Regimen], ...]) -> bool:
    """At least one suggestion for each expected one, and none besides."""
    right = all(any(one in ways for ways in expected) for one in offered)
    return right and all(ways & set(offered) for ways in expected)


_WORDS = re.compile(
    r"([\d.]+) (mg/kg|mg) (?:every (?P<hours>\d+) h|(?P<days>\d+) days a week|every (?P<weeks>\d+) weeks"
    r"|(?P<count>once|twice|\d+ times) (?P<span>daily|weekly))"
)


def _named(text: str) -> Iterator[Regimen]:
    """The regimens in the words of a card."""
    for match in _WORDS.finditer(text):
        if hours := match["hours"]:
            times = Fraction(7 * 24, int(hours))
        elif weeks := match["weeks"]:
            times = Fraction(1, int(weeks))
        elif days := match["days"]:
            times = Fraction(days)
        else:
            count = {"once": 1, "twice": 2}.get(match["count"]) or int(match["count"].split()[0])
            times = Fraction(count * (7 if match["span"] == "daily" else 1))
        yield Regimen(Fraction(match[1]), match[2], times)


def actions(cards: list[Json]) -> Iterator[Json]:
    """What the cards offer to do."""
    for card in cards:
        for suggestion in card.get("suggestions", ()):
            yield from suggestion["actions"]


def _offered(card: Json) -> Iterator[Regimen]:
    """The regimens of the suggested drafts."""
    for action in actions([card]):
        if action["type"] == "update":
            (dosage,) = action["resource"]["dosageInstruction"]
            quantity, repeat = dosage["doseAndRate"][0]["doseQuantity"], dosage["timing"]["repeat"]
            hours = Fraction(str(repeat["period"])) * {"h": 1, "d": 24, "wk": 168}[repeat["periodUnit"]]
            unit = {"{tbl}": "tablet"}.get(quantity["code"], quantity["code"])
            yield Regimen(Fraction(str(quantity["value"])), unit, 168 * repeat["frequency"] / hours)


def _clearances(cards: list[Json]) -> Iterator[Fraction]:
    for card in cards:
        for entry in card["extension"]["cmv-cds.finding"].get("inputs", ()):
            if entry["name"] == "creatinine clearance":
                yield Fraction(entry["value"])
