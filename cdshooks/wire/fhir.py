"""FHIR in: a hook call's resources become a `Chart`. The only module that knows how the releases differ on reading.

One lenient reader serves DSTU2, STU3, R4, R4B and R5: every field we use has few known spellings, and real clients mix
them. Known deviations (an object where FHIR wants an array, nulls, Bundles without `type`) are mended here. What cannot
be read becomes a named gap, never a default. `violations` asks `fhir.resources` about the resources that matter.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property
from html import unescape
from importlib import import_module
from typing import Any

import orjson
from pydantic import ValidationError

from cdshooks.model import (
    Chart,
    ChartComponent,
    ChartEvent,
    ChartPatient,
    Coding,
    Concept,
    Dosage,
    DoseEntry,
    Ingredient,
    Missing,
    Quantity,
    Timing,
    Unused,
    Why,
)
from cdshooks.wire.hooks import EVENT_KEYS, ORDER_TYPES, HookCall, Json, bare_id

RELEASES = ("DSTU2", "STU3", "R4", "R4B", "R5")
_UCUM = "http://unitsofmeasure.org"


def read_chart(call: HookCall, release: str = "auto") -> Chart:
    """The chart of one call. `release` is a FHIR release name, or "auto" to recognise it from unmistakable marks."""
    unused: list[Unused] = []
    for key, why in call.prefetch.unreadable:
        unused.append(Unused(key, f'prefetch "{key}"', why, "unreadable"))
    patient = _patient(call, unused)
    events: list[ChartEvent] = []
    medications: list[FhirOrder] = []
    results: list[Json] = []
    for resource in call.prefetch.resources:
        kind = resource.get("resourceType")
        if kind == "Observation":
            results.append(resource)
        elif kind in EVENT_KEYS:
            events.append(event := _event(resource))
            unused += _defects_of(event, resource, own=event.subject in ("", call.patient_id))
        elif kind == "Patient":
            what = "the Patient resource of somebody else"
            unused.append(Unused("", what, "is not the patient of this call; not used", "other patient"))
        elif kind in ORDER_TYPES:
            medications.append(FhirOrder(resource, f"medication list {len(medications) + 1}", call.medications))
    gaps = call.prefetch.gaps
    if release == "auto":
        orders = (*call.orders, *call.drafts)
        release = recognise_release(orders or tuple(order.raw for order in medications))
    medications_gap = gaps["medications"]
    return Chart(
        patient_id=call.patient_id,
        hook=call.hook,
        release=release,
        patient=patient,
        judged=tuple(FhirOrder(o, f"draft {i}", call.medications) for i, o in enumerate(call.orders, 1)),
        drafts=tuple(FhirOrder(o, f"other draft {i}", call.medications) for i, o in enumerate(call.drafts, 1)),
        medications=tuple(medications) if medications_gap is None or medications else medications_gap,
        observations=tuple(map(FhirObservation, _each_once(results))),
        groups={key: gap for key, gap in gaps.items() if key not in ("patient", "medications", *EVENT_KEYS.values())},
        events=tuple(events),
        event_gaps={key: gaps[key] for key in EVENT_KEYS.values()},
        incomplete=call.prefetch.incomplete,
        unused=tuple(unused),
        selection_lost=call.selection_lost,
    )


def _each_once(results: list[Json]) -> list[Json]:
    """A result may stand in several searches; told twice it is still one. Of its versions the latest counts.

    Which is the latest its metadata say, else its status. Where neither tells, all of them stay.
    """
    found: dict[str | bytes, list[Json]] = {}
    for resource in results:
        ref = _ref(resource)
        versions = found.setdefault(ref or orjson.dumps(resource), [])
        newer = _newer(resource, versions[0]) if ref and len(versions) == 1 else None
        if newer is not None:
            versions[:] = [newer]
        elif not versions or (ref and resource != versions[0]):
            versions.append(resource)
    return [resource for versions in found.values() for resource in versions]


_LIFE = ("registered", "preliminary", "final appended", "amended corrected", "cancelled", "entered-in-error")
_STAGES = {status: stage for stage, statuses in enumerate(_LIFE, 1) for status in statuses.split()}


def _newer(one: Json, other: Json) -> Json | None:
    """The later version of one resource; None when nothing tells."""
    for mark in (_updated, _version, _stage):
        left, right = mark(one), mark(other)
        if left and right and left != right:
            return one if left > right else other
    return None


def _updated(resource: Json) -> float:
    try:
        return datetime.fromisoformat(_text(_object(resource.get("meta")).get("lastUpdated"))).timestamp()
    except ValueError:
        return 0


def _version(resource: Json) -> float:
    version = _text(_object(resource.get("meta")).get("versionId"))
    return float(version) if version.isdecimal() and len(version) < _LONGEST_COUNT else 0


_LONGEST_COUNT = 16  # digits; a longer versionId is no count


def _stage(resource: Json) -> float:
    return _STAGES.get(_text(resource.get("status")).lower(), 0)


def recognise_release(orders: tuple[Json, ...]) -> str:
    """DSTU2, STU3 or R5 from a mark that no other release has; R4 when in doubt."""
    for order in orders:
        if order.get("resourceType") == "MedicationOrder":
            return "DSTU2"
        if "medication" in order:
            return "R5"
        for dosage in objects(order.get("dosageInstruction")):
            if "doseQuantity" in dosage or "doseRange" in dosage or "rateQuantity" in dosage:
                return "STU3"
    return "R4"


# --------------------------------------------------------------------------------------------------------------------
# Small readers: a value of the right type, or nothing


def objects(value: Any) -> list[Json]:
    """The objects in an array; a lone object counts as an array of one, anything that is no object is left out."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return [value] if isinstance(value, dict) else []


