"""What is read with GET and holds no patient data: home page, health, metrics, OpenAPI; and problem details."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from flask import Flask, Response, render_template
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy import Engine
from werkzeug.exceptions import ServiceUnavailable

from cdshooks import __version__
from cdshooks.service.config import Settings
from cdshooks.service.knowledge_pages import register_knowledge
from cdshooks.service.logs import Meters
from cdshooks.service.store import writable
from cdshooks.wire.hooks import SERVICES

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge

DEFAULT_BASE: Final = "http://127.0.0.1:8000"  # what `serve` listens on when nothing else is said
PROBLEM: Final = "application/problem+json"
LINKS: Final = (
    ("/cds-services", "discovery"),
    ("/knowledge", "rules, dose tables, sources"),
    ("/health/ready", "health"),
    ("/metrics", "metrics"),
    ("/openapi.json", "OpenAPI"),
)


def register_pages(
    app: Flask,
    *,
    settings: Settings,
    knowledge: "Knowledge",
    store: Engine,
    meters: Meters,
    clinical_date: Callable[[], date],
    silent: Callable[[], tuple[str, ...]],
) -> None:
    """Add the pages to `app`.

    `clinical_date` gives the current one, for the example on the home page; `silent` the rules that keep silent about
    the order that must give a card.
    """
    base = settings.public_base or DEFAULT_BASE
    api = orjson.dumps(openapi(base))
    policy = page_policy(settings.smart.frame_ancestors)

    def page(template: str, **values: Any) -> Response:
        html = render_template(template, version=__version__, knowledge_version=knowledge.version, **values)
        return Response(html, headers=policy, mimetype="text/html")

    @app.get("/")
    def home() -> Response:
        return page("home.html", base=base, services=SERVICES, links=LINKS, today=clinical_date())

    @app.get("/health/live")
    def live() -> Response:
        return _json(b'{"status":"live"}')

    @app.get("/health/ready")
    def ready() -> Response:
        if not writable(store):
            raise ServiceUnavailable("the database cannot be written")
        if rules := silent():
            raise ServiceUnavailable(f"no card from {', '.join(rules)} for the order that must give one; see the log")
        return _json(
            orjson.dumps({"status": "ready", "knowledgeVersion": knowledge.version, "serviceVersion": __version__})
        )

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(meters.registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    @app.get("/openapi.json")
    def openapi_document() -> Response:
        return _json(api)

    register_knowledge(app, knowledge=knowledge, policy=policy)


def _json(body: bytes) -> Response:
    return Response(body, mimetype="application/json")


def problem(status: HTTPStatus, detail: str, *, field: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """An error as RFC 9457 problem details. `detail` and `field` are shown to the caller: no patient data."""
    members: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    if field:
        members["field"] = field
    return Response(orjson.dumps(members), status, dict(headers or {}), mimetype=PROBLEM)


def page_policy(frame_ancestors: Sequence[str], *, forms: bool = False) -> Mapping[str, str]:
    """Headers of every page: nothing from elsewhere, nothing inline, framed only where the site said so.

    `forms`: the page may send a form, to this service alone.
    """
    ancestors = " ".join(frame_ancestors) or "'none'"
    sent_to = "'self'" if forms else "'none'"
    return {
        "Content-Security-Policy": (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
            f"base-uri 'none'; form-action {sent_to}; frame-ancestors {ancestors}"
        ),
        "Referrer-Policy": "no-referrer",
    }


def openapi(base: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of what is served under the address `base`."""
    cards = {"description": "Cards, most severe first; none when nothing was found.", "content": _content("Answer")}
    lacking = {
        "description": "An OperationOutcome: data that a check needs were not sent. Only for clients that ask for it.",
        "content": {"application/fhir+json": {}},
    }
    paths: dict[str, Any] = {
        "/": {"get": _get("The home page, for people", "home", media="text/html")},
        "/cds-services": {"get": _get("Discovery", "discovery", "The services and their prefetch templates.")},
        "/health/live": {"get": _get("Is the process there?", "live")},
        "/health/ready": {"get": _get("Can calls be answered and feedback kept?", "ready", errors=("503",))},
        "/knowledge": {"get": _get("Rules with their citations; a page for browsers", "knowledge")},
        "/knowledge/changes": {"get": _get("The change log, a page", "knowledge-changes", media="text/html")},
        "/knowledge/doses": {"get": _get("The dose tables, a page", "knowledge-doses", media="text/html")},
        "/knowledge/mutations": {
            "get": _get("The published mutations of a gene, a page", "knowledge-mutations", media="text/html")
            | {"parameters": [{"name": "gene", "in": "query", "schema": TEXT}]}
        },
        "/knowledge/rules/{rule}": {
            "get": _get("One rule with every number and its source, a page", "knowledge-rule", media="text/html")
            | {"parameters": [{"name": "rule", "in": "path", "required": True, "schema": TEXT}]}
        },
        "/knowledge/sources": {"get": _get("The sources, a page", "knowledge-sources", media="text/html")},
        "/metrics": {"get": _get("Counters in the Prometheus text format", "metrics", media="text/plain")},
        "/openapi.json": {"get": _get("This document", "openapi")},
        "/smart/callback": {"get": _get("End of a launch of the app", "callback", errors=("400",))},
        "/smart/launch": {"get": _get("Launch of the app by a listed FHIR server", "launch", errors=("400",))},
    }
    for service in SERVICES:
        paths[f"/cds-services/{service.id}"] = {
            "post": {
                "operationId": service.id,
                "summary": service.title,
                "description": service.description,
                "requestBody": {"required": True, "content": _content("Call")},
                "security": [{}, {"token": []}],
                "responses": {"200": cards, "412": lacking, **_problems("400", "401", "413", "415", "500", "503")},
            }
        }
        paths[f"/cds-services/{service.id}/feedback"] = {
            "post": {
                "operationId": f"{service.id}-feedback",
                "summary": f"What became of the cards of {service.id}",
                "requestBody": {"required": True, "content": _content("Feedback")},
                "security": [{}, {"token": []}],
                "responses": {
                    "200": {"description": "Kept; a repeated entry is kept once.", "content": _content("Kept")},
                    **_problems("400", "401", "413", "415", "500"),
                },
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CMV therapy checks (CDS Hooks 2.0.1)",
            "version": __version__,
            "description": "Judges orders of drugs against cytomegalovirus. Decision support; needs local validation.",
        },
        "servers": [{"url": base}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A client's signed token, made for this very address (CDS Hooks 2.0.1, security);"
                    " an open service needs none.",
                }
            },
            "responses": {
                "Problem": {
                    "description": "Problem details (RFC 9457), without patient data.",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
        },
    }


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _problems(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": "#/components/responses/Problem"} for status in statuses}


def _get(
    summary: str,
    name: str,
    description: str = "As asked.",
    *,
    media: str = "application/json",
    errors: Sequence[str] = (),
) -> dict[str, Any]:
    answer = {"description": description, "content": {media: {}}}
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **_problems(*errors)}}


