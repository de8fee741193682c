"""Findings to cards, within the limits of the specification and of the contract.

One card per order and topic, most severe first. Words that came with the request are neutralised here, once, for every
string of the answer; only a suggestion's copy of the draft carries them as they came.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, Field

from cdshooks.model import SUMMARY_LIMIT, Citation, Finding, Indicator, LabRequest, Proposal
from cdshooks.wire.hooks import Json
from cdshooks.wire.suggestions import laboratory_order, mended_order
from cdshooks.wire.text import markdown, neutral


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Topic(_Wire):
    """The kind of advice; static, so that a client can key its override memory on it."""

    system: str
    code: str
    display: str


class Source(_Wire):
    """Where the advice comes from."""

    label: str = Field(min_length=1)
    url: str | None = None
    topic: Topic


class Action(_Wire):
    """One change to the chart."""

    type: Literal["create", "update", "delete"]
    description: str
    resource: dict[str, Any] | None = None
    resourceId: str | None = None  # noqa: N815 - the name on the wire


class Suggestion(_Wire):
    """What the clinician may accept."""

    label: str
    uuid: str
    isRecommended: bool | None = None  # noqa: N815
    actions: list[Action] = Field(min_length=1)


class Coding(_Wire):
    """A coded reason."""

    code: str
    system: str
    display: str


class Link(_Wire):
    """Where the clinician may go on: the SMART app, launched by the record system for the same patient."""

    label: str
    url: str
    type: Literal["smart"] = "smart"
    appContext: str  # noqa: N815


class Card(_Wire):
    """One card."""

    uuid: str
    summary: str = Field(min_length=1, max_length=SUMMARY_LIMIT)
    indicator: Literal["info", "warning", "critical"]
    detail: str = Field(min_length=1)
    source: Source
    suggestions: list[Suggestion] | None = None
    selectionBehavior: Literal["any"] | None = None  # noqa: N815
    overrideReasons: list[Coding] | None = None  # noqa: N815
    links: list[Link] | None = None
    extension: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wording:
    """What a card needs from the knowledge: names, reasons, versions."""

    topic_system: str
    topics: Mapping[str, str]
    override_reasons: Mapping[str, list[Coding]]  # by topic
    note: str
    knowledge_version: str
    service_version: str


def render(
    findings: Iterable[Finding],
    *,
    wording: Wording,
    hook_instance: str,
    patient_id: str,
    release: str,
    remarks: Sequence[str] = (),
    app: str = "",
) -> list[Json]:
    """The cards of one answer. `remarks` are lines about the whole call that every card's detail repeats.

    `app` is the launch address of the SMART app, "" where there is none.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        place = finding.order.place if finding.order else ""
        groups.setdefault((place, finding.topic), []).append(finding)
    cards = []
    for together in groups.values():
        together.sort(key=lambda f: -f.indicator)
        cards.append((-together[0].indicator, _card(together, wording, hook_instance, patient_id, release, remarks)))
    cards.sort(key=lambda pair: pair[0])
    if app:
        cards = [(rank, card.model_copy(update={"links": [_to_app(app, card)]})) for rank, card in cards]
    return [card.model_dump(exclude_none=True) for _, card in cards]


def _to_app(address: str, card: Card) -> Link:
    """The link says which card it was opened from, and nothing of the patient."""
    return Link(label="Open the CMV flowsheet", url=address, appContext=card.uuid)


def _card(
    findings: list[Finding], wording: Wording, hook_instance: str, patient_id: str, release: str, remarks: Sequence[str]
) -> Card:
    first = findings[0]
    order = f"{first.order.ref}|{first.order.place}" if first.order else ""
    seed = f"{hook_instance}|{order}|{first.topic}"
    suggestions = list(_suggestions(findings, seed, patient_id, release))
    topic = Topic(system=wording.topic_system, code=first.topic, display=wording.topics[first.topic])
    cite = first.citations[0]
    return Card(
        uuid=str(uuid5(NAMESPACE_URL, seed)),
        summary=_summary(first.summary),
        indicator=_INDICATORS[first.indicator],
        detail=_detail(findings, wording, remarks),
        source=Source(label=f"{cite.source}, {cite.section}", url=cite.url or None, topic=topic),
        suggestions=suggestions or None,
        selectionBehavior="any" if suggestions else None,
        overrideReasons=wording.override_reasons[first.topic] if first.indicator > Indicator.INFO else None,
        extension={"cmv-cds.finding": _explanation(findings, wording)},
    )


_INDICATORS: dict[Indicator, Literal["info", "warning", "critical"]] = {
    Indicator.INFO: "info",
    Indicator.WARNING: "warning",
    Indicator.CRITICAL: "critical",
}


