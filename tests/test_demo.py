"""The sample patients: what they get, whether their data are sound, the page that shows them, and the command."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from html.parser import HTMLParser
from http.client import HTTPConnection
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service.app import create_app
from cdshooks.service.config import Settings
from cdshooks.service.demo import HOST, TODAY, Patient, add_pages, read_patients
from cdshooks.service.terminal import Card

EXPECTED = {
    "01-kidney-transplant-right-dose": ["info interaction"],
    "02-kidney-transplant-too-little": ["warning renalDose", "info interaction"],
    "03-kidney-transplant-falling-function": ["critical renalDose"],
    "04-heart-transplant-acute-kidney-injury": [
        "critical renalDose",
        "warning interaction",
        "warning renalFunction",
        "info immunosuppression",
    ],
    "05-haemodialysis-tablets": ["critical contraindication", "info interaction"],
    "06-haemodialysis-right-dose": ["info interaction", "info immunosuppression"],
    "07-hiv-retinitis-text-dose": ["critical renalDose"],
    "08-stem-cell-transplant-milligrams": ["critical renalDose"],
    "09-nephrotic-syndrome-band-edge": ["info renalFunction", "info immunosuppression"],
    "10-infant-congenital": [],
    "11-colitis-once-daily": ["warning renalDose", "info immunosuppression"],
    "12-liver-transplant-obesity": ["info renalDose", "info interaction", "info indication"],
    "13-lung-transplant-no-creatinine": ["warning interaction", "warning dataQuality"],
    "14-lung-transplant-no-dose-yet": ["info doseAdvice", "info interaction", "info immunosuppression"],
    "15-kidney-transplant-foreign-result": ["warning dataQuality", "info interaction"],
    "16-kidney-transplant-neutropenia": ["critical toxicity", "warning interaction"],
    "17-stem-cell-transplant-foscarnet": ["warning toxicity", "warning monitoring"],
    "18-kidney-transplant-maribavir-level": ["warning interaction", "warning monitoring", "info indication"],
    "19-kidney-transplant-resistant": ["critical resistance", "warning response"],
    "20-stem-cell-transplant-letermovir-ciclosporin": ["critical dose", "warning interaction"],
    "21-colitis-pregnant-two-forms": ["critical duplicate", "critical pregnancy"],
    "22-heart-transplant-foscarnet-rate": ["critical administration"],
    "23-kidney-transplant-short-prophylaxis": ["warning duration", "info interaction"],
}
PATIENTS = read_patients()
IDS = [patient.key for patient in PATIENTS]
SETTINGS = Settings(database="sqlite:///:memory:", today=TODAY)


@pytest.fixture(scope="module")
def app(knowledge: Knowledge) -> Flask:
    """The service with the pages, asked without a network."""
    app = create_app(SETTINGS, knowledge=knowledge)
    client = app.test_client()

    def ask(patient: Patient) -> list[Card]:
        answer = client.post(f"/cds-services/{patient.service}", json=patient.request)
        assert answer.status_code == 200, answer.text
        cards: list[Card] = orjson.loads(answer.data)["cards"]
        return cards

    add_pages(app, SETTINGS, knowledge.version, ask)
    return app


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


# --------------------------------------------------------------------------------------------------------------------
# The patients


def test_every_patient_has_an_expectation() -> None:
    assert list(EXPECTED) == IDS


@pytest.mark.parametrize("patient", PATIENTS, ids=IDS)
def test_a_patient_gets_the_cards_its_story_tells(patient: Patient, client: FlaskClient) -> None:
    cards = client.post(f"/cds-services/{patient.service}", json=patient.request).get_json()["cards"]
    assert [f"{card['indicator']} {card['source']['topic']['code']}" for card in cards] == EXPECTED[patient.key]


def test_every_topic_is_shown_by_at_least_one_patient(knowledge: Knowledge) -> None:
    assert {card.split()[1] for cards in EXPECTED.values() for card in cards} == set(knowledge.cards.topics)


def codings(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("system"), str) and isinstance(value.get("code"), str):
            yield value["system"], value["code"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from codings(item)


def test_every_clinical_code_is_one_the_knowledge_holds() -> None:
    folder = files("cdshooks.mappings") / "codes"
    tables = "\n".join(entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".csv"))
    clinical = {
        coding
        for patient in PATIENTS
        for coding in codings(patient.request)
        if re.search(r"loinc|rxnorm|snomed|icd-10", coding[0])
    }
    assert len(clinical) > 40
    assert not sorted(f"{system} {code}" for system, code in clinical if f"\n{system},{code}," not in tables)


@pytest.mark.parametrize("patient", PATIENTS, ids=IDS)
def test_the_data_are_of_nobody_and_not_of_the_future(patient: Patient) -> None:
    text = orjson.dumps(patient.request).decode()
    assert set(patient.request["prefetch"]["patient"]) == {"resourceType", "id", "active", "gender", "birthDate"}
    dates = re.findall(r"\b(?:19|20)\d\d-\d\d-\d\d", text)
    assert max(dates) <= TODAY.isoformat()
    assert max(date for date in dates if date > "2026-11-14"), "the newest data are of the last week"


def test_other_releases_are_shown_as_well() -> None:
    assert {patient.fhir for patient in PATIENTS} == {"R4", "STU3", "DSTU2"}
    assert len({patient.service for patient in PATIENTS}) == 4


# --------------------------------------------------------------------------------------------------------------------
# The page


class Page(HTMLParser):
    """What a page asks a browser to load or run, its ids, and whether its tags are closed in order."""

    VOID = ("meta", "link", "br", "hr", "img", "input", "polyline")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.suspicious: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("script", "style", "img", "iframe", "object", "form"):
            self.suspicious.append(tag)
        self.suspicious += [name for name in given if name == "style" or name.startswith("on")]
        self.loaded += [str(given[name]) for name in ("src",) if name in given]
        self.loaded += [str(given["href"])] if tag == "link" else []
        self.ids += [str(given["id"])] if "id" in given else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("key", ["", *IDS])
def test_the_page_is_sound_and_loads_nothing_from_elsewhere(key: str, client: FlaskClient) -> None:
    response = client.get(f"/patients/{key}" if key else "/")
    assert response.status_code == 200
    assert "unsafe-inline" not in response.headers["Content-Security-Policy"]
    page = Page(response.text)
    assert page.suspicious == []
    assert set(page.loaded) == {"data:,", "/static/style.css"}
    assert len(page.ids) == len(set(page.ids))


def test_every_file_the_page_names_is_there(client: FlaskClient) -> None:
    for path in ("/static/style.css", "/cds-services", "/knowledge", "/openapi.json"):
        with client.get(path) as response:
            assert response.status_code == 200, path


def test_the_page_shows_the_cards_the_request_and_the_fixed_day(client: FlaskClient) -> None:
    html = client.get("/patients/04-heart-transplant-acute-kidney-injury").text
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "21 November 2026" in words
    assert "What the clinician sees: 4 cards" in words
    assert "Change to 2.5 mg/kg once daily" in words
    assert "Override with a reason" in words
    assert "POST /cds-services/cmv-order-sign" in words
    assert html.count("aria-current") == 1
    for other in PATIENTS:
        assert f'href="/patients/{other.key}"' in html


def test_silence_is_shown_as_silence(client: FlaskClient) -> None:
    assert "nothing to say" in client.get("/patients/10-infant-congenital").text


def test_an_unknown_patient_is_not_found(client: FlaskClient) -> None:
    assert client.get("/patients/nobody").status_code == 404


def test_words_of_a_card_are_never_markup_of_the_page(knowledge: Knowledge) -> None:
    nasty = '<script>alert(1)</script> ![x](http://x.example/y) <img src=x onerror="z"> [a](javascript:b)'
    card = {
        "summary": nasty,
        "detail": nasty,
        "indicator": "warning",
        "source": {"label": nasty, "topic": {"display": nasty}},
        "suggestions": [{"label": nasty, "actions": [{"type": nasty}]}],
        "overrideReasons": [{"display": nasty}],
        "extension": {"cmv-cds.finding": {"inputs": [{"name": nasty, "value": nasty}]}},
    }
    app = create_app(SETTINGS, knowledge=knowledge)
    add_pages(app, SETTINGS, knowledge.version, lambda _patient: [card])
    html = app.test_client().get("/").text
    assert Page(html).suspicious == []
    assert 'href="javascript' not in html
    assert html.count("&lt;script&gt;") >= 7


def test_the_service_itself_is_unchanged_behind_the_pages(client: FlaskClient) -> None:
    assert len(client.get("/cds-services").get_json()["services"]) == 5


# --------------------------------------------------------------------------------------------------------------------
# The command


def free_port() -> int:
    with closing(socket.socket()) as trial:
        trial.bind((HOST, 0))
        port: int = trial.getsockname()[1]
        return port


@contextmanager
def start(port: int, *options: str, env: Mapping[str, str] | None = None) -> "Iterator[subprocess.Popen[str]]":
    """The demonstration in a process that ends with the block at the latest: a test that fails must not wait for it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # tests run in the background: a child would ignore it too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "cdshooks.cli", "demo", "--port", str(port), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # with the server that it has started
                os.killpg(process.pid, signal.SIGKILL)


