"""Cidofovir and the kidneys: may it be started, given today, at which dose, or has it to stop?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from cdshooks.medicine.case import Case, LimitsCase
from cdshooks.medicine.compare import in_table_unit
from cdshooks.medicine.dates import counted
from cdshooks.medicine.kidney import Kidney
from cdshooks.medicine.propose import proposal
from cdshooks.medicine.rules.dose import CidofovirRule
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.rules.renal_dose import TableRegimen
from cdshooks.model import Finding, Indicator, Input, Lab, LabRequest, Missing, Phase, Regimen, Why


@dataclass(frozen=True, slots=True)
class _Values:
    """What the limits are compared with. `baseline` is the last creatinine before a running therapy began."""

    creatinine: Lab | Missing
    protein: Lab | Missing
    kidney: Kidney
    baseline: Lab | None
    on_treatment: bool


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic contraindication, toxicity, renalDose, monitoring and dataQuality for a cidofovir order."""
    if case.limits is None:
        return
    rule, values = case.limits.rule, _values(case, case.limits)
    yield from _not_known(case, rule, values)
    yield from _left_open(case, rule, values)
    yield from _too_old(case, rule, values)
    if values.on_treatment:
        yield from _on_treatment(case, rule, values)
    else:
        yield from _at_start(case, rule, values)
        if case.order.intent.phase is Phase.MAINTENANCE:  # it runs by its words: no order on file says since when
            yield from _visible_rise(case, rule, values)
    yield from _small_without_reason(case, rule, values)


def _values(case: Case, limits: LimitsCase) -> _Values:
    facts, rule = case.facts, limits.rule
    begun = [order.starts for order in limits.earlier if order.starts]
    before = None
    if begun:
        start = min(begun)
        looked_at = facts.results["creatinine"].since(start - timedelta(days=rule.baseline_days))
        before = next((lab for lab in looked_at if lab.on <= start), None)
    return _Values(
        creatinine=facts.newest("creatinine"),
        protein=facts.newest("urine-protein"),
        kidney=limits.kidney,
        baseline=before,
        on_treatment=bool(limits.earlier),
    )


def _not_known(case: Case, rule: CidofovirRule, values: _Values) -> Iterator[Finding]:
    """A limit that cannot be looked at: what was not sent is the interface's to mend, the rest the clinician's."""
    gaps = [("urine protein", values.protein)] if isinstance(values.protein, Missing) else []
    if not values.on_treatment:
        gaps += values.kidney.lacking
    elif isinstance(values.creatinine, Missing):
        gaps.append(("serum creatinine", values.creatinine))
    for name, missing in gaps:
        unseen = missing.why in (Why.NOT_SENT, Why.FETCH_FAILED)
        topic = "dataQuality" if unseen else "monitoring"
        tests = _tests(case, name) if topic == "monitoring" else ()
        indicator = Indicator.CRITICAL if tests else Indicator.WARNING
        summary = f": limits not checked ({missing.of(name)})"
        because = f"{name[:1].upper()}{name[1:]}: {missing}. The label makes it a condition of every dose."
        yield _finding(case, rule, values, topic, indicator, rule.every_dose.cite, summary, because, tests=tests)


def _left_open(case: Case, rule: CidofovirRule, values: _Values) -> Iterator[Finding]:
    """A urine protein of which only a bound is known, and which settles a limit as little as a missing one."""
    stop = (rule.stop.protein_at_least_mg_dl, rule.stop.dipstick, Indicator.CRITICAL)
    watch = (rule.watch.protein_at_least_mg_dl, rule.watch.dipstick, Indicator.WARNING)
    start = (rule.start.protein_at_least_mg_dl, rule.start.dipstick, Indicator.CRITICAL)
    protein = values.protein
    limits = (stop, watch) if values.on_treatment else (start,)
    left = [one for one in limits if isinstance(protein, Lab) and protein.reaches(one[0]) is None]
    if left and isinstance(protein, Lab):
        edges = " and ".join(f"{limit} mg/dL ({dipstick})" for limit, dipstick, _ in left)
        yield _finding(
            case,
            rule,
            values,
            "monitoring",
            max(indicator for _, _, indicator in left),
            rule.every_dose.cite,
            f": limits not checked (urine protein {protein.original} does not settle {left[0][0]} mg/dL)",
            f"Urine protein {protein.original} of {protein.on.isoformat()} is only a bound:"
            f" whether it reaches {edges} is not known. The label makes it a condition of every dose.",
            tests=_tests(case, "urine protein"),
        )


