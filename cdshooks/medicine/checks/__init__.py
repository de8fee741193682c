"""The checks, in order: plain functions from a case to findings. Checks do not know each other."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from cdshooks.medicine.case import Case, cases, local_cases
from cdshooks.medicine.checks import (
    allergy,
    cidofovir,
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
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.entries import Cite
from cdshooks.model import Facts, Finding, Indicator

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
LINES: tuple[Callable[[Case], Iterable[str]], ...] = (pregnancy.lines,)  # said on a card of the order, never alone


def run(facts: Facts, knowledge: Knowledge) -> tuple[tuple[Finding, ...], tuple[tuple[str, Exception], ...]]:
    """(findings, failures). A check that raises costs only itself: the others report, and a card names the gap.

    Where results contradict each other everything is judged both ways: the less favourable reading counts, and a card
    says what the other one would have found.
    """
    findings, failures = _judged(facts, knowledge)
    if in_doubt := facts.in_doubt():
        others, more = _judged(facts.otherwise(), knowledge)
        findings += data_quality.contradictions(in_doubt, facts, knowledge, [f for f in others if f not in findings])
        failures += more
    return tuple(findings), tuple(failures)


def _judged(facts: Facts, knowledge: Knowledge) -> tuple[list[Finding], list[tuple[str, Exception]]]:
    findings = list(data_quality.check_call(facts, knowledge))
    failures: list[tuple[str, Exception]] = []
    every = [(case, CHECKS) for case in cases(facts, knowledge)]
    every += [(case, LOCAL_CHECKS) for case in local_cases(facts, knowledge)]
    for case, checks in every:
        own: list[Finding] = []
        for name, check in checks:
            try:
                own += list(check(case))
            except Exception as error:  # noqa: BLE001 - the border that keeps one defect from silencing every other check
                failures.append((name, error))
                own.append(_could_not_run(name, case))
        findings += _with_lines(case, own)
    return findings, failures


def _with_lines(case: Case, findings: list[Finding]) -> list[Finding]:
    """The findings of one order; what has no card of its own is said by the most severe one about the patient."""
    about = [finding for finding in findings if finding.topic != "dataQuality"]
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
