"""One order with everything a check looks at, put together once: dose table, dose row, kidneys."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from cdshooks.medicine.kidney import Kidney, assess
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules import DoseRow, DoseRule, Formula, RenalDoseRule, TableRegimen, When
from cdshooks.model import Facts, Input, Lab, Missing, Order, Why


@dataclass(frozen=True, slots=True)
class RenalCase:
    """The dose table that applies to an order, and the kidney function that it asks for."""

    table: RenalDoseRule
    kidney: Kidney
    is_child: bool  # below the age at which the adult table starts


@dataclass(frozen=True, slots=True)
class DoseCase:
    """The row of a dose rule that applies. `expected` are its regimens, computed where the row has a formula.

    `lacking` names what a condition or a formula needs and the record does not give; `assumed` what was supposed.
    """

    rule: DoseRule
    row: DoseRow
    expected: tuple[TableRegimen, ...] = ()
    arithmetic: str = ""
    inputs: tuple[Input, ...] = ()
    lacking: tuple[tuple[str, Missing], ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One systemic order. `renal` and `dose` are None without such a rule for the drug and route, or without a row."""

    order: Order
    renal: RenalCase | None
    dose: DoseCase | None
    facts: Facts
    knowledge: Knowledge


def cases(facts: Facts, knowledge: Knowledge) -> Iterator[Case]:
    """The orders to check. A route that is not systemic never gets a systemic check."""
    for order in facts.orders:
        if not order.systemic:
            continue
        table = knowledge.dose_table(order.product.drug, order.route, order.indication)
        renal = None
        if table:
            kidney = assess(facts, knowledge.kidney, table.adults_from_years, per_kg=table.per_kg)
            renal = RenalCase(table, kidney, facts.is_younger_than(table.adults_from_years))
        yield Case(order, renal, _dose_case(order, renal, facts, knowledge), facts, knowledge)


def _dose_case(order: Order, renal: RenalCase | None, facts: Facts, knowledge: Knowledge) -> DoseCase | None:
    """The first row whose conditions hold, with what it expects; None when no rule has a row for this order."""
    for rule in knowledge.dose:
        if rule.drug != order.product.drug or order.route not in rule.routes:
            continue
        assumed: list[str] = []
        for row in rule.rows:
            held = _holds(row.when, order, facts, assumed)
            if isinstance(held, tuple):
                return DoseCase(rule, row, lacking=(held,), assumed=tuple(assumed))
            if held:
                return _with_expected(DoseCase(rule, row, row.regimens, assumed=tuple(assumed)), renal, facts)
    return None


def _holds(when: When, order: Order, facts: Facts, assumed: list[str]) -> bool | tuple[str, Missing]:
    """Do the conditions of a row hold? (name, why) when the record does not give what decides."""
    if when.routes and order.route not in when.routes:
        return False
    if when.problems and not ({problem.concept for problem in facts.problems} | order.concepts) & set(when.problems):
        return False
    if when.with_drugs and not facts.medicines.keys() & set(when.with_drugs):
        if facts.medicines_gap:
            names = " or ".join(when.with_drugs)
            assumed.append(f"{names} could not be looked for (medication list {facts.medicines_gap})")
        return False
    if when.years_below is not None or when.years_at_least is not None:
        if isinstance(facts.born, Missing):
            return "date of birth", facts.born
        age = facts.age or 0  # known: born is
        if not (when.years_at_least or 0) <= age < (when.years_below or 200):
            return False
    if (
        when.days_below is not None
        and not isinstance(facts.born, Missing)
        and (facts.today - facts.born).days >= when.days_below
    ):
        return False
    if when.kg_at_least is not None or when.kg_below is not None:
        weight = facts.newest("weight")
        if isinstance(weight, Missing):
            return "weight", weight
        if weight.value < (when.kg_at_least or 0) or (when.kg_below is not None and weight.value >= when.kg_below):
            return False
    if when.phases and order.intent.phase is None:
        assumed.append(f"taken as {when.phases[0].value}: the order does not say what it is for")
        return True
    return not when.phases or order.intent.phase in when.phases


def _with_expected(case: DoseCase, renal: RenalCase | None, facts: Facts) -> DoseCase:
    """The case with the regimen that its formula gives, or with what the formula lacks."""
    formula, every = case.row.formula, case.row.every
    if formula is None or every is None:
        return case
    factors, lacking, inputs = [], [], []
    for name in formula.times:
        value = _factor(name, renal, facts)
        if isinstance(value, Missing):
            lacking.append((name, value))
        else:
            number, shown, unit = value
            factors.append((number, shown))
            inputs.append(Input(name, shown, unit, facts.today.isoformat()))
    if lacking:
        return replace(case, lacking=tuple(lacking))
    raw = formula.factor
    for number, _ in factors:
        raw *= number
    dose = _limited(raw, formula)
    words = " x ".join([str(formula.factor), *(shown for _, shown in factors)])
    arithmetic = f"{words} = {raw:.0f} mg" + (f", given as {dose.normalize():f} mg" if dose != raw else "")
    regimen = TableRegimen(dose=(dose, "mg"), every=every)
    return replace(case, expected=(regimen,), arithmetic=arithmetic, inputs=tuple(inputs))


def _limited(dose: Decimal, formula: Formula) -> Decimal:
    if formula.most_mg is not None:
        dose = min(dose, formula.most_mg)
    if formula.round_mg is not None:
        dose = (dose / formula.round_mg).quantize(Decimal(1), rounding=ROUND_HALF_UP) * formula.round_mg
    return dose


def _factor(name: str, renal: RenalCase | None, facts: Facts) -> tuple[Decimal, str, str] | Missing:
    """(value, as shown, unit) of a factor of a formula."""
    weight, height = facts.newest("weight"), facts.newest("height")
    if name == "clearance":
        if renal and renal.kidney.clearance:
            value = renal.kidney.clearance.value
            return value, f"{value:.1f}", renal.kidney.clearance.unit
        return renal.kidney.lacking[0][1] if renal and renal.kidney.lacking else Missing(Why.UNUSABLE, "not computed")
    if isinstance(weight, Missing):
        return weight
    if name == "weight":
        return weight.value, f"{weight.value.normalize():f}", "kg"
    if isinstance(height, Missing):
        return height
    surface = body_surface_area(height, weight)
    return surface, f"{surface:.2f}", "m2"


def body_surface_area(height: Lab, weight: Lab) -> Decimal:
    """Mosteller: the root of height (cm) times weight (kg) over 3600, m2."""
    return (height.value * weight.value / 3600).sqrt()
