"""The shapes of FHIR R4 in which the knowledge is exported: for documentation and exchange, not for running.

Takes plain values and gives resources as JSON; decides nothing about what a rule means. Every resource is a draft and
experimental, carries the knowledge version, and names its sources as citations. R4B differs from R4 in nothing that
stands in them.

Code systems: `plan-definition-type` and `library-type` of HL7; `urn:cmv-cds:` for what is our own.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from cdshooks.model import Citation, Regimen
from cdshooks.wire.hooks import SERVICES, Json

OWN: Final = "urn:cmv-cds"
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
_UCUM: Final = "http://unitsofmeasure.org"
_ID_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Edition:
    """What every resource of one export says alike."""

    version: str  # of the knowledge
    service_version: str
    note: str  # that nobody has reviewed it


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a code system with its display."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class Limits:
    """From `low` (included) to `high` (included), None where open, in `unit` (UCUM)."""

    what: str
    low: Decimal | None
    high: Decimal | None
    unit: str


def url_of(kind: str, name: str) -> str:
    """The canonical address of a resource of ours."""
    return f"{OWN}:{kind}:{name}"


def _resource(edition: Edition, kind: str, name: str, title: str) -> Json:
    """The head that all have in common."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-")
    return {
        "resourceType": kind,
        "id": slug[:_ID_LENGTH],
        "url": url_of(kind, name),
        "version": edition.version,
        "name": "Cmv" + "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", name) if part),
        "title": title,
        "status": "draft",
        "experimental": True,
    }


def citation(cite: Citation) -> Json:
    """Where a figure comes from."""
    version = f", version {cite.version}" if cite.version else ""
    section = f", section {cite.section}" if cite.section else ""
    found = {"type": "citation", "display": cite.source, "citation": f"{cite.source}{version}{section}"}
    return found | ({"url": cite.url} if cite.url else {})


def action(title: str, *, description: str = "", applies: str = "", does: str = "", parts: Sequence[Json] = ()) -> Json:
    """One step of a plan. `applies` says in words when, `does` is the name of the ActivityDefinition to be done."""
    found: Json = {"title": title}
    if description:
        found["description"] = description
    if applies:
        found["condition"] = [
            {"kind": "applicability", "expression": {"language": "text/plain", "expression": applies}}
        ]
    if does:
        found["definitionCanonical"] = url_of("ActivityDefinition", does)
    return found | ({"action": list(parts)} if parts else {})


def plan(
    edition: Edition,
    *,
    rule: str,
    title: str,
    words: str,
    reviewed: str,
    citations: Sequence[Citation],
    steps: Sequence[Json] = (),
) -> Json:
    """A rule as a PlanDefinition. `words` is the whole rule, every number and its source."""
    head = _resource(edition, "PlanDefinition", rule, title)
    triggers = [{"type": "named-event", "name": service.hook} for service in SERVICES]
    return head | {
        "identifier": [{"system": f"{OWN}:rule", "value": rule}],
        "type": {"coding": [{"system": f"{_TERMINOLOGY}/plan-definition-type", "code": "eca-rule"}]},
        "description": f"```\n{words}\n```",
        "usage": f"Reviewed: {reviewed}. {edition.note}",
        "relatedArtifact": [citation(cite) for cite in citations],
        "action": [{"title": title, "trigger": triggers} | ({"action": list(steps)} if steps else {})],
    }


def activity(
    edition: Edition,
    *,
    name: str,
    title: str,
    drug: str,
    codes: Sequence[Code],
    route: str,
    regimen: Regimen,
    times: tuple[int, Decimal, str],
    applies: Mapping[str, str],
    limits: Sequence[Limits],
    citations: Sequence[Citation],
) -> Json:
    """A regimen as an ActivityDefinition. `times` is how often: administrations, length and unit of the period.

    `applies` are conditions in words by what they are about, `limits` those in numbers.
    """
    frequency, period, period_unit = times
    dose = {"unit": regimen.unit, "system": _UCUM, "code": regimen.unit}
    repeat = {"frequency": frequency, "period": _number(period), "periodUnit": period_unit}
    dosage: Json = {"text": regimen.wording, "timing": {"repeat": repeat}}
    if regimen.after_dialysis:
        dosage["additionalInstruction"] = [{"text": "after the dialysis session"}]
    if route:
        dosage["route"] = {"text": route}
    dosage["doseAndRate"] = [{"doseQuantity": {"value": _number(regimen.low)} | dose}]
    contexts = [{"code": _context(about), "valueCodeableConcept": {"text": text}} for about, text in applies.items()]
    contexts += [{"code": _context(limit.what), "valueRange": _range(limit)} for limit in limits]
    return (
        _resource(edition, "ActivityDefinition", name, title)
        | {"description": f"{edition.note}", "kind": "MedicationRequest"}
        | ({"useContext": contexts} if contexts else {})
        | {
            "relatedArtifact": [citation(cite) for cite in citations],
            "productCodeableConcept": {"coding": [_coding(code) for code in codes], "text": drug}
            if codes
            else {"text": drug},
            "dosage": [dosage],
        }
    )


