"""One order with everything a check looks at, put together once: dose table, dose row, kidneys."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from math import prod

from cdshooks.medicine.course import Course, course_of
from cdshooks.medicine.dosage.wording import plain
from cdshooks.medicine.kidney import Clearance, Kidney, assess, child_per_kg
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.phase import phase_said
from cdshooks.medicine.rules.dose import CidofovirRule, DoseRow, DoseRule, Formula, Known, Remark, When
from cdshooks.medicine.rules.entries import Cite, Measure
from cdshooks.medicine.rules.renal_dose import Band, RenalDoseRule, TableRegimen
from cdshooks.medicine.rules.safety import ByRoute, SafetyRule
from cdshooks.model import (
    SUMMARY_LIMIT,
    Facts,
    Finding,
    Indicator,
    Input,
    Intent,
    Lab,
    LabRequest,
    Missing,
    Order,
    Phase,
    Regimen,
    Unread,
    Why,
)


@dataclass(frozen=True, slots=True)
class RenalCase:
    """The dose table that applies to an order, and the kidney function that it asks for."""

    table: RenalDoseRule
    kidney: Kidney
    is_child: bool  # below the age at which the adult table starts
    lower: Band | None = None  # the band below, where the clearance may read too high and its edge is near


@dataclass(frozen=True, slots=True)
class LimitsCase:
    """Kidney limits of a drug whose dose stands in no table by kidney function, and the kidney function beside them."""

    rule: CidofovirRule
    kidney: Kidney
    earlier: tuple[Order, ...]  # the orders on file that have given doses of this course

    @property
    def start_clearance(self) -> int | None:
        """The clearance, mL/min, at or below which the drug is not started; None once the therapy runs."""
        return None if self.earlier else self.rule.start.clearance_at_most_ml_min


@dataclass(frozen=True, slots=True)
class KnownDose:
    """What one source has for this patient where none settles the dose; `lacking` names what its formula lacks."""

    known: Known
    regimens: tuple[TableRegimen, ...] = ()
    arithmetic: str = ""
    inputs: tuple[Input, ...] = ()
    lacking: tuple[tuple[str, Missing], ...] = ()


@dataclass(frozen=True, slots=True)
class DoseCase:
    """The row of a dose rule that applies. `expected` are its regimens, computed where the row has a formula.

    `lacking` names what a condition or a formula needs and the record does not give. `unseen` are the rows that would
    apply instead if something on the medication list that could not be looked for were there; `on_hold` those beside a
    drug that is on hold. `assumed` is said where the phase had to be supposed; `readings` are the rows that hold if it
    is another one, or if the order's words outrank the doses on file.
    """

    rule: DoseRule
    row: DoseRow
    expected: tuple[TableRegimen, ...] = ()
    arithmetic: str = ""
    inputs: tuple[Input, ...] = ()
    lacking: tuple[tuple[str, Missing], ...] = ()
    unseen: tuple[DoseRow, ...] = ()
    on_hold: tuple[DoseRow, ...] = ()
    assumed: str = ""
    readings: tuple[DoseRow, ...] = ()
    known: tuple[KnownDose, ...] = ()
    second: TableRegimen | None = None  # by the other clearance, where sources disagree on it and on this regimen
    second_arithmetic: str = ""

    @property
    def by_clearance(self) -> bool:
        """Does the dose hang on the computed clearance?"""
        return self.row.formula is not None and "clearance" in self.row.formula.times

    @property
    def weight_decides(self) -> bool:
        """Does a row of the rule ask for the body weight, or the dose hang on it?"""
        whens = [row.when for row in self.rule.rows]
        return self.by_weight or any((when.kg_at_least, when.kg_below) != (None, None) for when in whens)

    @property
    def by_weight(self) -> bool:
        """Does the dose hang on the body weight?"""
        when = self.row.when
        bands = when.kg_at_least is not None or when.kg_below is not None
        return bands or self.row.formula is not None or any(r.dose[1] == "mg/kg" for r in self.expected)


@dataclass(frozen=True, slots=True)
class RemarkCase:
    """A remark whose conditions hold, or may hold: then `lacking` is (name, why) of what is not known."""

    rule: DoseRule
    remark: Remark
    kidney: Kidney | None
    lacking: tuple[str, Missing] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One systemic order. `renal` and `dose` are None without such a rule for the drug and route, or without a row."""

    order: Order
    renal: RenalCase | None
    dose: DoseCase | None
    course: Course
    facts: Facts
    knowledge: Knowledge
    remarks: tuple[RemarkCase, ...] = ()
    limits: LimitsCase | None = None  # cidofovir's

    def route_rows(self, rule: SafetyRule) -> Iterator[ByRoute]:
        """What a rule of this drug says of the route of the order, or of its form where it is not systemic."""
        order = self.order
        for row in rule.by_route if rule.drug == order.product.drug else ():
            of_form = order.product.form in row.forms
            form_fits = not row.forms or of_form or not order.product.form
            if (order.route in row.routes and (not order.systemic or form_fits)) or (of_form and not order.systemic):
                yield row

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

    @property
    def per_kg_of_child(self) -> Clearance | None:
        """A child's clearance per kg of body weight; None for adults, and where it cannot be computed."""
        weight, height = self.facts.newest("weight"), self.facts.newest("height")
        if self.renal is None or not self.renal.is_child or self.renal.kidney.clearance is None:
            return None
        if isinstance(weight, Missing) or isinstance(height, Missing):
            return None
        return child_per_kg(self.renal.kidney.clearance, body_surface_area(height, weight), weight.value)

    @property
    def ordered_now(self) -> bool:
        """Is it an order of now: a draft, or one that a pharmacist verifies?"""
        return self.order.draft or self.facts.hook == "medication-verify"

    def began(self, phase: Phase) -> date | None:
        """The first day of the therapy: by the orders on file, else as a renewal says it.

        Prophylaxis that no order on file begins counts from the transplantation, where it begins.
        """
        if self.course.since or self.course.runs:
            return self.course.since
        grafted = self.transplanted_on(self.knowledge.phases.prophylaxis_window_days)
        days = (self.order.starts, grafted if phase is Phase.PROPHYLAXIS else None)
        return min((day for day in days if day and day < self.facts.today), default=None)

    def transplanted_on(self, concepts: Collection[str]) -> date | None:
        """The day of the latest of these transplantations: of an operation, else as the problem list has it."""
        found = [p for p in self.facts.problems if p.concept in concepts and p.since and p.kind != "complication"]
        operations = [p.since for p in found if p.resource_type == "Procedure" and p.since]
        return max(operations or [p.since for p in found if p.since], default=None)


