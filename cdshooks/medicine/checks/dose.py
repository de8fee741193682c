"""Is the dose right where it does not hang on adult kidney function: other drugs, weight, age, formulas?"""

from collections.abc import Iterator
from dataclasses import replace

from cdshooks.medicine.case import Case, DoseCase, RemarkCase, earlier_doses, medicines_gap
from cdshooks.medicine.compare import Comparison, compare, in_table_unit, likely_slip, nearest
from cdshooks.medicine.propose import proposal
from cdshooks.medicine.rules.dose import DoseRow, Elsewhere
from cdshooks.medicine.rules.renal_dose import Regimens, TableRegimen
from cdshooks.model import Finding, Indicator, Lab, Missing, Order, Phase, Proposal, Regimen, Why

_CAP = {"critical": Indicator.CRITICAL, "warning": Indicator.WARNING, "info": Indicator.INFO}
_SOLID = ("tablet", "capsule", "pellet")  # never broken


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic dose (doseAdvice while no dose is given) for an order that a dose rule has a row for.

    Topic interaction where another drug forbids the order, dataQuality where the dose cannot be judged.
    """
    yield from _remarks(case)
    dose = case.dose
    if dose is None:
        return
    regimen, row = case.order.regimen, dose.row
    dialysis = case.renal.kidney.dialysis if case.renal else None
    if dose.unseen:
        yield _unseen(case, dose)
    if dose.on_hold:
        yield _on_hold(case, dose)
    yield from _weigh_again(case, dose)
    hidden = [
        key for key in ("conditions", "procedures") if (gap := case.facts.problem_gaps.get(key)) and _not_seen(gap)
    ]
    if hidden and case.renal is None and any(other.when.problems for other in dose.rule.rows):
        summary = f": what may change the dose could not be looked for ({' and '.join(hidden)})"
        because = (
            f"Some rows of this rule ask for a diagnosis or an operation; {' and '.join(hidden)} could not be seen."
        )
        yield _finding(case, dose, Indicator.INFO, summary, because, topic="dataQuality")
    if dialysis and dose.by_clearance:
        summary = ": no label dose for a child on dialysis; ask a specialist pharmacist"
        yield _finding(case, dose, Indicator.WARNING, summary, f"Dialysis: {dialysis.because}.")
    elif dose.lacking:
        yield from _not_known(case, dose)
    elif row.not_recommended:
        summary, topic = ": not recommended for this patient", "interaction" if row.when.with_drugs else "dose"
        yield _finding(case, dose, _CAP[row.at_most], summary, row.not_recommended, topic=topic)
    elif row.unsettled:
        yield from _unsettled(case, dose)
    elif regimen is None and case.order.draft:
        words = _words(dose.expected)
        yield _finding(case, dose, Indicator.INFO, f": {words}", f"Regimen: {words}.", topic="doseAdvice", propose=True)
    elif isinstance(regimen, Regimen):
        yield from _judged(case, dose, regimen)


def _not_seen(gap: Missing) -> bool:
    return gap.why is not Why.NONE_ON_FILE


def _unseen(case: Case, dose: DoseCase) -> Finding:
    """What would change the dose could not be looked for on the medication list: what would hold then."""
    sought = "drugs that change the dose" if any(row.when.with_drugs for row in dose.unseen) else "earlier doses"
    summary = f": {sought} could not be looked for (medication list {medicines_gap(case.facts)})"
    return _either(case, dose, dose.unseen, summary, "Without them", "dataQuality")


def _on_hold(case: Case, dose: DoseCase) -> Finding:
    """A drug that changes the dose is on hold: the label keeps the dose during a short hold."""
    names = [name for drug, name in case.facts.on_hold.items() if any(drug in r.when.with_drugs for r in dose.on_hold)]
    summary = f": {', '.join(names)} is on hold; the dose depends on how long"
    return _either(case, dose, dose.on_hold, summary, "After it was stopped for good", "dose")


def _either(case: Case, dose: DoseCase, rows: tuple[DoseRow, ...], summary: str, otherwise: str, topic: str) -> Finding:
    """Information that shows both what holds in some case and what holds otherwise."""
    cases = [*((_case_of(row), row) for row in rows), (otherwise, dose.row)]
    lines = (f"{when}: {_words(row.regimens) or row.not_recommended or row.unsettled}" for when, row in cases)
    found = _finding(case, dose, Indicator.INFO, summary, *map(_sentence, lines), topic=topic)
    cites = (case.knowledge.citation(row.cite or dose.rule.cite) for _, row in cases)
    return replace(found, citations=tuple(dict.fromkeys(cites)))


def _case_of(row: DoseRow) -> str:
    if row.when.with_drugs:
        return f"With {' or '.join(drug.replace('-', ' ') for drug in row.when.with_drugs)}"
    return f"After {row.when.earlier_doses_at_least} doses or more"


def _remarks(case: Case) -> Iterator[Finding]:
    """What is to be known beside the dose. What a warning depends on and is not known is said as well."""
    for found in case.remarks:
        remark, indicator = found.remark, _CAP[found.remark.indicator]
        if not found.lacking:
            yield _remark(case, found, remark.topic, indicator, remark.summary, remark.says)
        elif indicator > Indicator.INFO:
            name, missing = found.lacking
            summary = f": a warning could not be looked for ({name} {missing.why.value})"
            lines = (f"It would be: {remark.says}", _sentence(f"{name}: {missing}"))
            yield _remark(case, found, "dataQuality", Indicator.INFO, summary, *lines)


def _remark(case: Case, found: RemarkCase, topic: str, indicator: Indicator, summary: str, *because: str) -> Finding:
    order, kidney = case.order, found.kidney
    lines = [*because]
    if kidney and kidney.dialysis:
        lines.append(f"Dialysis: {kidney.dialysis.because}.")
    elif kidney and kidney.clearance:
        lines.append(f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}.")
    return Finding(
        topic=topic,
        indicator=indicator,
        rules=(found.rule.id,),
        order=order.chart,
        drug=order.product.drug,
        summary=f"{order.label}{summary}",
        because=tuple(lines),
        citations=(case.knowledge.citation(found.remark.cite),),
        intent=order.intent,
        inputs=kidney.inputs if kidney else (),
        ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
    )


def _weigh_again(case: Case, dose: DoseCase) -> Iterator[Finding]:
    weight, limit = case.facts.newest("weight"), dose.row.weigh_every_days
    if limit is not None and isinstance(weight, Lab) and (days := (case.facts.today - weight.on).days) > limit:
        summary = f": the weight is {days} days old, weigh again"
        because = (
            f"The dose follows the weight: weigh at least every {limit} days. It is judged with {weight.original}."
        )
        yield _finding(case, dose, Indicator.INFO, summary, because)


def _not_known(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """What decides on the dose and is absent, unless the checks of the kidney function say so."""
    said = {name for name, _ in case.renal.kidney.lacking} if case.renal else frozenset()
    unsaid = [(name, missing) for name, missing in dose.lacking if name not in said]
    if unsaid:
        name, missing = unsaid[0]
        lines = (_sentence(f"{what}: {why}") for what, why in unsaid)
        summary = f": dose not checked ({name} {missing.why.value})"
        yield _finding(case, dose, Indicator.WARNING, summary, *lines, topic="dataQuality")


def _unsettled(case: Case, dose: DoseCase) -> Iterator[Finding]:
    """Information; a warning where the order is more than any source has. Never a suggestion."""
    row, regimen = dose.row, case.order.regimen
    comparisons = _comparisons(case, row.ceiling, regimen) if isinstance(regimen, Regimen) else []
    if comparisons and all(c.high >= 1 + case.knowledge.judgement.strong for c in comparisons):
        summary = f" is more than any source has: {_words(row.ceiling)} at most"
        yield _finding(case, dose, Indicator.WARNING, summary, row.unsettled)
    else:
        yield _finding(case, dose, Indicator.INFO, ": the sources do not settle this dose", row.unsettled)


def _judged(case: Case, dose: DoseCase, ordered: Regimen) -> Iterator[Finding]:
    comparisons = _comparisons(case, dose.expected, ordered)
    words = _words(dose.expected)
    if not comparisons:
        weight = case.facts.newest("weight")
        reason = f"weight {weight.why.value}" if isinstance(weight, Missing) else "units"
        because = f"Expected is {words}; a dose in {ordered.unit} cannot be compared with it."
        yield _finding(case, dose, Indicator.WARNING, f": dose not checked ({reason})", because, topic="dataQuality")
        return
    judging = nearest(comparisons)
    if judging.fits and dose.assumed:
        for other in dose.readings:
            if not any(c.fits for c in _comparisons(case, other.regimens, ordered)):
                yield from _right_for_one(case, dose, other)
    if judging.fits or (_rising(case, dose) and not judging.too_much):
        return
    either = (*dose.unseen, *dose.on_hold)
    if any(c.fits for row in either for c in _comparisons(case, row.regimens, ordered)):
        return  # right in the other case: that card shows both
    # where the order may be read in another way, only what is grave in both is critical
    readings = [nearest(found) for row in dose.readings if (found := _comparisons(case, row.regimens, ordered))]
    sure = bool(readings) or not dose.assumed
    strong = sure and all(_is_grave(case, dose, comparison) for comparison in (judging, *readings))
    indicator = min(Indicator.CRITICAL if strong else Indicator.WARNING, _CAP[dose.row.at_most])
    elsewhere = dose.row.elsewhere
    if elsewhere and any(c.fits for c in _comparisons(case, elsewhere.regimens, ordered)):
        yield _elsewhere(case, dose, elsewhere, min(indicator, _CAP[elsewhere.at_most]))
        return
    misfit = "is too much" if judging.too_much else "is too little" if judging.too_little else "has the wrong interval"
    amount = judging.low if judging.too_little and not judging.too_much else judging.high
    share = f"Expected: {words}; ordered is {amount * 100:.0f} % of the amount a day."
    slip = likely_slip(ordered, judging, case.knowledge.judgement)
    yield _finding(case, dose, indicator, f" {misfit}: {words}", share, *([slip] if slip else []), propose=True)


def _is_grave(case: Case, dose: DoseCase, c: Comparison) -> bool:
    """Too much by so much; beside a drug that changes the dose, too little by so much as well."""
    limit = case.knowledge.judgement.strong
    return (c.too_much and c.high >= 1 + limit) or (
        bool(dose.row.when.with_drugs) and c.too_little and c.low <= 1 - limit
    )


def _right_for_one(case: Case, dose: DoseCase, other: DoseRow) -> Iterator[Finding]:
    """The phase is unknown, and the order right for the one that was supposed: information that shows both."""
    if other.regimens:
        supposed = dose.row.when.phases[0].value
        summary = f" is right for {supposed}; otherwise the label has {_words(other.regimens)}"
        lines = (_sentence(f"{supposed}: {_words(dose.expected)}"), _sentence(other.note or _words(other.regimens)))
        yield _finding(case, dose, Indicator.INFO, summary, *lines)


def _elsewhere(case: Case, dose: DoseCase, elsewhere: Elsewhere, indicator: Indicator) -> Finding:
    """Not the row's regimen, but another label's, or one that is right at another time."""
    words = _words(dose.expected)
    found = _finding(
        case, dose, indicator, f": expected is {words}", elsewhere.says, propose=indicator > Indicator.INFO
    )
    return replace(found, citations=(*found.citations, case.knowledge.citation(elsewhere.cite)))


def _comparisons(case: Case, expected: Regimens, ordered: Regimen) -> list[Comparison]:
    """The order against each regimen whose unit it meets."""
    phase, weight = case.order.intent.phase or Phase.TREATMENT, case.facts.newest("weight")
    in_units = ((in_table_unit(ordered, regimen.dose[1], weight), regimen) for regimen in expected)
    tolerance = case.knowledge.judgement.tolerance
    return [compare(in_unit, regimen, phase, tolerance) for in_unit, regimen in in_units if in_unit is not None]


def _rising(case: Case, dose: DoseCase) -> bool:
    """Is a clearance behind the dose too high, because the creatinine is rising?"""
    return dose.by_clearance and case.renal is not None and case.renal.kidney.moving == "rising"


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _words(regimens: Regimens) -> str:
    """The regimens that a label has first of all, in words."""
    return " or ".join(regimen.regimen.wording for regimen in regimens if not regimen.alternative)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _proposals(case: Case, dose: DoseCase) -> Iterator[Proposal]:
    """What would mend a draft, in doses that its product can give."""
    order = case.order
    reason = order.intent.phase.value if order.intent.phase else "label"
    sure = not _rising(case, dose)
    doubt = "" if sure else "; CrCl unreliable, perhaps still too much"
    for regimen in dose.expected if order.draft else ():
        if not regimen.alternative and _can_be_given(order, regimen):
            made = proposal(order, regimen, reason + doubt, case.facts.newest("weight"), case.knowledge, sure=sure)
            yield from [made] if made else []


def _can_be_given(order: Order, regimen: TableRegimen) -> bool:
    """Is the dose a whole number of what is ordered, where that is not to be broken?"""
    number, unit = regimen.dose
    strength = order.product.strength_mg if order.product.form in _SOLID else None
    return unit != "mg" or strength is None or number % strength == 0


def _finding(
    case: Case,
    dose: DoseCase,
    indicator: Indicator,
    summary: str,
    *because: str,
    topic: str = "dose",
    propose: bool = False,
) -> Finding:
    order, row = case.order, dose.row
    child = case.renal.kidney if case.renal and case.renal.is_child else None
    why = [*because]
    asked = case.knowledge.medicines.members(row.when.with_drugs)
    present = [name for drug, name in case.facts.medicines.items() if drug in asked]
    why += [f"Given with {', '.join(present)}."] if present else []
    if row.when.earlier_doses_at_least:
        why.append(
            f"The orders on file hold {earlier_doses(order, case.facts, case.knowledge)} earlier doses of this course."
        )
    why += [f"Site setting {name}: {value}." for name, value in row.when.site.items()]
    why += [f"{dose.arithmetic}."] if dose.arithmetic else []
    if child and child.clearance and dose.by_clearance and dose.expected:
        why += [f"{child.clearance.formula}: {child.clearance.arithmetic}.", child.age_note]
    why += [row.note] if row.note else []
    why += [_sentence(dose.assumed)] if dose.assumed else []
    if order.intent.phase:
        why.append(f"Phase: {order.intent.phase.value}, {order.intent.basis}, because {order.intent.because}.")
    return Finding(
        topic=topic,
        indicator=indicator,
        rules=(dose.rule.id,),
        order=order.chart,
        drug=order.product.drug,
        summary=f"{order.label}{summary}",
        because=tuple(why),
        citations=(case.knowledge.citation(row.cite or dose.rule.cite),),
        intent=order.intent,
        inputs=tuple(dict.fromkeys((*(child.inputs if child else ()), *dose.inputs))),
        ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
        expected=_words(dose.expected),
        proposals=tuple(_proposals(case, dose)) if propose else (),
    )
