"""Reading what was not sent: only from listed servers, within the deadline, with a failure for every failure."""

import gzip
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

import pytest
import responses
from fake_ehr import FakeEhr, Handler, Listener
from flask.testing import FlaskClient
from test_clients import AUDIENCE, BASE, HOSPITAL
from test_http import PATIENT_ID, TODAY, order_sign, post
from tokens import key_set, now
from werkzeug.test import TestResponse

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.model import Missing, Why
from cdshooks.service.app import create_app
from cdshooks.service.config import Client, Limits, Settings
from cdshooks.service.fhir_server import FAILURES, FhirReader, _is_below, listed_base
from cdshooks.service.outgoing import Destination
from cdshooks.wire.hooks import HookCall, Secret, read_call

Serve = Callable[..., FlaskClient]
DEADLINE_MS = 1500  # generous: these tests share two cores with others


@pytest.fixture
def ehr(knowledge: Knowledge) -> Iterator[FakeEhr]:
    server = FakeEhr(order_sign()["prefetch"], knowledge.prefetch_queries)
    yield server
    server.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


@pytest.fixture
def serve(tmp_path: Path, knowledge: Knowledge) -> Serve:
    """The service for one client with the given entry."""
    (tmp_path / "keys.json").write_bytes(key_set(HOSPITAL))

    def served(*bases: str, deadline_ms: int = DEADLINE_MS, body_mb: float = 10, **entry: Any) -> FlaskClient:
        client = Client(
            name="Hospital",
            iss=HOSPITAL.iss,
            jwks_file=tmp_path / "keys.json",
            fhir_bases=bases,
            allow_plain_http=True,
            **entry,
        )
        settings = Settings(
            public_base=BASE,
            database=f"sqlite:///{tmp_path / 'kept.db'}",
            clients=(client,),
            limits=Limits(deadline_ms=deadline_ms, body_mb=body_mb),
        )
        return create_app(settings, knowledge=knowledge, today=TODAY).test_client()

    return served


def call(client: FlaskClient, fhir_server: Any, **changes: Any) -> TestResponse:
    """The order without anything prefetched, and where more can be had."""
    body = order_sign() | {"fhirServer": fhir_server} | changes
    if "prefetch" not in changes:
        del body["prefetch"]
    service = body["hook"]
    path = f"/cds-services/cmv-{service}"
    return post(client, body, path, Authorization=f"Bearer {HOSPITAL.token(BASE + path, now())}")


def cards(response: TestResponse) -> list[tuple[str, str, str]]:
    assert response.status_code == 200, response.text
    return [(c["source"]["topic"]["code"], c["indicator"], c["summary"]) for c in response.get_json()["cards"]]


def text(response: TestResponse) -> str:
    assert response.status_code == 200, response.text
    return "\n".join(card["summary"] + "\n" + card["detail"] for card in response.get_json()["cards"])


# --------------------------------------------------------------------------------------------------------------------
# What is read


def test_what_was_not_sent_is_read_and_gives_the_same_cards(serve: Serve, ehr: FakeEhr) -> None:
    client = serve(ehr.base)
    fetched = call(client, ehr.base)
    everything = order_sign()["prefetch"] | dict.fromkeys(
        key for key in ehr.queries if key not in order_sign()["prefetch"]
    )
    assert cards(fetched) == cards(call(client, ehr.base, prefetch=everything))
    assert cards(fetched)[0][:2] == ("renalDose", "critical")
    assert sorted(map(ehr.key, ehr.asked)) == sorted(ehr.queries)


def test_only_what_was_not_sent_is_read(serve: Serve, ehr: FakeEhr) -> None:
    sent = order_sign()["prefetch"] | {"conditions": None, "procedures": None, "counts": None}
    call(serve(ehr.base), ehr.base, prefetch=sent)
    assert sorted(map(ehr.key, ehr.asked)) == sorted(ehr.queries.keys() - sent.keys())


def test_what_the_client_failed_to_fetch_is_not_asked_for_again(serve: Serve, ehr: FakeEhr) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    response = call(serve(ehr.base), ehr.base, prefetch=dict.fromkeys(ehr.queries, outcome))
    assert ehr.asked == []
    assert "fetch failed" in text(response)


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_slash_at_the_end_does_not_matter(serve: Serve, ehr: FakeEhr, slash: str) -> None:
    assert cards(call(serve(ehr.base + slash), ehr.base + "/"))[0][0] == "renalDose"