def in_one_line(label: str, *endings: str) -> str:
    """The name of an order with the first of these endings that leaves it short enough for a summary, else the last."""
    return next(
        (f"{label}{ending}" for ending in endings if len(label + ending) <= SUMMARY_LIMIT), f"{label}{endings[-1]}"
    )


def cases(facts: Facts, knowledge: Knowledge) -> Iterator[Case]:
    """The orders to check. A route that is not systemic never gets a systemic check."""
    yield from (case_of(order, facts, knowledge) for order in facts.orders if order.systemic)


def case_of(order: Order, facts: Facts, knowledge: Knowledge) -> Case:
    """One order, to be judged or not, with everything put together."""
    table = knowledge.dose_table(order.product.drug, order.route, order.indication)
    renal = None
    if table:
        kidney = assess(facts, knowledge.kidney, table.adults_from_years, per_kg=table.per_kg, order=order)
        is_child = facts.is_younger_than(table.adults_from_years)
        lower = None if is_child else _lower_band(table, kidney, facts, knowledge)
        renal = RenalCase(table, kidney, is_child, lower)
    about = _About(order, facts, knowledge)
    dose, course = _dose_case(about, renal), course_of(order, facts, knowledge)
    return Case(order, renal, dose, course, facts, knowledge, tuple(_remarks(about)), _limits_case(about))


def _limits_case(about: "_About") -> LimitsCase | None:
    order, facts, knowledge = about.order, about.facts, about.knowledge
    for rule in knowledge.cidofovir:
        if rule.drug == order.product.drug and order.route in rule.routes:
            kidney = assess(facts, knowledge.kidney, rule.adults_from_years)
            return LimitsCase(rule, kidney, tuple(earlier_orders(order, facts, knowledge)))
    return None


