"""Is the order given as it may be, to a patient who may have it? Kidneys aside."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from cdshooks.medicine.case import Case, record_gap
from cdshooks.medicine.compare import in_table_unit
from cdshooks.medicine.dosage import Giving, Rate, read_giving
from cdshooks.medicine.rules.safety import (
    Concentration,
    DaysByRoute,
    FastestRate,
    Forms,
    GivingAdvice,
    InfusionLimits,
    SafetyRule,
    Shortest,
    WithProblem,
)
from cdshooks.medicine.therapy import days_of
from cdshooks.model import Finding, Indicator, Input, Lab, Missing, Regimen, Why

_GRADES = {"info": Indicator.INFO, "warning": Indicator.WARNING, "critical": Indicator.CRITICAL}
_NOT_SEEN = (Why.NOT_SENT, Why.FETCH_FAILED)


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic administration and contraindication, and dataQuality for what could not be read or looked for.

    Of therapy that runs only what is critical is said when the chart is opened, and that a route is used for too long.
    """
    opened = case.facts.hook == "patient-view"
    for rule in case.knowledge.safety:
        if rule.drug == case.order.product.drug:
            for finding in _findings(case, rule):
                if not opened or finding.indicator is Indicator.CRITICAL:
                    yield _with_line(finding, rule)
            for limit in rule.days_by_route:
                if case.order.route in limit.routes:
                    yield from (_with_line(finding, rule) for finding in _too_long(case, rule, limit))


def by_route(case: Case) -> Iterator[Finding]:
    """Findings on the route alone: for an order that is not systemic."""
    for rule in case.knowledge.safety:
        yield from (_said(case, rule, row) for row in case.route_rows(rule))


def _findings(case: Case, rule: SafetyRule) -> Iterator[Finding]:
    order = case.order
    giving = read_giving(order.chart.dosages, order.chart.notes, case.knowledge.dose_words)
    yield from (_said(case, rule, row) for row in case.route_rows(rule))
    for row in rule.in_words:
        right_form = not row.forms or order.product.form in row.forms
        if row.way in giving.ways and right_form and (not row.routes or order.route in row.routes):
            yield _said(case, rule, row)
    if rule.infusion and order.route in rule.infusion.routes:
        yield from _infusion(case, rule, rule.infusion, giving)
    if rule.forms and order.route in rule.forms.routes:
        yield from _forms(case, rule, rule.forms, giving)
    for problem in rule.with_problem:
        if order.route in problem.routes:
            yield from _with_problem(case, rule, problem)


def _said(case: Case, rule: SafetyRule, advice: GivingAdvice, *more: str) -> Finding:
    grade = _GRADES[advice.indicator]
    withdraw = "Remove this order" if grade is Indicator.CRITICAL and advice.topic == "contraindication" else ""
    return case.finding(
        rule.id, advice.topic, grade, f": {advice.summary}", advice.says, *more, cites=[advice.cite], withdraw=withdraw
    )


def _too_long(case: Case, rule: SafetyRule, limit: DaysByRoute) -> Iterator[Finding]:
    """Days by this route so far in the course, and those ahead; when the chart is opened, those so far alone."""
    order, today = case.order, case.facts.today
    so_far = days_of([o for o in case.course.orders if o.route in limit.routes], today)
    first = max(order.starts or today, today)
    planned = order.ends if case.facts.hook != "patient-view" else None
    ahead = max((planned - first).days + (not so_far), 0) if planned else 0
    if so_far + ahead > limit.days:
        given = f"Days by this route so far: {so_far}" + (f", ahead: {ahead}." if ahead else ".")
        yield _said(case, rule, limit, given)


def _with_line(finding: Finding, rule: SafetyRule) -> Finding:
    if finding.topic != "administration" or not rule.line:
        return finding
    return replace(finding, because=(*finding.because, rule.line))


# --------------------------------------------------------------------------------------------------------------------
# Infusion


