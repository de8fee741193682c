"""The whole path of one hook call, start to finish: call -> chart -> facts -> findings -> cards.

Pure: everything it needs is in its arguments. The service and the command line both come through here.
"""

import re
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
from cdshooks.model import Chart, ChartPatient, Facts, Finding, Indicator, Why
from cdshooks.wire import cards, fhir, profiles
from cdshooks.wire.hooks import HookCall


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call, and what the service may log about it (no patient data)."""

    cards: list[dict[str, Any]]
    findings: tuple[Finding, ...]
    failures: tuple[tuple[str, Exception], ...]  # checks that raised
    orders: tuple[str, ...]  # the drug of each order judged

    @property
    def body(self) -> bytes:
        """The answer on the wire."""
        return orjson.dumps({"cards": self.cards})


def evaluate(
    call: HookCall,
    *,
    knowledge: Knowledge,
    today: date,
    zone: tzinfo,
    fhir_release: str = "auto",
    profile: str = "strict",
    app: str = "",
) -> Answer:
    """Judge one hook call. `today` is the clinical date, `zone` the site's time zone (which day a result is from).

    `profile` names what the client can show (`wire.profiles`); it never changes the verdict. `app` is the launch
    address of the SMART app, "" where there is none.
    """
    chart = fhir.read_chart(call, fhir_release)
    facts = interpret(chart, knowledge, today, zone)
    findings, failures = checks.run(facts, knowledge)
    rendered = cards.render(
        findings,
        wording=_wording(knowledge),
        hook_instance=call.hook_instance,
        patient_id=call.patient_id,
        release=chart.release,
        remarks=(*_remarks(facts, findings), *_fhir_defects(chart, facts, findings)) if findings else (),
        app=app,
    )
    orders = tuple(order.product.drug for order in facts.orders)
    return Answer(profiles.fitted(rendered, profile), findings, failures, orders)


def facts_of(call: HookCall, *, knowledge: Knowledge, today: date, zone: tzinfo, fhir_release: str = "auto") -> Facts:
    """What is known of the patient of a call, whether an order is judged or not."""
    return interpret(fhir.read_chart(call, fhir_release), knowledge, today, zone, whole=True)


def concerns(call: HookCall, *, knowledge: Knowledge, today: date, zone: tzinfo, fhir_release: str = "auto") -> bool:
    """Is anything of a CMV drug in the orders or on the medication list, so that the rest of the chart matters?"""
    facts = interpret(fhir.read_chart(call, fhir_release), knowledge, today, zone)
    return bool(facts.orders or facts.refused)


def unsent_queries(
    call: HookCall, *, knowledge: Knowledge, today: date, zone: tzinfo, fhir_release: str = "auto"
) -> dict[str, str]:
    """FHIR query for each published prefetch key that was not sent, where the call is about a CMV drug; else none.

    For a chart that is opened without a medication list, that list alone: it says whether the rest matters.
    """
    unsent = [key for key, gap in call.prefetch.gaps.items() if gap is not None and gap.why is Why.NOT_SENT]
    if not unsent or not _FHIR_ID.fullmatch(call.patient_id):
        return {}
    chart = fhir.read_chart(call, fhir_release)
    if not interpret(chart, knowledge, today, zone).orders:
        unsent = ["medications"] if call.hook == "patient-view" and "medications" in unsent else []
    queries = {key: knowledge.prefetch_queries[key] for key in unsent}
    if chart.release == "DSTU2" and "medications" in queries:
        queries["medications"] = queries["medications"].replace("MedicationRequest", "MedicationOrder", 1)
    return {key: query.replace("{{context.patientId}}", call.patient_id) for key, query in queries.items()}


_FHIR_ID = re.compile(r"(?!\.+$)[A-Za-z0-9.-]{1,64}")  # anything else could change the address it is put into


def lacking(answer: Answer) -> tuple[str, ...]:
    """What a check of a CMV order needed and nobody sent, in words; nothing of the patient."""
    gaps = (f for f in answer.findings if f.topic == "dataQuality" and f.indicator is not Indicator.INFO)
    lines = (line for finding in gaps for line in finding.because)
    return tuple(dict.fromkeys(line for line in lines if any(why.value in line for why in _UNSEEN)))


_UNSEEN = (Why.NOT_SENT, Why.FETCH_FAILED)


def warm_up() -> None:
    """Load what the first call would have to wait for: the FHIR models."""
    fhir.load_models()


def _remarks(facts: Facts, findings: tuple[Finding, ...]) -> Iterator[str]:
    """What the reader of any card of this call should know about the data, as far as no finding says it."""
    told = "\n".join(line for finding in findings for line in finding.because).casefold()
    if facts.incomplete:
        yield f"Only the first page of {', '.join(sorted(facts.incomplete))} was sent: incomplete."
    if facts.orders:
        for results in facts.results.values():
            for entry in results.met:
                said = f"{entry.what} {entry.why}".casefold() in told or entry.said.casefold() in told
                if entry.kind in ("withdrawn", "future") and not said:
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
        override_reasons={
            topic: [
                cards.Coding(code=reason.code, system=texts.reason_system, display=reason.display)
                for reason in texts.reasons_for(topic)
            ]
            for topic in texts.topics
        },
        note=texts.note,
        knowledge_version=knowledge.version,
        service_version=__version__,
    )
