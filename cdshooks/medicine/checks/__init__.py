"""The checks, in order: plain functions from a case to findings. Checks do not know each other."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from cdshooks.medicine.case import Case, cases
from cdshooks.medicine.checks import (
    cidofovir,
    data_quality,
    dose,
    duration,
    indication,
    renal_dose,
    renal_function,
    response,
)
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules import Cite
from cdshooks.model import Facts, Finding, Indicator

Check: TypeAlias = Callable[[Case], Iterable[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("dose for the kidney function", renal_dose.check),
    ("dose", dose.check),
    ("cidofovir limits", cidofovir.check),
    ("kidney function", renal_function.check),
    ("response", response.check),
    ("indication", indication.check),
    ("duration", duration.check),
    ("data quality", data_quality.check),
)


def run(facts: Facts, knowledge: Knowledge) -> tuple[tuple[Finding, ...], tuple[tuple[str, Exception], ...]]:
    """(findings, failures). A check that raises costs only itself: the others report, and a card names the gap."""
    findings = list(data_quality.check_call(facts, knowledge))
    failures: list[tuple[str, Exception]] = []
    for case in cases(facts, knowledge):
        for name, check in CHECKS:
            try:
                findings += list(check(case))
            except Exception as error:  # noqa: BLE001 - the border that keeps one defect from silencing every other check
                failures.append((name, error))
                findings.append(_could_not_run(name, case))
    return tuple(findings), tuple(failures)


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
