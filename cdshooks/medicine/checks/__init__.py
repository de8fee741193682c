"""The checks, in order: plain functions from a case to findings. Checks do not know each other."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from cdshooks.medicine.case import Case, cases, either_reading, later_steps, local_cases
from cdshooks.medicine.checks import (
    allergy,
    cidofovir,
    companions,
    data_quality,
    dose,
    duplicate,
    duration,
    immunosuppression,
    indication,
    interaction,
    monitoring,
    pregnancy,
    renal_dose,
    renal_function,
    resistance,
    response,
    safety,
    toxicity,
)
from cdshooks.medicine.checks.data_quality import depending
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.entries import Cite
from cdshooks.model import Facts, Finding, Indicator, Regimen, Unread

Check: TypeAlias = Callable[[Case], Iterable[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("dose for the kidney function", renal_dose.check),
    ("dose", dose.check),
    ("cidofovir limits", cidofovir.check),
    ("interactions", interaction.check),
    ("duplicate therapy", duplicate.check),
    ("kidney function", renal_function.check),
    ("toxicity", toxicity.check),
    ("allergies", allergy.check),
    ("how it is given", safety.check),
    ("what goes with it", companions.check),
    ("pregnancy", pregnancy.check),
    ("immunosuppression", immunosuppression.check),
    ("resistance", resistance.check),
    ("response", response.check),
    ("indication", indication.check),
    ("duration", duration.check),
    ("data quality", data_quality.check),
    ("monitoring", monitoring.check),
)
LOCAL_CHECKS: tuple[tuple[str, Check], ...] = (  # for orders that are not systemic
    ("allergies", allergy.check),
    ("route", safety.by_route),
)
STEP_CHECKS: tuple[tuple[str, Check], ...] = (  # for the later steps of an order, and for each of two readings
    ("dose of a later step", renal_dose.check),
    ("dose of a later step", dose.check),
)
LINES: tuple[Callable[[Case], Iterable[str]], ...] = (pregnancy.lines,)  # said on a card of the order, never alone


def run(facts: Facts, knowledge: Knowledge) -> tuple[tuple[Finding, ...], tuple[tuple[str, Exception], ...]]:
    """(findings, failures). A check that raises costs only itself: the others report, and a card names the gap.

    Where results contradict each other everything is judged both ways: the less favourable reading counts, but proposes
    only what the other one proposes too, and a card says what the other one would have found.
    """
    findings, failures = _judged(facts, knowledge)
    looked_at = data_quality.looked_at(facts, knowledge)
    findings += data_quality.preliminary(looked_at, facts, knowledge, findings)
    if in_doubt := [one for one in looked_at if one.rivals]:
        others, more = _judged(facts.otherwise(), knowledge)
        card = data_quality.contradiction(in_doubt, facts, knowledge, [f for f in others if f not in findings])
        findings = [
            f if any(_agree(f, other) for other in others) else depending(f, in_doubt, knowledge) for f in findings
        ]
        findings += [card]
        failures += more
    return tuple(findings), tuple(failures)


def _agree(finding: Finding, other: Finding) -> bool:
    """Does the other reading come to the same? The figures may differ, what is proposed may not."""
    same = (finding.topic, finding.order, finding.rules) == (other.topic, other.order, other.rules)
    if not same or finding.withdraw != other.withdraw:
        return False
    return finding.proposals == other.proposals if finding.proposals else finding.indicator == other.indicator


def _judged(facts: Facts, knowledge: Knowledge) -> tuple[list[Finding], list[tuple[str, Exception]]]:
    whole_call = (*data_quality.check_call(facts, knowledge), *indication.check_call(facts, knowledge))
    findings = [_completed(finding, facts) for finding in whole_call]
    failures: list[tuple[str, Exception]] = []
    every = [(case, CHECKS) for case in cases(facts, knowledge)]
    every += [(case, LOCAL_CHECKS) for case in local_cases(facts, knowledge)]
    for case, checks in every:
        own = _found(case, checks, failures)
        own += _of_readings(case, failures)
        later = list(_of_later_steps(case, own, failures))
        if later or _has_unread_step(case):
            own = [
                _in_words(finding, "Nothing is filled in: a later step has to be mended as well.") for finding in own
            ]
        whole = _without_doses(_asking_once([*own, *later]))
        findings += [_completed(finding, facts) for finding in _with_lines(case, whole)]
    return findings, failures


def _completed(finding: Finding, facts: Facts) -> Finding:
    """With what every finding on an order says of it: what it is for, and what is ordered."""
    order = next((order for order in facts.orders if order.chart is finding.order), None)
    if order is None:
        return finding
    ordered = order.regimen.wording if isinstance(order.regimen, Regimen) else ""
    return replace(finding, intent=finding.intent or order.intent, ordered=finding.ordered or ordered)


def _found(case: Case, checks: tuple[tuple[str, Check], ...], failures: list[tuple[str, Exception]]) -> list[Finding]:
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += list(check(case))
        except Exception as error:  # noqa: BLE001 - the border that keeps one defect from silencing every other check
            failures.append((name, error))
            found.append(_could_not_run(name, case))
    return found


def _of_later_steps(case: Case, own: list[Finding], failures: list[tuple[str, Exception]]) -> Iterable[Finding]:
    """A wrong dose of a later step, judged like a first one by the phase that speaks least against it.

    What is said of the order anyway is not said again.
    """
    said = {(finding.topic, finding.because[:1]) for finding in own}
    for readings in later_steps(case):
        each = [[f for f in _found(one, STEP_CHECKS, failures) if _counts(f, said)] for one in readings]
        yield from min(each, key=lambda found: max((f.indicator for f in found), default=-1))


def _has_unread_step(case: Case) -> bool:
    regimen = case.order.regimen
    return isinstance(regimen, Regimen) and any(isinstance(step.regimen, Unread) for step in regimen.later)


def _of_readings(case: Case, failures: list[tuple[str, Exception]]) -> list[Finding]:
    """A dose that is wrong whichever of two contradictory statements holds, as grave as the less grave of them.

    No dose is proposed: which one is meant has to be settled first.
    """
    each = [[f for f in _found(one, STEP_CHECKS, failures) if _counts(f, set())] for one in either_reading(case)]
    if not each or not all(each):
        return []
    worst = [max(found, key=lambda finding: finding.indicator) for found in each]
    said = "; ".join(finding.summary for finding in worst)
    line = f"The order states its dose in two ways, and it is wrong by either: {said}."
    least = min(worst, key=lambda finding: finding.indicator)
    return [replace(least, proposals=(), because=(*least.because, line))]


def _counts(finding: Finding, said: set[tuple[str, tuple[str, ...]]]) -> bool:
    about_dose = finding.topic in ("renalDose", "dose") and finding.indicator > Indicator.INFO
    return about_dose and (finding.topic, finding.because[:1]) not in said


def _without_doses(findings: list[Finding]) -> list[Finding]:
    """No dose is advised or proposed for an order that a critical finding can only remove: it would not mend it.

    Beside a critical interaction the advice stays, in words alone: the other drug is to be ended first.
    """
    if _to_remove(findings):
        why = "No dose is proposed: another finding speaks against giving this order at all."
        return [_in_words(finding, why) for finding in findings if finding.topic != "doseAdvice"]
    if any(f.topic == "interaction" and f.indicator is Indicator.CRITICAL for f in findings):
        why = "No dose is filled in: settle the interaction first."
        return [_in_words(f, why) if f.topic == "doseAdvice" else f for f in findings]
    return findings


def _to_remove(findings: Iterable[Finding]) -> bool:
    """Does a critical finding propose to remove the draft, as the only way out?"""
    critical = (finding for finding in findings if finding.indicator is Indicator.CRITICAL)
    return any(finding.withdraw and not finding.mendable for finding in critical)


def _in_words(finding: Finding, why: str) -> Finding:
    """Without the doses that it proposes, and with the reason where it did."""
    return replace(finding, proposals=(), because=(*finding.because, why)) if finding.proposals else finding


def _asking_once(findings: list[Finding]) -> list[Finding]:
    """A test that monitoring offers to order is not offered by another card of the same order."""
    due = {test for finding in findings if finding.topic == "monitoring" for test in finding.lab_requests}
    return [
        finding
        if finding.topic == "monitoring"
        else replace(finding, lab_requests=tuple(test for test in finding.lab_requests if test not in due))
        for finding in findings
    ]


def _with_lines(case: Case, findings: list[Finding]) -> list[Finding]:
    """The findings of one order; what has no card of its own is said by the most severe one about the patient.

    Not of an order that a critical finding proposes to remove: what goes with taking it does not matter then.
    """
    about = [] if _to_remove(findings) else [finding for finding in findings if finding.topic != "dataQuality"]
    lines = [line for tell in LINES for line in tell(case)] if about else []
    if not lines:
        return findings
    first = max(about, key=lambda finding: finding.indicator)
    longer = replace(first, because=(*first.because, *lines))
    return [longer if finding is first else finding for finding in findings]


def _could_not_run(name: str, case: Case) -> Finding:
    return Finding(
        topic="dataQuality",
        indicator=Indicator.WARNING,
        rules=("service/check-failed",),
        order=case.order.chart,
        drug=case.order.product.drug,
        summary=f"{case.order.label}: {name} could not be checked (internal error)",
        because=("The check stopped with an internal error, which is in the service's log. Check this order by hand.",),
        citations=(case.knowledge.citation(Cite(source="project-design", section="errors")),),
    )
