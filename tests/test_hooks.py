"""CDS Hooks on the wire: what a request may look like, what it is read as, and what is refused with which field."""

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdshooks.errors import BadRequest, TooLarge
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.model import Missing, Why
from cdshooks.wire.hooks import (
    EVENT_KEYS,
    OBSERVATION_GROUPS,
    PUBLISHED_KEYS,
    SERVICES,
    FeedbackEntry,
    HookCall,
    Json,
    Prefetch,
    _too_deep,
    bare_id,
    discovery,
    read_call,
    read_feedback,
)

SECRET = "Quillfeather"  # stands in every request, and in no message


def order(identifier: str = "draft-1", kind: str = "MedicationRequest") -> Json:
    return {"resourceType": kind, "id": identifier, "note": [{"text": SECRET}]}


def resource(kind: str, identifier: str = "r-1") -> Json:
    return {"resourceType": kind, "id": identifier}


def bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": found} for found in resources]}


def request(hook: str = "order-sign", **context: Any) -> Json:
    return {
        "hook": hook,
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"patientId": "pat-1", "userId": "Practitioner/1"} | context,
    }


def read(
    body: Json | bytes,
    service: str = "",
    keys: dict[str, str] | None = None,
    *,
    max_depth: int = 64,
    max_entries: int = 1000,
) -> HookCall:
    hook = body["hook"] if isinstance(body, dict) and isinstance(body.get("hook"), str) else "order-sign"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_call(
        service or f"cmv-{hook}", data, max_depth=max_depth, max_entries=max_entries, prefetch_keys=keys or {}
    )


def prefetch(keys: dict[str, str] | None = None, **values: Any) -> Prefetch:
    return read(request() | {"prefetch": values}, keys=keys).prefetch


def refusal(body: Json | bytes, service: str = "") -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(body, service)
    assert SECRET not in caught.value.detail
    return caught.value


def ids(resources: tuple[Json, ...]) -> list[str]:
    return [found["id"] for found in resources]


# --------------------------------------------------------------------------------------------------------------------
# Discovery


def test_discovery_publishes_one_service_per_hook() -> None:
    queries = {key: f"X?patient={{{{context.patientId}}}}&k={key}" for key in PUBLISHED_KEYS}
    services = discovery(queries)["services"]
    assert len({service["id"] for service in services}) == len({service["hook"] for service in services}) == 5
    for service in services:
        assert service["id"] == f"cmv-{service['hook']}"
        assert service["prefetch"] == queries
        assert all(service[name] for name in ("title", "description", "version", "usageRequirements"))


def test_the_published_queries_need_nothing_but_the_patient(knowledge: Knowledge) -> None:
    queries = knowledge.prefetch_queries
    assert set(queries) == set(PUBLISHED_KEYS)
    for query in queries.values():
        assert query.count("{{") == query.count("{{context.patientId}}") == 1


# --------------------------------------------------------------------------------------------------------------------
# The envelope


def test_a_whole_request_is_read() -> None:
    body = request(draftOrders=bundle(order()), encounterId="enc-1") | {"fhirServer": "https://ehr.example.org"}
    call = read(body)
    assert (call.hook, call.service.id) == ("order-sign", "cmv-order-sign")
    assert (call.patient_id, call.user_id, call.encounter_id) == ("pat-1", "Practitioner/1", "enc-1")
    assert (call.hook_instance, call.fhir_server) == (body["hookInstance"], "https://ehr.example.org")
    assert ids(call.orders) == ["draft-1"]


@pytest.mark.parametrize("value", ["pat-1", " pat-1 ", "Patient/pat-1", "https://ehr.example.org/r4/Patient/pat-1"])
def test_spellings_of_the_patient_are_one(value: str) -> None:
    assert read(request(patientId=value)).patient_id == "pat-1"


@pytest.mark.parametrize(
    ("reference", "identifier"),
    [
        ("12", "12"),
        ("Patient/12", "12"),
        ("https://ehr.example.org/r4/Patient/12/_history/3", "12"),
        ("urn:uuid:0b1c", "0b1c"),
        ("", ""),
    ],
)
def test_bare_ids(reference: str, identifier: str) -> None:
    assert bare_id(reference) == identifier