def _object(value: Any) -> Json:
    found = objects(value)
    return found[0] if found else {}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, value if isinstance(value, list) else [value])))


def _number(value: Any) -> Decimal | None:
    """An exact decimal; floats by their shortest text, so that 0.1 stays 0.1."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _reference(value: Any) -> str:
    return _text(_object(value).get("reference"))


def _ref(resource: Json) -> str:
    identifier = resource.get("id")
    return f"{resource['resourceType']}/{identifier}" if isinstance(identifier, str | int) and identifier != "" else ""


def read_concept(value: Any) -> Concept:
    """A CodeableConcept, a lone Coding, an R5 CodeableReference, or a bare string."""
    if isinstance(value, str):
        return Concept((), value.strip())
    found = _object(value)
    if "concept" in found:
        return read_concept(found["concept"])
    codings = objects(found.get("coding")) or ([found] if "code" in found else [])
    read = [
        Coding(_text(c.get("system")), _text(c.get("code")), _text(c.get("display")))
        for c in codings
        if c.get("code") or c.get("display")
    ]
    return Concept(tuple(read), _text(found.get("text")))


def _quantity(value: Any) -> Quantity | None:
    found = _object(value)
    number = _number(found.get("value"))
    if number is None:
        return None
    system = _text(found.get("system")).rstrip("/")
    return Quantity(
        value=number,
        unit=_text(found.get("unit")) or _text(found.get("units")),
        code=_text(found.get("code")),
        comparator=_text_or_mark(found.get("comparator")),
        ucum=system == _UCUM,
    )


# --------------------------------------------------------------------------------------------------------------------
# What was sent and makes no sense


def _is_date(value: Any) -> bool:
    """A FHIR date, dateTime or instant, whole or to the month or year."""
    text = _text(value)
    try:
        return bool(_PART_OF_A_DATE.fullmatch(text) or datetime.fromisoformat(text))
    except ValueError:
        return False


_PART_OF_A_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?")


def _is_concept(value: Any) -> bool:
    found = read_concept(value)
    return bool(found.codings or found.text)


def _is_code(value: Any) -> bool:
    return bool(_state(value))


def _are_objects(value: Any) -> bool:
    return bool(objects(value))


_MEANT: Mapping[str, Callable[[Any], bool]] = {  # the fields that are read, and whether a value of them says anything
    **dict.fromkeys(("status", "clinicalStatus", "verificationStatus", "intent", "gender", "criticality"), _is_code),
    **dict.fromkeys(("birthDate", "issued", "effectiveDateTime", "effectiveInstant", "authoredOn"), _is_date),
    **dict.fromkeys(("onsetDateTime", "abatementDateTime", "performedDateTime", "occurrenceDateTime"), _is_date),
    **dict.fromkeys(("recordedDate", "dateWritten"), _is_date),
    **dict.fromkeys(("code", "substance", "medicationCodeableConcept", "valueCodeableConcept"), _is_concept),
    **dict.fromkeys(("effectivePeriod", "performedPeriod", "onsetPeriod", "abatementPeriod"), _are_objects),
    **dict.fromkeys(("component", "reaction", "medicationReference", "contained", "result"), _are_objects),
    **dict.fromkeys(("conclusion", "valueString"), lambda value: bool(_text(value))),
    **dict.fromkeys(("subject", "patient"), lambda value: bool(_text(value) or objects(value))),
}


def _says_nothing(value: Any) -> bool:
    """Is it empty, through and through?"""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return value in _EMPTY if inner is None else all(map(_says_nothing, inner))


def unreadable(resource: Json) -> tuple[str, ...]:
    """The fields of a resource that were sent and make no sense. An empty one counts as not sent."""
    looked_at = ((name, value) for name, value in resource.items() if name in _MEANT)
    fields = [name for name, value in looked_at if not _MEANT[name](value) and not _says_nothing(value)]
    for name in ("reasonCode", "reason", "note"):  # words as well as objects
        if resource.get(name) not in _EMPTY and not _text(resource[name]) and not objects(resource[name]):
            fields.append(name)
    if "valueQuantity" in resource and _number(_object(resource["valueQuantity"]).get("value")) is None:
        fields.append("valueQuantity.value" if objects(resource["valueQuantity"]) else "valueQuantity")
    return tuple(fields)


# --------------------------------------------------------------------------------------------------------------------
# Patient, observations, events


def _patient(call: HookCall, unused: list[Unused]) -> ChartPatient | Missing:
    resource = call.prefetch.patient
    if isinstance(resource, Missing):
        return resource
    identifier = resource.get("id")
    if str(identifier) != call.patient_id:
        why = "is not the patient of this call" if identifier else "has no id and cannot be matched to this call"
        unused.append(Unused("Patient", "the Patient resource", why, "other patient"))
        return Missing(Why.UNUSABLE, f"the Patient resource {why}")
    unused += [_defect(_ref(resource), "Patient", name) for name in unreadable(resource)]
    return ChartPatient(
        ref=_ref(resource),
        birth_date=_text_or_mark(resource.get("birthDate")),
        gender=_text_or_mark(resource.get("gender")).lower(),
        raw=resource,
    )


def _text_or_mark(value: Any) -> str:
    """A text; "?" for a value that is none, so that it does not look like one that was not sent."""
    return _text(value) or ("" if value in _EMPTY else "?")


def _defects_of(event: ChartEvent, resource: Json, *, own: bool) -> Iterator[Unused]:
    """What of an entry of the record cannot be read; of one that is not this patient's, whose it is alone."""
    kind = event.resource_type
    if not own:
        yield from (_defect(event.ref, kind, name) for name in unreadable(resource) if name in ("subject", "patient"))
        return
    nameless = not event.code.words and not event.code.codings and kind != "DiagnosticReport"
    if nameless:
        what, name = event.ref or f"an entry of type {kind}", "substance" if "substance" in resource else "code"
        yield Unused(event.ref, what, f"does not say what it is about: {name} cannot be read", _NAMELESS[kind])
    for name in unreadable(resource):
        if not nameless or name not in ("code", "substance"):
            yield _defect(event.ref, kind, name)


