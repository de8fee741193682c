"""Does the viral load answer the therapy? Refractory, slow, rebound, breakthrough, and when a genotype is due."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from cdshooks.medicine.case import Case, medicines_gap
from cdshooks.medicine.dates import counted
from cdshooks.medicine.rules.advice import Definition, ResponseRule
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.therapy import LOW, RIGHT, Therapy, exposure_days, therapies
from cdshooks.medicine.viral_load import Point, Series, all_series, log_change, significant, starting_value
from cdshooks.model import Finding, Indicator, LabRequest, Missing, Phase, Said, Why

_INDICATORS = {"info": Indicator.INFO, "warning": Indicator.WARNING, "critical": Indicator.CRITICAL}


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one series says about one therapy. `failing`: no fall or a rise, so that resistance has to be thought of."""

    definition: Definition
    words: str  # of the summary
    lines: tuple[str, ...]
    failing: bool = False
    repeat: bool = False  # propose the viral load again


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic response for an order; dataQuality where the therapy up to now could not be looked for."""
    rule, facts = case.knowledge.response, case.facts
    if case.order.indication != "cmv":
        return
    series = tuple(all_series(facts, rule, case.knowledge))
    current = [one for one in series if (facts.today - one.newest.on).days <= rule.current_days]
    if gap := medicines_gap(facts):
        yield from _history_unseen(case, current, gap)
    therapy = [t for t in therapies(facts, case.knowledge) if _still_counts(t, case)]
    if not current:
        yield from _loads_unseen(case, therapy)
    if any(not t.prevents and t.until is None for t in therapy):  # what was given to prevent is superseded
        therapy = [t for t in therapy if not t.prevents]
    found = [
        _finding(case, t, one, verdict)
        for one in current
        for t in therapy
        if (verdict := _verdict(t, one, rule, facts.today))
    ]
    # one card line per order: the gravest, of the order's own drug first
    own = case.knowledge.codes.same_active_drug(case.order.product.drug)
    found.sort(key=lambda f: (-f.indicator, f.drug not in own))
    if found:
        yield replace(found[0], drug=case.order.product.drug)
    else:
        yield from _not_compared(case, therapy, series, own)


def _still_counts(therapy: Therapy, case: Case) -> bool:
    """Does it run, or did it end so lately that an order now follows on it?"""
    gap = timedelta(days=case.knowledge.judgement.course_gap_days)
    return therapy.until is None or therapy.until + gap >= case.facts.today


# --------------------------------------------------------------------------------------------------------------------
# Verdicts


def _verdict(therapy: Therapy, series: Series, rule: ResponseRule, today: date) -> _Verdict | None:
    """What the newest result says about a therapy; None when all is well or it is too early."""
    newest = series.newest
    if newest.below or therapy.since is None or newest.on <= therapy.since:
        return None
    if therapy.until is not None and newest.on > therapy.until:
        return None  # off therapy: no failure of it
    if therapy.prevents:
        return _on_prevention(therapy, therapy.since, series, rule, today)
    return _on_treatment(therapy, therapy.since, series, rule)


def _on_prevention(therapy: Therapy, begun: date, series: Series, rule: ResponseRule, today: date) -> _Verdict | None:
    newest = series.newest
    if therapy.phase is Phase.MAINTENANCE and not _rises(series, begun, rule):
        return None  # after treatment a load that still falls is no relapse
    if not significant(series, rule, today):
        words = f": low CMV DNA {newest.words} on {therapy.phase.value}; repeat within a week"
        return _Verdict(rule.low_positive, words, (), repeat=True)
    if therapy.latest.dosing == LOW:
        words = f": CMV DNA {newest.words} on an underdosed {therapy.phase.value}; check the dose first"
        return _Verdict(rule.dose_first, words, _dose_first(therapy))
    treat = "stop it and treat" if not therapy.drugs & set(rule.treatment_drugs) else "treat"
    words = f": breakthrough on {therapy.name} ({newest.words}); {treat}"
    line = f"{_upper(therapy.name)}, {therapy.phase.value}, since {_day(begun)}."
    return _Verdict(rule.breakthrough, words, (line,))


def _on_treatment(therapy: Therapy, begun: date, series: Series, rule: ResponseRule) -> _Verdict | None:
    newest = series.newest
    right = therapy.latest.dosing == RIGHT
    since = therapy.right_since if right and therapy.right_since else begun
    days = (newest.on - since).days
    start = starting_value(series, since, rule)
    if start is None or start is newest:
        return None
    verdict = _by_change(therapy, series, start, since, days, rule)
    if verdict is None or (right and days >= rule.least_days):
        return verdict
    if (newest.on - begun).days < rule.least_days or verdict.definition in (rule.blip, rule.slow):
        return None  # an early rise is no failure, and a small change needs no second reason
    if right:
        words = f": CMV DNA not falling ({newest.words}), but rightly dosed for {counted(days)} only"
        weeks = rule.least_days // 7
        why = f"{_upper(therapy.name)} is rightly dosed since {_day(since)} only ({counted(days)} up to that result)."
        return _Verdict(rule.dose_first, words, (why, f"Repeat once the dose has been right for {weeks} weeks."))
    words = f": CMV DNA not falling on {therapy.name} ({newest.words}), but check the dose first"
    return _Verdict(rule.dose_first, words, _dose_first(therapy))


def _dose_first(therapy: Therapy) -> tuple[str, ...]:
    """Why the dose comes first, and what to do."""
    mend = "Mend the dose" if therapy.latest.dosing == LOW else "Check the dose"
    return f"{_upper(therapy.name)}: {therapy.latest.why}.", f"{mend}, then repeat the viral load."


def _by_change(
    therapy: Therapy, series: Series, start: Point, since: date, days: int, rule: ResponseRule
) -> _Verdict | None:
    newest, change = series.newest, log_change(start, series.newest)
    moved = f"{_log(change)} after {counted(days)}"
    told = (f"{_upper(therapy.name)} since {_day(since)}: {start.words}, {newest.words} ({moved} of it).",)
    if change > rule.refractory_rise:
        words = f": CMV refractory to {therapy.name}, {moved}"
        return _Verdict(rule.refractory, words, told, failing=True)
    if rebound := _rebound(therapy, series, since, rule):
        return rebound
    if series.is_near_limit(newest):
        if change > -rule.near_limit or _was_clear(series, since):
            words = f": low CMV DNA next to the limit of quantification ({newest.words}); repeat"
            return _Verdict(rule.blip, words, told, repeat=True)
        return None
    if change > -rule.significant:
        words = f": CMV probably refractory to {therapy.name}, {moved}"
        return _Verdict(rule.probable, words, told, failing=True)
    if change >= -rule.clear_fall:
        words = f": slow response to {therapy.name}, {moved}"
        return _Verdict(rule.slow, words, told)
    return None


def _lowest(series: Series, since: date) -> Point | None:
    """The lowest result on therapy before the newest, the latest of several."""
    earlier = [p for p in series.points[:-1] if p.on > since]
    return min(earlier, key=lambda p: (p.level, -p.on.toordinal()), default=None)


def _rebound(therapy: Therapy, series: Series, since: date, rule: ResponseRule) -> _Verdict | None:
    """A rise after a fall on the drug, both beyond what the assay scatters, and not next to its limit."""
    lowest, newest = _lowest(series, since), series.newest
    if lowest is None or series.is_near_limit(newest):
        return None
    before = [p for p in series.points if p.on < lowest.on]
    fell = any(log_change(p, lowest) < -rule.significant for p in before)
    if not fell or log_change(lowest, newest) <= (
        rule.near_limit if series.is_near_limit(lowest) else rule.significant
    ):
        return None
    rise = log_change(lowest, newest)
    line = f"{_upper(therapy.name)} since {_day(since)}: {lowest.words}, then {newest.words} ({_log(rise)})."
    words = f": CMV DNA rises again on {therapy.name}: {lowest.lab.original} to {newest.lab.original}"
    return _Verdict(rule.rebound, words, (line,), failing=True)


def _rises(series: Series, begun: date, rule: ResponseRule) -> bool:
    """Is the newest result clearly above the lowest one of the therapy and of the weeks before it?"""
    earlier = series.between(begun - timedelta(days=rule.start_days_before), series.newest.on)[:-1]
    lowest = min(earlier, key=lambda p: p.level, default=None)
    return lowest is None or log_change(lowest, series.newest) > rule.significant


def _was_clear(series: Series, since: date) -> bool:
    return any(point.below for point in series.points[:-1] if point.on > since)


# --------------------------------------------------------------------------------------------------------------------
# Saying it


def _finding(case: Case, therapy: Therapy, series: Series, verdict: _Verdict) -> Finding:
    rule, order = case.knowledge.response, case.order
    own = order.product.drug in therapy.drugs
    due = _genotype(case, therapy, verdict)
    told = [*verdict.lines, *verdict.definition.because]
    indicator = _INDICATORS[verdict.definition.indicator]
    treats = order.draft and order.intent.phase is Phase.TREATMENT and therapy.prevents
    if not own or treats:  # the order is an answer to it already
        indicator = Indicator.INFO
        told.append(f"For information: this order is not the {therapy.name} on which it happened." if not own else "")
    if verdict.failing:
        told += due.lines
    tests = list(due.tests)
    if verdict.repeat:
        tests += [test for test in [_viral_load(case, series)] if test]
    told.append("Compare results of one laboratory and assay only: the record does not always tell which.")
    found = case.finding(
        verdict.definition.id,
        "response",
        indicator,
        verdict.words,
        *told,
        cites=[*_sources(verdict, therapy, rule), *([rule.genotype_due.cite] if due.tests else [])],
        inputs=series.inputs,
        lab_requests=tests,
    )
    rules = (verdict.definition.id, *((rule.genotype_due.id,) if due.tests else ()))
    return replace(found, rules=rules, drug=sorted(therapy.drugs)[0])


def _sources(verdict: _Verdict, therapy: Therapy, rule: ResponseRule) -> Iterator[Cite]:
    """The definition's own source; a threshold of ours where it speaks of another drug than that source."""
    own = verdict.definition not in (rule.breakthrough, rule.low_positive) or not therapy.drugs & set(
        rule.treatment_drugs
    )
    yield verdict.definition.cite if own else rule.threshold.cite


