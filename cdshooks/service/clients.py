"""Who calls: a client's signed token, checked to the last claim (CDS Hooks 2.0.1, security; RFC 7515, 7519, 8725).

The order matters: what is cheap comes before what is costly, and what is written down (the token is used now) last.
Every rule stands here; the library does keys and signatures only, as its defaults let tokens pass without exp, iat or
jti. A caller never learns which rule failed. The log does, without anything of the token.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from time import monotonic, time
from typing import Any, Final

from jwt import PyJWK
from jwt.exceptions import PyJWTError
from sqlalchemy import Engine

from cdshooks.errors import CdsError, ConfigurationError
from cdshooks.service.config import Client, Settings
from cdshooks.service.outgoing import Destination, Line, NotFetched, Watch
from cdshooks.service.seen_tokens import first_use

Json = dict[str, Any]

LONGEST: Final = 8192  # characters of a token
LONGEST_JTI: Final = 512
HEADER: Final = frozenset({"alg", "kid", "typ", "jku"})  # anything else would ask for rules that are not here
LEEWAY_S: Final = 60  # clocks differ
SHORTEST_RSA: Final = 2048  # bits
REFRESH_AFTER_S: Final = 60  # keys of one issuer are read again at most this often
STALE_AFTER_S: Final = 600  # and at least this often while tokens come, so that a withdrawn key ends
END_AFTER_S: Final = 86_400  # keys that could not be read again for so long no longer count
JWKS_BYTES: Final = 256 * 1024
JWKS_WITHIN_S: Final = 2.0


class Reason(StrEnum):
    """Why a call was refused: for the log and the counter, never for the caller."""

    ABSENT = "no token"
    SIZE = "size"
    FORM = "form"
    HEADER = "header"
    ISSUER = "issuer"
    KEY = "key"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    LIFETIME = "lifetime"
    AUDIENCE = "audience"
    TENANT = "tenant"
    REPLAY = "replay"


class Refused(CdsError):
    """The token is absent or wrong (401). `client` is the configured name once the issuer is known, else ""."""

    def __init__(self, reason: Reason, client: str = "") -> None:
        """Keep the class of the reason, nothing of the token."""
        super().__init__("a valid token is needed")
        self.reason = reason
        self.client = client


# --------------------------------------------------------------------------------------------------------------------
# Keys


class Keys:
    """The public keys of one issuer by `kid`, read again when one is unknown, but at most once a minute."""

    def __init__(self, load: Callable[[], Mapping[str, PyJWK]], clock: Callable[[], float]) -> None:
        """`load` reads the key set anew; it raises `ConfigurationError` or `NotFetched` when that fails."""
        self._load = load
        self._clock = clock
        self._lock = Lock()
        self._keys: Mapping[str, PyJWK] = {}
        self._tried_at = self._read_at = -math.inf

    def get(self, kid: str) -> PyJWK | None:
        """The key of that id, None when the issuer has none."""
        if self._is_due(kid):
            with self._lock:
                if self._is_due(kid):  # still: nobody read them while we waited
                    self._read()
        return self._keys.get(kid)

    def _is_due(self, kid: str) -> bool:
        age = self._clock() - self._tried_at
        return age >= STALE_AFTER_S or (age >= REFRESH_AFTER_S and kid not in self._keys)

    def _read(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = self._load()
            self._read_at = self._tried_at
        except (ConfigurationError, NotFetched):  # the keys known so far still count, for a day
            if self._tried_at - self._read_at > END_AFTER_S:
                self._keys = {}


def read_keys(document: bytes, *, strict: bool) -> dict[str, PyJWK]:
    """The usable public signature keys of a JWKS document. `strict`: one that cannot be used is an error.

    Raises:
        ConfigurationError: no JWKS document, or (strict) a key that cannot be used; says which and why.
    """
    try:
        parsed = json.loads(document)
        entries = parsed["keys"]
    except (ValueError, RecursionError, TypeError, KeyError, LookupError) as error:
        raise ConfigurationError('is no JWKS document; write {"keys": [...]}') from error
    keys: dict[str, PyJWK] = {}
    twice: set[str] = set()
    for place, entry in enumerate(entries if isinstance(entries, list) else []):
        try:
            kid, key = _read_key(entry)
        except ValueError as error:
            if strict:
                raise ConfigurationError(f"keys.{place}: {error}") from error
            continue
        if kid in keys:
            twice.add(kid)
        keys[kid] = key
    if strict and (twice or not keys):
        raise ConfigurationError("holds a kid twice; keep one" if twice else "holds no key")
    return {kid: key for kid, key in keys.items() if kid not in twice}


def _read_key(entry: Any) -> tuple[str, PyJWK]:
    """(kid, key). Raises ValueError with what is wrong."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or not entry["kid"]:
        raise ValueError("a key needs a kid")
    match entry.get("kty"), entry.get("crv"):
        case "EC", "P-384":
            algorithm = "ES384"
        case "RSA", None:
            algorithm = "RS384"
        case _:
            raise ValueError("kty must be RSA, or EC with the curve P-384")
    if entry.keys() & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}:
        raise ValueError("holds a private key; put public keys only")
    operations = entry.get("key_ops", ["verify"])
    if (
        entry.get("alg", algorithm) != algorithm
        or entry.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
    ):
        raise ValueError(f"alg, use or key_ops does not allow to verify {algorithm}")
    try:
        key = PyJWK(entry, algorithm=algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"is no usable {entry['kty']} key") from error
    if algorithm == "RS384" and key.key.key_size < SHORTEST_RSA:
        raise ValueError(f"an RSA key needs {SHORTEST_RSA} bits or more")
    return entry["kid"], key