@dataclass(frozen=True, slots=True)
class _Speed:
    """mg/kg/min by one statement of the order. `if_undiluted`: not certain."""

    value: Decimal
    how: str
    if_undiluted: bool = False

    @property
    def says(self) -> str:
        """The statement and what it comes to."""
        return f"{self.how}." if self.how.endswith("mg/kg/min") else f"{self.how}: {self.value:.2f} mg/kg/min."


def _infusion(case: Case, rule: SafetyRule, limits: InfusionLimits, giving: Giving) -> Iterator[Finding]:
    if giving.unread:
        grade = Indicator.WARNING if limits.fastest else Indicator.INFO
        said = (f"Could not read this infusion rate: {reason}." for reason in giving.unread)
        yield case.finding(
            rule.id, "dataQuality", grade, ": could not read the infusion rate", *said, cites=[limits.cite]
        )
    dose = _Dose(case, limits.undiluted_mg_per_ml)
    too_fast = False
    if limits.fastest:
        found = list(_speed_findings(case, rule, limits, limits.fastest, giving, dose))
        too_fast = any(finding.topic == "administration" for finding in found)
        yield from found
    yield from _too_short(case, rule, limits, giving, dose, too_fast=too_fast)
    yield from _too_strong(case, rule, limits, giving, dose)


@dataclass(frozen=True, slots=True)
class _Dose:
    """The dose of one administration, at its upper end."""

    case: Case
    undiluted_mg_per_ml: Decimal

    def in_unit(self, unit: str) -> Decimal | None:
        """In mg or mg/kg; None without a dose, or without the weight that it takes."""
        regimen = self.case.order.regimen
        found = in_table_unit(regimen, unit, self.weight) if isinstance(regimen, Regimen) else None
        return found.high if found else None

    @property
    def weight(self) -> Lab | Missing:
        """The actual body weight."""
        return self.case.facts.newest("weight")

    def concentration(self, giving: Giving) -> Decimal | None:
        """mg/mL by what the order says of it, at its lowest: in words, or by the volume it is put into."""
        if giving.mg_per_ml:
            return min(giving.mg_per_ml)
        milligrams = self.in_unit("mg")
        if milligrams and (giving.total_ml or giving.added_ml):
            own = milligrams / self.undiluted_mg_per_ml
            return milligrams / max(*giving.total_ml, *(volume + own for volume in giving.added_ml), own)
        if "undiluted" in giving.ways:
            return self.undiluted_mg_per_ml
        product = self.case.order.product  # named thinner than it is sold: what is infused
        stated = None if product.assumed else product.mg_per_ml
        return stated if stated is not None and stated < self.undiluted_mg_per_ml else None


def _speed_findings(
    case: Case, rule: SafetyRule, limits: InfusionLimits, fastest: FastestRate, giving: Giving, dose: _Dose
) -> Iterator[Finding]:
    speeds = list(_speeds(limits, fastest, giving, dose))
    if (giving.rates or giving.durations) and not speeds:
        yield from _not_computed(case, rule, limits, giving, dose)
    limit = fastest.mg_per_kg_min
    over = [s for s in speeds if s.value > limit * (1 + fastest.rounding)]
    if over:
        certain = [s for s in over if not s.if_undiluted]
        worst = max(certain or over, key=lambda s: s.value)
        doubt = "" if certain else " if it is given undiluted"
        weight = dose.weight
        yield case.finding(
            rule.id,
            "administration",
            Indicator.CRITICAL if certain else Indicator.WARNING,
            f": {worst.value:.2f} mg/kg/min is too fast{doubt}, at most {limit} mg/kg/min",
            *(speed.says for speed in speeds),
            f"The label never allows more than {limit} mg/kg/min, by pump.",
            cites=[fastest.cite],
            inputs=[Input("weight", weight.original, "", weight.on.isoformat(), weight.ref)]
            if isinstance(weight, Lab)
            else [],
        )
        return
    stated, timed = ([s for s in speeds if ("duration" in s.how) is by_time] for by_time in (False, True))
    if stated and timed:
        one, other = stated[0], timed[0]
        if abs(one.value - other.value) > limits.agree_within * max(one.value, other.value) and giving.rates[0].firm:
            summary = ": infusion rate and duration do not agree"
            said = (speed.says for speed in (one, other))
            yield case.finding(rule.id, "dataQuality", Indicator.INFO, summary, *said, cites=[limits.cite])


