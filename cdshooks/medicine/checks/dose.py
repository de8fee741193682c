"""Is the dose right where it does not hang on adult kidney function: other drugs, weight, age, formulas?"""

from collections.abc import Iterator

from cdshooks.medicine.case import Case, DoseCase
from cdshooks.medicine.compare import Comparison, compare, in_table_unit, likely_slip, nearest
from cdshooks.medicine.propose import proposal
from cdshooks.model import Finding, Indicator, Phase, Proposal, Regimen

_CAP = {"critical": Indicator.CRITICAL, "warning": Indicator.WARNING, "info": Indicator.INFO}


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic dose (and doseAdvice while no dose is given) for an order that a dose rule has a row for."""
    dose = case.dose
    if dose is None:
        return
    regimen = case.order.regimen
    for note in dose.assumed:
        if "could not be looked for" in note:
            yield _finding(case, dose, Indicator.INFO, f": {note}", topic="dataQuality")
    if dose.lacking and case.renal:
        return  # the checks of the kidney function say what is missing
    if dose.lacking:
        name, missing = dose.lacking[0]
        yield _finding(
            case,
            dose,
            Indicator.WARNING,
            f": dose not checked ({name} {missing.why.value})",
            *(f"{what}: {why}." for what, why in dose.lacking),
            topic="dataQuality",
        )
    elif dose.row.not_recommended:
        yield _finding(
            case, dose, _CAP[dose.row.at_most], ": not recommended for this patient", dose.row.not_recommended
        )
    elif dose.row.unsettled:
        yield _finding(case, dose, Indicator.INFO, ": the sources do not settle this dose", dose.row.unsettled)
    elif regimen is None and case.order.draft:
        words = " or ".join(r.regimen.wording for r in dose.expected)
        yield _finding(case, dose, Indicator.INFO, f": {words}", f"Regimen: {words}.", topic="doseAdvice", propose=True)
    elif isinstance(regimen, Regimen):
        yield from _judged(case, dose, regimen)


def _judged(case: Case, dose: DoseCase, ordered: Regimen) -> Iterator[Finding]:
    phase = case.order.intent.phase or Phase.TREATMENT
    comparisons: list[Comparison] = []
    for expected in dose.expected:
        in_unit = in_table_unit(ordered, expected.dose[1], case.facts.newest("weight"))
        if in_unit is not None:
            comparisons.append(compare(in_unit, expected, phase, case.knowledge.judgement.tolerance))
    words = " or ".join(r.regimen.wording for r in dose.expected)
    if not comparisons:
        because = f"Expected is {words}; a dose in {ordered.unit} cannot be compared with it."
        yield _finding(case, dose, Indicator.WARNING, ": dose not checked (units)", because, topic="dataQuality")
        return
    judging = nearest(comparisons)
    if judging.fits:
        return
    strong = judging.too_much and judging.high >= 1 + case.knowledge.judgement.strong
    indicator = min(Indicator.CRITICAL if strong else Indicator.WARNING, _CAP[dose.row.at_most])
    if any(note.startswith("taken as") for note in dose.assumed):
        indicator = min(indicator, Indicator.WARNING)
    misfit = "is too much" if judging.too_much else "is too little" if judging.too_little else "has the wrong interval"
    share = f"Expected: {words}; ordered is {judging.high * 100:.0f} % of the amount a day."
    slip = likely_slip(ordered, judging)
    yield _finding(case, dose, indicator, f" {misfit}: {words}", share, *([slip] if slip else []), propose=True)


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
    why = [*because]
    if row.when.with_drugs:
        present = [name for drug, name in case.facts.medicines.items() if drug in row.when.with_drugs]
        why += [f"Given with {', '.join(present)}."] if present else []
    why += [f"{dose.arithmetic}."] if dose.arithmetic else []
    if case.renal and case.renal.is_child and case.renal.kidney.clearance:
        why.append(f"{case.renal.kidney.clearance.formula}: {case.renal.kidney.clearance.arithmetic}.")
    why += [row.note] if row.note else []
    why += [f"{note[:1].upper()}{note[1:]}." for note in dose.assumed]
    if order.intent.phase:
        why.append(f"Phase: {order.intent.phase.value}, {order.intent.basis}, because {order.intent.because}.")
    proposals: tuple[Proposal, ...] = ()
    if propose and order.draft:
        weight = case.facts.newest("weight")
        reason = order.intent.phase.value if order.intent.phase else "label"
        made = (proposal(order, regimen, reason, weight, case.knowledge, sure=True) for regimen in dose.expected)
        proposals = tuple(found for found in made if found)
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
        inputs=(*(case.renal.kidney.inputs if case.renal and case.renal.is_child else ()), *dose.inputs),
        ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
        expected=" or ".join(r.regimen.wording for r in dose.expected),
        proposals=proposals,
    )