def _from_file(path: Path) -> dict[str, PyJWK]:
    try:
        return read_keys(path.read_bytes(), strict=True)
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})") from error


def _from_address(url: str, line: Line) -> dict[str, PyJWK]:
    until = monotonic() + JWKS_WITHIN_S
    body = line.get(url, headers={"Accept": "application/json"}, limit=JWKS_BYTES, until=until, watch=Watch())
    return read_keys(body, strict=False)


def key_problems(clients: Collection[Client]) -> list[str]:
    """What is wrong with the key files of the clients; an address is asked when its first token comes."""
    problems = []
    for client in clients:
        if client.jwks_file is not None:
            try:
                _from_file(client.jwks_file)
            except ConfigurationError as error:
                problems.append(f"clients: {client.name}: jwks_file {client.jwks_file}: {error}")
    return problems


# --------------------------------------------------------------------------------------------------------------------
# Tokens


@dataclass(frozen=True, slots=True)
class Door:
    """Lets in the clients of the configuration. `base` is the public address of the service."""

    base: str
    clients: Mapping[str, tuple[Client, Keys]]  # by issuer
    store: Engine
    clock: Callable[[], float] = time

    def admit(self, authorization: str | None, paths: Collection[str]) -> Client:
        """The client whose token this is. `paths` are the spellings of the path that was called.

        Raises:
            Refused: absent or wrong.
            SQLAlchemyError: it cannot be known whether the token was used before.
        """
        token = _bearer(authorization)
        if len(token) > LONGEST:
            raise Refused(Reason.SIZE)
        parts = token.split(".")
        if len(parts) != 3:
            raise Refused(Reason.FORM)
        header, claims = _json(parts[0]), _json(parts[1])
        signature = _bytes(parts[2])
        kid = _checked_header(header)
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in self.clients:
            raise Refused(Reason.ISSUER)
        client, keys = self.clients[issuer]
        if client.jwks_url is not None and header.get("jku", client.jwks_url) != client.jwks_url:
            raise Refused(Reason.KEY, client.name)
        if header["alg"] not in client.algorithms:
            raise Refused(Reason.ALGORITHM, client.name)
        key = keys.get(kid)
        if key is None:
            raise Refused(Reason.KEY, client.name)
        if key.algorithm_name != header["alg"]:
            raise Refused(Reason.ALGORITHM, client.name)
        if not key.Algorithm.verify(f"{parts[0]}.{parts[1]}".encode(), key.key, signature):
            raise Refused(Reason.SIGNATURE, client.name)
        self._check_claims(claims, client, {self.base + path for path in paths})
        return client

    def _check_claims(self, claims: Json, client: Client, endpoints: Collection[str]) -> None:
        now = int(self.clock())
        jti, audience = claims.get("jti"), claims.get("aud")
        heard = [audience] if isinstance(audience, str) else audience
        try:
            expires, issued, not_before = _moment(claims["exp"]), _moment(claims["iat"]), _moment(claims.get("nbf", 0))
        except (KeyError, TypeError) as error:
            raise Refused(Reason.CLAIMS, client.name) from error
        if (
            not (isinstance(jti, str) and 0 < len(jti) <= LONGEST_JTI and jti.isprintable())
            or not (isinstance(heard, list) and all(isinstance(one, str) for one in heard))
            or not isinstance(claims.get("sub", ""), str)
        ):
            raise Refused(Reason.CLAIMS, client.name)
        if (
            not 0 < expires - issued <= client.max_lifetime_s
            or expires + LEEWAY_S <= now
            or max(issued, not_before) - LEEWAY_S > now
        ):
            raise Refused(Reason.LIFETIME, client.name)
        if not any(one in endpoints for one in heard):
            raise Refused(Reason.AUDIENCE, client.name)
        if client.tenants and claims.get("tenant") not in client.tenants:
            raise Refused(Reason.TENANT, client.name)
        if not first_use(self.store, issuer=client.iss, jti=jti, ends_at=expires + LEEWAY_S, now=now):
            raise Refused(Reason.REPLAY, client.name)


