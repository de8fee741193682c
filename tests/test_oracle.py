"""The product against a second, independent opinion: at every edge, and on 20,000 random orders, new ones each time."""

import ast
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import run
from oracle.cases import Case, edge_cases, random_case
from oracle.labels import DRUGS
from oracle.others import LABELS, Other, predict_other, random_other
from oracle.predict import predict

PARTS, SIZE, EDGE_PARTS = 20, 1000, 4
SAMPLE = [random_case(1, number) for number in range(4000)]
OTHERS = [random_other(1, number) for number in range(4000)]


def shown(found: list[run.Difference]) -> str:
    """The first few, each with the request that shows it."""
    return f"{len(found)} differences\n" + "\n".join(str(difference) for difference in found[:3])


@pytest.mark.parametrize("part", range(EDGE_PARTS))
def test_edges(part: int) -> None:
    found = run.edge_differences(part, EDGE_PARTS)
    assert not found, shown(found)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_orders(part: int, record_property: Callable[[str, object], None]) -> None:
    seed = random.SystemRandom().randrange(2**32)
    record_property("oracle", f"{SIZE} of seed {seed}")
    found = run.differences(seed, 0, SIZE)
    assert not found, f"python -m tests.oracle --cases {SIZE} --seed {seed}\n{shown(found)}"


def test_only_one_module_knows_the_product() -> None:
    knowing = set()
    for path in Path(run.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("cdshooks", "scenario", "mappings") for name in names):
                knowing.add(path.stem)
    assert knowing == {"run"}


def test_random_orders_reach_every_row_of_every_table() -> None:
    met = set()
    for case in SAMPLE:
        clearance = predict(case).clearance
        if clearance is not None:
            met.add((case.drug, case.phase, sum(clearance < limit for limit in DRUGS[case.drug].limits)))
    phases = ("treatment", "maintenance", "prophylaxis", "")
    wanted = {
        (name, phase, place)
        for name, drug in DRUGS.items()
        for phase in (("",) if drug.one_phase else phases)
        for place in range(len(drug.limits) + 1)
    }
    assert met == wanted


def test_random_orders_meet_every_verdict() -> None:
    met = {
        (case.drug, topic, indicator)
        for case in SAMPLE
        for topic, indicators in predict(case).cards.items()
        for indicator in indicators
        if indicator
    }
    for name, drug in DRUGS.items():
        wanted = {("renalDose", "warning"), ("renalDose", "critical"), ("doseAdvice", "info")}
        wanted |= {("renalFunction", indicator) for indicator in ("info", "warning")} | {("dataQuality", "warning")}
        wanted |= set() if drug.one_phase else {("renalDose", "info")}
        wanted |= {("contraindication", "critical")} if name != "ganciclovir" else set()
        assert {(name, *verdict) for verdict in wanted} <= met
    assert sum(not any(indicators - {""} for indicators in predict(case).cards.values()) for case in SAMPLE) > 100


def test_random_orders_of_the_other_drugs_meet_every_verdict() -> None:
    met = {
        (case.drug, topic, indicator)
        for case in OTHERS
        for topic, indicators in predict_other(case).cards.items()
        for indicator in indicators
    }
    wanted = {(name, "dose", indicator) for name in LABELS for indicator in ("info", "warning")}
    wanted |= {(name, "doseAdvice", "info") for name in LABELS if name != "foscarnet"}  # nothing settles it in children
    wanted |= {(name, "dose", "critical") for name in LABELS if name != "ganciclovir"}  # off label: a warning at most
    wanted |= {("maribavir", "interaction", "critical"), ("letermovir", "administration", "warning")}
    wanted |= {("maribavir", "dataQuality", "warning")} | {
        ("letermovir", "dataQuality", i) for i in ("info", "warning")
    }
    assert wanted <= met
    assert sum(not any(predict_other(case).cards.values()) for case in OTHERS) > 100


def test_the_edges_are_met_from_both_sides_and_on_the_point() -> None:
    sides: dict[tuple[str, int], set[int]] = {}
    for case in edge_cases():
        clearance = predict(case).clearance
        assert clearance is not None
        for place, limit in enumerate(DRUGS[case.drug].limits):
            if abs(clearance / limit - 1) < 0.01:
                sides.setdefault((case.drug, place), set()).add((clearance > limit) - (clearance < limit))
    for name, drug in DRUGS.items():
        for place in range(len(drug.limits)):
            assert sides[name, place] >= ({-1, 1} if drug.per_kg else {-1, 0, 1})


def test_a_wrong_answer_is_noticed() -> None:
    """Of every answer with a card: without its first card, with another indicator, without its suggestions."""
    missed: list[Case | Other] = []
    spoilt_answers = 0
    cases: list[Case | Other] = [*SAMPLE[:300], *OTHERS[:300]]
    for case in cases:
        call, expected = run.both(case)
        cards = [card for card in run.cards(call) if card["source"]["topic"]["code"] in expected.topics]
        is_open = any(len(indicators) > 1 for indicators in expected.cards.values())
        if not cards or is_open or list(run.kinds(expected, cards, case)):
            continue
        other = {"info": "critical", "warning": "info", "critical": "warning"}[cards[0]["indicator"]]
        spoilt = [cards[1:], [cards[0] | {"indicator": other}, *cards[1:]]]
        if any(action["type"] == "update" for action in run.actions(cards[:1])):
            spoilt.append([card | {"suggestions": []} for card in cards])
        spoilt_answers += len(spoilt)
        missed += [case for wrong in spoilt if not list(run.kinds(expected, wrong, case))]
    assert missed == []
    assert spoilt_answers > 300


def test_a_case_is_its_seed_and_number() -> None:
    for make in (random_case, random_other):
        assert repr(make(7, 11)) == repr(make(7, 11))
        assert len({repr(make(7, number)) for number in range(100)}) == 100
        assert repr(make(8, 11)) != repr(make(7, 11))