@dataclass(frozen=True, slots=True)
class _Due:
    lines: tuple[str, ...]
    tests: tuple[LabRequest, ...] = ()


def _genotype(case: Case, therapy: Therapy, verdict: _Verdict) -> _Due:
    """Is a genotype due, is one on file, or is it too early?"""
    rule, facts = case.knowledge.response, case.facts
    if not verdict.failing:
        return _Due(())
    dates = [said.on for test in rule.genotype_tests if isinstance(said := facts.said(test), Said)]
    dates += [on for test in rule.genotype_tests if (on := facts.reported.get(test))]
    unread = any(_unusable(facts.said(test)) for test in rule.genotype_tests)
    newest = max(dates, default=None)
    if unread or (newest and therapy.since and newest >= therapy.since):
        return _Due(("A resistance genotype is on file: read it before the drug is changed.",))
    earlier = f"The one on file is of {_day(newest)}, before this treatment." if newest else ""
    unseen = {str(said) for test in rule.genotype_tests if _not_sent(said := facts.said(test))}
    gap = facts.problem_gaps.get("reports")
    unseen |= {f"reports {gap.why.value}"} if gap and _not_sent(gap) else set()
    days = exposure_days(facts, therapy.drugs)
    if days < rule.exposure_days:
        return _Due((f"Exposure so far {counted(days)}: a genotype is due from {rule.exposure_days} days on.",))
    order = case.knowledge.codes.tests[rule.genotype_order].order
    lines = (f"Exposure in all: {counted(days)}.", *rule.genotype_due.because, earlier)
    if unseen:
        lines = (*lines, f"Whether one was done could not be seen in full: {'; '.join(sorted(unseen))}.")
    return _Due(lines, (order,) if order else ())


