"""Every field that is read, of every type of resource, with values that make no sense: never silent, never a failure.

A table that is made of the types and fields: the answer is a 200, the other checks run, and a dataQuality card names
resource and field. The same resource with sound values gets no such card.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from conftest import ClientOn
from scenario import PATIENT, STRANGER, Json, bundle

TODAY = date(2026, 11, 21)
RXNORM, LOINC, SNOMED = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://loinc.org", "http://snomed.info/sct"
OURS = {"reference": f"Patient/{PATIENT}"}
CODE: Json = {"coding": [{"system": SNOMED, "code": "38341003", "display": "Hypertension"}]}


def result(identifier: str, code: str, value: float, unit: str) -> Json:
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": OURS,
        "effectiveDateTime": "2026-11-20",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }


def request() -> Json:
    draft: Json = {
        "resourceType": "MedicationRequest",
        "id": "order-1",
        "status": "draft",
        "intent": "order",
        "subject": OURS,
        "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": "313566", "display": "valganciclovir"}]},
        "reasonCode": [{"text": "Treatment of CMV colitis"}],
        "authoredOn": "2026-11-21",
        "note": [{"text": "started today"}],
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": 1, "period": 12, "periodUnit": "h"}},
                "route": {"coding": [{"system": SNOMED, "code": "26643006"}]},
                "doseAndRate": [{"doseQuantity": {"value": 900, "unit": "mg"}}],
            }
        ],
    }
    event: Json = {"id": "e-1", "subject": OURS, "code": CODE}
    return {
        "hook": "order-sign",
        "hookInstance": "3b8f7f0e-7d0a-4c59-9d0a-0a5a1f1f6c11",
        "context": {"patientId": PATIENT, "userId": "Practitioner/1", "draftOrders": bundle([draft], "collection")},
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": PATIENT, "gender": "male", "birthDate": "1981-02-11"},
            "kidney": bundle([result("creatinine", "2160-0", 0.9, "mg/dL"), result("weight", "29463-7", 70, "kg")]),
            "counts": bundle(
                [
                    result("anc", "751-8", 3.2, "10*3/uL"),
                    result("platelets", "777-3", 210, "10*3/uL"),
                    result("hb", "718-7", 13, "g/dL"),
                ]
            ),
            "virology": bundle([result("load", "72493-0", 12000, "[IU]/mL")]),
            "conditions": bundle([event | {"resourceType": "Condition", "clinicalStatus": "active"}]),
            "procedures": bundle([event | {"resourceType": "Procedure", "status": "completed"}]),
            "allergies": bundle([{"resourceType": "AllergyIntolerance", "id": "e-1", "patient": OURS, "code": CODE}]),
            "reports": bundle([event | {"resourceType": "DiagnosticReport", "status": "final"}]),
            "medications": bundle(
                [
                    {
                        "resourceType": "MedicationRequest",
                        "id": "m-1",
                        "status": "active",
                        "intent": "order",
                        "subject": OURS,
                        "medicationCodeableConcept": {"text": "paracetamol 500 mg"},
                    }
                ]
            ),
            **dict.fromkeys(("electrolytes", "levels", "pregnancy")),
        },
    }


PLACES = {  # name in a card -> where it stands in the request
    "Patient/pat-1": ("prefetch", "patient"),
    "Observation/creatinine": ("prefetch", "kidney", "entry", 0, "resource"),
    "Observation/anc": ("prefetch", "counts", "entry", 0, "resource"),
    "Condition/e-1": ("prefetch", "conditions", "entry", 0, "resource"),
    "Procedure/e-1": ("prefetch", "procedures", "entry", 0, "resource"),
    "AllergyIntolerance/e-1": ("prefetch", "allergies", "entry", 0, "resource"),
    "DiagnosticReport/e-1": ("prefetch", "reports", "entry", 0, "resource"),
    "MedicationRequest/m-1": ("prefetch", "medications", "entry", 0, "resource"),
    "MedicationRequest/order-1": ("context", "draftOrders", "entry", 0, "resource"),
}
FIELDS = {
    "Patient": "birthDate gender",
    "Observation": "status code effectiveDateTime issued valueQuantity subject component",
    "Condition": "code clinicalStatus verificationStatus onsetDateTime abatementDateTime subject",
    "Procedure": "code status performedDateTime performedPeriod subject",
    "AllergyIntolerance": "code clinicalStatus verificationStatus reaction patient",
    "DiagnosticReport": "code status effectiveDateTime issued conclusion subject",
    "MedicationRequest": "status intent authoredOn medicationCodeableConcept reasonCode note",
}
NO_DATES = ("birthDate", "effectiveDateTime", "issued", "onsetDateTime", "abatementDateTime", "performedDateTime")
NAMELESS: tuple[Any, ...] = ("", [], {}, None)  # a code that says nothing; of any other field it counts as not sent


def spoilt() -> Iterator[tuple[str, str, Any]]:
    for named in PLACES:
        for field in FIELDS[named.partition("/")[0]].split():
            values: list[Any] = [5, [1], True]
            values += ["soon", "2026-13-45", {"x": 1}] if field.startswith(NO_DATES) else []
            values += [{"value": "abc"}, {"value": [1]}, "0.9"] if field == "valueQuantity" else []
            named_by_code = field == "code" and not named.startswith("DiagnosticReport")
            values += [*NAMELESS, {"coding": 5}] if named_by_code else []
            yield from ((named, field, value) for value in values)


def told(client_on: ClientOn, body: Json) -> str:
    """The words of the dataQuality cards."""
    answer = client_on(TODAY).post(f"/cds-services/cmv-{body['hook']}", json=body)
    assert answer.status_code == 200
    cards = answer.get_json()["cards"]
    found = (card for card in cards if card["source"]["topic"]["code"] == "dataQuality")
    return "\n".join(f"{card['summary']}\n{card['detail']}" for card in found)


def resource_at(body: Json, place: tuple[str | int, ...]) -> Any:
    found: Any = body
    for step in place:
        found = found[step]
    return found


def test_sound_values_get_no_card(client_on: ClientOn) -> None:
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=request())
    assert answer.get_json() == {"cards": []}


@pytest.mark.parametrize(("named", "field", "value"), list(spoilt()), ids=lambda part: str(part)[:24])
def test_a_value_without_sense_is_named_with_its_field(named: str, field: str, value: Any, client_on: ClientOn) -> None:
    body = request()
    resource_at(body, PLACES[named])[field] = value
    said = told(client_on, body)
    assert named in said
    assert field in said


@pytest.mark.parametrize("field", ["status", "issued", "subject", "id", "specimen", "performer"])
@pytest.mark.parametrize("value", NAMELESS)
def test_an_empty_field_counts_as_not_sent(field: str, value: Any, client_on: ClientOn) -> None:
    body = request()
    resource_at(body, PLACES["Observation/creatinine"])[field] = value
    assert told(client_on, body) == ""


def test_an_order_whose_drug_makes_no_sense_is_named(client_on: ClientOn) -> None:
    body = request()
    resource_at(body, PLACES["MedicationRequest/order-1"])["medicationCodeableConcept"] = {"coding": 5}
    assert "medicationCodeableConcept cannot be read" in told(client_on, body)


@pytest.mark.parametrize("drug", [None, {}, {"coding": []}])
def test_an_order_without_a_drug_is_none_of_ours(drug: Any, client_on: ClientOn) -> None:
    body = request()
    resource_at(body, PLACES["MedicationRequest/order-1"])["medicationCodeableConcept"] = drug
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=body)
    assert answer.get_json() == {"cards": []}


def test_a_result_that_cannot_be_read_is_not_a_result_that_is_not_there(client_on: ClientOn) -> None:
    body = request()
    resource_at(body, PLACES["Observation/creatinine"])["code"] = []
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=body).get_json()
    said = " ".join(card["summary"] + card["detail"] for card in answer["cards"])
    assert "no serum creatinine on file" not in said
    assert "no usable serum creatinine" in said


def test_many_odd_entries_do_not_fill_pages(client_on: ClientOn) -> None:
    body = request()
    body["prefetch"]["conditions"] = bundle(
        [{"resourceType": "Condition", "id": f"c-{i}", "subject": OURS} for i in range(50)]
    )
    said = told(client_on, body)
    assert "38 more like these" in said


# --------------------------------------------------------------------------------------------------------------------
# Another patient's

OTHERS: list[Any] = [
    {"reference": f"Patient/{STRANGER}"},
    {"reference": STRANGER},
    {"reference": f"https://ehr.example.org/r4/Patient/{STRANGER}"},
    {"reference": f"Patient/{STRANGER}/_history/2"},
    {"reference": f"urn:uuid:{STRANGER}"},
    {"reference": "#contained"},
    {"reference": "Group/7"},
    {"identifier": {"system": "urn:mrn", "value": "77"}},
    f"Patient/{STRANGER}",
]
MEANT: list[Any] = [
    OURS,
    {"reference": PATIENT},
    {"reference": f"https://ehr.example.org/r4/Patient/{PATIENT}"},
    {"reference": f"Patient/{PATIENT}/_history/2"},
    {"reference": f"urn:uuid:{PATIENT}"},
    f"Patient/{PATIENT}",
]
ENTRIES = {  # what of each type would change the answer, were it this patient's
    "allergies": {"resourceType": "AllergyIntolerance", "id": "s-1", "code": {"text": "Allergy to ganciclovir"}},
    "conditions": {"resourceType": "Condition", "id": "s-1", "code": {"text": "Dependence on haemodialysis"}},
    "procedures": {
        "resourceType": "Procedure",
        "id": "s-1",
        "status": "completed",
        "performedDateTime": "2026-11-20",
        "code": {"text": "Haemodialysis"},
    },
    "medications": {
        "resourceType": "MedicationRequest",
        "id": "s-1",
        "status": "active",
        "medicationCodeableConcept": {"text": "ganciclovir 500 mg injection"},
    },
    "counts": result("s-1", "751-8", 0.2, "10*3/uL") | {"effectiveDateTime": "2026-11-21"},
    "reports": {
        "resourceType": "DiagnosticReport",
        "id": "s-1",
        "status": "final",
        "effectiveDateTime": "2026-11-20",
        "code": {"coding": [{"system": LOINC, "code": "72852-7"}]},
        "conclusion": "UL97 A594V detected",
    },
}


def beside(key: str, subject: Any, name: str) -> Json:
    body = request()
    body["prefetch"][key]["entry"].append({"resource": {**ENTRIES[key], "subject": None, name: subject}})
    return body


@pytest.mark.parametrize("name", ["subject", "patient"])
@pytest.mark.parametrize("subject", OTHERS, ids=str)
@pytest.mark.parametrize("key", ENTRIES)
def test_data_of_another_patient_are_named_and_never_used(
    key: str, subject: Any, name: str, client_on: ClientOn
) -> None:
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=beside(key, subject, name)).get_json()
    (card,) = answer["cards"]
    assert card["source"]["topic"]["code"] == "dataQuality"
    assert card["indicator"] == "warning"
    assert "another patient" in card["detail"]
    assert not any(word in str(card) for word in ("anciclovir 500", "aemodialysis", "A594V", "0.2", "llergy to"))


@pytest.mark.parametrize("subject", MEANT, ids=str)
@pytest.mark.parametrize("key", ENTRIES)
def test_the_same_data_of_this_patient_are_used(key: str, subject: Any, client_on: ClientOn) -> None:
    body = beside(key, subject, "patient" if key == "allergies" else "subject")
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=body).get_json()
    assert {card["source"]["topic"]["code"] for card in answer["cards"]} - {"dataQuality"}


@pytest.mark.parametrize("key", ["patient", "conditions"])
@pytest.mark.parametrize("first", [True, False])
def test_the_patient_of_the_call_is_found_beside_another(key: str, first: bool, client_on: ClientOn) -> None:
    body = request()
    other = {"resourceType": "Patient", "id": STRANGER, "gender": "female", "birthDate": "2020-01-01"}
    if key == "patient":
        pair = [other, body["prefetch"]["patient"]]
        body["prefetch"]["patient"] = bundle(pair if first else pair[::-1])
    else:
        body["prefetch"]["conditions"]["entry"].append({"resource": other})
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=body).get_json()
    (card,) = answer["cards"]
    assert "is not the patient of this call" in card["detail"]


def test_a_draft_of_another_patient_beside_ours_is_named(client_on: ClientOn) -> None:
    body = request()
    stranger = {"reference": f"Patient/{STRANGER}"}
    beside_it = {"resourceType": "MedicationRequest", "id": "o-2", "subject": stranger}
    body["context"]["draftOrders"]["entry"].append(
        {"resource": beside_it | {"medicationCodeableConcept": {"text": "imipenem 500 mg"}}}
    )
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=body).get_json()
    (card,) = answer["cards"]
    assert "1 entry of the drafts of another patient" in card["detail"]


def test_the_chart_of_a_patient_with_the_therapy_of_another_says_so_and_names_no_drug(client_on: ClientOn) -> None:
    body = request()
    entry = ENTRIES["medications"] | {"subject": {"reference": f"Patient/{STRANGER}"}}
    body |= {"hook": "patient-view", "context": {"patientId": PATIENT, "userId": "Practitioner/1"}}
    body["prefetch"]["medications"] = bundle([entry])
    answer = client_on(TODAY).post("/cds-services/cmv-patient-view", json=body).get_json()
    (card,) = answer["cards"]
    assert "another patient" in card["summary"]
    assert "anciclovir" not in str(card)


# --------------------------------------------------------------------------------------------------------------------
# A panel


@pytest.mark.parametrize(("count", "topics"), [(0.3, {"toxicity"}), (3.2, set())])
def test_a_component_of_a_panel_is_a_result(count: float, topics: set[str], client_on: ClientOn) -> None:
    body = request()
    whole = resource_at(body, PLACES["Observation/anc"])
    part = {"code": whole["code"], "valueQuantity": {"value": count, "unit": "10*3/uL"}}
    panel = {"code": {"coding": [{"system": LOINC, "code": "58410-2", "display": "CBC panel"}]}, "component": [part]}
    body["prefetch"]["counts"]["entry"][0]["resource"] = {
        k: v for k, v in whole.items() if k != "valueQuantity"
    } | panel
    answer = client_on(TODAY).post("/cds-services/cmv-order-sign", json=body).get_json()
    assert {card["source"]["topic"]["code"] for card in answer["cards"]} == topics
