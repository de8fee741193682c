"""Reading what a client did not send from its FHIR server, within one deadline.

Only from a base that stands on the client's list, letter for letter; nothing that a call says becomes an address. What
is not there in time, or fails, comes back as a `Missing` that says so. A server that fails again and again is left
alone for a while, so that nobody waits for it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Final
from urllib.parse import quote, urlsplit

from cdshooks.errors import BadRequest
from cdshooks.model import Missing, Why
from cdshooks.service.config import Client, Limits
from cdshooks.service.outgoing import Destination, Line, NotFetched, Watch
from cdshooks.wire.hooks import HookCall, Json, Secret, read_resource

AT_ONCE: Final = 64  # reads of all calls together
PAGES: Final = 10  # of one search
FAILURES: Final = 3  # calls in a row after which a server is left alone
REST_S: Final = 30.0  # for so long; then one call tries again
ACCEPT: Final = "application/fhir+json, application/json+fhir;q=0.9, application/json;q=0.8"


def listed_base(call: HookCall, client: Client) -> str:
    """The base of the client's list that the call names, "" for none. Compared letter for letter, but for one slash."""
    named = call.fhir_server.removesuffix("/")
    return next((base for base in client.fhir_bases if base == named), "")


class Breaker:
    """Closed: calls go through. Open after `FAILURES` bad ones in a row: none does for `REST_S`, then one to try."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Closed."""
        self._clock = clock
        self._lock = Lock()
        self._failures = 0
        self._opens_at = 0.0

    def lets_through(self) -> bool:
        """May a call go to this server now?"""
        with self._lock:
            if self._failures < FAILURES:
                return True
            if self._clock() < self._opens_at:
                return False
            self._opens_at = self._clock() + REST_S  # this call tries, the others go on waiting
            return True

    def told(self, *, good: bool) -> None:
        """How a call went."""
        with self._lock:
            self._failures = 0 if good else self._failures + 1
            if self._failures >= FAILURES:
                self._opens_at = self._clock() + REST_S


@dataclass(frozen=True, slots=True)
class _Server:
    line: Line
    breaker: Breaker


class FhirReader:
    """Reads from the FHIR servers on the lists of `clients`; one for a running service."""

    def __init__(self, clients: Collection[Client], limits: Limits, *, clock: Callable[[], float] = monotonic) -> None:
        """Nothing is connected yet."""
        self._limits = limits
        self._servers = {
            (client.name, base): _Server(Line(Destination(base, client.fhir_networks)), Breaker(clock))
            for client in clients
            for base in client.fhir_bases
        }
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fhir")

    def read(
        self, call: HookCall, client: Client, queries: Mapping[str, str], *, until: float
    ) -> dict[str, Json | Missing]:
        """What the client's FHIR server answers to each query by `until` (monotonic time), all asked at once.

        Empty when the server is not on the client's list. `queries` are relative: "Patient/12".
        """
        base = listed_base(call, client)
        if not base or not queries:
            return {}
        server = self._servers[client.name, base]
        if not server.breaker.lets_through():
            why = Missing(Why.FETCH_FAILED, "the FHIR server has failed repeatedly and is not asked for the moment")
            return dict.fromkeys(queries, why)
        watches = {key: Watch() for key in queries}
        reads = {
            key: self._pool.submit(self._search, server.line, base, query, call.fhir_token, until, watches[key])
            for key, query in queries.items()
        }
        wait(reads.values(), timeout=max(0.0, until - monotonic()))
        answers: dict[str, Json | Missing] = {}
        failed = 0
        for key, one in reads.items():
            if not one.done():
                one.cancel()
                watches[key].stop()
                answers[key], failed = Missing(Why.FETCH_FAILED, "the FHIR server did not answer in time"), failed + 1
                continue
            answer = one.result()
            if isinstance(answer, NotFetched):
                failed += answer.server_failed
                answers[key] = Missing(Why.FETCH_FAILED, f"from the FHIR server: {answer.why}")
            else:
                answers[key] = answer
        server.breaker.told(good=failed < len(queries))
        return answers

    def _search(
        self, line: Line, base: str, query: str, token: Secret | None, until: float, watch: Watch
    ) -> Json | NotFetched:
        """One resource, or the Bundle of a search with the entries of its further pages."""
        try:
            first = self._get(line, _address(base, query), token, until, watch)
        except NotFetched as error:
            return error
        entries = first.get("entry")
        if first["resourceType"] != "Bundle" or not isinstance(entries, list):
            return first
        found = list(entries)
        page, seen = first, set[str]()
        for _ in range(PAGES - 1):
            more = _next(page)
            if not more or more in seen or not _is_below(more, base) or len(found) >= self._limits.max_entries:
                break
            seen.add(more)
            try:
                page = self._get(line, more, token, until, watch)
            except NotFetched:
                break  # what is known so far is used, and called incomplete
            further = page.get("entry")
            if page["resourceType"] != "Bundle":
                return {**first, "entry": found, "link": [{"relation": "next", "url": more}]}
            found += further if isinstance(further, list) else []
        return {**first, "entry": found[: self._limits.max_entries], "link": page.get("link", [])}

    def _get(self, line: Line, url: str, token: Secret | None, until: float, watch: Watch) -> Json:
        headers = {"Accept": ACCEPT, "Cache-Control": "no-cache"}  # some servers repeat a search of the last minute
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        body = line.get(url, headers=headers, limit=self._limits.body_bytes, until=until, watch=watch)
        try:
            return read_resource(body, self._limits.max_depth, "the answer")
        except BadRequest as error:
            raise NotFetched(error.detail, server_failed=False) from error


def turned_away(answer: Missing) -> bool:
    """Did the server answer, and refuse the token?"""
    return answer.why is Why.FETCH_FAILED and answer.detail.endswith((" 401", " 403"))


def _address(base: str, query: str) -> str:
    """The address of a relative query, each value of it encoded."""
    path, _, search = query.partition("?")
    pairs = [pair.partition("=") for pair in search.split("&") if pair]
    encoded = "&".join(f"{name}={quote(value, safe=',-_.')}" for name, _, value in pairs)
    return f"{base}/{path}" + (f"?{encoded}" if encoded else "")


def _next(bundle: Json) -> str:
    links = bundle.get("link")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return ""


def _is_below(url: str, base: str) -> bool:
    """Is this address on the same server, at or below the same path? Anything that could be read in two ways is not."""
    if not _PLAIN_ADDRESS.fullmatch(url):
        return False
    path = urlsplit(url).path
    if "//" in path or any(part in (".", "..") for part in path.split("/")):
        return False
    return url == base or url.startswith((base + "/", base + "?"))


_PLAIN_ADDRESS: Final = re.compile(
    r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/$-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@/?%|-]*)?"
)
