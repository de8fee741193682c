"""What is kept: cards and feedback, once each, durable, nothing about the patient."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from cdshooks.errors import ConfigurationError
from cdshooks.service.seen_tokens import SEEN_TOKENS
from cdshooks.service.store import CARDS, FEEDBACK, TABLES, keep_cards, keep_feedback, open_store, writable
from cdshooks.wire.hooks import FeedbackEntry

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
ENTRY = FeedbackEntry(
    card="card-1",
    outcome="overridden",
    at="2026-03-02T10:00:00Z",
    reasons=(("need-more-info", "urn:x", "Result pending"),),
    comment="asked",
    accepted=(),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(f"sqlite:///{tmp_path / 'kept.db'}")
    yield engine
    engine.dispose()


def card(uuid: str, **changes: Any) -> dict[str, Any]:
    return {"uuid": uuid, "topic": "renalDose", "indicator": "critical", "rules": ["renal-dose/x"]} | changes


def keep(store: Engine, *cards: dict[str, Any]) -> None:
    keep_cards(store, cards, service="cmv-order-sign", knowledge_version="0123456789ab", at=AT)


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
    assert SEEN_TOKENS.name in TABLES.tables
    columns = {column.name for table in TABLES.tables.values() for column in table.columns}
    assert columns == {
        "uuid", "service", "topic", "indicator", "rules", "knowledge_version", "created_at",
        "entry", "received_at", "card", "outcome", "outcome_at", "reasons", "comment", "accepted", "matched",
        "token", "ends_at",
    }  # fmt: skip


def test_feedback_says_whether_its_card_was_shown_here(store: Engine) -> None:
    keep(store, card("card-1"))
    unknown = replace(ENTRY, card="card-9")
    nameless = replace(ENTRY, card="")
    assert keep_feedback(store, (ENTRY, unknown, nameless), service="cmv-order-sign", at=AT) == 1
    with store.connect() as connection:
        rows = connection.execute(select(FEEDBACK).order_by(FEEDBACK.c.card)).mappings().all()
    assert [(row["card"], row["matched"]) for row in rows] == [("", False), ("card-1", True), ("card-9", False)]
    assert rows[1]["reasons"] == [["need-more-info", "urn:x", "Result pending"]]
    assert rows[1]["comment"] == "asked"


def test_a_repeated_report_is_one_and_a_different_one_another(store: Engine) -> None:
    for _ in range(3):
        keep_feedback(store, (ENTRY, ENTRY), service="cmv-order-sign", at=AT)
    assert count(store, FEEDBACK) == 1
    for other in (
        replace(ENTRY, at="2026-03-02T10:00:01Z"),
        replace(ENTRY, comment="asked again"),
        replace(ENTRY, outcome="accepted", accepted=("s",)),
        replace(ENTRY, reasons=()),
    ):
        keep_feedback(store, (other,), service="cmv-order-sign", at=AT)
    keep_feedback(store, (ENTRY,), service="cmv-order-select", at=AT)
    assert count(store, FEEDBACK) == 6


def test_what_is_kept_survives_and_is_synced(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'kept.db'}"
    first = open_store(address)
    keep_feedback(first, (ENTRY,), service="cmv-order-sign", at=AT)
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


def test_ready_means_that_a_row_can_be_written(store: Engine, tmp_path: Path) -> None:
    assert writable(store)
    assert count(store, FEEDBACK) == 0
    with sqlite3.connect(tmp_path / "kept.db") as connection:
        connection.execute("DROP TABLE feedback")
    connection.close()
    assert not writable(store)


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
