"""What a verdict costs, against the least that any answer costs. One run, on loopback, with the real server.

floor   = processor time of `orjson.loads` of the same bytes (in this process)
        + processor time of the server process for a bare Flask route that reads the body and returns a small JSON
verdict = processor time of the server process for the hook call

Rounds alternate between the two, so that a machine that slows down slows both. See README.md.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import socket
from time import perf_counter, process_time, sleep
from typing import Any

import orjson
from flask import Flask, Response, request

from cdshooks.service import server
from cdshooks.service.config import Settings

HOST = "127.0.0.1"
TODAY = date(2026, 11, 21)
RATIO_LIMIT = 3.0
START_LIMIT_S = 1.5
STARTS = 5
WARM_UP = 30
BARE_REQUESTS = 5  # for each hook call: they are short, and the clock of a process has ticks of 10 ms
TICKS = os.sysconf("SC_CLK_TCK")
HOOK = "/cds-services/cmv-order-sign"

Json = dict[str, Any]

# key, LOINC, name, unit, UCUM, middle, spread, how often
ANALYTES = (
    ("kidney", "2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 1.2, 0.05, 26),
    ("kidney", "29463-7", "Body weight", "kg", "kg", 72.0, 1.0, 14),
    ("kidney", "8302-2", "Body height", "cm", "cm", 175.0, 0.0, 2),
    ("kidney", "1751-7", "Albumin [Mass/volume] in Serum or Plasma", "g/dL", "g/dL", 3.9, 0.1, 14),
    ("counts", "751-8", "Neutrophils [#/volume] in Blood by Automated count", "10*3/uL", "10*3/uL", 3.8, 0.6, 24),
    ("counts", "718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", "g/dL", 11.8, 0.5, 24),
    ("counts", "777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", "10*3/uL", 210.0, 20.0, 24),
    ("electrolytes", "2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", "mmol/L", 4.4, 0.2, 20),
    ("electrolytes", "2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", "mmol/L", 139.0, 1.5, 16),
    ("electrolytes", "19123-9", "Magnesium [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 1.8, 0.1, 12),
    ("virology", "72493-0", "Cytomegalovirus DNA [Units/volume] in Serum or Plasma", "IU/mL", "[IU]/mL", 60.0, 9.0, 12),
    ("levels", "11253-2", "Tacrolimus [Mass/volume] in Blood", "ng/mL", "ng/mL", 8.0, 0.8, 12),
)  # fmt: skip
DRUGS = (
    ("198377", "tacrolimus 1 MG Oral Capsule"),
    ("200060", "mycophenolate mofetil 500 MG Oral Tablet"),
    ("312617", "predniSONE 5 MG Oral Tablet"),
    ("198334", "sulfamethoxazole 400 MG / trimethoprim 80 MG Oral Tablet"),
)
CONDITIONS = (
    ("Z94.0", "Kidney transplant status", "2026-09-01"),
    ("", "Hypertension", "2009-04-02"),
    ("", "Type 2 diabetes mellitus", "2014-01-20"),
    ("", "Hyperlipidaemia", "2015-06-11"),
    ("", "Secondary hyperparathyroidism", "2021-03-30"),
)
LOINC, RXNORM, UCUM = "http://loinc.org", "http://www.nlm.nih.gov/research/umls/rxnorm", "http://unitsofmeasure.org"
SUBJECT = {"reference": "Patient/bench"}


# --------------------------------------------------------------------------------------------------------------------
# The request


def full_request(tablets: int, *, lean: bool) -> bytes:
    """200 Observations over a year, 20 MedicationRequests; `lean` leaves out what a laboratory system usually adds."""
    chance = random.Random(7)  # noqa: S311 - sample data
    groups: dict[str, list[Json]] = {}
    for group, loinc, name, unit, ucum, middle, spread, times in ANALYTES:
        for i in range(times):
            on = TODAY - timedelta(days=2 + i * 360 // times)
            value = round(chance.uniform(middle - spread, middle + spread), 2)
            resource = observation(f"{loinc}-{i}", loinc, name, unit, ucum, on, value)
            groups.setdefault(group, []).append(resource if lean else resource | laboratory_extras(unit, ucum, middle))
    medications = [medication(f"m-{i}", *DRUGS[i % len(DRUGS)], count=1, status="active") for i in range(19)]
    order = medication("order", "313566", "valganciclovir 450 MG Oral Tablet", count=tablets, status="draft")
    order["reasonCode"] = [{"text": "CMV prophylaxis"}]
    groups |= {"medications": medications, "conditions": [condition(i, *c) for i, c in enumerate(CONDITIONS)]}
    groups |= {"procedures": [procedure(i) for i in range(3)], "allergies": [], "reports": [], "pregnancy": []}
    prefetch: Json = {
        "patient": {"resourceType": "Patient", "id": "bench", "gender": "male", "birthDate": "1966-05-04"}
    }
    prefetch |= {
        key: {"resourceType": "Bundle", "type": "searchset", **entries(found)} for key, found in groups.items()
    }
    context = {"userId": "Practitioner/bench", "patientId": "bench"}
    drafts = {"resourceType": "Bundle", "type": "collection", **entries([order])}
    instance = "0b6f2a52-7a5e-4c41-9d0c-3c0f3b6a3f11"
    sent = {
        "hook": "order-sign",
        "hookInstance": instance,
        "context": context | {"draftOrders": drafts},
        "prefetch": prefetch,
    }
    return orjson.dumps(sent)


def entries(resources: list[Json]) -> Json:
    return {"entry": [{"resource": resource} for resource in resources]} if resources else {}


def observation(name: str, loinc: str, display: str, unit: str, ucum: str, on: date, value: float) -> Json:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": loinc, "display": display}]},
        "subject": SUBJECT,
        "effectiveDateTime": f"{on}T06:30:00+00:00",
        "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": ucum},
    }


def laboratory_extras(unit: str, ucum: str, middle: float) -> Json:
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}
    interpretation = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "N"}

    def limit(factor: float) -> Json:
        return {"value": round(middle * factor, 2), "unit": unit, "system": UCUM, "code": ucum}

    return {
        "category": [{"coding": [category | {"display": "Laboratory"}]}],
        "encounter": {"reference": "Encounter/bench"},
        "issued": "2026-11-19T08:30:00+00:00",
        "performer": [{"reference": "Organization/laboratory", "display": "Central laboratory"}],
        "interpretation": [{"coding": [interpretation | {"display": "Normal"}]}],
        "referenceRange": [{"low": limit(0.7), "high": limit(1.3)}],
    }


def medication(name: str, rxnorm: str, display: str, *, count: int, status: str) -> Json:
    dose = {"value": count, "unit": "tablet", "system": UCUM, "code": "{tbl}"}
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{"system": RXNORM, "code": rxnorm, "display": display}],
            "text": display,
        },
        "subject": SUBJECT,
        "authoredOn": "2026-11-21",
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
                "route": {
                    "coding": [{"system": "http://snomed.info/sct", "code": "26643006", "display": "Oral route"}]
                },
                "doseAndRate": [{"doseQuantity": dose}],
            }
        ],
    }


def condition(number: int, icd10: str, text: str, since: str) -> Json:
    coding = [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": icd10, "display": text}] if icd10 else []
    status = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
    code = {"text": text} | ({"coding": coding} if coding else {})
    return {
        "resourceType": "Condition",
        "id": f"c-{number}",
        "clinicalStatus": status,
        "code": code,
        "subject": SUBJECT,
        "onsetDateTime": since,
    }


def procedure(number: int) -> Json:
    text = ("Kidney transplantation from a deceased donor", "Ureteric stent removal", "Ultrasound of the graft")[number]
    return {
        "resourceType": "Procedure",
        "id": f"p-{number}",
        "status": "completed",
        "code": {"text": text},
        "subject": SUBJECT,
        "performedDateTime": f"2026-09-{number * 9 + 1:02d}",
    }


# --------------------------------------------------------------------------------------------------------------------
# The servers


def bare_app(_settings: Settings, **_: object) -> Flask:
    """The least a Flask service can do with a body."""
    app = Flask("bare")

    @app.post(HOOK)
    def read() -> Response:
        return Response(orjson.dumps({"bytes": len(request.get_data())}), mimetype="application/json")

    @app.get("/health/live")
    def live() -> Response:
        return Response(b"{}", mimetype="application/json")

    return app


def serve_bare(port: int) -> None:
    """The bare application on the service's own server, with its settings."""
    server.serve(Settings(database="sqlite:///:memory:"), host=HOST, port=port, make_app=bare_app)


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[tuple[int, int, float]]:
    """(port, process id of the worker, moment of its start) of a server that answers; ends it afterwards."""
    port = free_port()
    environment = os.environ | {"CDSHOOKS_DATABASE": f"sqlite:///{folder}/bench.db", "CDSHOOKS_TODAY": str(TODAY)}
    started = perf_counter()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, *command, str(port)], env=environment, stderr=log)
    try:
        wait_until_live(process, port, folder)
        yield port, worker_of(process.pid), started
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    with closing(socket()) as trial:
        trial.bind((HOST, 0))
        port: int = trial.getsockname()[1]
        return port


