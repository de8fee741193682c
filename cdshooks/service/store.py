"""The database: which cards were found, what clinicians reported about them, and how the tables come to be.

SQLite by default (write-ahead log, one writer, every commit on disk before it returns), PostgreSQL by address. Nothing
in it names a patient. A clinician's comment may hold anything: it is kept and never logged.

`TABLES` is the one place for tables: other modules (`audit`, `repeats`) add theirs to it, and the steps in
`migrations/` make them. SQLite is brought up to date when opened; PostgreSQL by `cdshooks database upgrade` alone.
"""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
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
    inspect,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from cdshooks.errors import ConfigurationError

if TYPE_CHECKING:
    from cdshooks.wire.hooks import FeedbackEntry

TABLES: Final = MetaData()
Store: TypeAlias = Engine  # for who only hands it on

CARDS: Final = Table(
    "cards",
    TABLES,
    Column("uuid", String, primary_key=True),
    Column("service", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("indicator", String, nullable=False),
    Column("rules", JSON, nullable=False),
    Column("knowledge_version", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, index=True),
    Column("shown", Boolean, nullable=False, server_default=true()),  # false: found in silent mode
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

REVISION: Final = "0003"  # the newest step in migrations/; compared at every start without loading Alembic
SAFE_SQLITE: Final = (3, 51, 3)  # before it, two processes that write could in rare cases damage a write-ahead log
CARD_LENGTH: Final = 200  # characters kept of a card id that is not ours; an index takes no page of text
UPGRADE: Final = "run `cdshooks database upgrade` with the same settings, then start again"

# A store that does not answer must not hold a clinician up. The last of the options ends the transaction of a replica
# that stopped in the middle of one, which would keep all others from writing.
POSTGRESQL_LIMITS: Final = {
    "connect_timeout": 2,  # seconds
    "tcp_user_timeout": 3000,  # milliseconds
    "options": (
        "-c statement_timeout=2000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=5000 -c timezone=UTC"
    ),
}
WAIT_FOR_CONNECTION_S: Final = 5


def sqlite_module() -> ModuleType:
    """The SQLite library to use: the one that comes as a package where there is one for this machine, else Python's."""
    try:
        from pysqlite3 import dbapi2
    except ImportError:
        return sqlite3
    module: ModuleType = dbapi2
    return module


def sqlite_warning(store: Engine) -> str:
    """What to tell the operator about the SQLite library of this machine; "" when it is fine, or not SQLite."""
    if store.dialect.name != "sqlite" or sqlite_module().sqlite_version_info >= SAFE_SQLITE:
        return ""
    wanted = ".".join(map(str, SAFE_SQLITE))
    return (
        f"SQLite {sqlite_module().sqlite_version} is older than {wanted}, in which a rare damage by several writing "
        "processes was mended; install the package pysqlite3, or let no other process write to this file"
    )


def open_store(address: str, *, create: bool = True) -> Engine:
    """Open the database at a SQLAlchemy address. SQLite is brought up to date; PostgreSQL has to be up to date.

    Without `create`, a SQLite file that is not there is an error: who reads a report would take it for an empty one.

    Raises:
        ConfigurationError: the address cannot be used, or the tables are not those of this version; holds no password.
    """
    store, found = _reach(address, create=create)
    if found == REVISION:
        return store
    if store.dialect.name == "sqlite":
        return _upgraded(store, found)
    store.dispose()
    state = f"has the tables of step {found}" if found else "has no tables yet"
    raise ConfigurationError(f"database: {state}, this version needs step {REVISION}; {_remedy(found)}")


def upgrade_store(address: str) -> tuple[str, str]:
    """Bring the tables up to date; gives the step before ("" for an empty database) and the one after.

    Raises:
        ConfigurationError: the address cannot be used, or a newer version was here.
    """
    store, found = _reach(address)
    if found != REVISION:
        _upgraded(store, found)
    store.dispose()
    return found, REVISION


def _remedy(found: str) -> str:
    """What to do about a database at another step."""
    return UPGRADE if found < REVISION else "a newer version of the service was here: run that one, or a newer one"


def _reach(address: str, *, create: bool = True) -> tuple[Engine, str]:
    """The engine, and the step its tables are at ("" when there are none)."""
    place = address.removeprefix("sqlite:///")
    if not create and place != address and not Path(place).is_file():
        raise ConfigurationError(f"database: there is no file {place}; check --config and CDSHOOKS_DATABASE")
    try:
        store = _engine(make_url(address))
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"database: the driver {error.name} is not installed; install it with pip") from error
    except SQLAlchemyError as error:
        raise _unusable(error) from error
    try:
        with store.connect() as connection:
            return store, _found(connection)
    except SQLAlchemyError as error:
        store.dispose()
        raise _unusable(error) from error


def _unusable(error: SQLAlchemyError) -> ConfigurationError:
    """What may be told of it: the database's own message may quote the address."""
    return ConfigurationError(
        f"database: cannot be opened ({type(error).__name__}); check the address, its folder and the permissions"
    )


def _engine(url: URL) -> Engine:
    lite = url.get_backend_name() == "sqlite"
    if not lite and url.get_backend_name() != "postgresql":
        raise ConfigurationError("database: write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
    # One connection for SQLite: it has one writer anyway, and waiting in this queue is cheaper than at its lock.
    own: dict[str, Any] = (
        {
            "module": sqlite_module(),
            "poolclass": QueuePool,
            "pool_size": 1,
            "max_overflow": 0,
            "connect_args": {"check_same_thread": False, "timeout": WAIT_FOR_CONNECTION_S},
        }
        if lite
        else {"pool_pre_ping": True, "connect_args": POSTGRESQL_LIMITS}
    )
    store = create_engine(
        url,
        pool_timeout=WAIT_FOR_CONNECTION_S,
        hide_parameters=True,  # errors are logged, values are not
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        **own,
    )
    if lite:
        event.listen(store, "connect", _durable_sqlite)
        event.listen(store, "begin", _begin_sqlite)
    else:
        event.listen(store, "connect", _durable_postgresql)
        event.listen(store, "begin", _begin_postgresql)
    return store


def _durable_sqlite(connection: Any, _record: object) -> None:
    """What was answered 200 survives a power cut; readers do not wait for the writer."""
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock first, so that what is read in a transaction still holds when it is written."""
    reading = connection.get_execution_options().get("reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _durable_postgresql(connection: Any, _record: object) -> None:
    """The same promise: a server that is set to answer before its log is on disk is told otherwise for this session."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    """A report may take its time; only who answers a clinician may not."""
    if connection.get_execution_options().get("reading"):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def reading(store: Engine) -> Engine:
    """The same store for reading only: waits for no writer and holds none up."""
    return store.execution_options(reading=True)


def _found(connection: Connection) -> str:
    """The step that the tables are at, "" for none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.scalar(text("SELECT version_num FROM alembic_version")) or ""


def _upgraded(store: Engine, found: str) -> Engine:
    """Run the steps in migrations/ that are missing, all or none."""
    if found > REVISION:
        store.dispose()
        raise ConfigurationError(f"database: is at step {found}, this version knows {REVISION}; {_remedy(found)}")
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "cdshooks.service:migrations")
    try:
        with store.begin() as connection:
            if store.dialect.name == "postgresql":  # one upgrade at a time, however many jobs were started
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SET LOCAL lock_timeout = '60s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": UPGRADE_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        store.dispose()
        raise ConfigurationError(
            f"database: cannot be brought up to step {REVISION} ({type(error).__name__}); nothing was changed; "
            "check that the user may create tables"
        ) from error
    return store


UPGRADE_LOCK: Final = 0x434D5601  # any number that the other users of a PostgreSQL server do not take


def keep_cards(
    connection: Connection,
    cards: Sequence[Mapping[str, Any]],
    *,
    service: str,
    knowledge_version: str,
    at: datetime,
    shown: bool = True,
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
            "shown": shown,
        }
        for card in cards
    ]
    connection.execute(unless_there(connection, CARDS), rows)