def _lower_band(table: RenalDoseRule, kidney: Kidney, facts: Facts, knowledge: Knowledge) -> Band | None:
    """The band below the computed clearance: low albumin or nephrotic syndrome, and the edge is within the margin."""
    if not kidney.doubts or not kidney.clearance or kidney.dialysis:
        return None
    clearance = kidney.clearance.rounded
    band, weight = table.band(clearance), facts.newest("weight")
    limit = knowledge.kidney.doubtful
    margin = Decimal(limit.margin_ml_min)
    if table.per_kg:
        margin = margin / weight.value if isinstance(weight, Lab) else limit.margin_ml_min_kg
    return table.band(band.at_least - table.step) if band.at_least and clearance - band.at_least <= margin else None


def later_steps(case: Case) -> Iterator[tuple[Case, ...]]:
    """Each later step of an order as cases of its own: for every phase that it may be for.

    What its own words name; else, after treatment, the step down to maintenance or treatment that goes on. The doses of
    the steps before it count as given.
    """
    order, regimen = case.order, case.order.regimen
    if not isinstance(regimen, Regimen):
        return
    before = regimen.doses
    for number, step in enumerate(regimen.later, 2):
        if isinstance(step.regimen, Regimen):
            named = phase_said([("its instruction", step.said)], case.knowledge.phases)
            intents = [named] if named and named.basis == "said" else [order.intent]
            if intents == [order.intent] and order.intent.phase in (Phase.TREATMENT, None):
                because = "a later step follows treatment"
                intents = [Intent(phase, "assumed", because) for phase in (Phase.MAINTENANCE, Phase.TREATMENT)]
            name = case.knowledge.codes.drugs[order.product.drug].display.capitalize()
            label = f"{name} step {number}, {step.regimen.wording},"
            alone = replace(order, regimen=step.regimen, label=label, draft=False, doses_before=before)
            yield tuple(case_of(alone.with_intent(intent), case.facts, case.knowledge) for intent in intents)
        doses = step.regimen.doses if isinstance(step.regimen, Regimen) else None
        before = None if before is None or doses is None else before + doses


def either_reading(case: Case) -> tuple[Case, ...]:
    """An order whose fields and text contradict each other, as a case for what each of them says; else nothing."""
    order, unread = case.order, case.order.regimen
    return tuple(
        case_of(
            replace(order, regimen=replace(each, later=()), label=f"{order.label} {each.wording}"),
            case.facts,
            case.knowledge,
        )
        for each in (unread.either if isinstance(unread, Unread) else ())
    )


def local_cases(facts: Facts, knowledge: Knowledge) -> Iterator[Case]:
    """The orders that act where they are put: for the few checks that look at them too, without dose and kidneys."""
    for order in facts.orders:
        if not order.systemic:
            course = course_of(order, facts, knowledge)
            yield Case(order=order, renal=None, dose=None, course=course, facts=facts, knowledge=knowledge)


@dataclass(frozen=True)
class _About:
    """What the conditions of a row look at."""

    order: Order
    facts: Facts
    knowledge: Knowledge

    @property
    def rules(self) -> tuple[DoseRule, ...]:
        """The dose rules for the drug and route of the order."""
        order = self.order
        return tuple(r for r in self.knowledge.dose if r.drug == order.product.drug and order.route in r.routes)

    @cached_property
    def kidney(self) -> Kidney:
        """The kidney function, for drugs whose rule has no table of its own."""
        rule = self.knowledge.kidney
        return assess(self.facts, rule, rule.adults_from_years, order=self.order)


def _remarks(about: _About) -> Iterator[RemarkCase]:
    for rule in about.rules:
        for remark in rule.remarks:
            if held := _applies(remark.when, about):
                kidney = about.kidney if remark.when.clearance_below is not None else None
                yield RemarkCase(rule, remark, kidney, held if isinstance(held, tuple) else None)