def test_an_order_of_another_drug_opens_nothing(serve: Serve, ehr: FakeEhr) -> None:
    body = order_sign()
    order = body["context"]["draftOrders"]["entry"][0]["resource"]
    order["medicationCodeableConcept"] = {"text": "Amoxicillin 500 mg capsule"}
    assert cards(call(serve(ehr.base), ehr.base, context=body["context"])) == []
    order["medicationCodeableConcept"] = {}
    assert cards(call(serve(ehr.base), ehr.base, context=body["context"])) == []
    assert ehr.connections == 0


def test_an_order_of_another_patient_opens_nothing(serve: Serve, ehr: FakeEhr) -> None:
    body = order_sign()
    body["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/other"}
    assert cards(call(serve(ehr.base), ehr.base, context=body["context"]))[0][0] == "dataQuality"
    assert ehr.connections == 0


def active_order() -> dict[str, Any]:
    order = order_sign()["context"]["draftOrders"]["entry"][0]["resource"] | {"status": "active", "id": "running"}
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": order}]}


def test_a_chart_that_is_opened_is_read_further_only_with_cmv_therapy(serve: Serve, ehr: FakeEhr) -> None:
    client = serve(ehr.base)
    chart = {"hook": "patient-view", "context": {"patientId": PATIENT_ID, "userId": "Practitioner/1"}}
    assert cards(call(client, ehr.base, **chart)) == []
    assert list(map(ehr.key, ehr.asked)) == ["medications"]
    ehr.asked.clear()
    ehr.prefetch["medications"] = active_order()
    assert cards(call(client, ehr.base, **chart))[0][0] == "renalDose"
    assert sorted(map(ehr.key, ehr.asked)) == sorted(ehr.queries)


def test_dstu2_orders_are_looked_for_by_their_own_name(serve: Serve, ehr: FakeEhr) -> None:
    ehr.answer = lambda handler: handler.send_json({"resourceType": "Bundle", "type": "searchset"})
    call(serve(ehr.base, fhir_release="DSTU2"), ehr.base)
    assert any(path.startswith("/fhir/MedicationOrder?patient=") for path in ehr.asked)
    assert not any("MedicationRequest" in path for path in ehr.asked)


def test_queries_are_encoded(serve: Serve, ehr: FakeEhr) -> None:
    call(serve(ehr.base), ehr.base)
    kidney = next(path for path in ehr.asked if "2160-0" in path)
    assert kidney.startswith(f"/fhir/Observation?patient={PATIENT_ID}&code=http%3A%2F%2Floinc.org%7C")
    assert kidney.endswith("&_sort=-date&_count=100")
    assert f"/fhir/Patient/{PATIENT_ID}" in ehr.asked


@pytest.mark.parametrize(
    "patient", ["../Patient", "..", ".", "1?x=1", "1/../2", "1#", "1&patient=2", "1%2f", "ä", "x" * 65, "1 or 2"]
)
def test_a_patient_id_that_could_change_the_address_opens_nothing(serve: Serve, ehr: FakeEhr, patient: str) -> None:
    body = order_sign()
    body["context"]["patientId"] = patient
    del body["context"]["draftOrders"]["entry"][0]["resource"]["subject"]
    response = call(serve(ehr.base), ehr.base, context=body["context"])
    assert response.status_code == 200
    asked = [path for path in ehr.asked if patient.rsplit("/", 1)[-1] not in path]
    assert asked == []
    assert all("/../" not in path and path.count("?") <= 1 for path in ehr.asked)


def test_another_patients_record_is_never_used(serve: Serve, ehr: FakeEhr) -> None:
    ehr.prefetch["patient"] = ehr.prefetch["patient"] | {"id": "somebody-else"}
    said = text(call(serve(ehr.base), ehr.base))
    assert "another patient" in said or "not the patient of this call" in said


# --------------------------------------------------------------------------------------------------------------------
# The token


