"""The command line: what each command prints, what it exits with, and how quickly."""

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cdshooks import __version__
from cdshooks.cli import main
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.rules.renal_dose import RenalDoseRule


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CDSHOOKS_")]:
        monkeypatch.delenv(name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_version() -> None:
    assert run("--version").output == f"cdshooks, version {__version__}\n"


def test_help_names_every_command() -> None:
    shown = run("--help").output
    assert all(f"\n  {command} " in shown for command in ("serve", "check", "demo", "knowledge", "screen"))


def test_knowledge_check_counts_what_is_there() -> None:
    loaded = load_knowledge()
    result = run("knowledge", "check")
    assert result.exit_code == 0
    assert result.output.startswith(f"{len(loaded.rules)} rules, ")
    assert f"version {loaded.version}: ok; " in result.output
    assert result.output.endswith(" canary orders give their cards\n")


@pytest.fixture
def own_knowledge(tmp_path: Path) -> Path:
    with as_file(files("cdshooks.mappings")) as built_in:
        return Path(shutil.copytree(built_in, tmp_path / "own"))


def test_knowledge_check_of_a_folder_names_every_problem(own_knowledge: Path) -> None:
    assert run("knowledge", "check", str(own_knowledge)).exit_code == 0
    for name in ("valganciclovir", "ganciclovir-iv"):
        rule = own_knowledge / "rules" / "renal_dose" / f"{name}.yaml"
        rule.write_text(rule.read_text(encoding="utf-8") + "\nmisspelt: 1\n", encoding="utf-8")
    result = run("knowledge", "check", str(own_knowledge))
    assert result.exit_code == 2
    assert "rules/renal_dose/valganciclovir.yaml: misspelt: unknown key" in result.stderr
    assert "rules/renal_dose/ganciclovir-iv.yaml: misspelt: unknown key" in result.stderr
    assert result.stdout == ""


def test_knowledge_list_shows_every_rule_unreviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    shown = run("knowledge", "list").output
    for rule in load_knowledge().rules:
        assert rule.id in shown
    assert "none" in shown
    assert "Valganciclovir dose for adult kidney function" in shown


@pytest.mark.parametrize("table", load_knowledge().renal_dose, ids=lambda table: str(table.id))
def test_knowledge_show_gives_every_dose_with_its_source(table: RenalDoseRule) -> None:
    loaded = load_knowledge()
    shown = run("knowledge", "show", table.id).output
    assert table.title in shown
    for band in table.bands:
        assert f"at least: {band.at_least}" in shown
        for regimen in (*band.treatment, *band.stable):
            assert regimen.regimen.wording in shown
    source = loaded.sources[table.cite.source]
    assert f"{source.title}, version {source.version}, section {table.cite.section}" in shown


PLAIN_RULES = [rule.id for rule in load_knowledge().rules if not isinstance(rule, RenalDoseRule)]


@pytest.mark.parametrize("rule", PLAIN_RULES)
def test_knowledge_show_leaves_out_no_number(rule: str) -> None:
    found = next(entry for entry in load_knowledge().rules if entry.id == rule)
    shown = run("knowledge", "show", rule)
    assert shown.exit_code == 0

    def numbers(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [number for item in value.values() for number in numbers(item)]
        if isinstance(value, list | tuple):
            return [number for item in value for number in numbers(item)]
        return [str(value)] if not isinstance(value, str | bool | type(None)) else []

    assert [number for number in numbers(found.model_dump()) if number not in shown.output] == []


def test_knowledge_show_of_an_unknown_rule_says_where_to_look() -> None:
    result = run("knowledge", "show", "nothing")
    assert result.exit_code == 2
    assert "knowledge list" in result.stderr


@pytest.mark.parametrize("command", [("serve",), ("check", "x.json"), ("knowledge", "list")])
def test_a_wrong_setting_ends_with_its_message(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSHOOKS_MODE", "quiet")
    result = run(*command)
    assert result.exit_code == 2
    assert result.stderr.startswith("cdshooks: environment: CDSHOOKS_MODE: ")
    assert "Traceback" not in result.stderr


def test_serve_refuses_clients_whose_keys_cannot_be_read(tmp_path: Path) -> None:
    config = tmp_path / "cds.toml"
    config.write_text('[[clients]]\nname = "x"\niss = "https://x"\njwks_file = "k.json"\n', encoding="utf-8")
    result = run("serve", "--config", str(config))
    assert result.exit_code == 2
    assert result.stderr.startswith("cdshooks: clients: x: jwks_file ")
    assert "k.json: cannot be read (No such file or directory)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ((), {}, {"host": "127.0.0.1", "port": 8000, "open": False, "today": None}),
        (("--open", "--host", "0.0.0.0"), {}, {"host": "0.0.0.0", "port": 8000, "open": True, "today": None}),
        (("--today", "2026-03-02"), {"CDSHOOKS_TODAY": "2020-01-01"}, {"today": "2026-03-02"}),
        ((), {"CDSHOOKS_TODAY": "2020-01-01"}, {"today": "2020-01-01"}),
    ],
)
def test_serve_hands_over_what_was_said(
    arguments: tuple[str, ...], environment: dict[str, str], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def serve(settings: Any, *, host: str, port: int) -> None:
        today = settings.today.isoformat() if settings.today else None
        seen.update(host=host, port=port, open=settings.open, today=today)

    monkeypatch.setattr("cdshooks.service.server.serve", serve)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert run("serve", *arguments).exit_code == 0
    assert expected.items() <= seen.items()


def test_the_configuration_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "cds.toml"
    config.write_text("opne = 1\n", encoding="utf-8")
    monkeypatch.setenv("CDSHOOKS_CONFIG", str(config))
    assert f"{config}: opne: unknown key" in run("knowledge", "list").stderr


@pytest.mark.parametrize("code", [0, 1, 2])
def test_check_hands_over_and_exits_as_told(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def judged(files: tuple[str, ...], *, as_json: bool, settings: Any) -> int:
        seen.update(files=files, as_json=as_json, today=str(settings.today))
        return code

    terminal = ModuleType("cdshooks.service.terminal")
    terminal.check = judged  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cdshooks.service.terminal", terminal)
    monkeypatch.setattr("cdshooks.service.terminal", terminal, raising=False)
    assert run("check", "a.json", "-", "--json", "--today", "2026-03-02").exit_code == code
    assert seen == {"files": ("a.json", "-"), "as_json": True, "today": "2026-03-02"}


def test_light_commands_load_no_web_server() -> None:
    code = (
        "import sys, json; from click.testing import CliRunner; from cdshooks.cli import main;"
        "assert CliRunner().invoke(main, ['knowledge', 'list']).exit_code == 0;"
        "print(json.dumps(sorted(set(sys.modules) & {'flask', 'granian', 'sqlalchemy', 'structlog', 'requests'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout) == []
