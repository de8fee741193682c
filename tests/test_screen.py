"""`cdshooks screen`: a Bulk Data export in, a work list out. The verdicts are those of patient-view."""

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import date
from io import StringIO
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from conftest import Judge
from scenario import Json, Scenario, load_scenarios, render

from cdshooks.cli import main
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.wire.fhir import subject_of

TODAY = date(2026, 11, 21)
SCENARIOS = [scenario for scenario in load_scenarios() if scenario.today == TODAY][::5]
OBSERVATIONS = "observations"
KEYS = {
    "MedicationRequest": "medications",
    "Observation": OBSERVATIONS,
    "Condition": "conditions",
    "AllergyIntolerance": "allergies",
    "Procedure": "procedures",
    "DiagnosticReport": "reports",
}


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch, knowledge: Knowledge) -> None:
    """The built-in knowledge, not read anew for every run; the last test does without."""
    monkeypatch.setattr("cdshooks.service.screen.load_knowledge", lambda *_: knowledge)


def run(*arguments: str | Path) -> Result:
    command = ["screen", *map(str, arguments), "--today", TODAY.isoformat()]
    return CliRunner().invoke(main, command, env={"COLUMNS": "160"})


def work_list(*arguments: str | Path) -> Json:
    done = run(*arguments, "--json")
    assert done.exit_code in (0, 1, 2), done.output
    found: Json = json.loads(done.stdout)
    return found


def lines(resources: Iterable[Json]) -> bytes:
    return b"".join(orjson.dumps(resource) + b"\n" for resource in resources)


def person(name: str = "one") -> Json:
    return {"resourceType": "Patient", "id": name, "gender": "male", "birthDate": "1961-05-04"}


def order(drug: str = "valganciclovir 450 mg tablet", patient: str = "Patient/one", **more: object) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": f"order-{patient.rpartition('/')[2]}",
        "status": "active",
        "intent": "order",
        "subject": {"reference": patient},
        "medicationCodeableConcept": {"text": drug},
        "reasonCode": [{"text": "CMV prophylaxis"}],
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 900, "unit": "mg"}}],
            }
        ],
        **more,
    }


def result(loinc: str, value: float, unit: str, patient: str = "Patient/one", **more: object) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"{loinc}-{patient.rpartition('/')[2]}",
        "status": "final",
        "subject": {"reference": patient},
        "effectiveDateTime": "2026-11-20",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "valueQuantity": {"value": value, "unit": unit},
        **more,
    }


def kidney(creatinine: float, patient: str = "Patient/one") -> list[Json]:
    return [result("2160-0", creatinine, "mg/dL", patient), result("29463-7", 70, "kg", patient)]


def export(folder: Path, *resources: Json) -> Path:
    """One file a type, as servers write them."""
    folder.mkdir(exist_ok=True)
    for kind in dict.fromkeys(resource["resourceType"] for resource in resources):
        found = lines(resource for resource in resources if resource["resourceType"] == kind)
        (folder / f"{kind}.000.ndjson").write_bytes(found)
    return folder


def topics(found: Json, patient: str = "Patient/one") -> dict[str, str]:
    return {row["topic"]: row["indicator"] for row in found["worklist"] if row["patient"] == patient}


# ---- the same verdicts


def resources_of(scenario: Scenario, name: str) -> list[Json]:
    """All that a scenario holds, as the record of a patient of that name; what is ordered is being taken."""
    request = render(scenario)
    mine = request["context"]["patientId"]
    given = [request["context"].get(name) for name in ("draftOrders", "medications")]
    found = []
    for value in (*request["prefetch"].values(), *given):
        entries = value.get("entry", [{"resource": value}]) if isinstance(value, dict) else []
        found += [entry["resource"] for entry in entries if "resourceType" in entry.get("resource", {})]
    renamed: list[Json] = json.loads(json.dumps(found).replace(f'"Patient/{mine}"', f'"Patient/{name}"'))
    kept = []
    for resource in renamed:
        if resource["resourceType"] == "Patient" and resource.get("id") == mine:
            kept.append(resource | {"id": name})
        elif resource["resourceType"] in KEYS and subject_of(resource) == name:
            running = {"status": "active"} if resource.get("status") == "draft" else {}
            kept.append(resource | {"id": f"{name}-{resource.get('id', '')}"} | running)
    return list({(r["resourceType"], r["id"]): r for r in kept}.values())


