"""The contract on the wire: every path, every row of the error table, headers, logs, and the real server."""

import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import date
from html import unescape
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cdshooks.errors import ConfigurationError
from cdshooks.medicine import checks
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import evaluate
from cdshooks.service import app as app_module
from cdshooks.service.app import create_app
from cdshooks.service.config import Limits, Settings, Smart
from cdshooks.service.logs import json_lines
from cdshooks.service.store import keep_feedback
from cdshooks.wire.hooks import SERVICES

TODAY = date(2026, 3, 2)
SIGN = "/cds-services/cmv-order-sign"
JSON = {"Content-Type": "application/json"}
PATIENT_ID = "MRN4711zz"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def result(name: str, loinc: str, value: float, unit: str) -> dict[str, Any]:
    return {
        "resource": {
            "resourceType": "Observation",
            "id": name,
            "status": "final",
            "subject": {"reference": f"Patient/{PATIENT_ID}"},
            "effectiveDateTime": "2026-03-01",
            "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
            "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
        }
    }


def order_sign() -> dict[str, Any]:
    """Valganciclovir 900 mg twice a day at a creatinine of 2.4 mg/dL: far too much."""
    return {
        "hook": "order-sign",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {
            "userId": "Practitioner/123",
            "patientId": PATIENT_ID,
            "draftOrders": {
                "resourceType": "Bundle",
                "entry": [
                    {
                        "resource": {
                            "resourceType": "MedicationRequest",
                            "id": "draft",
                            "status": "draft",
                            "intent": "order",
                            "subject": {"reference": f"Patient/{PATIENT_ID}"},
                            "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": "313566"}]},
                            "dosageInstruction": [
                                {
                                    "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
                                    "doseAndRate": [{"doseQuantity": {"value": 900, "unit": "mg", "code": "mg"}}],
                                }
                            ],
                        }
                    }
                ],
            },
        },
        "prefetch": {
            "patient": {
                "resourceType": "Patient",
                "id": PATIENT_ID,
                "gender": "male",
                "birthDate": "1961-05-04",
                "name": [{"family": "Quetzalcoatlus", "given": ["Ignatius"]}],
            },
            "kidney": {
                "resourceType": "Bundle",
                "type": "searchset",
                "entry": [
                    result("creatinine", "2160-0", 2.4, "mg/dL"),
                    result("weight", "29463-7", 70, "kg"),
                    result("height", "8302-2", 175, "cm"),
                ],
            },
        },
    }


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return load_knowledge()


Make = Callable[..., Flask]


@pytest.fixture
def make(tmp_path: Path, knowledge: Knowledge) -> Make:
    def made(**settings: Any) -> Flask:
        kept = Settings(**({"database": f"sqlite:///{tmp_path / 'kept.db'}"} | settings))
        return create_app(kept, knowledge=knowledge, today=TODAY)

    return made


@pytest.fixture
def client(make: Make) -> FlaskClient:
    return make().test_client()


def post(client: FlaskClient, body: Any, path: str = SIGN, **headers: str) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, data=data, headers=JSON | {name.replace("_", "-"): text for name, text in headers.items()})


def assert_problem(response: TestResponse, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    problem: dict[str, Any] = response.get_json(force=True)
    assert {"type", "title", "status", "detail"} <= set(problem) <= {"type", "title", "status", "detail", "field"}
    assert problem["status"] == status
    assert all(problem.values())
    assert PATIENT_ID not in response.text
    return problem


def topics(response: TestResponse) -> list[str]:
    assert response.status_code == 200, response.text
    return [card["source"]["topic"]["code"] for card in response.get_json()["cards"]]


# --------------------------------------------------------------------------------------------------------------------
# Discovery and calls


def test_discovery_lists_every_service_without_a_token(client: FlaskClient) -> None:
    services = client.get("/cds-services", headers={"Authorization": "Bearer nonsense"}).get_json()["services"]
    assert [service["id"] for service in services] == [
        "cmv-medication-prescribe",
        "cmv-order-select",
        "cmv-order-sign",
        "cmv-patient-view",
        "cmv-medication-verify",
    ]
    assert all({"hook", "id", "title", "description", "prefetch"} <= set(service) for service in services)


def test_a_dose_far_too_high_is_a_critical_card(client: FlaskClient) -> None:
    response = post(client, order_sign())
    assert topics(response)[0] == "renalDose"
    assert response.get_json()["cards"][0]["indicator"] == "critical"
    assert response.mimetype == "application/json"


@pytest.mark.parametrize("path", [f"{SIGN}/", "/cds-services//cmv-order-sign", "/cds-services///cmv-order-sign//"])
def test_slashes_too_many_are_answered_like_the_clean_path(client: FlaskClient, path: str) -> None:
    assert post(client, order_sign(), path).data == post(client, order_sign()).data


def test_discovery_with_a_trailing_slash_is_not_redirected(client: FlaskClient) -> None:
    assert client.get("/cds-services/").data == client.get("/cds-services").data


def test_the_same_body_gets_the_same_cards_fifty_times_at_once(make: Make) -> None:
    app = make()
    body = order_sign()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(app.test_client(), body).data, range(50)))
    assert len(answers) == 50
    assert len(set(answers)) == 1


