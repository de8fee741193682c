"""The whole path of one hook call, start to finish: call -> chart -> facts -> findings -> cards.

Pure: everything it needs is in its arguments. The service and the command line both come through here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, tzinfo
from functools import lru_cache
from typing import Any

import orjson

from cdshooks import __version__
from cdshooks.medicine import checks
from cdshooks.medicine.interpret import interpret
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.model import Chart, ChartPatient, Facts, Finding
from cdshooks.wire import cards, fhir
from cdshooks.wire.hooks import HookCall


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call, and what the service may log about it (no patient data)."""

    cards: list[dict[str, Any]]
    findings: tuple[Finding, ...]
    failures: tuple[tuple[str, Exception], ...]  # checks that raised
    orders: tuple[str, ...] = ()  # the drug of each order judged

    @property
    def body(self) -> bytes:
        """The answer on the wire."""
        return orjson.dumps({"cards": self.cards})


def evaluate(call: HookCall, *, knowledge: Knowledge, today: date, zone: tzinfo, fhir_release: str = "auto") -> Answer:
    """Judge one hook call. `today` is the clinical date, `zone` the site's time zone (which day a result is from)."""
    chart = fhir.read_chart(call, fhir_release)
    facts = interpret(chart, knowledge, today, zone)
    findings, failures = checks.run(facts, knowledge)
    rendered = cards.render(
        findings,
        wording=_wording(knowledge),
        hook_instance=call.hook_instance,
        patient_id=call.patient_id,
        release=chart.release,
        remarks=(*_remarks(facts), *_fhir_defects(chart, facts, findings)) if findings else (),
    )
    return Answer(rendered, findings, failures, tuple(order.product.drug for order in facts.orders))


def warm_up() -> None:
    """Load what the first call would have to wait for: the FHIR models."""
    fhir.load_models()


def _remarks(facts: Facts) -> Iterator[str]:
    """What the reader of any card of this call should know about the data."""
    if facts.incomplete:
        yield f"Only the first page of {', '.join(sorted(facts.incomplete))} was sent: incomplete."
    if facts.orders:
        for results in facts.results.values():
            for entry in results.met:
                if entry.kind in ("withdrawn", "future"):
                    yield f"Not used: {entry.what} {entry.why}."


def _fhir_defects(chart: Chart, facts: Facts, findings: tuple[Finding, ...]) -> Iterator[str]:
    """What breaks the FHIR release among the resources that the answer rests on; each was read as far as possible."""
    resources = [order.chart.raw for order in facts.orders]
    if isinstance(chart.patient, ChartPatient):
        resources.append(chart.patient.raw)
    inputs = (entry for finding in findings for entry in finding.inputs)
    cited = {entry.reference for entry in inputs if entry.reference.startswith("Observation/")}
    resources += [o.raw for o in chart.observations if o.ref in cited] if cited else []
    for resource in resources:
        for path in fhir.violations(resource, chart.release)[:1]:
            name = f"{resource.get('resourceType')}/{resource.get('id', '')}"
            yield f"{name} breaks FHIR {chart.release} in {path}; it was read as far as possible."


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
