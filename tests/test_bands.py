"""Every edge of both dose tables, from both sides, in both phases.

The tables are written here a second time, from the labels, and Cockcroft-Gault is solved here for the creatinine that
puts a patient just on either side of an edge. Nothing of this comes from mappings/ or the product's own arithmetic.
"""

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from conftest import Judge
from scenario import PATIENT, Dose, Json, bundle, proposals, read_proposal, read_words, topic

TODAY = date(2026, 11, 21)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a label's table: lowest whole clearance, and the regimen of each column ("" = not recommended)."""

    at_least: int
    treatment: str
    stable: str


TABLES = {
    "ganciclovir": (
        Row(70, "5 mg/kg every 12 h", "5 mg/kg once daily"),
        Row(50, "2.5 mg/kg every 12 h", "2.5 mg/kg once daily"),
        Row(25, "2.5 mg/kg once daily", "1.25 mg/kg once daily"),
        Row(10, "1.25 mg/kg once daily", "0.625 mg/kg once daily"),
        Row(0, "1.25 mg/kg 3 times weekly", "0.625 mg/kg 3 times weekly"),
    ),
    "valganciclovir": (
        Row(60, "900 mg every 12 h", "900 mg once daily"),
        Row(40, "450 mg every 12 h", "450 mg once daily"),
        Row(25, "450 mg once daily", "450 mg every 48 h"),
        Row(10, "450 mg every 48 h", "450 mg twice weekly"),
        Row(0, "", ""),
    ),
}
PEOPLE = ((24, "male", 81), (39, "female", 52), (58, "male", 67), (71, "female", 74), (86, "male", 59))  # age, sex, kg
REASONS = {"treatment": "Treatment of CMV disease", "maintenance": "Maintenance", "prophylaxis": "CMV prophylaxis"}
DRUGS = {
    "ganciclovir": {"code": {"text": "ganciclovir injection"}, "route": "47625008"},
    "valganciclovir": {"code": {"text": "valganciclovir 450 mg tablet"}, "route": "26643006"},
}
_UNITS = {Fraction(2): (1, 12, "h"), Fraction(1): (1, 1, "d"), Fraction(1, 2): (1, 48, "h")}


def clearance(age: int, sex: str, weight: int, creatinine: Fraction) -> Fraction:
    """Cockcroft-Gault, mL/min."""
    return (140 - age) * weight / (72 * creatinine) * (Fraction(85, 100) if sex == "female" else 1)


def creatinine_at(person: tuple[int, str, int], target: Fraction) -> Fraction:
    """The creatinine, mg/dL, at which a person has exactly that clearance."""
    return clearance(*person, Fraction(1)) / target


def either_side(person: tuple[int, str, int], edge: int) -> tuple[Fraction, Fraction] | None:
    """Creatinines to a thousandth: the highest that still rounds up to the edge, and the next; None if implausible."""
    exact = creatinine_at(person, edge - Fraction(1, 2))  # half a millilitre below the edge rounds up to it
    above = Fraction(exact.numerator * 1000 // exact.denominator, 1000)
    if not Fraction(2, 10) <= above <= Fraction(199, 10):
        return None
    return above, above + Fraction(1, 1000)


def request(drug: str, person: tuple[int, str, int], creatinine: Fraction, reason: str, dose: Dose) -> Json:
    """An order-sign call with one order."""
    age, sex, weight = person
    amount, unit, per_day = dose
    weekly = per_day * 7
    frequency, period, period_unit = _UNITS.get(per_day, (int(weekly), 1, "wk"))
    quantity = {"value": float(amount), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    order = {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationCodeableConcept": DRUGS[drug]["code"],
        "reasonCode": [{"text": reason}],
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": frequency, "period": period, "periodUnit": period_unit}},
                "route": {"coding": [{"system": "http://snomed.info/sct", "code": DRUGS[drug]["route"]}]},
                "doseAndRate": [{"doseQuantity": quantity}],
            }
        ],
    }
    results = [_result("obs-1", "2160-0", float(creatinine), "mg/dL"), _result("obs-2", "29463-7", weight, "kg")]
    empty: Json = {"resourceType": "Bundle", "type": "searchset", "total": 0}
    born = date(TODAY.year - age, 3, 14)
    return {
        "hook": "order-sign",
        "hookInstance": "3b8f7f0e-7d0a-4c59-9d0a-0a5a1f1f6c11",
        "context": {"patientId": PATIENT, "userId": "Practitioner/1", "draftOrders": bundle([order], "collection")},
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": PATIENT, "gender": sex, "birthDate": born.isoformat()},
            "kidney": bundle(results),
            **dict.fromkeys(("conditions", "procedures", "medications", "virology", "counts"), empty),
        },
    }


