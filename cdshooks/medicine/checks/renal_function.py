"""Can the kidney function be computed, is it current, steady and trustworthy? Silent when it is."""

from collections.abc import Iterator
from dataclasses import replace

from cdshooks.medicine.case import Case, RenalCase
from cdshooks.medicine.dates import counted
from cdshooks.medicine.kidney import Kidney
from cdshooks.medicine.rules.entries import Cite
from cdshooks.model import Finding, Indicator, Lab, Phase, Why


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic renalFunction for an order whose dose depends on the kidneys."""
    if case.renal is None or case.renal.kidney.dialysis:
        return  # on dialysis no clearance is asked for, and creatinine swings with every session
    if not case.renal.kidney.clearance:
        yield from _not_computable(case, case.renal)
        return
    yield from _moving(case, case.renal)
    yield from _stale(case, case.renal)
    yield from _old_weight(case, case.renal)
    if not case.renal.is_child:
        yield from _may_read_too_high(case, case.renal)


def _finding(
    case: Case,
    renal: RenalCase,
    cite: Cite,
    indicator: Indicator,
    summary: str,
    *because: str,
    order_creatinine: bool = False,
) -> Finding:
    creatinine = case.knowledge.codes.analytes["creatinine"].order
    found = case.finding(
        case.knowledge.kidney.id,
        "renalFunction",
        indicator,
        f": {summary}",
        *because,
        cites=(cite,),
        inputs=renal.kidney.inputs,
        lab_requests=(creatinine,) if order_creatinine and creatinine else (),
    )
    return replace(found, rules=(*found.rules, renal.table.id))


def _not_computable(case: Case, renal: RenalCase) -> Iterator[Finding]:
    """What was looked for and is not there, or cannot be used. What was not sent is the data quality check's to say."""
    kidney, formula = renal.kidney, case.knowledge.kidney.cockcroft_gault
    absent = [(name, m) for name, m in kidney.lacking if m.why in (Why.NONE_ON_FILE, Why.UNUSABLE)]
    if not absent:
        return
    names = ", ".join(missing.of(name) for name, missing in absent)
    yield _finding(
        case,
        renal,
        formula.per_kg_cite if renal.table.per_kg else formula.cite,
        Indicator.WARNING,
        f"kidney function cannot be computed ({names})",
        *(f"{name}: {missing}." for name, missing in kidney.lacking),
        "The dose is not checked against the kidney function.",
        order_creatinine=any(name == "serum creatinine" for name, _ in absent),
    )


def _moving(case: Case, renal: RenalCase) -> Iterator[Finding]:
    kidney, cite = renal.kidney, case.knowledge.kidney.acute_change.cite
    if kidney.moving == "rising":
        yield _finding(
            case,
            renal,
            cite,
            Indicator.WARNING,
            "CrCl unreliable, creatinine is rising (acute kidney injury)",
            f"{_sentence(kidney.moving_because)} The true clearance is below the computed one:"
            " a dose that fits, or looks too small, is not confirmed.",
            _clearance_line(kidney),
        )
    elif kidney.moving == "falling":
        highest = _in_highest_band(renal)
        yield _finding(
            case,
            renal,
            cite,
            Indicator.INFO,
            f"creatinine is falling, CrCl reads too low{'; highest band reached already' if highest else ''}",
            _sentence(kidney.moving_because),
            "The true clearance is above the computed one: "
            + ("the highest band is reached already, so the band stays." if highest else "the dose may be too small."),
            _clearance_line(kidney),
        )


def _in_highest_band(renal: RenalCase) -> bool:
    """Would a higher clearance change nothing? A child's dose follows the clearance without bands."""
    clearance = renal.kidney.clearance
    if renal.is_child or clearance is None:
        return False
    return renal.table.band(clearance.rounded) is renal.table.bands[0]


def _stale(case: Case, renal: RenalCase) -> Iterator[Finding]:
    order, kidney, limits = case.order, renal.kidney, case.knowledge.kidney.freshness_days
    if order.intent.phase in (Phase.MAINTENANCE, Phase.PROPHYLAXIS):
        limit, phase = renal.table.stable_freshness_days or limits.stable, order.intent.phase.value
    else:
        limit = limits.treatment_by_vein if order.route == "intravenous" else limits.treatment
        phase = "treatment" if order.intent.phase else "an unknown phase (as treatment)"
    days = kidney.creatinine_days
    if days <= limit or kidney.creatinine is None:
        return
    yield _finding(
        case,
        renal,
        limits.cite,
        Indicator.INFO if days <= 2 * limit else Indicator.WARNING,
        f"creatinine is {counted(days)} old{'' if days <= 2 * limit else ', re-check before dosing'}",
        f"A creatinine is current for {counted(limit)} in {phase}; this one is of {kidney.creatinine.on.isoformat()}."
        " The dose is judged with it all the same.",
        _clearance_line(kidney),
        order_creatinine=True,
    )


def _old_weight(case: Case, renal: RenalCase) -> Iterator[Finding]:
    weight, rule = case.facts.newest("weight"), case.knowledge.kidney
    if isinstance(weight, Lab) and (case.facts.today - weight.on).days > rule.weight_days:
        yield _finding(
            case,
            renal,
            rule.freshness_days.cite,
            Indicator.INFO,
            f"the weight used is of {weight.on.isoformat()}",
            f"Weight {weight.original} of {weight.on.isoformat()}: weigh again. Clearance and doses depend on it.",
        )


def _may_read_too_high(case: Case, renal: RenalCase) -> Iterator[Finding]:
    """Low albumin, nephrotic syndrome, oedema: a caveat, and the lower band's regimen when its edge is near."""
    kidney, below, intent = renal.kidney, renal.lower, case.order.intent
    cite, clearance = case.knowledge.kidney.doubtful.cite, kidney.clearance
    if below and clearance:
        edge = renal.table.band(clearance.rounded).at_least
        phases = (intent.phase,) if intent.phase else (Phase.TREATMENT, Phase.MAINTENANCE)
        lower = "; ".join(
            f"{row[0].regimen.wording} ({phase.value})"
            if (row := below.treatment if phase is Phase.TREATMENT else below.stable)
            else "not recommended"
            for phase in phases
        )
        yield _finding(
            case,
            renal,
            cite,
            Indicator.INFO,
            f"CrCl {clearance} may be too high; band below: {lower} ({kidney.doubts[0].split(' on ')[0]})",
            _sentence("; ".join(kidney.doubts)),
            f"Creatinine clearance then overestimates; {clearance} is"
            f" {clearance.rounded - edge} above the band edge at {edge}."
            f" Regimen of the band below: {lower}. Consider a cystatin C.",
            _clearance_line(kidney),
        )
    if kidney.fluid:
        yield _finding(
            case,
            renal,
            cite,
            Indicator.INFO,
            f"weight may hold fluid ({kidney.fluid})",
            "Oedema inflates the clearance and every mg/kg dose: use the dry weight.",
        )


def _clearance_line(kidney: Kidney) -> str:
    return f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}." if kidney.clearance else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
