"""A site's own switches and thresholds: what they change, where they show, and how a slip in the file is refused."""

from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from click.testing import CliRunner
from scenario import Json, Scenario, breaches, differences, load_scenarios, render

from cdshooks.cli import main
from cdshooks.errors import KnowledgeError
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import evaluate
from cdshooks.service.app import create_app
from cdshooks.service.config import Settings, load_settings
from cdshooks.wire.hooks import read_call

SITE = Path(__file__).parent / "site"
OVERLAYS = {path.stem: path for path in sorted((SITE / "overlays").glob("*.yaml"))}
SCENARIOS = load_scenarios(SITE)


@pytest.fixture(scope="module")
def at_site() -> dict[str, Knowledge]:
    return {name: load_knowledge(overlay=path) for name, path in OVERLAYS.items()}


def cards_of(scenario: Scenario, knowledge: Knowledge) -> list[Json]:
    body = orjson.dumps(render(scenario))
    call = read_call(scenario.service, body, max_depth=64, max_entries=1000, prefetch_keys={})
    answer = evaluate(call, knowledge=knowledge, today=scenario.today, zone=ZoneInfo("UTC"))
    assert not answer.failures
    found: list[Json] = orjson.loads(answer.body)["cards"]
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_cards_at_the_site(scenario: Scenario, at_site: dict[str, Knowledge]) -> None:
    cards = cards_of(scenario, at_site[scenario.file])
    assert differences(scenario, cards) == []
    assert breaches(cards, render(scenario)) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_site_differs_from_the_built_in_knowledge(name: str, knowledge: Knowledge) -> None:
    assert any(differences(scenario, cards_of(scenario, knowledge)) for scenario in SCENARIOS if scenario.file == name)


def test_every_switch_and_choice_has_its_site(at_site: dict[str, Knowledge], knowledge: Knowledge) -> None:
    used = {(name, switch.use) for known in at_site.values() for name, switch in known.site.switches.items()}
    assert used == {(name, choice) for name, switch in knowledge.site.switches.items() for choice in switch.choices}


def test_every_switch_is_asked_for_by_some_rule(knowledge: Knowledge) -> None:
    asked = {name for rule in knowledge.dose for when in rule.conditions for name in when.site}
    asked |= {name for table in knowledge.renal_dose if table.protocol for name in table.protocol.site}
    assert asked == set(knowledge.site.switches)


# --------------------------------------------------------------------------------------------------------------------
# Where it shows


def test_the_version_names_the_file_by_its_hash(tmp_path: Path, knowledge: Knowledge) -> None:
    file = tmp_path / "ours.yaml"
    versions = []
    for text in ("switches: {maribavir_label: eu}\n", "switches: {maribavir_label: us}\n"):
        file.write_text(text, encoding="utf-8")
        versions.append(load_knowledge(overlay=file).version)
    assert len(set(versions)) == 2
    assert all(version.startswith(f"{knowledge.version}+site.") for version in versions)


def test_the_service_takes_it_and_its_cards_name_the_version() -> None:
    scenario = next(s for s in SCENARIOS if s.file == "maribavir-eu" and s.then)
    settings = Settings(database="sqlite:///:memory:", overlay=OVERLAYS["maribavir-eu"])
    client = create_app(settings, today=scenario.today).test_client()
    cards = client.post(f"/cds-services/{scenario.service}", json=render(scenario)).get_json()["cards"]
    assert differences(scenario, cards) == []
    version = cards[0]["extension"]["cmv-cds.finding"]["knowledgeVersion"]
    assert "+site." in version
    assert version in cards[0]["detail"]


def test_the_command_line_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSHOOKS_OVERLAY", str(OVERLAYS["maribavir-eu"]))
    checked = CliRunner().invoke(main, ["knowledge", "check"])
    shown = CliRunner().invoke(main, ["knowledge", "show", "site/switches"])
    assert (checked.exit_code, shown.exit_code) == (0, 0)
    assert "+site." in checked.output
    assert "use: eu" in shown.output