def keep_feedback(
    connection: Connection, entries: Sequence["FeedbackEntry"], *, service: str, at: datetime
) -> tuple[tuple[str, ...], int]:
    """Keep the entries of one report; gives their keys, and how many of them are about a card found here."""
    asked = {entry.card for entry in entries if 0 < len(entry.card) <= CARD_LENGTH}
    known = set(connection.scalars(select(CARDS.c.uuid).where(CARDS.c.uuid.in_(asked))))
    rows: list[dict[str, Any]] = [
        {
            "entry": _digest(service, entry),
            "received_at": at,
            "service": service,
            "card": entry.card[:CARD_LENGTH],
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
        connection.execute(unless_there(connection, FEEDBACK), rows)
    return tuple(row["entry"] for row in rows), sum(entry.card in known for entry in entries)


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


@cache
def _insert_unless_there(dialect: str, table: Table) -> Insert:
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def unless_there(connection: Connection, table: Table) -> Insert:
    """An insert that passes over rows whose key is already there. Both databases know it, under their own name."""
    return _insert_unless_there(connection.dialect.name, table)


def _digest(service: str, entry: "FeedbackEntry") -> str:
    """A key that is the same for the same report, whenever it comes."""
    words = [service, entry.card, entry.outcome, entry.at, entry.reasons, entry.comment, entry.accepted]
    return hashlib.sha256(orjson.dumps(words)).hexdigest()