def test_unknown_keys_and_loose_values_are_accepted() -> None:
    body = request(draftOrders=bundle(order()), userId=7, encounterId=None, extra={"a": 1})
    body |= {"prefetch": None, "fhirServer": 5, "hookInstance": "no uuid", "fhirAuthorization": [], "extension": "x"}
    call = read(body)
    assert (call.user_id, call.encounter_id, call.fhir_server) == ("", "", "")
    assert set(call.prefetch.gaps.values()) == {Missing(Why.NOT_SENT)}


WRONG_TEXTS: tuple[Any, ...] = (None, "", "  ", 7, True, [], {})


@pytest.mark.parametrize("value", ["absent", *WRONG_TEXTS], ids=repr)
@pytest.mark.parametrize("path", ["hook", "hookInstance", "context.patientId"])
def test_required_text_that_is_missing_empty_or_no_text(path: str, value: Any) -> None:
    body = request(draftOrders=bundle(order()))
    *holder, name = path.split(".")
    target = body[holder[0]] if holder else body
    if value == "absent":
        del target[name]
    else:
        target[name] = value
    error = refusal(body, "cmv-order-sign")
    assert error.field == path
    ending = {"absent": "is missing", "": "is empty", "  ": "is empty"}
    wrong = ending.get(value, "has the wrong type") if isinstance(value, str) else "has the wrong type"
    assert error.detail == f"{path} {wrong}"


@pytest.mark.parametrize("value", [None, "x", 7, [], True], ids=repr)
def test_a_context_that_is_no_object(value: Any) -> None:
    assert refusal(request() | {"context": value}).field == "context"


def test_a_context_that_is_absent() -> None:
    body = request()
    del body["context"]
    assert (refusal(body).field, refusal(body).detail) == ("context", "context is missing")


@pytest.mark.parametrize(
    ("hook", "name", "value", "field"),
    [
        ("order-sign", "draftOrders", [], "context.draftOrders"),
        ("order-sign", "draftOrders", None, "context.draftOrders"),
        ("order-select", "selections", None, "context.selections"),
        ("medication-prescribe", "medications", None, "context.medications"),
        ("order-sign", "draftOrders", "x", "context.draftOrders"),
        ("order-sign", "draftOrders", resource("Patient"), "context.draftOrders"),
        ("order-sign", "draftOrders", {"entry": "x"}, "context.draftOrders.entry"),
        ("order-select", "draftOrders", 7, "context.draftOrders"),
        ("order-select", "selections", "MedicationRequest/1", "context.selections"),
        ("order-select", "selections", ["MedicationRequest/1", 7], "context.selections.1"),
        ("medication-prescribe", "medications", [order()], "context.medications"),
        ("medication-prescribe", "medications", {"entry": 7}, "context.medications.entry"),
        ("medication-verify", "order", "x", "context.order"),
        ("medication-verify", "order", {"resource": [order()]}, "context.order.resource"),
        ("medication-verify", "medication", {"resource": "x"}, "context.medication.resource"),
        ("medication-verify", "medication", resource("Patient"), "context.medication"),
    ],
)
def test_orders_of_the_wrong_type_are_named(hook: str, name: str, value: Any, field: str) -> None:
    assert refusal(request(hook) | {"context": {"patientId": "p", name: value}}).field == field


def test_a_prefetch_that_is_no_object_is_named() -> None:
    assert refusal(request() | {"prefetch": [SECRET]}).field == "prefetch"


def test_the_hook_of_another_service_is_refused() -> None:
    error = refusal(request("patient-view"), "cmv-order-sign")
    assert (error.field, error.detail) == ("hook", "this service answers the hook order-sign only")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"hook": "order-sign"',
        b"[",
        b'"',
        b"\xff{}",
        b"NaN",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 01}',
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": "\x00"}',
        b'{"a": "\\ud800"}',
        b"{} {}",
    ],
)
def test_what_is_no_json_is_said_with_its_place(body: bytes) -> None:
    error = refusal(body)
    assert error.detail.startswith("not JSON: ")
    assert "line 1, column" in error.detail
    assert error.field == ""


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"x"', b"[{}]"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(body).detail == "the body must be a JSON object"


