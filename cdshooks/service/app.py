"""The web application: request -> pipeline -> answer, and errors -> status codes.

The only place that knows both Flask and status codes. It decides who may wait, how much may be sent, what the clinical
date is, and what is logged and kept. It must not judge anything: the verdict is `pipeline.evaluate` alone.
"""

import os
import re
import secrets
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from threading import BoundedSemaphore
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import orjson
from flask import Flask, Response, g, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from cdshooks.errors import BadRequest, CdsError, ConfigurationError, MissingPrefetch, TooLarge
from cdshooks.model import Missing
from cdshooks.pipeline import evaluate, lacking, unsent_queries
from cdshooks.service import audit, repeats
from cdshooks.service.canaries import read_canaries, silent_rules
from cdshooks.service.clients import Reason, Refused, key_problems, open_door
from cdshooks.service.config import ANYBODY, Client, Settings, load_settings
from cdshooks.service.fhir_server import FhirReader, listed_base
from cdshooks.service.filters import add_filters
from cdshooks.service.logs import json_lines, locations, make_meters, shortened
from cdshooks.service.pages import DEFAULT_BASE, problem, register_pages
from cdshooks.service.smart_pages import register_smart
from cdshooks.service.store import keep_cards, keep_feedback, open_store, reading
from cdshooks.wire.hooks import (
    ALL_OBSERVATIONS,
    PUBLISHED_KEYS,
    SERVICES,
    HookCall,
    discovery,
    read_call,
    read_feedback,
    with_answers,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from cdshooks.medicine.knowledge import Knowledge

HOOK_ENDPOINTS: Final = ("call", "feedback")
LOOPBACK_ORIGIN: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
CALLED_PATH: Final = "cdshooks.called_path"  # in the WSGI environment: the path before it was cleaned
FEEDBACK_AT_ONCE: Final = 4  # reports being written; they wait for one disk anyway
PIECE: Final = 64 * 1024  # bytes asked for at once while a body is read
DISCARDED: Final = 64 * 1024 * 1024  # bytes of a body over the limit that are read before it is refused


class Busy(CdsError):
    """More requests wait for their turn than the settings allow (503)."""


def create_app(
    settings: Settings | None = None, *, knowledge: "Knowledge | None" = None, today: date | None = None
) -> Flask:
    """The service as a WSGI application.

    `settings` default to the environment and the file that CDSHOOKS_CONFIG names; `knowledge` to what they name;
    `today` fixes the clinical date (for tests), else the settings do, else it is the current date in the site's zone.

    Raises:
        ConfigurationError: a setting cannot be used, or asks for something this version does not do.
        KnowledgeError: a file of the knowledge cannot be used.
    """
    if settings is None:
        file = os.environ.get("CDSHOOKS_CONFIG")
        settings = load_settings(Path(file) if file else None, os.environ)
    refuse_bad_clients(settings)
    if knowledge is None:
        from cdshooks.medicine.knowledge_files import load_knowledge

        knowledge = load_knowledge(settings.mappings, settings.overlay)
    canaries = read_canaries(settings.mappings)
    store = open_store(settings.database)
    key = audit.audit_key(store, settings.audit_key)
    log = json_lines(sys.stderr)
    meters = make_meters([service.id for service in SERVICES])
    door = open_door(settings, store)
    servers = FhirReader(settings.clients, settings.limits)
    for reason in Reason if door else ():
        meters.refused.labels(reason)
    turn = bounded(os.cpu_count() or 1, settings.limits.queue)
    feedback_turn = bounded(FEEDBACK_AT_ONCE, settings.limits.queue)  # neither takes the other's places
    limits = settings.limits
    zone = ZoneInfo(settings.timezone)
    fixed_today = today or settings.today

    smart_app = f"{settings.public_base or DEFAULT_BASE}/smart/launch" if settings.smart.iss else ""

    def clinical_date() -> date:
        return fixed_today or datetime.now(zone).date()

    every_origin = [origin for client in settings.clients for origin in client.cors_origins]

    @cache
    def silent() -> tuple[str, ...]:
        """The rules that give no card for their canary; judged once, told once."""
        rules = silent_rules(knowledge, canaries)
        if rules:
            log.error("canaries silent", rules=rules, knowledge=knowledge.version)
        return rules

    services = orjson.dumps(discovery(knowledge.prefetch_queries))

    app = Flask(__name__)
    app.extensions["store"] = store  # so that whoever made the application can close it
    app.wsgi_app = _clean_path(app.wsgi_app)  # type: ignore[method-assign, assignment]
    app.jinja_options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    add_filters(app)
    service_rule = "/cds-services/<any(" + ",".join(f'"{service.id}"' for service in SERVICES) + "):service>"

    @app.before_request
    def _begin() -> Response | None:
        g.started = perf_counter()
        g.told = {}
        g.caller = None
        if request.method == "OPTIONS" and _is_hook_path():  # a preflight carries no token and names no client
            return Response(status=HTTPStatus.NO_CONTENT)
        return None

    @app.get("/cds-services")
    def services_offered() -> Response:
        return json_answer(services)

    def admitted() -> Client:
        """Who calls, by their token; anybody where the service is open."""
        if door is None:
            return ANYBODY
        caller = door.admit(request.headers.get("Authorization"), {request.path, request.environ[CALLED_PATH]})
        g.caller = caller
        g.told["client"] = caller.name
        return caller

    def completed(hook_call: HookCall, caller: Client, today: date) -> HookCall:
        """The call with what was not sent, read from the client's FHIR server where that is allowed and needed."""
        if not listed_base(hook_call, caller):
            return hook_call
        until = monotonic() + limits.deadline_ms / 1000
        fetched = failed = 0
        while queries := unsent_queries(
            hook_call, knowledge=knowledge, today=today, zone=zone, fhir_release=caller.fhir_release
        ):
            answers = servers.read(hook_call, caller, queries, until=until)
            lost = sum(isinstance(answer, Missing) for answer in answers.values())
            fetched, failed = fetched + len(answers) - lost, failed + lost
            hook_call = with_answers(hook_call, answers)
        meters.fhir_reads.labels("answered").inc(fetched)
        meters.fhir_reads.labels("failed").inc(failed)
        g.told |= {"fetched": fetched, "not_fetched": failed}
        return hook_call

    @app.post(service_rule)
    def call(service: str) -> Response:
        caller = admitted()
        body = read_body(limits.body_bytes)
        g.started = perf_counter()  # how long a client takes to send says nothing about us
        today = clinical_date()
        with turn():
            hook_call = read_call(
                service,
                body,
                max_depth=limits.max_depth,
                max_entries=limits.max_entries,
                prefetch_keys=caller.prefetch_keys,
            )
        g.told["hook_instance"] = shortened(hook_call.hook_instance)
        hook_call = completed(hook_call, caller, today)  # waits for others, so it takes nobody's turn
        with turn():
            answer = evaluate(
                hook_call,
                knowledge=knowledge,
                today=today,
                zone=zone,
                fhir_release=caller.fhir_release,
                profile=caller.profile,
                app=smart_app,
            )
        asker = audit.asker(key, client=caller.name, user=hook_call.user_id, patient=hook_call.patient_id)
        absent = lacking(answer) if caller.missing_data == "412" and settings.mode == "show" else ()
        at, cards, visible = datetime.now(UTC), answer.cards, settings.mode == "show" and not absent
        if visible and caller.repeats == "note" and hook_call.hook == repeats.SHRINKS:
            try:
                with reading(store).connect() as connection:
                    cards = repeats.shrink(connection, key, cards, asker=asker, at=at)
            except SQLAlchemyError as error:  # then the clinician reads them in full once more
                log.error("repeats not looked up", service=service, error=type(error).__name__, where=locations(error))
        shown = [_record(card) for card in cards]
        g.told |= {
            "cards": len(shown),
            "topics": [card["topic"] for card in shown],
            "shown": visible,
            "rules": sorted({rule for card in shown for rule in card["rules"]}),
        }
        for check, raised in answer.failures:
            meters.failures.inc()
            log.error(
                "check failed", service=service, check=check, error=type(raised).__name__, where=locations(raised)
            )
        for card in shown:
            meters.cards.labels(card["topic"], card["indicator"]).inc()
        entry = audit.Entry(
            event="call",
            service=service,
            asker=asker,
            hook_instance=hook_call.hook_instance,
            shown=visible,
            orders=answer.orders,
            cards=shown,
            failures=[check for check, _ in answer.failures],
            knowledge_version=knowledge.version,
        )
        try:
            with meters.keeping.time(), store.begin() as connection:
                keep_cards(
                    connection, shown, service=service, knowledge_version=knowledge.version, at=at, shown=visible
                )
                if visible and caller.repeats == "note" and hook_call.hook == repeats.SHOWS:
                    repeats.remember(connection, key, cards, asker=asker, at=at)
                audit.append(connection, key, entry, at=at)
        except SQLAlchemyError as error:  # the clinician needs the answer more than we need the record of it
            meters.not_kept.inc()
            log.error("call not kept", service=service, error=type(error).__name__, where=locations(error))
        meters.seconds.labels(service).observe(perf_counter() - g.started)
        if absent:  # this client asks again, with the data
            raise MissingPrefetch("\n".join(absent), "prefetch")
        return json_answer(orjson.dumps({"cards": cards if visible else []}))

    @app.post(service_rule + "/feedback")
    def feedback(service: str) -> Response:
        caller = admitted()
        entries = read_feedback(read_body(limits.body_bytes))
        if len(entries) > limits.max_entries:
            raise TooLarge(f"more than {limits.max_entries} entries; send them in several requests", "feedback")
        at = datetime.now(UTC)
        # On disk when the block ends, and only then answered.
        with feedback_turn(), meters.keeping.time(), store.begin() as connection:
            kept, matched = keep_feedback(connection, entries, service=service, at=at)
            asker = audit.asker(key, client=caller.name)
            entry = audit.Entry(event="feedback", service=service, asker=asker, feedback=kept)
            audit.append(connection, key, entry, at=at)
        meters.feedback.labels(service, "yes").inc(matched)
        meters.feedback.labels(service, "no").inc(len(entries) - matched)
        g.told |= {"entries": len(entries), "matched": matched}
        return json_answer(orjson.dumps({"kept": len(entries), "matched": matched}))

    register_smart(
        app,
        settings=settings,
        base=settings.public_base or DEFAULT_BASE,
        knowledge=knowledge,
        store=store,
        clinical_date=clinical_date,
        zone=zone,
    )
    register_pages(
        app,
        settings=settings,
        knowledge=knowledge,
        store=store,
        meters=meters,
        clinical_date=clinical_date,
        silent=silent,
    )

    @app.errorhandler(Refused)
    def _refused(error: Refused) -> Response:
        meters.refused.labels(error.reason).inc()
        g.told |= {"reason": error.reason} | ({"client": error.client} if error.client else {})
        _discard(limits.body_bytes)
        return problem(HTTPStatus.UNAUTHORIZED, str(error), headers={"WWW-Authenticate": 'Bearer realm="cds-services"'})

    @app.errorhandler(MissingPrefetch)
    def _missing_prefetch(error: MissingPrefetch) -> Response:
        issues = [
            {"severity": "error", "code": "required", "details": {"text": text}, "expression": [error.field]}
            for text in error.detail.splitlines()
        ]
        outcome = orjson.dumps({"resourceType": "OperationOutcome", "issue": issues})
        return Response(outcome, HTTPStatus.PRECONDITION_FAILED, mimetype="application/fhir+json")

    @app.errorhandler(BadRequest)
    def _bad_request(error: BadRequest) -> Response:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if isinstance(error, TooLarge) else HTTPStatus.BAD_REQUEST
        return problem(status, error.detail, field=error.field)

    @app.errorhandler(Busy)
    def _busy(error: Busy) -> Response:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": "1"})

    @app.errorhandler(HTTPException)
    def _http_error(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        detail = {
            HTTPStatus.NOT_FOUND: "nothing is served here; the services are listed at /cds-services",
            HTTPStatus.METHOD_NOT_ALLOWED: "this path is not served with this method; see the Allow header",
        }.get(status, error.description or status.phrase)
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return problem(status, detail, headers={"Allow": allowed} if allowed else {})

    @app.errorhandler(Exception)
    def _bug(error: Exception) -> Response:
        reference = secrets.token_hex(4)
        log.error("bug", reference=reference, error=type(error).__name__, where=locations(error))
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, f"not checked: an error in this service, reference {reference}"
        )

    @app.after_request
    def _finish(response: Response) -> Response:
        if request.endpoint not in ("static", "plotly") or response.status_code >= HTTPStatus.BAD_REQUEST:
            response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if _is_hook_path() or response.status_code >= HTTPStatus.BAD_REQUEST:
            caller = g.get("caller")
            origins = caller.cors_origins if caller else every_origin
            _allow_origin(response, origins if settings.clients else None)
        if request.endpoint in HOOK_ENDPOINTS and request.view_args and request.method == "POST":
            service = request.view_args["service"]
            meters.requests.labels(service, f"{response.status_code // 100}xx").inc()
            log.info(
                str(request.endpoint),
                service=service,
                status=response.status_code,
                ms=round((perf_counter() - g.started) * 1000, 1),
                knowledge=knowledge.version,
                **g.told,
            )
        return response

    return app


def refuse_bad_clients(settings: Settings) -> None:
    """Refuse settings that this version would silently not honour, and clients that could not be served.

    Raises:
        ConfigurationError: names the setting and what to do instead.
    """
    problems = key_problems(settings.clients)
    known = (*PUBLISHED_KEYS, ALL_OBSERVATIONS)
    problems += [
        f"clients: {client.name}: prefetch_keys: {name}: no key {ours!r} here; write one of {', '.join(known)}"
        for client in settings.clients
        for name, ours in client.prefetch_keys.items()
        if ours not in known
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))


