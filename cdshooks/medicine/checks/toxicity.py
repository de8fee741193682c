"""Laboratory values at which a drug is not started, is held or is watched closely. Silent when they are good.

The limits are in mappings/rules/toxicity/. That a value is absent or too old is said by the monitoring check, which
asks for every test that a limit stands on (the loader sees to it).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cdshooks.medicine.case import Case
from cdshooks.medicine.dates import counted
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.rules.monitoring import Limit, Remedy, Severity, ToxicityRule
from cdshooks.model import SUMMARY_LIMIT, Finding, Indicator, Input, Lab

_INDICATOR: Mapping[Severity, Indicator] = {
    "info": Indicator.INFO,
    "warning": Indicator.WARNING,
    "critical": Indicator.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class _Harm:
    """One value that speaks against the drug; `labs` are the value and what it is compared with."""

    indicator: Indicator
    action: str  # "hold"
    what: str  # "neutrophil count 0.42 10*3/uL"
    bound: str  # " (below 0.5)"
    line: str
    labs: tuple[Lab, ...]
    cite: Cite


@dataclass(frozen=True, slots=True)
class _Bound:
    """A value of which only a bound is known, and a limit that it may or may not reach."""

    lab: Lab
    limit: Limit


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic toxicity; of topic dataQuality for a bound that cannot be compared with a limit."""
    for rule in case.knowledge.toxicity:
        if case.order.product.drug not in rule.drugs:
            continue
        reached = list(_limits(case, rule))
        harms = [one for one in reached if isinstance(one, _Harm)]
        told = {harm.labs[0].analyte for harm in harms}
        harms += [harm for harm in _falls(case, rule) if harm.labs[0].analyte not in told]
        harms += _rises(case, rule)
        shared, given = _shared(case, rule), set[Remedy]()
        for indicator in sorted({harm.indicator for harm in harms}, reverse=True):
            alike = [harm for harm in harms if harm.indicator is indicator]
            remedies = [remedy for remedy in _remedies(rule, alike) if remedy not in given]
            yield _finding(case, rule, alike, remedies, shared)
            given.update(remedies)
            shared = ""
        if bounds := [one for one in reached if isinstance(one, _Bound)]:
            yield _not_comparable(case, rule, bounds)


# --------------------------------------------------------------------------------------------------------------------
# Values against limits


def _limits(case: Case, rule: ToxicityRule) -> Iterator[_Harm | _Bound]:
    """Of each analyte the first limit that its newest value reaches, and those before it that a bound leaves open."""
    told: set[str] = set()
    for limit in rule.limits:
        lab = case.facts.newest(limit.analyte)
        if limit.analyte in told or not isinstance(lab, Lab) or not _counts(case, limit, lab):
            continue
        reached = _reaches(lab, limit)
        if reached is None:
            yield _Bound(lab, limit)
        elif reached:
            told.add(limit.analyte)
            yield _harm(case, rule, limit, lab)


def _counts(case: Case, limit: Limit, lab: Lab) -> bool:
    """Does the limit hold for this patient, and does no other value explain it away?"""
    if limit.problems:
        known = {problem.concept for problem in case.facts.problems} | case.order.concepts
        if not known & set(limit.problems):
            return False
    if limit.normal_from is not None:
        other = case.facts.newest(limit.unless_normal)
        if isinstance(other, Lab) and other.on >= lab.on and "<" not in other.comparator:
            return other.value < limit.normal_from
    return True


def _reaches(lab: Lab, limit: Limit) -> bool | None:
    """Is the value beyond the limit? None when it is a bound ("<1", ">0.3") that leaves it open."""
    if limit.below is not None:
        above = lab.reaches(limit.below)
        return None if above is None else not above
    return limit.at_least is not None and lab.reaches(limit.at_least)


def _harm(case: Case, rule: ToxicityRule, limit: Limit, lab: Lab) -> _Harm:
    name, age = case.knowledge.codes.analytes[lab.analyte].name, (case.facts.today - lab.on).days
    bound = f" (below {limit.below})" if limit.below is not None else f" ({limit.at_least} or more)"
    edge = f"below {limit.below} {limit.unit}" if limit.below is not None else f"{limit.at_least} {limit.unit} or more"
    line = f"{_upper(name)} {_shown(lab)}, {counted(age)} old: {edge}{f' ({limit.also})' if limit.also else ''}."
    what = f"{name} {_in_unit(lab)}"
    if age > rule.current_days:
        line += " Too old for a decision: repeat it."
        indicator = min(_INDICATOR[limit.indicator], Indicator.WARNING)
        return _Harm(indicator, f"repeat, {counted(age)} old", what, bound, line, (lab,), limit.cite)
    action = limit.starting if _starts(case) else limit.running
    return _Harm(_INDICATOR[limit.indicator], action, what, bound, line, (lab,), limit.cite)


def _starts(case: Case) -> bool:
    """Does the therapy only begin?"""
    return not case.course.runs or case.course.days(case.facts.today) == 0


# --------------------------------------------------------------------------------------------------------------------
# Values against earlier ones