# --------------------------------------------------------------------------------------------------------------------
# A key given twice


def twice(old: str, new: str) -> bytes:
    text = json.dumps(request(draftOrders=bundle(order())))
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"hook":', '"hook": "patient-view", "hook":', ""),
        ('"hookInstance":', '"hookInstance": "x", "hookInstance":', ""),
        ('"context":', '"context": {"patientId": "pat-2"}, "context":', ""),
        ('"context":', '"conte\\u0078t": {"patientId": "pat-2"}, "context":', ""),
        ('{"hook"', '{"prefetch": {}, "prefetch": {}, "hook"', ""),
        ('"patientId":', '"patientId": "pat-2", "patientId":', "context"),
        ('"patientId":', '"patient\\u0049d": "pat-2", "patientId":', "context"),
        ('"id":', '"id": "x", "id":', "context"),
        ('"resource":', '"resource": {}, "resource":', "context"),
    ],
)
def test_a_key_given_twice_in_envelope_or_context_is_refused(old: str, new: str, field: str) -> None:
    error = refusal(twice(old, new))
    assert (error.detail, error.field) == ("a key is given twice", field)


def test_equal_keys_of_different_objects_are_no_twins() -> None:
    context = {"context": {"patientId": "x"}, "hook": "y", "prefetch": "\u00e9"}
    body = request(draftOrders=bundle(order("a"), order("b")), nested=context) | {"prefetch": {"mine": context}}
    assert ids(read(body).orders) == ["a", "b"]


# --------------------------------------------------------------------------------------------------------------------
# Depth and number


def naive_depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(naive_depth, children), default=0)


tricky = st.text(st.sampled_from('[]{}"\\/u0022\n ,:é'), max_size=8)
values = st.recursive(
    st.one_of(st.none(), st.integers(), tricky),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(tricky, inner, max_size=4)),
    max_leaves=25,
)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(value=values, wrap=st.integers(0, 12), limit=st.integers(0, 14), escaped=st.booleans())
def test_depth_is_that_of_a_walk_over_the_values(value: Any, wrap: int, limit: int, escaped: bool) -> None:
    for i in range(wrap):
        value = [value] if i % 2 else {"]": value, "}": '"['}
    body = json.dumps(value, ensure_ascii=escaped).encode()
    assert _too_deep(body, limit) == (naive_depth(value) > limit)


def nested(depth: int) -> Json:
    """A request whose deepest value is at that depth."""
    body = request()
    value: Any = "]]}}" * 50
    for _ in range(depth - 1):
        value = [value]
    return body | {"extra": value}


def test_the_limit_of_the_depth_itself_is_allowed() -> None:
    assert read(nested(64)).patient_id == "pat-1"
    assert refusal(nested(65)).detail == "nested deeper than 64 levels"


def test_the_number_of_entries_is_limited() -> None:
    body = request(draftOrders=bundle(order("a"), order("b")))
    body["prefetch"] = {"kidney": bundle(*(resource("Observation", str(i)) for i in range(3)))}
    assert len(read(body, max_entries=5).prefetch.resources) == 3
    with pytest.raises(TooLarge) as caught:
        read(body, max_entries=4)
    assert caught.value.field == "prefetch"


def test_drafts_that_are_context_count_as_entries() -> None:
    body = request("order-select", draftOrders=bundle(order("a"), order("b"), order("c")), selections=["a"])
    assert len(read(body, max_entries=3).drafts) == 2
    with pytest.raises(TooLarge):
        read(body, max_entries=2)


# --------------------------------------------------------------------------------------------------------------------
# Which orders are judged


def test_every_draft_is_judged_at_signing() -> None:
    beside = resource("ServiceRequest", "lab"), resource("MedicationStatement", "taken")
    call = read(request(draftOrders=bundle(order("a"), *beside, order("b"))))
    assert (ids(call.orders), call.drafts) == (["a", "b"], ())


