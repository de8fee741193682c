"""Settings of the service: one TOML file and environment variables, read once at the start.

Every key has a default. A scalar outside `[[clients]]` may also be an environment variable (`CDSHOOKS_LIMITS_BODY_MB`),
which wins over the file; an empty variable counts as unset. Whatever is wrong is reported together, with file, key and
remedy. This module must not know what the settings are for.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
    field_validator,
    model_validator,
)

from cdshooks.errors import ConfigurationError

PREFIX: Final = "CDSHOOKS_"
NOT_SETTINGS: Final = frozenset({"CDSHOOKS_CONFIG"})  # names the file itself


def _absent_when_empty(value: object) -> object:
    """An empty text means "not set", as the documented defaults write it."""
    return None if value == "" else value


def _known_zone(name: str) -> str:
    """Refuse a time zone this machine does not know."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError('write an IANA time zone, such as "Europe/Berlin"') from error
    return name


def _without_slash(address: str) -> str:
    """Links are built by appending paths."""
    return address.rstrip("/")


ORIGIN: Final = r"^https?://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.*-]+)(:\d{1,5})?$"
ADDRESS: Final = r"^https?://[^\s\"'<>;]+$"
BASE: Final = r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(/[A-Za-z0-9._~-]+)*/?$"

Origin = Annotated[str, Field(pattern=ORIGIN)]
Address = Annotated[str, Field(pattern=ADDRESS), AfterValidator(_without_slash)]
Base = Annotated[str, Field(pattern=BASE), AfterValidator(_without_slash)]
AuditKey = Annotated[str, Field(min_length=32)]  # characters; shorter ones can be tried out
OptionalPath = Annotated[Path | None, BeforeValidator(_absent_when_empty)]


