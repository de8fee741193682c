"""Against a real FHIR server, HAPI FHIR JPA with the sample patients: what is read there gives the same cards.

Needs Java 17, Maven and the libraries of tests/hapi/pom.xml (some 300 MB the first time); skipped with a word without.
"""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import orjson
import pytest
import requests
from flask import Flask, Response, request
from flask.testing import FlaskClient
from test_clients import BASE, HOSPITAL
from test_http import post
from test_smart import Browser, World, free_port, running
from tokens import key_set, now
from werkzeug.test import TestResponse

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service.app import create_app
from cdshooks.service.config import Client, Limits, Settings, Smart
from cdshooks.service.demo import SAMPLE_FHIR, TODAY, Patient, read_patients, sample_ehr
from cdshooks.service.sample_ehr import SAMPLE_CLIENT
from cdshooks.wire.hooks import PUBLISHED_KEYS

pytestmark = pytest.mark.integration

HAPI = Path(__file__).parent / "hapi"
LIBRARIES_WITHIN_S = 420
STARTED_WITHIN_S = 300
Json = dict[str, Any]
PATIENTS = [patient for patient in read_patients() if patient.fhir == "R4"]  # the server speaks one release


def classpath(folder: Path) -> str:
    """The libraries, brought by Maven; the test is skipped where they cannot be had."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on this machine: the real FHIR server was not started")
    path = folder / "classpath"
    command = [
        "mvn",
        "-q",
        "-B",
        "-f",
        str(HAPI / "pom.xml"),
        "dependency:build-classpath",
        f"-Dmdep.outputFile={path}",
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=LIBRARIES_WITHIN_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(
            f"Maven did not bring the libraries of the FHIR server ({type(error).__name__}): it was not started"
        )
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base of a running server."""
    folder = tmp_path_factory.mktemp("hapi")
    libraries = classpath(folder)
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    log = folder / "log"
    command = ["java", "-XX:TieredStopAtLevel=1", "-Xmx2g", f"-Djava.io.tmpdir={folder}", "-cp", libraries]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(HAPI / "FhirServer.java"), str(port)], stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        until = monotonic() + STARTED_WITHIN_S
        while b"\nready" not in log.read_bytes():
            assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-3000:]
            assert monotonic() < until, "the FHIR server did not start"
            sleep(0.5)
        yield f"http://127.0.0.1:{port}/fhir"
    finally:
        process.kill()
        process.wait()


def put(base: str, *resources: Json) -> None:
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = requests.post(base, json=bundle, headers={"Content-Type": "application/fhir+json"}, timeout=120)
    assert answer.status_code == 200, answer.text[:2000]


def resources_of(patient: Patient) -> list[Json]:
    """Everything that the sample request prefetches."""
    found: dict[str, Json] = {}
    for value in patient.request["prefetch"].values():
        bundle = value or {}
        given = (
            [bundle] if bundle.get("resourceType") == "Patient" else [e["resource"] for e in bundle.get("entry", [])]
        )
        found |= {f"{one['resourceType']}/{one['id']}": one for one in given}
    return list(found.values())


def own(patient: Patient, value: Json | None) -> Json | None:
    """A prefetch value without another patient's data, which a server that searches by patient does not give."""
    if not value or "entry" not in value:
        return value
    person = {"reference": f"Patient/{patient.request['context']['patientId']}"}
    kept = [e for e in value["entry"] if e["resource"].get("subject", e["resource"].get("patient")) == person]
    return {**value, "entry": kept}


@pytest.fixture(scope="module")
def loaded(hapi: str) -> str:
    """The base of the server with all sample patients."""
    for patient in PATIENTS:
        put(hapi, *resources_of(patient))
    return hapi


@pytest.fixture
def client(hapi: str, tmp_path: Path, knowledge: Knowledge) -> FlaskClient:
    (tmp_path / "keys.json").write_bytes(key_set(HOSPITAL))
    entry = Client(
        name="Hospital", iss=HOSPITAL.iss, jwks_file=tmp_path / "keys.json", fhir_bases=(hapi,), allow_plain_http=True
    )
    settings = Settings(
        public_base=BASE,
        database=f"sqlite:///{tmp_path / 'kept.db'}",
        clients=(entry,),
        limits=Limits(deadline_ms=20_000),  # a test of what is read, not of how fast
    )
    return create_app(settings, knowledge=knowledge, today=TODAY).test_client()


def call(client: FlaskClient, patient: Patient, **changes: Any) -> TestResponse:
    path = f"/cds-services/{patient.service}"
    body = patient.request | changes
    return post(client, body, path, Authorization=f"Bearer {HOSPITAL.token(BASE + path, now())}")


