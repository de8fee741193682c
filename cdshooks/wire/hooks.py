"""CDS Hooks on the wire: services, discovery, the request envelope, prefetch states, feedback.

Takes bytes, gives a `HookCall` or raises `BadRequest`. Knows JSON and the hooks; does not look into FHIR resources
further than their type. Source: CDS Hooks 2.0.1, with 1.0, 2.0 and 3.0-ballot requests accepted.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cdshooks.errors import BadRequest, TooLarge
from cdshooks.model import Missing, Why

OBSERVATION_GROUPS = ("kidney", "counts", "electrolytes", "virology", "levels", "pregnancy")
EVENT_KEYS = {
    "Condition": "conditions",
    "AllergyIntolerance": "allergies",
    "Procedure": "procedures",
    "DiagnosticReport": "reports",
}
ORDER_TYPES = ("MedicationRequest", "MedicationOrder", "MedicationStatement")
PUBLISHED_KEYS = ("patient", "medications", *EVENT_KEYS.values(), *OBSERVATION_GROUPS)
ALL_OBSERVATIONS = "observations"  # known, not published: all six groups in one

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """One CDS service. One id per hook, because some clients collapse equal ids."""

    id: str
    hook: str
    title: str
    description: str


SERVICES = (
    Service(
        "cmv-medication-prescribe",
        "medication-prescribe",
        "CMV therapy checks at prescribing (CDS Hooks 1.0)",
        "Checks every order against cytomegalovirus in context.medications: dose for the kidney function.",
    ),
    Service(
        "cmv-order-select",
        "order-select",
        "CMV therapy checks while an order is written",
        "Checks the selected orders against cytomegalovirus, or names the regimen while no dose is given yet.",
    ),
    Service(
        "cmv-order-sign",
        "order-sign",
        "CMV therapy checks before signing",
        "Checks every order against cytomegalovirus that is about to be signed: dose for the kidney function.",
    ),
    Service(
        "cmv-patient-view",
        "patient-view",
        "CMV therapy that no longer fits the patient",
        "Checks the active therapy against cytomegalovirus when a chart is opened: dose that no longer fits.",
    ),
    Service(
        "cmv-medication-verify",
        "medication-verify",
        "CMV therapy checks for the verifying pharmacist",
        "Checks the one order that a pharmacist verifies.",
    ),
)
_BY_ID = {service.id: service for service in SERVICES}


def discovery(prefetch_queries: Mapping[str, str]) -> Json:
    """The discovery document. `prefetch_queries` maps each published key to its FHIR query template."""
    return {
        "services": [
            {
                "hook": service.hook,
                "id": service.id,
                "title": service.title,
                "description": service.description,
                "version": "2.0.1",
                "usageRequirements": "Decision support that needs local validation; no clinician has reviewed it yet.",
                "prefetch": dict(prefetch_queries),
            }
            for service in SERVICES
        ]
    }


# --------------------------------------------------------------------------------------------------------------------
# The request


@dataclass(frozen=True, slots=True)
class Prefetch:
    """What the client sent beside the context: resources by key, and for every published key why it is missing."""

    patient: Json | Missing
    resources: tuple[Json, ...]  # everything but the Patient of the call and Medications
    gaps: Mapping[str, Missing | None]  # published key -> None when data came
    incomplete: frozenset[str] = frozenset()  # keys whose Bundle had a next page
    unreadable: tuple[tuple[str, str], ...] = ()  # (known key, what of its value is no FHIR data)


class Secret:
    """A text that no log, error or copy of an object ever shows."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        """Keep it."""
        self.__text = text

    def reveal(self) -> str:
        """The text, for the one who has to send it."""
        return self.__text

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True, slots=True)
class HookCall:
    """One hook call, checked. `orders` are the resources to judge, `drafts` other entries of the context Bundle.

    `fhir_token` is the access token for `fhir_server`, None when there is none to send.
    """

    service: Service
    hook_instance: str
    user_id: str
    patient_id: str
    encounter_id: str
    fhir_server: str
    orders: tuple[Json, ...]
    drafts: tuple[Json, ...]
    prefetch: Prefetch
    medications: Mapping[str, Json] = field(default_factory=dict)  # Medication resources by id and by full URL
    fhir_token: Secret | None = None
    selection_lost: bool = False  # the selections name nothing that was sent

    @property
    def hook(self) -> str:
        """The hook's name."""
        return self.service.hook


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


