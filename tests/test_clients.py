"""Who may call: good tokens pass, every way a token can be wrong is one and the same 401, and a token counts once."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask import Flask
from flask.testing import FlaskClient
from test_http import JSON, SIGN, TODAY, assert_problem, order_sign, post, topics
from tokens import ABSENT, Issuer, encoded, key_set, now
from werkzeug.test import TestResponse

from cdshooks.errors import ConfigurationError
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.service.app import create_app
from cdshooks.service.clients import Keys, Reason, read_keys
from cdshooks.service.config import Client, Settings
from cdshooks.service.seen_tokens import SEEN_TOKENS, first_use
from cdshooks.service.store import open_store
from cdshooks.wire.hooks import PUBLISHED_KEYS

BASE = "https://cds.example.org"
AUDIENCE = BASE + SIGN

HOSPITAL = Issuer("https://ehr.example.org", "key+/=1", rsa.generate_private_key(65537, 2048))
CLINIC = Issuer("https://clinic.example.org", "key-1", ec.generate_private_key(ec.SECP384R1()))
STRANGER = Issuer("https://stranger.example.org", "key-1", ec.generate_private_key(ec.SECP384R1()))
IMPOSTOR = replace(HOSPITAL, key=rsa.generate_private_key(65537, 2048))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name, issuer in (("hospital", HOSPITAL), ("clinic", CLINIC)):
        (tmp_path / f"{name}.json").write_bytes(key_set(issuer))
    return Settings(
        public_base=BASE,
        database=f"sqlite:///{tmp_path / 'kept.db'}",
        clients=(
            Client(name="Hospital", iss=HOSPITAL.iss, algorithms=("RS384",), jwks_file=tmp_path / "hospital.json"),
            Client(
                name="Clinic",
                iss=CLINIC.iss,
                algorithms=("ES384",),
                jwks_file=tmp_path / "clinic.json",
                tenants=("north", "south"),
                max_lifetime_s=300,
                cors_origins=("https://ehr.clinic.example.org",),
            ),
        ),
    )


@pytest.fixture
def client(settings: Settings, knowledge: Knowledge) -> FlaskClient:
    return create_app(settings, knowledge=knowledge, today=TODAY).test_client()


def call(client: FlaskClient, token: str, path: str = SIGN, **headers: str) -> TestResponse:
    return post(client, order_sign(), path, Authorization=f"Bearer {token}", **headers)


def seconds(from_now: int) -> Callable[[], int]:
    """A moment seen from the test that runs, which may be minutes after the table below was read."""
    return lambda: int(now()) + from_now


# --------------------------------------------------------------------------------------------------------------------
# Good ones


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": [AUDIENCE]},
        {"aud": ["https://other.example.org/cds-services/x", AUDIENCE]},
        {"nbf": seconds(0), "sub": HOSPITAL.iss},
        {"tenant": "anything"},
        {"exp": seconds(900), "iat": seconds(0)},
        {"iat": seconds(50), "exp": seconds(350)},
        {"iat": seconds(-330), "exp": seconds(-30)},
        {"name": "an unknown claim"},
    ],
    ids=[
        "plain",
        "aud list",
        "aud among others",
        "nbf and sub",
        "tenant",
        "15 min",
        "clock ahead",
        "behind",
        "unknown",
    ],
)
def test_a_good_token_is_let_in(client: FlaskClient, changes: dict[str, Any]) -> None:
    claims = {name: value() if callable(value) else value for name, value in changes.items()}
    assert "renalDose" in topics(call(client, HOSPITAL.token(AUDIENCE, now(), **claims)))


def test_both_algorithms_are_known(client: FlaskClient) -> None:
    assert topics(call(client, CLINIC.token(AUDIENCE, now(), tenant="north")))


def test_the_scheme_is_known_in_any_letters(client: FlaskClient) -> None:
    response = post(client, order_sign(), Authorization=f"bearer {HOSPITAL.token(AUDIENCE, now())}")
    assert response.status_code == 200


def test_a_jku_is_ignored_where_the_keys_are_in_a_file(client: FlaskClient) -> None:
    token = HOSPITAL.token(AUDIENCE, now(), {"jku": "https://attacker.example.org/jwks"})
    assert call(client, token).status_code == 200


def test_the_clinical_date_is_not_the_clock_of_tokens(settings: Settings, knowledge: Knowledge) -> None:
    old = create_app(settings, knowledge=knowledge, today=TODAY.replace(year=2020)).test_client()
    assert call(old, HOSPITAL.token(AUDIENCE, now())).status_code == 200


def test_feedback_needs_a_token_for_its_own_address(client: FlaskClient) -> None:
    path = f"{SIGN}/feedback"
    body = {"feedback": [{"card": "x", "outcome": "overridden"}]}
    assert_refused(post(client, body, path))
    assert_refused(post(client, body, path, Authorization=f"Bearer {HOSPITAL.token(AUDIENCE, now())}"))
    good = HOSPITAL.token(f"{AUDIENCE}/feedback", now())
    assert post(client, body, path, Authorization=f"Bearer {good}").status_code == 200


def test_a_doubled_slash_may_stand_in_both_address_and_audience(client: FlaskClient) -> None:
    path = SIGN.replace("/cds-services/", "/cds-services//")
    assert call(client, HOSPITAL.token(BASE + path, now()), path).status_code == 200
    assert call(client, HOSPITAL.token(AUDIENCE, now()), path).status_code == 200
    assert_refused(call(client, HOSPITAL.token(BASE + path, now())))


def test_discovery_and_pages_need_no_token_and_ignore_one(client: FlaskClient) -> None:
    plain = client.get("/cds-services")
    assert plain.status_code == 200
    assert client.get("/cds-services", headers={"Authorization": "Bearer nonsense"}).data == plain.data
    for path in ("/", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/knowledge"):
        assert client.get(path).status_code == 200


# --------------------------------------------------------------------------------------------------------------------
# Bad ones


def assert_refused(response: TestResponse) -> None:
    problem = assert_problem(response, 401)
    assert problem["detail"] == "a valid token is needed"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="cds-services"'


def with_members(text: str, more: str) -> str:
    """A JSON object as text with one more member, which may repeat one."""
    return text[:-1] + "," + more + "}"


def mac(header: dict[str, Any], key: bytes) -> str:
    """A token with a keyed hash in place of a signature, as if a public key were a shared secret."""
    signed = f"{encoded(header)}.{encoded(HOSPITAL.claims(AUDIENCE, now()))}"
    return f"{signed}.{encoded(hmac.new(key, signed.encode(), hashlib.sha384).digest())}"


def header(**changes: Any) -> Callable[[], str]:
    return lambda: HOSPITAL.token(AUDIENCE, now(), changes)


def claims(**changes: Any) -> Callable[[], str]:
    return lambda: HOSPITAL.token(AUDIENCE, now(), **changes)


def from_now(**offsets: float) -> Callable[[], str]:
    def made() -> str:
        moments: dict[str, Any] = {name: int(now() + offset) for name, offset in offsets.items()}
        return HOSPITAL.token(AUDIENCE, now(), **moments)

    return made


def parts(change: Callable[[list[str]], list[str]]) -> Callable[[], str]:
    return lambda: ".".join(change(HOSPITAL.token(AUDIENCE, now()).split(".")))


def flipped(part: str) -> str:
    """The same bytes in a second spelling: the unused bits of the last letter set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in alphabet:
        other = part[:-1] + last
        padding = "=" * (-len(part) % 4)
        if last != part[-1] and base64.urlsafe_b64decode(other + padding) == base64.urlsafe_b64decode(part + padding):
            return other
    raise AssertionError("no second spelling")