def _tests(case: Case, name: str) -> tuple[LabRequest, ...]:
    analyte = {"serum creatinine": "creatinine", "urine protein": "urine-protein"}.get(name)
    order = case.knowledge.codes.analytes[analyte].order if analyte else None
    return (order,) if order else ()


def _too_old(case: Case, rule: CidofovirRule, values: _Values) -> Iterator[Finding]:
    limit = rule.every_dose.within_days
    for name, lab in (("serum creatinine", values.creatinine), ("urine protein", values.protein)):
        if isinstance(lab, Lab) and (days := (case.facts.today - lab.on).days) > limit:
            yield _finding(
                case,
                rule,
                values,
                "monitoring",
                Indicator.CRITICAL,
                rule.every_dose.cite,
                f": {name} is {counted(days)} old, needed within {rule.every_dose.within_hours} h of the dose",
                f"{name[:1].upper()}{name[1:]} {lab.original} of {lab.on.isoformat()}.",
                f"The label asks for it within {rule.every_dose.within_hours} hours before every dose.",
                tests=_tests(case, name),
            )


def _at_start(case: Case, rule: CidofovirRule, values: _Values) -> Iterator[Finding]:
    limits, reasons = rule.start, []
    if isinstance(values.creatinine, Lab) and values.creatinine.value > limits.creatinine_above_mg_dl:
        reasons.append(f"serum creatinine {values.creatinine.original} is above {limits.creatinine_above_mg_dl} mg/dL")
    clearance = values.kidney.clearance
    if clearance and clearance.rounded <= limits.clearance_at_most_ml_min:
        reasons.append(f"CrCl {clearance} is at or below {limits.clearance_at_most_ml_min}")
    if isinstance(values.protein, Lab) and values.protein.reaches(limits.protein_at_least_mg_dl):
        limit = f"{limits.protein_at_least_mg_dl} mg/dL ({limits.dipstick})"
        reasons.append(f"urine protein {values.protein.original} reaches {limit}")
    if reasons:
        yield _finding(
            case,
            rule,
            values,
            "contraindication",
            Indicator.CRITICAL,
            limits.cite,
            f": must not be started, {reasons[0]}",
            f"Start limits of the label: {'; '.join(reasons)}. Any one is enough.",
            *([f"{clearance.formula}: {clearance.arithmetic}."] if clearance else []),
            withdraw="Remove this order" if case.order.draft else "",
        )


