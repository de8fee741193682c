"""What operators see of the service: JSON lines on standard error, and counters.

A line holds only fields of `FIELDS`; anything else is dropped, so that a careless call cannot write about a patient.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, TextIO

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from structlog.typing import FilteringBoundLogger

FIELDS: Final = (
    "time",
    "level",
    "event",
    "service",
    "client",
    "reason",
    "hook_instance",
    "status",
    "ms",
    "fetched",
    "not_fetched",
    "cards",
    "topics",
    "rules",
    "check",
    "knowledge",
    "entries",
    "matched",
    "reference",
    "error",
    "where",
    "address",
    "mode",
    "open",
    "today",
    "database",
    "version",
    "message",
)


def json_lines(stream: TextIO) -> FilteringBoundLogger:
    """A logger that writes one JSON object for each event to `stream`."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _only_known_fields,
            structlog.processors.JSONRenderer(serializer=lambda fields, **_: orjson.dumps(fields).decode()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def _only_known_fields(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Keep what is on the list, in its order."""
    return {name: fields[name] for name in FIELDS if name in fields}


def shortened(identifier: str) -> str:
    """The beginning of an id that came from outside: enough to find a call, too little to carry data or markup."""
    return re.sub(r"[^0-9A-Za-z-]", "", identifier)[:8]


def locations(error: BaseException) -> tuple[str, ...]:
    """Types and places of an exception and its causes, innermost last. Never its message, which may quote a request."""
    return tuple(_chain(error))


def _chain(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _chain(cause)
    yield type(error).__name__
    yield from (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__))


@dataclass(frozen=True, slots=True)
class Meters:
    """Counters of one running service. Every label comes from a closed set."""

    registry: CollectorRegistry
    requests: Counter
    seconds: Histogram
    cards: Counter
    feedback: Counter
    failures: Counter
    refused: Counter
    fhir_reads: Counter


def make_meters(services: Sequence[str]) -> Meters:
    """Fresh counters; those of the services start at 0, so that a rate can be taken from the first call on."""
    registry = CollectorRegistry()
    meters = Meters(
        registry=registry,
        requests=Counter(
            "cdshooks_requests", "Answers to hook and feedback calls.", ("service", "status"), registry=registry
        ),
        seconds=Histogram(
            "cdshooks_evaluation_seconds",
            "Time from the whole body read to the answer.",
            ("service",),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5),
            registry=registry,
        ),
        cards=Counter("cdshooks_cards", "Cards found.", ("topic", "indicator"), registry=registry),
        feedback=Counter("cdshooks_feedback", "Feedback entries kept.", ("service", "matched"), registry=registry),
        failures=Counter("cdshooks_check_failures", "Checks that could not be run.", registry=registry),
        refused=Counter("cdshooks_refused", "Calls without a valid token.", ("reason",), registry=registry),
        fhir_reads=Counter("cdshooks_fhir_reads", "Reads from FHIR servers.", ("outcome",), registry=registry),
    )
    for service in services:
        meters.seconds.labels(service)
        for status in ("2xx", "4xx", "5xx"):
            meters.requests.labels(service, status)
    return meters