def test_silent_mode_records_and_shows_nothing(make: Make) -> None:
    aside = make(database="sqlite://").test_client()
    card = post(aside, order_sign()).get_json()["cards"][0]["uuid"]
    silent = make(mode="silent").test_client()
    assert post(silent, order_sign()).get_json() == {"cards": []}
    assert 'cdshooks_cards_total{indicator="critical",topic="renalDose"} 1.0' in silent.get("/metrics").text
    entry = {"card": card, "outcome": "overridden"}
    assert post(silent, {"feedback": [entry]}, f"{SIGN}/feedback").get_json() == {"kept": 1, "matched": 1}


def test_the_clinical_date_can_be_fixed(make: Make) -> None:
    late = order_sign()
    fresh = post(make().test_client(), late).get_json()
    app = make(today=date(2027, 3, 2))
    assert post(app.test_client(), late).get_json() == fresh, "create_app(today=) outranks the settings"


def test_the_settings_fix_the_clinical_date(tmp_path: Path, knowledge: Knowledge) -> None:
    stale = Settings(database=f"sqlite:///{tmp_path / 'kept.db'}", today=date(2027, 3, 2))
    assert "renalFunction" in topics(post(create_app(stale, knowledge=knowledge).test_client(), order_sign()))


# --------------------------------------------------------------------------------------------------------------------
# The error table, row by row


def changed(path: str, value: Any) -> dict[str, Any]:
    """The call with one field replaced, or removed when the value is `...`."""
    body = deepcopy(order_sign())
    *above, last = path.split(".")
    place = body
    for name in above:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return body


WHOLE_BODY = {
    "empty": b"",
    "not JSON": b"{",
    "NaN": b'{"hook": NaN}',
    "Infinity": b'{"hook": Infinity}',
    "not UTF-8": json.dumps(order_sign()).encode().replace(b"Practitioner", b"\xe9"),
    "UTF-16": json.dumps(order_sign()).encode("utf-16"),
    "array": b"[]",
    "text": b'"order-sign"',
    "null": b"null",
    "key twice in context": json.dumps(order_sign())
    .encode()
    .replace(b'"patientId"', b'"patientId": "x", "patientId"', 1),
}


@pytest.mark.parametrize("body", WHOLE_BODY.values(), ids=WHOLE_BODY)
def test_a_body_that_is_no_json_object_is_400(client: FlaskClient, body: bytes) -> None:
    assert_problem(post(client, body), 400)


@pytest.mark.parametrize("path", ["hook", "hookInstance", "context", "context.patientId"])
@pytest.mark.parametrize("value", [..., "", None, 7, []], ids=["missing", "empty", "null", "number", "array"])
def test_a_required_field_missing_empty_or_of_the_wrong_type_is_400(client: FlaskClient, path: str, value: Any) -> None:
    assert assert_problem(post(client, changed(path, value)), 400)["field"] == path


def test_a_hook_that_this_service_does_not_answer_is_400(client: FlaskClient) -> None:
    assert assert_problem(post(client, changed("hook", "order-select")), 400)["field"] == "hook"