def _speeds(limits: InfusionLimits, fastest: FastestRate, giving: Giving, dose: _Dose) -> Iterator[_Speed]:
    weight = dose.weight.value if isinstance(dose.weight, Lab) else None
    for rate in giving.rates:
        if rate.unit == "mg/kg/h":
            yield _Speed(rate.value / 60, f"Rate {rate.text}")
        elif rate.unit == "mg/h" and weight:
            yield _Speed(rate.value / 60 / weight, f"Rate {rate.text} at {weight.normalize():f} kg")
        elif rate.unit == "mL/h" and weight:
            yield from _volume_speeds(rate, weight, limits, fastest, giving, dose)
    per_kg = dose.in_unit("mg/kg")
    for duration in giving.durations:
        if per_kg:
            shown = f"{per_kg:.1f}".removesuffix(".0")
            yield _Speed(per_kg / duration.shortest, f"{shown} mg/kg, duration {_minutes(duration.shortest)}")


def _volume_speeds(
    rate: Rate, weight: Decimal, limits: InfusionLimits, fastest: FastestRate, giving: Giving, dose: _Dose
) -> Iterator[_Speed]:
    """A rate in mL: by the concentration the order says, else by the thinnest and, not certain, by the strongest."""
    known = dose.concentration(giving)
    if known is None and "central" in giving.ways and "diluted" not in giving.ways:
        known = limits.undiluted_mg_per_ml
    thinnest = known or fastest.thinnest_mg_per_ml
    how = f"Rate {rate.text} at {weight.normalize():f} kg, {{}} mg/mL"
    yield _Speed(rate.value * thinnest / 60 / weight, how.format(f"{thinnest:.1f}".removesuffix(".0")))
    if known is None and not giving.ways & {"diluted", "peripheral"}:
        strongest = limits.undiluted_mg_per_ml
        yield _Speed(rate.value * strongest / 60 / weight, how.format(strongest) + " (undiluted)", if_undiluted=True)


def _minutes(minutes: Decimal) -> str:
    return f"{minutes:.1f}".removesuffix(".0") + " min"


def _not_computed(
    case: Case, rule: SafetyRule, limits: InfusionLimits, giving: Giving, dose: _Dose
) -> Iterator[Finding]:
    """A rate or a duration that cannot be compared with the limit: for want of the weight, or by its unit."""
    weight = dose.weight
    if any(rate.unit not in ("mg/kg/h", "mg/h", "mL/h") for rate in giving.rates):
        summary, said = (
            ": infusion rate not checked (unit)",
            f"The rate {giving.rates[0].text} is not per kg of weight.",
        )
        yield case.finding(rule.id, "dataQuality", Indicator.WARNING, summary, said, cites=[limits.cite])
    elif isinstance(weight, Missing) and (giving.rates or isinstance(case.order.regimen, Regimen)):
        topic = "dataQuality" if weight.why in _NOT_SEEN else "administration"
        summary = f": infusion rate not checked ({weight.of('weight')})"
        said = f"Weight: {weight}. The limit is per kg of body weight."
        yield case.finding(rule.id, topic, Indicator.WARNING, summary, said, cites=[limits.cite])