def _on_treatment(case: Case, rule: CidofovirRule, values: _Values) -> Iterator[Finding]:
    stop: list[tuple[str, str]] = []  # (in short, in full)
    line, rise = "", Decimal(0)
    if isinstance(values.creatinine, Lab) and values.baseline:
        rise = _rise(values.baseline, values.creatinine)
        line = (
            f"Serum creatinine {values.baseline.original} before therapy ({values.baseline.on.isoformat()}),"
            f" {values.creatinine.original} now"
        )
        if rise >= rule.stop.rise_at_least_mg_dl:
            stop.append((f"creatinine up by {rise} mg/dL", f"{line}: up by {rise} mg/dL."))
    elif isinstance(values.creatinine, Lab):
        if risen := list(_visible_rise(case, rule, values)):
            yield from risen
        else:
            summary = ": no creatinine from before therapy, a rise cannot be seen"
            because = "The label reduces the dose, or stops, by the rise over the creatinine before therapy."
            yield _finding(case, rule, values, "dataQuality", Indicator.INFO, rule.reduce.cite, summary, because)
    if isinstance(values.protein, Lab) and values.protein.reaches(rule.stop.protein_at_least_mg_dl):
        protein = f"urine protein {values.protein.original} ({rule.stop.dipstick} or more)"
        stop.append((protein, f"{protein[:1].upper()}{protein[1:]}."))
    if stop:
        short, lines = stop[0][0], (full for _, full in stop)
        why, withdraw = "The label says to discontinue.", "Remove this order" if case.order.draft else ""
        cite = rule.stop.cite
        yield _finding(
            case, rule, values, "toxicity", Indicator.CRITICAL, cite, f": stop, {short}", why, *lines, withdraw=withdraw
        )
        return
    if rise >= rule.reduce.rise_at_least_mg_dl and _above(case, rule.reduce.regimen_mg_per_kg):
        yield _reduce(case, rule, values, rise, line)
    if isinstance(values.protein, Lab) and values.protein.reaches(rule.watch.protein_at_least_mg_dl):
        summary = f": new urine protein {values.protein.original} on treatment ({rule.watch.dipstick} or more)"
        cite, tests = rule.watch.cite, _tests(case, "urine protein")
        yield _finding(case, rule, values, "toxicity", Indicator.WARNING, cite, summary, rule.watch.says, tests=tests)


def _visible_rise(case: Case, rule: CidofovirRule, values: _Values) -> Iterator[Finding]:
    """No creatinine from before therapy, but an earlier one over which it has risen as far as the label acts on."""
    now, lowest = values.creatinine, _lowest_before(case, rule, values)
    if not isinstance(now, Lab) or lowest is None or values.baseline or values.kidney.dialysis:
        return  # on dialysis creatinine swings with every session
    rise, reduce, stop = _rise(lowest, now), rule.reduce, rule.stop
    reduced = rise < stop.rise_at_least_mg_dl and not _above(case, reduce.regimen_mg_per_kg)
    if rise < reduce.rise_at_least_mg_dl or reduced:
        return
    found = _finding(
        case,
        rule,
        values,
        "toxicity",
        Indicator.WARNING,
        stop.cite if rise >= stop.rise_at_least_mg_dl else reduce.cite,
        f": creatinine up by {rise} mg/dL since {lowest.on.isoformat()}, none from before therapy on file",
        f"Serum creatinine {lowest.original} of {lowest.on.isoformat()}, the lowest on file;"
        f" {now.original} of {now.on.isoformat()}.",
        f"The label has {reduce.regimen_mg_per_kg} mg/kg after a rise of {reduce.rise_at_least_mg_dl} mg/dL over the"
        f" creatinine before therapy, and stops at {stop.rise_at_least_mg_dl}: find that one.",
    )
    earlier = Input("earlier serum creatinine", lowest.original, "", lowest.on.isoformat(), lowest.ref)
    yield replace(found, inputs=(*found.inputs, earlier))


def _rise(before: Lab, now: Lab) -> Decimal:
    """In mg/dL to two decimals: 26.5 umol/L are a rise of 0.3 mg/dL."""
    return (now.value - before.value).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def _small_without_reason(case: Case, rule: CidofovirRule, values: _Values) -> Iterator[Finding]:
    """The dose for a rise of creatinine where none has happened; information where that cannot be seen."""
    small, full = rule.reduce.regimen_mg_per_kg, rule.reduce.full_mg_per_kg
    ordered = _per_kg(case)
    tolerance = case.knowledge.judgement.tolerance
    if ordered is None or abs(ordered.high / small - 1) > tolerance:
        return
    if isinstance(values.protein, Lab) and values.protein.reaches(rule.watch.protein_at_least_mg_dl) is not False:
        return  # the label considers a smaller dose
    now, before = values.creatinine, _lowest_before(case, rule, values)
    if not isinstance(now, Lab) or before is None:
        summary = f": {small} mg/kg is for a rise of creatinine, which could not be looked for"
        because = f"The label has {full} mg/kg, and {small} mg/kg after a rise over the creatinine before therapy."
        yield _finding(case, rule, values, "renalDose", Indicator.INFO, rule.reduce.cite, summary, because)
        return
    if _rise(before, now) >= rule.reduce.rise_at_least_mg_dl:
        return
    found = _finding(
        case,
        rule,
        values,
        "renalDose",
        Indicator.WARNING,
        rule.reduce.cite,
        f" is too little without a rise of creatinine: {full} mg/kg",
        f"Serum creatinine {before.original} of {before.on.isoformat()}, {now.original} now: no rise by"
        f" {rule.reduce.rise_at_least_mg_dl} mg/dL or more, for which the label has {small} mg/kg.",
    )
    yield _with_dose(case, found, full, "no rise of creatinine")


