"""What is kept: cards and feedback, once each, durable, nothing about the patient."""

import importlib.util
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pg_server
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, MetaData, Table, create_engine, func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from cdshooks.errors import ConfigurationError
from cdshooks.service import app, audit
from cdshooks.service.store import (
    CARDS,
    FEEDBACK,
    REVISION,
    SAFE_SQLITE,
    TABLES,
    keep_cards,
    keep_feedback,
    open_store,
    sqlite_module,
    sqlite_warning,
    upgrade_store,
    writable,
)
from cdshooks.wire.hooks import FeedbackEntry

assert app  # the application brings every table to TABLES
AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
ENTRY = FeedbackEntry(
    card="card-1",
    outcome="overridden",
    at="2026-03-02T10:00:00Z",
    reasons=(("need-more-info", "urn:x", "Result pending"),),
    comment="asked",
    accepted=(),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'kept.db'}"
    else:
        with pg_server.database() as made:
            yield made


@pytest.fixture
def store(address: str) -> Iterator[Engine]:
    upgrade_store(address)
    engine = open_store(address)
    yield engine
    engine.dispose()


def card(uuid: str, **changes: Any) -> dict[str, Any]:
    return {"uuid": uuid, "topic": "renalDose", "indicator": "critical", "rules": ["renal-dose/x"]} | changes


def keep(store: Engine, *cards: dict[str, Any]) -> None:
    with store.begin() as connection:
        keep_cards(connection, cards, service="cmv-order-sign", knowledge_version="0123456789ab", at=AT)


def report(store: Engine, *entries: FeedbackEntry, service: str = "cmv-order-sign") -> int:
    """How many of the entries are about a known card."""
    with store.begin() as connection:
        return keep_feedback(connection, entries, service=service, at=AT)[1]


def count(store: Engine, table: Any) -> int:
    with store.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_a_card_is_kept_once_with_what_tells_its_advice(store: Engine) -> None:
    keep(store, card("card-1"), card("card-2", topic="dataQuality"))
    keep(store, card("card-1", topic="changed"))
    keep(store)
    with store.connect() as connection:
        rows = connection.execute(select(CARDS).order_by(CARDS.c.uuid)).mappings().all()
    assert [row["topic"] for row in rows] == ["renalDose", "dataQuality"]
    assert rows[0]["rules"] == ["renal-dose/x"]
    assert rows[0]["knowledge_version"] == "0123456789ab"


def test_no_column_can_name_a_patient() -> None:
    columns = {f"{table.name}.{column.name}" for table in TABLES.tables.values() for column in table.columns}
    assert columns == {
        *(f"cards.{name}" for name in (
            "uuid", "service", "topic", "indicator", "rules", "knowledge_version", "created_at", "shown")),
        *(f"feedback.{name}" for name in (
            "entry", "received_at", "service", "card", "outcome", "outcome_at", "reasons", "comment", "accepted",
            "matched")),
        *(f"audit.{name}" for name in (
            "position", "at", "event", "service", "client", "user_hash", "patient_hash", "hook_instance", "shown",
            "orders", "cards", "failures", "feedback", "knowledge_version", "service_version", "key_id", "digest")),
        "audit_key.id", "audit_key.key", "sights.sight", "sights.at", "seen_tokens.token", "seen_tokens.ends_at",
        "smart_sessions.session", "smart_sessions.sealed", "smart_sessions.ends_at",
    }  # fmt: skip


def test_feedback_says_whether_its_card_was_shown_here(store: Engine) -> None:
    keep(store, card("card-1"))
    unknown = replace(ENTRY, card="card-9")
    nameless = replace(ENTRY, card="")
    assert report(store, ENTRY, unknown, nameless) == 1
    with store.connect() as connection:
        rows = connection.execute(select(FEEDBACK).order_by(FEEDBACK.c.card)).mappings().all()
    assert [(row["card"], row["matched"]) for row in rows] == [("", False), ("card-1", True), ("card-9", False)]
    assert rows[1]["reasons"] == [["need-more-info", "urn:x", "Result pending"]]
    assert rows[1]["comment"] == "asked"


def test_a_repeated_report_is_one_and_a_different_one_another(store: Engine) -> None:
    for _ in range(3):
        report(store, ENTRY, ENTRY)
    assert count(store, FEEDBACK) == 1
    for other in (
        replace(ENTRY, at="2026-03-02T10:00:01Z"),
        replace(ENTRY, comment="asked again"),
        replace(ENTRY, outcome="accepted", accepted=("s",)),
        replace(ENTRY, reasons=()),
    ):
        report(store, other)
    report(store, ENTRY, service="cmv-order-select")
    assert count(store, FEEDBACK) == 6


def test_what_is_kept_survives_and_is_synced(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'kept.db'}"
    first = open_store(address)
    report(first, ENTRY)
    with first.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    first.dispose()
    again = open_store(address)
    assert count(again, FEEDBACK) == 1
    again.dispose()


def test_many_threads_may_write(store: Engine) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: keep(store, card(f"card-{number}")), range(200)))
    assert count(store, CARDS) == 200


def test_a_database_in_memory_works() -> None:
    engine = open_store("sqlite://")
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda number: keep(engine, card(f"card-{number}")), range(20)))
    assert count(engine, CARDS) == 20
    engine.dispose()


