"""Is what has to go beside the drug ordered or running, and enough of it?

How much is judged where it can be read. What is there without a readable amount is information, what is absent or too
little is as grave as its row says.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from cdshooks.medicine.case import Case, medicines_gap
from cdshooks.medicine.compare import in_table_unit
from cdshooks.medicine.dosage import Giving, read_giving, read_regimen, read_stated
from cdshooks.medicine.dosage.wording import plain
from cdshooks.medicine.rules.safety import Companion, Enough, SafetyRule
from cdshooks.model import Finding, Indicator, Input, OrderState, Prescription, Product, Regimen

_GRADES = {"info": Indicator.INFO, "warning": Indicator.WARNING, "critical": Indicator.CRITICAL}


@dataclass(frozen=True, slots=True)
class _Order:
    """A companion's order; `amount` in mL or mg as far as it can be read, `at_once` the largest part of it.

    `how` is how the amount was computed, where the order does not state it.
    """

    name: str
    ref: str
    amount: Decimal | None
    at_once: Decimal | None = None
    how: str = ""


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic administration and contraindication; dataQuality where it could not be looked for."""
    if case.facts.hook == "patient-view":
        return
    order = case.order
    giving = read_giving(order.chart.dosages, order.chart.notes, case.knowledge.dose_words)
    for rule in case.knowledge.safety:
        for companion in rule.companions if rule.drug == order.product.drug else ():
            if order.route in companion.routes:
                yield from _companion(case, rule, companion, giving)


def _companion(case: Case, rule: SafetyRule, companion: Companion, giving: Giving) -> Iterator[Finding]:
    enough = _enough(case, companion)
    found = list(_found(case, companion, enough))
    if companion.by_words and giving.beside_ml:
        found.append(_Order("the order's own words", "", sum(giving.beside_ml, Decimal(0))))
    if found:
        if not case.facts.is_younger_than(companion.adults_from_years):
            yield from _amount(case, rule, companion, enough, found)
        return
    grade, why = _grade(case, companion), ""
    if companion.mentioned in giving.ways:
        grade = Indicator(max(_GRADES[companion.indicator] - 1, 0))
        why = f"The order's own words name {companion.name}; no order for it was seen."
    gap = medicines_gap(case.facts)
    if gap:
        summary = f": {companion.name} could not be looked for (medication list {gap.why.value})"
        said = f"It is not among the drafts of this call; the medication list: {gap}."
        lost = case.knowledge.judgement.of_loss([companion.indicator])
        yield case.finding(rule.id, "dataQuality", lost, summary, said, companion.says, cites=[companion.cite])
    else:
        withdraw = "Remove this order" if grade is Indicator.CRITICAL else ""
        said = "Fluid may have to be restricted in this patient." if _restricted(case, companion) and not why else why
        absent = case.finding(
            rule.id,
            companion.topic,
            grade,
            f": {companion.summary}",
            companion.says,
            said,
            f"Order {companion.name} as well, or remove this order." if withdraw else "",
            cites=[companion.cite],
            withdraw=withdraw,
        )
        yield replace(absent, mendable=True)


def _restricted(case: Case, companion: Companion) -> bool:
    return bool({problem.concept for problem in case.facts.problems} & set(companion.less_with))


def _grade(case: Case, companion: Companion) -> Indicator:
    """How grave absence or a marked shortage is for this patient."""
    return Indicator(max(_GRADES[companion.indicator] - _restricted(case, companion), 0))


# --------------------------------------------------------------------------------------------------------------------
# How much


def _enough(case: Case, companion: Companion) -> Enough:
    """What is asked for with the ordered dose; the least of it where the dose is not known."""
    regimen, tolerance = case.order.regimen, case.knowledge.judgement.tolerance
    dose = in_table_unit(regimen, "mg/kg", case.facts.newest("weight")) if isinstance(regimen, Regimen) else None
    for row in companion.enough:
        if row.from_mg_per_kg is None or (dose and dose.high >= row.from_mg_per_kg * (1 - tolerance)):
            return row
    return companion.enough[-1]


