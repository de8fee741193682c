"""`cdshooks replay`: one set of stored requests, two versions of the knowledge, what differs per rule."""

import json
import re
import shutil
from datetime import date
from importlib.resources import as_file, files
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scenario import Json, Scenario, load_scenarios, render

from cdshooks.cli import main

TODAY = date(2026, 11, 21)
STORED: list[Scenario] = [
    s for s in load_scenarios() if s.file == "valganciclovir-table" and s.hook == "order-sign" and s.today == TODAY
]
RULE = "renal-dose/valganciclovir"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "requests"
    (made / "later").mkdir(parents=True)
    for number, scenario in enumerate(STORED[:-2]):
        (made / f"{number:02}.json").write_text(json.dumps(render(scenario)), encoding="utf-8")
    rest = "\n".join(json.dumps(render(scenario)) for scenario in STORED[-2:])
    (made / "later" / "rest.ndjson").write_text(rest + "\n\n", encoding="utf-8")
    (made / "notes.txt").write_text("no request", encoding="utf-8")
    return made


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    with as_file(files("cdshooks.mappings")) as built_in:
        return Path(shutil.copytree(built_in, tmp_path / "mappings"))


def run(folder: Path, against: Path, *arguments: str) -> Result:
    command = ["replay", str(folder), "--against", str(against), "--today", TODAY.isoformat(), *arguments]
    return CliRunner().invoke(main, command, env={"COLUMNS": "160"})


def diff(folder: Path, against: Path) -> Json:
    done = run(folder, against, "--json")
    assert done.exit_code == 0, done.output
    found: Json = json.loads(done.stdout)
    return found


def test_the_same_knowledge_differs_in_nothing(folder: Path, copy: Path) -> None:
    found = diff(folder, copy)
    assert found["requests"] == len(STORED) >= 5
    assert found["before"] == found["after"]
    assert found["differing"] == 0
    assert found["cards_before"] == found["cards_after"]
    assert all(rule["before"] == rule["after"] for rule in found["rules"])
    assert "say the same" in run(folder, copy).stdout


def test_a_changed_dose_shows_per_rule_and_request(folder: Path, copy: Path) -> None:
    rule = copy / "rules" / "renal_dose" / "valganciclovir.yaml"
    text = rule.read_text(encoding="utf-8")
    assert "900 mg" in text
    rule.write_text(text.replace("900 mg", "1800 mg"), encoding="utf-8")
    found = diff(folder, copy)
    assert found["before"] != found["after"]
    assert found["differing"] > 0
    (changed,) = [entry for entry in found["rules"] if entry["rule"] == RULE]
    named = {name for kind in ("new", "gone", "graver", "milder", "reworded") for name in changed[kind]}
    assert len(named) == found["differing"]
    assert changed["after"] - changed["before"] == len(changed["new"]) - len(changed["gone"])
    assert changed["new"]  # a full dose that was right is now too little
    table = run(folder, copy).stdout
    row = next(line for line in table.splitlines() if RULE in line)
    assert re.findall(r"\d+", row)[:2] == [str(changed["before"]), str(changed["after"])]


def test_what_cannot_be_judged_is_named_and_the_rest_is_judged(folder: Path, copy: Path) -> None:
    (folder / "broken.json").write_text("{", encoding="utf-8")
    found = diff(folder, copy)
    assert [name for name, _ in found["errors"]] == ["broken.json"]
    assert found["requests"] == len(STORED) + 1
    assert "broken.json: not judged" in run(folder, copy).stdout


def test_a_folder_without_requests_is_an_error(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", copy)
    assert done.exit_code == 2
    assert "no *.json or *.ndjson" in done.output


def test_knowledge_that_cannot_be_used_is_an_error(folder: Path, copy: Path) -> None:
    (copy / "kidney.yaml").write_text("kind: nonsense\n", encoding="utf-8")
    done = run(folder, copy)
    assert done.exit_code == 2
    assert done.stderr.startswith(
        f"cdshooks: --against {copy}: no copy of mappings/ that can be used:\nmappings/kidney"
    )


def test_a_site_s_own_values_lie_over_both(
    folder: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = diff(folder, copy)
    overlay = tmp_path / "site.yaml"
    overlay.write_text("thresholds: {judgement/dose: {tolerance: 0.9}}\n", encoding="utf-8")
    monkeypatch.setenv("CDSHOOKS_OVERLAY", str(overlay))
    found = diff(folder, copy)
    assert found["before"] == found["after"] != plain["after"]
    assert found["differing"] == 0
    assert found["cards_before"] != plain["cards_before"]


def test_progress_is_shown_and_keeps_out_of_the_output(
    folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = run(folder, copy, "--json")
    assert "Judging under both" in done.stderr
    json.loads(done.stdout)


def test_nothing_is_kept(folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert diff(folder, copy)["requests"]
    assert sorted(tmp_path.rglob("*")) == before


def test_every_scenario_file_can_be_replayed(copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    for number, scenario in enumerate(load_scenarios()[::7]):
        (folder / f"{number:03}.json").write_text(json.dumps(render(scenario)), encoding="utf-8")
    found = diff(folder, copy)
    assert found["errors"] == []
    assert found["differing"] == 0
