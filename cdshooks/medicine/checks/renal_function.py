"""Can the kidney function be computed, is it current, steady and trustworthy? Silent when it is."""

from collections.abc import Iterator
from dataclasses import replace

from cdshooks.medicine.case import Case, LimitsCase, RenalCase, record_gap
from cdshooks.medicine.dates import counted
from cdshooks.medicine.kidney import Kidney, measured_days
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.rules.renal_dose import Band
from cdshooks.model import Finding, Indicator, Lab, Phase, Regimen, Why


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic renalFunction for an order whose dose or start depends on the kidneys."""
    if case.limits:
        yield from _beside_limits(case, case.limits)
    if case.renal is None:
        return
    if case.renal.kidney.dialysis_said:
        yield _dialysis_said(case, case.renal)
    if case.renal.kidney.dialysis:
        return  # on dialysis no clearance is asked for, and creatinine swings with every session
    if not case.renal.kidney.clearance:
        yield from _not_computable(case, case.renal)
        return
    yield from _moving(case, case.renal)
    yield from _stale(case, case.renal)
    yield from _old_measures(case, case.renal)
    if not case.renal.is_child:
        yield from _may_read_too_high(case, case.renal)
        yield from _holds_fluid(case, case.renal)


def _finding(
    case: Case,
    renal: RenalCase | LimitsCase,
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
    return replace(found, rules=(*found.rules, (renal.table if isinstance(renal, RenalCase) else renal.rule).id))


def _not_computable(case: Case, renal: RenalCase) -> Iterator[Finding]:
    """What was looked for and is not there, or cannot be used. What was not sent is the data quality check's to say."""
    kidney = renal.kidney
    absent = [(name, m) for name, m in kidney.lacking if m.why in (Why.NONE_ON_FILE, Why.UNUSABLE)]
    if not absent:
        return
    names = ", ".join(missing.of(name) for name, missing in absent)
    yield _finding(
        case,
        renal,
        case.knowledge.kidney.schwartz.cite if renal.is_child else renal.table.clearance_cite,
        Indicator.WARNING,
        f"kidney function cannot be computed ({names})",
        *(f"{name}: {missing}." for name, missing in kidney.lacking),
        "The dose is not checked against the kidney function.",
        order_creatinine=any(name == "serum creatinine" for name, _ in absent),
    )