def _found(case: Case, companion: Companion, enough: Enough) -> Iterator[_Order]:
    """The orders that count: drafted or running, by a right route, and neither a flush nor a diluent."""
    members = case.knowledge.medicines.members(companion.drugs)
    each_once = {p.order.ref or p.order.place: p for p in case.facts.prescriptions}
    for p in each_once.values():
        if p.drug not in members or not p.systemic or p.route in companion.not_by:
            continue
        if p.state not in (OrderState.DRAFT, OrderState.RUNNING):
            continue
        order = _in_mg(case, p) if enough.mg is not None else _in_ml(case, p)
        if companion.at_least_ml is None or order.at_once is None or order.at_once >= companion.at_least_ml:
            yield order


def _in_mg(case: Case, p: Prescription) -> _Order:
    """The milligrams of one day, where the order says how often, and the largest single amount that it names."""
    medicines, words = case.knowledge.medicines, case.knowledge.dose_words
    product = Product(p.drug, "its name", strength_mg=medicines.strength_mg(p.drug, p.order.drug))
    stated = read_stated(p.order.dosages, p.order.drug.words, product, words)
    regimen = read_regimen(p.order.dosages, product, words)
    amount = None
    if isinstance(regimen, Regimen) and regimen.unit == "mg" and not regimen.later and len(set(stated.mg)) == 1:
        amount = regimen.high * max(regimen.per_day_high or regimen.per_day or Decimal(1), Decimal(1))
    return _Order(p.name, p.order.ref, amount, max(stated.mg, default=None))


def _in_ml(case: Case, p: Prescription) -> _Order:
    """The volume beside one dose of the drug: more than once where the fluid is given more often than the drug."""
    stated = read_stated(p.order.dosages, p.order.drug.words, Product(p.drug, "its name"), case.knowledge.dose_words)
    regimen = case.order.regimen
    doses = max((regimen.per_day if isinstance(regimen, Regimen) else None) or Decimal(1), Decimal(1))
    beside = []
    for volume, often in stated.ml:
        times = max((often or doses) / doses, Decimal(1))
        how = f"{plain(volume)} mL x {plain(often)} a day / {plain(doses)} doses" if often and times > 1 else ""
        beside.append((volume * times, how))
    for volume in stated.ml_per_day:
        beside.append((volume / doses, f"{plain(volume / 24)} mL/h x 24 h / {plain(doses)} doses a day"))
    at_once = max((volume for volume, _ in stated.ml), default=None)
    amount, how = max(beside, default=(None, ""))
    return _Order(p.name, p.order.ref, amount, at_once, how)


def _amount(
    case: Case, rule: SafetyRule, companion: Companion, enough: Enough, found: list[_Order]
) -> Iterator[Finding]:
    """Is it enough, as far as the amounts can be read?"""
    unit, needed = ("mL", enough.ml) if enough.ml is not None else ("mg", enough.mg)
    assert needed is not None  # noqa: S101 - one of the two, says the model
    known = [order.amount for order in found if order.amount is not None]
    total, all_known = sum(known, Decimal(0)), len(known) == len(found)
    judgement = case.knowledge.judgement
    inputs = [Input(companion.name, order.name, reference=order.ref) for order in found]
    what = f"{companion.name} {total:.0f} {unit}"
    grade: Indicator | None = None
    if all_known and total < needed * (1 - judgement.tolerance):
        short = total <= needed * (1 - judgement.strong)
        grade = _grade(case, companion) if short else Indicator(max(_grade(case, companion) - 1, 0))
        summary = f": {what} is too little, at least {needed} {unit} with each dose"
    elif not all_known and total < needed and not (enough.mg_at_once and any(order.at_once for order in found)):
        grade, summary = Indicator.INFO, f": how much {companion.name} is given could not be read"
    elif enough.mg_at_once is not None:
        largest = max((order.at_once for order in found if order.at_once), default=Decimal(0))
        if largest < enough.mg_at_once * (1 - judgement.tolerance):
            grade = min(_grade(case, companion), Indicator.WARNING)
            summary = f": {companion.name} {largest:.0f} mg at once is too little, at least {enough.mg_at_once} mg"
    if grade is not None:
        lines = (f"{order.name}: {order.how} = {order.amount:.0f} {unit}." for order in found if order.how)
        yield case.finding(
            rule.id, companion.topic, grade, summary, *lines, companion.says, cites=[companion.cite], inputs=inputs
        )
