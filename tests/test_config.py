"""Settings: the documented defaults, where values come from, and what each wrong one is told."""

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cdshooks.errors import ConfigurationError
from cdshooks.service.config import SCALARS, Limits, Settings, load_settings

DOCUMENTED = """
public_base = ""
database    = "sqlite:///cdshooks.db"
audit_key   = ""
mappings    = ""
overlay     = ""
mode        = "show"
timezone    = "UTC"
open        = false
today       = ""

[limits]
body_mb = 10
deadline_ms = 400
max_depth = 64
max_entries = 10000
queue = 100

[smart]
client_id = ""
redirect = "/smart/callback"
iss = []
frame_ancestors = []
"""

CLIENT = """
[[clients]]
name = "General Hospital"
iss = "https://ehr.example.org"
algorithms = ["RS384"]
jwks_file = "ehr-jwks.json"
tenants = []
max_lifetime_s = 900
profile = "strict"
fhir_bases = ["https://ehr.example.org/r4"]
allow_plain_http = false
prefetch_keys = { creat = "kidney", env = "counts" }
fhir_release = "auto"
missing_data = "card"
repeats = "show"
cors_origins = []
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the file, apart from the current one."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    there = tmp_path / "there"
    there.mkdir()
    return there


def read(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "cds.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text, **environ)
    return str(caught.value).splitlines()


def test_every_key_has_the_documented_default(folder: Path) -> None:
    nothing = read(folder, "")
    assert read(folder, DOCUMENTED) == nothing
    assert nothing.limits == Limits(body_mb=10, deadline_ms=400, max_depth=64, max_entries=10_000, queue=100)
    assert nothing.limits.body_bytes == 10 * 1024 * 1024
    assert (nothing.mode, nothing.timezone, nothing.open, nothing.today) == ("show", "UTC", False, None)
    assert nothing.clients == ()


def test_the_documented_client_is_read(folder: Path) -> None:
    client = read(folder, CLIENT).clients[0]
    assert client.jwks_file == folder / "ehr-jwks.json"
    assert client.prefetch_keys == {"creat": "kidney", "env": "counts"}
    assert client.fhir_bases == ("https://ehr.example.org/r4",)


def test_the_documented_keys_are_all_there_are() -> None:
    documented = tomllib.loads(DOCUMENTED + CLIENT)
    assert set(Settings.model_fields) == set(documented)
    assert set(Limits.model_fields) == set(documented["limits"])


def test_relative_paths_start_at_the_folder_of_the_file(folder: Path) -> None:
    settings = read(folder, 'mappings = "own"\ndatabase = "sqlite:///kept.db"')
    assert settings.mappings == folder / "own"
    assert settings.database == f"sqlite:///{folder / 'kept.db'}"
    assert read(folder, "").database == f"sqlite:///{folder / 'cdshooks.db'}"


def test_without_a_file_relative_paths_start_at_the_current_folder(folder: Path) -> None:
    assert load_settings(None, {}).database == f"sqlite:///{Path.cwd() / 'cdshooks.db'}"
    assert load_settings(None, {"CDSHOOKS_MAPPINGS": "own"}).mappings == Path.cwd() / "own"
    there = read(folder, 'mappings = "own"', CDSHOOKS_DATABASE="sqlite:///kept.db")
    assert (there.mappings, there.database) == (folder / "own", f"sqlite:///{Path.cwd() / 'kept.db'}")


@pytest.mark.parametrize(
    "address",
    ["sqlite:////var/kept.db", "sqlite://", "sqlite:///:memory:", "postgresql+psycopg://user:word@db.example.org/cds"],
)
def test_an_address_without_a_relative_path_stays(folder: Path, address: str) -> None:
    assert read(folder, f'database = "{address}"').database == address


@pytest.mark.parametrize(
    ("variable", "text", "place", "value"),
    [
        ("CDSHOOKS_DATABASE", "sqlite:////var/kept.db", "database", "sqlite:////var/kept.db"),
        ("CDSHOOKS_MODE", "silent", "mode", "silent"),
        ("CDSHOOKS_TIMEZONE", "Europe/Berlin", "timezone", "Europe/Berlin"),
        ("CDSHOOKS_OPEN", "true", "open", True),
        ("CDSHOOKS_TODAY", "2026-03-02", "today", date(2026, 3, 2)),
        ("CDSHOOKS_PUBLIC_BASE", "https://cds.example.org/", "public_base", "https://cds.example.org"),
        ("CDSHOOKS_LIMITS_BODY_MB", "2", "limits.body_mb", 2),
        ("CDSHOOKS_LIMITS_QUEUE", "0", "limits.queue", 0),
        ("CDSHOOKS_SMART_CLIENT_ID", "app", "smart.client_id", "app"),
    ],
)
def test_a_variable_wins_over_the_file_and_an_empty_one_is_unset(
    folder: Path, variable: str, text: str, place: str, value: Any
) -> None:
    def found(settings: Any) -> Any:
        for name in place.split("."):
            settings = getattr(settings, name)
        return settings

    assert variable in SCALARS
    assert found(read(folder, DOCUMENTED, **{variable: text})) == value
    assert found(load_settings(None, {variable: text})) == value
    assert found(read(folder, DOCUMENTED, **{variable: ""})) == found(read(folder, DOCUMENTED))


def test_every_scalar_outside_clients_is_a_variable() -> None:
    tables = tomllib.loads(DOCUMENTED)
    scalars = {f"CDSHOOKS_{key.upper()}" for key, value in tables.items() if not isinstance(value, dict)}
    for table in ("limits", "smart"):
        scalars |= {
            f"CDSHOOKS_{table}_{key}".upper() for key, value in tables[table].items() if not isinstance(value, list)
        }
    assert set(SCALARS) == scalars


WRONG = {
    "mode": ('mode = "quiet"', "mode", "'show' or 'silent'"),
    "timezone": ('timezone = "Mars/Olympus"', "timezone", "Europe/Berlin"),
    "timezone path": ('timezone = "../../etc/passwd"', "timezone", "Europe/Berlin"),
    "today": ('today = "2026-02-30"', "today", "date"),
    "body_mb": ("limits = { body_mb = 0 }", "limits.body_mb", "greater than 0"),
    "queue": ('limits = { queue = "many" }', "limits.queue", "integer"),
    "public_base": ('public_base = "cds.example.org"', "public_base", "https://"),
    "unknown key": ("opne = true", "opne", "unknown key"),
    "unknown key inside": ("limits = { body_mib = 1 }", "limits.body_mib", "unknown key"),
    "table": ("limits = 5", "limits", "dictionary"),
    "frame": ('smart = { frame_ancestors = ["*; script-src *"] }', "smart.frame_ancestors.0", "https://"),
    "unknown key of a client": (CLIENT + "\nisss = 1", "clients.0.isss", "unknown key"),
    "algorithm": (CLIENT.replace("RS384", "HS256"), "clients.0.algorithms.0", "'ES384' or 'RS384'"),
    "lifetime": (CLIENT.replace("900", "3601"), "clients.0.max_lifetime_s", "3600"),
    "no keys": (CLIENT.replace("jwks_file", "# "), "clients.0", "jwks_file or jwks_url"),
    "two keys": (CLIENT + 'jwks_url = "https://ehr.example.org/jwks"', "clients.0", "jwks_file or jwks_url"),
    "origin": (
        CLIENT.replace("cors_origins = []", 'cors_origins = ["https://x/y"]'),
        "clients.0.cors_origins.0",
        "https:",
    ),
    "plain http": (CLIENT.replace("https://ehr.example.org/r4", "http://ehr.example.org/r4"), "clients.0", "https in"),
    "keys by plain http": (
        CLIENT.replace('jwks_file = "ehr-jwks.json"', 'jwks_url = "http://ehr.example.org/jwks"'),
        "clients.0",
        "https in",
    ),
    "base with a query": (
        CLIENT.replace("example.org/r4", "example.org/r4?x=1"),
        "clients.0.fhir_bases.0",
        "https://ehr.example.org",
    ),
    "base with a user": (
        CLIENT.replace("https://ehr.example.org/r4", "https://user@ehr.example.org/r4"),
        "clients.0.fhir_bases.0",
        "https://ehr.example.org",
    ),
    "network": (CLIENT + 'fhir_networks = ["10.0.0.1/8"]', "clients.0.fhir_networks.0", "IPv4 or IPv6 network"),
    "twice": (CLIENT + CLIENT, "clients", "only once"),
}


@pytest.mark.parametrize(("text", "key", "remedy"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_told_with_file_key_and_remedy(folder: Path, text: str, key: str, remedy: str) -> None:
    (line,) = problems(folder, text)
    assert line.startswith(f"{folder / 'cds.toml'}: {key}: ")
    assert remedy in line


def test_a_wrong_variable_is_told_by_its_name(folder: Path) -> None:
    (line,) = problems(folder, "limits = { queue = 5 }", CDSHOOKS_LIMITS_QUEUE="-1")
    assert re.match(r"environment: CDSHOOKS_LIMITS_QUEUE: .*greater than or equal to 0", line)


def test_all_problems_are_told_at_once(folder: Path) -> None:
    lines = problems(
        folder, 'mode = "quiet"\nopne = 1\n[limits]\nqueue = -1', CDSHOOKS_OPEN="perhaps", CDSHOOKS_MODES="x"
    )
    assert [line.split(": ")[1] for line in lines] == [
        "CDSHOOKS_MODES",
        "mode",
        "CDSHOOKS_OPEN",
        "limits.queue",
        "opne",
    ]


def test_a_misspelt_variable_is_refused_and_a_foreign_one_left_alone() -> None:
    with pytest.raises(ConfigurationError, match="CDSHOOKS_LIMITS_BODY_MB"):
        load_settings(None, {"CDSHOOKS_LIMITS_BODYMB": "5"})
    foreign = {"CDSHOOKS_PORT": "tcp://10.0.0.1:8000", "CDSHOOKS_SERVICE_HOST": "10.0.0.1", "CDSHOOKS_CONFIG": "x"}
    assert load_settings(None, foreign) == load_settings(None, {})


def test_secrets_stay_out_of_the_file(folder: Path) -> None:
    (folder / "secret").write_text("postgresql+psycopg://a:b@db.example.org/cds\n", encoding="utf-8")
    from_file = read(folder, 'database = { file = "secret" }')
    from_environment = read(folder, 'database = { env = "DB" }', DB="postgresql+psycopg://a:b@db.example.org/cds")
    assert from_file.database == from_environment.database == "postgresql+psycopg://a:b@db.example.org/cds"
    assert "a:b" not in repr(from_file)


@pytest.mark.parametrize(("secret", "word"), [('{ env = "DB" }', "DB"), ('{ file = "gone" }', "gone")])
def test_a_secret_that_is_not_there_is_told(folder: Path, secret: str, word: str) -> None:
    lines = problems(folder, f"database = {secret}")
    assert lines[0].startswith(f"{folder / 'cds.toml'}: database: ")
    assert word in lines[0]


def test_a_message_never_repeats_a_wrong_value(folder: Path) -> None:
    text = (
        'public_base = "sesame"\ntoday = "sesame"\nopen = "sesame"\ntimezone = "sesame"\nlimits = { queue = "sesame" }'
    )
    lines = problems(folder, text)
    assert len(lines) == 5
    assert "sesame" not in "".join(lines)


def test_a_file_that_is_not_there_or_no_toml_is_told(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.toml: cannot be read"):
        load_settings(folder / "gone.toml", {})
    assert "line 2" in problems(folder, "open = true\nmode = ?")[0]
    (folder / "latin.toml").write_bytes(b'mode = "\xe9"')
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_settings(folder / "latin.toml", {})
