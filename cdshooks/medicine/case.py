"""One order with everything a check looks at, put together once: dose table, dose row, kidneys."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from cdshooks.medicine.course import Course, course_of
from cdshooks.medicine.kidney import Kidney, assess
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules import Cite, DoseRow, DoseRule, Formula, RenalDoseRule, TableRegimen, When
from cdshooks.model import (
    Facts,
    Finding,
    Indicator,
    Input,
    Lab,
    LabRequest,
    Missing,
    Order,
    Regimen,
    Why,
)


@dataclass(frozen=True, slots=True)
class RenalCase:
    """The dose table that applies to an order, and the kidney function that it asks for."""

    table: RenalDoseRule
    kidney: Kidney
    is_child: bool  # below the age at which the adult table starts


@dataclass(frozen=True, slots=True)
class DoseCase:
    """The row of a dose rule that applies. `expected` are its regimens, computed where the row has a formula.

    `lacking` names what a condition or a formula needs and the record does not give. `unseen` are the rows that would
    apply instead beside a drug that could not be looked for. `assumed` is said where the phase had to be supposed.
    """

    rule: DoseRule
    row: DoseRow
    expected: tuple[TableRegimen, ...] = ()
    arithmetic: str = ""
    inputs: tuple[Input, ...] = ()
    lacking: tuple[tuple[str, Missing], ...] = ()
    unseen: tuple[DoseRow, ...] = ()
    assumed: str = ""

    @property
    def by_clearance(self) -> bool:
        """Does the dose hang on the computed clearance?"""
        return self.row.formula is not None and "clearance" in self.row.formula.times


@dataclass(frozen=True, slots=True)
class Case:
    """One systemic order. `renal` and `dose` are None without such a rule for the drug and route, or without a row."""

    order: Order
    renal: RenalCase | None
    dose: DoseCase | None
    course: Course
    facts: Facts
    knowledge: Knowledge

    def finding(
        self,
        rule: str,
        topic: str,
        indicator: Indicator,
        summary: str,
        *because: str,
        cites: Sequence[Cite],
        inputs: Sequence[Input] = (),
        expected: str = "",
        lab_requests: Sequence[LabRequest] = (),
        withdraw: str = "",
    ) -> Finding:
        """A finding on this order; `summary` follows the order's name, `withdraw` counts for a draft alone."""
        order = self.order
        return Finding(
            topic=topic,
            indicator=indicator,
            rules=(rule,),
            order=order.chart,
            drug=order.product.drug,
            summary=f"{order.label}{summary}",
            because=tuple(filter(None, because)),
            citations=tuple(dict.fromkeys(map(self.knowledge.citation, cites))),
            intent=order.intent,
            inputs=tuple(inputs),
            ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
            expected=expected,
            lab_requests=tuple(lab_requests),
            withdraw=withdraw if order.draft else "",
        )

    def transplanted_on(self, concepts: Collection[str]) -> date | None:
        """The day of the latest of these transplantations: of an operation, else as the problem list has it."""
        found = [p for p in self.facts.problems if p.concept in concepts and p.since and p.kind != "complication"]
        operations = [p.since for p in found if p.resource_type == "Procedure" and p.since]
        return max(operations or [p.since for p in found if p.since], default=None)


def cases(facts: Facts, knowledge: Knowledge) -> Iterator[Case]:
    """The orders to check. A route that is not systemic never gets a systemic check."""
    yield from (case_of(order, facts, knowledge) for order in facts.orders if order.systemic)


def case_of(order: Order, facts: Facts, knowledge: Knowledge) -> Case:
    """One order, to be judged or not, with everything put together."""
    table = knowledge.dose_table(order.product.drug, order.route, order.indication)
    renal = None
    if table:
        kidney = assess(facts, knowledge.kidney, table.adults_from_years, per_kg=table.per_kg)
        renal = RenalCase(table, kidney, facts.is_younger_than(table.adults_from_years))
    dose, course = _dose_case(order, renal, facts, knowledge), course_of(order, facts, knowledge)
    return Case(order, renal, dose, course, facts, knowledge)


def _dose_case(order: Order, renal: RenalCase | None, facts: Facts, knowledge: Knowledge) -> DoseCase | None:
    """The first row whose conditions hold, with what it expects; None when no rule has a row for this order."""
    for rule in knowledge.dose:
        if rule.drug != order.product.drug or order.route not in rule.routes:
            continue
        unseen: list[DoseRow] = []
        for row in rule.rows:
            held = _holds(row.when, order, facts)
            if isinstance(held, tuple):
                return DoseCase(rule, row, lacking=(held,), unseen=tuple(unseen))
            if (
                held
                and row.when.with_drugs
                and not facts.medicines.keys() & knowledge.medicines.members(row.when.with_drugs)
            ):
                held = False
                if medicines_gap(facts):
                    unseen.append(row)
            if held:
                found = DoseCase(rule, row, row.regimens, unseen=tuple(unseen), assumed=_assumed(row.when, order))
                return _with_expected(found, renal, facts)
    return None