def chart_call(resources: list[Json], name: str) -> Json:
    """The same record as the hook request of an opened chart."""
    prefetch: Json = {"patient": next((r for r in resources if r["id"] == name), None)}
    for kind, key in KEYS.items():
        entries = [{"resource": resource} for resource in resources if resource["resourceType"] == kind]
        prefetch[key] = {"resourceType": "Bundle", "type": "searchset", "entry": entries} if entries else None
    context = {"userId": "Practitioner/x", "patientId": name}
    return {"hook": "patient-view", "hookInstance": "x", "context": context, "prefetch": prefetch}


def test_every_patient_gets_the_cards_of_an_opened_chart(tmp_path: Path, judge: Judge) -> None:
    records = {f"p{number}": resources_of(scenario, f"p{number}") for number, scenario in enumerate(SCENARIOS)}
    every_type = export(tmp_path / "export", *(r for record in records.values() for r in record))
    assert len(list(every_type.iterdir())) == len(KEYS) + 1
    found: dict[str, list[tuple[str, str, str]]] = {name: [] for name in records}
    for row in work_list(every_type)["worklist"]:
        found[row["patient"].removeprefix("Patient/")].append((row["indicator"], row["topic"], row["summary"]))
    silent = 0
    for name, record in records.items():
        cards = judge(chart_call(record, name), TODAY).cards
        told = [(card["indicator"], card["source"]["topic"]["code"], card["summary"]) for card in cards]
        assert sorted(found[name]) == sorted(told), name
        silent += not told
    assert 30 < silent < len(records) - 100


# ---- the list


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """Three patients on valganciclovir 900 mg: one right, one with too much; one on something else."""
    people = [person(name) for name in ("one", "two", "three")]
    orders = [order(patient="Patient/two"), order(), order("lisinopril 10 mg tablet", "Patient/three")]
    results = [*kidney(2.6), *kidney(0.9, "Patient/two"), *kidney(3.0, "Patient/three")]
    others = [result("751-8", 3.1, "10*3/uL"), result("751-8", 3.1, "10*3/uL", "Patient/two")]
    return export(tmp_path / "ward", *people, *orders, *results, *others)


def test_a_dose_that_no_longer_fits_stands_at_the_top(ward: Path) -> None:
    found = work_list(ward)
    assert (found["patients"], found["judged"], found["problems"]) == (3, 2, [])
    first = found["worklist"][0]
    assert first["patient"] == "Patient/one"
    assert (first["indicator"], first["drug"], first["topic"]) == ("critical", "valganciclovir", "renalDose")
    assert first["order"] == "MedicationRequest/order-one"
    assert first["rules"].split()[0] == "renal-dose/valganciclovir"
    assert first["card"]["summary"] == first["summary"]
    assert "Patient/three" not in {row["patient"] for row in found["worklist"]}
    ranks = [("critical", "warning", "info").index(row["indicator"]) for row in found["worklist"]]
    assert ranks == sorted(ranks)
    assert "renalDose" not in topics(found, "Patient/two")


def test_the_table_names_patient_drug_topic_and_what_is_wrong(ward: Path) -> None:
    done = run(ward)
    assert done.exit_code == 1
    row = next(line for line in done.stdout.splitlines() if "CRITICAL" in line)
    assert "Patient/one" in row
    assert "valganciclovir" in row
    assert "renalDose" in done.stdout
    assert "3 patients, 2 on a CMV drug" in done.stdout
    assert "as of 2026-11-21" in done.stdout


def test_csv_has_a_line_a_card_and_no_formula(ward: Path) -> None:
    subject = {"subject": {"reference": "=HYPERLINK(1)/Patient/one"}}
    (ward / "MedicationRequest.000.ndjson").write_bytes(lines([order() | subject]))
    done = run(ward, "--csv")
    rows = list(csv.DictReader(StringIO(done.stdout)))
    assert len(rows) == len(work_list(ward)["worklist"]) > 0
    assert {row["patient"] for row in rows} == {"'=HYPERLINK(1)/Patient/one"}
    assert (rows[0]["indicator"], rows[0]["topic"]) == ("critical", "renalDose")


@pytest.mark.parametrize(("creatinine", "code"), [(0.9, 0), (2.6, 1)])
def test_the_exit_code_tells_of_a_critical_card(tmp_path: Path, creatinine: float, code: int) -> None:
    folder = export(tmp_path / "export", person(), order(), *kidney(creatinine))
    assert run(folder).exit_code == code


def test_the_reference_is_the_one_of_the_export(tmp_path: Path) -> None:
    absolute = "https://ehr.example.org/r4/Patient/one"
    results = [entry | {"subject": {"reference": absolute}} for entry in kidney(2.6)]
    folder = export(tmp_path / "export", person(), order(patient=absolute), *results)
    assert topics(work_list(folder), absolute)["renalDose"] == "critical"