def _not_sent(value: object) -> bool:
    return isinstance(value, Missing) and value.why in (Why.NOT_SENT, Why.FETCH_FAILED)


def _unusable(value: object) -> bool:
    """Something came, in a shape that is no plain result (components, a report): it is on file all the same."""
    return isinstance(value, Missing) and value.why is Why.UNUSABLE


def _viral_load(case: Case, series: Series) -> LabRequest | None:
    return case.knowledge.codes.analytes[series.analyte].order


def _history_unseen(case: Case, series: Sequence[Series], gap: Missing) -> Iterator[Finding]:
    """Without the medication list nobody can say what the viral load answers to; said where it would matter."""
    rule = case.knowledge.response
    for one in series:
        newest = one.newest
        weeks_ago = [p for p in one.points if (newest.on - p.on).days >= rule.least_days]
        if newest.below or not weeks_ago or one.is_near_limit(newest):
            continue
        change = log_change(weeks_ago[-1], newest)
        if change > -rule.significant:
            summary = f": response not judged, CMV DNA {_log(change)} (medication list {gap.why.value})"
            line = f"{weeks_ago[-1].words}, then {newest.words}: what was given in between could not be looked for."
            yield case.finding(
                rule.dose_first.id,
                "dataQuality",
                Indicator.INFO,
                summary,
                line,
                cites=[rule.dose_first.cite],
                inputs=one.inputs,
            )
            return