def _dose_case(about: _About, renal: RenalCase | None) -> DoseCase | None:
    """The first row whose conditions hold, with what it expects; None when no rule has a row for this order."""
    for rule in about.rules:
        unseen: list[DoseRow] = []
        on_hold: list[DoseRow] = []
        for position, row in enumerate(rule.rows):
            held = _holds(row.when, about)
            if isinstance(held, tuple):
                return DoseCase(rule, row, lacking=(held,), unseen=tuple(unseen))
            if not held:
                continue
            if not _on_the_list(row.when, about):
                if about.facts.on_hold.keys() & about.knowledge.medicines.members(row.when.with_drugs):
                    on_hold.append(row)
                elif medicines_gap(about.facts):
                    unseen.append(row)
                continue
            found = DoseCase(rule, row, row.regimens, unseen=tuple(unseen), on_hold=tuple(on_hold))
            below = rule.rows[position + 1 :]
            if row.when.phases and about.order.intent.phase is None:
                words = f"taken as {row.when.phases[0].value}: the order does not say what it is for"
                other = [r for r in below if not r.when.phases and _applies(r.when, about) is True]
                found = replace(found, assumed=words, readings=tuple(other[:1]))
            elif row.when.earlier_doses_at_least and about.order.intent.basis == "said":
                found = replace(found, readings=tuple([r for r in below if _holds(r.when, about) is True][:1]))
            known = (each for each in row.known if _applies(each.when, about) is True)
            found = replace(found, known=tuple(_known_dose(each, renal, about.facts) for each in known))
            return _with_expected(found, renal, about)
    return None


def _known_dose(known: Known, renal: RenalCase | None, facts: Facts) -> KnownDose:
    if known.formula is None or known.every is None:
        return KnownDose(known, known.regimens)
    if "clearance" in known.formula.times and renal and renal.kidney.dialysis:
        return KnownDose(known, lacking=(("creatinine clearance", Missing(Why.UNUSABLE, "on dialysis")),))
    made = _computed(known.formula, known.every, renal, facts)
    if not isinstance(made, _Computed):
        return KnownDose(known, lacking=made)
    return KnownDose(known, (made.regimen,), made.arithmetic, made.inputs)


def medicines_gap(facts: Facts) -> Missing | None:
    """Why drugs beside the order may have gone unseen; None when the whole medication list is known."""
    if facts.medicines_gap is None and "medications" in facts.incomplete:
        return Missing(Why.NOT_SENT, "only its first page was")
    return facts.medicines_gap


def record_gap(facts: Facts, key: str) -> Missing | None:
    """Why conditions, procedures, allergies or reports may have gone unseen; None when all of them are known."""
    gap = facts.problem_gaps.get(key)
    if gap:
        return gap if gap.why is not Why.NONE_ON_FILE else None
    return Missing(Why.NOT_SENT, "only the first page was") if key in facts.incomplete else None


def earlier_orders(order: Order, facts: Facts, knowledge: Knowledge) -> list[Order]:
    """The orders on file that have given doses of the drug before today, in this course of therapy."""
    drug, oldest = order.product.drug, facts.today - timedelta(days=knowledge.phases.schedule_gap_days)
    on_file = (*facts.context, *facts.history, order)
    each_once = {other.chart.ref or other.chart.place: other for other in on_file if not other.draft}
    return [
        other
        for other in each_once.values()
        if other.product.drug == drug
        if other.starts is None or (other.starts < facts.today and _last_dose(other, facts.today) >= oldest)
    ]


def earlier_doses(order: Order, facts: Facts, knowledge: Knowledge) -> int:
    """How many doses they have given, as far as their dates tell."""
    return sum(_doses_before(facts.today, other) for other in earlier_orders(order, facts, knowledge))


def _doses_before(today: date, order: Order) -> int:
    """Doses on the days before today. A finished order without an end counts once: when it ended is not known."""
    regimen = order.regimen
    per_day = regimen.per_day if isinstance(regimen, Regimen) else None
    if order.starts is None or per_day is None:
        return 1
    given = int((_last_dose(order, today) - order.starts).days * per_day) + 1
    return min(given, *(int(dosage.timing.count) for dosage in order.chart.dosages if dosage.timing.count), given)


def _last_dose(order: Order, today: date) -> date:
    """The last day before today on which the order may have given a dose."""
    yesterday = today - timedelta(days=1)
    if order.finished and order.ends is None:
        return order.starts or yesterday
    return min(yesterday, order.ends or yesterday)


