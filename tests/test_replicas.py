"""The real server with its database: two replicas on one PostgreSQL, kills, the disk before the answer, logs."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pg_server
import pytest
import requests
import torture
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from scenario import load_scenarios, render
from sqlalchemy import create_engine, select, text
from tokens import Issuer, key_set, now

from cdshooks.service import audit
from cdshooks.service.report import make_report
from cdshooks.service.store import FEEDBACK, open_store, upgrade_store

SCENARIOS = load_scenarios()
TOO_MUCH = next(s for s in SCENARIOS if s.worst == "critical" and s.hook == "order-sign")
SIGN = "/cds-services/cmv-order-sign"
JSON = {"Content-Type": "application/json"}


@contextmanager
def replica(address: str, folder: Path, name: str = "a", **settings: str) -> Iterator[tuple[str, int, Path]]:
    """A running service: its address, the id of its process, its log. Ends with SIGTERM, and has to end well."""
    port, log = torture.free_port(), folder / f"{name}.log"
    given = {"CDSHOOKS_TODAY": TOO_MUCH.today.isoformat()} | settings
    before = dict(os.environ)
    os.environ.update(given)
    try:
        with torture.service(address, port, log) as process:
            torture.wait_until_ready(port, process)
            yield f"http://127.0.0.1:{port}", process.pid, log
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_two_replicas_share_cards_feedback_and_one_audit(tmp_path: Path) -> None:
    with pg_server.database() as address, ExitStack() as running:
        upgrade_store(address)
        (one, _, _), (two, _, _) = (running.enter_context(replica(address, tmp_path, name)) for name in ("a", "b"))
        request = render(TOO_MUCH)
        first = requests.post(one + SIGN, json=request, timeout=10)
        assert requests.post(two + SIGN, json=request, timeout=10).content == first.content
        card = first.json()["cards"][0]["uuid"]
        entry = {"card": card, "outcome": "accepted", "outcomeTimestamp": "2026-03-02T10:00:00Z"}
        for base in (two, one, two):
            answer = requests.post(f"{base}{SIGN}/feedback", json={"feedback": [entry]}, timeout=10)
            assert answer.json() == {"kept": 1, "matched": 1}, "a card that the other replica showed is known"

        def work(number: int) -> int:
            base = (one, two)[number % 2]
            calls = requests.post(base + SIGN, json=request, timeout=20)
            told = {"feedback": [{"card": f"unknown-{number}", "outcome": "overridden"}]}
            return max(calls.status_code, requests.post(f"{base}{SIGN}/feedback", json=told, timeout=20).status_code)

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(work, range(80))) == {200}
        store = open_store(address)
        with store.connect() as connection:
            kept = connection.scalars(select(FEEDBACK.c.card)).all()
        assert sorted(kept) == sorted([card, *(f"unknown-{number}" for number in range(80))])
        chain = audit.verify(store, [audit.audit_key(store, None)])
        assert (chain.entries, chain.broken) == (2 + 3 + 160, "")
        assert {line.rule: line.accepted for line in make_report(store, {}).rules}
        store.dispose()


def test_two_replicas_let_a_token_in_once(tmp_path: Path) -> None:
    """Whoever hears a token cannot use it at the other replica, and of two at the same moment one is let in."""
    hospital = Issuer("https://ehr.example.org", "key-1", ec.generate_private_key(ec.SECP384R1()))
    (tmp_path / "keys.json").write_bytes(key_set(hospital))
    config = tmp_path / "cds.toml"
    config.write_text(
        'public_base = "https://cds.example.org"\n[[clients]]\nname = "General Hospital"\n'
        f'iss = "{hospital.iss}"\nalgorithms = ["ES384"]\njwks_file = "keys.json"\n',
        encoding="utf-8",
    )
    body = orjson.dumps(render(TOO_MUCH))

    def call(base: str, token: str) -> int:
        headers = JSON | {"Authorization": f"Bearer {token}"}
        return requests.post(base + SIGN, data=body, headers=headers, timeout=20).status_code

    with pg_server.database() as address, ExitStack() as running:
        upgrade_store(address)
        bases = [
            running.enter_context(replica(address, tmp_path, name, CDSHOOKS_CONFIG=str(config)))[0] for name in "ab"
        ]
        token = hospital.token(f"https://cds.example.org{SIGN}", now())
        assert [call(base, token) for base in (bases[0], bases[1], bases[0])] == [200, 401, 401]
        raced = [hospital.token(f"https://cds.example.org{SIGN}", now()) for _ in range(12)]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(call, bases * len(raced), [one for one in raced for _ in bases]))
        assert sorted(answers) == [200] * len(raced) + [401] * len(raced)


def test_a_replica_that_loses_its_database_answers_on_and_is_not_ready(tmp_path: Path) -> None:
    with pg_server.database() as address, replica_over_broken(address, tmp_path) as (base, log):
        assert requests.get(f"{base}/health/ready", timeout=10).status_code == 503
        assert requests.get(f"{base}/health/live", timeout=10).status_code == 200
        answer = requests.post(base + SIGN, json=render(TOO_MUCH), timeout=10)
        assert answer.json()["cards"]
        told = {"feedback": [{"card": "x", "outcome": "overridden"}]}
        assert requests.post(f"{base}{SIGN}/feedback", json=told, timeout=10).status_code == 500, "not kept: no 200"
        assert "cdshooks_calls_not_kept_total 1.0" in requests.get(f"{base}/metrics", timeout=10).text
        assert "call not kept" in log.read_text(encoding="utf-8")


@contextmanager
def replica_over_broken(address: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """A replica whose tables are taken away while it runs."""
    upgrade_store(address)
    with replica(address, folder) as (base, _, log):
        engine = create_engine(address)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
            connection.execute(text("ALTER TABLE feedback RENAME TO elsewhere_too"))
        engine.dispose()
        yield base, log


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_confirmed_is_lost_or_doubled_by_kills(kind: str, tmp_path: Path) -> None:
    """The short run; `make torture` is the long one."""
    console = Console(file=(tmp_path / "told").open("w", encoding="utf-8"))
    with ExitStack() as used:
        used.callback(console.file.close)
        address = f"sqlite:///{tmp_path / 'kept.db'}"
        if kind == "postgresql":
            address = used.enter_context(pg_server.database())
        upgrade_store(address)
        assert torture.torture(address, kills=3, writes=240, seed=7, folder=tmp_path, console=console) == []


def test_the_report_is_on_disk_before_the_answer(tmp_path: Path) -> None:
    """Seen from outside, by the system calls of the server."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed on this machine")
    trace = tmp_path / "trace"
    with replica(f"sqlite:///{tmp_path / 'kept.db'}", tmp_path) as (base, pid, _):
        (worker,) = subprocess.run(
            ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True
        ).stdout.split()  # fmt: skip
        calls = "trace=fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg"
        command = ["strace", "-f", "-y", "-s", "40", "-e", calls, "-o", str(trace), "-p", worker]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
            assert tracer.stderr
            started = tracer.stderr.readline()  # "strace: Process … attached"
            if b"attached" not in started:
                pytest.skip(f"strace may not look at processes here: {started.decode().strip()}")
            for number in range(5):
                told = {"feedback": [{"card": f"card-{number}", "outcome": "accepted"}]}
                assert requests.post(f"{base}{SIGN}/feedback", json=told, timeout=10).status_code == 200
            tracer.send_signal(signal.SIGINT)
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    kinds = "".join(
        "s" if re.search(r"f(data)?sync\(\d+<[^>]*kept\.db-wal>", line)
        else "w" if re.search(r"pwrite64\(\d+<[^>]*kept\.db-wal>", line)
        else "a" if "HTTP/1.1 200" in line
        else ""
        for line in lines
    )  # fmt: skip
    assert re.fullmatch(r"(w+sa){5}", kinds), kinds


