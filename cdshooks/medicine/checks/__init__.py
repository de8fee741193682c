"""The checks, in order: plain functions from facts and knowledge to findings. Checks do not know each other."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from cdshooks.medicine.checks import data_quality, renal_dose, renal_function
from cdshooks.medicine.knowledge import Cite, Knowledge
from cdshooks.model import Facts, Finding, Indicator

Check: TypeAlias = Callable[[Facts, Knowledge], Iterable[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("dose for the kidney function", renal_dose.check),
    ("kidney function", renal_function.check),
    ("data quality", data_quality.check),
)


def run(facts: Facts, knowledge: Knowledge) -> tuple[tuple[Finding, ...], tuple[tuple[str, Exception], ...]]:
    """(findings, failures). A check that raises costs only itself: the others report, and a card names the gap."""
    findings: list[Finding] = []
    failures: list[tuple[str, Exception]] = []
    for name, check in CHECKS:
        try:
            findings += list(check(facts, knowledge))
        except Exception as error:  # noqa: BLE001 - the border that keeps one defect from silencing every other check
            failures.append((name, error))
            findings.append(_could_not_run(name, facts, knowledge))
    return tuple(findings), tuple(failures)


def _could_not_run(name: str, facts: Facts, knowledge: Knowledge) -> Finding:
    order = facts.orders[0] if facts.orders else None
    return Finding(
        topic="dataQuality",
        indicator=Indicator.WARNING,
        rules=("service/check-failed",),
        order=order.chart if order else None,
        drug=order.product.drug if order else "",
        summary=f"{order.label if order else 'CMV therapy'}: {name} could not be checked (internal error)",
        because=("The check stopped with an internal error, which is in the service's log. Check this order by hand.",),
        citations=(knowledge.citation(Cite(source="project-design", section="errors")),),
    )