# ---- how exports come


def test_several_files_a_type_packed_or_not_in_folders_below(tmp_path: Path, ward: Path) -> None:
    expected = work_list(ward)["worklist"]
    split = tmp_path / "split"
    (split / "part").mkdir(parents=True)
    for path in ward.iterdir():
        content = path.read_bytes().splitlines(keepends=True)
        (split / "part" / path.name).write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(content[::2]) + b"\n\n")
        (split / f"more-{path.name}.gz").write_bytes(gzip.compress(b"".join(content[1::2])))
    (split / "log.ndjson").write_text('{"exportId": "1", "eventId": "kickoff"}\n', encoding="utf-8")
    (split / "manifest.json").write_text('{"output": []}', encoding="utf-8")
    found = work_list(split)
    assert found["problems"] == []
    assert found["worklist"] == expected
    assert work_list(*sorted(ward.iterdir()))["worklist"] == expected


def test_files_by_patient_hold_all_types(tmp_path: Path) -> None:
    header = {"resourceType": "Parameters", "parameter": [{"name": "header"}]}
    (tmp_path / "one.ndjson").write_bytes(lines([header, *kidney(2.6), person(), order()]))
    assert topics(work_list(tmp_path))["renalDose"] == "critical"


def test_a_drug_may_be_named_by_a_medication_that_comes_later(tmp_path: Path) -> None:
    pointing = order() | {"medicationReference": {"reference": "Medication/m"}}
    del pointing["medicationCodeableConcept"]
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "valganciclovir 450 mg tablet"}}
    folder = export(tmp_path / "export", person(), *kidney(2.6), pointing, medication)
    assert topics(work_list(folder))["renalDose"] == "critical"
    (folder / "Medication.000.ndjson").unlink()
    done = run(folder)
    assert done.exit_code == 2
    assert "orders not judged: 1 name no drug; export the type Medication too" in done.stderr


def test_the_newest_version_counts_where_exports_are_put_together(tmp_path: Path) -> None:
    def version(creatinine: float, updated: str) -> Json:
        return kidney(creatinine)[0] | {"meta": {"lastUpdated": updated}}

    rest = [person(), order(), kidney(0.9)[1]]
    newer, older = version(2.6, "2026-11-20T12:00:00+01:00"), version(0.9, "2026-11-20T10:59:59Z")
    for first, second in ((newer, older), (older, newer)):
        assert topics(work_list(export(tmp_path / "export", *rest, first, second)))["renalDose"] == "critical"


def test_deletions_are_not_applied_and_that_is_said(ward: Path) -> None:
    (ward / "deleted").mkdir()
    entry = {"request": {"method": "DELETE", "url": "Observation/1"}}
    (ward / "deleted" / "1.ndjson").write_bytes(
        lines([{"resourceType": "Bundle", "type": "transaction", "entry": [entry]}])
    )
    (problem,) = work_list(ward)["problems"]
    assert (problem["line"], problem["what"]) == (1, "a Bundle; deletions are not applied: screen a full export")


# ---- what is missing, and what cannot be read


def test_a_type_that_was_not_exported_is_not_none_on_file(tmp_path: Path) -> None:
    without = work_list(export(tmp_path / "a", person(), order()))
    nothing = work_list(export(tmp_path / "b", person(), order(), result("2345-7", 90, "mg/dL")))
    said = [
        " ".join(row["summary"] + row["card"]["detail"] for row in found["worklist"]) for found in (without, nothing)
    ]
    assert "not sent" in said[0]
    assert "creatinine (none on file" not in said[0]
    assert "none on file" in said[1]


