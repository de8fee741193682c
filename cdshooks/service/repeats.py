"""Cards that the same user saw a moment ago: at signing they shrink to one line, for clients that asked for it.

A card counts as seen when this user of this client got it, word for word the same, for this patient at order-select.
Never across users: who signs has to see what somebody else saw. A card that changed in any word comes in full.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Column, Connection, DateTime, String, Table, delete, select

from cdshooks.model import SUMMARY_LIMIT
from cdshooks.service.audit import Asker, Key
from cdshooks.service.store import TABLES, unless_there

SIGHTS: Final = Table(
    "sights",
    TABLES,
    Column("sight", String, primary_key=True),  # keyed hash of user, patient and card: nothing of them can be read off
    Column("at", DateTime(timezone=True), nullable=False, index=True),
)

SEEN_FOR: Final = timedelta(hours=24)  # an order that is signed later than that gets its cards in full
SHOWS, SHRINKS = "order-select", "order-sign"
PREFIX: Final = "Already shown: "

Card = dict[str, Any]


def remember(connection: Connection, key: Key, cards: Sequence[Card], *, asker: Asker, at: datetime) -> None:
    """Keep that the asker's user has been shown these cards; forget what is too old to matter."""
    connection.execute(delete(SIGHTS).where(SIGHTS.c.at < at - SEEN_FOR))
    sights = dict.fromkeys(_sight(key, card, asker) for card in cards)
    if asker.user and sights:
        connection.execute(delete(SIGHTS).where(SIGHTS.c.sight.in_(sights)))
        connection.execute(unless_there(connection, SIGHTS), [{"sight": sight, "at": at} for sight in sights])


def shrink(connection: Connection, key: Key, cards: Sequence[Card], *, asker: Asker, at: datetime) -> list[Card]:
    """The cards, those seen by the asker's user as a note each; whatever is in full comes first."""
    if not asker.user or not cards:
        return list(cards)
    sights = [_sight(key, card, asker) for card in cards]
    kept = select(SIGHTS.c.sight).where(SIGHTS.c.sight.in_(sights), SIGHTS.c.at >= at - SEEN_FOR)
    seen = set(connection.scalars(kept))
    told = [(sight in seen, note(card) if sight in seen else card) for card, sight in zip(cards, sights, strict=True)]
    return [card for _, card in sorted(told, key=lambda pair: pair[0])]


def note(card: Card) -> Card:
    """A card as one line of information: what it said, how grave, and nothing to accept or to override."""
    summary = card["summary"]
    grave = {"critical": "a critical card", "warning": "a warning"}.get(card["indicator"], "information")
    kept = {name: card[name] for name in ("uuid", "source", "extension")}
    return kept | {
        "summary": f"{PREFIX}{summary}" if len(PREFIX + summary) <= SUMMARY_LIMIT else summary,
        "indicator": "info",
        "detail": f"You were shown this as {grave} while the order was selected, and nothing in it has changed.",
    }


def _sight(key: Key, card: Card, asker: Asker) -> str:
    """One user's sight of one card: all its words, but not the ids that each call makes anew."""
    words = {name: card.get(name) for name in ("summary", "indicator", "detail", "source", "extension")}
    offered = [suggestion["label"] for suggestion in card.get("suggestions", ())]
    content = orjson.dumps([words, offered], option=orjson.OPT_SORT_KEYS).decode()
    return key.sign("sight", asker.client, asker.user, asker.patient, content)
