"""The audit: who asked what, what was found; nobody named, nothing changed unseen."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fhir.resources.R4B.auditevent import AuditEvent
from flask.testing import FlaskClient
from scenario import Json, load_scenarios, render
from sqlalchemy import Engine, delete, func, select, text, update
from sqlalchemy.exc import DBAPIError

from cdshooks import __version__
from cdshooks.cli import main
from cdshooks.medicine import checks
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service import audit
from cdshooks.service import store as store_module
from cdshooks.service.app import create_app
from cdshooks.service.audit import AUDIT, Entry
from cdshooks.service.config import Settings
from cdshooks.service.store import open_store
from cdshooks.wire.audit_event import audit_event

FEEDBACK = "/cds-services/cmv-order-sign/feedback"
ACCEPTED = {"feedback": [{"card": "x", "outcome": "accepted"}]}
AT = datetime(2026, 3, 2, 10, 0, 0, 123456, tzinfo=UTC)
KEY = audit.make_key("a secret of the site, long enough to be one")
ASKER = audit.asker(KEY, client="General Hospital", user="Practitioner/123", patient="MRN4711zz")
CARD = {"uuid": "u-1", "topic": "renalDose", "indicator": "critical", "rules": ["renal-dose/x"]}
ENTRY = Entry("call", "cmv-order-sign", ASKER, "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", cards=[CARD], orders=["x"])
SCENARIOS = {scenario.name: scenario for scenario in load_scenarios()}
TOO_MUCH = next(s for s in SCENARIOS.values() if s.worst == "critical" and s.hook == "order-sign")
SILENT = next(s for s in SCENARIOS.values() if s.worst == "silent" and s.hook == "order-sign" and s.orders)


@pytest.fixture
def store(address: str) -> Iterator[Engine]:
    engine = open_store(address)
    yield engine
    engine.dispose()


def append(store: Engine, *entries: Entry, at: datetime = AT) -> None:
    for entry in entries:
        with store.begin() as connection:
            audit.append(connection, KEY, entry, at=at)


def tamper(store: Engine, statement: Any) -> None:
    """What somebody with the rights of an administrator could do: past the triggers."""
    with store.begin() as connection:
        if store.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER IF EXISTS audit_no_update"))
            connection.execute(text("DROP TRIGGER IF EXISTS audit_no_delete"))
        else:
            connection.execute(text("DROP TRIGGER IF EXISTS audit_append_only ON audit"))
        connection.execute(statement)


def test_an_entry_says_what_was_asked_by_whom_and_what_was_found(store: Engine) -> None:
    append(store, replace(ENTRY, knowledge_version="0123456789ab", shown=False, failures=["dose"]))
    (row,) = audit.entries(store)
    assert row == {
        "position": 1,
        "at": AT,
        "event": "call",
        "service": "cmv-order-sign",
        "client": "General Hospital",
        "user_hash": ASKER.user,
        "patient_hash": ASKER.patient,
        "hook_instance": ENTRY.hook_instance,
        "shown": False,
        "orders": ["x"],
        "cards": [CARD],
        "failures": ["dose"],
        "feedback": [],
        "knowledge_version": "0123456789ab",
        "service_version": __version__,
        "key_id": KEY.id,
        "digest": row["digest"],
    }


def test_pseudonyms_join_a_person_and_give_nobody_away() -> None:
    again = audit.asker(KEY, client="General Hospital", user="Practitioner/123", patient="MRN4711zz")
    assert again == ASKER
    elsewhere = audit.asker(KEY, client="Another Hospital", user="Practitioner/123", patient="MRN4711zz")
    other_key = audit.asker(audit.make_key("another"), client="General Hospital", user="Practitioner/123")
    both = audit.asker(KEY, client="General Hospital", user="MRN4711zz", patient="MRN4711zz")
    hashes = {ASKER.user, ASKER.patient, elsewhere.user, elsewhere.patient, other_key.user, both.user}
    assert len(hashes) == 6
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in hashes)
    assert audit.asker(KEY, client="", user="", patient="") == audit.Asker("", "", "")


def test_an_instance_id_that_is_no_uuid_is_hashed(store: Engine) -> None:
    append(store, replace(ENTRY, hook_instance="Quetzalcoatlus, Ignatius"), replace(ENTRY, hook_instance=""))
    kept = [row["hook_instance"] for row in audit.entries(store)]
    assert re.fullmatch("[0-9a-f]{32}", kept[0])
    assert kept[1] == ""


def test_the_database_refuses_changes(store: Engine) -> None:
    append(store, ENTRY)
    for statement in (update(AUDIT).values(service="x"), delete(AUDIT)):
        with pytest.raises(DBAPIError, match="append-only"), store.begin() as connection:
            connection.execute(statement)
    assert audit.verify(store, [KEY]).broken == ""


@pytest.mark.parametrize(
    "column",
    ["at", "service", "client", "user_hash", "patient_hash", "shown", "orders", "cards", "knowledge_version", "digest"],
)
def test_a_changed_entry_shows(store: Engine, column: str) -> None:
    append(store, *[ENTRY] * 5)
    other: Any = {"at": AT + timedelta(seconds=1), "shown": False, "orders": [], "cards": []}.get(column, "0" * 32)
    tamper(store, update(AUDIT).where(AUDIT.c.position == 3).values({column: other}))
    found = audit.verify(store, [KEY])
    assert (found.entries, found.broken) == (2, "entry 3 is not what was written")


def test_a_missing_or_moved_entry_shows(store: Engine) -> None:
    append(store, *[replace(ENTRY, service=f"s{number}") for number in range(5)])
    tamper(store, delete(AUDIT).where(AUDIT.c.position == 2))
    assert audit.verify(store, [KEY]).broken == "entry 2 is missing"
    tamper(store, update(AUDIT).where(AUDIT.c.position == 3).values(position=2))
    assert audit.verify(store, [KEY]).broken == "entry 2 is not what was written"


def test_a_cut_end_shows_against_the_head(store: Engine) -> None:
    append(store, *[ENTRY] * 3)
    head = audit.head(store)
    assert head == (3, audit.verify(store, [KEY]).head)
    tamper(store, delete(AUDIT).where(AUDIT.c.position == 3))
    assert audit.verify(store, [KEY]).broken == ""  # the chain alone cannot know
    assert audit.head(store) != head


def test_a_chain_forged_without_the_key_shows(store: Engine) -> None:
    append(store, ENTRY)
    with store.begin() as connection:
        audit.append(connection, replace(audit.make_key("guessed"), id=KEY.id), ENTRY, at=AT)
    assert audit.verify(store, [KEY]).broken == "entry 2 is not what was written"


def test_after_a_change_of_key_the_older_entries_are_told_apart(store: Engine) -> None:
    append(store, *[ENTRY] * 2)
    new = audit.make_key("the key of the next year, long enough")
    with store.begin() as connection:
        audit.append(connection, new, ENTRY, at=AT)
    assert audit.verify(store, [new]) == audit.Verified(3, audit.head(store)[1], "", 2)
    assert audit.verify(store, [new, KEY]).other_keys == 0


def test_the_chain_is_read_over_pages(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", 3)
    append(store, *[ENTRY] * 9)
    assert audit.verify(store, [KEY]).entries == 9
    day = [len(list(audit.entries(store, since=since, until=until))) for since, until in (
        (AT, None), (AT + timedelta(microseconds=1), None), (None, AT), (AT, AT + timedelta(days=1)))]  # fmt: skip
    assert day == [9, 0, 0, 9]


def test_many_writers_make_one_chain(address: str) -> None:
    """Threads over several engines, as replicas are."""
    stores = [open_store(address) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: append(stores[number % 3], ENTRY), range(120)))
    assert audit.verify(stores[0], [KEY]) == audit.Verified(120, audit.head(stores[0])[1])
    for store in stores:
        store.dispose()


def test_without_a_configured_key_all_replicas_share_one_in_the_store(address: str) -> None:
    stores = [open_store(address) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(lambda one: audit.audit_key(one, None), stores))
    assert len(keys) == 1
    assert audit.audit_key(stores[0], "x" * 32) == audit.make_key("x" * 32)
    for store in stores:
        store.dispose()


# --------------------------------------------------------------------------------------------------------------------
# Through the door


@contextmanager
def service(knowledge: Knowledge, **settings: Any) -> Iterator[FlaskClient]:
    app = create_app(Settings(**settings), knowledge=knowledge, today=TOO_MUCH.today)
    yield app.test_client()
    app.extensions["store"].dispose()


def call(client: Any, request: Json) -> list[Json]:
    answer = client.post(f"/cds-services/cmv-{request['hook']}", json=request)
    assert answer.status_code == 200
    cards: list[Json] = answer.get_json()["cards"]
    return cards


@pytest.mark.parametrize("mode", ["show", "silent"])
def test_every_call_and_report_is_in_it(knowledge: Knowledge, address: str, mode: Any) -> None:
    with service(knowledge, database=address, mode=mode) as client:
        cards = call(client, render(TOO_MUCH))
        call(client, render(SILENT) | {"hookInstance": "no uuid"})
        call(client, render(TOO_MUCH) | {"context": {"patientId": "p"}})  # nothing to judge, but somebody asked
        client.post(FEEDBACK, json=ACCEPTED)
        client.post("/cds-services/cmv-order-sign", data=b"{")  # no call
    store = open_store(address)
    rows = list(audit.entries(store))
    assert [row["event"] for row in rows] == ["call", "call", "call", "feedback"]
    assert [len(row["orders"]) for row in rows] == [1, 1, 0, 0]
    assert rows[0]["shown"] is (mode == "show")
    assert bool(cards) is (mode == "show")
    assert rows[0]["cards"][0]["rules"]
    assert rows[0]["knowledge_version"] == knowledge.version
    assert rows[1]["cards"] == []
    assert rows[0]["patient_hash"] == rows[1]["patient_hash"] != rows[2]["patient_hash"]
    assert len(rows[3]["feedback"]) == 1
    assert audit.verify(store, [audit.audit_key(store, None)]).broken == ""
    kept = json.dumps(rows, default=str)
    for private in ("pat-1", "Testperson", "Quillfeather", "Practitioner", "no uuid"):
        assert private not in kept
    store.dispose()


@pytest.mark.parametrize(
    "entry",
    [
        {"card": "a\0b", "overrideReason": {"userComment": "\0", "reason": {"code": "\0", "display": "\0"}}},
        {
            "card": "x" * 50_000,
            "overrideReason": {"userComment": "y" * 50_000},
            "acceptedSuggestions": [{"id": "z" * 50_000}],
        },
        {"card": "\U0001f600\u202e' OR 1=1 --", "overrideReason": {"userComment": "%s {} \\"}},
    ],
    ids=["NUL", "long", "odd"],
)
def test_whatever_stands_in_a_report_it_is_kept(knowledge: Knowledge, address: str, entry: Json) -> None:
    told = {"feedback": [entry | {"outcome": "overridden"}]}
    with service(knowledge, database=address) as client:
        for _ in range(2):
            answer = client.post(FEEDBACK, json=told)
            assert (answer.status_code, answer.get_json()) == (200, {"kept": 1, "matched": 0})
        with client.application.extensions["store"].connect() as connection:
            assert connection.scalar(select(func.count()).select_from(store_module.FEEDBACK)) == 1


def test_a_check_that_could_not_run_is_in_it(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(_: object) -> list[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(checks, "CHECKS", (("dose", raises),))
    address = f"sqlite:///{tmp_path / 'kept.db'}"
    with service(knowledge, database=address) as client:
        call(client, render(TOO_MUCH))
    store = open_store(address)
    (row,) = audit.entries(store)
    assert row["failures"] == ["dose"]
    assert audit_event(row)["outcome"] == "4"
    store.dispose()


def run(address: str, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*arguments], env={"CDSHOOKS_DATABASE": address})
    return done.exit_code, done.output


def test_export_is_valid_fhir_without_names(knowledge: Knowledge, address: str) -> None:
    with service(knowledge, database=address) as client:
        call(client, render(TOO_MUCH))
        call(client, render(SILENT))
        client.post(FEEDBACK, json=ACCEPTED)
    code, output = run(address, "audit", "export")
    assert code == 0
    events = [json.loads(line) for line in output.splitlines()]
    assert len(events) == 3
    for event in events:
        AuditEvent.model_validate(event)
        assert event["outcome"] == "0"
    details = [(detail["type"], detail["valueString"]) for detail in events[0]["entity"][-1]["detail"]]
    assert ("shown", "true") in details
    assert any(kind == "rule" for kind, _ in details)
    assert ("knowledgeVersion", knowledge.version) in details
    assert [agent["requestor"] for agent in events[0]["agent"]] == [True, False]
    assert [agent["requestor"] for agent in events[2]["agent"]] == [True]  # a report names no user
    for private in ("pat-1", "Testperson", "Quillfeather", "Practitioner"):
        assert private not in output
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()  # noqa: TID251 - the audit keeps the clock
    assert run(address, "audit", "export", "--since", tomorrow) == (0, "")
    assert len(run(address, "audit", "export", "--until", tomorrow)[1].splitlines()) == 3


def test_verify_says_what_is_broken(store: Engine, address: str) -> None:
    key = audit.audit_key(store, None)
    for _ in range(3):
        with store.begin() as connection:
            audit.append(connection, key, ENTRY, at=AT)
    assert run(address, "audit", "verify") == (0, f"3 entries hold, head {audit.head(store)[1]}\n")
    tamper(store, update(AUDIT).where(AUDIT.c.position == 2).values(client="somebody else"))
    code, output = run(address, "audit", "verify")
    assert code == 1
    assert "broken: entry 2 is not what was written" in output
    with store.connect() as connection:
        assert connection.scalar(select(AUDIT.c.client).where(AUDIT.c.position == 2)) == "somebody else"
