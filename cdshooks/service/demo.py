"""The service with sample patients: a table of their cards in the terminal, and a page that shows them.

The real server answers and is asked over HTTP, like any client would. The patients are invented; their dates are fixed,
so the clinical date is too.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib.resources import files
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import orjson
from flask import Flask, Response, abort, render_template
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdshooks import __version__
from cdshooks.errors import CdsError, ConfigurationError
from cdshooks.service import server
from cdshooks.service.app import create_app
from cdshooks.service.config import Settings, Smart
from cdshooks.service.pages import page_policy
from cdshooks.service.sample_ehr import SAMPLE_CLIENT, SampleEhr, resources_of
from cdshooks.service.terminal import COLOURS, Card

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge

HOST: Final = "127.0.0.1"
TODAY: Final = date(2026, 11, 21)  # of the sample patients
SAMPLE_FHIR: Final = "/fhir"
READY_WITHIN_S: Final = 60  # on a busy machine
ANSWER_WITHIN_S: Final = 10
LINKS: Final = (("/cds-services", "discovery"), ("/knowledge", "rules and sources"), ("/openapi.json", "OpenAPI"))


class NotAnswered(CdsError):
    """The service did not answer a sample patient's request."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A sample patient: what it is about in words, and the hook request that an EHR would send."""

    key: str  # in the page's address
    title: str
    story: tuple[str, ...]
    order: str  # in words
    fhir: str  # release
    service: str
    request: dict[str, Any]


Ask = Callable[[Patient], list[Card]]
"""Gets the cards for a patient from the service."""


def read_patients() -> tuple[Patient, ...]:
    """The sample patients, in the order of their files."""
    folder = files("cdshooks.service") / "demo_patients"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name)
    return tuple(_patient(entry.name.removesuffix(".json"), orjson.loads(entry.read_bytes())) for entry in found)


def _patient(key: str, told: dict[str, Any]) -> Patient:
    return Patient(key=key, **told | {"story": tuple(told["story"])})


# --------------------------------------------------------------------------------------------------------------------
# Run


def run(settings: Settings, *, port: int, once: bool = False) -> None:
    """Start the service on loopback, print the patients' cards, stay up until Ctrl-C; with `once`, end after the table.

    Raises:
        ConfigurationError: the address cannot be had, or the service does not come up.
    """
    server.usable_address(HOST, port, open_to_all=False)
    today = settings.today or TODAY
    base = f"http://{HOST}:{port}"
    console = Console()
    with tempfile.TemporaryDirectory(prefix="cdshooks-demo-") as folder, _ended_by_signals():
        log = Path(folder) / "log"
        smart = Smart(client_id=SAMPLE_CLIENT, iss=(base + SAMPLE_FHIR,))
        database = f"sqlite:///{folder}/demo.db"
        own = {"today": today, "database": database, "public_base": base, "clients": (), "smart": smart}
        with _service(settings.model_copy(update=own), port, log) as process:
            _wait_until_ready(process, port, log)
            console.print(table([(patient, ask_over_http(port, patient)) for patient in read_patients()], today))
            if not once:
                console.print(Text(f"\nThe patients and their cards: {base}/   (Ctrl-C ends)"))
                process.join()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the block without a trace, so that nothing of it stays behind."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


_ASK_AGAIN_S = 3 * server.END_WITHIN_S  # longer than the server takes to finish what runs


@contextmanager
def _service(settings: Settings, port: int, log: Path) -> Iterator[SpawnProcess]:
    """The server in a process of its own, which ends with the block."""
    process = get_context("spawn").Process(target=_serve, args=(settings, port, log))
    process.start()
    try:
        yield process
    finally:
        while process.is_alive():  # a signal that meets the server at its start is lost: it is sent again
            process.terminate()
            process.join(_ASK_AGAIN_S)


def _serve(settings: Settings, port: int, log: Path) -> None:
    """In the server's process: its log lines go to a file, as the terminal belongs to the table."""
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
    try:
        server.serve(settings, host=HOST, port=port, make_app=demo_app)
    except CdsError as error:
        sys.exit(str(error))  # to the log, which the parent shows


def _wait_until_ready(process: SpawnProcess, port: int, log: Path) -> None:
    latest = monotonic() + READY_WITHIN_S
    while monotonic() < latest and process.is_alive():
        with suppress(OSError, HTTPException):  # nobody listens yet
            if _exchange(port, "GET", "/health/ready")[0] == HTTPStatus.OK:
                return
        sleep(0.02)
    said = log.read_text(encoding="utf-8").strip() if log.exists() else ""
    raise ConfigurationError(f"the service did not come up: {said or 'it wrote no log'}")