TEXT: Final = {"type": "string"}
SCHEMAS: Final[Mapping[str, Any]] = {
    "Call": {
        "type": "object",
        "description": "A CDS Hooks request, 1.0 to 3.0; unknown members are accepted.",
        "required": ["hook", "hookInstance", "context"],
        "properties": {
            "hook": TEXT,
            "hookInstance": TEXT,
            "fhirServer": TEXT,
            "context": {
                "type": "object",
                "required": ["patientId"],
                "properties": {
                    "patientId": TEXT,
                    "userId": TEXT,
                    "draftOrders": {"type": "object"},
                    "selections": {"type": "array", "items": TEXT},
                    "medications": {"type": "object"},
                    "medication": {"type": "object"},
                },
            },
            "prefetch": {"type": ["object", "null"]},
        },
    },
    "Answer": {
        "type": "object",
        "required": ["cards"],
        "properties": {
            "cards": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["uuid", "summary", "indicator", "source"],
                    "properties": {
                        "uuid": TEXT,
                        "summary": {"type": "string", "maxLength": 139},
                        "indicator": {"enum": ["info", "warning", "critical"]},
                        "detail": TEXT,
                        "source": {"type": "object", "required": ["label", "topic"]},
                        "suggestions": {"type": "array", "items": {"type": "object"}},
                        "selectionBehavior": {"const": "any"},
                        "overrideReasons": {"type": "array", "items": {"type": "object"}},
                        "extension": {"type": "object"},
                    },
                },
            }
        },
    },
    "Feedback": {
        "type": "object",
        "required": ["feedback"],
        "properties": {
            "feedback": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["outcome"],
                    "properties": {
                        "card": TEXT,
                        "outcome": {"enum": ["accepted", "overridden"]},
                        "outcomeTimestamp": {"type": "string", "format": "date-time"},
                        "acceptedSuggestions": {"type": "array", "items": {"type": "object"}},
                        "overrideReason": {"type": "object"},
                    },
                },
            }
        },
    },
    "Kept": {
        "type": "object",
        "required": ["kept", "matched"],
        "properties": {"kept": {"type": "integer"}, "matched": {"type": "integer"}},
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "field": {"type": "string", "description": "Path of the member at fault, as context.patientId"},
        },
    },
}