def medicines_gap(facts: Facts) -> Missing | None:
    """Why drugs beside the order may have gone unseen; None when the whole medication list is known."""
    if facts.medicines_gap is None and "medications" in facts.incomplete:
        return Missing(Why.NOT_SENT, "only its first page was")
    return facts.medicines_gap


def _holds(when: When, order: Order, facts: Facts) -> bool | tuple[str, Missing]:
    """Do the conditions of a row hold, but for those on other drugs? (name, why) when what decides is not known.

    An order of unknown phase is taken for the phase that the row asks for.
    """
    if when.routes and order.route not in when.routes:
        return False
    if when.problems and not ({problem.concept for problem in facts.problems} | order.concepts) & set(when.problems):
        return False
    if when.phases and order.intent.phase not in (None, *when.phases):
        return False
    lacking: list[tuple[str, Missing]] = []
    if when.years_at_least is not None or when.years_below is not None or when.days_below is not None:
        if isinstance(facts.born, Missing):
            lacking.append(("date of birth", facts.born))
        elif not _of_age(when, facts, facts.born):
            return False
    if when.kg_at_least is not None or when.kg_below is not None:
        weight = facts.newest("weight")
        if isinstance(weight, Missing):
            lacking.append(("weight", weight))
        elif not _of_weight(when, weight.value):
            return False
    return lacking[0] if lacking else True


def _of_age(when: When, facts: Facts, born: date) -> bool:
    return not (
        (when.years_at_least is not None and facts.is_younger_than(when.years_at_least))
        or (when.years_below is not None and not facts.is_younger_than(when.years_below))
        or (when.days_below is not None and (facts.today - born).days >= when.days_below)
    )


def _of_weight(when: When, kg: Decimal) -> bool:
    return (when.kg_at_least is None or kg >= when.kg_at_least) and (when.kg_below is None or kg < when.kg_below)


def _assumed(when: When, order: Order) -> str:
    if when.phases and order.intent.phase is None:
        return f"taken as {when.phases[0].value}: the order does not say what it is for"
    return ""


def _with_expected(case: DoseCase, renal: RenalCase | None, facts: Facts) -> DoseCase:
    """The case with the regimen that its formula gives, or with what the formula lacks."""
    formula, every = case.row.formula, case.row.every
    if formula is None or every is None:
        return case
    if case.by_clearance and renal and renal.kidney.dialysis:
        return case  # there creatinine tells no clearance
    factors: list[_Factor] = []
    lacking: dict[tuple[str, Missing], None] = {}  # in order, each once
    for name in formula.times:
        found = _factor(name, renal, facts)
        if isinstance(found, _Factor):
            factors.append(found)
        else:
            lacking |= dict.fromkeys(found)
    if lacking:
        return replace(case, lacking=tuple(lacking))
    raw = formula.factor
    for factor in factors:
        raw *= factor.value
    dose = _limited(raw, formula)
    words = " x ".join([str(formula.factor), *(factor.shown for factor in factors)])
    given = f", given as {dose.normalize():f} mg" if dose != raw else ""
    return replace(
        case,
        expected=(TableRegimen(dose=(dose, "mg"), every=every),),
        arithmetic=f"{words} = {raw:.1f} mg{given}",
        inputs=tuple(factor.input for factor in factors if factor.input),
    )


def _limited(dose: Decimal, formula: Formula) -> Decimal:
    """The dose as it is given, mg: at most so much, rounded; one too small to be rounded stays as computed."""
    if formula.most_mg is not None:
        dose = min(dose, formula.most_mg)
    if formula.round_mg is None:
        return dose
    steps = (dose / formula.round_mg).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    return steps * formula.round_mg if steps else dose


@dataclass(frozen=True, slots=True)
class _Factor:
    """One factor of a formula, exact and as a card shows it; `input` where the kidney function does not bring it."""

    value: Decimal
    shown: str
    input: Input | None = None


def _factor(name: str, renal: RenalCase | None, facts: Facts) -> _Factor | tuple[tuple[str, Missing], ...]:
    """A factor of a formula, or (name, why) of everything that it lacks."""
    if name == "clearance":
        if renal and renal.kidney.clearance:
            return _Factor(renal.kidney.clearance.value, f"{renal.kidney.clearance.value:.1f}")
        unknown = (("creatinine clearance", Missing(Why.UNUSABLE, "not computed")),)
        return (renal.kidney.lacking if renal else ()) or unknown
    weight, height = facts.newest("weight"), facts.newest("height")
    if name == "weight" and isinstance(weight, Lab):
        shown = f"{weight.value.normalize():f}"
        return _Factor(weight.value, shown, Input(name, shown, weight.unit, weight.on.isoformat(), weight.ref))
    if isinstance(weight, Lab) and isinstance(height, Lab):
        surface = body_surface_area(height, weight)
        shown = f"{surface:.3f}"
        return _Factor(surface, shown, Input(name, shown, "m2", facts.today.isoformat()))
    needed = {"weight": weight} if name == "weight" else {"weight": weight, "height": height}
    return tuple((what, value) for what, value in needed.items() if isinstance(value, Missing))


def body_surface_area(height: Lab, weight: Lab) -> Decimal:
    """Mosteller: the root of height (cm) times weight (kg) over 3600, m2."""
    return (height.value * weight.value / 3600).sqrt()
