"""The public CDS Hooks Sandbox as a client: its requests as it makes them, over HTTP to the running service.

Shapes as in its source, cds-hooks/sandbox 3b7e255 (2026-03-31). Its own private key is public; one made here stands
for it.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import orjson
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from test_http import Running
from tokens import Issuer, key_set, now

PAGE = "http://localhost:8080"
SANDBOX = Issuer(
    "https://sandbox.cds-hooks.org",
    "44823f3d-0b01-4a6c-a80e-b9d3e8a7226f",
    ec.generate_private_key(ec.SECP384R1()),
)
JKU = "https://sandbox.cds-hooks.org/.well-known/jwks.json"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
VALGANCICLOVIR = ("313566", "valganciclovir 450 MG Oral Tablet")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "keys.json").write_bytes(key_set(SANDBOX))
    (folder / "cds.toml").write_text(
        f"""
        [[clients]]
        name = "Sandbox"
        iss = "{SANDBOX.iss}"
        algorithms = ["ES384"]
        jwks_file = "keys.json"
        profile = "sandbox"
        cors_origins = ["{PAGE}"]
        """,
        encoding="utf-8",
    )
    running = Running(folder, "--config", "cds.toml", "--today", "2026-11-21")
    yield running
    running.end()


@pytest.fixture(scope="module")
def services(service: Running) -> list[Json]:
    """What the sandbox keeps of the discovery URL that its user typed, with the slash at the end."""
    url = f"{service.base}/cds-services/"
    token = SANDBOX.token(url, now(), {"jku": JKU})
    answer = requests.get(
        url,
        headers={"Origin": PAGE, "Accept": "application/json", "Authorization": f"Bearer {token}"},
        timeout=10,
        allow_redirects=False,
    )
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    found: list[Json] = answer.json()["services"]
    return [entry | {"url": f"{url}/{entry['id']}"} for entry in found]


def preflight(url: str) -> None:
    """What the browser asks first: without a token, and a redirect would end it."""
    answer = requests.options(
        url,
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
        timeout=10,
        allow_redirects=False,
    )
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "content-type"} <= allowed


def send(url: str, body: Json, status: int = 200) -> Json:
    """A POST of the browser, with the token of the sandbox for exactly that URL."""
    preflight(url)
    token = SANDBOX.token(url, now(), {"jku": JKU})
    answer = requests.post(
        url,
        json=body,
        headers={"Origin": PAGE, "Accept": "application/json, text/plain, */*", "Authorization": f"Bearer {token}"},
        timeout=10,
        allow_redirects=False,
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    found: Json = answer.json()
    return found


def url_of(services: list[Json], hook: str) -> str:
    (found,) = [entry["url"] for entry in services if entry["hook"] == hook]
    return str(found)


def request(hook: str, prefetch: Json | None = None, **context: Any) -> Json:
    body: Json = {
        "hookInstance": str(uuid4()),
        "hook": hook,
        "fhirServer": "https://launch.smarthealthit.org/v/r4/fhir",
        "context": {"patientId": "smart-1288992", "userId": "Practitioner/COREPRACTITIONER1"} | context,
    }
    return body | ({"prefetch": prefetch} if prefetch else {})


def drafted(release: str, drug: tuple[str, str] | None, pills: int = 1, times: int = 1) -> Json:
    """The order of the Rx screen; `drug` None: none is chosen yet."""
    order: Json = {
        "resourceType": "MedicationOrder" if release == "DSTU2" else "MedicationRequest",
        "id": "order-123" if release == "DSTU2" else "request-123",
        "status": "draft",
        "patient" if release == "DSTU2" else "subject": {"reference": "Patient/smart-1288992"},
        "dateWritten" if release == "DSTU2" else "authoredOn": "2026-11-21",
    }
    if drug:
        dose = {"value": pills, "system": "http://unitsofmeasure.org", "code": "{pill}"}
        repeat = {"frequency": times, "period": 1, "periodUnits" if release == "DSTU2" else "periodUnit": "d"}
        dosage: Json = {"timing": {"repeat": repeat}}
        dosage |= {"doseAndRate": [{"doseQuantity": dose}]} if release == "R4" else {"doseQuantity": dose}
        supply = {"value": 30, "unit": "days", "system": "http://unitsofmeasure.org", "code": "d"}
        order |= {
            "dosageInstruction": [dosage],
            "dispenseRequest": {"expectedSupplyDuration": supply},
            "intent": "order",
            "category": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/medicationrequest-category"}]},
            "medicationCodeableConcept": {
                "text": drug[1],
                "coding": [{"display": drug[1], "system": RXNORM, "code": drug[0]}],
            },
        }
    return order


def bundle(order: Json) -> Json:
    return {"resourceType": "Bundle", "entry": [{"resource": order}]}


def prefetched(creatinine: float) -> Json:
    def result(name: str, loinc: str, value: float, unit: str) -> Json:
        return {
            "resource": {
                "resourceType": "Observation",
                "id": name,
                "status": "final",
                "subject": {"reference": "Patient/smart-1288992"},
                "effectiveDateTime": "2026-11-20",
                "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
                "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
            }
        }

    results = [
        result("creatinine", "2160-0", creatinine, "mg/dL"),
        result("weight", "29463-7", 70, "kg"),
        result("height", "8302-2", 175, "cm"),
    ]
    nothing = {"resourceType": "Bundle", "type": "searchset", "total": 0}
    patient = {"resourceType": "Patient", "id": "smart-1288992", "gender": "male", "birthDate": "1961-05-04"}
    return {
        "patient": patient,
        "kidney": {"resourceType": "Bundle", "type": "searchset", "entry": [{**entry} for entry in results]},
        "conditions": nothing,
        "procedures": nothing,
        "medications": nothing,
        "counts": nothing,
    }


def test_it_tells_the_services_apart(services: list[Json]) -> None:
    assert len({entry["url"] for entry in services}) == len(services) == 5
    assert {"patient-view", "order-select", "order-sign"} <= {entry["hook"] for entry in services}
    for entry in services:
        for query in entry["prefetch"].values():
            assert query.replace("{{context.patientId}}", "1").count("{{") == 0, "it skips what it cannot fill in"
            names = [pair.partition("=")[0] for pair in query.partition("?")[2].split("&")]
            assert len(names) == len(set(names)), "it merges a parameter given twice"


def test_patient_view_without_cmv_therapy_is_silent(services: list[Json]) -> None:
    assert send(url_of(services, "patient-view"), request("patient-view")) == {"cards": []}


def test_order_select_before_a_drug_is_chosen_is_silent(services: list[Json]) -> None:
    order = drafted("R4", None)
    body = request("order-select", selections=["MedicationRequest/request-123"], draftOrders=bundle(order))
    assert send(url_of(services, "order-select"), body) == {"cards": []}


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_a_tab_clicked_twice_sends_no_orders_at_all(services: list[Json], hook: str) -> None:
    assert send(url_of(services, hook), request(hook)) == {"cards": []}


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_the_imaging_screen_is_silent(services: list[Json], hook: str) -> None:
    order = {
        "resourceType": "ServiceRequest",
        "id": "example-request-id",
        "status": "draft",
        "intent": "plan",
        "code": {"coding": [{}]},
        "subject": {"reference": "Patient/smart-1288992"},
        "reasonCode": [],
    }
    context: Json = {"selections": ["ServiceRequest/example-request-id"], "draftOrders": bundle(order)}
    assert send(url_of(services, hook), request(hook, **context)) == {"cards": []}


@pytest.mark.parametrize("release", ["DSTU2", "STU3", "R4"])
def test_two_tablets_twice_a_day_are_read_as_milligrams_and_judged(services: list[Json], release: str) -> None:
    order = drafted(release, VALGANCICLOVIR, pills=2, times=2)
    select = request(
        "order-select",
        prefetched(2.4),
        selections=[f"{order['resourceType']}/{order['id']}"],
        draftOrders=bundle(order),
    )
    sign = request("order-sign", prefetched(2.4), draftOrders=bundle(order))
    for body in (select, sign):
        card = send(url_of(services, body["hook"]), body)["cards"][0]
        assert (card["source"]["topic"]["code"], card["indicator"]) == ("renalDose", "critical")
        assert "900 mg" in card["extension"]["cmv-cds.finding"]["ordered"] + card["summary"] + card["detail"]


def test_a_right_dose_is_left_alone(services: list[Json]) -> None:
    order = drafted("R4", VALGANCICLOVIR, pills=2, times=2)
    order["reasonCode"] = {"text": "CMV disease, treatment"}
    answer = send(url_of(services, "order-sign"), request("order-sign", prefetched(0.9), draftOrders=bundle(order)))
    assert [card["summary"] for card in answer["cards"] if card["source"]["topic"]["code"] == "renalDose"] == []


@pytest.fixture(scope="module")
def card(services: list[Json]) -> Json:
    order = drafted("R4", VALGANCICLOVIR, pills=2, times=2)
    body = request("order-sign", prefetched(2.4), draftOrders=bundle(order))
    found: Json = send(url_of(services, "order-sign"), body)["cards"][0]
    return found


def test_a_suggestion_is_one_that_it_can_apply(card: Json) -> None:
    """It takes `text` and the code of the first coding, and nothing else of the order."""
    updates = [s for s in card["suggestions"] if s["actions"][0]["type"] == "update"]
    assert updates
    for suggestion in updates:
        drug = suggestion["actions"][0]["resource"]["medicationCodeableConcept"]
        assert drug["text"]
        assert drug["coding"][0]["code"] == VALGANCICLOVIR[0]
        assert suggestion["label"]
        assert suggestion["uuid"]
        assert f"To be entered by hand: {suggestion['label']}" in card["detail"], "the dose would be lost"
    assert "<" not in card["detail"].replace("<=", ""), "it renders raw HTML"


def test_feedback_is_kept_and_known(services: list[Json], card: Json) -> None:
    url = url_of(services, "order-sign") + "/feedback"
    accepted = {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": "2026-11-21T10:11:12.131Z",
    }
    reason = card["overrideReasons"][0]
    overridden = {
        "card": card["uuid"],
        "outcome": "overridden",
        "outcomeTimestamp": "2026-11-21T10:11:13.131Z",
        "overrideReason": {"reason": {"code": reason["code"], "system": reason["system"]}},
    }
    for entry in (accepted, overridden, overridden):
        assert send(url, {"feedback": [entry]}) == {"kept": 1, "matched": 1}
    assert send(url, {"feedback": [{"outcome": "overridden"}]})["matched"] == 0, "a card without an id"


def test_a_refused_call_can_be_read_by_the_page(services: list[Json], service: Running) -> None:
    url = url_of(services, "order-sign")
    answer = requests.post(
        url,
        data=orjson.dumps(request("order-sign")),
        headers={"Origin": PAGE, "Content-Type": "application/json", "Authorization": "Bearer x"},
        timeout=10,
    )
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    start = orjson.loads(service.log().splitlines()[0])
    assert (start["event"], start["open"]) == ("start", False)
    assert "sandbox.cds-hooks" not in service.log().split("start", 1)[1]


def test_its_fhir_server_is_not_contacted_unless_listed(services: list[Json], service: Running) -> None:
    order = drafted("R4", VALGANCICLOVIR, pills=2, times=2)
    answer = send(url_of(services, "order-sign"), request("order-sign", draftOrders=bundle(order)))
    assert any("not sent" in one["summary"] + one["detail"] for one in answer["cards"])
    assert "fetched" not in service.log()