def _lowest_before(case: Case, rule: CidofovirRule, values: _Values) -> Lab | None:
    """What a rise is counted from: the creatinine before therapy, else (not known when it began) the lowest earlier."""
    if values.baseline or not isinstance(values.creatinine, Lab):
        return values.baseline
    looked_at = case.facts.results["creatinine"].since(case.facts.today - timedelta(days=rule.baseline_days))
    return min((lab for lab in looked_at if lab.on < values.creatinine.on), key=lambda lab: lab.value, default=None)


def _reduce(case: Case, rule: CidofovirRule, values: _Values, rise: Decimal, line: str) -> Finding:
    """The dose after a rise of creatinine, in the interval of the order."""
    dose = rule.reduce.regimen_mg_per_kg
    found = _finding(
        case,
        rule,
        values,
        "renalDose",
        Indicator.CRITICAL,
        rule.reduce.cite,
        f" is too much after a rise of creatinine by {rise} mg/dL: {dose} mg/kg",
        f"{line}. The label reduces the dose to {dose} mg/kg.",
    )
    return _with_dose(case, found, dose, "after a rise of creatinine")


def _with_dose(case: Case, found: Finding, mg_per_kg: Decimal, reason: str) -> Finding:
    """The finding with this dose in the interval of the order, as far as a draft gives one."""
    regimen = case.order.regimen
    if not case.order.draft or not isinstance(regimen, Regimen) or not regimen.per_day:
        return found
    weeks = (1 / regimen.per_day / 7).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    expected = TableRegimen(dose=(mg_per_kg, "mg/kg"), every=(max(weeks, Decimal(1)), "wk"))
    made = proposal(case.order, expected, reason, case.facts.newest("weight"), case.knowledge, sure=True)
    return replace(found, expected=expected.regimen.wording, proposals=(made,) if made else ())


def _per_kg(case: Case) -> Regimen | None:
    regimen = case.order.regimen
    return in_table_unit(regimen, "mg/kg", case.facts.newest("weight")) if isinstance(regimen, Regimen) else None


def _above(case: Case, mg_per_kg: Decimal) -> bool:
    """Is the ordered dose above this, beyond the tolerance?"""
    ordered = _per_kg(case)
    return ordered is not None and ordered.high > mg_per_kg * (1 + case.knowledge.judgement.tolerance)


def _finding(
    case: Case,
    rule: CidofovirRule,
    values: _Values,
    topic: str,
    indicator: Indicator,
    cite: Cite,
    summary: str,
    *because: str,
    tests: tuple[LabRequest, ...] = (),
    withdraw: str = "",
) -> Finding:
    order = case.order
    inputs = list(values.kidney.inputs)
    for lab in (values.protein, values.baseline):
        if isinstance(lab, Lab):
            name = "urine protein" if lab.analyte == "urine-protein" else "serum creatinine before therapy"
            inputs.append(Input(name, lab.original, "", lab.on.isoformat(), lab.ref))
    return Finding(
        topic=topic,
        indicator=indicator,
        rules=(rule.id,),
        order=order.chart,
        drug=order.product.drug,
        summary=f"{order.label}{summary}",
        because=because,
        citations=(case.knowledge.citation(cite),),
        intent=order.intent,
        inputs=tuple(inputs),
        ordered=order.regimen.wording if isinstance(order.regimen, Regimen) else "",
        lab_requests=tests,
        withdraw=withdraw,
    )