def _context(about: str) -> Json:
    return {"system": f"{OWN}:context", "code": about.replace(" ", "-"), "display": about}


def _range(limit: Limits) -> Json:
    unit = {"unit": limit.unit, "system": _UCUM, "code": limit.unit}
    ends = (("low", limit.low), ("high", limit.high))
    return {name: {"value": _number(value)} | unit for name, value in ends if value is not None}


def _number(value: Decimal) -> int | float:
    """As JSON writes it: whole numbers whole."""
    return int(value) if value == value.to_integral_value() else float(value)


def _coding(code: Code) -> Json:
    return {"system": code.system, "code": code.code, "display": code.display}


def value_set(edition: Edition, *, name: str, title: str, codes: Iterable[Code], notice: str) -> Json:
    """All codes that mean one thing. `notice` is what the owners of the code systems ask to be said."""
    systems: dict[str, list[Json]] = {}
    for code in codes:
        listed = {"code": code.code} | ({"display": code.display} if code.display else {})
        systems.setdefault(code.system, []).append(listed)
    include = [{"system": system, "concept": concepts} for system, concepts in systems.items()]
    return (
        _resource(edition, "ValueSet", name, title)
        | {"description": edition.note}
        | ({"copyright": notice} if notice else {})
        | {"compose": {"include": include}}
    )


def code_system(edition: Edition, *, name: str, title: str, codes: Sequence[Code]) -> Json:
    """A code system of our own, whole; its address is the system of the codes."""
    head = _resource(edition, "CodeSystem", name, title)
    return head | {
        "url": codes[0].system,
        "description": edition.note,
        "caseSensitive": True,
        "content": "complete",
        "count": len(codes),
        "concept": [{"code": code.code, "display": code.display} for code in codes],
    }


def concept_map(edition: Edition, *, name: str, title: str, pairs: Iterable[tuple[Code, Code]]) -> Json:
    """Codes of a site, each with the standard code that it stands for."""
    groups: dict[tuple[str, str], list[Json]] = {}
    for source, target in pairs:
        meant = {"code": target.code, "equivalence": "equivalent"}
        listed = {"code": source.code} | ({"display": source.display} if source.display else {})
        groups.setdefault((source.system, target.system), []).append(listed | {"target": [meant]})
    return _resource(edition, "ConceptMap", name, title) | {
        "description": edition.note,
        "group": [{"source": source, "target": target, "element": found} for (source, target), found in groups.items()],
    }


def table(
    edition: Edition, *, name: str, title: str, files: Mapping[str, bytes], citations: Sequence[Citation]
) -> Json:
    """Tables that have no resource of their own, as CSV files of a Library."""
    return _library(edition, name, title) | {
        "relatedArtifact": [citation(cite) for cite in citations],
        "content": [
            {"contentType": "text/csv", "title": file, "data": base64.b64encode(content).decode()}
            for file, content in files.items()
        ],
    }


def contents(edition: Edition, *, title: str, resources: Sequence[Json], sources: Sequence[Citation]) -> Json:
    """The Library that names every resource of the export and every source."""
    parts = [{"type": "composed-of", "resource": f"{one['url']}|{edition.version}"} for one in resources]
    return _library(edition, "knowledge", title) | {"relatedArtifact": [*map(citation, sources), *parts]}


def _library(edition: Edition, name: str, title: str) -> Json:
    kind = {"coding": [{"system": f"{_TERMINOLOGY}/library-type", "code": "asset-collection"}]}
    usage = f"{edition.note} Exported by cdshooks {edition.service_version}."
    return _resource(edition, "Library", name, title) | {"type": kind, "description": edition.note, "usage": usage}


def bundle(resources: Sequence[Json]) -> Json:
    """The export: one Bundle."""
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": resource["url"], "resource": resource} for resource in resources],
    }