def _result(identifier: str, code: str, value: float, unit: str) -> Json:
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": "2026-11-20",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }


def edges() -> list[Any]:
    """(drug, phase, person, creatinine, row that holds, row on the other side) on both sides of every edge."""
    found = []
    for drug, rows in TABLES.items():
        for upper, lower in pairwise(rows):
            for person in PEOPLE:
                sides = either_side(person, upper.at_least)
                for creatinine, holds, other in ((sides[0], upper, lower), (sides[1], lower, upper)) if sides else ():
                    for phase in REASONS:
                        name = f"{drug} {phase} {person[1]} {person[0]} edge {upper.at_least} at {float(creatinine)}"
                        found.append(pytest.param(drug, phase, person, creatinine, holds, other, id=name))
    return found


EDGES = edges()


def regimen(row: Row, phase: str) -> str:
    """The column of a phase: maintenance and prophylaxis share the second."""
    return row.treatment if phase == "treatment" else row.stable


@pytest.mark.parametrize(("drug", "phase", "person", "creatinine", "holds", "other"), EDGES)
def test_edge(
    drug: str, phase: str, person: tuple[int, str, int], creatinine: Fraction, holds: Row, other: Row, judge: Judge
) -> None:
    rounded = int(clearance(*person, creatinine) + Fraction(1, 2))
    assert rounded == (holds.at_least if holds.at_least > other.at_least else other.at_least - 1)
    expected, beyond = regimen(holds, phase), regimen(other, phase)
    if not expected:  # not recommended: whatever is ordered
        (card,) = judge(request(drug, person, creatinine, REASONS[phase], read_words(beyond)), TODAY).cards
        assert (topic(card), card["indicator"], proposals(card)) == ("contraindication", "critical", [])
        return
    right = judge(request(drug, person, creatinine, REASONS[phase], read_words(expected)), TODAY)
    assert [card["summary"] for card in right.cards] == []
    if not beyond:
        return
    wrong = judge(request(drug, person, creatinine, REASONS[phase], read_words(beyond)), TODAY).cards
    amount, _, per_day = read_words(expected)
    ordered, _, times = read_words(beyond)
    if drug == "ganciclovir" and phase == "prophylaxis" and read_words(beyond) == read_words(holds.treatment):
        assert wrong == []  # transplant prevention may start with the treatment dose
        return
    (card,) = wrong
    too_much = ordered * times > amount * per_day
    assert (topic(card), card["indicator"]) == ("renalDose", "critical" if too_much else "warning")
    assert [read_proposal(resource) for resource in proposals(card)] == [read_words(expected)]
    assert f"CrCl {rounded} mL/min" in card["summary"]


def test_every_edge_is_met_in_both_phases_by_both_sexes() -> None:
    met = {(p.values[0], p.values[1], p.values[2][1], max(p.values[4].at_least, p.values[5].at_least)) for p in EDGES}
    wanted = {
        (drug, phase, sex, row.at_least)
        for drug, rows in TABLES.items()
        for phase in REASONS
        for sex in ("male", "female")
        for row in rows[:-1]
    }
    assert wanted <= met


@pytest.mark.parametrize("drug", TABLES)
@pytest.mark.parametrize("phase", REASONS)
def test_no_gap_between_the_edges(drug: str, phase: str, judge: Judge) -> None:
    """Each whole clearance from 10 to 120 has exactly one regimen: that of its row is silent."""
    person = (47, "male", 70)
    for whole in range(10, 121):
        row = next(row for row in TABLES[drug] if whole >= row.at_least)
        creatinine = round(creatinine_at(person, Fraction(whole)), 4)
        if creatinine <= 20:
            wanted = read_words(regimen(row, phase))
            assert judge(request(drug, person, creatinine, REASONS[phase], wanted), TODAY).cards == [], whole