def test_every_order_is_judged_at_prescribing() -> None:
    body = request("medication-prescribe", medications=bundle(order("a", "MedicationOrder"), order("b")))
    assert ids(read(body).orders) == ["a", "b"]


@pytest.mark.parametrize(
    "selection",
    ["a", "MedicationRequest/a", "https://ehr.example.org/r4/MedicationRequest/a", "MedicationRequest/a/_history/2"],
)
def test_a_selection_with_or_without_type_names_the_order(selection: str) -> None:
    body = request("order-select", draftOrders=bundle(order("a"), order("b")), selections=[selection])
    call = read(body)
    assert (ids(call.orders), ids(call.drafts)) == (["a"], ["b"])


@pytest.mark.parametrize(
    ("selections", "lost"),
    [
        (["MedicationRequest/a"], False),
        (["ServiceRequest/a"], False),
        (["urn:uuid:7"], False),
        (["MedicationRequest/a", "MedicationRequest/z"], False),
        (["MedicationRequest/z"], True),
        (["DeviceRequest/a"], True),
        ([""], False),
        ([], False),
    ],
)
def test_a_selection_that_names_nothing_is_noticed(selections: list[str], lost: bool) -> None:
    drafts = bundle(order("a"), resource("ServiceRequest") | {"id": "a"})
    drafts["entry"].append({"fullUrl": "urn:uuid:7", "resource": order("b")})
    assert read(request("order-select", draftOrders=drafts, selections=selections)).selection_lost is lost


def test_a_selection_may_name_the_full_url_of_an_entry() -> None:
    without_id = {name: value for name, value in order("b").items() if name != "id"}
    drafts = {"resourceType": "Bundle", "entry": [{"fullUrl": "urn:uuid:7", "resource": without_id}]}
    assert read(request("order-select", draftOrders=drafts, selections=["urn:uuid:7"])).orders == (without_id,)


@pytest.mark.parametrize("selections", [[], ["MedicationRequest/z"], [""], ["ServiceRequest/a"]])
def test_without_a_selection_every_draft_is_context(selections: Any) -> None:
    call = read(request("order-select", draftOrders=bundle(order("a")), selections=selections))
    assert (call.orders, ids(call.drafts)) == ((), ["a"])


@pytest.mark.parametrize("hook", [service.hook for service in SERVICES])
def test_without_orders_there_is_nothing_to_judge(hook: str) -> None:
    call = read(request(hook))
    assert (call.orders, call.drafts) == ((), ())


def test_patient_view_judges_no_order_of_the_context() -> None:
    assert read(request("patient-view", draftOrders=bundle(order()))).orders == ()


@pytest.mark.parametrize(
    "context",
    [
        {"medication": order()},
        {"order": order()},
        {"order": {"resource": order()}},
        {"medication": {"resource": order()}},
        {"order": bundle(order())},
        {"order": {"resource": bundle(order())}},
        {"medication": bundle(order(), resource("Medication"))},
        {"medication": order(), "order": {"resource": order()}},
        {"medication": resource("Medication") | {"resourceType": "Bundle", "entry": {"resource": order()}}},
    ],
)
def test_every_place_of_the_order_to_verify(context: Json) -> None:
    assert ids(read(request("medication-verify", **context)).orders) == ["draft-1"]


def test_different_orders_in_both_places_are_both_verified() -> None:
    body = request("medication-verify", medication=order("a"), order={"resource": order("b")})
    assert ids(read(body).orders) == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [
        bundle(order()),
        {"entry": [{"resource": order()}]},
        {"resourceType": "Bundle", "entry": {"resource": order()}},
        order(),
        bundle(order()) | {"entry": [7, None, {}, {"resource": 7}, {"resource": {}}, {"resource": order()}]},
    ],
)
def test_drafts_in_any_form_are_found(value: Json) -> None:
    assert ids(read(request(draftOrders=value)).orders) == ["draft-1"]


@pytest.mark.parametrize("value", [{}, {"resourceType": "Bundle"}, bundle() | {"entry": None}, bundle()])
def test_an_empty_bundle_of_drafts_is_nothing_to_judge(value: Any) -> None:
    assert read(request(draftOrders=value)).orders == ()