Loose = Annotated[str, BeforeValidator(_text)]  # optional text: anything else counts as not given
Required = Annotated[str, Field(min_length=1, strict=True, pattern=r"\S")]


class _Context(BaseModel):
    """The context of every hook we serve; unknown keys are accepted."""

    model_config = ConfigDict(extra="ignore")

    patientId: Required  # noqa: N815 - the name on the wire
    userId: Loose = ""  # noqa: N815
    encounterId: Loose = ""  # noqa: N815
    draftOrders: dict[str, Any] = {}  # noqa: N815
    medications: dict[str, Any] = {}
    selections: list[Annotated[str, Field(strict=True)]] = []
    medication: dict[str, Any] | None = None
    order: dict[str, Any] | None = None


class _Envelope(BaseModel):
    """The request; unknown keys are accepted, `prefetch` is read apart."""

    model_config = ConfigDict(extra="ignore")

    hook: Required
    hookInstance: Required  # noqa: N815
    context: _Context
    fhirServer: Loose = ""  # noqa: N815
    fhirAuthorization: Annotated[dict[str, Any], BeforeValidator(_object)] = {}  # noqa: N815
    prefetch: dict[str, Any] | None = None


class _RawEnvelope(msgspec.Struct):
    context: msgspec.Raw = msgspec.Raw()


def read_call(
    service_id: str, body: bytes, *, max_depth: int, max_entries: int, prefetch_keys: Mapping[str, str]
) -> HookCall:
    """Read one hook call.

    `prefetch_keys` maps a client's own prefetch keys to ours. Raises `BadRequest` with the field at fault, `TooLarge`
    when there are more than `max_entries` Bundle entries. Nothing of the patient's data is in the message.
    """
    service = _BY_ID[service_id]
    parsed = _parse(body, max_depth)
    in_context, in_prefetch = _entries_in(parsed.get("context")), _entries_in(parsed.get("prefetch"))
    if in_context + in_prefetch > max_entries:
        advice = f"more than {max_entries} Bundle entries; narrow the prefetch queries"
        raise TooLarge(advice, "prefetch" if in_prefetch >= in_context else "context")
    try:
        envelope = _Envelope.model_validate(parsed)
    except ValidationError as error:
        raise _bad_field(error) from None
    if envelope.hook != service.hook:
        raise BadRequest(f"this service answers the hook {service.hook} only", "hook")
    context = envelope.context
    medications: dict[str, Json] = {}
    orders, drafts = _orders_of(service.hook, context, medications)
    patient_id = bare_id(context.patientId.strip())
    prefetch = _read_prefetch(envelope.prefetch or {}, prefetch_keys, medications, patient_id)
    return HookCall(
        service=service,
        hook_instance=envelope.hookInstance,
        user_id=context.userId,
        patient_id=patient_id,
        encounter_id=context.encounterId,
        fhir_server=envelope.fhirServer,
        orders=tuple(orders),
        drafts=tuple(drafts),
        prefetch=prefetch,
        medications=medications,
        fhir_token=_access_token(envelope.fhirAuthorization),
        selection_lost=_lost_selection(service.hook, context),
    )


def _entries_in(values: Any) -> int:
    """How many resources the values of the context or of the prefetch hold, in Bundles or alone."""
    given = [value for value in values.values() if isinstance(value, dict)] if isinstance(values, dict) else []
    inner = [value["resource"] for value in given if isinstance(value.get("resource"), dict)]  # wrapped
    return sum(len(e) if isinstance(e := value.get("entry"), list) else 1 for value in (*given, *inner))


