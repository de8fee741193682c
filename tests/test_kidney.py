"""Kidney function: the formulas against the literature's own arithmetic, a moving creatinine, dialysis in force.

The formulas are written here a second time, in fractions, with the constants as their authors printed them
(Cockcroft and Gault 1976; Schwartz in the label's modification; Devine 1974). Nothing comes from mappings/.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from cdshooks.medicine.kidney import (
    Clearance,
    Kidney,
    adjusted_weight,
    assess,
    cockcroft_gault,
    cockcroft_gault_per_kg,
    current_dialysis,
    k_of,
    schwartz,
)
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.model import Facts, Lab, Missing, Problem, Unused, Why

TODAY = date(2026, 11, 21)
NONE = Missing(Why.NONE_ON_FILE)


@dataclass(frozen=True, slots=True)
class Series:
    """Results as the kidney sees them: given newest first."""

    labs: tuple[Lab, ...] = ()

    def newest(self) -> Lab | Missing:
        return self.labs[0] if self.labs else NONE

    def since(self, day: date) -> tuple[Lab, ...]:
        return tuple(lab for lab in self.labs if lab.on >= day)

    @property
    def unused(self) -> tuple[Unused, ...]:
        return ()

    @property
    def met(self) -> tuple[Unused, ...]:
        return ()

    @property
    def looked_at(self) -> None:
        return None

    def otherwise(self) -> "Series":
        return self


def lab(analyte: str, value: str, on: date | datetime = TODAY) -> Lab:
    day = on.date() if isinstance(on, datetime) else on
    at = on if isinstance(on, datetime) else None
    return Lab(analyte, Decimal(value), "", "", day, at, f"Observation/{analyte}", value)


def patient(
    *labs: Lab,
    born: date | Missing = date(1970, 3, 1),
    sex: str | Missing = "male",
    problems: tuple[Problem, ...] = (),
) -> Facts:
    names = ("creatinine", "creatinine-clearance", "weight", "height", "albumin", "upcr")
    return Facts(
        patient_id="p",
        hook="order-sign",
        today=TODAY,
        born=born,
        sex=sex,
        orders=(),
        context=(),
        results={name: Series(tuple(found for found in labs if found.analyte == name)) for name in names},
        problems=problems,
        problem_gaps={},
        incomplete=frozenset(),
        unused=(),
    )


def kidney_of(facts: Facts, knowledge: Knowledge, adults_from_years: int = 18) -> Kidney:
    return assess(facts, knowledge.kidney, adults_from_years)


def close(value: Decimal, exact: Fraction) -> bool:
    """Equal but for the last of 28 digits."""
    return abs(Fraction(value) - exact) <= abs(exact) * Fraction(1, 10**25)


# --------------------------------------------------------------------------------------------------------------------
# Cockcroft-Gault


def by_hand(age: int, sex: str, weight: str, creatinine: str) -> Fraction:
    value = (140 - age) * Fraction(weight) / (72 * Fraction(creatinine))
    return value * Fraction(85, 100) if sex == "female" else value


@pytest.mark.parametrize(
    ("age", "sex", "weight", "creatinine", "rounded"),
    [
        (68, "male", "72", "1", 72),  # (140-68) x 72 / (72 x 1)
        (40, "male", "72", "1", 100),
        (40, "female", "72", "1", 85),
        (50, "male", "80", "1.25", 80),
        (60, "female", "60", "1.7", 33),  # 80 x 60 / 122.4 x 0.85 = 33.33
        (85, "female", "45.4", "2.05", 14),  # 55 x 45.4 / 147.6 x 0.85 = 14.38
        (18, "male", "118", "0.6", 333),
        (97, "male", "48", "7.9", 4),  # 43 x 48 / 568.8 = 3.63
        (139, "male", "72", "1", 1),
    ],
)
def test_cockcroft_gault(age: int, sex: str, weight: str, creatinine: str, rounded: int, knowledge: Knowledge) -> None:
    found = cockcroft_gault(knowledge.kidney, age, sex, Decimal(weight), Decimal(creatinine), "actual weight")
    assert close(found.value, by_hand(age, sex, weight, creatinine))
    assert (found.rounded, found.unit) == (Decimal(rounded), "mL/min")


def test_cockcroft_gault_over_many_patients(knowledge: Knowledge) -> None:
    for age in range(18, 100, 9):
        for sex in ("male", "female"):
            for weight in ("38.5", "70", "143.2"):
                for creatinine in ("0.31", "0.97", "1.9", "11.4"):
                    found = cockcroft_gault(knowledge.kidney, age, sex, Decimal(weight), Decimal(creatinine), "x")
                    exact = by_hand(age, sex, weight, creatinine)
                    assert close(found.value, exact)
                    assert found.rounded == (exact + Fraction(1, 2)) // 1


@pytest.mark.parametrize(
    ("age", "sex", "creatinine", "rounded"),
    [
        (50, "male", "1.25", "1.00"),  # 90 / 90
        (68, "male", "1", "1.00"),
        (40, "male", "1", "1.39"),  # 100 / 72 = 1.3889
        (40, "female", "1", "1.18"),  # 100 / 72 x 0.85 = 1.1806
        (77, "female", "1.86", "0.40"),  # 63 / 133.92 x 0.85 = 0.39987
        (77, "female", "1.9", "0.39"),  # 63 / 136.8 x 0.85 = 0.39145
    ],
)
def test_cockcroft_gault_per_kg(age: int, sex: str, creatinine: str, rounded: str, knowledge: Knowledge) -> None:
    found = cockcroft_gault_per_kg(knowledge.kidney, age, sex, Decimal(creatinine))
    assert close(found.value, by_hand(age, sex, "1", creatinine))
    assert (str(found.rounded), found.unit) == (rounded, "mL/min/kg")


def test_the_arithmetic_can_be_read(knowledge: Knowledge) -> None:
    woman = cockcroft_gault(knowledge.kidney, 58, "female", Decimal("63.0"), Decimal("1.30"), "actual weight")
    assert woman.formula == "Cockcroft-Gault, actual weight"
    assert woman.arithmetic == "(140 - 58) x 63 kg / (72 x 1.3 mg/dL) x 0.85 = 46.9 mL/min"
    per_kg = cockcroft_gault_per_kg(knowledge.kidney, 50, "male", Decimal("1.25"))
    assert per_kg.arithmetic == "(140 - 50) / (72 x 1.25 mg/dL) = 1.00 mL/min/kg"
    converted = cockcroft_gault_per_kg(knowledge.kidney, 40, "male", Decimal("1.23456"))
    assert converted.arithmetic == "(140 - 40) / (72 x 1.235 mg/dL) = 1.13 mL/min/kg"


@pytest.mark.parametrize(
    ("value", "unit", "rounded"),
    [
        ("59.4999", "mL/min", "59"),
        ("59.5", "mL/min", "60"),
        ("60.5", "mL/min", "61"),
        ("0.4", "mL/min", "0"),
        ("1.404999", "mL/min/kg", "1.40"),
        ("1.405", "mL/min/kg", "1.41"),
    ],
)
def test_clearances_are_rounded_half_up(value: str, unit: str, rounded: str) -> None:
    assert str(Clearance(Decimal(value), unit, "", "").rounded) == rounded


# --------------------------------------------------------------------------------------------------------------------
# Schwartz


@pytest.mark.parametrize(
    ("age", "sex", "height", "creatinine", "k"),
    [
        (0, "male", "60", "0.4", "0.45"),
        (1, "female", "78", "0.3", "0.45"),
        (2, "male", "88", "0.35", "0.55"),
        (12, "male", "150", "0.7", "0.55"),
        (13, "male", "157", "0.8", "0.70"),
        (13, "female", "157", "0.8", "0.55"),
        (15, "female", "162", "0.9", "0.55"),
        (16, "female", "164", "0.9", "0.70"),
        (17, "male", "175", "1.1", "0.70"),
    ],
)
def test_schwartz(age: int, sex: str, height: str, creatinine: str, k: str, knowledge: Knowledge) -> None:
    row = k_of(knowledge.kidney, age, sex, set())
    found = schwartz(knowledge.kidney, row.k, Decimal(height), Decimal(creatinine))
    assert close(found.value, Fraction(k) * Fraction(height) / Fraction(creatinine))
    assert found.unit == "mL/min/1.73 m2"
    assert "capped" not in found.arithmetic


@pytest.mark.parametrize(
    ("age", "sex", "present", "k", "or_k"),
    [
        (0, "male", {"low-birth-weight"}, "0.45", "0.33"),
        (0, "male", set(), "0.45", "None"),
        (1, "male", {"low-birth-weight"}, "0.45", "None"),
        (15, "female", set(), "0.55", "None"),
        (16, "female", set(), "0.70", "0.55"),
        (16, "male", set(), "0.70", "None"),
        (17, "female", set(), "0.70", "None"),
    ],
)
def test_sources_disagree_on_k(age: int, sex: str, present: set[str], k: str, or_k: str, knowledge: Knowledge) -> None:
    row = k_of(knowledge.kidney, age, sex, present)
    assert (str(row.k), str(row.or_k)) == (k, or_k)
    assert bool(row.because) == (or_k != "None")


@pytest.mark.parametrize(("creatinine", "capped"), [("0.55", False), ("0.5499", True), ("0.2", True)])
def test_schwartz_is_capped_at_150(creatinine: str, capped: bool, knowledge: Knowledge) -> None:
    found = schwartz(knowledge.kidney, Decimal("0.55"), Decimal(150), Decimal(creatinine))  # 0.55 x 150 / 0.55 = 150
    assert found.value == 150
    assert ("capped at 150" in found.arithmetic) == capped


# --------------------------------------------------------------------------------------------------------------------
# Weight


@pytest.mark.parametrize(
    ("sex", "weight", "height", "exact"),
    [
        ("male", "100", "177.8", Fraction("83.8")),  # 70 in: ideal 73; 73 + 0.4 x 27
        ("female", "100", "162.56", Fraction("72.82")),  # 64 in: ideal 54.7; 54.7 + 0.4 x 45.3
        ("male", "90", "152.4", Fraction("66")),  # 60 in: ideal 50
        ("female", "80", "140", Fraction("59.3")),  # below 60 in the ideal weight is not lowered: 45.5
    ],
)
def test_adjusted_weight(sex: str, weight: str, height: str, exact: Fraction, knowledge: Knowledge) -> None:
    assert close(adjusted_weight(knowledge.kidney, sex, Decimal(weight), Decimal(height)), exact)


@pytest.mark.parametrize(("weight", "adjusted"), [("120", True), ("119.99", False)])
def test_adjusted_weight_is_looked_at_from_bmi_30_on(weight: str, adjusted: bool, knowledge: Knowledge) -> None:
    facts = patient(lab("creatinine", "1"), lab("weight", weight), lab("height", "200"))  # 120 / 2^2 = 30
    kidney = kidney_of(facts, knowledge)
    assert (kidney.second is not None) == adjusted
    assert kidney.clearance is not None
    assert kidney.clearance.formula == "Cockcroft-Gault, actual weight"
    if kidney.second:
        ideal = 50 + Fraction("2.3") * (200 / Fraction("2.54") - 60)
        lighter = ideal + Fraction(4, 10) * (120 - ideal)
        assert close(kidney.second.value, (140 - 56) * lighter / 72)
        assert "height" in [entry.name for entry in kidney.inputs]


def test_without_a_height_there_is_no_adjusted_weight(knowledge: Knowledge) -> None:
    kidney = kidney_of(patient(lab("creatinine", "1"), lab("weight", "180")), knowledge)
    assert (kidney.second, kidney.second_because) == (None, "")


# --------------------------------------------------------------------------------------------------------------------
# What is needed


def test_every_input_of_the_arithmetic_is_kept(knowledge: Knowledge) -> None:
    kidney = kidney_of(patient(lab("creatinine", "1.25"), lab("weight", "80"), born=date(1976, 11, 21)), knowledge)
    assert [(entry.name, entry.value) for entry in kidney.inputs] == [
        ("serum creatinine", "1.25"),
        ("weight", "80"),
        ("age", "50"),
        ("sex", "male"),
        ("creatinine clearance", "80"),
    ]


@pytest.mark.parametrize(
    ("facts", "lacking"),
    [
        (patient(), ["serum creatinine", "weight"]),
        (patient(lab("creatinine", "1")), ["weight"]),
        (patient(lab("weight", "70")), ["serum creatinine"]),
        (patient(lab("creatinine", "1"), lab("weight", "70"), born=NONE), ["date of birth"]),
        (patient(lab("creatinine", "1"), lab("weight", "70"), sex=NONE), ["sex"]),
        (patient(lab("creatinine", "1"), lab("weight", "30"), born=date(2016, 1, 1)), ["height"]),
        (patient(lab("creatinine", "1"), lab("weight", "70"), born=date(1886, 11, 21)), ["date of birth"]),  # 140 years
    ],
)
def test_what_is_lacking_is_named_and_nothing_is_computed(
    facts: Facts, lacking: list[str], knowledge: Knowledge
) -> None:
    kidney = kidney_of(facts, knowledge)
    assert [name for name, _ in kidney.lacking] == lacking
    assert kidney.clearance is None


def test_per_kg_needs_no_weight(knowledge: Knowledge) -> None:
    kidney = assess(patient(lab("creatinine", "1")), knowledge.kidney, 18, per_kg=True)
    assert kidney.lacking == ()
    assert str(kidney.clearance) == "1.17 mL/min/kg"  # (140 - 56) / 72
    assert kidney.inputs[-1].value == "1.17"


def test_per_kg_the_build_does_not_matter(knowledge: Knowledge) -> None:
    heavy = patient(lab("creatinine", "1"), lab("weight", "150"), lab("height", "170"))
    kidney = assess(heavy, knowledge.kidney, 18, per_kg=True)
    assert (kidney.second, kidney.second_because) == (None, "")
    assert "height" not in [entry.name for entry in kidney.inputs]


def test_a_child_needs_a_height_also_for_a_drug_dosed_per_kg(knowledge: Knowledge) -> None:
    child = patient(lab("creatinine", "0.5"), lab("weight", "30"), born=date(2016, 1, 1))
    kidney = assess(child, knowledge.kidney, 18, per_kg=True)
    assert [name for name, _ in kidney.lacking] == ["height"]
    assert kidney.clearance is None


def test_a_childs_height_is_among_the_inputs(knowledge: Knowledge) -> None:
    child = patient(lab("creatinine", "0.55"), lab("height", "130"), born=date(2016, 1, 1))
    kidney = kidney_of(child, knowledge)
    assert str(kidney.clearance) == "130 mL/min/1.73 m2"  # 0.55 x 130 / 0.55
    assert [entry.name for entry in kidney.inputs][:2] == ["serum creatinine", "height"]


@pytest.mark.parametrize(
    ("born", "formula"),
    [
        (date(2008, 11, 21), "Cockcroft-Gault, actual weight"),  # 18 today
        (date(2008, 11, 22), "Modified Schwartz"),  # 18 tomorrow
    ],
)
def test_the_formula_follows_the_age_in_completed_years(born: date, formula: str, knowledge: Knowledge) -> None:
    facts = patient(lab("creatinine", "1"), lab("weight", "60"), lab("height", "170"), born=born)
    kidney = kidney_of(facts, knowledge)
    assert kidney.clearance is not None
    assert kidney.clearance.formula == formula
    assert bool(kidney.age_note) == (formula == "Modified Schwartz")


# --------------------------------------------------------------------------------------------------------------------
# A moving creatinine (KDIGO: 0.3 mg/dL within 48 hours, or 1.5 times within 7 days)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def hours_ago(hours: float) -> datetime:
    return NOON - timedelta(hours=hours)


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.mark.parametrize(
    ("earlier", "when", "now", "word"),
    [
        ("1.00", hours_ago(48), "1.30", "rising"),
        ("1.00", hours_ago(48), "1.29", ""),
        ("1.00", hours_ago(48.01), "1.30", ""),
        ("1.30", hours_ago(48), "1.00", "falling"),
        ("1.00", hours_ago(168), "1.50", "rising"),
        ("1.00", hours_ago(168), "1.49", ""),
        ("1.00", hours_ago(168.01), "1.50", ""),
        ("1.50", hours_ago(168), "1.00", "falling"),
        ("0.40", hours_ago(24), "0.60", "rising"),
        ("1.00", hours_ago(1), "1.00", ""),
        ("4.00", hours_ago(72), "4.60", ""),
    ],
)
def test_the_edges_of_an_acute_change(earlier: str, when: datetime, now: str, word: str, knowledge: Knowledge) -> None:
    facts = patient(lab("creatinine", now, NOON), lab("creatinine", earlier, when), lab("weight", "70"))
    kidney = kidney_of(facts, knowledge)
    assert kidney.moving == word
    assert bool(kidney.moving_because) == bool(word)


@pytest.mark.parametrize(
    ("earlier", "days", "now", "word"),
    [
        ("1.00", 2, "1.30", "rising"),
        ("1.00", 3, "1.30", ""),
        ("1.00", 7, "1.50", "rising"),
        ("1.00", 8, "1.50", ""),
    ],
)
def test_plain_dates_count_in_whole_days(earlier: str, days: int, now: str, word: str, knowledge: Knowledge) -> None:
    facts = patient(lab("creatinine", now), lab("creatinine", earlier, days_ago(days)))
    assert kidney_of(facts, knowledge).moving == word


def test_every_earlier_result_of_the_week_is_looked_at(knowledge: Knowledge) -> None:
    series = [("1.60", 0), ("1.50", 1), ("1.40", 3), ("1.05", 6)]
    facts = patient(*(lab("creatinine", value, days_ago(days)) for value, days in series))
    kidney = kidney_of(facts, knowledge)
    assert kidney.moving == "rising"
    assert kidney.moving_because == "serum creatinine 1.05 mg/dL on 2026-11-15, 1.6 mg/dL on 2026-11-21"


def test_the_nearest_change_tells_the_direction(knowledge: Knowledge) -> None:
    series = [("1.50", 0), ("2.00", 1), ("1.00", 3)]  # up by half, then down by half a milligram
    facts = patient(*(lab("creatinine", value, days_ago(days)) for value, days in series))
    assert kidney_of(facts, knowledge).moving == "falling"


def test_on_dialysis_a_creatinine_is_not_moving(knowledge: Knowledge) -> None:
    labs = (lab("creatinine", "6.0"), lab("creatinine", "3.0", days_ago(1)))
    assert kidney_of(patient(*labs), knowledge).moving == "rising"
    assert kidney_of(patient(*labs, problems=(dialysis("haemodialysis"),)), knowledge).moving == ""


# --------------------------------------------------------------------------------------------------------------------
# Dialysis


def dialysis(modality: str, days: int | None = None, resource_type: str = "Condition") -> Problem:
    since = None if days is None else days_ago(days)
    return Problem(f"dialysis:{modality}", modality, since, f"{resource_type}/{modality}", "status", resource_type)


def transplant(days: int | None) -> Problem:
    since = None if days is None else days_ago(days)
    return Problem("transplant-kidney", "Kidney transplant", since, "Condition/t", "diagnosis")


@pytest.mark.parametrize(
    ("problems", "modality"),
    [
        ([], None),
        ([dialysis("haemodialysis")], "haemodialysis"),
        ([dialysis("haemodialysis", 2000)], "haemodialysis"),  # a condition holds until it is over
        ([dialysis("peritoneal", 10)], "peritoneal"),
        ([dialysis("continuous", 1)], "continuous"),
        ([dialysis("haemodialysis", 14, "Procedure")], "haemodialysis"),
        ([dialysis("haemodialysis", 15, "Procedure")], None),
        ([dialysis("haemodialysis", None, "Procedure")], None),  # a procedure without a date may be long ago
        ([dialysis("haemodialysis", 100), transplant(50)], None),
        ([dialysis("haemodialysis", 50), transplant(50)], "haemodialysis"),
        ([dialysis("haemodialysis", 20), transplant(50)], "haemodialysis"),  # the graft failed
        ([dialysis("haemodialysis", 60), transplant(900), transplant(50)], None),  # the last graft counts
        ([dialysis("haemodialysis", 100), transplant(None)], "haemodialysis"),
        ([dialysis("haemodialysis", None), transplant(50)], "haemodialysis"),
        ([dialysis("haemodialysis", 5, "Procedure"), dialysis("continuous", 1, "Procedure")], "continuous"),
        ([dialysis("haemodialysis"), dialysis("peritoneal")], "peritoneal"),
        ([transplant(50)], None),
    ],
)
def test_dialysis_in_force(problems: list[Problem], modality: str | None, knowledge: Knowledge) -> None:
    found = current_dialysis(patient(problems=tuple(problems)), knowledge.kidney)
    assert (found.modality if found else None) == modality
    if found:
        assert not found.assumed
        assert found.ref.endswith(f"/{modality}")


def test_dialysis_of_no_known_kind_is_taken_as_haemodialysis_and_says_so(knowledge: Knowledge) -> None:
    found = current_dialysis(patient(problems=(dialysis("unspecified", 30),)), knowledge.kidney)
    assert found is not None
    assert (found.modality, found.assumed) == ("haemodialysis", True)
    assert found.because.endswith("(2026-10-22)")


# --------------------------------------------------------------------------------------------------------------------
# Doubt


@pytest.mark.parametrize(
    ("found", "doubts"),
    [
        (lab("albumin", "2.9", days_ago(90)), 1),
        (lab("albumin", "3.0"), 0),
        (lab("albumin", "2.9", days_ago(91)), 0),
        (lab("upcr", "3000"), 1),
        (lab("upcr", "2999"), 0),
        (lab("upcr", "3000", days_ago(91)), 0),
    ],
)
def test_when_a_clearance_may_read_too_high(found: Lab, doubts: int, knowledge: Knowledge) -> None:
    assert len(kidney_of(patient(found), knowledge).doubts) == doubts


def test_nephrotic_syndrome_and_oedema_are_named(knowledge: Knowledge) -> None:
    nephrotic = Problem("nephrotic-syndrome", "Nephrotic syndrome", None, "Condition/n", "diagnosis")
    oedema = Problem("oedema", "Ankle oedema", None, "Condition/o", "diagnosis")
    kidney = kidney_of(patient(problems=(nephrotic, oedema)), knowledge)
    assert kidney.doubts == ("Nephrotic syndrome",)
    assert kidney.fluid == "Ankle oedema"


# --------------------------------------------------------------------------------------------------------------------
# How it is told


@pytest.mark.parametrize(
    ("born", "told"),
    [
        (date(1979, 11, 21), "47 years"),
        (date(2024, 11, 21), "2 years"),  # the second birthday
        (date(2024, 11, 22), "23 months"),
        (date(2025, 11, 21), "12 months"),
        (date(2026, 10, 21), "1 month"),
        (date(2026, 10, 22), "30 days"),
        (date(2026, 11, 20), "1 day"),
        (TODAY, "0 days"),
    ],
)
def test_an_age_below_two_years_is_told_in_months_or_days(born: date, told: str, knowledge: Knowledge) -> None:
    facts = patient(lab("creatinine", "0.4"), lab("weight", "9"), lab("height", "75"), born=born)
    assert " ".join(map(str, facts.age_told)) == told
    (age,) = (shown for shown in kidney_of(facts, knowledge).inputs if shown.name == "age")
    assert f"{age.value} {age.unit}" == told


def test_what_is_missing_is_told_by_its_reason() -> None:
    assert Missing(Why.NONE_ON_FILE).of("weight") == "no weight on file"
    assert Missing(Why.UNUSABLE, "0 kg").of("weight") == "no usable weight"
    assert Missing(Why.NOT_SENT).of("weight") == "weight not sent"
    assert Missing(Why.FETCH_FAILED).of("weight") == "weight fetch failed"
