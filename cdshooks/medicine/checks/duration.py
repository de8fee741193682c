"""How long? Courses of treatment, prophylaxis after transplantation, maintenance in HIV."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from cdshooks.medicine.case import Case, medicines_gap
from cdshooks.medicine.dates import counted
from cdshooks.medicine.rules.advice import CourseLength, ProphylaxisLength
from cdshooks.medicine.therapy import Therapy, therapies
from cdshooks.medicine.units import readable
from cdshooks.medicine.viral_load import Point, Series, all_series, significant
from cdshooks.model import Finding, Indicator, Input, Lab, Missing, Phase, Why

_INDICATORS = {"info": Indicator.INFO, "warning": Indicator.WARNING}
_IN_WORDS = re.compile(
    r"(?<!\w)(?:for|x|×)\s*(?:\d+\s*(?:-|to)\s*)?(\d{1,3})\s*-?\s*(day|d|week|wk)s?(?!\w)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Span:
    """An order's own days, both included. `in_words` is what a text said when no period is given."""

    first: date
    last: date
    in_words: str = ""

    @property
    def days(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic duration for an order whose purpose is known."""
    phase, response = case.order.intent.phase, case.knowledge.response
    if phase is None and case.order.product.drug in set(response.preventive_drugs) - set(response.treatment_drugs):
        phase = Phase.PROPHYLAXIS  # it has no other purpose
    if phase is None and (length := _length(case)) and length.most is not None:
        phase = Phase.TREATMENT  # the disease has a course of its own, and no other
    if phase is None or case.order.indication != "cmv":
        return
    therapy = tuple(t for t in therapies(case.facts, case.knowledge) if _goes_on_from(t, case))
    if phase is Phase.TREATMENT:
        yield from _treatment(case, therapy)
    else:
        yield from _step_down(case, therapy)
    if phase is Phase.PROPHYLAXIS:
        yield from _prophylaxis(case)
    if phase is Phase.MAINTENANCE:
        yield from _maintenance(case, therapy)


def _goes_on_from(therapy: Therapy, case: Case) -> bool:
    """A stretch of the same substance that runs, or ended so lately that the order follows on it."""
    if case.order.product.drug not in therapy.drugs:
        return False
    gap = timedelta(days=case.knowledge.judgement.course_gap_days)
    return therapy.until is None or therapy.until + gap >= case.facts.today


def _span(case: Case) -> _Span | None:
    order, today = case.order, case.facts.today
    first = order.starts or today
    if order.ends:
        return _Span(first, order.ends) if order.ends >= first else None
    for dosage in order.chart.dosages:
        if dosage.timing.lasts_days:
            return _Span(first, first + timedelta(days=max(int(dosage.timing.lasts_days) - 1, 0)))
        if found := _IN_WORDS.search(dosage.text):
            days = int(found[1]) * (7 if found[2].lower().startswith("w") else 1)
            return _Span(first, first + timedelta(days=max(days - 1, 0)), found[0].strip())
    return None


# --------------------------------------------------------------------------------------------------------------------
# Treatment


def _treatment(case: Case, therapy: tuple[Therapy, ...]) -> Iterator[Finding]:
    span = _span(case)
    length = _length(case)
    if length is None:
        return
    begun = [t.since for t in therapy if not t.prevents and t.since]
    yield from _too_long(case, length, span, begun)
    yield from _begins_late(case, length, therapy)
    if span is None:
        return
    first, last = min((span.first, *begun)), _last(case, span)
    if last is None:
        return  # another order of the same substance goes on without an end
    days = (last - first).days + 1
    series = tuple(all_series(case.facts, case.knowledge.response, case.knowledge))
    if days < length.days:
        yield _too_short(case, length, span, days, first, series)
    elif (last - case.facts.today).days <= case.knowledge.duration.end.days_ahead and last >= case.facts.today:
        yield from _ending(case, last, days, series)


def _too_long(case: Case, length: CourseLength, span: _Span | None, begun: list[date]) -> Iterator[Finding]:
    """Beyond what the sources have, today or by the order's own end: information."""
    if length.most is None:
        return
    today = case.facts.today
    first = min((case.order.starts or today, *begun))
    days = (max(today, span.last if span else today) - first).days + 1
    if days > length.most + case.knowledge.duration.grace_days:
        yield case.finding(
            length.id,
            "duration",
            Indicator.INFO,
            f": {days} days since {first.isoformat()}, longer than the sources have ({length.most} days)",
            f"{length.title}: {length.words}.",
            f"The order ends on {span.last.isoformat()}." if span else "",
            cites=[length.cite],
        )


def _begins_late(case: Case, length: CourseLength, therapy: tuple[Therapy, ...]) -> Iterator[Finding]:
    """A first order at a greater age than the sources have: information. Only where the list shows that it is one."""
    facts, limit = case.facts, length.begins_within_days
    if limit is None or isinstance(facts.born, Missing) or therapy or medicines_gap(facts) or not case.ordered_now:
        return
    age = ((case.order.starts or facts.today) - facts.born).days
    if age > limit:
        yield case.finding(
            length.id,
            "duration",
            Indicator.INFO,
            f": begins at an age of {age} days; the evidence is for a start within {limit} days of birth",
            f"{length.title}: {length.words}.",
            "No earlier order is on the medication list.",
            cites=[length.cite],
        )


def _length(case: Case) -> CourseLength | None:
    groups = case.knowledge.codes.groups
    here = {problem.concept for problem in case.facts.problems} | case.order.concepts

    def any_of(names: tuple[str, ...]) -> bool:
        return not names or any(groups.get(name, frozenset({name})) & here for name in names)

    rows = case.knowledge.duration.courses
    fits = (row for row in rows if case.order.product.drug in row.drugs and any_of(row.problems) and any_of(row.also))
    return next(fits, None)


def _last(case: Case, span: _Span) -> date | None:
    """The last day of the course: other orders of the substance that follow on without a gap count in; None if open."""
    same = case.knowledge.codes.same_active_drug(case.order.product.drug)
    gap = timedelta(days=case.knowledge.judgement.course_gap_days)
    last = span.last
    beside = [o for o in (*case.facts.orders, *case.facts.context) if o is not case.order and o.product.drug in same]
    for order in sorted(beside, key=lambda o: o.starts or case.facts.today):
        if not order.systemic or (order.starts or case.facts.today) > last + gap:
            continue
        if order.ends is None:
            if order.draft or (order.starts or case.facts.today) > span.first:
                return None
        else:
            last = max(last, order.ends)
    return last


def _too_short(
    case: Case, length: CourseLength, span: _Span, days: int, first: date, series: tuple[Series, ...]
) -> Finding:
    facts, order = case.facts, case.order
    newest = _newest(series, facts.today, case.knowledge.response.current_days)
    positive = [one for one in newest if not one.newest.below]
    by_mouth_next = order.route == "intravenous" and len(case.knowledge.codes.same_active_drug(order.product.drug)) > 1
    graded = positive and not by_mouth_next
    words = (
        f"a course of {counted(days)}" if first == span.first else f"{counted(days)} in all, since {first.isoformat()},"
    )
    return case.finding(
        length.id,
        "duration",
        _INDICATORS[length.at_most] if graded else Indicator.INFO,
        f": {words} is too short; at least {length.days} days ({length.title[:1].lower()}{length.title[1:]})",
        f"{length.title}: {length.words}.",
        f'The text says "{span.in_words}".' if span.in_words else f"The order ends on {span.last.isoformat()}.",
        *(f"{one.name}: {one.newest.words}." for one in newest),
        "" if newest else "No current viral load is on file.",
        "By vein: right as the first part of a course that goes on by mouth." if by_mouth_next else "",
        "Too short or too low a first course leads to recurrence." if positive else "",
        cites=[length.cite],
        inputs=[entry for one in newest for entry in one.inputs[-1:]],
    )


def _newest(series: Iterable[Series], today: date, within: int) -> tuple[Series, ...]:
    return tuple(one for one in series if (today - one.newest.on).days <= within)


def _ending(case: Case, last: date, days: int, series: tuple[Series, ...]) -> Iterator[Finding]:
    """The end is near: is the viral load below the threshold, and has it been so twice?"""
    rule, facts, response = case.knowledge.duration.end, case.facts, case.knowledge.response
    for one in _newest(series, facts.today, rule.viral_load_days):
        newest = one.newest
        if newest.below and _negatives(one.points, rule.negatives_apart_days) < rule.negatives:
            yield case.finding(
                rule.id,
                "duration",
                Indicator.INFO,
                f": ends on {last.isoformat()} after one negative viral load; a second a week apart confirms",
                rule.one_negative,
                rule.blood_may_mislead,
                cites=[rule.negatives_cite],
                inputs=one.inputs[-2:],
            )
            return
        if not newest.below:
            yield case.finding(
                rule.id,
                "duration",
                Indicator.WARNING if significant(one, response, facts.today) else Indicator.INFO,
                f": ends on {last.isoformat()} while CMV DNA is detectable ({newest.words})",
                f"{counted(days)} of treatment in all. {rule.still_detectable}",
                cites=[rule.cite],
                inputs=one.inputs[-2:],
            )
            return


def _negatives(points: tuple[Point, ...], apart: int) -> int:
    """1 for a negative newest result, 2 when the results before it are negative back to one that is a week older."""
    for point in reversed(points[:-1]):
        if not point.below:
            return 1
        if (points[-1].on - point.on).days >= apart:
            return 2
    return 1


def _step_down(case: Case, therapy: tuple[Therapy, ...]) -> Iterator[Finding]:
    """A dose of maintenance or prophylaxis after a treatment that is not over by its own rules."""
    facts, rule = case.facts, case.knowledge.duration.end
    treated = next((t for t in therapy if not t.prevents and t.since), None)
    hiv = case.knowledge.codes.groups["hiv"] & {problem.concept for problem in facts.problems}
    if treated is None or treated.since is None or not case.order.draft or hiv:
        return
    days = ((treated.until or facts.today) - treated.since).days
    for one in _newest(all_series(facts, case.knowledge.response, case.knowledge), facts.today, rule.viral_load_days):
        if significant(one, case.knowledge.response, facts.today) and one.newest.on > treated.since:
            yield case.finding(
                rule.id,
                "duration",
                Indicator.WARNING,
                f" ends treatment while CMV DNA is {one.newest.words}",
                f"{counted(days)} of treatment so far. {rule.still_detectable}",
                cites=[rule.cite],
                inputs=one.inputs[-2:],
            )
            return


# --------------------------------------------------------------------------------------------------------------------
# Prophylaxis


def _prophylaxis(case: Case) -> Iterator[Finding]:
    found = _prophylaxis_row(case)
    if found is None:
        return
    row, day = found
    facts, span = case.facts, _span(case)
    now = (facts.today - day).days
    end = (span.last - day).days if span else None
    yield from _serostatus_unseen(case, row, span)
    least, most = min(s.least for s in row.sources), max(s.most for s in row.sources)
    grace = case.knowledge.duration.grace_days
    reached = max(now, end if end is not None else now)
    short = [(who, s.least) for who, s in row.named if end is not None and s.least > end >= 0]
    if short and span:
        plan = span.days >= case.knowledge.duration.deliberate_days
        if not plan and not row.serostatus:
            return  # a repeat prescription, and nothing on record says how long it has to be
        indicator = _INDICATORS[row.too_short] if plan and len(short) == len(row.sources) else Indicator.INFO
        before = " and ".join(f"day {least} ({who})" for who, least in short)
        words = f" ends on day {end} after transplantation, before {before}"
        yield _on_prophylaxis(case, row, day, indicator, words, span)
    elif reached > most + grace:
        beyond = " and ".join(f"day {source.most} ({who})" for who, source in row.named)
        words = f": day {reached} after transplantation, beyond {beyond}"
        yield _on_prophylaxis(case, row, day, _INDICATORS[row.too_long], words, span)
    elif row.late_risk and reached > least + grace and not {p.concept for p in facts.problems} & set(row.late_risk):
        words = f": day {reached} after transplantation; beyond day {least} for patients at risk of late CMV only"
        yield _on_prophylaxis(case, row, day, Indicator.INFO, words, span)


def _serostatus_unseen(case: Case, row: ProphylaxisLength, span: _Span | None) -> Iterator[Finding]:
    """A plan whose length hangs on the serostatus, and the results of IgG did not come."""
    facts = case.facts
    unseen = [m for test in ("cmv-igg", "cmv-igg-donor") if _did_not_come(m := facts.said(test))]
    planned = span and span.days >= case.knowledge.duration.deliberate_days
    if unseen and planned and not row.serostatus and len(row.sources) > 1:
        yield case.finding(
            row.id,
            "dataQuality",
            Indicator.INFO,
            f": length of prophylaxis not checked in full (CMV serostatus: {unseen[0]})",
            "How long it runs depends on the serostatus of donor and recipient.",
            cites=[row.cite],
        )


def _did_not_come(value: object) -> bool:
    return isinstance(value, Missing) and value.why in (Why.NOT_SENT, Why.FETCH_FAILED)


def _prophylaxis_row(case: Case) -> tuple[ProphylaxisLength, date] | None:
    known, drug = case.facts.serostatus, case.order.product.drug
    if (known.donor, known.recipient) == ("negative", "negative"):
        return None  # no prophylaxis as a rule: said by topic indication
    status = "R+" if known.recipient == "positive" else known.pair
    rows = [r for r in case.knowledge.duration.prophylaxis if drug in r.drugs]
    rows = [row for row in rows if not row.serostatus or status in row.serostatus]
    dated = [(row, day) for row in rows if (day := case.transplanted_on(row.transplants))]
    return max(dated, key=lambda found: found[1], default=None)  # the latest graft; on one day, the first row


def _on_prophylaxis(
    case: Case, row: ProphylaxisLength, day: date, indicator: Indicator, words: str, span: _Span | None
) -> Finding:
    known = case.facts.serostatus
    said = f'The text says "{span.in_words}".' if span and span.in_words else ""
    return case.finding(
        row.id,
        "duration",
        indicator,
        words,
        *(f"{who.capitalize()}: {source.words}." for who, source in row.named),
        f"Transplantation on {day.isoformat()}.{f' Order to {span.last.isoformat()}.' if span else ''}",
        said,
        f"CMV serostatus {known.pair}: {'; '.join(known.because)}." if known.pair else "CMV serostatus is not known.",
        "A period shorter than the whole may be a repeat prescription." if indicator is Indicator.INFO and span else "",
        cites=[source.cite for source in row.sources],
        inputs=[Input("transplantation", day.isoformat(), "", day.isoformat())],
    )


# --------------------------------------------------------------------------------------------------------------------
# Maintenance in HIV


def _maintenance(case: Case, therapy: tuple[Therapy, ...]) -> Iterator[Finding]:
    rule, facts = case.knowledge.duration.secondary, case.facts
    concepts = {
        concept for name in rule.problems for concept in case.knowledge.codes.groups.get(name, frozenset({name}))
    }
    counts = facts.results["cd4-count"].since(facts.today - timedelta(days=2 * rule.sustained_days + 185))
    if not concepts & ({problem.concept for problem in facts.problems} | case.order.concepts):
        return
    span = _span(case)
    if span and _did_not_come(missing := facts.newest("cd4-count")):
        yield case.finding(
            rule.id,
            "dataQuality",
            Indicator.INFO,
            f": whether maintenance may end could not be checked (CD4 {missing})",
            *rule.go_on,
            cites=[rule.cite],
        )
    if not counts:
        return
    newest = counts[0]
    if newest.value <= rule.cd4_above:
        if span:
            deliberate = span.days >= case.knowledge.duration.deliberate_days
            yield case.finding(
                rule.id,
                "duration",
                Indicator.WARNING if deliberate else Indicator.INFO,
                f" ends on {span.last.isoformat()} while CD4 is {newest.original}",
                *rule.go_on,
                cites=[rule.cite],
                inputs=[_input(newest, "CD4 cell count")],
            )
        return
    rna = facts.newest("hiv-viral-load")
    above: list[Lab] = []
    for lab in counts:  # newest first, back to the first that is not above
        if lab.value <= rule.cd4_above:
            break
        above.append(lab)
    sustained = (newest.on - above[-1].on).days >= rule.sustained_days
    suppressed = isinstance(rna, Lab) and (
        rna.value < rule.hiv_rna_below or ("<" in rna.comparator and rna.value <= rule.hiv_rna_below)
    )
    begun = min((t.since for t in therapy if t.since), default=None)
    long_enough = begun is None or (facts.today - begun).days >= rule.least_days
    if sustained and suppressed and long_enough and isinstance(rna, Lab):
        yield case.finding(
            rule.id,
            "duration",
            Indicator.INFO,
            f": maintenance may be stopped, CD4 above {rule.cd4_above}/uL since {above[-1].on}, HIV RNA suppressed",
            *rule.may_stop,
            f"HIV RNA {rna.original} on {rna.on.isoformat()}.",
            f"On it since {begun.isoformat()}." if begun else "Since when it is given is not on record.",
            cites=[rule.cite],
            inputs=[*(_input(lab, "CD4 cell count") for lab in above), _input(rna, "HIV RNA")],
        )


def _input(lab: Lab, name: str) -> Input:
    return Input(name, f"{lab.comparator}{readable(lab.value)}", lab.unit, lab.on.isoformat(), lab.ref)
