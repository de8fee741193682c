"""`cdshooks knowledge export`: valid FHIR, nothing of the knowledge lost, nothing claimed that nobody has checked."""

import base64
import csv
import json
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scenario import Json

from cdshooks.cli import main
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.dose import DoseRule
from cdshooks.medicine.rules.renal_dose import RenalDoseRule, TableRegimen

OWN = "urn:cmv-cds:"


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["knowledge", "export", *arguments], env=environment)


@pytest.fixture(scope="module")
def exported() -> list[Json]:
    done = run()
    assert done.exit_code == 0, done.output
    bundle = json.loads(done.stdout)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    validated("bundle", bundle)
    return [entry["resource"] for entry in bundle["entry"]]


def validated(module: str, resource: Json) -> None:
    kind = getattr(import_module(f"fhir.resources.R4B.{module}"), resource["resourceType"])
    kind.model_validate(resource)


def of_type(resources: list[Json], kind: str) -> list[Json]:
    return [resource for resource in resources if resource["resourceType"] == kind]


def test_every_resource_is_valid_has_an_address_and_is_a_draft(exported: list[Json], knowledge: Knowledge) -> None:
    for resource in exported:
        validated(resource["resourceType"].lower(), resource)
        assert (resource["status"], resource["experimental"]) == ("draft", True)
        assert resource["version"] == knowledge.version
        assert re.fullmatch(r"[A-Z][A-Za-z0-9_]{0,254}", resource["name"])
        assert knowledge.cards.note in resource.get("usage", "") + resource["description"]
    for key in ("url", "name"):
        assert len({resource[key] for resource in exported}) == len(exported)
    assert len({(resource["resourceType"], resource["id"]) for resource in exported}) == len(exported)


def test_every_rule_is_a_plan_with_every_number_and_its_citations(exported: list[Json], knowledge: Knowledge) -> None:
    plans = {plan["identifier"][0]["value"]: plan for plan in of_type(exported, "PlanDefinition")}
    assert sorted(plans) == sorted(rule.id for rule in knowledge.rules)
    for rule in knowledge.rules:
        plan = plans[rule.id]
        assert plan["title"] == rule.title
        assert plan["usage"].startswith("Reviewed: none.")
        assert plan["relatedArtifact"]
        shown = CliRunner().invoke(main, ["knowledge", "show", rule.id]).stdout if rule.id.startswith("renal") else ""
        assert shown.strip() in plan["description"]
        for artifact in plan["relatedArtifact"]:
            assert any(artifact["display"] == source.title for source in knowledge.sources.values())


def regimens_of(rule: RenalDoseRule | DoseRule) -> Iterator[tuple[TableRegimen, str]]:
    if isinstance(rule, DoseRule):
        yield from ((regimen, "") for row in rule.rows for regimen in row.regimens)
        return
    for row in (*rule.bands, *rule.dialysis):
        yield from ((regimen, "treatment") for regimen in row.treatment)
        yield from ((regimen, "stable") for regimen in row.stable)


def test_every_regimen_of_a_table_is_an_activity(exported: list[Json], knowledge: Knowledge) -> None:
    activities = of_type(exported, "ActivityDefinition")
    tables: tuple[RenalDoseRule | DoseRule, ...] = (*knowledge.renal_dose, *knowledge.dose)
    for rule in tables:
        own = [one for one in activities if one["url"].startswith(f"{OWN}ActivityDefinition:{rule.id}/")]
        expected = list(regimens_of(rule))
        assert len(own) == len(expected)
        for one, (regimen, phase) in zip(own, expected, strict=True):
            (dosage,) = one["dosage"]
            quantity, repeat = dosage["doseAndRate"][0]["doseQuantity"], dosage["timing"]["repeat"]
            assert (Decimal(str(quantity["value"])), quantity["code"]) == regimen.dose
            assert (Decimal(str(repeat["period"])), repeat["periodUnit"]) == regimen.span
            assert repeat["frequency"] == regimen.frequency
            assert ("additionalInstruction" in dosage) is regimen.after_dialysis
            contexts = {context["code"]["code"]: context for context in one.get("useContext", ())}
            assert not phase or contexts["phase"]["valueCodeableConcept"]["text"] == phase
            assert one["relatedArtifact"]
    assert len(activities) > 50


def test_the_bands_of_kidney_function_meet(exported: list[Json], knowledge: Knowledge) -> None:
    """Both ends of a range count, so a band ends one step below the next."""
    for table in knowledge.renal_dose:
        prefix = f"{OWN}ActivityDefinition:{table.id}/"
        ranges = {}
        for one in of_type(exported, "ActivityDefinition"):
            for context in one["useContext"] if one["url"].startswith(prefix) else ():
                if context["code"]["code"] == "clearance":
                    found = context["valueRange"]
                    high = found.get("high", {}).get("value")
                    ranges[Decimal(str(found["low"]["value"]))] = None if high is None else Decimal(str(high))
                    assert found["low"]["code"] == table.measure
        with_doses = [band.at_least for band in table.bands if band.treatment]
        assert sorted(ranges) == sorted(with_doses)
        for above, below in pairwise(with_doses):
            assert ranges[below] == above - table.step
        assert ranges[with_doses[0]] is None