def test_the_token_is_sent_to_the_base_and_nowhere_else(
    serve: Serve, ehr: FakeEhr, capsys: pytest.CaptureFixture[str]
) -> None:
    authorization = {"access_token": "secret-4711-token", "token_type": "Bearer", "expires_in": 300, "scope": "x"}
    client = serve(ehr.base)
    response = call(client, ehr.base, fhirAuthorization=authorization)
    assert {headers["Authorization"] for headers in ehr.headers} == {"Bearer secret-4711-token"}
    ehr.headers.clear()
    call(client, ehr.base)
    assert ehr.headers
    assert all("Authorization" not in headers for headers in ehr.headers), "it ended with its request"
    assert "secret-4711" not in response.text + "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        [],
        "x",
        {},
        {"access_token": 7},
        {"access_token": "a b"},
        {"access_token": "a\r\nX-Other: 1"},
        {"access_token": "x", "token_type": "mac"},
        {"access_token": "é"},
        {"access_token": ""},
    ],
)
def test_what_is_no_bearer_token_is_not_sent(serve: Serve, ehr: FakeEhr, authorization: Any) -> None:
    call(serve(ehr.base), ehr.base, fhirAuthorization=authorization)
    assert ehr.headers
    assert all({"Authorization", "X-Other"}.isdisjoint(headers) for headers in ehr.headers)


def test_a_secret_is_shown_by_nothing() -> None:
    secret = Secret("secret-4711")
    hook_call = read_call(
        "cmv-order-sign",
        json.dumps(order_sign() | {"fhirAuthorization": {"access_token": "secret-4711"}}).encode(),
        max_depth=64,
        max_entries=10_000,
        prefetch_keys={},
    )
    assert repr(secret) == str(secret) == f"{secret}" == "***"
    assert hook_call.fhir_token is not None
    assert hook_call.fhir_token.reveal() == "secret-4711"
    assert "4711-" not in repr(hook_call)
    assert "secret" not in repr(hook_call)
    with pytest.raises(TypeError):
        __import__("pickle").dumps(secret)


def test_no_cookie_is_kept(serve: Serve, ehr: FakeEhr) -> None:
    ehr.answer = lambda handler: handler.send_json(
        {"resourceType": "Bundle", "type": "searchset"}, Set_Cookie="session=1; Path=/"
    )
    client = serve(ehr.base)
    for _ in range(2):
        call(client, ehr.base)
    assert all("Cookie" not in headers for headers in ehr.headers)


def test_nothing_of_the_environment_leads_elsewhere(
    serve: Serve, ehr: FakeEhr, listener: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password word\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert cards(call(serve(ehr.base), ehr.base))[0][0] == "renalDose"
    assert listener.connections == 0
    assert all("Authorization" not in headers for headers in ehr.headers)


# --------------------------------------------------------------------------------------------------------------------
# Forged addresses


def forged(port: int, base: str, real: int) -> list[Any]:
    """Addresses by which one might hope to reach `port`, or another path of the listed `base` on `real`."""
    evil = f"127.0.0.1:{port}"
    return [
        f"http://{evil}",
        f"http://{evil}/fhir",
        f"https://{evil}/fhir",
        f"HTTP://{evil}/fhir",
        f"http://localhost:{port}/fhir",
        f"http://127.1:{port}/fhir",
        f"http://2130706433:{port}/fhir",
        f"http://0x7f000001:{port}/fhir",
        f"http://0177.0.0.1:{port}/fhir",
        f"http://0:{port}/fhir",
        f"http://0.0.0.0:{port}/fhir",
        f"http://[::1]:{port}/fhir",
        f"http://[::ffff:127.0.0.1]:{port}/fhir",
        f"http://[::ffff:7f00:1]:{port}/fhir",
        f"http://①②⑦.0.0.1:{port}/fhir",
        f"http://127。0。0。1:{port}/fhir",
        f"http://127.0.0.1.:{port}/fhir",
        f"http://127.0.0.1.nip.io:{port}/fhir",
        f"//{evil}/fhir",
        f"{evil}/fhir",
        f"http:/{evil}/fhir",
        f"http:{evil}/fhir",
        f"http:\\\\{evil}\\fhir",
        f"http:///{evil}/fhir",
        f" http://{evil}/fhir",
        f"http://{evil}/fhir ",
        f"\thttp://{evil}/fhir",
        f"http://127.0.0.1:{real}@{evil}/fhir",
        f"http://127.0.0.1:{real}%40{evil}/fhir",
        f"http://user:word@127.0.0.1:{real}/fhir",
        f"{base}@{evil}",
        f"{base}@{evil}/fhir",
        f"http://{evil}/?{base}",
        f"http://{evil}/#{base}",
        f"http://{evil}/fhir;{base}",
        f"http://{evil}\\@127.0.0.1:{real}/fhir",
        f"http://127.0.0.1:{real}\\@{evil}/fhir",
        f"http://{evil}#@127.0.0.1:{real}/fhir",
        f"http://{evil}%23@127.0.0.1:{real}/fhir",
        f"{base}\r\nHost: {evil}",
        f"{base}%0d%0aHost:%20{evil}",
        f"{base}\x00.{evil}",
        f"{base} {evil}",
        f"{base}/../../fhir",
        f"{base}/%2e%2e/admin",
        f"{base}/..;/admin",
        f"{base}/admin",
        f"{base}//",
        f"{base}?x=http://{evil}",
        f"{base}#",
        f"{base}.evil.example.org",
        f"{base}x",
        base.upper(),
        base.replace("127.0.0.1", "localhost"),
        base.replace("http://", "https://"),
        base.replace(f":{real}", f":0{real}"),
        base.replace("/fhir", ""),
        base.replace("/fhir", "/FHIR"),
        base.replace("/fhir", "/./fhir"),
        base.replace("/fhir", "/%66hir"),
        f"file:///etc/passwd?{base}",
        f"gopher://{evil}/_GET",
        f"ftp://{evil}/fhir",
        f"unix://{evil}",
        f"data:application/json,{base}",
        f"jar:http://{evil}!/",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00:ec2::254]/latest",
        [base],
        {"url": base},
        [f"http://{evil}"],
        7,
        True,
        None,
        "",
    ]


