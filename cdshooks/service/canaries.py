"""Synthetic orders that must give a card: one for each rule. A service that keeps silent about them is not ready.

They stand in `canaries.json` beside the rules (made from the scenarios by `make canaries`), each with the day it is
judged on. Nothing of them is logged, counted or kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import orjson

from cdshooks.errors import CdsError, KnowledgeError
from cdshooks.pipeline import evaluate
from cdshooks.wire.hooks import read_call

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge

FILE: Final = "canaries.json"
ZONE: Final = ZoneInfo("UTC")  # of the days in the file, whatever the site's


@dataclass(frozen=True, slots=True)
class Canary:
    """One order, and the rules whose cards it must give."""

    name: str
    service: str
    today: date
    rules: frozenset[str]
    request: dict[str, Any]


def read_canaries(folder: Traversable | None = None) -> tuple[Canary, ...]:
    """The canaries in a copy of mappings/ (the installed one unless `folder` is given).

    Raises:
        KnowledgeError: there are none, or the file is not what `make canaries` writes.
    """
    path = (folder if folder is not None else files("cdshooks.mappings")) / FILE
    try:
        found = tuple(_canary(entry) for entry in orjson.loads(path.read_bytes()))
    except OSError as error:
        raise KnowledgeError(f"mappings/{FILE}: cannot be read ({error.strerror}); copy it with the rules") from error
    except (ValueError, KeyError, TypeError) as error:
        raise KnowledgeError(f"mappings/{FILE}: is not what `make canaries` writes; make it again") from error
    if not found:
        raise KnowledgeError(f"mappings/{FILE}: holds no order; make it again with `make canaries`")
    return found


def _canary(entry: dict[str, Any]) -> Canary:
    return Canary(
        name=entry["name"],
        service=entry["service"],
        today=date.fromisoformat(entry["today"]),
        rules=frozenset(entry["rules"]),
        request=entry["request"],
    )


def silent_rules(knowledge: "Knowledge", canaries: tuple[Canary, ...]) -> tuple[str, ...]:
    """The rules that keep silent about their canary; none when all is well."""
    return tuple(sorted({rule for canary in canaries for rule in _silent(knowledge, canary)}))


def _silent(knowledge: "Knowledge", canary: Canary) -> Iterator[str]:
    try:
        body = orjson.dumps(canary.request)
        call = read_call(canary.service, body, max_depth=64, max_entries=10_000, prefetch_keys={})
        cards = evaluate(call, knowledge=knowledge, today=canary.today, zone=ZONE).cards
    except CdsError:
        yield from canary.rules
        return
    yield from canary.rules - {rule for card in cards for rule in card["extension"]["cmv-cds.finding"]["checks"]}


def check_canaries(knowledge: "Knowledge", folder: Traversable | None = None) -> int:
    """Judge all canaries; gives their number.

    Raises:
        KnowledgeError: there are none, or rules keep silent; names them and what to do.
    """
    canaries = read_canaries(folder)
    if silent := silent_rules(knowledge, canaries):
        raise KnowledgeError(
            f"mappings/{FILE}: no card from {', '.join(silent)} for the order that must give one; "
            "mend the rule, or take another order for it (`make canaries`)"
        )
    return len(canaries)