def _dialysis_said(case: Case, renal: RenalCase) -> Finding:
    """The order speaks of a dialysis that the record does not show: what was made of it."""
    kidney, rule = renal.kidney, case.knowledge.kidney.dialysis_said
    gaps = [f"{key} {gap.why.value}" for key in ("conditions", "procedures") if (gap := record_gap(case.facts, key))]
    record = f"dialysis could not be looked for ({' and '.join(gaps)})" if gaps else "no dialysis is on file"
    if kidney.dialysis:
        modality = kidney.dialysis.modality
        kind = modality if modality == "haemodialysis" else f"{modality} dialysis"
        judged, made = f"{kind} is assumed, as the order says so", f"The order is judged as on {kind}."
        band = renal.table.band(kidney.clearance.rounded) if kidney.clearance and not renal.is_child else None
        otherwise = f"Without dialysis, at CrCl {kidney.clearance}: {_in_words(case, band)}." if band else ""
    else:
        judged = f"judged at CrCl {kidney.clearance}, but the order speaks of dialysis"
        made = "At this clearance dialysis is unlikely: the order is judged without it."
        otherwise = "On dialysis less is given, so nothing larger is suggested."
    return _finding(
        case,
        renal,
        rule.cite,
        Indicator.INFO,
        f"{judged}; {'the record was not seen' if gaps else 'none is on file'}",
        f'The order says "{kidney.dialysis_said}"; {record}. {made} {otherwise}'.strip(),
        "Make sure, and put the dialysis on the problem list if there is one.",
        _clearance_line(kidney),
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


def _old_measures(case: Case, renal: RenalCase | LimitsCase) -> Iterator[Finding]:
    """A weight, of a child also a height, that no longer stands for today."""
    facts, rule = case.facts, case.knowledge.kidney
    limit, child = measured_days(rule, facts), isinstance(renal, RenalCase) and renal.is_child
    names = [("weight", "weigh again")]
    if child:
        names.append(("height", "measure again"))
        if case.dose and case.dose.row.weigh_every_days is not None:
            del names[0]  # said with the dose
    old = [(n, what, lab) for n, what in names if isinstance(lab := facts.newest(n), Lab)]
    old = [(n, what, lab) for n, what, lab in old if (facts.today - lab.on).days > limit]
    if old:
        used = " and ".join(f"{n} used is of {lab.on.isoformat()}" for n, _, lab in old)
        grown = f" At this age they stand for {limit} days." if child else ""
        yield _finding(
            case,
            renal,
            rule.freshness_days.cite,
            Indicator.INFO,
            f"the {used}",
            *(f"{n.capitalize()} {lab.original} of {lab.on.isoformat()}: {what}." for n, what, lab in old),
            f"Clearance and doses depend on {'it' if len(old) == 1 else 'them'}.{grown}",
        )


def _may_read_too_high(case: Case, renal: RenalCase) -> Iterator[Finding]:
    """Low albumin, nephrotic syndrome: a caveat, and the lower band's regimen when its edge is near."""
    kidney, below = renal.kidney, renal.lower
    cite, clearance = case.knowledge.kidney.doubtful.cite, kidney.clearance
    if below and clearance:
        edge = renal.table.band(clearance.rounded).at_least
        lower, every = _in_words(case, below), _in_words(case, below, every=True)
        yield _finding(
            case,
            renal,
            cite,
            Indicator.INFO,
            f"CrCl {clearance} may be too high; band below: {lower} ({kidney.doubts[0].split(' on ')[0]})",
            _sentence("; ".join(kidney.doubts)),
            f"Creatinine clearance then overestimates; {clearance} is"
            f" {clearance.rounded - edge} above the band edge at {edge}."
            f" Regimen of the band below: {every}. Consider a cystatin C.",
            _clearance_line(kidney),
        )


def _regimens(case: Case, band: Band, phase: Phase) -> list[str]:
    """What a band has for a phase, in words: in the interval of the order, where it has that."""
    column = [r for r in (band.treatment if phase is Phase.TREATMENT else band.stable) if not r.alternative]
    ordered = case.order.regimen.per_day if isinstance(case.order.regimen, Regimen) else None
    alike = [regimen for regimen in column if regimen.per_day == ordered]
    return [regimen.regimen.wording for regimen in alike or column]


def _holds_fluid(case: Case, renal: RenalCase | LimitsCase) -> Iterator[Finding]:
    if renal.kidney.fluid:
        yield _finding(
            case,
            renal,
            case.knowledge.kidney.doubtful.cite,
            Indicator.INFO,
            f"weight may hold fluid ({renal.kidney.fluid})",
            "Oedema inflates the clearance and every mg/kg dose: use the dry weight.",
        )


def _in_words(case: Case, band: Band, *, every: bool = False) -> str:
    """A regimen of a band (or every one) for the phase that holds, or for both."""
    phase = case.order.intent.phase
    rows = [(one, _regimens(case, band, one)) for one in ((phase,) if phase else (Phase.TREATMENT, Phase.MAINTENANCE))]
    return "; ".join(
        f"{' or '.join(words if every else words[:1])} ({one.value})" if words else "not recommended"
        for one, words in rows
    )


def _beside_limits(case: Case, limits: LimitsCase) -> Iterator[Finding]:
    """Where no dose hangs on the clearance but a start does: is that clearance to be trusted?

    That it cannot be computed, or is too old, is said with the limits themselves.
    """
    kidney, rule = limits.kidney, case.knowledge.kidney
    if kidney.dialysis:
        return
    if kidney.moving:
        rising, edge = kidney.moving == "rising", limits.start_clearance
        unsure = f" That it is above the limit of {edge} mL/min is not confirmed." if edge else ""
        yield _finding(
            case,
            limits,
            rule.acute_change.cite,
            Indicator.WARNING if rising else Indicator.INFO,
            "CrCl unreliable, creatinine is rising (acute kidney injury)"
            if rising
            else "creatinine is falling, CrCl reads too low",
            _sentence(kidney.moving_because),
            f"The true clearance is {'below' if rising else 'above'} the computed one.{unsure if rising else ''}",
            _clearance_line(kidney),
        )
    yield from _old_measures(case, limits)
    yield from _near_the_limit(case, limits)
    yield from _holds_fluid(case, limits)


def _near_the_limit(case: Case, limits: LimitsCase) -> Iterator[Finding]:
    """A start that the clearance allows, but not by adjusted weight, or only just in low albumin."""
    kidney, rule, edge = limits.kidney, case.knowledge.kidney, limits.start_clearance
    clearance, second = kidney.clearance, kidney.second
    if edge is None or clearance is None or clearance.rounded <= edge:
        return
    if second and second.rounded <= edge:
        yield _finding(
            case,
            limits,
            rule.adjusted_weight.cite,
            Indicator.INFO,
            f"CrCl {clearance.rounded} by {clearance.by}, {second.rounded} by {second.by}; no start at {edge} or below",
            _sentence(kidney.second_because),
            _clearance_line(kidney),
            f"{second.formula}: {second.arithmetic}.",
        )
    if kidney.doubts and clearance.rounded - edge <= rule.doubtful.margin_ml_min:
        yield _finding(
            case,
            limits,
            rule.doubtful.cite,
            Indicator.INFO,
            f"CrCl {clearance.rounded} may be too high ({kidney.doubts[0]}); no start at {edge} or below",
            _sentence("; ".join(kidney.doubts)),
            f"Creatinine clearance then overestimates; {clearance} is {clearance.rounded - edge} above the limit of"
            f" {edge} for a start. Consider a cystatin C.",
            _clearance_line(kidney),
        )


def _clearance_line(kidney: Kidney) -> str:
    return f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}." if kidney.clearance else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