def test_the_list_of_forged_addresses_is_long() -> None:
    assert len({json.dumps(one) for one in forged(1, "http://127.0.0.1:2/fhir", 2)}) >= 57


def test_no_forged_address_is_ever_connected_to(serve: Serve, ehr: FakeEhr, listener: Listener) -> None:
    client = serve(ehr.base, "https://ehr.example.org/r4")
    body = order_sign()
    del body["prefetch"]
    path = "/cds-services/cmv-order-sign"
    unsent = post(client, body, path, Authorization=f"Bearer {HOSPITAL.token(AUDIENCE, now())}")
    for address in forged(listener.port, ehr.base, ehr.port):
        authorization = {"access_token": "secret", "token_type": "Bearer"}
        response = call(client, address, fhirAuthorization=authorization)
        assert response.data == unsent.data, address
    sleep(0.2)
    assert (listener.connections, ehr.connections) == (0, 0)


def test_an_open_service_connects_nowhere(tmp_path: Path, knowledge: Knowledge, ehr: FakeEhr) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'kept.db'}")
    client = create_app(settings, knowledge=knowledge, today=TODAY).test_client()
    body = order_sign() | {"fhirServer": ehr.base}
    del body["prefetch"]
    assert "not sent" in text(post(client, body))
    assert ehr.connections == 0


def test_a_client_without_a_list_and_another_clients_list_connect_nowhere(serve: Serve, ehr: FakeEhr) -> None:
    assert "not sent" in text(call(serve(), ehr.base))
    assert "not sent" in text(call(serve("https://ehr.example.org/r4"), ehr.base))
    assert ehr.connections == 0


def test_the_address_connected_to_is_the_listed_one(knowledge: Knowledge) -> None:
    hook_call = read_call(
        "cmv-order-sign",
        json.dumps(order_sign() | {"fhirServer": "https://ehr.example.org/r4/"}).encode(),
        max_depth=64,
        max_entries=10_000,
        prefetch_keys={},
    )
    client = Client.model_construct(name="x", iss="x", fhir_bases=("https://ehr.example.org/r4",))
    assert listed_base(hook_call, client) is client.fhir_bases[0]


# --------------------------------------------------------------------------------------------------------------------
# Names and addresses