def _access_token(authorization: Json) -> Secret | None:
    """The bearer token, when it can be sent as one."""
    token, kind = authorization.get("access_token"), authorization.get("token_type", "Bearer")
    if isinstance(token, str) and isinstance(kind, str) and kind.lower() == "bearer" and _BEARER.fullmatch(token):
        return Secret(token)
    return None


_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")


def bare_id(reference: str) -> str:
    """`Patient/12`, `http://ehr.example.org/r4/Patient/12/_history/3` and `12` are all `12`."""
    path = reference.split("/_history/")[0]
    return path.rsplit("/", 1)[-1].removeprefix("urn:uuid:")


def _parse(body: bytes, max_depth: int) -> Json:
    """The JSON object in `body`, read strictly where a second reading could mean something else."""
    if _too_deep(body, max_depth):
        raise BadRequest(f"nested deeper than {max_depth} levels")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    if not isinstance(parsed, dict):
        raise BadRequest("the body must be a JSON object")
    # orjson lets the last of two equal keys win. The envelope and the context decide who and what is judged: strict.
    if any(body.count(key) > 1 for key in _ENVELOPE_KEYS) or (b"\\" in body and b"\\u00" in body):
        marked = json.loads(body, object_pairs_hook=_mark_twins)
        if isinstance(marked, _Twins):
            raise BadRequest("a key is given twice")
        if _has_twins(marked.get("context")):
            raise BadRequest("a key is given twice", "context")
    elif "context" in parsed:
        json.loads(bytes(msgspec.json.decode(body, type=_RawEnvelope).context), object_pairs_hook=_no_twins)
    return parsed


def _no_twins(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadRequest("a key is given twice", "context")
    return found


_ENVELOPE_KEYS = tuple(f'"{name}"'.encode() for name in _Envelope.model_fields)


class _Twins(dict[str, Any]):
    """An object that had a key twice."""


def _mark_twins(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twins(found)


def _has_twins(value: Any) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, _Twins) or any(_has_twins(child) for child in children)


def _too_deep(body: bytes, max_depth: int) -> bool:
    """Is the JSON nested deeper than `max_depth`? On bytes: a walk over the values would cost ten times as much.

    Brackets that do not balance are no depth: that body is no JSON, which the parser says better.
    """
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    brackets = _BALANCED.sub(b"", text.translate(_ONE_SHAPE, delete=_PLAIN).replace(b'""', b""))
    if b'"' in brackets:  # some string holds brackets that do not balance: leave the strings out one by one
        brackets = b"".join(text.split(b'"')[::2]).translate(_ONE_SHAPE, delete=_PLAIN)
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"")  # one pass peels at least one level
    return brackets.count(b"{") == brackets.count(b"}") > 0


_BALANCED = re.compile(rb'"(?:\{\})+"')  # what is left of strings such as "{copies}/mL"
_PLAIN = bytes(sorted(set(range(256)) - set(b'[]{}"')))
_ONE_SHAPE = bytes.maketrans(b"[]", b"{}")


def _bad_field(error: ValidationError) -> BadRequest:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    problem = {"missing": "is missing", "string_too_short": "is empty", "string_pattern_mismatch": "is empty"}
    return BadRequest(f"{path} {problem.get(first['type'], 'has the wrong type')}", path)


# --------------------------------------------------------------------------------------------------------------------
# The orders in the context


def _orders_of(hook: str, context: _Context, medications: dict[str, Json]) -> tuple[list[Json], list[Json]]:
    """(orders to judge, other drafts). Medication resources among the entries are put into `medications`."""
    if hook == "patient-view":
        return [], []
    if hook == "medication-verify":
        given: list[Json] = []
        for name, value in (("medication", context.medication), ("order", context.order)):
            inner = value.get("resource", value) if value else None
            if inner is not None and not isinstance(inner, dict):
                raise BadRequest(f"context.{name}.resource has the wrong type", f"context.{name}.resource")
            given += _resources(inner, f"context.{name}", medications)
        unique = {orjson.dumps(resource): resource for resource in given}  # the same order in both places is one
        return _orders_among(unique.values()), []
    field_name = "medications" if hook == "medication-prescribe" else "draftOrders"
    orders = _orders_among(_resources(getattr(context, field_name), f"context.{field_name}", medications))
    if hook != "order-select":
        return orders, []
    named = _named_in(context.draftOrders)
    chosen = [order for order in orders if any(_names(text, order, named) for text in context.selections)]
    return chosen, [order for order in orders if not any(order is one for one in chosen)]