def _summary(text: str) -> str:
    """One line under 140 characters. The wording keeps to that; words of a request that are too long are shortened."""
    return neutral(text, SUMMARY_LIMIT)


def _detail(findings: list[Finding], wording: Wording, remarks: Sequence[str]) -> str:
    lines = []
    for finding in findings:
        if finding is not findings[0]:
            lines.append(f"**{markdown(neutral(finding.summary))}**\n")
        lines += [f"- {markdown(neutral(line, 600))}" for line in dict.fromkeys(finding.because)]
        lines.append("")
    lines += [f"- {markdown(neutral(remark))}" for remark in remarks]
    cites = dict.fromkeys(cite for finding in findings for cite in finding.citations)
    lines += ["", *(f"{markdown(_cited(cite))}  " for cite in cites)]
    rules = ", ".join(dict.fromkeys(rule for finding in findings for rule in finding.rules))
    lines.append(
        f"Rule {rules}; knowledge {wording.knowledge_version}, service {wording.service_version}; reviewed: none.  "
    )
    lines.append(wording.note)
    return "\n".join(lines).strip()


def _cited(cite: Citation) -> str:
    return f"{cite.source}, section {cite.section}" + (f" (version {cite.version})" if cite.version else "")


def _explanation(findings: list[Finding], wording: Wording) -> Json:
    """What stands behind the card, so that whoever reads it can redo the arithmetic by hand."""
    first = findings[0]
    inputs = dict.fromkeys(entry for finding in findings for entry in finding.inputs)
    cites = dict.fromkeys(cite for finding in findings for cite in finding.citations)
    finding: Json = {
        "checks": list(dict.fromkeys(rule for f in findings for rule in f.rules)),
        "order": neutral(first.order.ref) if first.order and first.order.ref else None,
        "drug": first.drug,
        "phase": {"value": first.intent.phase or "unknown", "basis": first.intent.basis} if first.intent else None,
        "inputs": [
            _present(
                name=i.name, value=neutral(i.value), unit=i.unit, effective=i.effective, reference=neutral(i.reference)
            )
            for i in inputs
        ],
        "ordered": next((f.ordered for f in findings if f.ordered), ""),
        "expected": next((f.expected for f in findings if f.expected), ""),
        "citations": [_present(source=c.source, section=c.section, version=c.version, url=c.url) for c in cites],
        "knowledgeVersion": wording.knowledge_version,
        "serviceVersion": wording.service_version,
    }
    return {name: value for name, value in finding.items() if value not in (None, "", []) or name == "order"}


def _present(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _suggestions(findings: list[Finding], seed: str, patient_id: str, release: str) -> Iterable[Suggestion]:
    offered: dict[str, Suggestion] = {}
    several = sum(len(finding.proposals) for finding in findings) > 1
    for finding in findings:
        for proposal in finding.proposals:
            offered.setdefault(proposal.label, _update(finding, proposal, seed, release, several))
        ref = finding.order.ref if finding.order else ""
        if finding.withdraw and ref and neutral(ref) == ref:  # a reference that has to be neutralised would hit nothing
            offered.setdefault(finding.withdraw, _withdrawal(finding, seed))
        for request in finding.lab_requests:
            offered.setdefault(request.loinc, _laboratory(request, seed, patient_id, release))
    return offered.values()


def _update(finding: Finding, proposal: Proposal, seed: str, release: str, several: bool) -> Suggestion:
    assert finding.order is not None  # noqa: S101 - a proposal exists for an order only
    resource = mended_order(finding.order, proposal, release)
    return Suggestion(
        label=proposal.label,
        uuid=str(uuid5(NAMESPACE_URL, f"{seed}|{proposal.label}")),
        isRecommended=True if proposal.sure and not several else None,
        actions=[Action(type="update", description=proposal.label, resource=resource)],
    )


def _withdrawal(finding: Finding, seed: str) -> Suggestion:
    assert finding.order is not None  # noqa: S101
    action = Action(type="delete", description=finding.withdraw, resourceId=finding.order.ref)
    return Suggestion(label=finding.withdraw, uuid=str(uuid5(NAMESPACE_URL, f"{seed}|delete")), actions=[action])


def _laboratory(request: LabRequest, seed: str, patient_id: str, release: str) -> Suggestion:
    label = f"Order {request.name}"
    action = Action(type="create", description=label, resource=laboratory_order(request, patient_id, release))
    return Suggestion(label=label, uuid=str(uuid5(NAMESPACE_URL, f"{seed}|{request.loinc}")), actions=[action])