@pytest.mark.parametrize(
    ("url", "networks", "address", "admitted"),
    [
        ("https://ehr.example.org", (), "93.184.216.34", True),
        ("https://ehr.example.org", (), "2606:2800:220:1::1", True),
        ("https://ehr.example.org", (), "127.0.0.1", False),
        ("https://ehr.example.org", (), "10.1.2.3", False),
        ("https://ehr.example.org", (), "172.16.0.1", False),
        ("https://ehr.example.org", (), "192.168.0.1", False),
        ("https://ehr.example.org", (), "169.254.169.254", False),
        ("https://ehr.example.org", (), "100.64.0.1", False),
        ("https://ehr.example.org", (), "0.0.0.0", False),
        ("https://ehr.example.org", (), "224.0.0.1", False),
        ("https://ehr.example.org", (), "255.255.255.255", False),
        ("https://ehr.example.org", (), "::1", False),
        ("https://ehr.example.org", (), "::", False),
        ("https://ehr.example.org", (), "fe80::1", False),
        ("https://ehr.example.org", (), "fd00:ec2::254", False),
        ("https://ehr.example.org", (), "::ffff:10.1.2.3", False),
        ("https://ehr.example.org", (), "::ffff:169.254.169.254", False),
        ("https://ehr.example.org", (), "64:ff9b::a9fe:a9fe", False),
        ("https://ehr.example.org", (), "2002:a9fe:a9fe::1", False),
        ("https://ehr.example.org", ("10.0.0.0/8",), "10.1.2.3", True),
        ("https://ehr.example.org", ("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        ("https://ehr.example.org", ("10.0.0.0/8",), "192.168.0.1", False),
        ("https://ehr.example.org", ("10.0.0.0/8",), "127.0.0.1", False),
        ("https://ehr.example.org", ("fd00::/8",), "fd00::1", True),
        ("https://10.1.2.3/r4", (), "10.1.2.3", True),
        ("https://10.1.2.3/r4", (), "10.1.2.4", False),
        ("https://[fd00::1]:8443/r4", (), "fd00::1", True),
        ("http://localhost:8080/fhir", (), "127.0.0.1", True),
        ("http://localhost:8080/fhir", (), "::1", True),
        ("http://localhost:8080/fhir", (), "10.1.2.3", False),
        ("http://localhost:8080/fhir", (), "93.184.216.34", False),
    ],
)
def test_a_private_address_is_connected_to_only_where_the_configuration_says_so(
    url: str, networks: tuple[str, ...], address: str, admitted: bool
) -> None:
    destination = Destination(url, tuple(map(ip_network, networks)))
    assert destination.admits(ip_address(address)) is admitted


class Names:
    """Stands for the name service; real connections follow."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked += 1
        address = self.answers[min(self.asked, len(self.answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in address.split(",")]


@pytest.mark.parametrize("answers", [("127.0.0.1",), ("127.0.0.1,127.0.0.2",), ("169.254.169.254",), ("10.0.0.1",)])
def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    serve: Serve, ehr: FakeEhr, monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...]
) -> None:
    base = f"http://ehr.example.org:{ehr.port}/fhir"
    monkeypatch.setattr(socket, "getaddrinfo", Names(*answers))
    client = serve(base)
    started = monotonic()
    said = text(call(client, base))
    assert "fetch failed" in said
    assert "address of the server is not a permitted one" in said
    assert monotonic() - started < DEADLINE_MS / 1000
    assert ehr.connections == 0


def test_the_address_that_was_checked_is_the_one_connected_to(
    serve: Serve, ehr: FakeEhr, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"http://ehr.example.org:{ehr.port}/fhir"
    names = Names("127.0.0.1", "127.0.0.1")
    monkeypatch.setattr(socket, "getaddrinfo", names)
    client = serve(base, fhir_networks=(ip_network("127.0.0.0/8"),))
    assert cards(call(client, base))[0][0] == "renalDose"
    assert names.asked == ehr.connections, "one look-up for one connection: no second answer can come between"
    assert all(headers["Host"] == f"ehr.example.org:{ehr.port}" for headers in ehr.headers)


def test_a_name_that_changes_its_answer_is_checked_each_time(
    serve: Serve, ehr: FakeEhr, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"http://ehr.example.org:{ehr.port}/fhir"
    monkeypatch.setattr(socket, "getaddrinfo", Names("127.0.0.1", "10.9.9.9"))
    client = serve(base, fhir_networks=(ip_network("127.0.0.0/8"),))
    call(client, base)
    assert ehr.connections == 1


# --------------------------------------------------------------------------------------------------------------------
# Servers that fail


def outcomes(client: FlaskClient) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    reads = (line for line in lines if line.startswith("cdshooks_fhir_reads_total"))
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in reads}


def hang(handler: Handler) -> None:
    sleep(10)


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        handler.wfile.write(b"X-%d: 1\r\n" % number)
        sleep(0.05)


def drip_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        sleep(0.05)


def close_at_once(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def deep(handler: Handler) -> None:
    handler.send_body(b'{"resourceType":"Bundle","x":' + b"[" * 500 + b"]" * 500 + b"}")


def broken_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nno header at all\r\nContent-Length: 2\r\n\r\n{}")


BOMB = gzip.compress(b"{}" * 2_000_000)

FAILING: dict[str, tuple[str, Callable[[Handler], None]]] = {
    "hangs": ("not answer in time", hang),
    "drips headers": ("not answer in time", drip_headers),
    "drips the body": ("not answer in time", drip_body),
    "hangs up": ("no answer from the server", close_at_once),
    "breaks headers": ("fetch failed", broken_headers),
    "500": ("the server answered 500", lambda handler: handler.send_json({}, 500)),
    "401": ("the server answered 401", lambda handler: handler.send_json({}, 401)),
    "403": ("the server answered 403", lambda handler: handler.send_json({}, 403)),
    "404": ("the server answered 404", lambda handler: handler.send_json({}, 404)),
    "302": ("the server answered 302", lambda handler: handler.send_json({}, 302, Location=handler.path + "&x=1")),
    "307": ("the server answered 307", lambda handler: handler.send_json({}, 307, Location=handler.path + "&x=1")),
    "204": ("the server answered 204", lambda handler: handler.send_body(b"", 204)),
    "206": ("the server answered 206", lambda handler: handler.send_json({}, 206)),
    "web page": ("the answer is no JSON", lambda handler: handler.send_body(b"<html>Quetzalcoatlus</html>")),
    "empty": ("the answer is no JSON", lambda handler: handler.send_body(b"")),
    "array": ("the answer is no FHIR resource", lambda handler: handler.send_json([])),
    "no resource": ("the answer is no FHIR resource", lambda handler: handler.send_json({"x": 1})),
    "too deep": ("nested deeper", deep),
    "too large": ("the answer is over", lambda handler: handler.send_body(b" " * 2_000_000)),
    "compressed": (
        "the answer is compressed",
        lambda handler: handler.send_body(BOMB, Content_Encoding="gzip"),
    ),
    "outcome": (
        "fetch failed",
        lambda handler: handler.send_json(
            {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "security"}]}
        ),
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_server_that_fails_gives_gaps_in_time_that_say_so(
    serve: Serve, ehr: FakeEhr, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    phrase, ehr.answer = FAILING[name]
    client = serve(ehr.base, body_mb=1)
    started = monotonic()
    response = call(client, ehr.base)
    took = monotonic() - started
    said = text(response)
    assert "fetch failed" in said
    assert phrase in said
    assert "not sent" not in said, "it was asked for"
    assert "Quetzalcoatlus" not in response.text
    assert PATIENT_ID not in caplog.text, "a library's warning would quote the address"
    assert took < DEADLINE_MS / 1000 + 3
    assert len(set(ehr.asked)) <= len(ehr.queries), "no redirect was followed"


@pytest.mark.parametrize("name", ["hangs", "drips headers", "drips the body"])
def test_no_thread_is_held_up_after_the_deadline(serve: Serve, ehr: FakeEhr, name: str) -> None:
    _, ehr.answer = FAILING[name]
    client = serve(ehr.base, deadline_ms=200)

    def waiting() -> int:
        return sum(
            "_search" in (frame.f_code.co_name for frame in stack(thread.ident))
            for thread in threading.enumerate()
            if thread.name.startswith("fhir")
        )

    call(client, ehr.base)
    until = monotonic() + 3
    while waiting() and monotonic() < until:
        sleep(0.02)
    assert waiting() == 0


def stack(ident: int | None) -> Iterator[Any]:
    frame = __import__("sys")._current_frames().get(ident)
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_one_key_that_fails_costs_the_others_nothing(serve: Serve, ehr: FakeEhr) -> None:
    def partly(handler: Handler) -> None:
        if ehr.key(handler.path) == "conditions":
            sleep(DEADLINE_MS / 1000 + 1)
        elif ehr.key(handler.path) == "procedures":
            handler.send_json({}, 500)
        else:
            ehr.search(handler)

    ehr.answer = partly
    client = serve(ehr.base)
    response = call(client, ehr.base)
    assert cards(response)[0][0] == "renalDose"
    assert "fetch failed" in text(response)
    assert outcomes(client) == {"answered": len(ehr.queries) - 2, "failed": 2}


def test_a_failed_read_asks_for_412_where_the_client_wants_that(serve: Serve, ehr: FakeEhr) -> None:
    ehr.answer = lambda handler: handler.send_json({}, 500)
    assert call(serve(ehr.base, missing_data="412"), ehr.base).status_code == 412


def test_the_server_is_down(serve: Serve, ehr: FakeEhr) -> None:
    ehr.close()
    assert "no answer from the server" in text(call(serve(ehr.base), ehr.base))


def test_all_reads_share_one_deadline_and_run_at_once(serve: Serve, ehr: FakeEhr) -> None:
    def slow(handler: Handler) -> None:
        sleep(0.3)
        ehr.search(handler)

    ehr.answer = slow
    client = serve(ehr.base)
    started = monotonic()
    assert cards(call(client, ehr.base))[0][0] == "renalDose"
    assert monotonic() - started < 0.3 * len(ehr.queries) / 2


def test_waiting_for_a_server_takes_nobodys_turn(serve: Serve, ehr: FakeEhr) -> None:
    waits = Event()

    def held(handler: Handler) -> None:
        waits.set()
        sleep(DEADLINE_MS / 1000)

    ehr.answer = held
    client = serve(ehr.base)
    slow = [threading.Thread(target=call, args=(client.application.test_client(), ehr.base)) for _ in range(8)]
    for thread in slow:
        thread.start()
    assert waits.wait(5)
    started = monotonic()
    assert cards(call(client, "", prefetch=order_sign()["prefetch"]))[0][0] == "renalDose"
    assert monotonic() - started < DEADLINE_MS / 1000
    for thread in slow:
        thread.join()


# --------------------------------------------------------------------------------------------------------------------
# Further pages


def paged(ehr: FakeEhr, link: Callable[[int], str], pages: int) -> Callable[[Handler], None]:
    """Conditions in pages of one; the last names dialysis. `link` gives the address of a page."""

    def answer(handler: Handler) -> None:
        if "/Condition" not in handler.path and "page=" not in handler.path:
            return ehr.search(handler)
        number = int(handler.path.partition("page=")[2] or 1)
        words = "Dependence on renal dialysis" if number == pages else "Hay fever"
        code = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "Z99.2"}]} if number == pages else {}
        condition = {
            "resourceType": "Condition",
            "id": f"c{number}",
            "subject": {"reference": f"Patient/{PATIENT_ID}"},
            "code": code | {"text": words},
            "clinicalStatus": {"coding": [{"code": "active"}]},
        }
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": condition}]}
        if number < pages:
            bundle["link"] = [{"relation": "self", "url": "x"}, {"relation": "next", "url": link(number + 1)}]
        return handler.send_json(bundle)

    return answer


@pytest.mark.parametrize("path", ["?page=", "/Condition?page=", "/Condition?patient=1&page="])
def test_further_pages_of_the_same_server_are_read(serve: Serve, ehr: FakeEhr, path: str) -> None:
    ehr.answer = paged(ehr, lambda number: f"{ehr.base}{path}{number}", 3)
    response = call(serve(ehr.base), ehr.base)
    assert "dialysis" in text(response)
    assert "incomplete" not in text(response)


def test_pages_without_end_are_cut_off_and_called_incomplete(serve: Serve, ehr: FakeEhr) -> None:
    ehr.answer = paged(ehr, lambda number: f"{ehr.base}?page={number}", 10**6)
    assert "conditions was sent: incomplete" in text(call(serve(ehr.base), ehr.base))
    assert 5 < sum("page=" in path for path in ehr.asked) < 20


def test_a_page_that_leads_back_is_read_once(serve: Serve, ehr: FakeEhr) -> None:
    ehr.answer = paged(ehr, lambda _: f"{ehr.base}?page=1", 10**6)
    assert "incomplete" in text(call(serve(ehr.base), ehr.base))
    assert sum("page=" in path for path in ehr.asked) == 1


FOREIGN = [
    "http://127.0.0.1:{evil}/fhir?page=2",
    "http://127.0.0.1:{real}@127.0.0.1:{evil}/fhir?page=2",
    "http://127.0.0.1:{real}\\@127.0.0.1:{evil}/fhir?page=2",
    "//127.0.0.1:{evil}/fhir?page=2",
    "/fhir?page=2",
    "?page=2",
    "http://127.0.0.1:{real}/other?page=2",
    "http://127.0.0.1:{real}/fhirx?page=2",
    "http://127.0.0.1:{real}/fhir/../other?page=2",
    "http://127.0.0.1:{real}/fhir/%2e%2e/other?page=2",
    "http://127.0.0.1:{real}/fhir//other?page=2",
    "http://127.0.0.1:{real}/fhir/./x?page=2",
    "http://localhost:{real}/fhir?page=2",
    "https://127.0.0.1:{real}/fhir?page=2",
    "HTTP://127.0.0.1:{real}/fhir?page=2",
    "http://127.0.0.1:{real}/fhir?page=2\r\nHost: x",
    "http://127.0.0.1:{real}/fhir#?page=2",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("form", FOREIGN)
def test_a_page_elsewhere_is_not_read(serve: Serve, ehr: FakeEhr, listener: Listener, form: str) -> None:
    address = form.format(evil=listener.port, real=ehr.port)
    ehr.answer = paged(ehr, lambda _: address, 10**6)
    authorization = {"access_token": "secret", "token_type": "Bearer"}
    assert "incomplete" in text(call(serve(ehr.base), ehr.base, fhirAuthorization=authorization))
    sleep(0.05)
    assert listener.connections == 0
    assert not any("page=" in path for path in ehr.asked)
    assert not _is_below(address, ehr.base)


# --------------------------------------------------------------------------------------------------------------------
# Leaving a failing server alone


def hook_call() -> HookCall:
    body = order_sign() | {"fhirServer": "https://ehr.example.org/r4"}
    return read_call("cmv-order-sign", json.dumps(body).encode(), max_depth=64, max_entries=10_000, prefetch_keys={})


LISTED = Client.model_construct(name="x", iss="x", fhir_bases=("https://ehr.example.org/r4", "https://b.example.org"))


def test_a_server_that_fails_again_and_again_is_left_alone_for_a_while() -> None:
    clock = [0.0]
    reader = FhirReader([LISTED], Limits(), clock=lambda: clock[0])

    def read() -> Any:
        answers = reader.read(hook_call(), LISTED, {"patient": f"Patient/{PATIENT_ID}"}, until=monotonic() + 5)
        return answers["patient"]

    url = f"https://ehr.example.org/r4/Patient/{PATIENT_ID}"
    with responses.RequestsMock(assert_all_requests_are_fired=False) as server:
        server.get(url, status=503)
        for _ in range(FAILURES):
            assert isinstance(read(), Missing)
        assert len(server.calls) == FAILURES
        resting = read()
        assert resting.why is Why.FETCH_FAILED
        assert "not asked for the moment" in resting.detail
        assert len(server.calls) == FAILURES, "nobody asked"
        clock[0] += 29
        read()
        assert len(server.calls) == FAILURES
        clock[0] += 1
        read()
        assert len(server.calls) == FAILURES + 1, "one call tries again"
        read()
        assert len(server.calls) == FAILURES + 1
        clock[0] += 30
        server.replace(responses.GET, url, json={"resourceType": "Patient", "id": PATIENT_ID})
        assert read() == {"resourceType": "Patient", "id": PATIENT_ID}
        assert read() == {"resourceType": "Patient", "id": PATIENT_ID}, "and all is well again"


def test_a_server_that_says_no_has_not_failed() -> None:
    reader = FhirReader([LISTED], Limits())
    with responses.RequestsMock() as server:
        server.get(f"https://ehr.example.org/r4/Patient/{PATIENT_ID}", status=403)
        for _ in range(FAILURES * 2):
            reader.read(hook_call(), LISTED, {"patient": f"Patient/{PATIENT_ID}"}, until=monotonic() + 5)
        assert len(server.calls) == FAILURES * 2


def test_connections_are_kept_open_between_calls(serve: Serve, ehr: FakeEhr) -> None:
    client = serve(ehr.base)
    for _ in range(3):
        assert cards(call(client, ehr.base))[0][0] == "renalDose"
    assert len(ehr.asked) == 3 * len(ehr.queries)
    assert ehr.connections <= 2 * len(ehr.queries)


def test_nothing_of_these_reads_stands_in_the_log(
    serve: Serve, ehr: FakeEhr, capsys: pytest.CaptureFixture[str]
) -> None:
    call(serve(ehr.base), ehr.base)
    out, err = capsys.readouterr()
    line = json.loads(err.splitlines()[-1])
    assert (line["fetched"], line["not_fetched"]) == (len(ehr.queries), 0)
    for word in (PATIENT_ID, "Quetzalcoatlus", "127.0.0.1", "1961", os.fspath(ehr.base)):
        assert word not in out + err
