"""Which tests are due: absent, late, not looked for, unusable. Four different things, and silent when all is in time.

What is asked for, and how often, is in mappings/rules/monitoring/. Whether creatinine is recent enough for the dose is
the business of the kidney function check, and whether a value is good that of the toxicity check.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from cdshooks.medicine.case import Case, medicines_gap
from cdshooks.medicine.dates import counted
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.rules.monitoring import Due, MonitoringRule, Severity, Tightened
from cdshooks.model import (
    Facts,
    Finding,
    Indicator,
    Input,
    Lab,
    LabRequest,
    Missing,
    OrderState,
    Phase,
    Said,
    Unused,
    Why,
)

_UNSEEN = (Why.NOT_SENT, Why.FETCH_FAILED)
_NO_DEFECT = ("word", "excluded", "withdrawn", "future")  # shown only where nothing usable is left


@dataclass(frozen=True, slots=True)
class _Ask:
    """A test asked for by a rule: in time for `days`, `says` why; nothing up to `since` (`after`) counts."""

    rule: MonitoringRule
    due: Due
    days: int
    says: str
    since: date | None
    after: str
    cites: tuple[Cite, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The newest evidence that a test was done."""

    source: str  # analyte, test or procedure
    words: str
    on: date
    ref: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be said of one test."""

    ask: _Ask
    indicator: Indicator
    state: str  # part of the summary: "no {} on file", "{} 9 days old, due every 3"
    line: str
    seen: _Seen | None = None


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic monitoring, and of topic dataQuality for what could not be looked for or used."""
    verdicts: dict[str, list[_Verdict]] = {}
    unseen: dict[str, list[tuple[_Ask, Missing]]] = {}
    unusable: dict[str, tuple[_Ask, list[Unused]]] = {}
    for asks in _asked(case).values():
        ask = asks[0]
        seen = _newest(case, ask.due)
        if defects := _defects(case, ask.due, seen):
            unusable[_name(case, ask.due)] = ask, defects
        if isinstance(seen, Missing) and seen.why in _UNSEEN:
            unseen.setdefault(str(seen), []).append((ask, seen))
        elif verdict := _judged(case, asks, seen):
            verdicts.setdefault(verdict.ask.rule.id, []).append(verdict)
    for together in verdicts.values():
        yield _finding(case, together)
    yield from _not_looked_for(case, unseen)
    yield from _not_used(case, unusable)
    yield from _unknown_circumstances(case)


# --------------------------------------------------------------------------------------------------------------------
# What is asked for


def _asked(case: Case) -> dict[tuple[str, ...], list[_Ask]]:
    """Each test with what is asked for, once for every way in which the order and its start can be read.

    Left out are tests for which one way of reading asks nothing: it is not sure that they are due at all.
    """
    phase = case.order.intent.phase
    readings = (phase,) if phase else tuple(Phase)
    found: dict[tuple[str, ...], dict[Phase, list[_Ask]]] = {}
    for reading in readings:
        for rule in case.knowledge.monitoring:
            if _applies(rule, case, reading):
                for due in _dues(rule, case):
                    if asks := list(_asks(rule, due, case, reading)):
                        found.setdefault(due.any_of or (due.name,), {}).setdefault(reading, []).extend(asks)
    return {
        key: [ask for reading in readings for ask in by_reading[reading]]
        for key, by_reading in found.items()
        if by_reading.keys() == set(readings)
    }


def _applies(rule: MonitoringRule, case: Case, phase: Phase) -> bool:
    order = case.order
    if order.product.drug not in rule.drugs or (rule.routes and order.route not in rule.routes):
        return False
    if (rule.phases and phase not in rule.phases) or rule.indication not in ("", order.indication):
        return False
    known = _problems(case)
    return not (rule.problems and not known & set(rule.problems)) and not known & set(rule.unless_problems)


def _problems(case: Case) -> set[str]:
    return {problem.concept for problem in case.facts.problems} | case.order.concepts


def _dues(rule: MonitoringRule, case: Case) -> Iterator[Due]:
    running = _running(case.facts)
    for due in rule.tests:
        if not due.beside or running & case.knowledge.medicines.members(due.beside):
            yield due