@pytest.mark.parametrize("patient", PATIENTS, ids=lambda patient: patient.key)
def test_what_is_read_from_the_server_gives_the_cards_of_what_is_prefetched(
    client: FlaskClient, loaded: str, patient: Patient
) -> None:
    whole = dict.fromkeys(PUBLISHED_KEYS) | {
        key: own(patient, value) for key, value in patient.request["prefetch"].items()
    }
    prefetched = call(client, patient, prefetch=whole).get_json()["cards"]
    fetched = call(client, patient, prefetch={}, fhirServer=loaded).get_json()["cards"]
    assert [card["summary"] for card in fetched] == [card["summary"] for card in prefetched]
    assert [card["extension"] for card in fetched] == [card["extension"] for card in prefetched]


def test_all_pages_of_a_long_history_are_read(client: FlaskClient, loaded: str) -> None:
    patient = next(one for one in PATIENTS if one.service == "cmv-order-sign" and call(client, one).get_json()["cards"])
    person = patient.request["context"]["patientId"]
    subject = {"reference": f"Patient/{person}"}
    active = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
    history = [
        {"resourceType": "Condition", "id": f"{person}-{n}", "subject": subject, "clinicalStatus": active,
         "code": {"text": f"Common cold, number {n}"}}
        for n in range(60)
    ]  # fmt: skip
    put(loaded, *history)
    newest = {"Cache-Control": "no-cache"}
    answered = requests.get(f"{loaded}/Condition", params={"patient": person}, headers=newest, timeout=60)
    assert "HAPI FHIR" in answered.headers["X-Powered-By"]
    first = answered.json()
    assert any(link["relation"] == "next" for link in first["link"]), "one page would hold it all"
    answer = call(client, patient, prefetch={}, fhirServer=loaded)
    assert answer.get_json()["cards"]
    assert "incomplete" not in answer.text
    for condition in history:
        requests.delete(f"{loaded}/Condition/{condition['id']}", timeout=60).raise_for_status()


def test_a_patient_whom_the_server_does_not_know_is_a_failure_and_no_empty_record(
    client: FlaskClient, loaded: str
) -> None:
    patient = PATIENTS[0]
    body = orjson.loads(
        orjson.dumps(patient.request).replace(patient.request["context"]["patientId"].encode(), b"nobody")
    )
    answer = call(client, patient, **body | {"prefetch": {}, "fhirServer": loaded})
    assert answer.status_code == 200
    assert "fetch failed" in answer.text
    assert "404" in answer.text


SHEETS = [patient for patient in PATIENTS if patient.key[:2] in ("01", "03", "17", "19", "22")]


def rows(page: str) -> list[str]:
    """What the flow sheet says: its cards and the rows of its tables."""
    return re.findall(r"<h3.*?</h3>|<tr>.*?</tr>", page, re.DOTALL)


@pytest.fixture(scope="module")
def sheets(loaded: str, knowledge: Knowledge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """The app with two record systems: the sample one, and one that signs in alike and hands reads to the server."""
    folder = tmp_path_factory.mktemp("sheets")
    ports = [free_port() for _ in range(3)]
    bases = [f"http://127.0.0.1:{port}" for port in ports]
    worlds = {}
    systems = []
    for name, base in zip(("sample", "server"), bases[1:], strict=True):
        ehr = sample_ehr(base, "")
        ehr.redirect_uri = f"{bases[0]}/smart/callback"
        system = Flask(name)
        system.register_blueprint(ehr.blueprint(SAMPLE_FHIR))
        worlds[name] = World(bases[0], ehr)
        systems.append(system)
    asked = worlds["server"].asked

    @systems[1].before_request
    def handed_on() -> Response | None:
        path = request.path.removeprefix(SAMPLE_FHIR)
        if path in ("/authorize", "/token") or path.startswith("/.well-known"):
            return None
        asked.append(path)
        answer = requests.get(
            loaded + path,
            params=list(request.args.items(multi=True)),
            headers={"Cache-Control": "no-cache"},
            timeout=60,
        )
        body = answer.content.replace(loaded.encode(), worlds["server"].iss.encode())
        return Response(body, answer.status_code, content_type=answer.headers["Content-Type"])

    smart = Smart(client_id=SAMPLE_CLIENT, iss=tuple(world.iss for world in worlds.values()))
    settings = Settings(database=f"sqlite:///{folder}/smart.db", today=TODAY, public_base=bases[0], smart=smart)
    with (
        running(create_app(settings, knowledge=knowledge), ports[0]),
        running(systems[0], ports[1]),
        running(systems[1], ports[2]),
    ):
        yield worlds


@pytest.mark.parametrize("patient", SHEETS, ids=lambda patient: patient.key)
def test_the_app_shows_the_same_sheet_from_the_server(sheets: dict[str, World], patient: Patient) -> None:
    person = patient.request["context"]["patientId"]
    pages = {name: Browser(world).through(person) for name, world in sheets.items()}
    assert {page.status_code for page in pages.values()} == {200}
    assert len(rows(pages["server"].text)) > 5
    assert rows(pages["server"].text) == rows(pages["sample"].text)
    assert "could be read" not in pages["server"].text
    assert "/Observation" in sheets["server"].asked