def _moment(value: Any) -> int:
    """Seconds since 1970 as an integer; text, fractions and truth values are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("no integer")
    return value


def open_door(settings: Settings, store: Engine) -> Door | None:
    """The door of a service with clients; None for an open one.

    Raises:
        ConfigurationError: there are clients, and nothing says at which address they call.
    """
    if not settings.clients:
        return None
    if settings.public_base is None:
        raise ConfigurationError("public_base: tokens are made for an address; write the one at which clients call")
    return Door(settings.public_base, {client.iss: (client, _keys_of(client)) for client in settings.clients}, store)


def _keys_of(client: Client) -> Keys:
    if client.jwks_file is not None:
        path = client.jwks_file
        return Keys(lambda: _from_file(path), monotonic)
    url = str(client.jwks_url)
    line = Line(Destination(url, client.fhir_networks))
    return Keys(lambda: _from_address(url, line), monotonic)


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Refused(Reason.ABSENT)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(Reason.ABSENT)
    return token


def _bytes(part: str) -> bytes:
    """One part of a token, decoded. Only the one canonical spelling counts: a second one would be a second token."""
    try:
        decoded = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(Reason.FORM) from error
    if not part or base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
        raise Refused(Reason.FORM)
    return decoded


def _json(part: str) -> Json:
    """One part of a token as the JSON object it has to be, each key once."""
    try:
        parsed = json.loads(_bytes(part).decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.FORM) from error
    if not isinstance(parsed, dict):
        raise Refused(Reason.FORM)
    return parsed


def _each_once(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(_name: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


def _checked_header(header: Json) -> str:
    """The `kid` of a header with nothing in it that is not understood."""
    kid, jku = header.get("kid"), header.get("jku", "")
    if not header.keys() <= HEADER or header.get("typ") != "JWT" or not isinstance(jku, str):
        raise Refused(Reason.HEADER)
    if header.get("alg") not in ("ES384", "RS384") or not isinstance(kid, str) or not kid:
        raise Refused(Reason.HEADER)
    return kid