def _named_in(bundle: Json) -> dict[str, Any]:
    """The resources of a Bundle by the full URL of their entry."""
    entries = bundle.get("entry")
    listed = entries if isinstance(entries, list) else [entries]
    return {str(e["fullUrl"]): e.get("resource") for e in listed if isinstance(e, dict) and e.get("fullUrl")}


def _names(selection: str, resource: Any, named: Mapping[str, Any]) -> bool:
    """Does a selection mean this resource: by the full URL of its entry, or by its id and, where given, its type?"""
    if not isinstance(resource, dict):
        return False
    if named.get(selection) is resource:
        return True
    identifier = str(resource.get("id", ""))
    if not identifier or bare_id(selection) != identifier:
        return False
    kinds = selection.split("/_history/")[0].split("/")[-2:-1]
    kind = resource.get("resourceType")
    return kinds in ([], [kind]) or (kinds[0] in ORDER_TYPES[:2] and kind in ORDER_TYPES[:2])


def _lost_selection(hook: str, context: _Context) -> bool:
    """Does every selection name something that is not among the drafts?"""
    if hook != "order-select" or not any(map(str.strip, context.selections)):
        return False
    drafts = _resources(context.draftOrders, "context.draftOrders", {})
    named = _named_in(context.draftOrders)
    return not any(_names(text, draft, named) for text in context.selections for draft in drafts)


def _orders_among(resources: Iterable[Json]) -> list[Json]:
    return [resource for resource in resources if resource.get("resourceType") in ORDER_TYPES[:2]]


def _resources(value: Json | None, path: str, medications: dict[str, Json]) -> list[Json]:
    """The resources in a Bundle (with or without `type`), or the one resource given without a Bundle."""
    if not value:
        return []
    kind = value.get("resourceType")
    if kind in ORDER_TYPES:
        return [value]
    if kind not in (None, "Bundle"):
        raise BadRequest(f"{path} has the wrong type: a Bundle is expected", path)
    return list(_entries(value, path, medications))


def _entries(bundle: Json, path: str, medications: dict[str, Json]) -> Iterator[Json]:
    """The resource of each entry that holds one with a type; a lone entry not wrapped in an array is taken as one."""
    entries = bundle.get("entry")
    if entries is None:
        return
    if isinstance(entries, dict):
        entries = [entries]
    if not isinstance(entries, list):
        raise BadRequest(f"{path}.entry has the wrong type", f"{path}.entry")
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and isinstance(resource.get("resourceType"), str):
            if resource["resourceType"] == "Medication":
                medications[f"Medication/{resource.get('id', '')}"] = resource
                medications[str(entry.get("fullUrl", ""))] = resource
            yield resource


# --------------------------------------------------------------------------------------------------------------------
# Prefetch: five states that are kept apart


def _read_prefetch(
    values: Json, prefetch_keys: Mapping[str, str], medications: dict[str, Json], patient_id: str
) -> Prefetch:
    reader = _PrefetchReader(medications)
    for key, value in values.items():
        reader.read(prefetch_keys.get(key, key), value)
    gaps: dict[str, Missing | None] = {
        key: None if key in reader.with_data else reader.gaps.get(key, Missing(Why.NOT_SENT)) for key in PUBLISHED_KEYS
    }
    patient = reader.patient(patient_id) or gaps["patient"] or Missing(Why.NOT_SENT)
    return Prefetch(
        patient=patient,
        resources=(*reader.resources, *reader.patients_beside(patient)),
        gaps=gaps,
        incomplete=frozenset(reader.incomplete),
        unreadable=tuple(reader.unreadable),
    )


