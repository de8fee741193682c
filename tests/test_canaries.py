"""Readiness: every rule has an order that must give its card, and a service that keeps silent about one says so."""

import json
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_rules_covered import WITHOUT_SCENARIO, ids

from cdshooks.cli import main
from cdshooks.errors import KnowledgeError
from cdshooks.medicine import checks
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.service.app import create_app
from cdshooks.service.canaries import check_canaries, read_canaries, silent_rules
from cdshooks.service.config import Settings


def test_every_rule_has_an_order_that_gives_its_card(knowledge: Knowledge) -> None:
    """A new rule needs one too: `make canaries` takes it from the rule's scenarios."""
    canaries = read_canaries()
    assert {rule for canary in canaries for rule in canary.rules} == ids(knowledge) - WITHOUT_SCENARIO
    assert silent_rules(knowledge, canaries) == ()
    assert check_canaries(knowledge) == len(canaries)


def test_a_rule_that_keeps_silent_makes_the_service_not_ready(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tuple(("dose", lambda _: ()) if name == "dose" else (name, check) for name, check in checks.CHECKS)
    monkeypatch.setattr(checks, "CHECKS", broken)
    settings = Settings(database=f"sqlite:///{tmp_path / 'kept.db'}")
    client = create_app(settings, knowledge=knowledge).test_client()
    for _ in range(2):
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert "dose/maribavir" in answer.get_json()["detail"]
        assert "renal-dose" not in answer.get_json()["detail"]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["canaries silent"]  # told once, and no call is logged
    assert "dose/maribavir" in lines[0]["rules"]
    assert client.get("/health/live").status_code == 200


def test_canaries_are_no_traffic(knowledge: Knowledge, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'kept.db'}")
    client = create_app(settings, knowledge=knowledge).test_client()
    assert client.get("/health/ready").status_code == 200
    assert capsys.readouterr().err == ""
    assert 'cdshooks_requests_total{service="cmv-order-sign",status="2xx"} 0.0' in client.get("/metrics").text
    assert "cdshooks_cards_total{" not in client.get("/metrics").text
    done = CliRunner().invoke(main, ["audit", "verify"], env={"CDSHOOKS_DATABASE": settings.database})
    assert done.output.startswith("0 entries hold")


def test_they_are_judged_once(knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Knowledge] = []

    def all_well(judged: Knowledge, _canaries: object) -> tuple[str, ...]:
        asked.append(judged)
        return ()

    monkeypatch.setattr("cdshooks.service.app.silent_rules", all_well)
    client = create_app(Settings(database=f"sqlite:///{tmp_path / 'kept.db'}"), knowledge=knowledge).test_client()
    assert [client.get("/health/ready").status_code for _ in range(3)] == [200] * 3
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "copy it"), ("[]", "holds no order"), ("[{}]", "make it again"), ("{", "make it again")],
)
def test_a_copy_of_the_knowledge_needs_its_canaries(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "canaries.json").write_text(content, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=told):
        read_canaries(tmp_path)


def test_the_knowledge_check_judges_them(tmp_path: Path) -> None:
    with as_file(files("cdshooks.mappings")) as built_in:
        copy = shutil.copytree(built_in, tmp_path / "mappings")
    rule = copy / "rules" / "dose" / "brincidofovir.yaml"
    assert CliRunner().invoke(main, ["knowledge", "check", str(copy)]).exit_code == 0
    rule.unlink()
    assert load_knowledge(copy)
    done = CliRunner().invoke(main, ["knowledge", "check", str(copy)])
    assert done.exit_code == 2
    assert "no card from dose/brincidofovir" in done.output