def bounded(at_once: int, waiting: int) -> Callable[[], AbstractContextManager[None]]:
    """A gate: `at_once` callers are inside, `waiting` more wait for their turn, any further one is `Busy` at once."""
    places = BoundedSemaphore(at_once + waiting)
    turns = BoundedSemaphore(at_once)

    @contextmanager
    def turn() -> Iterator[None]:
        if not places.acquire(blocking=False):
            raise Busy("too many requests wait for their turn; send this one again")
        try:
            with turns:
                yield
        finally:
            places.release()

    return turn


def read_body(limit: int) -> bytes:
    """The whole body of the current request, JSON by its headers, of at most `limit` bytes.

    Raises:
        UnsupportedMediaType: the body is encoded (compressed).
        BadRequest: the content type is not JSON in UTF-8, or the body ends early.
        TooLarge: the body is longer than `limit`. It is never cut: the part read so far could be valid by itself.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("Content-Encoding is not accepted; send the body as it is")
    if not (request.mimetype == "application/json" or request.mimetype.endswith("+json")):
        raise BadRequest("the content type must be application/json")
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise BadRequest("the body must be UTF-8")
    announced = request.content_length
    body = bytearray()
    if announced is None or announced <= limit:
        while piece := request.stream.read(min(PIECE, limit + 1 - len(body))):
            body += piece
            if len(body) > limit:
                break
    if len(body) > limit or (announced is not None and announced > limit):
        _discard(DISCARDED)
        raise TooLarge(f"the body is over {limit} bytes")
    if announced is not None and len(body) < announced:
        raise BadRequest("the body ended before its Content-Length")
    return bytes(body)


def _discard(most: int) -> None:
    """Read on without keeping anything: many clients look at the answer only after they have sent everything."""
    while most > 0 and (piece := request.stream.read(PIECE)):
        most -= len(piece)


def json_answer(body: bytes) -> Response:
    """A 200 with a JSON body."""
    return Response(body, mimetype="application/json")


def _record(card: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept and logged of a card: which advice it was, nothing of the patient."""
    return {
        "uuid": card["uuid"],
        "topic": card["source"]["topic"]["code"],
        "indicator": card["indicator"],
        "rules": card["extension"]["cmv-cds.finding"]["checks"],
    }


def _is_hook_path() -> bool:
    """Is this discovery, a call or feedback, known or not?"""
    return request.path == "/cds-services" or request.path.startswith("/cds-services/")


def _allow_origin(response: Response, origins: Collection[str] | None) -> None:
    """Let a page of one of `origins` read the answer; None: any page of this machine, such as a local sandbox."""
    response.vary.add("Origin")
    origin = request.headers.get("Origin", "")
    if LOOPBACK_ORIGIN.fullmatch(origin) if origins is None else origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        response.headers["Access-Control-Max-Age"] = "600"


def _clean_path(inner: "WSGIApplication") -> "WSGIApplication":
    """Answer a doubled or trailing slash like the clean path: a redirect would kill a preflight."""

    def outer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ[CALLED_PATH] = environ.get("PATH_INFO", "")
        environ["PATH_INFO"] = re.sub(r"/{2,}", "/", environ[CALLED_PATH]).rstrip("/") or "/"
        return inner(environ, start_response)

    return outer