def test_medications_are_found_by_id_and_by_full_url() -> None:
    drug = resource("Medication", "m-1")
    beside = bundle(order(), drug)
    beside["entry"][1]["fullUrl"] = "urn:uuid:77"
    body = request(draftOrders=beside) | {"prefetch": {"drugs": resource("Medication", "m-2")}}
    assert {"Medication/m-1", "urn:uuid:77", "Medication/m-2"} <= set(read(body).medications)


# --------------------------------------------------------------------------------------------------------------------
# Prefetch: five states that are kept apart

OUTCOME: Json = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
EMPTY: Json = {"resourceType": "Bundle", "type": "searchset", "total": 0}


def outcome_entry(*severities: str) -> Json:
    issues = [{"severity": severity, "code": "not-found"} for severity in severities]
    outcome = {"resourceType": "OperationOutcome", "issue": issues}
    return {"resourceType": "Bundle", "entry": [{"resource": outcome, "search": {"mode": "outcome"}}]}


def wrapped(value: Any, status: str = "200 OK") -> Json:
    return {"response": {"status": status}, "resource": value}


SENT: Json = bundle(resource("Observation"))

STATES: dict[str, tuple[Any, Why | None]] = {
    "null": (None, Why.NONE_ON_FILE),
    "an empty Bundle": (EMPTY, Why.NONE_ON_FILE),
    "an empty Bundle with entries": (EMPTY | {"entry": []}, Why.NONE_ON_FILE),
    "a Bundle without type": ({"resourceType": "Bundle"}, Why.NONE_ON_FILE),
    "an outcome entry that warns": (outcome_entry("warning"), Why.NONE_ON_FILE),
    "an outcome entry for information": (outcome_entry("information"), Why.NONE_ON_FILE),
    "an outcome entry that failed": (outcome_entry("error"), Why.FETCH_FAILED),
    "an outcome entry that failed for good": (outcome_entry("fatal"), Why.FETCH_FAILED),
    "an outcome entry that warns and failed": (outcome_entry("warning", "error"), Why.FETCH_FAILED),
    "a bare outcome": (OUTCOME, Why.FETCH_FAILED),
    "a bare outcome that warns": (outcome_entry("warning")["entry"][0]["resource"], Why.FETCH_FAILED),
    "a bare outcome without issues": ({"resourceType": "OperationOutcome"}, Why.FETCH_FAILED),
    "a wrapper with data": (wrapped(SENT), None),
    "a wrapper with null": (wrapped(None), Why.NONE_ON_FILE),
    "a wrapper with an empty Bundle": (wrapped(EMPTY), Why.NONE_ON_FILE),
    "a wrapper with an outcome": (wrapped(OUTCOME), Why.FETCH_FAILED),
    "a wrapper that failed": (wrapped(None, "404 Not Found"), Why.FETCH_FAILED),
    "a wrapper that failed with data": (wrapped(SENT, "500"), Why.FETCH_FAILED),
    "a wrapper without status": ({"response": {}, "resource": SENT}, None),
    "a wrapper with odd response": ({"response": "x", "resource": SENT}, None),
    "text": ("x", Why.UNUSABLE),
    "a number": (7, Why.UNUSABLE),
    "false": (False, Why.UNUSABLE),
    "a list": ([SENT], Why.UNUSABLE),
    "an object that is no resource": ({"a": 1}, Why.UNUSABLE),
    "an empty object": ({}, Why.UNUSABLE),
    "a resource type that is no text": ({"resourceType": 7}, Why.UNUSABLE),
    "a Bundle whose entries are text": (EMPTY | {"entry": "x"}, Why.UNUSABLE),
    "a Bundle of nothing readable": (EMPTY | {"entry": [None, 7, {}]}, Why.UNUSABLE),
    "data of another kind": (bundle(resource("Condition")), Why.UNUSABLE),
    "one resource": (resource("Observation"), None),
    "a Bundle": (SENT, None),
    "a Bundle with one entry not in an array": (EMPTY | {"entry": SENT["entry"][0]}, None),
    "a Bundle with data and a warning": (
        bundle(resource("Observation"), outcome_entry("warning")["entry"][0]["resource"]),
        None,
    ),
}


