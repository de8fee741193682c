"""What the service keeps: which cards it showed, and what clinicians reported about them. Nothing that names a patient.

SQLite by default, PostgreSQL by address. A clinician's comment may hold anything: it is kept and never logged.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Engine,
    Insert,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from cdshooks.errors import ConfigurationError

if TYPE_CHECKING:
    from cdshooks.wire.hooks import FeedbackEntry

TABLES: Final = MetaData()

CARDS: Final = Table(
    "cards",
    TABLES,
    Column("uuid", String, primary_key=True),
    Column("service", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("indicator", String, nullable=False),
    Column("rules", JSON, nullable=False),
    Column("knowledge_version", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

FEEDBACK: Final = Table(
    "feedback",
    TABLES,
    Column("entry", String, primary_key=True),  # digest of the whole entry: the same report kept twice is one report
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("service", String, nullable=False),
    Column("card", String, nullable=False, index=True),
    Column("outcome", String, nullable=False),
    Column("outcome_at", String, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("comment", Text, nullable=False),
    Column("accepted", JSON, nullable=False),
    Column("matched", Boolean, nullable=False),
)


def open_store(address: str) -> Engine:
    """Open the database at a SQLAlchemy address and make the tables that are not there yet.

    Raises:
        ConfigurationError: the address cannot be used; its text holds no password.
    """
    try:
        url = make_url(address)
        # One connection for SQLite: it has one writer anyway, and waiting in this queue is cheaper than at its lock.
        one: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
        lite = url.get_backend_name() == "sqlite"
        if not lite and url.get_backend_name() != "postgresql":
            raise ConfigurationError("database: write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
        engine = create_engine(
            url,
            hide_parameters=True,  # errors are logged, values are not
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            **(one | {"connect_args": {"check_same_thread": False}} if lite else {"pool_pre_ping": True}),
        )
        if lite:
            event.listen(engine, "connect", _durable)
        TABLES.create_all(engine)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"database: the driver {error.name} is not installed; install it with pip") from error
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"database: cannot be opened ({type(error).__name__}); check the address, its folder and the permissions"
        ) from error
    return engine


def _durable(connection: Any, _record: object) -> None:
    """What was answered 200 survives a power cut; readers do not wait for the writer."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def keep_cards(
    store: Engine, cards: Sequence[Mapping[str, Any]], *, service: str, knowledge_version: str, at: datetime
) -> None:
    """Remember the cards of one answer, so that feedback on them can be told from feedback on unknown ones.

    The same call gives the same card ids; the first one stays.
    """
    if not cards:
        return
    rows = [
        {
            "uuid": card["uuid"],
            "service": service,
            "topic": card["topic"],
            "indicator": card["indicator"],
            "rules": list(card["rules"]),
            "knowledge_version": knowledge_version,
            "created_at": at,
        }
        for card in cards
    ]
    with store.begin() as connection:
        connection.execute(_unless_there(store, CARDS), rows)


def keep_feedback(store: Engine, entries: Sequence["FeedbackEntry"], *, service: str, at: datetime) -> int:
    """Keep the entries of one report; gives how many of them are about a card shown here. Committed on return."""
    asked = {entry.card for entry in entries if entry.card}
    with store.begin() as connection:
        known = set(connection.scalars(select(CARDS.c.uuid).where(CARDS.c.uuid.in_(asked))))
        rows = [
            {
                "entry": _digest(service, entry),
                "received_at": at,
                "service": service,
                "card": entry.card,
                "outcome": entry.outcome,
                "outcome_at": entry.at,
                "reasons": [list(reason) for reason in entry.reasons],
                "comment": entry.comment,
                "accepted": list(entry.accepted),
                "matched": entry.card in known,
            }
            for entry in entries
        ]
        if rows:
            connection.execute(_unless_there(store, FEEDBACK), rows)
    return sum(entry.card in known for entry in entries)


def writable(store: Engine) -> bool:
    """True when a row can be written now; what is written for the trial is taken back."""
    words = dict.fromkeys(("entry", "service", "card", "outcome", "outcome_at", "comment"), "")
    trial = words | {"received_at": datetime(2000, 1, 1, tzinfo=UTC), "reasons": [], "accepted": [], "matched": False}
    try:
        with store.connect() as connection:
            connection.execute(insert(FEEDBACK), trial)
            connection.rollback()
    except SQLAlchemyError:
        return False
    return True


def _unless_there(store: Engine, table: Table) -> Insert:
    """An insert that passes over rows whose key is already there. Both databases know it, under their own name."""
    if store.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def _digest(service: str, entry: "FeedbackEntry") -> str:
    """A key that is the same for the same report, whenever it comes."""
    words = [service, entry.card, entry.outcome, entry.at, entry.reasons, entry.comment, entry.accepted]
    return hashlib.sha256(orjson.dumps(words)).hexdigest()