@pytest.mark.parametrize(
    ("service", "hook", "name", "value"),
    [
        ("cmv-order-sign", "order-sign", "draftOrders", "text"),
        ("cmv-order-sign", "order-sign", "draftOrders", []),
        ("cmv-order-select", "order-select", "selections", "MedicationRequest/draft"),
        ("cmv-order-select", "order-select", "selections", [7]),
        ("cmv-medication-prescribe", "medication-prescribe", "medications", 7),
    ],
)
def test_orders_of_the_wrong_type_are_400(client: FlaskClient, service: str, hook: str, name: str, value: Any) -> None:
    body = changed(f"context.{name}", value) | {"hook": hook}
    assert str(assert_problem(post(client, body, f"/cds-services/{service}"), 400)["field"]).startswith(
        f"context.{name}"
    )


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_400(client: FlaskClient, kind: str) -> None:
    assert_problem(post(client, order_sign(), Content_Type=kind), 400)


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", "application/fhir+json", "Application/JSON"])
def test_json_content_types_are_accepted(client: FlaskClient, kind: str) -> None:
    assert post(client, order_sign(), Content_Type=kind).status_code == 200


def test_another_charset_is_400(client: FlaskClient) -> None:
    assert_problem(post(client, order_sign(), Content_Type="application/json; charset=latin-1"), 400)


@pytest.mark.parametrize(
    ("service", "hook", "absent"),
    [
        ("cmv-order-sign", "order-sign", ("draftOrders",)),
        ("cmv-order-select", "order-select", ("draftOrders", "selections")),
        ("cmv-medication-prescribe", "medication-prescribe", ("medications", "draftOrders")),
    ],
)
def test_absent_orders_are_nothing_to_judge(
    client: FlaskClient, service: str, hook: str, absent: tuple[str, ...]
) -> None:
    body = order_sign() | {"hook": hook}
    for name in absent:
        body["context"].pop(name, None)
    response = post(client, body, f"/cds-services/{service}")
    assert response.status_code == 200
    assert response.get_json() == {"cards": []}


@pytest.mark.parametrize(
    "body",
    [
        changed("context.userId", ...),
        changed("hookInstance", "rec08-p02-5"),
        changed("prefetch", None),
        changed("context.unheardOf", {"x": [None]}) | {"extension": {"a": None}, "more": 1},
    ],
    ids=["no userId", "no UUID", "prefetch null", "unknown keys"],
)
def test_what_real_clients_leave_out_or_add_is_accepted(client: FlaskClient, body: Any) -> None:
    assert post(client, body).status_code == 200


def test_a_body_over_the_limit_is_413(make: Make) -> None:
    client = make(limits=Limits(body_mb=0.01)).test_client()
    body = json.dumps(order_sign()).encode()
    assert post(client, body).status_code == 200
    limit = int(0.01 * 1024 * 1024)
    assert post(client, body.ljust(limit)).status_code == 200
    assert_problem(post(client, body.ljust(limit + 1)), 413)


def test_a_selection_of_something_not_sent_is_never_silent(client: FlaskClient) -> None:
    body = order_sign() | {"hook": "order-select"}
    for selection, topics in (("MedicationRequest/elsewhere", ["dataQuality"]), ("", [])):
        body["context"]["selections"] = [selection] if selection else []
        cards = post(client, body, "/cds-services/cmv-order-select").get_json()["cards"]
        assert [card["source"]["topic"]["code"] for card in cards] == topics


def test_too_many_entries_are_413(make: Make) -> None:
    assert_problem(post(make(limits=Limits(max_entries=3)).test_client(), order_sign()), 413)


def test_nesting_too_deep_is_400(client: FlaskClient) -> None:
    deep: Any = []
    for _ in range(70):
        deep = [deep]
    assert_problem(post(client, changed("extension", deep)), 400)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_an_encoded_body_is_415(client: FlaskClient, encoding: str) -> None:
    assert_problem(post(client, order_sign(), Content_Encoding=encoding), 415)


def test_identity_is_no_encoding(client: FlaskClient) -> None:
    assert post(client, order_sign(), Content_Encoding="identity").status_code == 200


