"""The SMART app's launch: from an EHR (or standalone) to an access token, and to the data of the one patient.

SMART App Launch 2: authorization code with PKCE, through Authlib. Only FHIR servers of the configuration may launch;
tokens stay on the server. This module knows no medicine: what it gives is a hook call like any other.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

import orjson
import requests
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

from cdshooks.errors import CdsError
from cdshooks.model import Missing
from cdshooks.service import smart_sessions
from cdshooks.service.config import Client, Limits, Smart, is_protected
from cdshooks.service.fhir_server import FhirReader, turned_away
from cdshooks.service.outgoing import Destination, Line, NotFetched, Watch, bind
from cdshooks.service.smart_sessions import Ticket, new_ticket
from cdshooks.wire.hooks import HookCall, Json, read_call

if TYPE_CHECKING:
    from sqlalchemy import Engine

LAUNCH_WITHIN_S: Final = 600  # a login may take this long
LONGEST_S: Final = 8 * 3600  # an app is open for a shift at most
READ_WITHIN_S: Final = 15.0
ANSWER_BYTES: Final = 256 * 1024  # of a discovery document
RESOURCES: Final = (
    "Patient", "Observation", "MedicationRequest", "Condition", "AllergyIntolerance", "Procedure", "DiagnosticReport",
)  # fmt: skip


LOST: Final = "This launch is not known here: it was finished before, or it took too long. Launch the app again."
_FHIR_ID: Final = re.compile(r"(?!\.+$)[A-Za-z0-9.-]{1,64}")  # anything else could change the address it is put into


class NotLaunched(CdsError):
    """The app cannot go on; the text says to the clinician what to do."""


class UnknownLaunch(NotLaunched):
    """This launch is none that may begin or go on; `field` is the part of the address at fault."""

    def __init__(self, words: str, field: str) -> None:
        """Keep the words and the field."""
        super().__init__(words)
        self.field = field


class NotReached(NotLaunched):
    """The record system or its sign-in does not answer, or not in a way that can be used."""


@dataclass(frozen=True, slots=True)
class Patient:
    """The one patient of a launch, what their FHIR server answered by prefetch key, and what stands on the page."""

    identifier: str
    base: str
    answers: Mapping[str, Json | Missing]

    @property
    def gaps(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        return tuple(f"{key}: {answer}" for key, answer in self.answers.items() if isinstance(answer, Missing))


class SmartApp:
    """Launches, and reads for the patient of a launch."""

    def __init__(
        self,
        settings: Smart,
        *,
        base: str,
        store: "Engine",
        limits: Limits,
        queries: Mapping[str, str],
        clock: Callable[[], float] = time,
    ) -> None:
        """`base` is the public address of this service, `queries` are those of the prefetch."""
        self._settings, self._store, self._limits, self._queries, self._clock = settings, store, limits, queries, clock
        self._redirect = base + settings.redirect
        self._client = Client.model_construct(
            name="SMART app", iss="", fhir_bases=settings.iss, fhir_networks=settings.fhir_networks
        )
        self._reader = FhirReader([self._client], limits)

    # ---- launch

    def begin(self, issuer: str, launch: str) -> tuple[str, Ticket]:
        """The address to send the browser to, and the ticket of this launch. `launch` is "" for a standalone launch.

        Raises:
            UnknownLaunch: the FHIR server is not one of the configuration; nothing was fetched.
            NotReached: its discovery document cannot be had or used.
        """
        base = issuer.removesuffix("/")
        if base not in self._settings.iss:
            raise UnknownLaunch("This FHIR server may not launch the app; it is not listed in [smart] iss.", "iss")
        found = self._discovered(base)
        ticket, verifier = new_ticket(), generate_token(64)
        address, _ = self._session(found["token_endpoint"], self._scope(found, launch)).create_authorization_url(
            found["authorization_endpoint"],
            state=ticket.handle,
            code_verifier=verifier,
            aud=base,
            **({"launch": launch} if launch else {}),
        )
        now = int(self._clock())
        kept = {"base": base, "verifier": verifier, "token_endpoint": found["token_endpoint"]}
        smart_sessions.begin(self._store, ticket, kept, ends_at=now + LAUNCH_WITHIN_S, now=now)
        return address, ticket

    def finish(self, ticket: Ticket, code: str) -> int:
        """Exchange the code; gives the seconds that the session lasts.

        Raises:
            UnknownLaunch: the launch is not known, or was finished before.
            NotLaunched: the authorization server gave no token, or none for a patient.
            NotReached: it does not answer.
        """
        now = int(self._clock())
        kept = smart_sessions.read(self._store, ticket, now=now)
        if kept is None or "verifier" not in kept:
            raise UnknownLaunch(LOST, "state")
        smart_sessions.end(self._store, ticket)  # a code counts once
        token = self._token(kept["token_endpoint"], code=code, verifier=kept["verifier"])
        patient = token.get("patient")
        if not isinstance(patient, str) or not _FHIR_ID.fullmatch(patient):
            raise NotLaunched("The record system named no patient. Open the app from a patient's chart.")
        session = {"base": kept["base"], "patient": patient, "token_endpoint": kept["token_endpoint"]} | _of(token, now)
        lasts = LONGEST_S if session["refresh"] else min(LONGEST_S, session["ends_at"] - now)
        smart_sessions.begin(self._store, ticket, session, ends_at=now + lasts, now=now)
        return lasts

    def _discovered(self, base: str) -> dict[str, Any]:
        """The SMART configuration of a FHIR server. Only endpoints that are encrypted or on this machine are used."""
        line = Line(Destination(base, self._settings.fhir_networks))
        try:
            body = line.get(
                f"{base}/.well-known/smart-configuration",
                headers={"Accept": "application/json"},
                limit=ANSWER_BYTES,
                until=monotonic() + READ_WITHIN_S,
                watch=Watch(),
            )
            found = orjson.loads(body)
        except (NotFetched, orjson.JSONDecodeError) as error:
            raise NotReached("The record system's sign-in could not be reached. Try again in a moment.") from error
        names = ("authorization_endpoint", "token_endpoint")
        if not isinstance(found, dict) or not all(
            isinstance(found.get(name), str) and is_protected(found[name]) for name in names
        ):
            raise NotReached("The record system's sign-in is not set up for apps. Tell the people who run it.")
        methods = found.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise NotReached("The record system's sign-in lacks PKCE (S256). Tell the people who run it.")
        return found

    def _scope(self, found: Mapping[str, Any], launch: str) -> str:
        """The least that the page needs: to read, and of one patient."""
        capabilities = found.get("capabilities")
        second = isinstance(capabilities, list) and "permission-v2" in capabilities
        reads = (f"patient/{kind}.{'rs' if second else 'read'}" for kind in RESOURCES)
        return " ".join(("launch" if launch else "launch/patient", *reads))

    def _session(self, token_endpoint: str, scope: str = "") -> OAuth2Session:
        session = OAuth2Session(
            self._settings.client_id,
            scope=scope or None,
            redirect_uri=self._redirect,
            code_challenge_method="S256",
            token_endpoint=token_endpoint,
        )
        bind(session, Destination(token_endpoint, self._settings.fhir_networks))
        return session

    def _token(self, endpoint: str, *, code: str = "", verifier: str = "", refresh: str = "") -> Mapping[str, Any]:
        """A token response, for a code or for a refresh token. Raises NotLaunched."""
        session = self._session(endpoint)
        try:
            if refresh:
                token: object = session.refresh_token(
                    endpoint, refresh_token=refresh, timeout=READ_WITHIN_S, allow_redirects=False
                )
            else:
                token = session.fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    timeout=READ_WITHIN_S,
                    allow_redirects=False,
                )
        except (requests.RequestException, NotFetched) as error:
            raise NotReached("The record system's sign-in could not be reached. Launch the app again.") from error
        except (AuthlibBaseError, ValueError, TypeError) as error:
            raise NotLaunched("The record system did not let the app in. Launch it again.") from error
        if not isinstance(token, Mapping) or not isinstance(token.get("access_token"), str):
            raise NotLaunched("The record system did not let the app in. Launch it again.")
        return token

    # ---- a session

    def patient(self, ticket: Ticket) -> Patient:
        """The patient of a session with what is on file.

        Raises:
            NotLaunched: the session is unknown or over, or the FHIR server no longer lets the app in.
            NotReached: the FHIR server does not give the patient.
        """
        now = int(self._clock())
        session = smart_sessions.read(self._store, ticket, now=now)
        if session is None or "access_token" not in session:
            raise NotLaunched("This session is over. Open the app from the patient's chart again.")
        if session["ends_at"] <= now:
            session = self._refreshed(ticket, session, now)
        call = self._call(session["base"], session["patient"], session["access_token"])
        queries = {
            key: query.replace("{{context.patientId}}", session["patient"]) for key, query in self._queries.items()
        }
        answers = self._reader.read(call, self._client, queries, until=monotonic() + READ_WITHIN_S)
        person = answers["patient"]
        if isinstance(person, Missing) and turned_away(person):
            smart_sessions.end(self._store, ticket)
            raise NotLaunched("The record system no longer lets the app in. Open it from the patient's chart again.")
        if isinstance(person, Missing):
            raise NotReached("The record system did not give the patient's data. Reload the page in a moment.")
        return Patient(session["patient"], session["base"], answers)

    def _refreshed(self, ticket: Ticket, session: dict[str, Any], now: int) -> dict[str, Any]:
        if not session["refresh"]:
            smart_sessions.end(self._store, ticket)
            raise NotLaunched("This session is over. Open the app from the patient's chart again.")
        token = self._token(session["token_endpoint"], refresh=session["refresh"])
        session |= _of(token, now, earlier=session["refresh"])
        smart_sessions.change(self._store, ticket, session, ends_at=now + LONGEST_S)
        return session

    def _call(self, base: str, patient: str, token: str) -> HookCall:
        return hook_call("patient-view", {"patientId": patient}, self._limits, base=base, token=token)


def _of(token: Mapping[str, Any], now: int, *, earlier: str = "") -> dict[str, Any]:
    """What is kept of a token response. Without a lifetime it counts as an hour's."""
    lasts = token.get("expires_in")
    lasts = int(lasts) if isinstance(lasts, int | str) and str(lasts).isdigit() else 3600
    refresh = token.get("refresh_token")
    return {
        "access_token": token["access_token"],
        "refresh": refresh if isinstance(refresh, str) else earlier,
        "ends_at": now + lasts,
    }


def hook_call(hook: str, context: Mapping[str, Any], limits: Limits, *, base: str = "", token: str = "") -> HookCall:
    """A call as an EHR would make it, without data."""
    body: dict[str, Any] = {"hook": hook, "hookInstance": "smart-app", "context": context}
    if base:
        body |= {"fhirServer": base, "fhirAuthorization": {"access_token": token, "token_type": "Bearer"}}
    return read_call(
        f"cmv-{hook}",
        orjson.dumps(body),
        max_depth=limits.max_depth,
        max_entries=limits.max_entries,
        prefetch_keys={},
    )