def test_an_export_without_medication_lists_is_not_all_is_well(tmp_path: Path) -> None:
    done = run(export(tmp_path / "export", person(), *kidney(2.6)))
    assert done.exit_code == 2
    assert "no medication list in the export: nobody is judged; export MedicationRequest or" in done.stderr


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("cdshooks.medicine.checks.CHECKS", "the check 'renal dose' could not be run (ZeroDivisionError)"),
        ("cdshooks.service.screen.evaluate", "not judged: an error in this program (ZeroDivisionError)"),
    ],
)
def test_a_defect_is_named_and_costs_nothing_else(
    ward: Path, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(where, broken if where.endswith("evaluate") else (("renal dose", broken),))
    done = run(ward)
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [f"Patient/{name}: {said}" for name in ("one", "two")]
    assert "3 patients, 2 on a CMV drug" in done.stdout


def test_lines_that_cannot_be_used_are_named_and_the_rest_is_judged(ward: Path) -> None:
    path = ward / "Observation.000.ndjson"
    nested = b"[" * 99 + b"]" * 99
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    bad = [b'{"resourceType": "Observation", "id": ', b"[]", b"{}", nested]
    bad += [lines([result("2160-0", 1, "mg/dL") | {"subject": {"display": "somebody"}}]).strip()]
    path.write_bytes(path.read_bytes() + b"\n".join(bad) + b"\n")
    (ward / "errors.ndjson").write_bytes(lines([outcome, outcome | {"issue": [{"severity": "information"}]}]))
    number = len(path.read_bytes().splitlines()) - len(bad)
    done = run(ward)
    assert done.exit_code == 2
    told = [
        "the line is no JSON",
        "the line is no FHIR resource",
        "the line is no FHIR resource",
        "the line is nested deeper than 64 levels",
        "the Observation names no patient by reference",
    ]
    for line, what in enumerate(told, number + 1):
        assert f"{path}:{line}: {what}" in done.stderr
    assert "errors.ndjson:1: the export itself reports an error here" in done.stderr
    assert "errors.ndjson:2" not in done.stderr
    assert topics(work_list(ward))["renalDose"] == "critical"


def test_a_broken_line_shows_on_the_list_of_the_patient_it_names(ward: Path) -> None:
    before = work_list(ward)
    assert "is no FHIR resource" not in json.dumps(before["worklist"])
    path = ward / "Observation.000.ndjson"
    cut = orjson.dumps(result("2160-0", 4.4, "mg/dL"))[:-10]
    path.write_bytes(path.read_bytes() + cut)
    found = work_list(ward)
    assert len(found["problems"]) == 1
    told = [row["patient"] for row in found["worklist"] if "is no FHIR resource" in json.dumps(row)]
    assert set(told) == {"Patient/one"}
    assert topics(found, "Patient/two") == topics(before, "Patient/two")


def test_a_line_over_the_limit_is_named_and_the_next_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSHOOKS_LIMITS_BODY_MB", "1")
    folder = export(tmp_path / "export", person(), order())
    (folder / "Observation.ndjson").write_bytes(
        lines([result("2160-0", 1, "mg/dL", note=[{"text": "x" * 3_000_000}]), *kidney(2.6)])
    )
    found = work_list(folder)
    assert [(one["line"], one["what"]) for one in found["problems"]] == [
        (1, "the line is over 1048576 bytes (limits.body_mb)")
    ]
    assert topics(found)["renalDose"] == "critical"


def test_many_broken_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b"nonsense\n" * 250)
    done = run(tmp_path)
    assert done.exit_code == 2
    assert done.stderr.count("the line is no JSON") == 100
    assert f"{tmp_path / 'x.ndjson'}: 150 further lines cannot be used" in done.stderr


@pytest.mark.parametrize("content", [gzip.compress(b"{}\n" * 9999)[:-30], b"\x1f\x8bno gzip"], ids=["cut", "no gzip"])
def test_a_broken_packed_file_is_named(ward: Path, content: bytes) -> None:
    (ward / "Condition.ndjson.gz").write_bytes(content)
    done = run(ward)
    assert done.exit_code == 2
    assert "Condition.ndjson.gz" in done.stderr
    assert "CRITICAL" in done.stdout


def test_a_file_that_is_not_there_is_named(ward: Path) -> None:
    done = run(ward, ward / "Condition.ndjson")
    assert done.exit_code == 2
    assert f"{ward / 'Condition.ndjson'}: cannot be read" in done.stderr


def test_a_folder_without_an_export_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing", encoding="utf-8")
    done = run(tmp_path)
    assert done.exit_code == 2
    assert "no *.ndjson, *.jsonl, *.ndjson.gz, *.jsonl.gz in it" in done.stderr


def test_a_temporary_folder_that_is_full_says_so(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdshooks.service.screen._CACHE", "PRAGMA max_page_count = 3")
    done = run(ward)
    assert done.exit_code == 2
    assert "the temporary database cannot be written" in done.stderr
    assert "TMPDIR" in done.stderr


# ---- as a process


def test_nothing_is_left_behind_and_progress_keeps_out_of_the_output(ward: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "cdshooks.cli", "screen", str(ward), "--json", "--today", TODAY.isoformat()]
    environment = {**os.environ, "TMPDIR": str(empty), "FORCE_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=empty, env=environment, timeout=60, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["judged"] == 2
    assert "Judging" in done.stderr
    assert list(empty.iterdir()) == []
