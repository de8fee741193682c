"""Pregnancy and breast-feeding on record, and the pregnancy test before therapy begins.

Whoever is pregnant by the newest statement counts, whatever the sex on record. A missing sex or age is never taken for
one that needs no test: then a card says that it is not known.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from cdshooks.medicine.case import Case, medicines_gap, record_gap
from cdshooks.medicine.dates import counted
from cdshooks.medicine.rules.safety import PregnancyOf, PregnancyRule
from cdshooks.model import Facts, Finding, Indicator, Input, Missing, Said, Why

_NOT_SEEN = (Why.NOT_SENT, Why.FETCH_FAILED)


@dataclass(frozen=True, slots=True)
class _Statement:
    """Something on record that says pregnant or not; `on` is None for an undated entry, which counts as of today."""

    pregnant: bool
    words: str
    on: date | None
    ref: str
    result: bool  # a result, not an entry of the problem list

    @property
    def input(self) -> Input:
        return Input("pregnancy", self.words, "", self.on.isoformat() if self.on else "", self.ref)


def check(case: Case) -> Iterator[Finding]:
    """Findings of topic pregnancy, and dataQuality where it could not be looked for."""
    for rule in case.knowledge.pregnancy:
        for antiviral in rule.antivirals:
            if case.order.product.drug in antiviral.drugs:
                yield from _on_record(case, rule, antiviral)


def lines(case: Case) -> Iterator[str]:
    """Contraception for men, at the start of therapy: a line on another card."""
    if case.facts.sex == "male" and _begins(case):
        for rule in case.knowledge.pregnancy:
            for antiviral in () if case.facts.is_younger_than(rule.men_from_years) else rule.antivirals:
                if case.order.product.drug in antiviral.drugs and antiviral.men:
                    yield f"Men: {antiviral.men} ({case.knowledge.citation(antiviral.cite).source})."


def _on_record(case: Case, rule: PregnancyRule, antiviral: PregnancyOf) -> Iterator[Finding]:
    facts, today = case.facts, case.facts.today
    statements = sorted(_statements(facts, rule), key=lambda s: (s.on or today, s.pregnant))
    newest = statements[-1] if statements else None
    severity = {"critical": Indicator.CRITICAL, "warning": Indicator.WARNING, "info": Indicator.INFO}
    if newest and newest.pregnant:
        yield case.finding(
            rule.id,
            "pregnancy",
            severity[antiviral.pregnant],
            f": pregnancy on record ({_dated(newest)})",
            f"Pregnancy on record: {_dated(newest)}.",
            antiviral.pregnant_says,
            cites=[antiviral.cite],
            inputs=[newest.input],
            withdraw="Remove this order" if antiviral.pregnant == "critical" else "",
        )
    elif antiviral.test:
        yield from _contradicted(case, rule, antiviral, statements)
        yield from _test(case, rule, antiviral)
    feeding = _breastfeeding(facts, rule)
    if feeding:
        yield case.finding(
            rule.id,
            "pregnancy",
            severity[antiviral.breastfeeding],
            f": breast-feeding on record ({feeding.value})",
            f"Breast-feeding on record: {feeding.value}{f' ({feeding.effective})' if feeding.effective else ''}.",
            antiviral.breastfeeding_says,
            cites=[antiviral.cite],
            inputs=[feeding],
        )
    elif antiviral.breastfeeding != "info":
        yield from _feeding_not_seen(case, rule, antiviral)


def _feeding_not_seen(case: Case, rule: PregnancyRule, antiviral: PregnancyOf) -> Iterator[Finding]:
    """Breast-feeding stands on the problem list, or in a result."""
    gap, said = record_gap(case.facts, "conditions"), case.facts.said("breastfeeding-status")
    if gap and not isinstance(said, Said) and _may_bear(case.facts, rule) and case.facts.hook != "patient-view":
        lost = case.knowledge.judgement.of_loss([antiviral.breastfeeding])
        summary = f": breast-feeding could not be looked for (conditions {gap.why.value})"
        yield case.finding(rule.id, "dataQuality", lost, summary, antiviral.breastfeeding_says, cites=[antiviral.cite])


def _statements(facts: Facts, rule: PregnancyRule) -> Iterator[_Statement]:
    oldest = facts.today - timedelta(days=rule.pregnancy_days)
    for problem in facts.problems:
        since = _end_of_year_told(problem.text) or problem.since
        if problem.concept in ("pregnancy", "not-pregnant") and (since is None or since >= oldest):
            pregnant = problem.concept == "pregnancy"
            words = problem.text or problem.concept
            yield _Statement(pregnant, words, problem.since, problem.ref, result=False)
    for said in (facts.said("pregnancy-test"), facts.said("pregnancy-status"), _by_hormone(facts, rule)):
        if isinstance(said, Said) and said.answer and said.on >= oldest:
            words = f"{said.test.replace('-', ' ')}: {said.words}" if said.test != rule.hormone.analyte else said.words
            yield _Statement(said.answer == "positive", words, said.on, said.ref, result=True)


def _end_of_year_told(text: str) -> date | None:
    """The last day of the year that ends a short text ("Pregnancy, 2019"); a longer one may tell of something else."""
    found = re.fullmatch(r"\s*[^\W\d]+(?:\W+[^\W\d]+){0,2}\W+((?:19|20)\d\d)\W*", text)
    return date(int(found[1]), 12, 31) if found else None


def _by_hormone(facts: Facts, rule: PregnancyRule) -> Said | Missing:
    """The newest chorionic gonadotropin as a pregnancy test; in a man it is a sign of something else."""
    limits, lab = rule.hormone, facts.newest(rule.hormone.analyte)
    if isinstance(lab, Missing):
        return lab
    low, high = "<" in lab.comparator, ">" in lab.comparator
    answer = "positive" if lab.value >= limits.positive_from and not low and facts.sex != "male" else ""
    if not high and (lab.value < limits.negative_below or (low and lab.value == limits.negative_below)):
        answer = "negative"
    return Said(limits.analyte, answer, f"chorionic gonadotropin {lab.original}", lab.on, lab.ref, lab.remark)


def _tested(facts: Facts, rule: PregnancyRule) -> Said | Missing:
    """The newest pregnancy test, in words or as a number; of two on one day the positive one."""
    said, counted = facts.said("pregnancy-test"), _by_hormone(facts, rule)
    results = [one for one in (said, counted) if isinstance(one, Said)]
    if results:
        return max(results, key=lambda one: (one.on, one.answer == "positive"))
    unusable = isinstance(counted, Missing) and counted.why is Why.UNUSABLE
    return counted if unusable and isinstance(said, Missing) and said.why is Why.NONE_ON_FILE else said


def _dated(statement: _Statement) -> str:
    return f"{statement.words}{f' on {statement.on.isoformat()}' if statement.on else ''}"


def _contradicted(
    case: Case, rule: PregnancyRule, antiviral: PregnancyOf, statements: list[_Statement]
) -> Iterator[Finding]:
    """A pregnancy that a newer statement denies: said, because the list still has it, or a test said so just now."""
    latest = case.facts.today - timedelta(days=rule.test_days)
    listed = [s for s in statements if s.pregnant and (not s.result or (s.on is not None and s.on >= latest))]
    if listed:
        yield case.finding(
            rule.id,
            "pregnancy",
            Indicator.INFO,
            f": a pregnancy on {'record' if listed[-1].result else 'the problem list'}, denied since"
            f" ({_dated(statements[-1])})",
            f"On record: {_dated(listed[-1])}. Newer: {_dated(statements[-1])}. Make sure which is right.",
            antiviral.pregnant_says,
            cites=[antiviral.cite],
            inputs=[listed[-1].input, statements[-1].input],
        )


# --------------------------------------------------------------------------------------------------------------------
# The test before the first dose


def _begins(case: Case) -> bool:
    """Does the order begin the therapy? A renewal or another dose of running therapy does not."""
    others = [order for order in case.course.orders if order.chart is not case.order.chart]
    return case.facts.hook != "patient-view" and not others


def _may_bear(facts: Facts, rule: PregnancyRule) -> bool:
    """By sex and age, as far as they are known."""
    limits = rule.child_bearing
    return facts.sex != "male" and (facts.age is None or limits.from_years <= facts.age <= limits.to_years)


def _test(case: Case, rule: PregnancyRule, antiviral: PregnancyOf) -> Iterator[Finding]:
    facts, limits = case.facts, rule.child_bearing
    excluded = any(problem.concept in limits.excluded_by for problem in facts.problems)
    if not _may_bear(facts, rule) or excluded:
        return
    test = _tested(facts, rule)
    in_date = isinstance(test, Said) and (facts.today - test.on).days <= rule.test_days
    if in_date and isinstance(test, Said) and test.answer == "negative":
        return
    if _excluded_lately(facts, rule):
        return
    if not _begins(case):
        if isinstance(facts.sex, str) and facts.age is not None:
            yield from _not_seen_on_treatment(case, rule)
        return
    unknown = [(name, gap) for name, gap in (("sex", facts.sex), ("age", facts.born)) if isinstance(gap, Missing)]
    if unknown:
        names = " and ".join(gap.of(name) for name, gap in unknown)
        said = (f"{name[:1].upper()}{name[1:]}: {gap}." for name, gap in unknown)
        summary = f": whether a pregnancy test is needed is not known ({names})"
        yield case.finding(rule.id, "dataQuality", Indicator.INFO, summary, *said, cites=[limits.cite])
        return
    yield _asked_for(case, rule, antiviral, test)


def _excluded_lately(facts: Facts, rule: PregnancyRule) -> bool:
    """Is an entry of a negative test on the problem list in date?"""
    oldest = facts.today - timedelta(days=rule.test_days)
    return any(p.concept == "not-pregnant" and p.since is not None and p.since >= oldest for p in facts.problems)


def _not_seen_on_treatment(case: Case, rule: PregnancyRule) -> Iterator[Finding]:
    """On running therapy no test is asked for, but a pregnancy could not be looked for."""
    gap = record_gap(case.facts, "conditions")
    test = _tested(case.facts, rule)
    gaps = [("conditions", gap)] if gap else []
    gaps += [("pregnancy tests", test)] if isinstance(test, Missing) and test.why in _NOT_SEEN else []
    if gaps:
        names = " and ".join(f"{name} {missing.why.value}" for name, missing in gaps)
        summary = f": pregnancy could not be looked for ({names})"
        because = "The therapy runs, so no new test is asked for; a pregnancy on record would have been shown."
        yield case.finding(rule.id, "dataQuality", Indicator.INFO, summary, because, cites=[rule.cite])


def _asked_for(case: Case, rule: PregnancyRule, antiviral: PregnancyOf, test: Said | Missing) -> Finding:
    facts, cites = case.facts, [antiviral.cite]
    unseen = medicines_gap(facts)
    notes = [f"Women: {antiviral.women}." if antiviral.women else ""]
    notes += [f"Whether therapy runs already could not be seen (medication list {unseen})."] if unseen else []
    notes += list(_instead(facts, rule))
    if isinstance(test, Missing) and test.why in _NOT_SEEN:
        summary = f": pregnancy test not checked ({test.why.value})"
        said = f"Pregnancy test: {test}. One is asked for before therapy begins."
        return case.finding(rule.id, "dataQuality", Indicator.WARNING, summary, said, *notes, cites=cites)
    order = case.knowledge.codes.tests["pregnancy-test"].order
    inputs = []
    if isinstance(test, Missing):
        what = "no pregnancy test on file" if test.why is Why.NONE_ON_FILE else "no usable pregnancy test"
        said = f"Pregnancy test: {test}."
    else:
        days = (facts.today - test.on).days
        unclear = days <= rule.test_days
        what = f'pregnancy test reads "{test.words}"' if unclear else f"pregnancy test is {counted(days)} old"
        said = f"Pregnancy test of {test.on.isoformat()}: {test.words}."
        inputs = [Input("pregnancy test", test.words, "", test.on.isoformat(), test.ref)]
    return case.finding(
        rule.id,
        "pregnancy",
        Indicator.WARNING,
        f": {what}, needed before the start",
        said,
        f"A test no older than {rule.test_days} days is asked for before therapy begins (age {facts.age}).",
        *notes,
        cites=cites,
        inputs=inputs,
        lab_requests=[order] if order else [],
    )


def _instead(facts: Facts, rule: PregnancyRule) -> Iterator[str]:
    """What is on file in the place of a test."""
    tested, status = _tested(facts, rule), facts.said("pregnancy-status")
    if isinstance(tested, Said) and tested.test == rule.hormone.analyte:
        yield rule.hormone.basis
    if isinstance(status, Said):
        yield f"Pregnancy status of {status.on.isoformat()}: {status.words}."
    if record_gap(facts, "conditions"):
        yield "Hysterectomy and menopause could not be looked for (conditions not seen)."


# --------------------------------------------------------------------------------------------------------------------
# Breast-feeding


def _breastfeeding(facts: Facts, rule: PregnancyRule) -> Input | None:
    """The newest statement that the patient breast-feeds, unless a newer one denies it."""
    oldest = facts.today - timedelta(days=rule.breastfeeding_days)
    said = facts.said("breastfeeding-status")
    told = said if isinstance(said, Said) and said.answer and said.on >= oldest else None
    listed = [
        problem
        for problem in facts.problems
        if problem.concept == "breastfeeding" and (problem.since is None or problem.since >= oldest)
    ]
    newest = max(listed, key=lambda problem: problem.since or facts.today, default=None)
    if newest and not (told and told.answer == "negative" and newest.since and told.on > newest.since):
        return Input("breast-feeding", newest.text, "", newest.since.isoformat() if newest.since else "", newest.ref)
    if told and told.answer == "positive":
        return Input("breast-feeding", told.words, "", told.on.isoformat(), told.ref)
    return None