def why(gap: Missing | None) -> Why | None:
    return gap.why if gap else None


@pytest.mark.parametrize("state", STATES)
def test_states_of_a_known_key(state: str) -> None:
    value, expected = STATES[state]
    found = prefetch(kidney=value)
    assert why(found.gaps["kidney"]) == expected
    assert {why(found.gaps[key]) for key in PUBLISHED_KEYS if key not in ("kidney", "conditions")} == {Why.NOT_SENT}
    unreadable = expected is Why.UNUSABLE and state != "data of another kind"
    assert [key for key, _ in found.unreadable] == (["kidney"] if unreadable else [])
    assert found.incomplete == frozenset()


@pytest.mark.parametrize("state", STATES)
def test_states_of_all_observations_at_once(state: str) -> None:
    value, expected = STATES[state]
    found = prefetch(observations=value)
    assert {why(found.gaps[group]) for group in OBSERVATION_GROUPS} == {expected}
    assert {why(found.gaps[key]) for key in ("patient", "medications", *EVENT_KEYS.values())} == {Why.NOT_SENT}


@pytest.mark.parametrize("state", STATES)
def test_an_unknown_key_says_nothing_but_by_the_data_under_it(state: str) -> None:
    value, expected = STATES[state]
    found = prefetch(mine=value)
    assert {why(found.gaps[group]) for group in OBSERVATION_GROUPS} == {Why.NOT_SENT if expected else None}
    assert found.unreadable == ()


@pytest.mark.parametrize("state", STATES)
def test_a_mapped_key_is_the_key_it_is_mapped_to(state: str) -> None:
    value, _ = STATES[state]
    assert prefetch({"mine": "kidney"}, mine=value) == prefetch(kidney=value)


def test_a_key_that_is_absent_was_not_sent() -> None:
    found = prefetch()
    assert dict(found.gaps) == dict.fromkeys(PUBLISHED_KEYS, Missing(Why.NOT_SENT))
    assert found.patient == Missing(Why.NOT_SENT)


NEXT = [{"relation": "self", "url": "x"}, {"relation": "next", "url": "y"}]


@pytest.mark.parametrize(
    ("value", "incomplete"),
    [
        (SENT | {"link": NEXT}, {"kidney"}),
        (SENT | {"link": NEXT[:1]}, set()),
        (SENT | {"link": "x"}, set()),
        (SENT | {"link": [7, None]}, set()),
        (bundle(resource("Observation"), OUTCOME), {"kidney"}),  # part of the search failed
    ],
)
def test_a_next_page_or_a_failed_part_is_data_that_is_incomplete(value: Json, incomplete: set[str]) -> None:
    assert prefetch(kidney=value).incomplete == incomplete


def test_an_empty_first_page_does_not_mean_none_on_file() -> None:
    found = prefetch(kidney=EMPTY | {"link": NEXT})
    assert found.gaps["kidney"] == Missing(Why.NOT_SENT, "only an empty first page was sent")


def test_a_next_page_under_an_unknown_key_concerns_all_that_it_may_hold() -> None:
    found = prefetch(mine=bundle(resource("Observation"), resource("Condition")) | {"link": NEXT})
    assert found.incomplete == {*OBSERVATION_GROUPS, "conditions"}


@pytest.mark.parametrize("kind", EVENT_KEYS)
def test_a_resource_is_known_by_its_type_and_not_by_its_key(kind: str) -> None:
    found = prefetch(mine=bundle(resource(kind)))
    assert [r["resourceType"] for r in found.resources] == [kind]
    assert [key for key in PUBLISHED_KEYS if found.gaps[key] is None] == [EVENT_KEYS[kind]]


@pytest.mark.parametrize("kind", ["MedicationRequest", "MedicationOrder", "MedicationStatement"])
def test_every_kind_of_order_is_the_medication_list(kind: str) -> None:
    assert prefetch(mine=bundle(resource(kind))).gaps["medications"] is None
    assert prefetch(medications=bundle(resource(kind))).gaps["medications"] is None