def ask_over_http(port: int, patient: Patient) -> list[Card]:
    """The cards of the service on this machine, asked as an EHR would."""
    status, answer = _exchange(port, "POST", f"/cds-services/{patient.service}", orjson.dumps(patient.request))
    if status != HTTPStatus.OK:
        raise NotAnswered(f"{patient.title}: the service answered {status}")
    cards: list[Card] = orjson.loads(answer)["cards"]
    return cards


def _exchange(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """One HTTP call on loopback, never through a proxy: status and body."""
    with closing(HTTPConnection(HOST, port, timeout=ANSWER_WITHIN_S)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def table(answers: Iterable[tuple[Patient, Sequence[Card]]], today: date) -> Table:
    """All patients with their orders and cards, for the terminal."""
    drawn = Table(title=f"Sample patients on {today.isoformat()}", show_lines=True, expand=True)
    for heading, width in (("patient", 3), ("order", 3), ("cards", 6)):
        drawn.add_column(heading, ratio=width)
    for patient, cards in answers:
        said = (
            Text("\n").join(_line(card) for card in cards) if cards else Text("no card: nothing to say", style="green")
        )
        drawn.add_row(Text(patient.title), Text(patient.order), said)
    return drawn


def _line(card: Card) -> Text:
    return Text.assemble((card["indicator"].upper(), f"bold {COLOURS[card['indicator']]}"), f" {card['summary']}")


# --------------------------------------------------------------------------------------------------------------------
# Pages


def demo_app(settings: Settings, *, knowledge: "Knowledge") -> Flask:
    """The service, with the sample patients in place of its home page; it asks for their cards over HTTP."""
    app = create_app(settings, knowledge=knowledge)
    base = settings.public_base or ""
    port = urlsplit(base).port
    if port is None:
        raise ConfigurationError("public_base: the sample patients need an address with a port")
    add_pages(app, settings, knowledge.version, partial(ask_over_http, port))
    app.register_blueprint(sample_ehr(base, settings.smart.redirect).blueprint(SAMPLE_FHIR))
    return app


def sample_ehr(base: str, redirect_path: str) -> SampleEhr:
    """A record system at the address `base` that holds the sample patients whose data are FHIR R4."""
    held = {
        patient.request["context"]["patientId"]: resources_of(patient.request["prefetch"])
        for patient in read_patients()
        if patient.fhir == "R4"
    }
    return SampleEhr(base + SAMPLE_FHIR, held, base + redirect_path)


def add_pages(app: Flask, settings: Settings, knowledge_version: str, ask: Ask) -> None:
    """Put the sample patients at `/` and at `/patients/<key>`."""
    patients = read_patients()
    policy = page_policy(settings.smart.frame_ancestors)

    @cache
    def answers() -> tuple[tuple[Patient, list[Card]], ...]:  # the same request always gets the same cards
        return tuple((patient, ask(patient)) for patient in patients)

    def page(key: str) -> Response:
        keys = [patient.key for patient in patients]
        if key not in keys:
            abort(404)
        place = keys.index(key)
        patient, cards = answers()[place]
        html = render_template(
            "demo.html",
            answers=answers(),
            patient=patient,
            cards=cards,
            before=patients[place - 1] if place else None,
            after=patients[place + 1] if place + 1 < len(patients) else None,
            person=_person(patient),
            results=_results(patient),
            today=settings.today or TODAY,
            links=LINKS,
            launch=_launch(patient, settings),
            version=__version__,
            knowledge_version=knowledge_version,
        )
        return Response(html, headers=policy, mimetype="text/html")

    app.view_functions["home"] = lambda: page(patients[0].key)
    app.add_url_rule("/patients/<key>", "patient", page)


def _launch(patient: Patient, settings: Settings) -> str:
    """Where the SMART app opens for a patient, as an EHR would launch it from a card; "" where it cannot."""
    if patient.fhir != "R4" or not settings.smart.iss:
        return ""
    asked = {"iss": settings.smart.iss[0], "launch": patient.request["context"]["patientId"]}
    return f"/smart/launch?{urlencode(asked)}"


def _person(patient: Patient) -> str:
    who = patient.request["prefetch"]["patient"]
    return f"{who['gender']}, born {who['birthDate']}"


def _results(patient: Patient) -> list[dict[str, Any]]:
    """What the request says about the kidneys, as sent: rows of a table, newest first."""
    bundle = patient.request["prefetch"].get("kidney", {})
    return [entry["resource"] for entry in bundle.get("entry", ())]