def _running(facts: Facts) -> set[str]:
    """Systemic drugs that the patient takes; a draft is not taken yet."""
    return {p.drug for p in facts.prescriptions if p.systemic and p.state is OrderState.RUNNING}


def _asks(rule: MonitoringRule, due: Due, case: Case, phase: Phase) -> Iterator[_Ask]:
    """One for each day of therapy that it may be: when the start is not known, any."""
    today, since = case.facts.today, case.course.since
    if since is None and rule.interval(0):  # a start that no order shows may lengthen an interval, never begin one
        since = case.began(phase)
    days, after = [(today - since).days if since else 0], "the start"
    if rule.after_stop_of:
        stopped = _stopped(rule, case)
        if stopped is None:
            return
        since, drug = stopped
        days, after = [(today - since).days], f"{drug} ended"
    elif case.course.runs and since is None:
        days = [interval.from_day for interval in rule.intervals]
    for day in days:
        interval = rule.interval(day)
        if interval is None:
            continue
        most, says = interval.max_days, ""
        cites: tuple[Cite, ...] = (rule.cite,)
        for cause in rule.tightened:
            if cause.max_days < most and _holds(cause, case):
                most, says, cites = cause.max_days, f" {cause.says}", (rule.cite, cause.cite)
        yield _Ask(rule, due, most, says, since if rule.since_start else None, after, cites)


def _stopped(rule: MonitoringRule, case: Case) -> tuple[date, str] | None:
    """The last day of a drug that has ended for good and is not ordered again, and which drug."""
    ours = [p for p in case.facts.prescriptions if p.drug in rule.after_stop_of]
    gone = {p.drug for p in ours} - {p.drug for p in ours if p.state is not OrderState.ENDED}
    ended = [(p.ends, p.drug) for p in ours if p.drug in gone and p.ends and p.ends <= case.facts.today]
    return max(ended, default=None)


def _holds(cause: Tightened, case: Case) -> bool:
    if cause.below is not None:
        value = case.facts.newest(cause.analyte)
        return isinstance(value, Lab) and ">" not in value.comparator and value.value < cause.below
    if cause.creatinine:
        return case.renal is not None and case.renal.kidney.moving == cause.creatinine
    return bool(_running(case.facts) & case.knowledge.medicines.members(cause.with_drugs))


# --------------------------------------------------------------------------------------------------------------------
# What is there


def _newest(case: Case, due: Due) -> _Seen | Missing:
    """The newest evidence among the tests that stand for one another, else why there is none."""
    found = [_evidence(case.facts, name) for name in due.any_of]
    seen = [one for one in found if isinstance(one, _Seen)]
    if seen:
        return max(seen, key=lambda one: one.on)
    gaps = [one for one in found if isinstance(one, Missing)]
    return next((gap for gap in gaps if gap.why is Why.UNUSABLE), gaps[0] if gaps else Missing(Why.NONE_ON_FILE))


def _evidence(facts: Facts, name: str) -> _Seen | Missing:
    if name in facts.results:
        lab = facts.newest(name)
        found = [_Seen(name, lab.original, lab.on, lab.ref, lab.remark)] if isinstance(lab, Lab) else []
        for entry in facts.results[name].unused:  # "detected" is no number, but the test was done
            if entry.kind == "word" and entry.on and entry.on <= facts.today.isoformat():
                found.append(_Seen(name, entry.why, date.fromisoformat(entry.on), entry.ref))
        return max(found, key=lambda one: one.on, default=lab if isinstance(lab, Missing) else Missing(Why.UNUSABLE))
    if name in facts.words:
        said = facts.said(name)
        return _Seen(name, said.words, said.on, said.ref, said.remark) if isinstance(said, Said) else said
    done = [entry for entry in facts.problems if entry.concept == name and entry.resource_type == "Procedure"]
    dated = [_Seen(name, entry.text, entry.since, entry.ref) for entry in done if entry.since]
    if dated:
        return max(dated, key=lambda one: one.on)
    if done:
        return Missing(Why.UNUSABLE, f"{done[0].text or name} has no date")
    if "procedures" in facts.incomplete and facts.problem_gaps["procedures"] is None:
        return Missing(Why.NOT_SENT, "only the first page of procedures was sent")
    return facts.problem_gaps["procedures"] or Missing(Why.NONE_ON_FILE)


