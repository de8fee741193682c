"""Kidney function of the patient as the labels mean it: clearance, dialysis, and how far it can be trusted.

Cockcroft-Gault for adults and modified Schwartz for children, in exact decimals; every input is kept so that the
arithmetic can be redone by hand. Constants and limits are in mappings/kidney.yaml. No check is made here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from cdshooks.medicine.rules.kidney import CockcroftGault, KidneyRule, SchwartzK
from cdshooks.model import Facts, Input, Lab, Missing, Order, Results, Why

DIALYSIS_KINDS = ("unspecified", "haemodialysis", "peritoneal", "continuous")  # the one that changes dosing most last
_STANDARD_SURFACE = Decimal("1.73")  # m2, of the unit that the formula for children gives


@dataclass(frozen=True, slots=True)
class Dialysis:
    """Kidney replacement in force: which kind, how we know, and whether the kind itself is assumed."""

    modality: str
    because: str
    ref: str
    assumed: bool
    prolonged: bool = False  # not continuous, but judged like it: SLED


@dataclass(frozen=True, slots=True)
class Clearance:
    """A computed creatinine clearance, unrounded: mL/min or mL/min/kg (adult), mL/min/1.73 m2 (child)."""

    value: Decimal
    unit: str
    formula: str  # "Cockcroft-Gault, actual weight"
    arithmetic: str  # the formula with the numbers in it
    by: str = ""  # "actual weight", "adjusted weight", "the formula", "measurement"

    @property
    def rounded(self) -> Decimal:
        """As labels print it: whole numbers, per kg two decimals."""
        step = Decimal("0.01") if self.unit == "mL/min/kg" else Decimal(1)
        return self.value.quantize(step, rounding=ROUND_HALF_UP)

    def __str__(self) -> str:
        """The rounded figure with its unit."""
        return f"{self.rounded} {self.unit}"


@dataclass(frozen=True, slots=True)
class Kidney:
    """What is known of the kidneys. `clearance` is None when `lacking` names what it could not be computed for."""

    clearance: Clearance | None
    second: Clearance | None  # another way: with adjusted weight where BMI asks for it, measured, by another k
    second_because: str  # "BMI 34", "measured on 2026-11-18"
    dialysis: Dialysis | None
    dialysis_said: str  # how the order speaks of a dialysis that is not on file
    lacking: tuple[tuple[str, Missing], ...]  # (input in words, why)
    creatinine: Lab | None
    creatinine_days: int
    moving: str  # "", "rising", "falling"
    moving_because: str
    doubts: tuple[str, ...]  # why the clearance may read too high: low albumin, nephrotic syndrome
    fluid: str  # oedema in words: the weight may hold fluid
    age_note: str
    inputs: tuple[Input, ...]


def assess(
    facts: Facts, rule: KidneyRule, adults_from_years: int, *, per_kg: bool = False, order: Order | None = None
) -> Kidney:
    """Kidney function of the patient today, for a drug whose adult table starts at `adults_from_years`.

    `per_kg` asks for the clearance per kg of body weight, which needs no weight. An `order` that speaks of dialysis
    counts where the record has none and the clearance does not speak against it.
    """
    dialysis = current_dialysis(facts, rule)
    creatinine, weight, height = (facts.newest(name) for name in ("creatinine", "weight", "height"))
    age = facts.age
    born = facts.born
    if age is not None and age >= rule.cockcroft_gault.age_from:  # there the formula ends
        born = Missing(Why.UNUSABLE, f"it gives an age of {age} years")
    child = facts.is_younger_than(adults_from_years)
    rows = k_rows(rule, facts) if child else ()
    needed: list[tuple[str, object]] = [("serum creatinine", creatinine), ("date of birth", born)]
    if not child or len(k_rows(rule, facts, of_any_age=False)) > 1:
        needed.append(("sex", facts.sex))
    if child or not per_kg:
        needed.append(("height", height) if child else ("weight", weight))
    lacking = tuple((name, value) for name, value in needed if isinstance(value, Missing))
    clearance = second = None
    second_because = age_note = ""
    bmi = _bmi(weight, height) if not child and not per_kg else None
    measured = _measured(facts, rule, weight) if per_kg and not child else None
    if child and not lacking and isinstance(creatinine, Lab) and isinstance(height, Lab):
        row = rows[0]
        age_note = " ".join(filter(None, (row.remark, rule.schwartz.remark)))
        clearance = schwartz(rule, row.k, height.value, creatinine.value)
        if len(rows) > 1:
            second = schwartz(rule, rows[-1].k, height.value, creatinine.value)
            ages = f"{facts.ages[-1]} or {facts.ages[0]}"
            second_because = f"of the date of birth only year or month is known (an age of {ages}), and k depends on it"
        elif row.or_k is not None:
            second = schwartz(rule, row.or_k, height.value, creatinine.value)
            second_because = row.because
    if not child and not lacking and isinstance(creatinine, Lab) and age is not None and isinstance(facts.sex, str):
        if per_kg:
            clearance = cockcroft_gault_per_kg(rule, age, facts.sex, creatinine.value)
        elif isinstance(weight, Lab):
            clearance = cockcroft_gault(rule, age, facts.sex, weight.value, creatinine.value, "actual weight")
            if bmi is not None and bmi >= rule.adjusted_weight.bmi_at_least and isinstance(height, Lab):
                lighter = adjusted_weight(rule, facts.sex, weight.value, height.value)
                second = cockcroft_gault(rule, age, facts.sex, lighter, creatinine.value, "adjusted weight")
                weighed = _adjusted_in_words(rule, facts.sex, weight.value, height.value)
                second = replace(second, arithmetic=f"{second.arithmetic}; {weighed}")
                second_because = f"BMI {bmi:.0f}"
    if measured:
        second_because = f"measured on {measured[1].on.isoformat()}"
        clearance, second = (clearance, measured[0]) if clearance else (measured[0], None)
        lacking = ()
    said = order.dialysis[1] if order and dialysis is None else ""
    if order and said and _may_be_dialysed(order.dialysis[0], clearance, rule):
        because = f'assumed, because the order says "{said}"; the record shows none'
        dialysis = _of_kind(order.dialysis[0], because, "")
    moving = because = ""
    if dialysis is None and isinstance(creatinine, Lab):
        moving, because = _movement(creatinine, facts.results["creatinine"], rule)
    inputs = list(
        _inputs(facts, creatinine, weight, height, age, with_height=child or (second is not None and not per_kg))
    )
    if measured:
        inputs.append(_input("measured creatinine clearance", measured[1]))
    if clearance:
        inputs.append(
            Input(
                "creatinine clearance",
                str(clearance.rounded) if per_kg else _shown(clearance.value),
                clearance.unit,
                facts.today.isoformat(),
                clearance.arithmetic,
            )
        )
    return Kidney(
        clearance=clearance,
        second=second,
        second_because=second_because,
        dialysis=dialysis,
        dialysis_said=said,
        lacking=lacking,
        creatinine=creatinine if isinstance(creatinine, Lab) else None,
        creatinine_days=(facts.today - creatinine.on).days if isinstance(creatinine, Lab) else 0,
        moving=moving,
        moving_because=because,
        doubts=tuple(_doubts(facts, rule)),
        fluid=next((p.text or "oedema" for p in facts.problems if p.concept == "oedema"), ""),
        age_note=age_note,
        inputs=tuple(inputs),
    )


def cockcroft_gault(
    rule: KidneyRule, age: int, sex: str, weight_kg: Decimal, creatinine: Decimal, which: str
) -> Clearance:
    """Adult clearance, mL/min; weight in kg, creatinine in mg/dL."""
    formula = rule.cockcroft_gault
    factor, times = _by_sex(formula, sex)
    # multiplied first and divided once, so that 9.5 stays 9.5
    value = (formula.age_from - age) * weight_kg * factor / (formula.divisor * creatinine)
    text = (
        f"({formula.age_from} - {age}) x {_shown(weight_kg, 2)} kg"
        f" / ({formula.divisor} x {_shown(creatinine, 3)} mg/dL){times}"
        f" = {_shown(value)} mL/min"
    )
    return Clearance(value, "mL/min", f"Cockcroft-Gault, {which}", text, which)


def cockcroft_gault_per_kg(rule: KidneyRule, age: int, sex: str, creatinine: Decimal) -> Clearance:
    """Adult clearance per kg of body weight, mL/min/kg; creatinine in mg/dL. The weight cancels out."""
    formula = rule.cockcroft_gault
    factor, times = _by_sex(formula, sex)
    value = (formula.age_from - age) * factor / (formula.divisor * creatinine)
    text = f"({formula.age_from} - {age}) / ({formula.divisor} x {_shown(creatinine, 3)} mg/dL){times}"
    return _per_kg(value, "Cockcroft-Gault per kg", text, "the formula")


def _per_kg(value: Decimal, formula: str, arithmetic: str, by: str) -> Clearance:
    """A clearance per kg, shown with the two decimals that the bands have."""
    found = Clearance(value, "mL/min/kg", formula, "", by)
    return replace(found, arithmetic=f"{arithmetic} = {found}")


def _measured(facts: Facts, rule: KidneyRule, weight: Lab | Missing) -> tuple[Clearance, Lab] | None:
    """A clearance measured in 24 hours per kg of body weight, with its result; None without a recent one."""
    result = facts.newest("creatinine-clearance")
    if isinstance(result, Missing) or isinstance(weight, Missing):
        return None
    if (facts.today - result.on).days > rule.measured.within_days:
        return None
    value = result.value / weight.value
    text = f"{_shown(result.value)} mL/min measured / {_shown(weight.value)} kg"
    return _per_kg(value, "Measured clearance per kg", text, "measurement"), result


def _by_sex(formula: CockcroftGault, sex: str) -> tuple[Decimal, str]:
    """The factor of the formula, and how it stands in the arithmetic."""
    return (formula.female, f" x {formula.female}") if sex == "female" else (Decimal(1), "")


def k_of(rule: KidneyRule, age: int, sex: str, present: set[str]) -> SchwartzK:
    """The row of the k table for a child with these problems on record."""
    return next(
        row
        for row in rule.schwartz.k
        if age < row.below_years and row.sex in ("any", sex) and (not row.problems or present & set(row.problems))
    )


def measured_days(rule: KidneyRule, facts: Facts) -> int:
    """How many days a weight (and a child's height) stands for today, at the age of the patient."""
    return next((row.days for row in rule.growth_days if facts.is_younger_than(row.below_years)), rule.weight_days)


def k_rows(rule: KidneyRule, facts: Facts, *, of_any_age: bool = True) -> tuple[SchwartzK, ...]:
    """The rows of the k table that a child may belong to, the smallest k first: more than one k where it is not known.

    By each sex where none is on record, and by each age where only year or month of birth is known (`of_any_age`).
    """
    sexes = (facts.sex,) if isinstance(facts.sex, str) else ("female", "male")
    ages = facts.ages if of_any_age else facts.ages[:1]
    present = {problem.concept for problem in facts.problems}
    found = {(row.k, row.or_k): row for age in ages for sex in sexes for row in [k_of(rule, age, sex, present)]}
    return tuple(sorted(found.values(), key=lambda row: row.k))


def schwartz(rule: KidneyRule, k: Decimal, height_cm: Decimal, creatinine: Decimal) -> Clearance:
    """A child's clearance, mL/min/1.73 m2, capped; height in cm, creatinine in mg/dL."""
    raw = k * height_cm / creatinine
    value = min(raw, rule.schwartz.cap)
    capped = f", capped at {rule.schwartz.cap}" if raw > value else ""
    text = f"{k} x {_shown(height_cm)} cm / {_shown(creatinine, 3)} mg/dL = {_shown(raw)} mL/min/1.73 m2{capped}"
    return Clearance(value, "mL/min/1.73 m2", "Modified Schwartz", text, f"k {k}")


def child_per_kg(clearance: Clearance, surface: Decimal, weight_kg: Decimal) -> Clearance:
    """A child's clearance (mL/min/1.73 m2) brought back to the child's own body surface (m2), per kg of body weight."""
    value = clearance.value * surface / _STANDARD_SURFACE / weight_kg
    text = (
        f"{_shown(clearance.value)} mL/min/1.73 m2 x {_shown(surface, 3)} m2 / {_STANDARD_SURFACE}"
        f" / {_shown(weight_kg)} kg = {_shown(value, 2)} mL/min/kg"
    )
    return Clearance(value, "mL/min/kg", f"{clearance.formula}, per kg", text, clearance.by)


def adjusted_weight(rule: KidneyRule, sex: str, weight_kg: Decimal, height_cm: Decimal) -> Decimal:
    """Ideal weight plus a share of what is above it, kg."""
    ideal = _ideal_weight(rule, sex, height_cm)
    return ideal + rule.adjusted_weight.fraction * (weight_kg - ideal)


def _adjusted_in_words(rule: KidneyRule, sex: str, weight_kg: Decimal, height_cm: Decimal) -> str:
    """The same with the numbers in it."""
    ideal = _shown(_ideal_weight(rule, sex, height_cm), 2)
    adjusted = _shown(adjusted_weight(rule, sex, weight_kg, height_cm), 2)
    above = f"{rule.adjusted_weight.fraction} x ({_shown(weight_kg, 2)} - {ideal})"
    return f"adjusted weight = ideal {ideal} kg + {above} = {adjusted} kg"


def _ideal_weight(rule: KidneyRule, sex: str, height_cm: Decimal) -> Decimal:
    """Devine's ideal weight, kg."""
    ideal_of = rule.adjusted_weight.ideal
    inches_above = max(height_cm / Decimal("2.54") - 60, Decimal(0))
    return (ideal_of.female if sex == "female" else ideal_of.male) + ideal_of.per_inch_above_60 * inches_above


def _bmi(weight: Lab | Missing, height: Lab | Missing) -> Decimal | None:
    if isinstance(weight, Missing) or isinstance(height, Missing):
        return None
    return weight.value / (height.value / 100) ** 2


def current_dialysis(facts: Facts, rule: KidneyRule) -> Dialysis | None:
    """Dialysis in force: an active problem, a recent procedure or status; one before a kidney transplant is over."""
    grafts = [p.since for p in facts.problems if p.concept == "transplant-kidney" and p.since]
    graft = max(grafts) if grafts else None
    evidence = []
    for problem in facts.problems:
        if not problem.concept.startswith("dialysis:"):
            continue
        old = problem.since is not None and facts.today - problem.since > timedelta(days=rule.dialysis_days)
        if problem.resource_type != "Condition" and (problem.since is None or old):
            continue
        if graft and problem.since and problem.since < graft:
            continue
        evidence.append((problem.concept.removeprefix("dialysis:"), problem))
    if not evidence:
        return None
    kind = max((kind for kind, _ in evidence), key=DIALYSIS_KINDS.index)
    problem = next(problem for each, problem in evidence if each == kind)
    since = f" ({problem.since.isoformat()})" if problem.since else ""
    words = set(problem.text.lower().replace("-", " ").split())
    prolonged = kind == "continuous" and any(words >= set(name.split()) for name in rule.prolonged_dialysis)
    return replace(_of_kind(kind, f"{problem.text or 'dialysis'}{since}", problem.ref), prolonged=prolonged)


def _of_kind(kind: str, because: str, ref: str) -> Dialysis:
    """Dialysis of a kind of DIALYSIS_KINDS; one of no named kind is taken for haemodialysis."""
    assumed = kind == "unspecified"
    return Dialysis("haemodialysis" if assumed else kind, because, ref, assumed)


def _may_be_dialysed(kind: str, clearance: Clearance | None, rule: KidneyRule) -> bool:
    """Does the clearance agree with what an order says? Under continuous or peritoneal dialysis it may be any."""
    limit = rule.dialysis_said
    if clearance is None or kind in ("continuous", "peritoneal"):
        return True
    return clearance.rounded < (limit.per_kg_below if clearance.unit == "mL/min/kg" else limit.clearance_below)


def _movement(newest: Lab, results: Results, rule: KidneyRule) -> tuple[str, str]:
    """Is the newest creatinine moving by an acute-kidney-injury criterion against an earlier one?"""
    limit = rule.acute_change
    for earlier in results.since(newest.on - timedelta(days=limit.within_days))[1:]:
        hours = _hours_between(earlier, newest)
        if hours <= 0:  # two results of one moment are no movement
            continue
        low, high = sorted((earlier.value, newest.value))
        rise = (high - low).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)  # 26.5 umol/L is a rise of 0.3 mg/dL
        small = hours <= limit.within_hours and rise >= limit.rise_mg_dl
        times = (high / low).quantize(Decimal("0.000001"))  # 56 and 84 umol/L are a factor of 1.5
        large = hours <= limit.within_days * 24 and times >= limit.factor
        if (small or large) and high != low:
            word = "rising" if newest.value > earlier.value else "falling"
            return word, (
                f"serum creatinine {_shown(earlier.value, 3)} mg/dL on {earlier.on.isoformat()},"
                f" {_shown(newest.value, 3)} mg/dL on {newest.on.isoformat()}"
            )
    return "", ""