def test_a_relative_path_starts_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("switches: {maribavir_label: eu}\n", encoding="utf-8")
    (tmp_path / "cdshooks.toml").write_text('overlay = "site.yaml"\n', encoding="utf-8")
    settings = load_settings(tmp_path / "cdshooks.toml", {})
    assert settings.overlay == tmp_path / "site.yaml"
    assert load_knowledge(overlay=settings.overlay).site.switches["maribavir_label"].use == "eu"


# --------------------------------------------------------------------------------------------------------------------
# Slips

WRONG = {
    "an unknown part": ("switch: {maribavir_label: eu}", "ours.yaml: switch: unknown key; write `switches` or"),
    "an unknown switch": (
        "switches: {maribavir_labl: eu}",
        "ours.yaml: switches.maribavir_labl: unknown key; write maribavir_label",
    ),
    "an unknown choice": (
        "switches: {maribavir_label: uk}",
        "ours.yaml: site/switches: switches.maribavir_label: 'uk' is no choice; write one of us, eu",
    ),
    "a switch among the thresholds": (
        "thresholds: {site/switches: {maribavir_label: eu}}",
        "ours.yaml: thresholds.site/switches: switches stand below `switches`",
    ),
    "an unknown rule": (
        "thresholds: {judgment/dose: {tolerance: 0.2}}",
        "ours.yaml: thresholds.judgment/dose: no rule has this id; write judgement/dose",
    ),
    "an unknown threshold": (
        "thresholds: {judgement/dose: {tolerence: 0.2}}",
        "ours.yaml: judgement/dose.tolerence: unknown key; write tolerance",
    ),
    "a threshold that is no number": (
        "thresholds: {judgement/dose: {tolerance: wide}}",
        "ours.yaml: judgement/dose: tolerance: Input should be a valid decimal",
    ),
    "a threshold out of range": (
        "thresholds: {judgement/dose: {tolerance: 2}}",
        "ours.yaml: judgement/dose: tolerance: Input should be less than 1",
    ),
    "a dose table": (
        "thresholds: {renal-dose/valganciclovir: {bands: []}}",
        "ours.yaml: renal-dose/valganciclovir.bands: only a single value can be changed here",
    ),
    "a whole group at once": (
        "thresholds: {kidney/function: {freshness_days: 5}}",
        "ours.yaml: kidney/function.freshness_days: write one `name: value` a line below it",
    ),
    "a source": (
        "thresholds: {judgement/dose: {cite: {section: ours}}}",
        "ours.yaml: judgement/dose.cite: unknown key",
    ),
    "a signature": ("thresholds: {judgement/dose: {reviewed: us}}", "ours.yaml: judgement/dose.reviewed: unknown key"),
    "a list at the top": ("- switches", "ours.yaml: write `switches:` and `thresholds:` at the top"),
    "a list of switches": ("switches: [maribavir_label]", "ours.yaml: switches: write one `name: value` a line"),
    "no YAML": ("switches: {", "ours.yaml: line"),
    "a key twice": ("switches: {a: b}\nswitches: {a: b}", "ours.yaml: line 2, column 1: the key `switches` is written"),
}


@pytest.mark.parametrize("slip", WRONG)
def test_a_slip_stops_the_start_with_file_key_and_remedy(slip: str, tmp_path: Path) -> None:
    text, message = WRONG[slip]
    file = tmp_path / "ours.yaml"
    file.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(overlay=file)
    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"none\.yaml: cannot be read"):
        load_knowledge(overlay=tmp_path / "none.yaml")


def test_an_empty_part_changes_nothing(tmp_path: Path, knowledge: Knowledge) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text("switches:\nthresholds:\n", encoding="utf-8")
    assert load_knowledge(overlay=file).judgement == knowledge.judgement