def assert_nobody_listens(port: int) -> None:
    with pytest.raises(ConnectionRefusedError), closing(socket.create_connection((HOST, port), timeout=5)):
        pass


def test_the_table_names_every_patient_and_nothing_stays_behind() -> None:
    port = free_port()
    with start(port, "--once") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for number in range(1, len(PATIENTS) + 1):
        assert f"Patient {number}:" in out
    assert out.count("no card") == sum(not cards for cards in EXPECTED.values())
    for indicator in ("CRITICAL", "WARNING", "INFO"):
        expected = sum(card.startswith(indicator.lower()) for cards in EXPECTED.values() for card in cards)
        assert out.count(indicator) == expected
    assert_nobody_listens(port)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_with_the_page_until_it_is_ended(ending: signal.Signals) -> None:
    port = free_port()
    with start(port) as process:
        assert process.stdout is not None
        assert any("Ctrl-C" in line for line in process.stdout)
        with closing(HTTPConnection(HOST, port, timeout=10)) as connection:
            connection.request("GET", "/patients/02-kidney-transplant-too-little")
            response = connection.getresponse()
            assert response.status == 200
            assert b"is too little at CrCl" in response.read()
        process.send_signal(ending)
        _, err = process.communicate(timeout=60)  # on a busy machine
    assert (process.returncode, err) == (0, "")
    assert_nobody_listens(port)


def test_a_taken_port_is_an_error_in_words() -> None:
    with closing(socket.socket()) as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with start(taken.getsockname()[1], "--once") as process:
            out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "cannot listen there" in err
    assert "Traceback" not in err + out


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    environment = os.environ | {"CDSHOOKS_MAPPINGS": str(tmp_path / "absent")}
    with start(free_port(), "--once", env=environment) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the service did not come up" in err
    assert "sources.yaml: cannot be read" in err
    assert "Traceback" not in err