def _judged(case: Case, asks: Sequence[_Ask], seen: _Seen | Missing) -> _Verdict | None:
    """What is to be said of a test; None when it is in time in every reading."""
    if isinstance(seen, Missing):
        return _absent(case, asks[0], seen)
    age = (case.facts.today - seen.on).days
    late = [ask for ask in asks if age > ask.days or (ask.since and seen.on <= ask.since)]
    if not late:
        return None
    sure = len(late) == len(asks)
    ask = max(late, key=lambda one: one.days) if sure else min(late, key=lambda one: one.days)
    name, before = _name(case, ask.due), ask.since and seen.on <= ask.since
    remark = f", {seen.remark}" if seen.remark else ""
    limit = _wanted(ask)
    if before:
        limit = f"none since {ask.after} ({ask.since:%Y-%m-%d}), after which one is due"
    line = f"{_upper(name)}: {seen.words} of {seen.on}{remark}, {counted(age)} old; {limit}."
    indicator = _indicator(case, ask.rule, ask.rule.late) if sure else Indicator.INFO
    state = f"{{}} {counted(age)} old, due {_often(ask)}"
    if before:
        state = f"no {{}} since {ask.after}"
    return _Verdict(ask, indicator, state, line + ("" if sure else _UNSURE), seen)


def _often(ask: _Ask) -> str:
    return "daily" if ask.days == 1 else f"every {ask.days} days"


def _wanted(ask: _Ask) -> str:
    return f"wanted {_often(ask)}{ask.says}"


_UNSURE = " (Late by the shorter interval: the order or the record does not tell the phase or the start.)"


def _absent(case: Case, ask: _Ask, gap: Missing) -> _Verdict:
    rule, name = ask.rule, _name(case, ask.due)
    indicator = _indicator(case, rule, rule.absent)
    if not ask.due.any_of:
        return _Verdict(ask, indicator, "{} is due", f"{_upper(name)}: due now.")
    if gap.why is Why.UNUSABLE:
        return _Verdict(ask, indicator, "no usable {}", f"{_upper(name)}: none usable ({gap.detail}).")
    line = f"{_upper(name)}: none on file; {_wanted(ask)}."
    return _Verdict(ask, indicator, "no {} on file", line)


def _indicator(case: Case, rule: MonitoringRule, severity: Severity) -> Indicator:
    """How much a test matters that is absent or late."""
    return _INDICATOR[severity if case.course.runs or rule.at_start is None else rule.at_start]


_INDICATOR: Mapping[Severity, Indicator] = {
    "info": Indicator.INFO,
    "warning": Indicator.WARNING,
    "critical": Indicator.CRITICAL,
}


def _defects(case: Case, due: Due, seen: _Seen | Missing) -> list[Unused]:
    """What was sent for a test and not used, unless something newer was."""
    found = []
    for name in due.any_of:
        listed = case.facts.results[name].unused if name in case.facts.results else ()
        listed = case.facts.words[name].unused if name in case.facts.words else listed
        for entry in listed:
            if entry.kind == "specimen":  # said of the viral load itself
                continue
            if isinstance(seen, Missing):
                shown = entry.kind != "word"
            else:
                shown = entry.kind not in _NO_DEFECT and (not entry.on or entry.on >= seen.on.isoformat())
            found += [entry] if shown else []
    return found


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _finding(case: Case, verdicts: Sequence[_Verdict]) -> Finding:
    """One finding for the tests of one rule."""
    rule = verdicts[0].ask.rule
    alike: dict[str, list[str]] = {}
    for verdict in verdicts:
        alike.setdefault(verdict.state, []).append(_name(case, verdict.ask.due))
    states = "; ".join(state.format(", ".join(names)) for state, names in alike.items())
    requests = dict.fromkeys(filter(None, (_request(case, verdict) for verdict in verdicts)))
    seen = [verdict.seen for verdict in verdicts if verdict.seen]
    return case.finding(
        rule.id,
        "monitoring",
        max(verdict.indicator for verdict in verdicts),
        f": {states}",
        *(verdict.line for verdict in verdicts),
        *_instead(case, verdicts),
        rule.basis,
        cites=[cite for verdict in verdicts for cite in verdict.ask.cites],
        inputs=[Input(_source_name(case, one.source), one.words, "", one.on.isoformat(), one.ref) for one in seen],
        lab_requests=tuple(requests),
    )