def test_a_site_s_choice_and_every_other_condition_stand_in_the_plan(exported: list[Json]) -> None:
    (plan,) = [one for one in of_type(exported, "PlanDefinition") if one["url"].endswith(":dose/maribavir")]
    said = [step["condition"][0]["expression"]["expression"] for step in plan["action"][0]["action"]]
    assert any("switch maribavir_label: eu" in text and "with drugs: carbamazepine" in text for text in said)
    assert any("years below: 12" in text for text in said)
    assert said[-1].endswith("in every other case")


def test_what_is_pointed_at_is_there(exported: list[Json]) -> None:
    addresses = {resource["url"] for resource in exported}
    text = json.dumps(exported)
    pointed = re.findall(r'"definitionCanonical": "([^"]+)"', text)
    assert sorted(pointed) == sorted(one["url"] for one in of_type(exported, "ActivityDefinition"))
    first = exported[0]
    listed = [one["resource"].partition("|") for one in first["relatedArtifact"] if one["type"] == "composed-of"]
    assert {address for address, _, _ in listed} == addresses - {first["url"]}
    assert {version for _, _, version in listed} == {first["version"]}


def test_every_source_is_cited_by_the_whole(exported: list[Json], knowledge: Knowledge) -> None:
    cited = [one["display"] for one in exported[0]["relatedArtifact"] if one["type"] == "citation"]
    assert cited == [source.title for source in knowledge.sources.values()]


def rows(name: str) -> list[dict[str, str]]:
    with (files("cdshooks.mappings") / "codes" / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_value_sets_hold_the_codes_of_the_tables_and_none_from_memory(exported: list[Json]) -> None:
    found: dict[str, set[tuple[str, str]]] = {}
    for one in of_type(exported, "ValueSet"):
        included = one["compose"]["include"]
        codes = {(part["system"], entry["code"]) for part in included for entry in part["concept"]}
        found[one["url"].removeprefix(f"{OWN}ValueSet:")] = codes
    memory = set()
    for name, kind in (("rxnorm.csv", "drug"), ("conditions.csv", "condition")):
        for row in rows(name):
            confirmed = row["confirmed"] == "yes"
            assert ((row["system"], row["code"]) in found.get(f"{kind}/{row['concept']}", ())) is confirmed
            memory |= set() if confirmed else {(row["system"], row["code"])}
    memory |= {(row["system"], row["code"]) for row in rows("loinc.csv") if row["confirmed"] != "yes"}
    assert len(memory) > 20
    assert not memory & set().union(*found.values())
    assert ("http://loinc.org", "2160-0") in found["result/creatinine"]
    assert ("http://loinc.org", "8634-8") not in set().union(*found.values()), "QT is recognised, never used"


def test_owners_of_code_systems_are_named(exported: list[Json]) -> None:
    for one in of_type(exported, "ValueSet"):
        systems = {part["system"] for part in one["compose"]["include"]}
        assert ("Regenstrief" in one.get("copyright", "")) is ("http://loinc.org" in systems)
        assert ("SNOMED International" in one.get("copyright", "")) is ("http://snomed.info/sct" in systems)


def test_topics_and_reasons_are_code_systems(exported: list[Json], knowledge: Knowledge) -> None:
    topics, reasons = of_type(exported, "CodeSystem")
    assert topics["url"] == knowledge.cards.topic_system
    assert [one["code"] for one in topics["concept"]] == list(knowledge.cards.topics)
    assert reasons["url"] == knowledge.cards.reason_system


def test_the_mutations_travel_as_they_are(exported: list[Json]) -> None:
    (library,) = [one for one in of_type(exported, "Library") if one["id"] == "resistance"]
    for content in library["content"]:
        original = (files("cdshooks.mappings") / "resistance" / content["title"]).read_bytes()
        assert base64.b64decode(content["data"]) == original


def test_a_site_s_own_copy_codes_and_values_are_exported(tmp_path: Path) -> None:
    with as_file(files("cdshooks.mappings")) as built_in:
        own = Path(shutil.copytree(built_in, tmp_path / "own"))
    with (own / "codes" / "local.csv").open("a", encoding="utf-8") as stream:
        stream.write("urn:site:lab,KREA,Kreatinin,http://loinc.org,2160-0,\n")
    overlay = tmp_path / "site.yaml"
    overlay.write_text("switches: {maribavir_label: eu}\n", encoding="utf-8")
    done = run(CDSHOOKS_MAPPINGS=str(own), CDSHOOKS_OVERLAY=str(overlay))
    assert done.exit_code == 0, done.output
    resources = [entry["resource"] for entry in json.loads(done.stdout)["entry"]]
    assert "+site." in resources[0]["version"]
    (local,) = of_type(resources, "ConceptMap")
    validated("conceptmap", local)
    (group,) = local["group"]
    assert (group["source"], group["target"]) == ("urn:site:lab", "http://loinc.org")
    assert [(one["code"], one["target"][0]["code"]) for one in group["element"]] == [("KREA", "2160-0")]


def test_the_same_knowledge_gives_the_same_bytes_also_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "knowledge.json"
    done = run("--output", str(file))
    assert (done.exit_code, done.stdout) == (0, f"{file}\n")
    assert file.read_text(encoding="utf-8") == run().stdout


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    done = run("--output", str(tmp_path / "nowhere" / "x.json"))
    assert done.exit_code == 2
    assert "cannot be written (No such file or directory)" in done.stderr