def opened_chart(patient_id: str, prefetch: Json) -> HookCall:
    """The call of an EHR that opens the chart of a patient, with these prefetch values."""
    medications: dict[str, Json] = {}
    return HookCall(
        service=next(service for service in SERVICES if service.hook == "patient-view"),
        hook_instance=f"Patient/{patient_id}",
        user_id="",
        patient_id=patient_id,
        encounter_id="",
        fhir_server="",
        orders=(),
        drafts=(),
        prefetch=_read_prefetch(prefetch, {}, medications, patient_id),
        medications=medications,
    )


def with_answers(call: HookCall, answers: Mapping[str, Json | Missing]) -> HookCall:
    """The call with what was read elsewhere for published keys, or with why that failed. Read like prefetch values."""
    medications = dict(call.medications)
    reader = _PrefetchReader(medications)
    for key, value in answers.items():
        if isinstance(value, Missing):
            reader.gaps[key] = value
        else:
            reader.read(key, value)
    given = call.prefetch
    gaps = dict(given.gaps)
    for key in answers:
        gap = None if key in reader.with_data else reader.gaps.get(key, Missing(Why.NONE_ON_FILE))
        # an answer that leaves a key open (an empty first page) is a failure: it must not be asked for again
        gaps[key] = Missing(Why.FETCH_FAILED, gap.detail) if gap and gap.why is Why.NOT_SENT else gap
    patient = given.patient
    if isinstance(patient, Missing) and "patient" in answers:
        patient = reader.patient(call.patient_id) or gaps["patient"] or patient
    prefetch = Prefetch(
        patient=patient,
        resources=(*given.resources, *reader.resources),
        gaps=gaps,
        incomplete=given.incomplete | reader.incomplete,
        unreadable=(*given.unreadable, *reader.unreadable),
    )
    return replace(call, prefetch=prefetch, medications=medications)


def read_resource(body: bytes, max_depth: int, name: str) -> Json:
    """One FHIR resource that did not come in a hook request. `name` says what it is in an error: "the answer".

    Raises `BadRequest`: no JSON, too deep, or no resource.
    """
    if _too_deep(body, max_depth):
        raise BadRequest(f"{name} is nested deeper than {max_depth} levels")
    try:
        resource = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest(f"{name} is no JSON") from None
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise BadRequest(f"{name} is no FHIR resource")
    return resource