class _Table(BaseModel):
    """A table of the file: no unknown key, never changed after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Limits(_Table):
    """What one request may cost: `body_mb` in MiB, `deadline_ms` in milliseconds, `queue` in requests that wait."""

    body_mb: float = Field(default=10, gt=0, le=1024)
    deadline_ms: int = Field(default=400, ge=1)
    max_depth: int = Field(default=64, ge=1, le=500)
    max_entries: int = Field(default=10_000, ge=1)
    queue: int = Field(default=100, ge=0)

    @property
    def body_bytes(self) -> int:
        """The largest body accepted, in bytes."""
        return int(self.body_mb * 1024 * 1024)


class Client(_Table):
    """One EHR that calls with signed tokens.

    `fhir_networks`: private networks in which the names of `fhir_bases` and `jwks_url` may lie, beside the public ones.
    """

    name: str = Field(min_length=1)
    iss: str = Field(min_length=1)
    algorithms: tuple[Literal["ES384", "RS384"], ...] = ("ES384", "RS384")
    jwks_file: OptionalPath = None
    jwks_url: Annotated[Address | None, BeforeValidator(_absent_when_empty)] = None
    tenants: tuple[str, ...] = ()
    max_lifetime_s: int = Field(default=900, ge=1, le=3600)
    profile: Literal["strict", "epic", "oracle", "sandbox"] = "strict"
    fhir_bases: tuple[Base, ...] = ()
    fhir_networks: tuple[IPvAnyNetwork, ...] = ()
    allow_plain_http: bool = False
    prefetch_keys: Mapping[str, str] = Field(default_factory=dict)
    fhir_release: Literal["auto", "DSTU2", "STU3", "R4", "R4B", "R5"] = "auto"
    missing_data: Literal["card", "412"] = "card"
    repeats: Literal["show", "note"] = "show"
    cors_origins: tuple[Origin, ...] = ()

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> "Client":
        """A token can be verified only against keys from exactly one place."""
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("give either jwks_file or jwks_url")
        return self

    @model_validator(mode="after")
    def _encrypted(self) -> "Client":
        """Tokens, keys and results travel encrypted, but for tests on one machine."""
        addresses = (*self.fhir_bases, *([self.jwks_url] if self.jwks_url else []))
        if not self.allow_plain_http and any(not address.startswith("https://") for address in addresses):
            raise ValueError("write https in fhir_bases and jwks_url, or allow_plain_http = true for tests on loopback")
        return self


ANYBODY: Final = Client.model_construct(name="", iss="")  # who calls an open service: nothing is configured for them


def is_protected(address: str) -> bool:
    """Is what goes to this address encrypted, or stays on this machine?"""
    parts = urlsplit(address)
    return parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1") and "@" not in parts.netloc
    )


class Smart(_Table):
    """The SMART app: who it is, where it comes back to, which FHIR servers may launch it, which pages may frame it.

    `fhir_networks`: private networks in which the names of `iss` and of their token servers may lie.
    """

    client_id: str = ""
    redirect: str = Field(default="/smart/callback", pattern=r"^/smart/[A-Za-z0-9_/-]+$")
    iss: tuple[Base, ...] = ()
    frame_ancestors: tuple[Origin, ...] = ()
    fhir_networks: tuple[IPvAnyNetwork, ...] = ()

    @field_validator("iss")
    @classmethod
    def _encrypted(cls, iss: tuple[str, ...]) -> tuple[str, ...]:
        """Tokens and results travel encrypted, but on this machine itself."""
        for base in iss:
            if not is_protected(base):
                raise ValueError("write https, or http for a server on loopback")
        return iss

    @model_validator(mode="after")
    def _named(self) -> "Smart":
        """A server that launches the app knows it by its client_id."""
        if self.iss and not self.client_id:
            raise ValueError("give client_id as well: the id under which these servers know the app")
        return self


class Settings(_Table):
    """All settings. `today` fixes the clinical date (tests only).

    `database` may hold a password, `audit_key` is a secret (what pseudonyms in the audit are made with): never printed.
    """

    public_base: Annotated[Address | None, BeforeValidator(_absent_when_empty)] = None
    database: str = Field(default="sqlite:///cdshooks.db", min_length=1, repr=False)
    audit_key: Annotated[AuditKey | None, BeforeValidator(_absent_when_empty)] = Field(default=None, repr=False)
    mappings: OptionalPath = None
    overlay: OptionalPath = None
    mode: Literal["show", "silent"] = "show"
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    open: bool = False
    today: Annotated[date | None, BeforeValidator(_absent_when_empty)] = None
    limits: Limits = Limits()
    clients: tuple[Client, ...] = ()
    smart: Smart = Smart()

    @field_validator("clients")
    @classmethod
    def _each_once(cls, clients: tuple[Client, ...]) -> tuple[Client, ...]:
        """A token has to lead to one client."""
        for names in ([client.name for client in clients], [client.iss for client in clients]):
            if len(set(names)) < len(names):
                raise ValueError("each name and each iss may stand only once")
        return clients


SCALARS: Final[Mapping[str, tuple[str, ...]]] = {
    PREFIX + "_".join(path).upper(): path
    for path in (
        *((name,) for name in Settings.model_fields if name not in {"limits", "clients", "smart"}),
        *(("limits", name) for name in Limits.model_fields),
        ("smart", "client_id"),
        ("smart", "redirect"),
    )
}
"""Environment variable -> the key it sets."""


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings from `path` (None: defaults) and from `environ`.

    Relative paths in the file start at its folder, those in variables at the current one.

    Raises:
        ConfigurationError: one line for each thing wrong, with where it stands, the key, and what to write instead.
    """
    problems: list[str] = []
    tables = _read_file(path, environ, problems) if path is not None else {}
    if path is not None:
        _anchor(tables, path.absolute().parent)
    variables = {name: key for name, key in SCALARS.items() if environ.get(name)}
    _add_variables(tables, variables, environ)
    if path is None:
        _anchor(tables, Path.cwd())
    problems.extend(_near_misses(environ))
    try:
        settings = Settings.model_validate(tables)
    except ValidationError as error:
        set_by = {key: name for name, key in variables.items()}
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            problems.append(_line(path, set_by, item["loc"], item["type"], item["msg"]))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings


