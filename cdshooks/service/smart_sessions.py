"""What the SMART app remembers of a launch, on the server side only.

A launch has a public handle, which stands in addresses, and a secret, which only the browser's cookie holds. The
database keeps a digest of both and the data sealed with a key made from the secret: without the cookie nobody reads a
token out of it, and one browser window cannot reach the patient of another.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, delete, insert, select, update

from cdshooks.service.store import TABLES

if TYPE_CHECKING:
    from sqlalchemy import Engine

SMART_SESSIONS: Final = Table(
    "smart_sessions",
    TABLES,
    Column("session", String, primary_key=True),  # digest of handle and secret
    Column("sealed", LargeBinary, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),  # seconds since 1970
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Names one launch: `handle` may be seen by anybody, `secret` is in a cookie."""

    handle: str
    secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Ticket({self.handle})"

    @property
    def row(self) -> str:
        """Its key in the database."""
        return hashlib.sha256(f"{self.handle}\n{self.secret}".encode()).hexdigest()

    @property
    def seal(self) -> Fernet:
        """What locks and unlocks its data."""
        key = HKDF(SHA256(), 32, salt=None, info=b"smart session").derive(self.secret.encode())
        return Fernet(base64.urlsafe_b64encode(key))


def new_ticket() -> Ticket:
    """A ticket that nobody can guess."""
    return Ticket(secrets.token_urlsafe(24), secrets.token_urlsafe(32))


def begin(store: "Engine", ticket: Ticket, data: Mapping[str, Any], *, ends_at: int, now: int) -> None:
    """Keep the data of a new launch, and clear away those that are over."""
    with store.begin() as connection:
        connection.execute(delete(SMART_SESSIONS).where(SMART_SESSIONS.c.ends_at < now))
        sealed = ticket.seal.encrypt(orjson.dumps(data))
        connection.execute(insert(SMART_SESSIONS), {"session": ticket.row, "sealed": sealed, "ends_at": ends_at})


def read(store: "Engine", ticket: Ticket, *, now: int) -> dict[str, Any] | None:
    """The data, or None when there is no such launch or it is over."""
    query = select(SMART_SESSIONS.c.sealed).where(
        SMART_SESSIONS.c.session == ticket.row, SMART_SESSIONS.c.ends_at >= now
    )
    with store.connect() as connection:
        sealed = connection.scalar(query)
    if sealed is None:
        return None
    try:
        found: dict[str, Any] = orjson.loads(ticket.seal.decrypt(sealed))
    except InvalidToken:
        return None
    return found


def change(store: "Engine", ticket: Ticket, data: Mapping[str, Any], *, ends_at: int) -> None:
    """Put other data in place of those kept."""
    sealed = ticket.seal.encrypt(orjson.dumps(data))
    with store.begin() as connection:
        connection.execute(
            update(SMART_SESSIONS)
            .where(SMART_SESSIONS.c.session == ticket.row)
            .values({"sealed": sealed, "ends_at": ends_at})
        )


def end(store: "Engine", ticket: Ticket) -> None:
    """Forget a launch."""
    with store.begin() as connection:
        connection.execute(delete(SMART_SESSIONS).where(SMART_SESSIONS.c.session == ticket.row))