_NAMELESS = {kind: "nameless" if kind == "AllergyIntolerance" else "unreadable" for kind in EVENT_KEYS}


def _defect(ref: str, kind: str, name: str) -> Unused:
    return Unused(ref, ref or f"an entry of type {kind}", f"has a field that cannot be read: {name}", "unreadable")


def subject_of(resource: Json) -> str:
    """Bare id of the patient meant, "" where none is named.

    "?" for what is no reference to a patient: a group, an identifier alone, something unreadable, two that differ.
    """
    named = {found for name in ("subject", "patient") if (found := _patient_meant(resource.get(name)))}
    return named.pop() if len(named) == 1 else "?" if named else ""


def _patient_meant(value: Any) -> str:
    given = value[0] if isinstance(value, list) and len(value) == 1 else value
    if given in _EMPTY:
        return ""
    reference = given.get("reference") if isinstance(given, dict) else given
    if reference in _EMPTY and isinstance(given, dict):
        return "?" if given.get("identifier") else ""
    if not isinstance(reference, str):
        return "?"
    kind, _, identifier = reference.rpartition("/")
    if kind == "Patient":
        return identifier
    kinds = reference.split("/_history/")[0].split("/")[-2:-1]
    return bare_id(reference) if kinds in ([], ["Patient"]) else "?"


_PEOPLE = ("Practitioner", "Patient/", "RelatedPerson/")  # who took or read it, not which laboratory measured it


_OF_THE_WHOLE = (  # what holds for the components of an Observation as well
    *("resourceType", "id", "status", "subject", "patient", "issued", "specimen", "performer"),
    *("effectiveDateTime", "effectiveInstant", "effectivePeriod"),
)