def _read_file(path: Path, environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """The tables of the file with its secrets filled in."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); check --config or CDSHOOKS_CONFIG"
        ) from error
    except ValueError as error:  # TOML syntax or bytes that are not UTF-8; the parser's message names line and column
        raise ConfigurationError(f"{path}: is not valid TOML: {error}") from error
    return {key: _secrets(value, key, path, environ, problems) for key, value in tables.items()}


def _secrets(value: Any, key: str, path: Path, environ: Mapping[str, str], problems: list[str]) -> Any:
    """Replace `{ env = "NAME" }` and `{ file = "PATH" }`, which keep a secret out of the file, by what they name."""
    if key.endswith("prefetch_keys"):  # a client's own names, which may well be "env" or "file"
        return value
    if isinstance(value, list):
        return [_secrets(item, f"{key}.{place}", path, environ, problems) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    match value:
        case {"env": str(name), **rest} if not rest:
            if environ.get(name):
                return environ[name]
            problems.append(f"{path}: {key}: the environment variable {name} is not set; set it")
            return ""
        case {"file": str(name), **rest} if not rest:
            try:
                return (path.absolute().parent / name).read_text(encoding="utf-8").strip()
            except (OSError, ValueError):
                problems.append(f"{path}: {key}: the file {name} cannot be read; check its path and permissions")
                return ""
    return {name: _secrets(item, f"{key}.{name}", path, environ, problems) for name, item in value.items()}


def _anchor(tables: dict[str, Any], folder: Path) -> None:
    """Make the relative paths start at `folder`."""
    for key in ("mappings", "overlay"):
        if tables.get(key) and isinstance(tables[key], str):
            tables[key] = str(folder / tables[key])
    scheme, separator, place = str(tables.get("database", Settings.model_fields["database"].default)).partition(":///")
    if separator and scheme.startswith("sqlite") and place and not place.startswith((":memory:", "file:")):
        tables["database"] = f"{scheme}:///{folder / place}"
    clients = tables.get("clients")
    for client in clients if isinstance(clients, list) else []:
        if isinstance(client, dict) and isinstance(client.get("jwks_file"), str) and client["jwks_file"]:
            client["jwks_file"] = str(folder / client["jwks_file"])


def _add_variables(
    tables: dict[str, Any], variables: Mapping[str, tuple[str, ...]], environ: Mapping[str, str]
) -> None:
    """Lay the environment variables over the file."""
    for name, (*above, last) in variables.items():
        table = tables.setdefault(above[0], {}) if above else tables
        if isinstance(table, dict):  # else the file has a plain value where a table belongs: the validation says so
            given = {last: environ[name]}
            _anchor(given, Path.cwd())
            table[last] = given[last]


def _near_misses(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like a misspelt setting.

    Other names with the prefix are left alone: container platforms add such variables by themselves.
    """
    lines: list[str] = []
    known = [name.removeprefix(PREFIX) for name in SCALARS]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in SCALARS and name not in NOT_SETTINGS:
            meant = get_close_matches(name.removeprefix(PREFIX), known, 1, 0.85)
            lines.extend(f"environment: {name}: unknown; write {PREFIX}{one}, or remove it" for one in meant)
    return lines


def _line(
    path: Path | None, set_by: Mapping[tuple[str, ...], str], loc: tuple[int | str, ...], kind: str, message: str
) -> str:
    """One problem as file (or variable), key and remedy."""
    names = tuple(str(part) for part in loc)
    variable = set_by.get(names)
    if kind == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    elif kind == "string_pattern_mismatch":
        message = 'write an address such as "https://ehr.example.org"'
    message = message.removeprefix("Value error, ").replace("Input should", "should", 1)
    where = f"environment: {variable}" if variable else f"{path}: {'.'.join(names)}"
    return f"{where}: {message}"