def _too_short(
    case: Case, rule: SafetyRule, limits: InfusionLimits, giving: Giving, dose: _Dose, *, too_fast: bool
) -> Iterator[Finding]:
    minutes = [duration.shortest for duration in giving.durations]
    if not limits.fastest:
        minutes += list(_minutes_by_rate(giving, dose))
    needed = next((s for s in limits.shortest if _holds(s, case, dose)), None)
    if not minutes or needed is None or min(minutes) >= needed.minutes or "bolus" in giving.ways:
        return
    shortest = min(minutes)
    if shortest <= limits.bolus_minutes:
        yield case.finding(
            rule.id,
            "administration",
            Indicator.CRITICAL,
            f": {_minutes(shortest)} is a bolus, infuse over at least {_minutes(needed.minutes)}",
            f"Ordered over {_minutes(shortest)}; the label: at least {_minutes(needed.minutes)}, never a bolus.",
            cites=[limits.bolus_cite],
        )
    elif not too_fast:
        yield case.finding(
            rule.id,
            "administration",
            Indicator.WARNING,
            f": {_minutes(shortest)} is too short, infuse over at least {_minutes(needed.minutes)}",
            f"Ordered over {_minutes(shortest)}; the label gives at least {_minutes(needed.minutes)}.",
            cites=[limits.cite],
        )


def _holds(shortest: Shortest, case: Case, dose: _Dose) -> bool:
    if shortest.phases and case.order.intent.phase not in shortest.phases:
        return False
    per_kg = dose.in_unit("mg/kg")
    tolerance = 1 + case.knowledge.judgement.tolerance
    return shortest.above_mg_per_kg is None or (per_kg is not None and per_kg > shortest.above_mg_per_kg * tolerance)


def _minutes_by_rate(giving: Giving, dose: _Dose) -> Iterator[Decimal]:
    """How long the dose takes at the rates that the order gives."""
    amounts = {"mg/kg/h": dose.in_unit("mg/kg"), "mg/h": dose.in_unit("mg")}
    volumes = (*giving.total_ml, *giving.added_ml)
    amounts["mL/h"] = max(volumes) if volumes else None
    for rate in giving.rates:
        if amount := amounts.get(rate.unit):
            yield (amount / rate.value * 60).quantize(Decimal("0.1"))


def _too_strong(case: Case, rule: SafetyRule, limits: InfusionLimits, giving: Giving, dose: _Dose) -> Iterator[Finding]:
    for row in limits.concentrations:
        if row.way and row.way not in giving.ways:
            continue
        known = dose.concentration(giving)
        as_sold = known is not None and known == case.order.product.mg_per_ml and "undiluted" not in giving.ways
        if known is not None and round(known, 2) > row.at_most_mg_per_ml and (row.must_be_said or not as_sold):
            yield _concentration(case, rule, row, f"{known:.1f}".removesuffix(".0") + " mg/mL is too strong")
        elif known is None and row.must_be_said and "diluted" not in giving.ways:
            yield _concentration(case, rule, row, "no dilution is ordered")


def _concentration(case: Case, rule: SafetyRule, row: Concentration, what: str) -> Finding:
    by = f" by a {row.way} line" if row.way else ""
    summary = f": {what}{by}, at most {row.at_most_mg_per_ml} mg/mL"
    said = f"The label allows at most {row.at_most_mg_per_ml} mg/mL{by}."
    return case.finding(rule.id, "administration", _GRADES[row.indicator], summary, said, cites=[row.cite])


# --------------------------------------------------------------------------------------------------------------------
# Forms