def _hours_between(earlier: Lab, later: Lab) -> Decimal:
    if isinstance(earlier.at, datetime) and isinstance(later.at, datetime):
        return Decimal((later.at - earlier.at).total_seconds()) / 3600
    return Decimal((later.on - earlier.on).days * 24)


def _doubts(facts: Facts, rule: KidneyRule) -> Iterator[str]:
    limit = rule.doubtful
    for name, below in (("albumin", True), ("upcr", False)):
        lab = facts.newest(name)
        if isinstance(lab, Missing) or (facts.today - lab.on).days > limit.albumin_days:
            continue
        if (below and lab.value < limit.albumin_below_g_dl) or (not below and lab.value >= limit.upcr_at_least_mg_g):
            yield f"{'albumin' if below else 'urine protein/creatinine ratio'} {lab.original} on {lab.on.isoformat()}"
    for problem in facts.problems:
        if problem.concept == "nephrotic-syndrome":
            yield problem.text or "nephrotic syndrome"
            return


def _inputs(
    facts: Facts,
    creatinine: Lab | Missing,
    weight: Lab | Missing,
    height: Lab | Missing,
    age: int | None,
    *,
    with_height: bool,
) -> Iterator[Input]:
    if isinstance(creatinine, Lab):
        yield _input("serum creatinine", creatinine)
    if isinstance(weight, Lab):
        yield _input("weight", weight)
    if with_height and isinstance(height, Lab):
        yield _input("height", height)
    if age is not None:
        count, unit = facts.age_told
        yield Input("age", str(count), unit, facts.today.isoformat(), "Patient")
    if isinstance(facts.sex, str):
        yield Input("sex", facts.sex, "", "", "Patient")


def _input(name: str, lab: Lab) -> Input:
    return Input(name, f"{lab.comparator}{_shown(lab.value, 3)}", lab.unit, lab.on.isoformat(), lab.ref)


def _shown(value: Decimal, places: int = 1) -> str:
    """A decimal for reading: at most `places` decimals, no trailing zeros."""
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