def _falls(case: Case, rule: ToxicityRule) -> Iterator[_Harm]:
    for fall in rule.falls:
        lab = case.facts.newest(fall.analyte)
        if not isinstance(lab, Lab) or lab.comparator or (case.facts.today - lab.on).days > rule.current_days:
            continue
        since = case.facts.results[fall.analyte].since(lab.on - timedelta(days=fall.within_days))
        highest = max((one for one in since if not one.comparator), key=lambda one: one.value, default=lab)
        if lab.value < fall.below and lab.value <= fall.share * highest.value:
            name = case.knowledge.codes.analytes[fall.analyte].name
            days = (lab.on - highest.on).days
            yield _Harm(
                _INDICATOR[fall.indicator],
                "watch closely",
                f"{name} fell from {_in_unit(highest)} to {_in_unit(lab)} in {counted(days)}",
                "",
                f"{_upper(name)} {_shown(highest)}, then {_shown(lab)}: to half or less within {fall.within_days} days,"
                f" and below {fall.below} {fall.unit}.",
                (lab, highest),
                fall.cite,
            )


def _rises(case: Case, rule: ToxicityRule) -> Iterator[_Harm]:
    """A rise over the last value before the therapy; on dialysis a creatinine tells nothing."""
    start = case.course.since
    if start is None or (case.renal and case.renal.kidney.dialysis):
        return
    for rise in rule.rises:
        name = case.knowledge.codes.analytes[rise.analyte].name
        listed = case.facts.results[rise.analyte].since(start - timedelta(days=rise.baseline_days))
        before = next((lab for lab in listed if lab.on <= start), None)
        now = listed[0] if listed else None
        if before and now and now.on > start and now.value >= rise.factor * before.value:
            yield _Harm(
                _INDICATOR[rise.indicator],
                rise.running,
                f"{name} {_in_unit(before)} before therapy, {_in_unit(now)} now",
                "",
                f"{_upper(name)} {_shown(before)} before therapy, {_shown(now)}: {rise.factor} times or more.",
                (now, before),
                rise.cite,
            )


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _remedies(rule: ToxicityRule, harms: Sequence[_Harm]) -> list[Remedy]:
    """What the rule advises for the values that are out of their limits."""
    harmed = {harm.labs[0].analyte for harm in harms}
    return [remedy for remedy in rule.remedies if not remedy.analytes or harmed & set(remedy.analytes)]


def _finding(
    case: Case, rule: ToxicityRule, harms: Sequence[_Harm], remedies: Sequence[Remedy], shared: str
) -> Finding:
    said = _said(harms, [f"{harm.what}{harm.bound}" for harm in harms])
    if len(f"{case.order.label}: {said}") > SUMMARY_LIMIT:
        said = _said(harms, [harm.what for harm in harms])
    grave = harms[0].indicator is Indicator.CRITICAL
    return case.finding(
        rule.id,
        "toxicity",
        harms[0].indicator,
        f": {said}",
        *(harm.line for harm in harms),
        *(remedy.says for remedy in remedies),
        shared,
        cites=[*(harm.cite for harm in harms), *(remedy.cite for remedy in remedies)],
        inputs=[_input(case, lab) for harm in harms for lab in harm.labs],
        withdraw="Remove this order" if grave and _starts(case) else "",
    )


def _said(harms: Sequence[_Harm], words: Sequence[str]) -> str:
    by_action: dict[str, list[str]] = {}
    for harm, what in zip(harms, words, strict=True):
        by_action.setdefault(harm.action, []).append(what)
    return "; ".join(f"{action}: {', '.join(what)}" for action, what in by_action.items())


def _not_comparable(case: Case, rule: ToxicityRule, bounds: Sequence[_Bound]) -> Finding:
    analytes = case.knowledge.codes.analytes
    lines = []
    for bound in bounds:
        edge = bound.limit.below if bound.limit.below is not None else bound.limit.at_least
        lines.append(
            f"{_upper(analytes[bound.lab.analyte].name)} {_shown(bound.lab)} is only a bound:"
            f" whether it is beyond {edge} {bound.limit.unit} is not known."
        )
    first = bounds[0].lab
    return case.finding(
        rule.id,
        "dataQuality",
        Indicator.WARNING,
        f": {analytes[first.analyte].name} {first.original} cannot be compared with a limit",
        *lines,
        cites=[bound.limit.cite for bound in bounds],
        inputs=[_input(case, bound.lab) for bound in bounds],
    )


def _shared(case: Case, rule: ToxicityRule) -> str:
    """The patient's other drugs that do the same harm."""
    members = case.knowledge.medicines.members(rule.shared_with)
    names = [case.knowledge.medicines.title(drug) for drug in case.facts.medicines if drug in members]
    return f"Also on the list, and able to do the same: {', '.join(names)}." if names else ""


def _input(case: Case, lab: Lab) -> Input:
    return Input(case.knowledge.codes.analytes[lab.analyte].name, lab.original, "", lab.on.isoformat(), lab.ref)


def _shown(lab: Lab) -> str:
    """As sent, in the unit of the limits where that is another, with its date."""
    remark = f", {lab.remark}" if lab.remark else ""
    told = _in_unit(lab)
    converted = "" if told == lab.original else f" (that is {told})"
    return f"{lab.original}{converted} of {lab.on}{remark}"


def _in_unit(lab: Lab) -> str:
    """As sent where that is in the unit of the limits, else converted, to three decimals at most."""
    if lab.original.endswith(f" {lab.unit}"):
        return lab.original
    return f"{lab.comparator}{round(lab.value, 3).normalize():f} {lab.unit}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
