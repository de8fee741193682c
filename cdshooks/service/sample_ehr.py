"""A small record system for the demonstration and the tests: a read-only FHIR R4 server and its sign-in.

It lets everybody in: there is nobody to protect among invented patients. It checks what a real one would check of an
app all the same: redirect address, PKCE, code used once, token and patient.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from flask import Blueprint, Response, abort, redirect, request

from cdshooks.wire.hooks import Json

LIFETIME_S: Final = 3600
SAMPLE_CLIENT: Final = "cdshooks-sample"


@dataclass
class _Grant:
    patient: str
    redirect_uri: str
    challenge: str


@dataclass
class SampleEhr:
    """Patients by id with their resources; codes and tokens that are out."""

    base: str  # its FHIR base, an absolute address
    resources: Mapping[str, list[Json]]  # by patient
    redirect_uri: str
    lifetime_s: int = LIFETIME_S
    refreshes: bool = False  # gives refresh tokens
    _codes: dict[str, _Grant] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)
    _refresh: dict[str, str] = field(default_factory=dict)

    def blueprint(self, path: str) -> Blueprint:
        """Its routes below `path`."""
        ehr = Blueprint("sample_ehr", __name__, url_prefix=path)

        @ehr.get("/.well-known/smart-configuration")
        def configuration() -> Response:
            return _json(
                {
                    "authorization_endpoint": f"{self.base}/authorize",
                    "token_endpoint": f"{self.base}/token",
                    "code_challenge_methods_supported": ["S256"],
                    "capabilities": ["launch-ehr", "launch-standalone", "client-public", "permission-v2"],
                    "grant_types_supported": ["authorization_code"],
                    "response_types_supported": ["code"],
                }
            )

        @ehr.get("/authorize")
        def authorize() -> Any:
            asked = request.args
            if asked.get("client_id") != SAMPLE_CLIENT or asked.get("redirect_uri") != self.redirect_uri:
                abort(HTTPStatus.BAD_REQUEST)
            patient = asked.get("launch") or next(iter(self.resources))  # a standalone launch would ask; here the first
            if (
                patient not in self.resources
                or asked.get("code_challenge_method") != "S256"
                or asked.get("aud") != self.base
            ):
                abort(HTTPStatus.BAD_REQUEST)
            code = secrets.token_urlsafe(16)
            self._codes[code] = _Grant(patient, self.redirect_uri, asked.get("code_challenge", ""))
            return redirect(f"{self.redirect_uri}?{urlencode({'code': code, 'state': asked.get('state', '')})}")

        @ehr.post("/token")
        def token() -> Response:
            form = request.form
            if form.get("grant_type") == "refresh_token":
                known = self._refresh.pop(form.get("refresh_token", ""), None)
                return self._grants(known) if known else _json({"error": "invalid_grant"}, HTTPStatus.BAD_REQUEST)
            grant = self._codes.pop(form.get("code", ""), None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            made = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            if grant is None or made != grant.challenge or form.get("redirect_uri") != grant.redirect_uri:
                return _json({"error": "invalid_grant"}, HTTPStatus.BAD_REQUEST)
            return self._grants(grant.patient)

        @ehr.get("/<kind>")
        def search(kind: str) -> Response:
            patient = self._patient_of_token()
            if request.args.get("patient", "").removeprefix("Patient/") != patient:
                abort(HTTPStatus.FORBIDDEN)
            codes = [one.rpartition("|")[2] for one in request.args.get("code", "").split(",") if one]
            found = [r for r in self.resources[patient] if r["resourceType"] == kind]
            found = [r for r in found if not codes or set(codes) & set(_codes_of(r))]
            entries = [{"fullUrl": f"{self.base}/{kind}/{r.get('id')}", "resource": r} for r in found]
            return _json({"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": entries})

        @ehr.get("/Patient/<identifier>")
        def patient(identifier: str) -> Response:
            if self._patient_of_token() != identifier:
                abort(HTTPStatus.FORBIDDEN)
            return _json(next(r for r in self.resources[identifier] if r["resourceType"] == "Patient"))

        return ehr

    def _grants(self, patient: str) -> Response:
        """A new token for a patient."""
        access = secrets.token_urlsafe(24)
        self._tokens[access] = patient
        granted: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.lifetime_s,
            "patient": patient,
            "scope": "launch patient/*.rs",
        }
        if self.refreshes:
            refresh = granted["refresh_token"] = secrets.token_urlsafe(24)
            self._refresh[refresh] = patient
        return _json(granted)

    def _patient_of_token(self) -> str:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        patient = self._tokens.get(given)
        if patient is None:
            abort(HTTPStatus.UNAUTHORIZED)
        return patient


def _codes_of(resource: Json) -> Iterable[str]:
    code: Any = resource.get("code")
    codings = code.get("coding", []) if isinstance(code, dict) else []
    return (str(coding.get("code")) for coding in codings if isinstance(coding, dict))


def _json(body: Json, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(body), status, mimetype="application/json")


def resources_of(prefetch: Mapping[str, Any]) -> list[Json]:
    """Every resource in the prefetch of a hook request."""
    found: list[Json] = []
    for value in prefetch.values():
        if isinstance(value, dict) and value.get("resourceType") == "Bundle":
            found += [entry["resource"] for entry in value.get("entry", []) if isinstance(entry.get("resource"), dict)]
        elif isinstance(value, dict):
            found.append(value)
    return found
