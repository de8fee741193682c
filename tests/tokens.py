"""Tokens as clients make them, and as they must not be: every part can be written by hand."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from time import time  # noqa: TID251 - tokens are made for the clock, whatever the clinical date is
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ABSENT: Any = object()  # a member that is left out


def now() -> float:
    """Seconds since 1970."""
    return time()


def encoded(value: Any) -> str:
    """One part of a token: bytes and text as they are, anything else as JSON."""
    data = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def without_absent(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ABSENT}


@dataclass(frozen=True)
class Issuer:
    """One who signs tokens."""

    iss: str
    kid: str
    key: RSAPrivateKey | EllipticCurvePrivateKey

    @property
    def alg(self) -> str:
        return "RS384" if isinstance(self.key, RSAPrivateKey) else "ES384"

    @property
    def jwk(self) -> dict[str, Any]:
        if isinstance(self.key, RSAPrivateKey):
            public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        else:
            public = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {name: value for name, value in public.items() if name not in ("key_ops", "use")} | {"kid": self.kid}

    def header(self, **changes: Any) -> dict[str, Any]:
        return without_absent({"alg": self.alg, "kid": self.kid, "typ": "JWT"} | changes)

    def claims(self, audience: str, now: float, **changes: Any) -> dict[str, Any]:
        given = {"iss": self.iss, "aud": audience, "iat": int(now), "exp": int(now) + 300, "jti": str(uuid4())}
        return without_absent(given | changes)

    def sign(self, header: Any, claims: Any, *, alg: str = "") -> str:
        """The token; `header` and `claims` may be any JSON, or text to be put in as it is."""
        signed = f"{encoded(header)}.{encoded(claims)}"
        algorithm = {
            "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
            "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
            "ES384": ECAlgorithm(ECAlgorithm.SHA384),
        }[alg or self.alg]
        return f"{signed}.{encoded(algorithm.sign(signed.encode(), self.key))}"

    def token(self, audience: str, now: float, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A good token, with changes."""
        return self.sign(self.header(**(header or {})), self.claims(audience, now, **claims))


def key_set(*issuers: Issuer) -> bytes:
    return json.dumps({"keys": [issuer.jwk for issuer in issuers]}).encode()