def _applies(when: When, about: _About) -> bool | tuple[str, Missing]:
    """Do all the conditions hold? (name, why) when what decides is not known."""
    held = _holds(when, about)
    if held is True and not _on_the_list(when, about):
        gap = medicines_gap(about.facts)
        return ("medication list", gap) if gap else False
    return held


def _on_the_list(when: When, about: _About) -> bool:
    """The conditions that the medication list answers: drugs beside the order, doses given before."""
    if when.with_drugs and not about.facts.medicines.keys() & set(when.with_drugs):
        return False
    least, before = when.earlier_doses_at_least, about.order.doses_before
    if least is None or before is None:  # an earlier step that does not say how long it lasts: as long as is right
        return True
    return before + earlier_doses(about.order, about.facts, about.knowledge) >= least


def _holds(when: When, about: _About) -> bool | tuple[str, Missing]:
    """Do the conditions hold, but for those that the medication list answers? (name, why) when it is not known.

    An order of unknown phase is taken for the phase that the row asks for.
    """
    order, facts = about.order, about.facts
    if not about.knowledge.site.holds(when.site):
        return False
    if when.routes and order.route not in when.routes:
        return False
    if when.forms and order.product.form not in when.forms:
        return False
    if when.against and order.indication not in when.against:
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
    if when.clearance_below is not None:
        kidney, failed = about.kidney, about.knowledge.codes.groups["kidney_failure"]
        if kidney.clearance and not kidney.dialysis and kidney.clearance.rounded >= when.clearance_below:
            if kidney.moving != "rising":
                return False
            lacking.append(("creatinine clearance", Missing(Why.UNUSABLE, f"unreliable: {kidney.moving_because}")))
        if not (kidney.clearance or kidney.dialysis or any(problem.concept in failed for problem in facts.problems)):
            lacking += kidney.lacking
    return lacking[0] if lacking else True


def _of_age(when: When, facts: Facts, born: date) -> bool:
    return not (
        (when.years_at_least is not None and facts.is_younger_than(when.years_at_least))
        or (when.years_below is not None and not facts.is_younger_than(when.years_below))
        or (when.days_below is not None and (facts.today - born).days >= when.days_below)
    )


def _of_weight(when: When, kg: Decimal) -> bool:
    return (when.kg_at_least is None or kg >= when.kg_at_least) and (when.kg_below is None or kg < when.kg_below)


def _with_expected(case: DoseCase, renal: RenalCase | None, about: _About) -> DoseCase:
    """The case with the regimen that its formula gives, or with what the formula lacks."""
    formula, every, facts = case.row.formula, case.row.every, about.facts
    if formula is None or every is None:
        return case
    if case.by_clearance and renal and renal.kidney.dialysis:
        return case  # there creatinine tells no clearance
    made = _computed(formula, every, renal, facts)
    if not isinstance(made, _Computed):
        return replace(case, lacking=made)
    case = replace(case, expected=(made.regimen,), arithmetic=made.arithmetic, inputs=made.inputs)
    if case.by_clearance and renal and renal.kidney.second:
        by_second = replace(renal, kidney=replace(renal.kidney, clearance=renal.kidney.second))
        other = _computed(formula, every, by_second, facts)
        if isinstance(other, _Computed) and other.regimen != made.regimen:
            case = replace(case, second=other.regimen, second_arithmetic=other.arithmetic)
    if tablets := _in_tablets(made.raw, about):
        regimen = TableRegimen(dose=(tablets, "mg"), every=every)
        whole = f"{made.arithmetic}; whole tablets: {plain(tablets)} mg"
        case = replace(case, expected=(regimen,), arithmetic=whole)
    return case


def _in_tablets(raw_mg: Decimal, about: _About) -> Decimal | None:
    """What whole tablets of the order give for a computed dose, where they may be used for it; else None."""
    product = about.order.product
    if product.form != "tablet" or product.strength_mg is None:
        return None
    spans = [
        span
        for rule in about.knowledge.safety
        if rule.drug == product.drug
        if rule.forms and about.order.route in rule.forms.routes
        for span in rule.forms.tablet_when
    ]
    if not any(span.from_mg <= raw_mg <= span.to_mg for span in spans):
        return None
    return (raw_mg / product.strength_mg).quantize(Decimal(1), rounding=ROUND_HALF_UP) * product.strength_mg