class FhirObservation:
    """A `ChartObservation` of any release: subject and codes are read at once, the rest when asked for."""

    __slots__ = ("codes", "raw", "subject")

    def __init__(self, resource: Json) -> None:
        """Read subject and codes."""
        self.raw = resource
        self.subject = subject_of(resource)
        code = resource.get("code")
        codings = code.get("coding") if isinstance(code, dict) else None
        self.codes = tuple([(_text(c.get("system")), _text(c.get("code"))) for c in objects(codings)])

    @property
    def ref(self) -> str:  # noqa: D102 - the protocol says what each field is
        return _ref(self.raw)

    @property
    def status(self) -> str:  # noqa: D102
        return _text(self.raw.get("status")).lower()

    @property
    def value(self) -> Quantity | str | Concept | None:  # noqa: D102
        return _value(self.raw)

    @property
    def name(self) -> str:  # noqa: D102
        return " ".join(read_concept(self.raw.get("code")).words[:1])

    @property
    def unreadable(self) -> tuple[str, ...]:  # noqa: D102
        return unreadable(self.raw)

    @property
    def effective(self) -> str:  # noqa: D102
        resource = self.raw
        if found := _text(resource.get("effectiveDateTime")) or _text(resource.get("effectiveInstant")):
            return found
        period = _object(resource.get("effectivePeriod"))
        return _text(period.get("end")) or _text(period.get("start"))

    @property
    def issued(self) -> str:  # noqa: D102
        return _text(self.raw.get("issued"))

    @property
    def specimen(self) -> str:  # noqa: D102
        taken = _object(self.raw.get("specimen"))
        if named := _text(taken.get("display")) or _text(_object(taken.get("identifier")).get("display")):
            return named
        reference = _text(taken.get("reference"))
        for resource in objects(self.raw.get("contained")) if reference.startswith("#") else ():
            if _text(resource.get("id")).removeprefix("#") == reference[1:]:
                return " ".join(read_concept(resource.get("type")).words[:1])
        return ""

    @property
    def laboratory(self) -> str:  # noqa: D102
        for performer in objects(self.raw.get("performer")):
            named = _text(performer.get("reference"))
            if not named.startswith(_PEOPLE):
                return _text(performer.get("display")) or named
        return ""

    @property
    def absent_reason(self) -> str:  # noqa: D102
        return _absent_reason(self.raw)

    @property
    def code(self) -> Concept:  # noqa: D102
        return read_concept(self.raw.get("code"))

    @property
    def interpretation(self) -> tuple[Concept, ...]:  # noqa: D102
        return tuple(map(read_concept, objects(self.raw.get("interpretation"))))

    @property
    def components(self) -> tuple[ChartComponent, ...]:  # noqa: D102
        return tuple(
            ChartComponent(
                code=read_concept(part.get("code")),
                value=_value(part),
                interpretation=tuple(map(read_concept, objects(part.get("interpretation")))),
                absent_reason=_absent_reason(part),
            )
            for part in objects(self.raw.get("component"))
        )

    @property
    def parts(self) -> tuple["FhirObservation", ...]:  # noqa: D102
        whole = {name: self.raw[name] for name in _OF_THE_WHOLE if name in self.raw}
        return tuple(FhirObservation(part | whole) for part in objects(self.raw.get("component")))

    @property
    def notes(self) -> tuple[str, ...]:  # noqa: D102
        return _texts([*_annotations(self.raw.get("note")), self.raw.get("comment"), self.raw.get("comments")])


def _value(resource: Json) -> Quantity | str | Concept | None:
    """The value of an Observation or of a component, of whatever type."""
    if "valueQuantity" in resource:
        found = _quantity(resource["valueQuantity"])
        given = _object(resource["valueQuantity"]).get("value")
        return str(given)[:40] if found is None and given is not None else found
    if "valueString" in resource:
        return _text(resource["valueString"])
    if "valueCodeableConcept" in resource:
        return read_concept(resource["valueCodeableConcept"])
    if isinstance(resource.get("valueBoolean"), bool):
        return str(resource["valueBoolean"]).lower()
    if "valueAttachment" in resource:
        return _attached(resource["valueAttachment"]) or None
    number = _number(resource.get("valueInteger", resource.get("valueDecimal")))
    return Quantity(number) if number is not None else None


def _absent_reason(resource: Json) -> str:
    return " ".join(read_concept(resource.get("dataAbsentReason")).words[:1])


def _annotations(value: Any) -> list[Any]:
    return [
        note.get("text") if isinstance(note, dict) else note for note in (value if isinstance(value, list) else [value])
    ]


_TAGS = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]{0,1000}>", re.DOTALL | re.IGNORECASE)
_READABLE = ("text/", "application/xhtml", "application/xml", "application/json")


def _attached(value: Any) -> str:
    """The text of an attachment, "" when it is none or cannot be decoded."""
    found = _object(value)
    kind, data = _text(found.get("contentType")).lower(), _text(found.get("data"))
    if not data or not (kind.startswith(_READABLE) or not kind):
        return ""
    try:
        text = base64.b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):  # ValueError: not UTF-8
        return ""
    return _unmarked(text) if "html" in kind or "xml" in kind else text


def _unmarked(text: str) -> str:
    """Text without mark-up; a tag that ends a line or a cell separates words."""
    return unescape(
        _TAGS.sub(lambda tag: "\n" if re.match(r"</?(?:p|div|br|tr|li|h\d)\b", tag[0], re.I) else " ", text)
    ).strip()


