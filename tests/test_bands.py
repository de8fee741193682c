"""Every edge of every dose table, from both sides, in every phase.

The tables are written here a second time, from the labels, and Cockcroft-Gault is solved here for the creatinine that
puts a patient just on either side of an edge. Nothing of this comes from mappings/ or the product's own arithmetic.
A dose table of the product that is not written here, edge by edge and regimen by regimen, fails.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from conftest import Judge
from scenario import (
    PATIENT,
    Dose,
    Json,
    bundle,
    load_scenarios,
    looked_after,
    proposals,
    read_proposal,
    read_words,
    topic,
)

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.renal_dose import TableRegimen

TODAY = date(2026, 11, 21)
NEGATIVE_TEST: Json = {
    "resourceType": "Observation",
    "id": "obs-test",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2118-8"}]},
    "subject": {"reference": f"Patient/{PATIENT}"},
    "effectiveDateTime": "2026-11-20",
    "valueString": "Negative",
}
Person = tuple[int, str, int]  # age, sex, kg


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a label's table: the lowest clearance as printed, and the regimens of each column (none: no dose)."""

    at_least: Fraction
    treatment: tuple[Dose, ...]
    stable: tuple[Dose, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A label's table; clearances are rounded to `step` mL/min, or mL/min/kg. `reasons` are the orders' reasons."""

    medication: str
    route: str
    per_kg: bool
    rows: tuple[Row, ...]
    reasons: Mapping[str, str]
    starts_with_treatment: bool = False  # prophylaxis may begin with the treatment dose

    @property
    def step(self) -> Fraction:
        return Fraction(1, 100) if self.per_kg else Fraction(1)

    def column(self, row: Row, phase: str) -> tuple[Dose, ...]:
        """Maintenance and prophylaxis share the second column."""
        return row.stable if phase in ("maintenance", "prophylaxis") else row.treatment

    def row(self, clearance: Fraction) -> Row:
        return next(row for row in self.rows if clearance >= row.at_least)


def row(at_least: str, treatment: str = "", stable: str = "") -> Row:
    """A row as printed; two regimens of a column are parted by "or"."""
    columns = (tuple(read_words(words) for words in column.split(" or ") if words) for column in (treatment, stable))
    return Row(Fraction(at_least), *columns)


def herpes(at_least: str, regimens: str = "") -> Row:
    """A row against herpes simplex, where the label knows no second column."""
    return row(at_least, regimens, regimens)


REASONS = {"treatment": "Treatment of CMV disease", "maintenance": "Maintenance", "prophylaxis": "CMV prophylaxis"}
TABLES = {
    "renal-dose/ganciclovir-iv": Table(
        "ganciclovir injection",
        "47625008",
        False,
        (
            row("70", "5 mg/kg every 12 h", "5 mg/kg once daily or 6 mg/kg 5 days a week"),
            row("50", "2.5 mg/kg every 12 h", "2.5 mg/kg once daily"),
            row("25", "2.5 mg/kg once daily", "1.25 mg/kg once daily"),
            row("10", "1.25 mg/kg once daily", "0.625 mg/kg once daily"),
            row("0", "1.25 mg/kg 3 times weekly", "0.625 mg/kg 3 times weekly"),
        ),
        REASONS,
        starts_with_treatment=True,
    ),
    "renal-dose/valganciclovir": Table(
        "valganciclovir 450 mg tablet",
        "26643006",
        False,
        (
            row("60", "900 mg every 12 h", "900 mg once daily"),
            row("40", "450 mg every 12 h", "450 mg once daily"),
            row("25", "450 mg once daily", "450 mg every 48 h"),
            row("10", "450 mg every 48 h", "450 mg twice weekly"),
            row("0"),
        ),
        REASONS,
    ),
    "renal-dose/foscarnet": Table(
        "foscarnet injection",
        "47625008",
        True,
        (
            row("1.41", "60 mg/kg every 8 h or 90 mg/kg every 12 h", "90 mg/kg once daily or 120 mg/kg once daily"),
            row("1.01", "45 mg/kg every 8 h or 70 mg/kg every 12 h", "70 mg/kg once daily or 90 mg/kg once daily"),
            row("0.81", "50 mg/kg every 12 h", "50 mg/kg once daily or 65 mg/kg once daily"),
            row("0.61", "40 mg/kg every 12 h or 80 mg/kg once daily", "80 mg/kg every 48 h or 105 mg/kg every 48 h"),
            row("0.51", "60 mg/kg once daily", "60 mg/kg every 48 h or 80 mg/kg every 48 h"),
            row("0.40", "50 mg/kg once daily", "50 mg/kg every 48 h or 65 mg/kg every 48 h"),
            row("0"),
        ),
        REASONS,
    ),
    "renal-dose/foscarnet-hsv": Table(
        "foscarnet injection",
        "47625008",
        True,
        (
            herpes("1.41", "40 mg/kg every 12 h or 40 mg/kg every 8 h"),
            herpes("1.01", "30 mg/kg every 12 h or 30 mg/kg every 8 h"),
            herpes("0.81", "20 mg/kg every 12 h or 35 mg/kg every 12 h"),
            herpes("0.61", "35 mg/kg once daily or 25 mg/kg every 12 h"),
            herpes("0.51", "25 mg/kg once daily or 40 mg/kg once daily"),
            herpes("0.40", "20 mg/kg once daily or 35 mg/kg once daily"),
            herpes("0"),
        ),
        {"herpes simplex": "Aciclovir-resistant herpes simplex"},
    ),
}
PEOPLE: tuple[Person, ...] = (
    (24, "male", 81),
    (39, "female", 52),
    (58, "male", 67),
    (71, "female", 74),
    (86, "male", 59),
)
PERIODS = {Fraction(3): (1, 8, "h"), Fraction(2): (1, 12, "h"), Fraction(1): (1, 1, "d"), Fraction(1, 2): (1, 48, "h")}


def clearance(person: Person, creatinine: Fraction, *, per_kg: bool) -> Fraction:
    """Cockcroft-Gault, mL/min, or mL/min/kg: there the weight cancels out."""
    age, sex, weight = person
    return (140 - age) * (1 if per_kg else weight) / (72 * creatinine) * (Fraction(85, 100) if sex == "female" else 1)


def creatinine_at(person: Person, target: Fraction, *, per_kg: bool) -> Fraction:
    """The creatinine, mg/dL, at which a person has exactly that clearance."""
    return clearance(person, Fraction(1), per_kg=per_kg) / target


def rounded(value: Fraction, step: Fraction) -> Fraction:
    """To the nearest step; half a step rounds up."""
    return int(value / step + Fraction(1, 2)) * step


def shown(value: Fraction, table: Table) -> str:
    """A clearance as a card shows it."""
    return f"CrCl {float(value):.2f} mL/min/kg" if table.per_kg else f"CrCl {int(value)} mL/min"


def either_side(table: Table, person: Person, edge: Fraction) -> tuple[Fraction, Fraction] | None:
    """Creatinines to a thousandth: the highest that still rounds up to the edge, and the next; None if implausible."""
    exact = creatinine_at(person, edge - table.step / 2, per_kg=table.per_kg)
    above = Fraction(exact.numerator * 1000 // exact.denominator, 1000)
    if not Fraction(2, 10) <= above <= Fraction(199, 10):
        return None
    return above, above + Fraction(1, 1000)


def request(table: Table, person: Person, creatinine: Fraction, reason: str, dose: Dose) -> Json:
    """An order-sign call with one order."""
    age, sex, weight = person
    amount, unit, per_day = dose
    frequency, period, period_unit = PERIODS.get(per_day, (int(per_day * 7), 1, "wk"))
    quantity = {"value": float(amount), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    order = {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationCodeableConcept": {"text": table.medication},
        "reasonCode": [{"text": reason}],
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": frequency, "period": period, "periodUnit": period_unit}},
                "route": {"coding": [{"system": "http://snomed.info/sct", "code": table.route}]},
                "doseAndRate": [{"doseQuantity": quantity}],
            }
        ],
    }
    results = [_result("obs-1", "2160-0", float(creatinine), "mg/dL"), _result("obs-2", "29463-7", weight, "kg")]
    born = date(TODAY.year - age, 3, 14)
    return {
        "hook": "order-sign",
        "hookInstance": "3b8f7f0e-7d0a-4c59-9d0a-0a5a1f1f6c11",
        "context": {"patientId": PATIENT, "userId": "Practitioner/1", "draftOrders": bundle([order], "collection")},
        "prefetch": looked_after(table.medication, sex, TODAY)
        | {
            "patient": {"resourceType": "Patient", "id": PATIENT, "gender": sex, "birthDate": born.isoformat()},
            "kidney": bundle(results),
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


SINGLE_DOSE_COUNTS = {"renal-dose/foscarnet"}  # a larger dose less often is no exchange there


def verdict(ordered: Dose, column: Sequence[Dose]) -> tuple[str, Dose]:
    """(indicator, "" when right; the regimen that judges) of a dose against a column of a row.

    Regimens with the ordered interval judge as a range (90 to 120 mg/kg a day); without one, the nearest amount does.
    """
    amount, _, per_day = ordered
    same = sorted(dose for dose in column if dose[2] == per_day)
    if same:
        smallest, largest = same[0], same[-1]
        if Fraction(9, 10) * smallest[0] <= amount <= Fraction(11, 10) * largest[0]:
            return "", largest
        judges = largest if amount > largest[0] else smallest
    else:
        judges = min(column, key=lambda dose: max(_share(ordered, dose), 1 / _share(ordered, dose)))
    return "critical" if _share(ordered, judges) >= Fraction(125, 100) else "warning", judges


def at_once(ordered: Dose, row: Row) -> str:
    """The indicator by the single dose alone, against the largest of the row; "" where it is not above that."""
    share = ordered[0] / max(row.treatment + row.stable)[0]
    return "critical" if share >= Fraction(125, 100) else "warning" if share > Fraction(11, 10) else ""


def offered(ordered: Dose, judges: Dose, column: Sequence[Dose], *, too_much: bool) -> list[Dose]:
    """What is proposed: the regimen that judges; for too much, first of all the smallest in its interval."""
    smallest = min(dose for dose in column if dose[2] == judges[2])
    too_much = too_much or _share(ordered, judges) > Fraction(11, 10)
    return list(dict.fromkeys([smallest, judges])) if too_much else [judges]


def _share(ordered: Dose, expected: Dose) -> Fraction:
    """Amount a day ordered, as a share of the expected."""
    return ordered[0] * ordered[2] / (expected[0] * expected[2])


def edges() -> Iterator[Any]:
    """(table, phase, person, creatinine, row that holds, row on the other side) on both sides of every edge."""
    for name, table in TABLES.items():
        for upper, lower in pairwise(table.rows):
            for person in PEOPLE:
                sides = either_side(table, person, upper.at_least)
                for creatinine, holds, other in ((sides[0], upper, lower), (sides[1], lower, upper)) if sides else ():
                    for phase in table.reasons:
                        edge = f"{float(upper.at_least)} at {float(creatinine)}"
                        identifier = f"{name} {phase} {person[1]} {person[0]} edge {edge}"
                        yield pytest.param(name, phase, person, creatinine, holds, other, id=identifier)


EDGES = list(edges())


@pytest.mark.parametrize(("name", "phase", "person", "creatinine", "holds", "other"), EDGES)
def test_edge(
    name: str, phase: str, person: Person, creatinine: Fraction, holds: Row, other: Row, judge: Judge
) -> None:
    table = TABLES[name]
    value = rounded(clearance(person, creatinine, per_kg=table.per_kg), table.step)
    assert value == (holds.at_least if holds.at_least > other.at_least else other.at_least - table.step)
    expected, beyond = table.column(holds, phase), table.column(other, phase)

    def cards(dose: Dose) -> list[Json]:
        return judge(request(table, person, creatinine, table.reasons[phase], dose), TODAY).cards

    if not expected:  # not recommended: whatever is ordered
        for dose in beyond:
            (card,) = cards(dose)
            assert (topic(card), card["indicator"], proposals(card)) == ("contraindication", "critical", [])
            assert shown(value, table) in card["summary"]
        return
    for dose in expected:
        assert [card["summary"] for card in cards(dose)] == []
    for dose in beyond:
        indicator, judges = verdict(dose, expected)
        single = at_once(dose, holds) if name in SINGLE_DOSE_COUNTS else ""
        if single:
            indicator, judges = "critical" if "critical" in (indicator, single) else "warning", max(expected)
        if table.starts_with_treatment and phase == "prophylaxis" and dose in holds.treatment:
            indicator = ""
        if not indicator:
            assert [card["summary"] for card in cards(dose)] == []
            continue
        (card,) = cards(dose)
        assert (topic(card), card["indicator"]) == ("renalDose", indicator)
        assert [read_proposal(resource) for resource in proposals(card)] == offered(
            dose, judges, expected, too_much=bool(single)
        )
        assert shown(value, table) in card["summary"]


def test_every_edge_is_met_in_every_phase_by_both_sexes() -> None:
    met = {(p.values[0], p.values[1], p.values[2][1], max(p.values[4].at_least, p.values[5].at_least)) for p in EDGES}
    wanted = {
        (name, phase, sex, row.at_least)
        for name, table in TABLES.items()
        for phase in table.reasons
        for sex in ("male", "female")
        for row in table.rows[:-1]
    }
    assert wanted <= met


def test_every_dose_table_is_tested_here_edge_by_edge_and_regimen_by_regimen(knowledge: Knowledge) -> None:
    """A table, a band or a regimen that is new in the product has to be written here from its label."""

    def doses(regimens: tuple[TableRegimen, ...]) -> set[Dose]:
        return {(Fraction(r.dose[0]), r.dose[1], Fraction(r.per_day).limit_denominator(1000)) for r in regimens}

    found = {
        rule.id: [(Fraction(band.at_least), doses(band.treatment), doses(band.stable)) for band in rule.bands]
        for rule in knowledge.renal_dose
    }
    written = {
        name: [(row.at_least, set(row.treatment), set(row.stable)) for row in table.rows]
        for name, table in TABLES.items()
    }
    assert found == written


@pytest.mark.parametrize(
    ("name", "phase"), [(name, phase) for name, table in TABLES.items() for phase in table.reasons]
)
def test_no_gap_between_the_edges(name: str, phase: str, judge: Judge) -> None:
    """Each clearance from the last dosed edge to well above the first has exactly one row: its regimens are silent."""
    table, person = TABLES[name], (47, "male", 70)
    last = min(row.at_least for row in table.rows if row.at_least)
    for steps in range(int(last / table.step), int(table.rows[0].at_least * 2 / table.step)):
        target = steps * table.step
        creatinine = round(creatinine_at(person, target, per_kg=table.per_kg), 4)
        assert Fraction(2, 10) <= creatinine <= 20
        for dose in table.column(table.row(target), phase):
            call = request(table, person, creatinine, table.reasons[phase], dose)
            assert judge(call, TODAY).cards == [], (float(target), dose)


def test_hand_calculations_per_kg_add_up() -> None:
    """The arithmetic per kg in the `hand` lines of the scenarios, and its rounding to two decimals."""
    number = r"(\d+(?:\.\d+)?)"
    formula = re.compile(rf"\(140-{number}\) / \(72 x {number}\)( x 0\.85)? = {number} -> {number}")
    found = [(entry.name, *match) for entry in load_scenarios() for match in formula.findall(entry.hand)]
    for name, age, creatinine, female, exact, whole in found:
        person = (int(age), "female" if female else "male", 1)
        value = clearance(person, Fraction(creatinine), per_kg=True)
        assert rounded(value, Fraction(1, 10_000)) == Fraction(exact), name
        assert rounded(value, Fraction(1, 100)) == Fraction(whole), name
    assert len(found) >= 100