@pytest.mark.parametrize("path", ["/cds-services/unknown", "/cds-services/unknown/feedback", f"{SIGN}/more"])
def test_an_unknown_service_is_404(client: FlaskClient, path: str) -> None:
    assert_problem(post(client, order_sign(), path), 404)


@pytest.mark.parametrize("path", ["/nothing", "/smart/other", "/static/none.css", "/static/../app.py"])
def test_an_unknown_path_is_404(client: FlaskClient, path: str) -> None:
    assert_problem(client.get(path), 404)


@pytest.mark.parametrize(
    "path", ["/smart/launch", "/smart/launch?iss=https://ehr.example.org/r4", "/smart/callback?state=x"]
)
def test_the_app_is_launched_by_no_unlisted_server(client: FlaskClient, path: str) -> None:
    assert_problem(client.get(path), 400)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", SIGN, "POST"),
        ("PUT", SIGN, "POST"),
        ("DELETE", f"{SIGN}/feedback", "POST"),
        ("POST", "/cds-services", "GET"),
        ("POST", "/", "GET"),
        ("POST", "/metrics", "GET"),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_one(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    response = client.open(path, method=method)
    assert_problem(response, 405)
    assert allowed in response.headers["Allow"].split(", ")


def test_absent_data_are_a_visible_card(client: FlaskClient) -> None:
    found = topics(post(client, changed("prefetch", {})))
    assert {"dataQuality", "renalFunction"} & set(found)


def test_a_fhir_server_of_a_stranger_is_never_contacted(client: FlaskClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/r4"
        body = changed("prefetch", {}) | {
            "fhirServer": address,
            "fhirAuthorization": {"access_token": "sesame", "token_type": "Bearer"},
        }
        assert topics(post(client, body)) == topics(post(client, changed("prefetch", {})))
        with pytest.raises(TimeoutError):
            server.accept()


def test_more_than_the_queue_waiting_is_503_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    app = make(limits=Limits(queue=1))
    go, running, judge = Event(), Event(), evaluate

    def held(*arguments: Any, **options: Any) -> Any:
        running.set()
        go.wait(10)
        return judge(*arguments, **options)

    monkeypatch.setattr(app_module, "evaluate", held)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(lambda: post(app.test_client(), order_sign()))
        running.wait(10)
        others = [pool.submit(lambda: post(app.test_client(), order_sign())) for _ in range(4)]
        while sum(other.done() for other in others) < 3:
            time.sleep(0.005)
        refused = [other.result() for other in others if other.done()]
        go.set()
        for response in refused:
            assert_problem(response, 503)
            assert response.headers["Retry-After"].isdigit()
        assert [first.result().status_code, *sorted(other.result().status_code for other in others)] == [
            200, 200, 503, 503, 503,
        ]  # fmt: skip
    for _ in range(3):
        assert post(app.test_client(), order_sign()).status_code == 200, "every place is free again"


def test_one_unreadable_resource_costs_only_itself(client: FlaskClient) -> None:
    body = order_sign()
    body["prefetch"]["conditions"] = "not a resource"
    found = topics(post(client, body))
    assert "renalDose" in found
    assert "dataQuality" in found


def test_a_check_that_raises_costs_only_itself(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError(f"about {PATIENT_ID}")

    monkeypatch.setattr(checks, "CHECKS", (*checks.CHECKS, ("broken check", broken)))
    assert {"renalDose", "dataQuality"} <= set(topics(post(make().test_client(), order_sign())))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    failed = next(line for line in lines if line["event"] == "check failed")
    assert (failed["check"], failed["error"]) == ("broken check", "ValueError")
    assert any(place.endswith(" broken") for place in failed["where"])
    assert PATIENT_ID not in json.dumps(lines)


def test_a_bug_is_500_with_a_reference_and_nothing_of_the_patient(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError(f"patient {PATIENT_ID} Quetzalcoatlus")

    monkeypatch.setattr(app_module, "evaluate", broken)
    problem = assert_problem(post(make().test_client(), order_sign()), 500)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    bug = next(line for line in lines if line["event"] == "bug")
    assert bug["reference"] in problem["detail"]
    assert bug["error"] == "ValueError"
    assert any(re.search(r"test_http\.py:\d+ broken", place) for place in bug["where"])
    assert PATIENT_ID not in json.dumps(lines)
    assert "Quetzalcoatlus" not in json.dumps(lines)


@pytest.mark.parametrize(
    "unbuilt",
    [],
)
def test_settings_that_would_not_be_honoured_stop_the_start(make: Make, unbuilt: Any) -> None:
    with pytest.raises(ConfigurationError, match="not built yet"):
        make(**unbuilt)


# --------------------------------------------------------------------------------------------------------------------
# Headers


READ_PATHS = [
    "/",
    "/cds-services",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/knowledge",
    "/nothing",
]


@pytest.mark.parametrize("path", READ_PATHS)
def test_nothing_but_static_files_is_stored(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in response.headers


def test_static_files_may_be_stored(client: FlaskClient) -> None:
    response = client.get("/static/style.css", buffered=True)
    assert response.status_code == 200
    assert "no-store" not in response.headers.get("Cache-Control", "")


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://localhost", "http://127.0.0.1:8080", "http://[::1]:9"]
)
def test_a_page_of_this_machine_may_read_every_answer(client: FlaskClient, origin: str) -> None:
    for response in (
        client.get("/cds-services", headers={"Origin": origin}),
        post(client, order_sign(), Origin=origin),
        post(client, b"{", Origin=origin),
        post(client, order_sign(), "/cds-services/unknown", Origin=origin),
        post(client, {"feedback": [{"outcome": "overridden"}]}, f"{SIGN}/feedback", Origin=origin),
    ):
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert "Origin" in response.vary
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "null", ""]
)
def test_another_origin_may_not(client: FlaskClient, origin: str) -> None:
    response = post(client, order_sign(), Origin=origin)
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "Origin" in response.vary


@pytest.mark.parametrize(
    "path", ["/cds-services", "/cds-services/", SIGN, "/cds-services//cmv-order-sign", f"{SIGN}/feedback"]
)
def test_a_preflight_needs_no_token(client: FlaskClient, path: str) -> None:
    response = client.options(
        path,
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )
    assert response.status_code == 204
    assert response.data == b""
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"


def test_pages_allow_nothing_from_elsewhere(make: Make) -> None:
    client = make(smart=Smart(frame_ancestors=("https://ehr.example.org",))).test_client()
    for path in ("/", "/knowledge"):
        response = client.get(path, headers={"Accept": "text/html"})
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert policy.endswith("frame-ancestors https://ehr.example.org")
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert not re.search(r"<style|<script|\sstyle=|\son\w+=", response.text), "the policy would block it"


def test_pages_are_framed_nowhere_by_default(client: FlaskClient) -> None:
    assert client.get("/").headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")


# --------------------------------------------------------------------------------------------------------------------
# Pages


def test_the_example_of_the_home_page_works(make: Make) -> None:
    client = make(public_base="https://cds.example.org/").test_client()
    page = client.get("/").text
    found = re.search(r'<pre id="example".*?--data-binary \'(.*?)\'</code>', page, re.DOTALL)
    assert found is not None
    assert "https://cds.example.org/cds-services/cmv-order-sign" in page
    assert "renalDose" in topics(post(client, unescape(found[1]).encode()))


def test_links_of_the_home_page_lead_somewhere(client: FlaskClient) -> None:
    paths = re.findall(r'href="(/[^"]*)"', client.get("/").text)
    assert len(paths) > 4
    assert {path: client.get(path, buffered=True).status_code for path in paths} == dict.fromkeys(paths, 200)


def test_the_address_in_a_page_never_comes_from_the_request(client: FlaskClient) -> None:
    page = client.get("/", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"}).text
    assert "evil.example" not in page


def test_health(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, knowledge: Knowledge) -> None:
    assert client.get("/health/live").get_json() == {"status": "live"}
    assert client.get("/health/ready").get_json()["knowledgeVersion"] == knowledge.version
    monkeypatch.setattr("cdshooks.service.pages.writable", lambda _: False)
    assert_problem(client.get("/health/ready"), 503)


def test_knowledge_is_data_or_a_page(client: FlaskClient, knowledge: Knowledge) -> None:
    data = client.get("/knowledge").get_json()
    assert data["version"] == knowledge.version
    assert [rule["id"] for rule in data["rules"]] == [rule.id for rule in knowledge.rules]
    assert all(rule["reviewed"] == "none" for rule in data["rules"])
    assert all(citation["source"] and citation["section"] for rule in data["rules"] for citation in rule["citations"])
    page = client.get("/knowledge", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.mimetype == "text/html"
    assert "Accept" in page.vary
    assert all(rule["id"] in page.text for rule in data["rules"])


def test_openapi_describes_every_path_and_no_other(make: Make) -> None:
    app = make()
    described = app.test_client().get("/openapi.json").get_json()
    served = {rule.rule for rule in app.url_map.iter_rules()} - {"/static/<path:filename>", "/assets/plotly.js"}
    expected = {path for path in served if "<" not in path} | {"/knowledge/rules/{rule}"}
    for service in SERVICES:
        expected |= {f"/cds-services/{service.id}", f"/cds-services/{service.id}/feedback"}
    assert set(described["paths"]) == expected
    names = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for reference in re.findall(r'"\$ref": "#/(.*?)"', json.dumps(described)):
        place = described
        for step in reference.split("/"):
            place = place[step]


def test_counters_have_closed_labels(client: FlaskClient) -> None:
    before = set(re.findall(r"^cdshooks_requests_total\{.*\}", client.get("/metrics").text, re.MULTILINE))
    post(client, order_sign())
    post(client, b"{")
    post(client, order_sign(), "/cds-services/unknown")
    client.get(f"/nothing/{PATIENT_ID}")
    text = client.get("/metrics").text
    assert set(re.findall(r"^cdshooks_requests_total\{.*\}", text, re.MULTILINE)) == before
    assert 'cdshooks_requests_total{service="cmv-order-sign",status="2xx"} 1.0' in text
    assert 'cdshooks_requests_total{service="cmv-order-sign",status="4xx"} 1.0' in text
    assert PATIENT_ID not in text


# --------------------------------------------------------------------------------------------------------------------
# Feedback


def test_feedback_is_kept_once_and_matched(client: FlaskClient) -> None:
    card = post(client, order_sign()).get_json()["cards"][0]["uuid"]
    entry = {
        "card": card,
        "outcome": "overridden",
        "outcomeTimestamp": "2026-03-02T10:00:00Z",
        "overrideReason": {"reason": {"code": "need-more-info", "system": "urn:x"}, "userComment": "asked"},
    }
    for _ in range(2):
        response = post(client, {"feedback": [entry]}, f"{SIGN}/feedback")
        assert response.status_code == 200
        assert response.get_json() == {"kept": 1, "matched": 1}


@pytest.mark.parametrize("entry", [{"outcome": "overridden"}, {"card": "unknown", "outcome": "overridden"}])
def test_feedback_on_an_unknown_card_is_kept_unmatched(client: FlaskClient, entry: dict[str, str]) -> None:
    assert post(client, {"feedback": [entry]}, f"{SIGN}/feedback").get_json() == {"kept": 1, "matched": 0}


@pytest.mark.parametrize(
    "body",
    [b"{", {}, {"feedback": []}, {"feedback": [{"card": "x"}]}, {"feedback": {}}, {"feedback": [{"outcome": "x"}]}],
)
def test_malformed_feedback_is_400(client: FlaskClient, body: Any) -> None:
    assert_problem(post(client, body, f"{SIGN}/feedback"), 400)


def test_more_reports_than_the_queue_waiting_are_503_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs: reports wait in their own queue, and verdicts are not held up."""
    monkeypatch.setattr(app_module, "FEEDBACK_AT_ONCE", 1)
    app = make(limits=Limits(queue=1))
    go, running, keep = Event(), Event(), keep_feedback

    def held(*arguments: Any, **options: Any) -> Any:
        running.set()
        go.wait(10)
        return keep(*arguments, **options)

    def report(number: int) -> TestResponse:
        return post(
            app.test_client(), {"feedback": [{"card": f"c{number}", "outcome": "accepted"}]}, f"{SIGN}/feedback"
        )

    monkeypatch.setattr(app_module, "keep_feedback", held)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(report, 0)
        running.wait(10)
        others = [pool.submit(report, number) for number in range(1, 5)]
        while sum(other.done() for other in others) < 3:
            time.sleep(0.005)
        for response in (other.result() for other in others if other.done()):
            assert_problem(response, 503)
            assert response.headers["Retry-After"].isdigit()
        go.set()
        assert [first.result().status_code, *sorted(other.result().status_code for other in others)] == [
            200, 200, 503, 503, 503,
        ]  # fmt: skip


def test_too_many_feedback_entries_are_413(make: Make) -> None:
    client = make(limits=Limits(max_entries=2)).test_client()
    assert_problem(post(client, {"feedback": [{"outcome": "overridden"}] * 3}, f"{SIGN}/feedback"), 413)


def test_a_store_that_fails_loses_no_answer_but_no_feedback_is_confirmed(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = make().test_client()
    with sqlite3.connect(tmp_path / "kept.db") as connection:
        connection.execute("DROP TABLE cards")
    connection.close()
    assert topics(post(client, order_sign()))[0] == "renalDose"
    assert_problem(post(client, {"feedback": [{"card": "x", "outcome": "overridden"}]}, f"{SIGN}/feedback"), 500)
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["call not kept", "call", "bug", "feedback"]


# --------------------------------------------------------------------------------------------------------------------
# Logs


def test_logs_never_hold_anything_of_the_patient(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    client = make().test_client()
    secret = "eyJtoken"
    odd = order_sign() | {"hookInstance": f"<b>{PATIENT_ID}", "fhirAuthorization": {"access_token": secret}}
    comment = {"card": "x", "outcome": "overridden", "overrideReason": {"userComment": f"Quetzalcoatlus {PATIENT_ID}"}}
    post(client, odd, Authorization=f"Bearer {secret}")
    post(client, json.dumps(odd).encode()[:-1], Authorization=f"Bearer {secret}")
    post(client, changed("context.draftOrders", PATIENT_ID))
    post(client, changed("prefetch", {}))
    post(client, {"feedback": [comment]}, f"{SIGN}/feedback")
    post(client, odd, f"/cds-services/{PATIENT_ID}")
    err = capsys.readouterr().err
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["status"] for line in lines if line["event"] == "call"] == [200, 400, 400, 200]
    assert [line["matched"] for line in lines if line["event"] == "feedback"] == [0]
    assert lines[0]["hook_instance"] == "no-uuid"
    assert lines[0]["topics"][0] == "renalDose"
    for private in (PATIENT_ID, "Quetzalcoatlus", "Ignatius", "1961", secret, "Practitioner", "2.4", "<b>"):
        assert private not in re.sub(r'"(time|ms)":[^,]*', "", err), private


def test_a_field_that_is_not_on_the_list_is_dropped() -> None:
    stream = io.StringIO()
    json_lines(stream).info("call", service="cmv-order-sign", patient=PATIENT_ID, user_id="Practitioner/123")
    line = json.loads(stream.getvalue())
    assert set(line) == {"time", "level", "event", "service"}
    assert line["event"] == "call"


# --------------------------------------------------------------------------------------------------------------------
# The real server


class Running:
    """A `cdshooks serve` on a free port of this machine."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self.port = trial.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        quiet = {name: text for name, text in os.environ.items() if not name.startswith("CDSHOOKS_")}
        command = [sys.executable, "-m", "cdshooks.cli", "serve", "--port", str(self.port), "--today", "2026-03-02"]
        with (folder.parent / f"{folder.name}.err").open("wb") as errors:
            self.process = subprocess.Popen([*command, *arguments], cwd=folder, env=quiet, stderr=errors)
        self.wait()

    def wait(self) -> None:
        for _ in range(500):
            assert self.process.poll() is None, self.log()
            try:
                requests.get(f"{self.base}/health/ready", timeout=1).raise_for_status()
            except requests.ConnectionError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the service did not start")

    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.err").read_text(encoding="utf-8")

    def connect(self, sent: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(sent)
        return connection

    def end(self) -> float:
        """Seconds from SIGTERM to the end."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        return time.monotonic() - start


HEADERS = f"POST {SIGN} HTTP/1.1\r\nHost: cds.example.org\r\nContent-Type: application/json\r\n".encode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = Running(tmp_path_factory.mktemp("serve"))
    yield started
    if started.process.poll() is None:
        started.end()


def chunked(running: Running, body: bytes) -> str:
    """The status line for a body sent in chunks."""
    pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    with running.connect(HEADERS + b"Transfer-Encoding: chunked\r\n\r\n" + sent) as connection:
        return connection.recv(65536).split(b"\r\n")[0].decode()


def test_server_takes_a_chunked_body(running: Running) -> None:
    assert " 200 " in chunked(running, json.dumps(order_sign()).encode())


def test_server_never_cuts_a_chunked_body_to_a_valid_prefix(running: Running) -> None:
    body = json.dumps(order_sign()).encode()
    assert " 413 " in chunked(running, body.ljust(10 * 1024 * 1024 + 1))
    assert " 200 " in chunked(running, body.ljust(10 * 1024 * 1024))


def test_server_refuses_a_long_body_so_that_the_client_sees_it(running: Running) -> None:
    body = json.dumps(order_sign()).encode().ljust(11 * 1024 * 1024)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(running.base + SIGN, body, JSON), timeout=10)
    assert caught.value.code == 413
    caught.value.close()


def test_server_slow_senders_hold_nobody_up(running: Running) -> None:
    body = json.dumps(order_sign()).encode()
    slow = [running.connect(HEADERS + b"Content-Length: 100000\r\n\r\n" + body) for _ in range(40)]
    slow += [running.connect(HEADERS) for _ in range(40)]
    try:
        time.sleep(0.2)
        start = time.monotonic()
        assert requests.post(running.base + SIGN, data=body, headers=JSON, timeout=30).status_code == 200
        assert time.monotonic() - start < 1
    finally:
        for connection in slow:
            connection.close()


def test_server_fifty_calls_at_once_get_fifty_equal_answers(running: Running) -> None:
    body = json.dumps(order_sign()).encode()
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: requests.post(running.base + SIGN, data=body, headers=JSON, timeout=30), range(50))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(answers) == 50


@pytest.mark.parametrize("path", ["//cds-services", "//cds-services//", "/cds-services/"])
def test_server_slashes_too_many_are_no_redirect(running: Running, path: str) -> None:
    with running.connect(f"GET {path} HTTP/1.1\r\nHost: cds.example.org\r\n\r\n".encode()) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_server_ends_on_sigterm_although_somebody_still_sends(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    running = Running(folder)
    body = json.dumps(order_sign()).encode()
    assert requests.post(running.base + SIGN, data=body, headers=JSON, timeout=5).status_code == 200
    slow = [running.connect(HEADERS + b"Content-Length: 100000\r\n\r\n{") for _ in range(5)]
    assert running.end() < 8  # two seconds for who still sends, and a loaded machine; orchestrators wait ten
    assert running.process.returncode == 0
    for connection in slow:
        connection.close()
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"cdshooks.db"}
    lines = [json.loads(line) for line in running.log().splitlines()]
    assert lines[0]["event"] == "start"
    assert lines[0]["address"] == running.base
    assert lines[0]["today"] == "2026-03-02"
    assert lines[0]["open"] is True


def test_server_finishes_a_call_that_came_before_sigterm(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    running = Running(folder)
    body = json.dumps(order_sign()).encode()
    connection = running.connect(HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1])
    time.sleep(0.3)
    ending = Thread(target=running.end)
    ending.start()
    time.sleep(0.3)
    connection.sendall(body[-1:])
    assert b" 200 " in connection.recv(65536)
    connection.close()
    ending.join()


def refused(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cdshooks.cli", "serve", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_server_refuses_another_address_unless_open(tmp_path: Path) -> None:
    assert "--open" in refused(tmp_path, "--host", "0.0.0.0", "--port", "8731")


def test_server_refuses_a_taken_port(tmp_path: Path, running: Running) -> None:
    assert "cannot listen" in refused(tmp_path, "--port", str(running.port))


def test_server_refuses_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    config = tmp_path / "cds.toml"
    config.write_text('database = "sqlite:///no/such/folder/x.db"', encoding="utf-8")
    assert "database" in refused(tmp_path, "--config", str(config), "--port", "8732")