def resigned(part: int, text: Callable[[str], str]) -> Callable[[], str]:
    """Header (0) or claims (1) with their JSON text changed, signed rightly."""

    def made() -> str:
        texts = [json.dumps(HOSPITAL.header()), json.dumps(HOSPITAL.claims(AUDIENCE, now()))]
        texts[part] = text(texts[part])
        return HOSPITAL.sign(*texts)

    return made


NESTED = "[" * 1500 + "]" * 1500

BAD: dict[str, tuple[Reason, Callable[[], str]]] = {
    # size and form
    "too long": (Reason.SIZE, claims(note="x" * 9000)),
    "empty": (Reason.FORM, lambda: ""),
    "one part": (Reason.FORM, lambda: "eyJhbGciOiJub25lIn0"),
    "two parts": (Reason.FORM, parts(lambda p: p[:2])),
    "four parts": (Reason.FORM, parts(lambda p: [*p, "x"])),
    "five parts (encrypted)": (Reason.FORM, parts(lambda p: [*p, "x", "y"])),
    "empty header": (Reason.FORM, parts(lambda p: ["", *p[1:]])),
    "empty claims": (Reason.FORM, parts(lambda p: [p[0], "", p[2]])),
    "empty signature": (Reason.FORM, parts(lambda p: [*p[:2], ""])),
    "header no base64": (Reason.FORM, parts(lambda p: ["{}", *p[1:]])),
    "header in plain base64": (Reason.FORM, parts(lambda p: [p[0], p[1], "+/" + p[2]])),
    "padded": (Reason.FORM, parts(lambda p: [*p[:2], p[2] + "=="])),
    "second spelling of the signature": (Reason.FORM, parts(lambda p: [*p[:2], flipped(p[2])])),
    "letters that are no ASCII": (Reason.FORM, parts(lambda p: [*p[:2], p[2] + "é"])),
    "line break inside": (Reason.FORM, parts(lambda p: [p[0], p[1][:5] + "%0a" + p[1][5:], p[2]])),
    "two tokens": (Reason.FORM, lambda: f"{HOSPITAL.token(AUDIENCE, now())}, Bearer x"),
    "header no JSON": (Reason.FORM, resigned(0, lambda text: text[:-1])),
    "header an array": (Reason.FORM, resigned(0, lambda text: f"[{text}]")),
    "header with NaN": (Reason.FORM, resigned(0, lambda text: with_members(text, '"x": NaN'))),
    "header nested": (
        Reason.FORM,
        resigned(0, lambda text: with_members(text, f'"x": {NESTED}')),
    ),
    "alg twice": (Reason.FORM, resigned(0, lambda text: with_members(text, '"alg": "none"'))),
    "kid twice": (Reason.FORM, resigned(0, lambda text: with_members(text, '"kid": "other"'))),
    "claims no object": (Reason.FORM, resigned(1, lambda text: f"[{text}]")),
    "claims no UTF-8": (Reason.FORM, lambda: HOSPITAL.sign(HOSPITAL.header(), b'{"iss": "\xff"}')),
    "aud twice": (Reason.FORM, resigned(1, lambda text: with_members(text, f'"aud": "{AUDIENCE}"'))),
    "exp twice": (Reason.FORM, resigned(1, lambda text: with_members(text, '"exp": 4102444800'))),
    "exp of a million digits": (Reason.FORM, resigned(1, lambda text: with_members(text, f'"x": {"9" * 5000}'))),
    # header
    "alg none": (Reason.HEADER, header(alg="none")),
    "alg None": (Reason.HEADER, header(alg="None")),
    "alg absent": (Reason.HEADER, header(alg=ABSENT)),
    "alg a list": (Reason.HEADER, header(alg=["RS384"])),
    "alg in small letters": (Reason.HEADER, header(alg="rs384")),
    "HS384 with the public key": (
        Reason.HEADER,
        lambda: mac(HOSPITAL.header(alg="HS384"), json.dumps(HOSPITAL.jwk).encode()),
    ),
    "HS256 with an empty key": (Reason.HEADER, lambda: mac(HOSPITAL.header(alg="HS256"), b"")),
    "RS256": (Reason.HEADER, lambda: HOSPITAL.sign(HOSPITAL.header(alg="RS256"), {}, alg="RS256")),
    "PS384": (Reason.HEADER, header(alg="PS384")),
    "EdDSA": (Reason.HEADER, header(alg="EdDSA")),
    "crit": (Reason.HEADER, header(crit=["exp"])),
    "crit of something unknown": (Reason.HEADER, header(crit=["x"], x=1)),
    "b64 false": (Reason.HEADER, header(b64=False, crit=["b64"])),
    "b64 true": (Reason.HEADER, header(b64=True)),
    "a key of its own": (Reason.HEADER, lambda: IMPOSTOR.token(AUDIENCE, now(), {"jwk": IMPOSTOR.jwk})),
    "an address of a certificate": (Reason.HEADER, header(x5u="https://attacker.example.org/cert")),
    "a certificate": (Reason.HEADER, header(x5c=["MII"])),
    "compressed": (Reason.HEADER, header(zip="DEF")),
    "content type": (Reason.HEADER, header(cty="JWT")),
    "typ absent": (Reason.HEADER, header(typ=ABSENT)),
    "typ at+jwt": (Reason.HEADER, header(typ="at+jwt")),
    "typ a number": (Reason.HEADER, header(typ=1)),
    "kid absent": (Reason.HEADER, header(kid=ABSENT)),
    "kid empty": (Reason.HEADER, header(kid="")),
    "kid a number": (Reason.HEADER, header(kid=1)),
    "jku a list": (Reason.HEADER, header(jku=["https://attacker.example.org/jwks"])),
    # issuer and key
    "iss absent": (Reason.ISSUER, claims(iss=ABSENT)),
    "iss unknown": (Reason.ISSUER, lambda: STRANGER.token(AUDIENCE, now())),
    "iss with a slash": (Reason.ISSUER, claims(iss=HOSPITAL.iss + "/")),
    "iss in other letters": (Reason.ISSUER, claims(iss=HOSPITAL.iss.upper())),
    "iss a list": (Reason.ISSUER, claims(iss=[HOSPITAL.iss])),
    "iss null": (Reason.ISSUER, claims(iss=None)),
    "kid unknown": (Reason.KEY, header(kid="another")),
    "kid a path": (Reason.KEY, header(kid="../../../../dev/null")),
    "kid of another client": (Reason.KEY, header(kid=CLINIC.kid)),
    "algorithm of another client": (Reason.ALGORITHM, header(alg="ES384")),
    "signed by somebody else": (Reason.SIGNATURE, lambda: IMPOSTOR.token(AUDIENCE, now())),
    "another client's key under this issuer": (
        Reason.ALGORITHM,
        lambda: replace(CLINIC, iss=HOSPITAL.iss, kid=HOSPITAL.kid).token(AUDIENCE, now()),
    ),
    "claims changed after signing": (
        Reason.SIGNATURE,
        parts(lambda p: [p[0], encoded(HOSPITAL.claims(AUDIENCE, now())), p[2]]),
    ),
    "signature cut short": (Reason.SIGNATURE, parts(lambda p: [*p[:2], encoded(b"short")])),
    "signature of nothing": (Reason.SIGNATURE, parts(lambda p: [*p[:2], encoded(bytes(256))])),
    "signed with RS256, said RS384": (
        Reason.SIGNATURE,
        lambda: HOSPITAL.sign(HOSPITAL.header(), HOSPITAL.claims(AUDIENCE, now()), alg="RS256"),
    ),
    # claims
    "exp absent": (Reason.CLAIMS, claims(exp=ABSENT)),
    "iat absent": (Reason.CLAIMS, claims(iat=ABSENT)),
    "jti absent": (Reason.CLAIMS, claims(jti=ABSENT)),
    "aud absent": (Reason.CLAIMS, claims(aud=ABSENT)),
    "exp as text": (Reason.CLAIMS, lambda: HOSPITAL.token(AUDIENCE, now(), exp=str(int(now()) + 300))),
    "iat as text": (Reason.CLAIMS, lambda: HOSPITAL.token(AUDIENCE, now(), iat=str(int(now())))),
    "exp a fraction": (Reason.CLAIMS, lambda: HOSPITAL.token(AUDIENCE, now(), exp=now() + 300)),
    "exp true": (Reason.CLAIMS, claims(exp=True)),
    "exp null": (Reason.CLAIMS, claims(exp=None)),
    "nbf as text": (Reason.CLAIMS, claims(nbf="0")),
    "nbf null": (Reason.CLAIMS, claims(nbf=None)),
    "jti empty": (Reason.CLAIMS, claims(jti="")),
    "jti a number": (Reason.CLAIMS, claims(jti=7)),
    "jti null": (Reason.CLAIMS, claims(jti=None)),
    "jti endless": (Reason.CLAIMS, claims(jti="x" * 600)),
    "jti half a letter": (Reason.CLAIMS, claims(jti="\ud800")),
    "jti with a line break": (Reason.CLAIMS, claims(jti="a\nb")),
    "sub a list": (Reason.CLAIMS, claims(sub=["x"])),
    "aud null": (Reason.CLAIMS, claims(aud=None)),
    "aud an object": (Reason.CLAIMS, claims(aud={"x": AUDIENCE})),
    "aud a list with a number": (Reason.CLAIMS, claims(aud=[AUDIENCE, 7])),
    # lifetime
    "expired": (Reason.LIFETIME, from_now(iat=-400, exp=-61)),
    "expired long ago": (Reason.LIFETIME, from_now(iat=-90_000, exp=-89_700)),
    "ten years": (Reason.LIFETIME, from_now(exp=315_360_000)),
    "one second too long": (Reason.LIFETIME, from_now(iat=0, exp=901)),
    "made in the future": (Reason.LIFETIME, from_now(iat=120, exp=300)),
    "not yet valid": (Reason.LIFETIME, from_now(iat=0, nbf=120, exp=300)),
    "ends before it begins": (Reason.LIFETIME, from_now(iat=30, exp=20)),
    "no length": (Reason.LIFETIME, from_now(iat=0, exp=0)),
    "endless numbers": (Reason.LIFETIME, claims(exp=10**300, iat=10**300 - 5)),
    "negative": (Reason.LIFETIME, claims(exp=-1, iat=-10)),
    # audience
    "aud of the service list": (Reason.AUDIENCE, claims(aud=f"{BASE}/cds-services")),
    "aud of another service": (Reason.AUDIENCE, claims(aud=f"{BASE}/cds-services/cmv-order-select")),
    "aud of the feedback": (Reason.AUDIENCE, claims(aud=f"{AUDIENCE}/feedback")),
    "aud of the base": (Reason.AUDIENCE, claims(aud=BASE)),
    "aud with a slash": (Reason.AUDIENCE, claims(aud=AUDIENCE + "/")),
    "aud in other letters": (Reason.AUDIENCE, claims(aud=AUDIENCE.upper())),
    "aud with a query": (Reason.AUDIENCE, claims(aud=AUDIENCE + "?x")),
    "aud on http": (Reason.AUDIENCE, claims(aud=AUDIENCE.replace("https", "http"))),
    "aud with its port": (Reason.AUDIENCE, claims(aud=AUDIENCE.replace(".org", ".org:443"))),
    "aud on another host": (Reason.AUDIENCE, claims(aud=AUDIENCE.replace("cds.", "cds.evil."))),
    "aud as this machine is called": (Reason.AUDIENCE, claims(aud=f"http://localhost{SIGN}")),
    "aud empty": (Reason.AUDIENCE, claims(aud="")),
    "aud an empty list": (Reason.AUDIENCE, claims(aud=[])),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_without_a_reason_and_logged_with_one(
    settings: Settings, knowledge: Knowledge, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    reason, make = BAD[name]
    client = create_app(settings, knowledge=knowledge, today=TODAY).test_client()
    token = make()
    response = post(client, order_sign(), Authorization=f"Bearer {token}".encode().decode("latin-1"))
    assert_refused(response)
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["reason"] == reason
    assert not [part for part in token.split(".") if len(part) > 12 and part in json.dumps(line)]
    assert f'cdshooks_refused_total{{reason="{reason}"}} 1.0' in client.get("/metrics").text


def test_the_table_of_bad_tokens_is_long_and_each_refusal_reads_the_same(client: FlaskClient) -> None:
    assert len(BAD) >= 60
    answers = {
        (r.status_code, r.data, r.headers["WWW-Authenticate"])
        for _, make in BAD.values()
        for r in [post(client, order_sign(), Authorization=f"Bearer {make()}".encode().decode("latin-1"))]
    }
    answers |= {(r.status_code, r.data, r.headers["WWW-Authenticate"]) for r in [post(client, order_sign())]}
    assert len(answers) == 1


@pytest.mark.parametrize("value", ["", "Basic dXNlcjpwYXNz", "Bearer", "Token x", "x"])
def test_no_bearer_token_is_refused(client: FlaskClient, value: str) -> None:
    assert_refused(post(client, order_sign(), Authorization=value))


@pytest.mark.parametrize(
    "tenant",
    [ABSENT, "", "west", "North", ["north"], None, 7],
    ids=["absent", "", "west", "North", "list", "null", "7"],
)
def test_a_tenant_has_to_be_one_of_those_named(client: FlaskClient, tenant: Any) -> None:
    assert_refused(call(client, CLINIC.token(AUDIENCE, now(), tenant=tenant)))


def test_the_lifetime_is_the_clients_own(client: FlaskClient) -> None:
    start = int(now())
    assert_refused(call(client, CLINIC.token(AUDIENCE, start, tenant="north", exp=start + 301)))
    assert call(client, CLINIC.token(AUDIENCE, start, tenant="north", exp=start + 300)).status_code == 200


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-URL"])
def test_no_header_changes_the_audience(client: FlaskClient, name: str) -> None:
    token = HOSPITAL.token(f"https://evil.example.org{SIGN}", now())
    value = "host=evil.example.org" if name == "Forwarded" else "evil.example.org"
    assert_refused(call(client, token, **{name.replace("-", "_"): value}))
    assert call(client, HOSPITAL.token(AUDIENCE, now()), **{name.replace("-", "_"): value}).status_code == 200


# --------------------------------------------------------------------------------------------------------------------
# Once


def test_a_token_counts_once(client: FlaskClient) -> None:
    token = HOSPITAL.token(AUDIENCE, now())
    assert call(client, token).status_code == 200
    assert_refused(call(client, token))


def test_what_is_refused_for_another_reason_is_not_used_up(client: FlaskClient) -> None:
    token = HOSPITAL.token(AUDIENCE, now())
    assert_refused(call(client, token, "/cds-services/cmv-order-select"))
    assert call(client, token).status_code == 200


def test_two_issuers_may_use_the_same_jti(client: FlaskClient) -> None:
    assert call(client, HOSPITAL.token(AUDIENCE, now(), jti="1")).status_code == 200
    assert call(client, CLINIC.token(AUDIENCE, now(), jti="1", tenant="north")).status_code == 200


def test_two_processes_on_one_database_let_a_token_in_once(settings: Settings, knowledge: Knowledge) -> None:
    apps: list[Flask] = [create_app(settings, knowledge=knowledge, today=TODAY) for _ in range(2)]
    tokens = [HOSPITAL.token(AUDIENCE, now()) for _ in range(10)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda n: call(apps[n % 2].test_client(), tokens[n % 10]).status_code, [*range(10), *range(11, 21)]
            )
        )
    assert sorted(answers) == [200] * 10 + [401] * 10


def test_used_tokens_are_forgotten_once_they_would_be_too_old(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'kept.db'}")
    for number in range(2000):
        assert first_use(store, issuer="x", jti=str(number), ends_at=number, now=number)
    with store.connect() as connection:
        left = connection.execute(SEEN_TOKENS.select()).all()
    assert 0 < len(left) < 1500
    assert not first_use(store, issuer="x", jti="1999", ends_at=1999, now=1999)


def test_without_the_database_nobody_gets_in(settings: Settings, knowledge: Knowledge) -> None:
    app = create_app(settings, knowledge=knowledge, today=TODAY)
    with open_store(settings.database).begin() as connection:
        SEEN_TOKENS.drop(connection)
    assert call(app.test_client(), HOSPITAL.token(AUDIENCE, now())).status_code == 500


# --------------------------------------------------------------------------------------------------------------------
# Keys


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_unknown_kid_reads_the_keys_again_at_most_once_a_minute() -> None:
    clock, sets = Clock(), [read_keys(key_set(HOSPITAL), strict=True)]
    reads: list[float] = []

    def load() -> Any:
        reads.append(clock.now)
        return sets[-1]

    keys = Keys(load, clock)
    assert keys.get(HOSPITAL.kid)
    for _ in range(50):
        assert keys.get("unknown") is None
    assert reads == [1000]
    sets.append(read_keys(key_set(HOSPITAL, CLINIC), strict=True))
    clock.now += 59
    assert keys.get(CLINIC.kid) is None
    clock.now += 1
    assert keys.get(CLINIC.kid)
    assert reads == [1000, 1060]
    sets.append(read_keys(key_set(CLINIC), strict=True))
    clock.now += 600
    assert keys.get(HOSPITAL.kid) is None, "a key that was withdrawn ends within ten minutes"


def test_keys_that_cannot_be_read_again_count_for_a_day() -> None:
    clock, good = Clock(), [True]

    def load() -> Any:
        if not good[0]:
            raise ConfigurationError("gone")
        return read_keys(key_set(HOSPITAL), strict=True)

    keys = Keys(load, clock)
    assert keys.get(HOSPITAL.kid)
    good[0] = False
    clock.now += 86_000
    assert keys.get(HOSPITAL.kid)
    clock.now += 1_000
    assert keys.get(HOSPITAL.kid) is None


class KeyServer(BaseHTTPRequestHandler):
    answer: bytes
    status = 200
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        if self.status >= 300:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def key_server() -> Iterator[tuple[str, type[KeyServer]]]:
    handler = type("Handler", (KeyServer,), {"asked": [], "answer": key_set(HOSPITAL)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/jwks", handler
    server.shutdown()
    server.server_close()


def at_address(settings: Settings, url: str) -> Settings:
    hospital = Client(name="Hospital", iss=HOSPITAL.iss, jwks_url=url, allow_plain_http=True)
    return settings.model_copy(update={"clients": (hospital,)})


def test_keys_are_read_from_the_configured_address_once(
    settings: Settings, knowledge: Knowledge, key_server: tuple[str, type[KeyServer]]
) -> None:
    url, handler = key_server
    client = create_app(at_address(settings, url), knowledge=knowledge, today=TODAY).test_client()
    assert handler.asked == [], "nothing is asked before the first token"
    for _ in range(3):
        assert call(client, HOSPITAL.token(AUDIENCE, now(), {"jku": url})).status_code == 200
    assert call(client, HOSPITAL.token(AUDIENCE, now())).status_code == 200
    for kid in ("x", "y", "z"):
        assert_refused(call(client, HOSPITAL.token(AUDIENCE, now(), {"kid": kid})))
    assert handler.asked == ["/jwks"]


@pytest.mark.parametrize("change", ["/", "?x", "#", " ", "@evil", "2"])
def test_another_jku_is_compared_and_never_followed(
    settings: Settings, knowledge: Knowledge, key_server: tuple[str, type[KeyServer]], change: str
) -> None:
    url, handler = key_server
    client = create_app(at_address(settings, url), knowledge=knowledge, today=TODAY).test_client()
    assert call(client, HOSPITAL.token(AUDIENCE, now(), {"jku": url})).status_code == 200
    for jku in (url + change, url.replace("127.0.0.1", "localhost"), url.upper(), ""):
        assert_refused(call(client, HOSPITAL.token(AUDIENCE, now(), {"jku": jku})))
    assert handler.asked == ["/jwks"]


def test_a_redirect_of_the_key_address_is_not_followed(
    settings: Settings, knowledge: Knowledge, key_server: tuple[str, type[KeyServer]]
) -> None:
    url, handler = key_server
    handler.status = 302
    client = create_app(at_address(settings, url), knowledge=knowledge, today=TODAY).test_client()
    assert_refused(call(client, HOSPITAL.token(AUDIENCE, now())))
    assert handler.asked == ["/jwks"]


SMALL = Issuer("x", "small", rsa.generate_private_key(65537, 1024))
OTHER_CURVE = {"kty": "EC", "crv": "P-256", "kid": "k", "x": "AA", "y": "AA"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "no JWKS document"),
        (b"[]", "no JWKS document"),
        (b'{"keys": []}', "no key"),
        (b'{"keys": ["x"]}', "needs a kid"),
        (json.dumps({"keys": [{"kty": "oct", "kid": "k", "k": "AA"}]}).encode(), "kty must be"),
        (json.dumps({"keys": [OTHER_CURVE]}).encode(), "P-384"),
        (json.dumps({"keys": [HOSPITAL.jwk | {"d": "AA"}]}).encode(), "private key"),
        (json.dumps({"keys": [HOSPITAL.jwk | {"use": "enc"}]}).encode(), "does not allow"),
        (json.dumps({"keys": [HOSPITAL.jwk | {"alg": "RS256"}]}).encode(), "does not allow"),
        (json.dumps({"keys": [HOSPITAL.jwk | {"key_ops": ["encrypt"]}]}).encode(), "does not allow"),
        (json.dumps({"keys": [HOSPITAL.jwk | {"n": 7}]}).encode(), "no usable RSA key"),
        (json.dumps({"keys": [CLINIC.jwk | {"x": "AA"}]}).encode(), "no usable EC key"),
        (json.dumps({"keys": [HOSPITAL.jwk | {"kid": ""}]}).encode(), "needs a kid"),
        (key_set(SMALL), "2048 bits"),
        (key_set(HOSPITAL, IMPOSTOR), "a kid twice"),
    ],
)
def test_a_key_file_that_cannot_be_used_stops_the_start(
    settings: Settings, knowledge: Knowledge, tmp_path: Path, document: bytes, message: str
) -> None:
    (tmp_path / "hospital.json").write_bytes(document)
    with pytest.raises(ConfigurationError, match=message) as caught:
        create_app(settings, knowledge=knowledge)
    assert str(caught.value).startswith("clients: Hospital: jwks_file ")


def test_keys_of_an_address_that_cannot_be_used_are_passed_over() -> None:
    document = json.dumps({"keys": [OTHER_CURVE, CLINIC.jwk, HOSPITAL.jwk, IMPOSTOR.jwk, 7]}).encode()
    assert set(read_keys(document, strict=False)) == {CLINIC.kid}


def test_clients_need_the_address_at_which_they_call(settings: Settings, knowledge: Knowledge) -> None:
    with pytest.raises(ConfigurationError, match="public_base"):
        create_app(settings.model_copy(update={"public_base": None}), knowledge=knowledge)


def test_a_key_group_that_is_not_known_stops_the_start(settings: Settings, knowledge: Knowledge) -> None:
    wrong = settings.clients[0].model_copy(update={"prefetch_keys": {"creat": "kidneys"}})
    with pytest.raises(ConfigurationError, match="no key 'kidneys' here; write one of patient"):
        create_app(settings.model_copy(update={"clients": (wrong,)}), knowledge=knowledge)


# --------------------------------------------------------------------------------------------------------------------
# What a client's entry changes


def test_a_page_of_a_listed_origin_may_read_answers_and_refusals(client: FlaskClient) -> None:
    origin = {"Origin": "https://ehr.clinic.example.org"}
    allowed = "Access-Control-Allow-Origin"
    preflight = client.options(SIGN, headers=origin | {"Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 204
    assert preflight.headers[allowed] == origin["Origin"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    assert client.get("/cds-services", headers=origin).headers[allowed] == origin["Origin"]
    own = CLINIC.token(AUDIENCE, now(), tenant="north")
    assert call(client, own, **origin).headers[allowed] == origin["Origin"]
    assert post(client, order_sign(), **origin).headers[allowed] == origin["Origin"]
    assert allowed not in call(client, HOSPITAL.token(AUDIENCE, now()), **origin).headers, "another client's page"


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:8080", "https://ehr.clinic.example.org.evil.org", "https://EHR.clinic.example.org", "null"],
)
def test_no_other_origin_may_read_anything(client: FlaskClient, origin: str) -> None:
    for response in (
        client.options(SIGN, headers={"Origin": origin}),
        client.get("/cds-services", headers={"Origin": origin}),
        post(client, order_sign(), Origin=origin),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.vary == {"Origin"} or "Origin" in response.vary


def changed_client(settings: Settings, knowledge: Knowledge, **changes: Any) -> FlaskClient:
    hospital = settings.clients[0].model_copy(update=changes)
    changed = settings.model_copy(update={"clients": (hospital,)})
    return create_app(changed, knowledge=knowledge, today=TODAY).test_client()


def sent(client: FlaskClient, body: dict[str, Any]) -> TestResponse:
    return post(client, body, Authorization=f"Bearer {HOSPITAL.token(AUDIENCE, now())}")


def test_the_clients_own_prefetch_keys_are_known(settings: Settings, knowledge: Knowledge) -> None:
    body = order_sign()
    body["prefetch"]["labs of the kidney"] = None
    del body["prefetch"]["kidney"]
    said = [card["summary"] for card in sent(changed_client(settings, knowledge), body).get_json()["cards"]]
    assert any("not sent" in summary for summary in said), said
    mapped = changed_client(settings, knowledge, prefetch_keys={"labs of the kidney": "kidney"})
    said = [card["summary"] for card in sent(mapped, body).get_json()["cards"]]
    assert not any("creatinine not sent" in summary for summary in said), said


def test_a_client_that_asks_for_412_gets_it_where_data_were_not_sent(settings: Settings, knowledge: Knowledge) -> None:
    body = order_sign()
    del body["prefetch"]["kidney"]
    strict = changed_client(settings, knowledge, missing_data="412")
    response = sent(strict, body)
    assert response.status_code == 412
    assert response.mimetype == "application/fhir+json"
    outcome = response.get_json(force=True)
    assert outcome["resourceType"] == "OperationOutcome"
    assert any("creatinine: not sent" in issue["details"]["text"].lower() for issue in outcome["issue"])
    assert "4711" not in response.text
    assert sent(changed_client(settings, knowledge), body).status_code == 200


def test_412_is_not_for_what_is_known_to_be_absent_or_does_not_matter(settings: Settings, knowledge: Knowledge) -> None:
    strict = changed_client(settings, knowledge, missing_data="412")
    none_on_file = order_sign()
    none_on_file["prefetch"] |= dict.fromkeys(set(PUBLISHED_KEYS) - {"patient"})
    assert sent(strict, none_on_file).status_code == 200
    irrelevant = order_sign()
    order = irrelevant["context"]["draftOrders"]["entry"][0]["resource"]
    order["medicationCodeableConcept"] = {"text": "Amoxicillin 500 mg capsule"}
    del irrelevant["prefetch"]
    assert sent(strict, irrelevant).get_json() == {"cards": []}


def test_silent_mode_answers_no_412(settings: Settings, knowledge: Knowledge) -> None:
    body = order_sign()
    del body["prefetch"]
    silent = changed_client(settings.model_copy(update={"mode": "silent"}), knowledge, missing_data="412")
    assert sent(silent, body).get_json() == {"cards": []}


def test_the_release_can_be_set(settings: Settings, knowledge: Knowledge) -> None:
    for release in ("R4", "R4B", "STU3"):
        answer = sent(changed_client(settings, knowledge, fhir_release=release), order_sign()).get_json()
        actions = [a for s in answer["cards"][0]["suggestions"] for a in s["actions"] if a["type"] == "update"]
        assert actions
        for action in actions:
            assert ("doseQuantity" in action["resource"]["dosageInstruction"][0]) == (release == "STU3")


def test_who_called_is_logged_by_name(
    settings: Settings, knowledge: Knowledge, capsys: pytest.CaptureFixture[str]
) -> None:
    call(create_app(settings, knowledge=knowledge, today=TODAY).test_client(), HOSPITAL.token(AUDIENCE, now()))
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["client"] == "Hospital"
    assert JSON["Content-Type"] not in json.dumps(line)