def test_a_megabyte_of_logs_holds_nothing_of_any_patient(tmp_path: Path) -> None:
    """Every scenario, whole and damaged, with reports full of names; then every private word is looked for."""
    private = {
        "pat-1": "MRN4711zzQ", "pat-77": "MRN9922yyX", "Testperson": "Ignatiusz", "Quillfeather": "Quetzalcoatlusz",
    }  # fmt: skip
    user, token, comment = "Practitioner/Xanthippez", "eyJsecrettokenz", "called Mrs Zwiebelfischz"
    chance, numbers = random.Random(4), count()

    def request(scenario: Any) -> bytes:
        made = render(scenario)
        made["context"]["userId"] = user
        made["fhirServer"] = "https://ehr.privatez.example.org/r4"
        made["fhirAuthorization"] = {"access_token": token, "token_type": "Bearer", "subject": "privatez"}
        instance = next(numbers)
        made["hookInstance"] = "MRN4711zzQ" if instance % 9 == 0 else f"d1577c69-dfbe-44ad-ba6d-{instance:012x}"
        body = orjson.dumps(made)
        for plain, marked in private.items():
            body = body.replace(plain.encode(), marked.encode())
        return body

    def damaged(body: bytes) -> Iterator[bytes]:
        for _ in range(4):
            yield body[: chance.randrange(1, len(body))]
        yield body.replace(b'"context":{', b'"context":{"patientId":"MRN4711zzQ","patientId":"MRN4711zzQ",')
        yield body.replace(b'"hookInstance":"', b'"hookInstance":["MRN4711zzQ"],"was":"')
        if chance.random() < 0.3:
            yield re.sub(rb'"value":[\d.]+', b'"value":"Quetzalcoatlusz"', body)
            yield body.replace(b'"resourceType"', b'"resourcetype"', chance.randrange(1, 5))

    path = tmp_path / "kept.db"
    with replica(f"sqlite:///{path}", tmp_path) as (base, _, log), requests.Session() as session:
        statuses = set()
        while log.stat().st_size < 1_000_000:
            scenario = chance.choice(SCENARIOS)
            body = request(scenario)
            where = f"{base}/cds-services/{scenario.service}"
            headers = JSON | {"Authorization": f"Bearer {token}", "X-Patient": "MRN4711zzQ"}
            for sent in damaged(body):
                statuses.add(session.post(where, data=sent, headers=headers, timeout=20).status_code)
            answer = session.post(where, data=body, headers=headers, timeout=20)
            reason = {"code": "MRN4711zzQ", "system": "urn:x", "display": "Quetzalcoatlusz"}
            for card in [*(card["uuid"] for card in answer.json()["cards"]), "Quetzalcoatlusz", "MRN4711zzQ"]:
                entry = {"card": card, "outcome": "overridden", "outcomeTimestamp": "MRN4711zzQ",
                         "overrideReason": {"reason": reason, "userComment": comment}}  # fmt: skip
                session.post(f"{where}/feedback", json={"feedback": [entry]}, headers=headers, timeout=20)
                session.post(f"{where}/feedback", json={"feedback": entry}, headers=headers, timeout=20)
            session.get(f"{base}/cds-services/MRN4711zzQ?patient=Quetzalcoatlusz", timeout=20)
        assert {200, 400} <= statuses
    written = log.read_text(encoding="utf-8")
    assert len(written) >= 1_000_000
    patients = [render(scenario)["prefetch"].get("patient") for scenario in SCENARIOS]
    born = {patient.get("birthDate", "") for patient in patients if isinstance(patient, dict)}
    born = {day for day in born if len(day) == len("1970-01-31")}  # a year alone may be any number
    words = {*private, *private.values(), "Xanthippe", token, "Zwiebelfisch", "privatez", "Practitioner", *born}
    found = {word for word in words if word in written}
    assert found == set()
    fields = {name for line in written.splitlines() for name in orjson.loads(line)}
    assert fields <= {
        "time", "level", "event", "service", "hook_instance", "status", "ms", "cards", "topics", "rules", "shown",
        "knowledge", "entries", "matched", "address", "mode", "open", "today", "version", "audit_entries",
        "audit_head", "check", "error", "where", "reference", "message",
    }  # fmt: skip
    store = open_store(f"sqlite:///{path}")
    kept = orjson.dumps([row | {"at": ""} for row in audit.entries(store)]).decode()
    assert {word for word in words if word in kept} == set()
    assert audit.verify(store, [audit.audit_key(store, None)]).broken == ""
    store.dispose()