def test_kinds_that_are_not_read_change_nothing() -> None:
    found = prefetch(mine=bundle(resource("Immunization")))
    assert set(found.gaps.values()) == {Missing(Why.NOT_SENT)}


@pytest.mark.parametrize(
    "values",
    [
        {"patient": resource("Patient", "pat-1")},
        {"patient": bundle(resource("Patient", "pat-1"))},
        {"mine": resource("Patient", "pat-1")},
        {"kidney": bundle(resource("Observation"), resource("Patient", "pat-1"))},
        {"patient": wrapped(resource("Patient", "pat-1"))},
    ],
)
def test_the_patient_is_found_wherever_it_stands(values: Json) -> None:
    found = prefetch(**values)
    assert found.patient == resource("Patient", "pat-1")
    assert found.gaps["patient"] is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, Why.NONE_ON_FILE), (OUTCOME, Why.FETCH_FAILED), ("x", Why.UNUSABLE), (SENT, Why.UNUSABLE)],
)
def test_a_patient_that_did_not_come_says_why(value: Any, expected: Why) -> None:
    found = prefetch(patient=value)
    assert isinstance(found.patient, Missing)
    assert found.patient.why is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (SENT, None, None),
        (SENT, OUTCOME, None),
        (None, OUTCOME, Why.FETCH_FAILED),
        (None, "x", Why.UNUSABLE),
        (OUTCOME, EMPTY, Why.FETCH_FAILED),
        ("x", EMPTY, Why.UNUSABLE),
        (EMPTY, None, Why.NONE_ON_FILE),
    ],
)
def test_two_keys_for_one_group(first: Any, second: Any, expected: Why | None) -> None:
    """Data count; a failure is not undone by an empty answer, whichever comes first."""
    for values in ({"kidney": first, "mine": second}, {"mine": second, "kidney": first}):
        assert why(prefetch({"mine": "kidney"}, **values).gaps["kidney"]) == expected
    for values in ({"kidney": first, "observations": second}, {"observations": second, "kidney": first}):
        assert why(prefetch(**values).gaps["kidney"]) == expected


def test_results_of_two_keys_are_all_used() -> None:
    found = prefetch(
        {"mine": "kidney"},
        kidney=bundle(resource("Observation", "a")),
        mine=bundle(resource("Observation", "b")),
        observations=bundle(resource("Observation", "c")),
    )
    assert ids(found.resources) == ["a", "b", "c"]


def test_reading_changes_nothing_of_the_request() -> None:
    body = request(draftOrders=bundle(order())) | {"prefetch": {"kidney": SENT, "mine": outcome_entry("error")}}
    before = deepcopy(body)
    read(body)
    assert body == before


# --------------------------------------------------------------------------------------------------------------------
# Feedback


def feedback(*entries: Any) -> tuple[FeedbackEntry, ...]:
    return read_feedback(json.dumps({"feedback": list(entries)}).encode())


def test_an_accepted_card() -> None:
    (entry,) = feedback(
        {
            "card": "c-1",
            "outcome": "accepted",
            "acceptedSuggestions": [{"id": "s-1"}, {"id": None}, {}],
            "outcomeTimestamp": "2026-11-21T10:00:00Z",
        }
    )
    assert entry == FeedbackEntry("c-1", "accepted", "2026-11-21T10:00:00Z", (), "", ("s-1",))


REASON = {"reason": {"code": "intended", "system": "urn:x", "display": "Intended"}, "userComment": "agreed"}


@pytest.mark.parametrize(
    "override", [{"overrideReason": REASON}, {"overrideReasons": REASON}, {"overrideReasons": [REASON]}]
)
def test_an_overridden_card_in_every_vendors_form(override: Json) -> None:
    (entry,) = feedback({"card": "c-1", "outcome": "overridden"} | override)
    assert entry.reasons == (("intended", "urn:x", "Intended"),)
    assert entry.comment == "agreed"