class _PrefetchReader:
    """Collects what each prefetch value says: a missing key, null, an empty Bundle, a failure and data all differ."""

    def __init__(self, medications: dict[str, Json]) -> None:
        self.medications = medications
        self.patients: list[Json] = []
        self.resources: list[Json] = []
        self.with_data: set[str] = set()
        self.gaps: dict[str, Missing] = {}
        self.incomplete: set[str] = set()
        self.unreadable: list[tuple[str, str]] = []

    def patient(self, patient_id: str) -> Json | None:
        """The Patient that the call is about, else any that came in its place."""
        ours = (patient for patient in self.patients if str(patient.get("id")) == patient_id)
        return next(iter((*ours, *self.patients)), None)

    def patients_beside(self, patient: Json | Missing) -> Iterator[Json]:
        """Patients of another id than the one taken."""
        if not isinstance(patient, Missing):
            yield from (other for other in self.patients if other.get("id") != patient.get("id"))

    def read(self, key: str, value: Any) -> None:
        keys = OBSERVATION_GROUPS if key == ALL_OBSERVATIONS else (key,) if key in PUBLISHED_KEYS else ()
        if isinstance(value, dict) and "resource" in value and "response" in value and "resourceType" not in value:
            status = value["response"].get("status", "") if isinstance(value["response"], dict) else ""
            value = (
                value["resource"] if str(status).startswith("2") or not status else {"resourceType": "OperationOutcome"}
            )
        if value is None:
            return self._gap(keys, Why.NONE_ON_FILE)
        if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
            return self._not_read(key, keys, "the value sent is no FHIR resource")
        if value["resourceType"] == "OperationOutcome":
            return self._gap(keys, Why.FETCH_FAILED)
        if value["resourceType"] == "Bundle":
            return self._bundle(key, keys, value)
        return self._keep(keys, [value])

    def _bundle(self, key: str, keys: tuple[str, ...], bundle: Json) -> None:
        try:
            entries = list(_entries(bundle, f"prefetch.{key}", self.medications))
        except BadRequest:
            return self._not_read(key, keys, "the Bundle sent cannot be read")
        outcomes = [resource for resource in entries if resource["resourceType"] == "OperationOutcome"]
        found = [resource for resource in entries if resource["resourceType"] != "OperationOutcome"]
        failed = any(is_error(outcome) for outcome in outcomes)
        links = bundle.get("link")
        links = links if isinstance(links, list) else []
        more = any(isinstance(link, dict) and link.get("relation") == "next" for link in links)
        given = bundle.get("entry")
        if not entries and given:
            return self._not_read(key, keys, "no entry of the Bundle sent can be read")
        if keys and isinstance(given, list) and len(entries) < len(given):
            self.unreadable.append((key, "has an entry that is no FHIR resource"))
        if not found and more and not failed:
            return self._gap(keys, Why.NOT_SENT, "only an empty first page was sent")
        if not found:
            return self._gap(keys, Why.FETCH_FAILED if failed else Why.NONE_ON_FILE)
        if failed or more:
            self.incomplete.update(keys or (k for resource in found for k in _keys_of(resource["resourceType"])))
        elif not _has_data(keys, found) and all(map(_is_included, given if isinstance(given, list) else [given])):
            self._gap(keys, Why.NONE_ON_FILE)  # what only comes beside matches, and no match: nothing was found
            return self._keep((), found)
        return self._keep(keys, found)

    def _keep(self, keys: tuple[str, ...], found: list[Json]) -> None:
        if keys and not _has_data(keys, found):
            self._gap(keys, Why.UNUSABLE, "only data of another kind came under this key")
        else:
            self.with_data.update(keys)
        for resource in found:
            kind = resource["resourceType"]
            if not keys or kind == "Patient":
                self.with_data.update(_keys_of(kind))
            if kind == "Patient":
                self.patients.append(resource)
            elif kind == "Medication":
                self.medications.setdefault(f"Medication/{resource.get('id', '')}", resource)
            else:
                self.resources.append(resource)

    def _not_read(self, key: str, keys: tuple[str, ...], detail: str) -> None:
        if keys:  # under an unknown key it is somebody else's
            self.unreadable.append((key, "is no FHIR data"))
            self._gap(keys, Why.UNUSABLE, detail)

    def _gap(self, keys: tuple[str, ...], why: Why, detail: str = "") -> None:
        for key in keys:
            # a failed or unreadable answer is not undone by an empty one that came under another key
            if key not in self.gaps or self.gaps[key].why is Why.NONE_ON_FILE:
                self.gaps[key] = Missing(why, detail)


def _keys_of(kind: str) -> tuple[str, ...]:
    """The published keys for resources of this type; a resource is known by its type, not by its key."""
    if kind == "Observation":
        return OBSERVATION_GROUPS
    if kind in ORDER_TYPES:
        return ("medications",)
    return ("patient",) if kind == "Patient" else (EVENT_KEYS[kind],) if kind in EVENT_KEYS else ()


def _has_data(keys: tuple[str, ...], found: Iterable[Json]) -> bool:
    """Is any of these a resource for one of the keys?"""
    return any(key in keys for resource in found for key in _keys_of(resource["resourceType"]))


def _is_included(entry: Any) -> bool:
    """Does an entry of a searchset only come beside a match (`_include`)?"""
    search = entry.get("search") if isinstance(entry, dict) else None
    return isinstance(search, dict) and search.get("mode") == "include"