def test_ready_means_that_a_row_can_be_written(store: Engine) -> None:
    assert writable(store)
    assert count(store, FEEDBACK) == 0
    with store.begin() as connection:
        connection.execute(text("DROP TABLE feedback"))
    assert not writable(store)


def test_a_card_id_of_any_length_or_content_is_kept_as_unmatched(store: Engine) -> None:
    long = replace(ENTRY, card="x" * 100_000)
    assert report(store, long, replace(long, card="x" * 99_999), replace(ENTRY, card="\u20ac\U0001f600")) == 0
    assert count(store, FEEDBACK) == 3


# --------------------------------------------------------------------------------------------------------------------
# Steps


def test_the_steps_make_the_tables_that_the_code_uses(store: Engine) -> None:
    """Every column, type and index of the code is in the database, and nothing else in those tables."""
    with store.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": known})
        assert compare_metadata(context, TABLES) == []


def known(_thing: object, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    return kind != "table" or name in TABLES.tables


def test_the_newest_step_is_the_one_that_a_start_looks_for() -> None:
    assert ScriptDirectory(str(files("cdshooks.service") / "migrations")).get_current_head() == REVISION


def test_tokens_already_seen_have_a_table(store: Engine) -> None:
    with store.begin() as connection:
        put = text("INSERT INTO seen_tokens (token, ends_at) VALUES ('digest', 1795717800)")
        connection.execute(put)
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(put)


def test_a_database_of_the_first_version_is_taken_over(address: str) -> None:
    first = MetaData()
    for table in (CARDS, FEEDBACK):
        columns = (column for column in table.columns if column.name != "shown")
        Table(table.name, first, *(Column(c.name, c.type, primary_key=c.primary_key) for c in columns))
    engine = create_engine(address)
    first.create_all(engine)
    card = "'u', 'cmv-order-sign', 'renalDose', 'critical', '[]', 'k', '2026-03-02 10:00:00'"
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO cards VALUES ({card})"))
    engine.dispose()
    assert upgrade_store(address) == ("", REVISION)
    assert upgrade_store(address) == (REVISION, REVISION)
    store = open_store(address)
    with store.connect() as connection:
        assert connection.execute(select(CARDS.c.uuid, CARDS.c.shown)).all() == [("u", True)]
    store.dispose()


def test_postgresql_with_old_tables_is_refused_with_the_remedy() -> None:
    with pg_server.database() as address:
        with pytest.raises(ConfigurationError, match=r"no tables yet.*cdshooks database upgrade"):
            open_store(address)
        upgrade_store(address)
        engine = create_engine(address)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        engine.dispose()
        with pytest.raises(ConfigurationError, match=r"step 0001.*cdshooks database upgrade"):
            open_store(address)


def test_tables_of_a_newer_version_are_refused(address: str) -> None:
    upgrade_store(address)
    engine = create_engine(address)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for use in (open_store, upgrade_store):
        with pytest.raises(ConfigurationError, match="newer version"):
            use(address)


def test_many_upgrades_at_once_are_one(address: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert {after for _, after in pool.map(upgrade_store, [address] * 4)} == {REVISION}
    open_store(address).dispose()


def test_postgresql_is_told_to_sync_when_it_would_not() -> None:
    with pg_server.database() as address:
        engine = create_engine(address, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            name = connection.scalar(text("SELECT current_database()"))
            connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        engine.dispose()
        upgrade_store(address)
        store = open_store(address)
        with store.connect() as connection:
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        store.dispose()


def test_a_store_that_somebody_blocks_is_given_up_within_seconds() -> None:
    """A clinician waits for the answer: a replica that stopped in the middle of its write must not hold it up."""
    with pg_server.database() as address:
        upgrade_store(address)
        blocking, store = open_store(address), open_store(address)
        with blocking.begin() as stopped:
            audit.append(stopped, audit.make_key("x"), audit.Entry("call", "s", audit.Asker("", "", "")), at=AT)
            start = time.monotonic()
            with pytest.raises(OperationalError), store.begin() as connection:
                audit.append(connection, audit.make_key("x"), audit.Entry("call", "s", audit.Asker("", "", "")), at=AT)
            assert time.monotonic() - start < 4
        blocking.dispose()
        store.dispose()


def test_the_sqlite_library_is_a_mended_one_or_the_operator_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'kept.db'}")
    with store.connect() as connection:
        version = connection.scalar(text("SELECT sqlite_version()"))
    assert version == sqlite_module().sqlite_version
    if importlib.util.find_spec("pysqlite3"):
        assert tuple(map(int, version.split("."))) >= SAFE_SQLITE
        assert sqlite_warning(store) == ""
    monkeypatch.setattr("cdshooks.service.store.sqlite_module", lambda: SimpleNamespace(
        sqlite_version="3.40.1", sqlite_version_info=(3, 40, 1)))  # fmt: skip
    assert "3.40.1 is older than 3.51.3" in sqlite_warning(store)
    store.dispose()


# --------------------------------------------------------------------------------------------------------------------
# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:////no/such/folder/kept.db",
        "mysql://user:sesame@db.example.org/cds",
        "postgresql+unheardof://user:sesame@db.example.org/cds",
        "sesame",
        "",
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_its_password(address: str) -> None:
    with pytest.raises(ConfigurationError, match="database") as caught:
        open_store(address)
    assert "sesame" not in str(caught.value)
