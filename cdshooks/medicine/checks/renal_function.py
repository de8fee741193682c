"""Can the kidney function be computed, is it current, steady and trustworthy? Silent when it is."""

from collections.abc import Iterator

from cdshooks.medicine.case import Case
from cdshooks.medicine.kidney import Kidney
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.rules.renal_dose import Band, RenalDoseRule
from cdshooks.model import Facts, Finding, Indicator, Lab, Order, Phase, Why


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic renalFunction for an order whose dose depends on the kidneys."""
    if case.renal is None or case.renal.kidney.dialysis:
        return  # on dialysis no clearance is asked for, and creatinine swings with every session
    table, kidney = case.renal.table, case.renal.kidney
    if not kidney.clearance:
        yield from _not_computable(case.order, table, kidney, case.knowledge)
        return
    yield from _moving(case.order, table, kidney, case.knowledge)
    yield from _stale(case.order, table, kidney, case.knowledge)
    yield from _old_weight(case.order, table, kidney, case.facts, case.knowledge)
    if not case.renal.is_child:
        yield from _may_read_too_high(case.order, table, kidney, case.renal.lower, case.knowledge)


def _finding(
    order: Order,
    table: RenalDoseRule,
    kidney: Kidney,
    knowledge: Knowledge,
    cite: Cite,
    indicator: Indicator,
    summary: str,
    *because: str,
    order_creatinine: bool = False,
) -> Finding:
    creatinine = knowledge.codes.analytes["creatinine"]
    return Finding(
        topic="renalFunction",
        indicator=indicator,
        rules=(knowledge.kidney.id, table.id),
        order=order.chart,
        drug=order.product.drug,
        summary=f"{order.label}: {summary}",
        because=because,
        citations=(knowledge.citation(cite),),
        intent=order.intent,
        inputs=kidney.inputs,
        lab_requests=(creatinine.order,) if order_creatinine and creatinine.order else (),
    )


def _not_computable(order: Order, table: RenalDoseRule, kidney: Kidney, knowledge: Knowledge) -> Iterator[Finding]:
    """What was looked for and is not there, or cannot be used. What was not sent is the data quality check's to say."""
    absent = [(name, m) for name, m in kidney.lacking if m.why in (Why.NONE_ON_FILE, Why.UNUSABLE)]
    if not absent:
        return
    names = ", ".join(f"no usable {n}" if m.why is Why.UNUSABLE else f"no {n} on file" for n, m in absent)
    yield _finding(
        order,
        table,
        kidney,
        knowledge,
        knowledge.kidney.cockcroft_gault.per_kg_cite if table.per_kg else knowledge.kidney.cockcroft_gault.cite,
        Indicator.WARNING,
        f"kidney function cannot be computed ({names})",
        *(f"{name}: {missing}." for name, missing in kidney.lacking),
        "The dose is not checked against the kidney function.",
        order_creatinine=any(name == "serum creatinine" for name, _ in absent),
    )


def _moving(order: Order, table: RenalDoseRule, kidney: Kidney, knowledge: Knowledge) -> Iterator[Finding]:
    cite = knowledge.kidney.acute_change.cite
    if kidney.moving == "rising":
        yield _finding(
            order,
            table,
            kidney,
            knowledge,
            cite,
            Indicator.WARNING,
            "CrCl unreliable, creatinine is rising (acute kidney injury)",
            f"{_sentence(kidney.moving_because)} The true clearance is below the computed one:"
            " a dose that fits, or looks too small, is not confirmed.",
            _clearance_line(kidney),
        )
    elif kidney.moving == "falling":
        yield _finding(
            order,
            table,
            kidney,
            knowledge,
            cite,
            Indicator.INFO,
            "creatinine is falling, CrCl reads too low",
            _sentence(kidney.moving_because),
            "The true clearance is above the computed one: the dose may be too small.",
            _clearance_line(kidney),
        )


def _stale(order: Order, table: RenalDoseRule, kidney: Kidney, knowledge: Knowledge) -> Iterator[Finding]:
    limits = knowledge.kidney.freshness_days
    if order.intent.phase in (Phase.MAINTENANCE, Phase.PROPHYLAXIS):
        limit, phase = table.stable_freshness_days or limits.stable, order.intent.phase.value
    else:
        limit = limits.treatment_by_vein if order.route == "intravenous" else limits.treatment
        phase = "treatment" if order.intent.phase else "an unknown phase (as treatment)"
    days = kidney.creatinine_days
    if days <= limit or kidney.creatinine is None:
        return
    yield _finding(
        order,
        table,
        kidney,
        knowledge,
        limits.cite,
        Indicator.INFO if days <= 2 * limit else Indicator.WARNING,
        f"creatinine is {days} days old{'' if days <= 2 * limit else ', re-check before dosing'}",
        f"A creatinine is current for {limit} days in {phase}; this one is of {kidney.creatinine.on.isoformat()}."
        " The dose is judged with it all the same.",
        _clearance_line(kidney),
        order_creatinine=True,
    )


def _old_weight(
    order: Order, table: RenalDoseRule, kidney: Kidney, facts: Facts, knowledge: Knowledge
) -> Iterator[Finding]:
    weight = facts.newest("weight")
    if isinstance(weight, Lab) and (facts.today - weight.on).days > knowledge.kidney.weight_days:
        yield _finding(
            order,
            table,
            kidney,
            knowledge,
            knowledge.kidney.freshness_days.cite,
            Indicator.INFO,
            f"the weight used is of {weight.on.isoformat()}",
            f"Weight {weight.original} of {weight.on.isoformat()}: weigh again. Clearance and doses depend on it.",
        )


def _may_read_too_high(
    order: Order, table: RenalDoseRule, kidney: Kidney, below: Band | None, knowledge: Knowledge
) -> Iterator[Finding]:
    """Low albumin, nephrotic syndrome, oedema: a caveat, and the lower band's regimen when its edge is near."""
    cite = knowledge.kidney.doubtful.cite
    clearance = kidney.clearance
    if below and clearance:
        edge = table.band(clearance.rounded).at_least
        phases = (order.intent.phase,) if order.intent.phase else (Phase.TREATMENT, Phase.MAINTENANCE)
        lower = "; ".join(
            f"{row[0].regimen.wording} ({phase.value})"
            if (row := below.treatment if phase is Phase.TREATMENT else below.stable)
            else "not recommended"
            for phase in phases
        )
        yield _finding(
            order,
            table,
            kidney,
            knowledge,
            cite,
            Indicator.INFO,
            f"CrCl {clearance.rounded} may be too high ({kidney.doubts[0]}); band below: {lower}",
            _sentence("; ".join(kidney.doubts)),
            f"Creatinine clearance then overestimates; {clearance} is"
            f" {clearance.rounded - edge} above the band edge at {edge}."
            f" Regimen of the band below: {lower}. Consider a cystatin C.",
            _clearance_line(kidney),
        )
    if kidney.fluid:
        yield _finding(
            order,
            table,
            kidney,
            knowledge,
            cite,
            Indicator.INFO,
            f"weight may hold fluid ({kidney.fluid})",
            "Oedema inflates the clearance and every mg/kg dose: use the dry weight.",
        )


def _clearance_line(kidney: Kidney) -> str:
    return f"{kidney.clearance.formula}: {kidney.clearance.arithmetic}." if kidney.clearance else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