def _report_texts(resource: Json) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(texts of a DiagnosticReport beside its conclusion, content types of attachments that hold no text)."""
    coded = (*objects(resource.get("conclusionCode")), *objects(resource.get("codedDiagnosis")))
    texts = [" ".join(read_concept(entry).words) for entry in coded]
    closed = []
    for form in objects(resource.get("presentedForm")):
        text = _attached(form)
        texts.append(text)
        if not text:
            closed.append(_text(form.get("contentType")) or "unknown type")
    texts += _annotations(resource.get("note"))
    texts += [_text(entry.get("display")) for entry in objects(resource.get("result"))]
    if not any(texts) and not _text(resource.get("conclusion")):
        texts.append(_unmarked(_text(_object(resource.get("text")).get("div"))))
    return _texts(texts), tuple(closed)


def _contained(resource: Json) -> tuple[FhirObservation, ...]:
    """The Observations inside a report, with its subject and date where they have none of their own."""
    passed_on = {
        name: resource[name] for name in ("subject", "status", "effectiveDateTime", "issued") if name in resource
    }
    return tuple(
        FhirObservation(passed_on | {name: value for name, value in entry.items() if value is not None})
        for entry in objects(resource.get("contained"))
        if entry.get("resourceType") == "Observation"
    )


def _event(resource: Json) -> ChartEvent:
    period = _object(
        resource.get("performedPeriod")
        or resource.get("occurrencePeriod")
        or resource.get("onsetPeriod")
        or resource.get("effectivePeriod")
    )
    starts = [
        resource.get(name) for name in ("performedDateTime", "occurrenceDateTime", "onsetDateTime", "effectiveDateTime")
    ]
    ends = [resource.get("abatementDateTime"), _object(resource.get("abatementPeriod")).get("end")]
    kind = resource["resourceType"]
    reactions = objects(resource.get("reaction")) if kind == "AllergyIntolerance" else []
    return ChartEvent(
        ref=_ref(resource),
        resource_type=kind,
        code=_joined(
            read_concept(resource.get("code") or resource.get("substance")),
            *(read_concept(reaction.get("substance")) for reaction in reactions),
        ),
        status=next(filter(None, (_state(resource.get(name)) for name in _STATUS.get(kind, ("status",)))), ""),
        verification=_state(resource.get("verificationStatus")),
        subject=subject_of(resource),
        on=next(filter(None, map(_text, starts)), "")
        or _text(period.get("start"))
        or _text(resource.get("recordedDate")),
        ended=next(filter(None, map(_text, ends)), "") or ("yes" if resource.get("abatementBoolean") is True else ""),
        conclusion=_text(resource.get("conclusion")),
        kind=_state(resource.get("type")) if kind == "AllergyIntolerance" else "",
        criticality=_CRITICALITY.get(_state(resource.get("criticality")), _state(resource.get("criticality"))),
        severities=tuple(_state(reaction.get("severity")) for reaction in reactions),
        **(_report(resource) if kind == "DiagnosticReport" else {}),
    )


def _report(resource: Json) -> dict[str, Any]:
    """What only a DiagnosticReport has."""
    texts, closed = _report_texts(resource)
    return {
        "issued": _text(resource.get("issued")),
        "texts": texts,
        "closed": closed,
        "observations": _contained(resource),
        "results": _texts([_text(entry.get("reference")) for entry in objects(resource.get("result"))]),
    }


_STATUS = {"Condition": ("clinicalStatus",), "AllergyIntolerance": ("clinicalStatus", "status")}  # DSTU2: status
_CRITICALITY = {"critl": "low", "crith": "high"}  # DSTU2


def _joined(*concepts: Concept) -> Concept:
    """Several concepts as one: what an allergy is to, and what its reactions name."""
    texts = dict.fromkeys(concept.text for concept in concepts if concept.text)
    return Concept(tuple(coding for concept in concepts for coding in concept.codings), "; ".join(texts))


def _state(value: Any) -> str:
    """A status given as a code (STU3) or as a concept (R4)."""
    if isinstance(value, str):
        return value.strip().lower()
    concept = read_concept(value)
    return (concept.codings[0].code if concept.codings else concept.text).lower()


# --------------------------------------------------------------------------------------------------------------------
# Orders


class FhirOrder:
    """A `ChartOrder` of any release."""

    def __init__(self, resource: Json, place: str, medications: Mapping[str, Json]) -> None:
        """`medications` are the Medication resources of the call, by reference."""
        self.raw = resource
        self.place = place
        self._medications = medications

    @property
    def ref(self) -> str:  # noqa: D102 - the protocol says what each field is
        return _ref(self.raw)

    @property
    def status(self) -> str:  # noqa: D102
        return _text(self.raw.get("status")).lower()

    @property
    def intent(self) -> str:  # noqa: D102
        if self.raw.get("doNotPerform") is True:
            return "do-not-perform"
        intent = _text(self.raw.get("intent")).lower()
        taken = any(self.raw.get(name) for name in ("reported", "reportedBoolean", "reportedReference"))
        return (
            "reported" if taken and intent == "plan" else intent
        )  # US Core: what a patient takes without a prescriber

    @property
    def subject(self) -> str:  # noqa: D102
        return subject_of(self.raw)

    @cached_property
    def _medication(self) -> tuple[Concept, Concept | None, tuple[Ingredient, ...]]:
        return _drug(self.raw, self._medications)

    @property
    def drug(self) -> Concept:  # noqa: D102
        return self._medication[0]

    @property
    def form(self) -> Concept | None:  # noqa: D102
        return self._medication[1]

    @property
    def ingredients(self) -> tuple[Ingredient, ...]:  # noqa: D102
        return self._medication[2]

    @cached_property
    def dosages(self) -> tuple[Dosage, ...]:  # noqa: D102
        given = self.raw.get("dosageInstruction") or self.raw.get("dosage")
        found = tuple(map(_dosage, objects(given)))
        rendered = _text(self.raw.get("renderedDosageInstruction"))  # R5: all of them in words
        if rendered and not any(dosage.text or dosage.doses or dosage.timing != Timing() for dosage in found):
            found = (*found, Dosage(text=rendered))
        return found if found or not given else (Dosage(unreadable=("dosageInstruction",)),)

    @property
    def reasons(self) -> tuple[Concept, ...]:  # noqa: D102
        resource = self.raw
        given = resource.get("reasonCode") or resource.get("reason") or resource.get("reasonCodeableConcept")
        return tuple(map(read_concept, objects(given) or _texts(given)))

    @property
    def notes(self) -> tuple[str, ...]:  # noqa: D102
        given = self.raw.get("note")
        return _texts(given if isinstance(given, str) else [note.get("text") for note in objects(given)])

    @property
    def categories(self) -> tuple[Concept, ...]:  # noqa: D102
        return tuple(map(read_concept, objects(self.raw.get("category"))))

    @property
    def authored(self) -> str:  # noqa: D102
        return _text(self.raw.get("authoredOn")) or _text(self.raw.get("dateWritten"))

    @property
    def unreadable(self) -> tuple[str, ...]:  # noqa: D102
        return unreadable(self.raw)

    @property
    def replaces(self) -> str:  # noqa: D102
        return "/".join(_reference(self.raw.get("priorPrescription")).split("/_history/")[0].split("/")[-2:])


def _drug(resource: Json, medications: Mapping[str, Json]) -> tuple[Concept, Concept | None, tuple[Ingredient, ...]]:
    """(what is ordered, its dose form, its ingredients): from the order itself and from the Medication it points to."""
    inner = _object(resource.get("medication"))  # R5: CodeableReference
    own = read_concept(resource.get("medicationCodeableConcept") or inner.get("concept"))
    reference = _object(resource.get("medicationReference") or inner.get("reference"))
    if not reference:
        return own, None, ()
    found = _pointed_to(reference, resource, medications)
    product = _object(found.get("product"))  # DSTU2
    pointed = read_concept(found.get("code")) if found else Concept()
    form = found.get("form") or found.get("doseForm") or product.get("form")
    listed = objects(found.get("ingredient") or product.get("ingredient"))
    contained = [*objects(found.get("contained")), *objects(resource.get("contained"))]
    return (
        Concept((*own.codings, *pointed.codings), own.text or pointed.text or _text(reference.get("display"))),
        read_concept(form) if form else None,
        tuple(_ingredient(entry, {"contained": contained}, medications) for entry in listed),
    )


def _pointed_to(reference: Json, holder: Json, medications: Mapping[str, Json]) -> Json:
    """The resource that a reference means: contained in its holder, or a Medication of the call; else nothing."""
    target = _text(reference.get("reference"))
    if target.startswith("#"):
        return next((c for c in objects(holder.get("contained")) if c.get("id") in (target[1:], target)), {})
    return medications.get(target) or medications.get(f"Medication/{bare_id(target)}") or {} if target else {}


def _ingredient(entry: Json, holder: Json, medications: Mapping[str, Json]) -> Ingredient:
    """An ingredient; its item is a concept or points to a Substance or Medication."""
    item = _object(entry.get("item"))  # R5: CodeableReference; DSTU2: Reference
    concept = read_concept(entry.get("itemCodeableConcept") or item.get("concept"))
    reference = _object(entry.get("itemReference") or item.get("reference")) or item
    code = _pointed_to(reference, holder, medications).get("code")
    pointed = read_concept(_object(code).get("concept") or code) if code else Concept()
    words = concept.text or pointed.text or _text(reference.get("display"))
    given = _object(entry.get("strength") or entry.get("strengthRatio") or entry.get("amount"))  # STU3, DSTU2: amount
    amount = _quantity(given.get("numerator")) or _quantity(entry.get("strengthQuantity"))
    return Ingredient(Concept((*concept.codings, *pointed.codings), words), amount, _quantity(given.get("denominator")))


def _dosage(value: Json) -> Dosage:
    unreadable: list[str] = []
    timing = _timing(value.get("timing"), unreadable)
    sequence = value.get("sequence")
    rates = [value, *objects(value.get("doseAndRate"))]
    return Dosage(
        text=_text(value.get("text")) or _text(value.get("patientInstruction")),
        sequence=sequence if isinstance(sequence, int) and not isinstance(sequence, bool) else None,
        timing=timing,
        route=read_concept(value["route"]) if value.get("route") else None,
        as_needed=value.get("asNeededBoolean") is True
        or value.get("asNeeded") is True
        or bool(value.get("asNeededCodeableConcept"))
        or bool(value.get("asNeededFor")),
        doses=tuple(entry for rate in rates for entry in _doses(rate, unreadable)),
        rate=next(iter([found for rate in rates for found in _rates(rate, unreadable)]), None),
        most=_most(value.get("maxDosePerPeriod")),
        rate_varies=any(rate.get("rateRange") is not None for rate in rates),
        unreadable=tuple(unreadable),
        further=tuple(_further(value)),
    )


def _most(value: Any) -> tuple[DoseEntry, Timing] | None:
    """How much the order allows in which period: a ratio, from R5 on a list of them."""
    ratio = next(iter(objects(value)), {})
    amount, span = _quantity(ratio.get("numerator")), _quantity(ratio.get("denominator"))
    if amount is None or span is None:
        return None
    timing = Timing(frequency=Decimal(1), period=span.value, period_unit=span.code or span.unit)
    return DoseEntry(low=amount, high=amount), timing


def _rates(value: Json, unreadable: list[str]) -> Iterator[Quantity]:
    """The infusion rate: a quantity, the upper end of a range, or a ratio (500 mL per 2 h is 250 mL/h)."""
    for name in ("rateQuantity", "rateSimpleQuantity", "rateRange", "rateRatio"):
        given = value.get(name)
        if given is None:
            continue
        inner = _object(given)
        found = _quantity(inner.get("high")) if name == "rateRange" else _quantity(given)
        if name == "rateRatio":
            found = _per(_quantity(inner.get("numerator")), _quantity(inner.get("denominator")))
        if found:
            yield found
        else:
            unreadable.append(name)


def _per(amount: Quantity | None, span: Quantity | None) -> Quantity | None:
    if amount is None or span is None or not span.value:
        return None
    unit = f"{amount.code or amount.unit}/{span.code or span.unit}"
    return Quantity(amount.value / span.value, unit, comparator=amount.comparator or span.comparator)


def _further(value: Json) -> Iterator[str]:
    """What an instruction says in words beside its text."""
    for name in ("additionalInstruction", "additionalInstructions", "method", "site", "siteCodeableConcept"):
        for concept in objects(value.get(name)):
            yield from read_concept(concept).words
    if _text(value.get("text")):
        yield from filter(None, [_text(value.get("patientInstruction"))])


def _doses(value: Json, unreadable: list[str]) -> Iterator[DoseEntry]:
    kind = " ".join(read_concept(value["type"]).words[:1]).lower() if "type" in value else ""
    for name in ("doseQuantity", "doseSimpleQuantity"):
        if value.get(name) is not None:
            yield from _dose(value[name], value[name], kind, name, unreadable)
    if value.get("doseRange") is not None:
        found = _object(value["doseRange"])
        yield from _dose(found.get("low"), found.get("high"), kind, "doseRange", unreadable)
    for extension in objects(value.get("extension")):
        if _text(extension.get("url")).endswith("/ordered-dose"):  # one vendor sends the dose here alone
            given = extension.get("valueQuantity")
            yield from _dose(given, given, "ordered", "extension ordered-dose", unreadable)


def _dose(low: Any, high: Any, kind: str, name: str, unreadable: list[str]) -> Iterator[DoseEntry]:
    least = _quantity(low)
    most = least if high is low else _quantity(high)
    if (least is None and _object(low)) or (most is None and _object(high)) or (least is None and most is None):
        unreadable.append(name)
    else:
        yield DoseEntry(least, most, kind)


def _timing(value: Any, unreadable: list[str]) -> Timing:
    found = _object(value)
    repeat = _object(found.get("repeat"))
    bounds = _object(repeat.get("boundsPeriod"))

    def number(*names: str) -> Decimal | None:
        for name in names:
            if repeat.get(name) is not None:
                parsed = _number(repeat[name])
                if parsed is None or parsed <= 0:
                    unreadable.append(f"timing.repeat.{name}")
                return parsed
        return None

    return Timing(
        frequency=number("frequency"),
        frequency_max=number("frequencyMax"),
        period=number("period"),
        period_max=number("periodMax"),
        period_unit=_text(repeat.get("periodUnit")) or _text(repeat.get("periodUnits")),
        count=number("count"),
        day_of_week=_texts(repeat.get("dayOfWeek")),
        time_of_day=_texts(repeat.get("timeOfDay")),
        when=_texts(repeat.get("when")),
        code=read_concept(found["code"]) if found.get("code") else None,
        starts=_text(bounds.get("start")),
        ends=_text(bounds.get("end")),
        lasts_days=_days(_object(repeat.get("boundsDuration") or repeat.get("boundsQuantity"))),
        each_lasts=_each_lasts(repeat),
        events=len(_texts(found.get("event"))),
    )


def _each_lasts(repeat: Json) -> tuple[Decimal, Decimal, str] | None:
    """How long one administration lasts; None where that is not said in numbers above zero."""
    unit = _text(repeat.get("durationUnit")) or _text(repeat.get("durationUnits"))
    given = [_number(repeat[name]) for name in ("duration", "durationMax") if repeat.get(name) is not None]
    numbers = [value for value in given if value is not None and value > 0]
    return (min(numbers), max(numbers), unit) if unit and numbers and len(numbers) == len(given) else None


_DAYS_OF = {"d": 1, "day": 1, "days": 1, "wk": 7, "week": 7, "weeks": 7}


def _days(duration: dict[str, Any]) -> Decimal | None:
    """A duration in days or weeks, as days; None for any other."""
    unit = _DAYS_OF.get(_text(duration.get("code")) or _text(duration.get("unit")))
    value = _number(duration["value"]) if unit and duration.get("value") is not None else None
    return value * unit if unit and value and value > 0 else None


# --------------------------------------------------------------------------------------------------------------------
# Strict validation of the few resources that matter

_FIELDS = {  # what a verdict rests on, so that an odd id or a vendor's extension costs no check
    "Patient": ("gender", "birthDate"),
    "Observation": ("status", "code", "valueQuantity"),
    "MedicationRequest": ("status", "intent", "dosageInstruction", "reasonCode"),
    "MedicationStatement": ("status", "dosage", "reasonCode"),
}
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_PACKAGES = {"DSTU2": "STU3.", "STU3": "STU3.", "R4": "R4B.", "R4B": "R4B.", "R5": ""}


@cache
def _validator(release: str, kind: str) -> Callable[[Json], object]:
    module = import_module(f"fhir.resources.{_PACKAGES[release]}{kind.lower()}")
    validate: Callable[[Json], object] = getattr(module, kind).model_validate
    return validate


def load_models() -> None:
    """Import the models of every release that `violations` can ask for."""
    for release in RELEASES:
        for kind in _FIELDS:
            _validator(release, kind)


def violations(resource: Mapping[str, Any], release: str) -> tuple[str, ...]:
    """Paths of the fields we read whose value breaks the FHIR release; absent fields are no violation here.

    Known deviations are mended on a copy first. Absence is judged by whoever needs the value.
    """
    kind = str(resource.get("resourceType")).replace("MedicationOrder", "MedicationRequest")
    picked = {name: _mended(resource[name]) for name in _FIELDS.get(kind, ()) if resource.get(name) not in _EMPTY}
    for name in ("dosageInstruction", "dosage", "reasonCode"):
        if isinstance(picked.get(name), dict):
            picked[name] = [picked[name]]
    try:
        if picked:
            _validator(release, kind)(picked)
    except ValidationError as error:
        paths = (
            _path(problem["loc"]) for problem in error.errors() if not _is_absence(problem["type"], problem["msg"])
        )
        return tuple(dict.fromkeys(path for path in paths if path))
    return ()


def _mended(value: Any) -> Any:
    """A copy without nulls and empty members, and with `doseAndRate` as the array it should be."""
    if isinstance(value, dict):
        kept = {k: _mended(v) for k, v in value.items() if v not in _EMPTY and k != "extension"}
        for name in ("periodUnit", "durationUnit"):
            if f"{name}s" in kept:  # DSTU2
                kept[name] = kept.pop(f"{name}s")
        if "boundsQuantity" in kept:  # DSTU2
            kept["boundsDuration"] = kept.pop("boundsQuantity")
        if "additionalInstructions" in kept:  # DSTU2
            kept["additionalInstruction"] = [kept.pop("additionalInstructions")]
        if isinstance(kept.get("doseAndRate"), dict):
            kept["doseAndRate"] = [kept["doseAndRate"]]
        return kept
    return [_mended(v) for v in value if v is not None] if isinstance(value, list) else value


def _is_absence(kind: str, message: str) -> bool:
    return kind == "missing" or bool(re.search(r"required|missing", message, re.IGNORECASE))


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if isinstance(part, int) or re.fullmatch(r"[a-z]\w*", str(part)))