def _request(case: Case, verdict: _Verdict) -> LabRequest | None:
    """The test to order: the one used last, so that results stay comparable, else the first that has a code."""
    names = verdict.ask.due.any_of
    if verdict.seen:
        names = (verdict.seen.source, *names)
    codes = case.knowledge.codes
    orders = (
        codes.analytes[n].order if n in codes.analytes else codes.tests[n].order for n in names if _is_test(case, n)
    )
    return next(filter(None, orders), None)


def _is_test(case: Case, name: str) -> bool:
    return name in case.knowledge.codes.analytes or name in case.knowledge.codes.tests


def _instead(case: Case, verdicts: Iterable[_Verdict]) -> Iterator[str]:
    """A result that is taken for the one that is missing."""
    for verdict in verdicts:
        for name in verdict.ask.due.not_instead:
            lab = case.facts.newest(name)
            if isinstance(lab, Lab) and (verdict.seen is None or lab.on > verdict.seen.on):
                other = case.knowledge.codes.analytes[name].name
                yield f"The {other} {lab.original} of {lab.on} is no {_name(case, verdict.ask.due)}."


def _not_looked_for(case: Case, unseen: Mapping[str, Sequence[tuple[_Ask, Missing]]]) -> Iterator[Finding]:
    for why, asks in unseen.items():
        names = ", ".join(dict.fromkeys(_name(case, ask.due) for ask, _ in asks))
        yield _quality(
            case,
            max(_INDICATOR[ask.rule.unseen] for ask, _ in asks),
            f": {names} not checked ({why.split(' (')[0]})",
            f"{_upper(names)}: {why}. Neither their age nor their values are known here.",
            rules="data/sent",
        )


def _not_used(case: Case, unusable: Mapping[str, tuple[_Ask, Sequence[Unused]]]) -> Iterator[Finding]:
    if unusable:
        yield _quality(
            case,
            max(_INDICATOR[ask.rule.unseen] for ask, _ in unusable.values()),
            f": {', '.join(unusable)} sent could not be used",
            *(entry.said for _, entries in unusable.values() for entry in entries),
            rules="data/usable",
        )


def _unknown_circumstances(case: Case) -> Iterator[Finding]:
    """Rules that hang on a diagnosis or on another drug, where these could not be looked for."""
    drug, known = case.order.product.drug, _problems(case)
    ours = [rule for rule in case.knowledge.monitoring if drug in rule.drugs]
    gap = case.facts.problem_gaps["conditions"]
    hidden = [
        rule for rule in ours if rule.problems and not known & set(rule.problems) and _may_have_one(rule, case.facts)
    ]
    if gap and gap.why in _UNSEEN and hidden:
        yield _quality(
            case,
            Indicator.INFO,
            f": tests that hang on a diagnosis not checked (conditions {gap.why.value})",
            f"Not checked: {'; '.join(rule.title for rule in hidden)}.",
            rules="data/sent",
        )
    gap = medicines_gap(case.facts)
    beside = [rule for rule in ours if any(due.beside for due in rule.tests) and not rule.after_stop_of]
    if gap and beside:
        yield _quality(
            case,
            Indicator.INFO,
            f": levels of other drugs not checked (medications {gap.why.value})",
            f"Not checked: {'; '.join(rule.title for rule in beside)}.",
            rules="data/sent",
        )


def _may_have_one(rule: MonitoringRule, facts: Facts) -> bool:
    """By age: may an unseen problem of the rule be there?"""
    return rule.problems_below_years is None or facts.age is None or facts.age < rule.problems_below_years


def _quality(case: Case, indicator: Indicator, summary: str, *because: str, rules: str) -> Finding:
    cite = Cite(source="project-design", section="data quality")
    return case.finding(rules, "dataQuality", indicator, summary, *because, cites=[cite])


def _name(case: Case, due: Due) -> str:
    return due.name or _source_name(case, due.any_of[0])


def _source_name(case: Case, key: str) -> str:
    codes = case.knowledge.codes
    if key in codes.analytes:
        return codes.analytes[key].name
    return codes.tests[key].name if key in codes.tests else key.replace("-", " ")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