@pytest.mark.parametrize(
    ("override", "reasons", "comment"),
    [
        ({}, 0, ""),
        ({"overrideReason": None}, 0, ""),
        ({"overrideReason": {"userComment": "why not"}}, 0, "why not"),
        ({"overrideReason": {"reason": {"code": "x"}}}, 1, ""),
        ({"overrideReasons": [REASON, {"userComment": "and more"}]}, 1, "agreed; and more"),
        ({"overrideReasons": []}, 0, ""),
        ({"overrideReasons": [REASON], "overrideReason": REASON}, 1, "agreed"),  # told twice, counted once
        ({"overrideReasons": [REASON["reason"]]}, 1, ""),  # the bare Coding
        ({"overrideReason": {"reason": {"coding": [{"code": "a"}, {"code": "b"}], "text": "t"}}}, 2, ""),
        ({"overrideReason": {"reason": [{"code": "a"}, {"code": "b"}]}}, 2, ""),
        ({"overrideReasons": [{"extension": {"com.example.reason": "x"}}]}, 0, ""),
        ({"overrideReasons": [{"reason": {"code": None, "display": "seven"}}]}, 1, ""),
    ],
)
def test_parts_of_an_override_may_be_absent(override: Json, reasons: int, comment: str) -> None:
    (entry,) = feedback({"card": "c-1", "outcome": "overridden"} | override)
    assert (len(entry.reasons), entry.comment) == (reasons, comment)


@pytest.mark.parametrize(
    "when", ["", None, "2026-11-21T10:00:00Z", "2026-11-21T10:00:00.123+01:00", "2026-11-21T10:00"]
)
def test_when_it_became_of_a_card_in_every_form(when: str | None) -> None:
    assert feedback({"outcome": "accepted", "outcomeTimestamp": when})[0].at == (when or "")


@pytest.mark.parametrize("entry", [{}, {"card": None}, {"card": "", "extra": 1}])
def test_an_entry_without_a_card_is_read_all_the_same(entry: Json) -> None:
    assert feedback({"outcome": "accepted"} | entry)[0].card == ""


def test_nothing_of_an_entry_is_more_than_a_database_takes() -> None:
    reason = {"reason": {"code": "a\0", "system": "\0", "display": "\0"}, "userComment": "b\0c"}
    (entry,) = feedback({"card": "c\0", "outcome": "overridden", "overrideReason": reason})
    assert "\\x00" not in repr(entry)
    assert entry.comment == "b\ufffdc"


def test_several_entries_keep_their_order() -> None:
    assert [entry.card for entry in feedback(*({"card": c, "outcome": "accepted"} for c in "abc"))] == ["a", "b", "c"]


NO_MOMENTS: tuple[Any, ...] = (
    *("soon", "2026-11-21", "21.11.2026 10:00", "2026-13-01T10:00:00Z"),
    *(1763719200, True, []),
)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "feedback"),
        ({"feedback": []}, "feedback"),
        ({"feedback": "x"}, "feedback"),
        ({"feedback": [7]}, "feedback.0"),
        ({"feedback": [{"card": "c"}]}, "feedback.0.outcome"),
        ({"feedback": [{"outcome": "accepted"}, {"outcome": "ignored"}]}, "feedback.1.outcome"),
        ({"feedback": [{"outcome": "accepted", "acceptedSuggestions": "s"}]}, "feedback.0.acceptedSuggestions"),
        ({"feedback": [{"outcome": "overridden", "overrideReason": "x"}]}, "feedback.0.overrideReason"),
        ({"feedback": [{"outcome": "accepted", "card": 7}]}, "feedback.0.card"),
        ({"feedback": [{"outcome": 7}]}, "feedback.0.outcome"),
        (
            {"feedback": [{"outcome": "accepted", "acceptedSuggestions": [{"id": 7}]}]},
            "feedback.0.acceptedSuggestions.0.id",
        ),
        *(
            ({"feedback": [{"outcome": "accepted", "outcomeTimestamp": when}]}, "feedback.0.outcomeTimestamp")
            for when in NO_MOMENTS
        ),
        ([], ""),
        (7, ""),
    ],
)
def test_malformed_feedback_is_named_by_its_field(body: Any, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_feedback(json.dumps(body).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b"\xff"])
def test_feedback_that_is_no_json(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^not JSON: .* at line 1, column"):
        read_feedback(body)