def is_error(outcome: Json) -> bool:
    """Does an OperationOutcome tell of a failure?"""
    issues = outcome.get("issue")
    return any(
        isinstance(issue, dict) and issue.get("severity") in ("error", "fatal")
        for issue in (issues if isinstance(issues, list) else [issues])
    )


# --------------------------------------------------------------------------------------------------------------------
# Feedback


@dataclass(frozen=True, slots=True)
class FeedbackEntry:
    """What became of one card. `reasons` are (code, system, display); `card` is "" when the client had none."""

    card: str
    outcome: str
    at: str
    reasons: tuple[tuple[str, str, str], ...]
    comment: str
    accepted: tuple[str, ...]


def _storable(value: Any) -> Any:
    """A text that every database takes: PostgreSQL has no place for a NUL. None is no text; other types are refused."""
    return (
        value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else "" if value is None else value
    )


def _moment(value: str) -> str:
    """A date with time, as RFC 3339 writes it, or nothing."""
    if value.strip():
        datetime.fromisoformat(value.strip())
        if "T" not in value.upper():
            raise ValueError("a date without a time")
    return value


def _listed(value: Any) -> Any:
    """One or several: a list either way."""
    return [] if value is None else [value] if isinstance(value, dict) else value


Kept = Annotated[str, Field(strict=True), BeforeValidator(_storable)]


class _Reason(BaseModel):
    """A Coding, or the CodeableConcept that some write in its place."""

    model_config = ConfigDict(extra="ignore")
    code: Kept = ""
    system: Kept = ""
    display: Kept = ""
    coding: Annotated["list[_Reason]", BeforeValidator(_listed)] = []

    @property
    def codings(self) -> list[tuple[str, str, str]]:
        """(code, system, display) of each coding."""
        own = [(self.code, self.system, self.display)] if self.code or self.display else []
        return own + [coding for inner in self.coding for coding in inner.codings]


class _Override(_Reason):
    """A reason with a comment; where several are listed, some write the bare Coding."""

    reason: Annotated[list[_Reason], BeforeValidator(_listed)] = []
    userComment: Kept = ""  # noqa: N815

    @property
    def reasons(self) -> list[tuple[str, str, str]]:
        """The codings given, wherever they stand."""
        return self.codings + [coding for reason in self.reason for coding in reason.codings]


class _Accepted(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: Kept = ""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")
    card: Kept = ""
    outcome: Literal["accepted", "overridden"]
    outcomeTimestamp: Annotated[Kept, AfterValidator(_moment)] = ""  # noqa: N815
    acceptedSuggestions: list[_Accepted] | None = None  # noqa: N815
    overrideReason: Annotated[list[_Override], BeforeValidator(_listed)] = []  # noqa: N815
    overrideReasons: Annotated[list[_Override], BeforeValidator(_listed)] = []  # noqa: N815 - in one vendor's examples


class _Feedback(BaseModel):
    model_config = ConfigDict(extra="ignore")
    feedback: list[_Entry] = Field(min_length=1)


def read_feedback(body: bytes) -> tuple[FeedbackEntry, ...]:
    """Read a feedback request. Raises `BadRequest` with the field at fault."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    try:
        entries = _Feedback.model_validate(parsed).feedback
    except ValidationError as error:
        raise _bad_field(error) from None
    return tuple(_entry(entry) for entry in entries)


def _entry(entry: _Entry) -> FeedbackEntry:
    given = [*entry.overrideReasons, *entry.overrideReason]
    return FeedbackEntry(
        card=entry.card,
        outcome=entry.outcome,
        at=entry.outcomeTimestamp,
        reasons=tuple(dict.fromkeys(coding for override in given for coding in override.reasons)),
        comment="; ".join(dict.fromkeys(override.userComment for override in given if override.userComment)),
        accepted=tuple(suggestion.id for suggestion in entry.acceptedSuggestions or [] if suggestion.id),
    )
