"""Only the words that state the old dose change in a text, and a mended order needs no mending."""

from decimal import Decimal
from typing import Any

import pytest
from conftest import Judge
from scenario import Scenario, load_scenarios, proposals, render, topic

from cdshooks.medicine.dosage import beside, reworded
from cdshooks.medicine.dosage.sig import Amount
from cdshooks.medicine.dosage.words import pieces
from cdshooks.medicine.knowledge import Knowledge

Json = dict[str, Any]
_RANK = {"info": 0, "warning": 1, "critical": 2}


def half(amount: Amount) -> Decimal | None:
    """900 mg become 450, two tablets one, in the unit that stands there; other amounts are left."""
    if amount.unit.kind == "mass" and amount.unit.means == "mg":
        return amount.high / 2 if amount.high * amount.unit.factor == 900 else None
    return amount.high / 2 if amount.unit.kind == "pill" and amount.high == 2 else None


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("900 mg PO BID", "450 mg PO once daily"),
        ("Maintenance: 900 mg twice daily with food", "Maintenance: 450 mg once daily with food"),
        ("Take 2 tablets (900 mg) by mouth twice daily.", "Take 1 tablet (450 mg) by mouth once daily."),
        ("Take two tablets twice a day", "Take 1 tablet once daily"),
        ("900 mg b.i.d. with food.", "450 mg once daily with food."),
        ("0.9 g at 0800 and 2000", "0.45 g once daily"),
        ("900 mg BID x 21 days, then 450 mg daily", "450 mg once daily x 21 days, then 450 mg daily"),
        ("900 mg BID. Hold if ANC < 500. Dose 1 of 42", "450 mg once daily. Hold if ANC < 500. Dose 1 of 42"),
        ("900 mg PO BID PRN", "450 mg PO once daily PRN"),
        ("900\N{NO-BREAK SPACE}mg BID", "450\N{NO-BREAK SPACE}mg once daily"),
        ("with food", "with food"),
        ("Take with 250 mL of water", "Take with 250 mL of water"),
        ("Check CBC weekly", "Check CBC weekly"),
        ("", ""),
    ],
)
def test_in_place(text: str, new: str, knowledge: Knowledge) -> None:
    assert reworded(text, half, Decimal(2), "once daily", knowledge.dose_words) == new


@pytest.mark.parametrize(
    "text",
    [
        "900 mg BID x 21 days, then once daily",
        "900 mg BID (was 450 mg daily)",
        "900 mg BID; reduce to 450 mg BID if CrCl 40-59",
        "900 mg 17 BID",
    ],
)
def test_what_cannot_be_told_apart_is_not_touched(text: str, knowledge: Knowledge) -> None:
    assert reworded(text, half, Decimal(2), "once daily", knowledge.dose_words) is None


def test_a_frequency_that_stays_is_not_touched(knowledge: Knowledge) -> None:
    assert reworded("900 mg q 12 hrs", half, Decimal(2), "", knowledge.dose_words) == "450 mg q 12 hrs"


def test_clauses_beside_the_dose(knowledge: Knowledge) -> None:
    text = "900 mg twice daily; with food. Hold if ANC < 500\nonly 17"
    assert beside(text, knowledge.dose_words) == ("with food", "Hold if ANC < 500", "only 17")


def test_every_dose_of_a_scenario_is_replaced_and_nothing_else(knowledge: Knowledge) -> None:
    """Whatever a text says, what is left of it stands in the new one in the same order."""
    texts = {str(order["sig"]) for scenario in load_scenarios() for order in scenario.orders if "sig" in order}
    assert len(texts) > 100
    for text in texts:
        new = reworded(text, half, Decimal(2), "ONCE", knowledge.dose_words)
        if new not in (None, text):
            words = [piece for _, piece in pieces(text)]
            left = iter(words)
            kept = [
                piece for _, piece in pieces(str(new)) if piece not in ("once", "450", "1", "0.45", "tablet", "tab")
            ]
            assert all(piece in left for piece in kept), (text, new)


MENDED = [scenario for scenario in load_scenarios() if any("suggests" in card for card in scenario.then)]


@pytest.mark.parametrize("scenario", MENDED, ids=lambda s: f"{s.file}: {s.name}")
def test_a_mended_order_needs_no_mending(scenario: Scenario, judge: Judge) -> None:
    """Each suggestion of each scenario, applied and sent again: the topic is silent, and nothing new is said.

    With the phase unknown a dose that is right for one phase is information.
    """
    request = render(scenario)
    before = judge(request, scenario.today).cards
    grades = {_key(card): _RANK[card["indicator"]] for card in before}
    for card in before:
        for mended in proposals(card):
            after = judge(request | {"context": _with(request["context"], mended)}, scenario.today).cards
            for other in after:
                grade = _RANK[other["indicator"]]
                assert _key(other) != _key(card) or grade == 0, (card["summary"], other["summary"])
                assert grade <= grades.get(_key(other), 0), (card["summary"], other["summary"])


def _key(card: Json) -> tuple[str, str]:
    return str(card["extension"]["cmv-cds.finding"]["order"]), topic(card)


def _with(value: Any, resource: Json) -> Any:
    """A context with this draft in the place of the one with its id."""
    if isinstance(value, dict):
        if (value.get("resourceType"), value.get("id")) == (resource["resourceType"], resource["id"]):
            return resource
        return {name: _with(inner, resource) for name, inner in value.items()}
    return [_with(inner, resource) for inner in value] if isinstance(value, list) else value
