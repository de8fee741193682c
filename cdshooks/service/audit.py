"""The audit: what was asked by whom, what was found, by which knowledge, shown or silent. Append-only, nobody named.

Users and patients stand in it as keyed hashes: the same person of the same client has the same one, and without the key
nobody can try identifiers out. The key is the setting `audit_key`, or else one made at the first start and kept in the
database itself.

Each entry carries a keyed digest over its own content and the digest before it, so that an entry changed, removed or
slipped in shows (`verify`). Entries cut off at the end show only against the head that every start writes to the log.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    String,
    Table,
    func,
    insert,
    select,
)

from cdshooks import __version__
from cdshooks.service.logs import UUID
from cdshooks.service.store import TABLES, reading, unless_there

AUDIT: Final = Table(
    "audit",
    TABLES,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("at", DateTime(timezone=True), nullable=False, index=True),
    Column("event", String, nullable=False),  # "call" or "feedback"
    Column("service", String, nullable=False),
    Column("client", String, nullable=False),  # its name in the configuration; "" while the service is open
    Column("user_hash", String, nullable=False),
    Column("patient_hash", String, nullable=False),
    Column("hook_instance", String, nullable=False),
    Column("shown", Boolean, nullable=False),
    Column("orders", JSON, nullable=False),  # the drug of each order judged
    Column("cards", JSON, nullable=False),  # uuid, topic, indicator and rules of each
    Column("failures", JSON, nullable=False),  # checks that raised
    Column("feedback", JSON, nullable=False),  # keys of the feedback entries
    Column("knowledge_version", String, nullable=False),
    Column("service_version", String, nullable=False),
    Column("key_id", String, nullable=False),  # which key the hashes and the digest were made with
    Column("digest", String, nullable=False),
)

AUDIT_KEY: Final = Table(
    "audit_key",
    TABLES,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", String, nullable=False),
)

NEWEST: Final = select(AUDIT.c.position, AUDIT.c.digest).order_by(AUDIT.c.position.desc()).limit(1)
APPENDED: Final = insert(AUDIT)  # made once: these two run for every call
CONTENT: Final = tuple(str(column.name) for column in AUDIT.columns if column.name != "digest")
CHAIN_LOCK: Final = 0x434D5602  # PostgreSQL: one replica appends at a time
START: Final = "0" * 64
PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Key:
    """What pseudonyms and digests are made with. `id` tells two keys apart and gives neither away."""

    secret: bytes
    id: str

    def sign(self, *parts: str) -> str:
        """The keyed hash of some texts, 64 hexadecimal digits; no two lists of texts run together."""
        return hmac.new(self.secret, orjson.dumps(parts), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked about whom: the client's name, user and patient as keyed hashes ("" where none was named)."""

    client: str
    user: str
    patient: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, before it has its place in the chain."""

    event: str
    service: str
    asker: Asker
    hook_instance: str = ""
    shown: bool = True
    orders: Sequence[str] = ()
    cards: Sequence[Mapping[str, Any]] = ()
    failures: Sequence[str] = ()
    feedback: Sequence[str] = ()
    knowledge_version: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome of reading the whole chain. `broken` says at which position and why, "" when it holds."""

    entries: int
    head: str
    broken: str = ""
    other_keys: int = 0  # entries made with a key that is not at hand: their links could not be looked at


def make_key(text: str) -> Key:
    """The key of a secret text."""
    secret = hashlib.sha256(text.encode()).digest()
    return Key(secret, hmac.new(secret, b"key id", hashlib.sha256).hexdigest()[:8])


def audit_key(store: Engine, configured: str | None) -> Key:
    """The configured key, else the one kept in the store; made there when this is the first start."""
    if configured:
        return make_key(configured)
    with reading(store).connect() as connection:
        kept = connection.scalar(select(AUDIT_KEY.c.key))
    if kept is None:
        with store.begin() as connection:  # of several replicas that start at once, the first one's key stays
            connection.execute(unless_there(connection, AUDIT_KEY), {"id": 1, "key": secrets.token_hex(32)})
            kept = connection.scalar(select(AUDIT_KEY.c.key))
    return make_key(str(kept))


def asker(key: Key, *, client: str, user: str = "", patient: str = "") -> Asker:
    """Who asked, with user and patient as hashes that differ between clients and between the two kinds."""
    return Asker(
        client=client,
        user=key.sign("user", client, user)[:32] if user else "",
        patient=key.sign("patient", client, patient)[:32] if patient else "",
    )


def append(connection: Connection, key: Key, entry: Entry, *, at: datetime) -> None:
    """Add an entry at the end of the chain. Last in its transaction: others wait from here to the commit."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(CHAIN_LOCK)))
    last = connection.execute(NEWEST).one_or_none()
    row: dict[str, Any] = {
        "position": last.position + 1 if last else 1,
        "at": at,
        "event": entry.event,
        "service": entry.service,
        "client": entry.asker.client,
        "user_hash": entry.asker.user,
        "patient_hash": entry.asker.patient,
        "hook_instance": _instance(key, entry),
        "shown": entry.shown,
        "orders": list(entry.orders),
        "cards": [dict(card) for card in entry.cards],
        "failures": list(entry.failures),
        "feedback": list(entry.feedback),
        "knowledge_version": entry.knowledge_version,
        "service_version": __version__,
        "key_id": key.id,
    }
    row["digest"] = _digest(key, row, last.digest if last else START)
    connection.execute(APPENDED, row)


def _instance(key: Key, entry: Entry) -> str:
    """The client's id of the call. One that is no UUID may be anything, a name too: it is hashed."""
    given = entry.hook_instance
    return given if not given or UUID.fullmatch(given) else key.sign("instance", entry.asker.client, given)[:32]


def _digest(key: Key, row: Mapping[str, Any], before: str) -> str:
    content = {name: row[name] for name in CONTENT}
    content["at"] = _utc(content["at"]).isoformat(timespec="microseconds")
    return key.sign(before, orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode())


def _utc(at: datetime) -> datetime:
    """SQLite gives times back without their zone, which is UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def head(store: Engine) -> tuple[int, str]:
    """Position and digest of the newest entry; (0, …) when there is none."""
    with reading(store).connect() as connection:
        last = connection.execute(NEWEST).one_or_none()
    return (last.position, last.digest) if last else (0, START)


def entries(store: Engine, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[dict[str, Any]]:
    """The entries of a period in their order, times in UTC. Read page by page, so that no writer waits for it."""
    query = select(AUDIT).order_by(AUDIT.c.position).limit(PAGE)
    if since:
        query = query.where(AUDIT.c.at >= since)
    if until:
        query = query.where(AUDIT.c.at < until)
    position = 0
    while True:
        with reading(store).connect() as connection:
            page = connection.execute(query.where(AUDIT.c.position > position)).mappings().all()
        for row in page:
            yield {str(name): value for name, value in row.items()} | {"at": _utc(row["at"])}
        if len(page) < PAGE:
            return
        position = page[-1]["position"]


def verify(store: Engine, keys: Sequence[Key]) -> Verified:
    """Read the whole chain and look at every link."""
    by_id = {key.id: key for key in keys}
    before, expected, other = START, 1, 0
    for row in entries(store):
        if row["position"] != expected:
            return Verified(expected - 1, before, f"entry {expected} is missing", other)
        if key := by_id.get(row["key_id"]):
            if not hmac.compare_digest(row["digest"], _digest(key, row, before)):
                return Verified(expected - 1, before, f"entry {expected} is not what was written", other)
        else:
            other += 1
        before, expected = row["digest"], expected + 1
    return Verified(expected - 1, before, "", other)