@dataclass(frozen=True, slots=True)
class _Computed:
    """What a formula gives, with its arithmetic and what it was computed from."""

    regimen: TableRegimen
    raw: Decimal  # mg, at most what the formula allows, not rounded
    arithmetic: str
    inputs: tuple[Input, ...]


def _computed(
    formula: Formula, every: Measure, renal: RenalCase | None, facts: Facts
) -> "_Computed | tuple[tuple[str, Missing], ...]":
    """The regimen of a formula, or (name, why) of everything that it lacks."""
    factors: list[_Factor] = []
    lacking: dict[tuple[str, Missing], None] = {}  # in order, each once
    for name in formula.times:
        found = _factor(name, renal, facts)
        if isinstance(found, _Factor):
            factors.append(found)
        else:
            lacking |= dict.fromkeys(found)
    if lacking:
        return tuple(lacking)
    raw = formula.factor
    for factor in factors:
        raw *= factor.value
    return _Computed(
        regimen=TableRegimen(dose=(_limited(raw, formula), "mg"), every=every),
        raw=raw if formula.most_mg is None else min(raw, formula.most_mg),
        arithmetic=_arithmetic(formula, factors, raw),
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
    """One factor of a formula, with the decimals that a card shows; `input` where the kidneys do not bring it."""

    value: Decimal
    unit: str
    digits: int
    input: Input | None = None


def _arithmetic(formula: Formula, factors: list[_Factor], raw: Decimal) -> str:
    """The formula with the numbers in it, and with as many digits as whoever redoes it needs to get the same."""
    dose = _limited(raw, formula)
    digits = next((n for n in (1, 2, 3) if _limited(round(raw, n), formula) == dose), 4)
    result = plain(round(raw, digits))
    for more in range(_MORE_DIGITS):
        shown = [round(factor.value, factor.digits + more) for factor in factors]
        if plain(round(prod(shown, start=formula.factor), digits)) == result:
            break
    per = f" mg/{factors[0].unit}" if len(factors) == 1 else ""
    counted = f" {factors[0].unit}" if len(factors) == 1 else ""
    words = " x ".join([f"{formula.factor}{per}", *(f"{plain(value)}{counted}" for value in shown)])
    most = f", at most {plain(formula.most_mg)} mg" if formula.most_mg is not None and raw > formula.most_mg else ""
    given = f", given as {plain(dose)} mg" if not most and plain(dose) != result else ""
    return f"{words} = {result} mg{most or given}"


def _factor(name: str, renal: RenalCase | None, facts: Facts) -> _Factor | tuple[tuple[str, Missing], ...]:
    """A factor of a formula, or (name, why) of everything that it lacks."""
    if name == "clearance":
        if renal and renal.kidney.clearance:
            return _Factor(renal.kidney.clearance.value, renal.kidney.clearance.unit, 1)
        unknown = (("creatinine clearance", Missing(Why.UNUSABLE, "not computed")),)
        return (renal.kidney.lacking if renal else ()) or unknown
    weight, height = facts.newest("weight"), facts.newest("height")
    if name == "weight" and isinstance(weight, Lab):
        shown = f"{weight.value.normalize():f}"
        seen = Input(name, shown, weight.unit, weight.on.isoformat(), weight.ref)
        return _Factor(weight.value, weight.unit, 2, seen)
    if isinstance(weight, Lab) and isinstance(height, Lab):
        surface = body_surface_area(height, weight)
        how = f"root of ({plain(height.value)} cm x {plain(weight.value)} kg / 3600)"
        return _Factor(surface, "m2", 3, Input(name, f"{surface:.3f}", "m2", facts.today.isoformat(), how))
    needed = {"weight": weight} if name == "weight" else {"weight": weight, "height": height}
    return tuple((what, value) for what, value in needed.items() if isinstance(value, Missing))


_MORE_DIGITS = 5


def body_surface_area(height: Lab, weight: Lab) -> Decimal:
    """Mosteller: the root of height (cm) times weight (kg) over 3600, m2."""
    return (height.value * weight.value / 3600).sqrt()