def wait_until_live(process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    for _ in range(5000):
        if process.poll() is not None:
            break
        try:
            with closing(HTTPConnection(HOST, port, timeout=5)) as connection:
                connection.request("GET", "/health/live")
                connection.getresponse().read()
                return
        except (OSError, HTTPException):
            sleep(0.004)
    sys.exit(f"the server did not start: {(folder / 'log').read_text()[-800:]}")


def worker_of(pid: int) -> int:
    """The one child that answers requests."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[-1]) if children else pid


def processor_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far (in ticks of 10 ms, so measure many requests at once)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# --------------------------------------------------------------------------------------------------------------------
# Measuring


class Caller:
    """One keep-alive connection to a server, and what its requests cost there."""

    def __init__(self, port: int, pid: int) -> None:
        self.connection = HTTPConnection(HOST, port, timeout=30)
        self.pid = pid
        self.seconds: list[float] = []  # of each request, as the client sees it

    def post(self, body: bytes) -> bytes:
        self.connection.request("POST", HOOK, body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        answer = response.read()
        if response.status != 200:
            sys.exit(f"status {response.status}: {answer[:300]!r}")
        return answer

    def cost(self, body: bytes, times: int) -> float:
        """Processor seconds of the server for one request, as the mean of `times`."""
        before = processor_seconds(self.pid)
        for _ in range(times):
            started = perf_counter()
            self.post(body)
            self.seconds.append(perf_counter() - started)
        return (processor_seconds(self.pid) - before) / times


def loads_cost(body: bytes, times: int) -> float:
    before = process_time()
    for _ in range(times):
        orjson.loads(body)
    return (process_time() - before) / times


def start_times(folder: Path, body: bytes) -> list[float]:
    """Seconds from the command to the first verdict."""
    found = []
    for _ in range(STARTS):
        with running(["-m", "cdshooks.cli", "serve", "--port"], folder) as (port, pid, started):
            Caller(port, pid).post(body)
            found.append(perf_counter() - started)
    return found


def in_words(values: list[float], scale: float, unit: str, digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle * scale:.{digits}f}{unit} (min {low * scale:.{digits}f}, max {high * scale:.{digits}f})"


def measure(name: str, body: bytes, service: Caller, bare: Caller, rounds: int, requests: int) -> float:
    """Print what one kind of request costs; returns the median ratio."""
    cards = len(orjson.loads(service.post(body))["cards"])
    service.cost(body, WARM_UP)
    bare.cost(body, WARM_UP)
    service.seconds.clear()
    ratios, verdicts, floors = [], [], []
    for _ in range(rounds):
        floor = bare.cost(body, requests * BARE_REQUESTS) + loads_cost(body, requests)
        verdict = service.cost(body, requests)
        floors.append(floor)
        verdicts.append(verdict)
        ratios.append(verdict / floor)
    milliseconds = sorted(1000 * second for second in service.seconds)
    p50, p95 = (milliseconds[int(len(milliseconds) * share)] for share in (0.50, 0.95))
    print(f"{name}: {len(body) / 1024:.0f} KiB, {cards} card{'' if cards == 1 else 's'}")
    print(
        f"  floor    {in_words(floors, 1000, ' ms', 2)}, of it orjson.loads {loads_cost(body, requests) * 1000:.2f} ms"
    )
    print(f"  verdict  {in_words(verdicts, 1000, ' ms', 2)}")
    print(f"  ratio    {in_words(ratios, 1, '', 2)}   limit {RATIO_LIMIT:g}")
    print(f"  latency  p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    return statistics.median(ratios)


def profile(body: bytes) -> None:
    """Where the time goes in this process, without server: the functions that take longest themselves."""
    import cProfile
    import pstats
    from zoneinfo import ZoneInfo

    from cdshooks.medicine.knowledge_files import load_knowledge
    from cdshooks.pipeline import evaluate
    from cdshooks.wire.hooks import read_call

    knowledge = load_knowledge()

    def once() -> bytes:
        call = read_call("cmv-order-sign", body, max_depth=64, max_entries=10_000, prefetch_keys={})
        return evaluate(call, knowledge=knowledge, today=TODAY, zone=ZoneInfo("UTC")).body

    once()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(50):
        once()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit code 1 when a limit is passed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=120, help="hook calls in a round")
    parser.add_argument("--profile", action="store_true", help="only: the functions that take longest")
    parser.add_argument("--serve-bare", type=int, metavar="PORT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_bare:
        serve_bare(given.serve_bare)
        return
    kinds: dict[str, Callable[[], bytes]] = {
        "a card, as a laboratory system sends it": partial(full_request, 1, lean=False),
        "silent, as a laboratory system sends it": partial(full_request, 2, lean=False),
        "a card, bare resources": partial(full_request, 1, lean=True),
    }
    if given.profile:
        profile(full_request(1, lean=True))
        return
    with tempfile.TemporaryDirectory(prefix="cdshooks-bench-") as name:
        folder = Path(name)
        starts = start_times(folder, full_request(1, lean=False))
        print(f"start-up to the first verdict  {in_words(starts, 1, ' s', 2)}   limit {START_LIMIT_S:g} s")
        with (
            running(["-m", "cdshooks.cli", "serve", "--port"], folder) as (port, pid, _),
            running([__file__, "--serve-bare"], folder) as (bare_port, bare_pid, _),
        ):
            service, bare = Caller(port, pid), Caller(bare_port, bare_pid)
            ratios = [measure(k, make(), service, bare, given.rounds, given.requests) for k, make in kinds.items()]
    if given.check and (max(ratios) > RATIO_LIMIT or statistics.median(starts) > START_LIMIT_S):
        sys.exit(1)


if __name__ == "__main__":
    main()