def _loads_unseen(case: Case, therapy: Sequence[Therapy]) -> Iterator[Finding]:
    """On therapy for weeks, and the viral loads did not come: silence would read as an answer."""
    rule, facts = case.knowledge.response, case.facts
    unseen = [m for key in rule.series if _not_sent(m := facts.newest(key)) and isinstance(m, Missing)]
    for t in therapy:
        if unseen and t.since and t.until is None and case.order.product.drug in t.drugs:
            days = (facts.today - t.since).days
            if days >= rule.least_days:
                yield case.finding(
                    rule.not_compared.id,
                    "dataQuality",
                    Indicator.INFO,
                    f": response not judged after {counted(days)} (viral load {unseen[0].why.value})",
                    f"{_upper(t.name)} since {_day(t.since)}; whether the viral load answers could not be looked at.",
                    cites=[rule.dose_first.cite],
                )
                return


def _not_compared(
    case: Case, therapy: Sequence[Therapy], series: Sequence[Series], own: frozenset[str]
) -> Iterator[Finding]:
    """On treatment for weeks, and the results on file are of different kinds, or some could not be used."""
    rule, facts = case.knowledge.response, case.facts
    on = next((t for t in therapy if not t.prevents and t.drugs & own and t.since), None)
    if on is None or on.since is None or (facts.today - on.since).days < rule.least_days:
        return
    first = on.since - timedelta(days=rule.start_days_before)
    seen = [one for one in series if one.between(first, facts.today)]
    if any(len(one.between(first, facts.today)) > 1 for one in seen):
        return
    kinds = [f"{one.name}: {one.newest.words}" for one in seen]
    refused = [
        f"{entry.what} {entry.why}"
        for key in rule.series
        for entry in facts.results[key].unused
        if entry.kind == "unit" and entry.on >= first.isoformat()
    ]
    positive = any(not one.newest.below for one in seen) or not seen
    if len(kinds) + len(refused) > 1 and positive:
        yield case.finding(
            rule.not_compared.id,
            "response",
            Indicator.INFO,
            ": response not judged, the viral loads on file cannot be compared",
            *(f"{_upper(text)}." for text in (*kinds, *refused)),
            *rule.not_compared.because,
            cites=[rule.not_compared.cite],
            inputs=[entry for one in seen for entry in one.inputs],
        )


def _log(change: Decimal) -> str:
    """A change in words; one that rounds to nothing has no sign."""
    return f"{change:+.1f} log10" if round(abs(change), 1) else "no change"


def _day(day: date) -> str:
    return day.isoformat()


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
