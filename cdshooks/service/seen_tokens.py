"""Which tokens were used already: one table shared by every process on the same database.

A token counts once. Two processes that get the same one at the same moment are told apart by the primary key, so that
one of them is refused. Only a digest is kept, and only until the token would be refused for its age.
"""

import hashlib
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Column, String, Table, delete, insert
from sqlalchemy.exc import IntegrityError

from cdshooks.service.store import TABLES

if TYPE_CHECKING:
    from sqlalchemy import Engine

SEEN_TOKENS: Final = Table(
    "seen_tokens",
    TABLES,
    Column("token", String, primary_key=True),  # digest of issuer and jti
    Column("ends_at", BigInteger, nullable=False, index=True),  # seconds since 1970, after which it is of no use
)


def first_use(store: "Engine", *, issuer: str, jti: str, ends_at: int, now: int) -> bool:
    """Keep the token as used; False when it was used before. Atomic, and committed on return.

    Raises:
        SQLAlchemyError: the database cannot be written, so nobody knows whether the token was used before.
    """
    digest = hashlib.sha256(f"{issuer}\n{jti}".encode()).hexdigest()
    try:
        with store.begin() as connection:
            if digest.startswith("00"):  # one call in 256 clears up for the others
                connection.execute(delete(SEEN_TOKENS).where(SEEN_TOKENS.c.ends_at < now))
            connection.execute(insert(SEEN_TOKENS), {"token": digest, "ends_at": ends_at})
    except IntegrityError:
        return False
    return True