def test_the_start_writes_the_head_of_the_audit_to_the_log(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'kept.db'}"
    with replica(address, tmp_path, "first") as (base, _, log):
        requests.post(base + SIGN, json=render(TOO_MUCH), timeout=10)
        start = orjson.loads(log.read_bytes().splitlines()[0])
        assert (start["event"], start["audit_entries"], start["audit_head"]) == ("start", 0, audit.START)
    with replica(address, tmp_path, "second") as (_, _, log):
        start = orjson.loads(log.read_bytes().splitlines()[0])
        store = open_store(address)
        assert (start["audit_entries"], start["audit_head"]) == audit.head(store) != (0, audit.START)
        store.dispose()


def test_silent_mode_judges_keeps_and_shows_nothing(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'kept.db'}"
    with replica(address, tmp_path, CDSHOOKS_MODE="silent") as (base, _, log):
        assert requests.post(base + SIGN, json=render(TOO_MUCH), timeout=10).content == b'{"cards":[]}'
        time.sleep(0.1)
        line = orjson.loads(log.read_bytes().splitlines()[-1])
        assert line["shown"] is False
        assert line["cards"] > 0
    store = open_store(address)
    (row,) = audit.entries(store)
    assert row["shown"] is False
    assert row["cards"][0]["indicator"] == "critical"
    report = make_report(store, {})
    assert (report.services[0].silent_mode_calls, report.services[0].critical) == (1, 1)
    assert report.rules == (), "nobody was shown a card, so none was accepted or overridden"
    store.dispose()