def _forms(case: Case, rule: SafetyRule, forms: Forms, giving: Giving) -> Iterator[Finding]:
    order, regimen = case.order, case.order.regimen
    strength = order.product.strength_mg if order.product.form == "tablet" else None
    broken = strength and isinstance(regimen, Regimen) and regimen.unit == "mg" and regimen.low % strength
    if broken and "crushed" not in giving.ways:
        summary = f": {strength:f} mg tablets cannot give this dose, tablets are never broken"
        yield case.finding(rule.id, "administration", Indicator.WARNING, summary, forms.whole_says, cites=[forms.cite])
    if case.facts.age is None or case.renal is None:
        return
    if case.renal.is_child and order.product.form == "tablet" and forms.children != "tablet":
        yield from _tablet_for_child(case, rule, forms)
    elif not case.renal.is_child and order.product.form == "solution" != forms.adults:
        kidney = case.renal.kidney
        lowest = kidney.clearance is not None and kidney.clearance.rounded < _lowest_dosed(case)
        if not giving.ways & set(forms.adults_unless) and not kidney.dialysis and not lowest:
            summary = ": adults get tablets, not the solution"
            yield case.finding(
                rule.id, "administration", Indicator.INFO, summary, forms.adults_says, cites=[forms.cite]
            )


def _lowest_dosed(case: Case) -> Decimal:
    """The clearance below which the table has no dose, where another source gives one for the solution."""
    assert case.renal is not None  # noqa: S101 - asked for with a table alone
    return min(band.at_least for band in case.renal.table.bands if band.treatment)


def _tablet_for_child(case: Case, rule: SafetyRule, forms: Forms) -> Iterator[Finding]:
    expected = [r.dose[0] for r in case.dose.expected if r.dose[1] == "mg"] if case.dose else []
    second = [case.dose.second.dose[0]] if case.dose and case.dose.second else []  # where sources disagree
    if any(span.from_mg <= dose <= span.to_mg for dose in expected for span in forms.tablet_when):
        return
    doses = " or ".join(f"{dose.normalize():f}" for dose in (*expected, *second))
    computed = f" (computed dose {doses} mg)" if expected else ""
    yield case.finding(
        rule.id,
        "administration",
        Indicator.WARNING if expected else Indicator.INFO,
        f": the oral solution is preferred for a child{computed}",
        forms.children_says,
        cites=[forms.cite],
    )


# --------------------------------------------------------------------------------------------------------------------
# Problems


def _with_problem(case: Case, rule: SafetyRule, row: WithProblem) -> Iterator[Finding]:
    facts = case.facts
    met = {p.concept: p.text or row.problems[p.concept] for p in facts.problems if p.concept in row.problems}
    met |= {concept: name for concept, name in row.problems.items() if concept in case.order.concepts}
    inputs = [Input("problem", p.text, reference=p.ref) for p in facts.problems if p.concept in row.problems]
    for analyte, limit in row.at_least.items():
        lab = facts.newest(analyte)
        if isinstance(lab, Lab) and lab.value >= limit:
            name = case.knowledge.codes.analytes[analyte].name
            met[analyte] = f"{name} {lab.original} of {lab.on.isoformat()}"
            inputs.append(Input(name, lab.original, "", lab.on.isoformat(), lab.ref))
    if met:
        yield replace(_problem_finding(case, rule, row, f"On record: {', '.join(met.values())}."), inputs=tuple(inputs))
    elif gap := record_gap(facts, "conditions"):
        summary = f": {', '.join(row.problems.values())} could not be looked for (conditions {gap.why.value})"
        lost = case.knowledge.judgement.of_loss([row.indicator])
        yield case.finding(rule.id, "dataQuality", lost, summary, row.says, cites=[row.cite])


def _problem_finding(case: Case, rule: SafetyRule, row: WithProblem, because: str) -> Finding:
    lines = [because]
    dose = _Dose(case, rule.infusion.undiluted_mg_per_ml if rule.infusion else Decimal(1))
    milligrams = dose.in_unit("mg")
    if row.sodium_mg_per_ml and milligrams:
        sodium = milligrams / dose.undiluted_mg_per_ml * row.sodium_mg_per_ml
        lines.append(f"One dose of {milligrams.quantize(Decimal(1))} mg brings about {sodium:.0f} mg of sodium.")
    return _said(case, rule, row, *lines)
