"""The whole path of one hook call, start to finish: call -> chart -> facts -> findings -> cards.

Pure: everything it needs is in its arguments. The service and the command line both come through here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, tzinfo
from functools import lru_cache
from typing import Any

import orjson

from cdshooks import __version__
from cdshooks.medicine import checks
from cdshooks.medicine.interpret import interpret
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.model import Chart, Facts, Finding, Unused
from cdshooks.wire import cards, fhir
from cdshooks.wire.hooks import HookCall


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call, and what the service may log about it (no patient data)."""

    cards: list[dict[str, Any]]
    findings: tuple[Finding, ...]
    failures: tuple[tuple[str, Exception], ...]  # checks that raised

    @property
    def body(self) -> bytes:
        """The answer on the wire."""
        return orjson.dumps({"cards": self.cards})


def evaluate(call: HookCall, *, knowledge: Knowledge, today: date, zone: tzinfo, fhir_release: str = "auto") -> Answer:
    """Judge one hook call. `today` is the clinical date, `zone` the site's time zone (which day a result is from)."""
    chart = fhir.read_chart(call, fhir_release)
    facts = _with_order_defects(interpret(chart, knowledge, today, zone), chart.release)
    findings, failures = checks.run(facts, knowledge)
    broken = _broken_results(chart, findings)
    if broken:  # a result that a card would cite breaks the FHIR release: judge again without it, and say so
        chart = _without(chart, broken)
        facts = _with_order_defects(interpret(chart, knowledge, today, zone), chart.release)
        findings, failures = checks.run(facts, knowledge)
    rendered = cards.render(
        findings,
        wording=_wording(knowledge),
        hook_instance=call.hook_instance,
        patient_id=call.patient_id,
        release=chart.release,
        remarks=tuple(_remarks(facts)),
    )
    return Answer(rendered, findings, failures)


def warm_up() -> None:
    """Load what the first call would have to wait for: the FHIR models."""
    fhir.load_models()


def _remarks(facts: Facts) -> Iterator[str]:
    """What the reader of any card of this call should know about the data."""
    for key in sorted(facts.incomplete):
        yield f"Only the first page of {key} was sent: the list is incomplete."
    if facts.orders:
        for results in facts.results.values():
            for entry in results.met:
                if entry.kind in ("withdrawn", "future"):
                    yield f"Not used: {entry.what} {entry.why}."


def _with_order_defects(facts: Facts, release: str) -> Facts:
    """The facts, naming each judged order that breaks its FHIR release; it is judged all the same, as far as read."""
    defects = [
        Unused(order.chart.ref, "the order", f"breaks FHIR in {path}; it was read as far as possible", "unreadable")
        for order in facts.orders
        for path in fhir.violations(order.chart.raw, release)[:1]
    ]
    return replace(facts, unused=(*facts.unused, *defects)) if defects else facts


def _broken_results(chart: Chart, findings: tuple[Finding, ...]) -> dict[str, str]:
    """Cited Observations that break FHIR in a field we read: reference -> field."""
    inputs = (entry for finding in findings for entry in finding.inputs)
    cited = {entry.reference for entry in inputs if entry.reference.startswith("Observation/")}
    found = {}
    for observation in chart.observations if cited else ():
        if observation.ref in cited and (paths := fhir.violations(observation.raw, chart.release)):
            found[observation.ref] = paths[0]
    return found


def _without(chart: Chart, broken: dict[str, str]) -> Chart:
    gone = [observation for observation in chart.observations if observation.ref in broken]
    unused = [Unused(o.ref, "a result", f"cannot be read: {broken[o.ref]}", "unreadable") for o in gone]
    kept = tuple(observation for observation in chart.observations if observation.ref not in broken)
    return replace(chart, observations=kept, unused=(*chart.unused, *unused))


@lru_cache(maxsize=8)
def _wording(knowledge: Knowledge) -> cards.Wording:
    texts = knowledge.cards
    return cards.Wording(
        topic_system=texts.topic_system,
        topics=texts.topics,
        override_reasons=[
            cards.Coding(code=reason.code, system=texts.reason_system, display=reason.display)
            for reason in texts.override_reasons
        ],
        note=texts.note,
        knowledge_version=knowledge.version,
        service_version=__version__,
    )
