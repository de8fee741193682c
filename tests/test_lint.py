"""`cdshooks lint`: what a site sends that cannot be used, each with the line that mends it; nothing of a patient."""

import json
import shutil
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from test_http import PATIENT_ID, order_sign, result

from cdshooks.cli import main
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.service import lint as linter

Json = dict[str, Any]
EVERYTHING = {
    "medications": None,
    "conditions": None,
    "allergies": None,
    "procedures": None,
    "reports": None,
    "counts": None,
    "electrolytes": None,
    "virology": None,
    "levels": None,
    "pregnancy": None,
}


def whole() -> Json:
    """A request with nothing to mend."""
    body = order_sign()
    body["prefetch"] |= EVERYTHING
    return body


def order_of(body: Json) -> Json:
    order: Json = body["context"]["draftOrders"]["entry"][0]["resource"]
    return order


def kidney(body: Json) -> list[Json]:
    entries: list[Json] = body["prefetch"]["kidney"]["entry"]
    return entries


@pytest.fixture
def lint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knowledge: Knowledge) -> Callable[..., Result]:
    monkeypatch.delenv("CDSHOOKS_CONFIG", raising=False)
    read = {None: knowledge}  # the built-in knowledge is read once for all these tests
    monkeypatch.setattr(
        linter, "load_knowledge", lambda folder, overlay: read.get(folder) or load_knowledge(folder, overlay)
    )

    def linted(*bodies: Json | bytes, config: str = "", client: str = "") -> Result:
        names = []
        for number, body in enumerate(bodies, 1):
            path = tmp_path / f"call-{number}.json"
            path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
            names.append(str(path))
        arguments = ["--today", "2026-03-02", *names]
        if config:
            (tmp_path / "cds.toml").write_text(config, encoding="utf-8")
            arguments += ["--config", str(tmp_path / "cds.toml")]
        return CliRunner().invoke(main, ["lint", *arguments, *(["--client", client] if client else [])])

    return linted


CLIENT = """
[[clients]]
name = "Hospital"
iss = "https://ehr.example.org"
jwks_file = "keys.json"
fhir_bases = ["https://ehr.example.org/r4"]
prefetch_keys = { "creat" = "kidney" }
"""


def test_a_request_that_can_be_used_whole_has_nothing_to_mend(lint: Callable[..., Result]) -> None:
    done = lint(whole())
    assert (done.exit_code, done.output) == (0, "1 request read: nothing to mend\n")


def changed(change: Callable[[Json], Any]) -> Json:
    body = whole()
    change(body)
    return body


def local_drug(body: Json, **concept: Any) -> None:
    order_of(body)["medicationCodeableConcept"] = concept


def recoded(body: Json, system: str, code: str, display: str = "") -> None:
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    kidney(body)[0]["resource"]["code"] = {"coding": [coding]}


def condition(code: Json) -> Json:
    resource = {"resourceType": "Condition", "subject": {"reference": f"Patient/{PATIENT_ID}"}, "code": code}
    return {"resourceType": "Bundle", "entry": [{"resource": resource}]}


CASES: dict[str, tuple[Callable[[Json], Any], str, str]] = {
    "local result code": (
        lambda body: recoded(body, "urn:oid:1.2.3", "KREA", 'Creatinine, "serum"'),
        'result code KREA of urn:oid:1.2.3 (Creatinine, "serum") is unknown',
        'urn:oid:1.2.3,KREA,"Creatinine, ""serum""",http://loinc.org,LOINC CODE OF THIS TEST,',
    ),
    "result without a code": (
        lambda body: kidney(body)[0]["resource"].update(code={"text": "Creatinine"}),
        "a result has no code (its text speaks of serum creatinine)",
        "send Observation.code.coding with a LOINC code",
    ),
    "no unit": (
        lambda body: kidney(body)[0]["resource"].update(valueQuantity={"value": 2.4}),
        "serum creatinine comes without a unit",
        'send valueQuantity.unit, such as "mg/dL"',
    ),
    "unknown unit": (
        lambda body: kidney(body)[0]["resource"].update(valueQuantity={"value": 2.4, "unit": "mg%x"}),
        'serum creatinine is not used: unknown unit "mg%x"',
        "text,mg%x,mg%x,creatinine,non-ucum-spelling,no,SOURCE,mg/dL,multiply,FACTOR,,,",
    ),
    "dose in text alone": (
        lambda body: order_of(body).update(dosageInstruction=[{"text": "900 mg by mouth twice daily"}]),
        "the dose stands in the text alone",
        "send dosageInstruction.doseAndRate.doseQuantity",
    ),
    "dose that cannot be read": (
        lambda body: order_of(body)["dosageInstruction"][0].update(doseAndRate=[{"doseQuantity": {"value": 900}}]),
        "a dose has no unit",
        "send doseQuantity.unit",
    ),
    "local drug code with a name": (
        lambda body: local_drug(body, coding=[{"system": "urn:site", "code": "4711", "display": "Valcyte 450 mg tab"}]),
        "drug code 4711 of urn:site (Valcyte 450 mg tab) is unknown",
        "urn:site,4711,Valcyte 450 mg tab,http://www.nlm.nih.gov/research/umls/rxnorm,RXNORM CODE OF THIS PRODUCT,",
    ),
    "local drug code alone": (
        lambda body: local_drug(body, coding=[{"system": "urn:site", "code": "4711"}]),
        "drug code 4711 of urn:site is unknown and comes without a name",
        "urn:site,4711,,http://www.nlm.nih.gov/research/umls/rxnorm,RXNORM CODE OF THIS PRODUCT,",
    ),
    "drug name alone": (
        lambda body: local_drug(body, text="Valganciclovir 450 mg tablet"),
        "an order of valganciclovir has no drug code",
        "send medicationCodeableConcept.coding with an RxNorm code",
    ),
    "no drug": (
        lambda body: order_of(body).pop("medicationCodeableConcept"),
        "an order says nothing of its drug",
        "send medicationCodeableConcept",
    ),
    "route code": (
        lambda body: order_of(body)["dosageInstruction"][0].update(
            route={"coding": [{"system": "urn:site", "code": "99", "display": "way 3"}]}
        ),
        "route 99 of urn:site (way 3) is unknown",
        "urn:site,99,way 3,ROUTE,route,no,SOURCE,,,,,,,",
    ),
    "unknown prefetch key": (
        lambda body: body["prefetch"].update(myLabs=body["prefetch"]["kidney"]),
        'prefetch key "myLabs" is not known',
        'prefetch_keys = { "myLabs" = "kidney" }',
    ),
    "unknown prefetch key, empty": (
        lambda body: body["prefetch"].update(odd=None),
        'prefetch key "odd" is not known',
        'prefetch_keys = { "odd" = "ONE OF patient, medications,',
    ),
    "key not sent": (
        lambda body: body["prefetch"].pop("conditions"),
        'prefetch "conditions" is not sent with an order of a CMV drug',
        'the query published at /cds-services under "conditions"',
    ),
    "key that failed": (
        lambda body: body["prefetch"].update(conditions={"resourceType": "OperationOutcome"}),
        'prefetch "conditions" could not be fetched by the client',
        'under "conditions"',
    ),
    "key without FHIR": (
        lambda body: body["prefetch"].update(conditions="nothing"),
        'prefetch key "conditions" is no FHIR data',
        "",
    ),
    "local diagnosis code": (
        lambda body: body["prefetch"].update(conditions=condition({"coding": [{"system": "urn:dx", "code": "A1"}]})),
        "diagnosis code A1 of urn:dx is unknown",
        "urn:dx,A1,,http://snomed.info/sct,",
    ),
    "fhirServer": (
        lambda body: body.update(fhirServer="https://other.example.org/r4/"),
        'fhirServer "https://other.example.org/r4" is not on the list',
        'fhir_bases = ["https://other.example.org/r4"]',
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_used_is_said_with_the_line_that_mends_it(lint: Callable[..., Result], name: str) -> None:
    change, what, line = CASES[name]
    done = lint(changed(change))
    assert done.exit_code == 1
    assert f"1 x {what}" in done.output
    assert line in done.output
    assert done.output.endswith("to mend\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda body: recoded(body, "http://loinc.org", "8867-4", "Heart rate"),
        lambda body: body["prefetch"].update(
            conditions=condition({"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]})
        ),
        lambda body: local_drug(body, text="Amoxicillin 500 mg capsule"),
        lambda body: local_drug(body, coding=[{"system": "urn:site", "code": "7", "display": "Amoxicillin"}]),
        lambda body: kidney(body)[0]["resource"]["valueQuantity"].update(value=9999),
        lambda body: kidney(body).append(result("old", "2160-0", 2.4, "mg/dL")),
    ],
    ids=["other test", "other diagnosis", "other drug", "other local drug", "implausible", "older result"],
)
def test_what_needs_no_mending_is_passed_over(lint: Callable[..., Result], change: Callable[[Json], Any]) -> None:
    done = lint(changed(change))
    assert (done.exit_code, done.output) == (0, "1 request read: nothing to mend\n")


def test_keys_that_an_irrelevant_call_leaves_out_are_passed_over(lint: Callable[..., Result]) -> None:
    body = whole() | {"prefetch": {}}
    local_drug(body, text="Amoxicillin 500 mg capsule")
    assert lint(body).exit_code == 0


def test_the_same_thing_in_many_requests_is_one_remark_with_its_count(lint: Callable[..., Result]) -> None:
    body = changed(CASES["local result code"][0])
    done = lint(whole(), body, body, changed(CASES["no unit"][0]))
    lines = done.output.splitlines()
    assert lines[0].startswith("2 x result code KREA")
    assert any("first in" in line and "call-2.json" in line for line in lines)
    assert lines[-1] == "4 requests read: 2 to mend"


def test_the_clients_entry_is_heeded(lint: Callable[..., Result]) -> None:
    body = whole() | {"fhirServer": "https://ehr.example.org/r4"}
    body["prefetch"]["creat"] = body["prefetch"].pop("kidney")
    assert lint(body).exit_code == 1
    assert lint(body, config=CLIENT).exit_code == 0
    two = CLIENT + CLIENT.replace("Hospital", "Clinic").replace("ehr.", "clinic.").replace('"creat" = "kidney"', "")
    assert lint(body, config=two, client="Hospital").exit_code == 0
    assert lint(body, config=two, client="Clinic").exit_code == 1
    assert "--client: name one of Hospital, Clinic" in lint(body, config=two).output
    assert "no such client" in lint(body, config=two, client="Other").output


def test_what_is_no_hook_request_is_said_and_does_not_hide_the_rest(lint: Callable[..., Result]) -> None:
    done = lint(b"{", b'{"hook": "other-hook"}', changed(CASES["no unit"][0]))
    assert done.exit_code == 2
    assert "call-1.json: no hook request: not JSON" in done.output
    assert "call-2.json: no hook request: no service answers this hook" in done.output
    assert "serum creatinine comes without a unit" in done.output


def test_nothing_of_a_patient_is_printed(lint: Callable[..., Result]) -> None:
    def everything(body: Json) -> None:
        for name, (change, _, _) in CASES.items():
            if name not in ("no drug", "drug name alone", "local drug code alone", "key not sent", "key that failed"):
                change(body)
        order_of(body)["dosageInstruction"][0]["text"] = "for Ignatius Quetzalcoatlus, born 1961-05-04"

    done = lint(changed(everything))
    for word in (PATIENT_ID, "Quetzalcoatlus", "Ignatius", "1961", "2.4", "2026-03-01", "Practitioner"):
        assert word not in done.output, word


def test_what_came_in_a_request_does_not_steer_the_terminal(lint: Callable[..., Result]) -> None:
    body = changed(lambda body: recoded(body, "urn:x", "\x1b[31mred", "[bold]x[/bold]\x07"))
    output = lint(body).output
    assert "\x1b" not in output
    assert "\x07" not in output
    assert "[bold]x[/bold]?" in output


def test_the_printed_line_mends_it(lint: Callable[..., Result], tmp_path: Path) -> None:
    body = changed(CASES["local result code"][0])
    line = next(line for line in lint(body).output.splitlines() if "LOINC CODE OF THIS TEST" in line)
    with as_file(files("cdshooks.mappings")) as mappings:
        shutil.copytree(mappings, tmp_path / "own")
    with (tmp_path / "own" / "codes" / "local.csv").open("a", encoding="utf-8") as table:
        table.write(line.strip().replace("LOINC CODE OF THIS TEST", "2160-0") + "\n")
    assert lint(body, config='mappings = "own"').exit_code == 0
    checked = CliRunner().invoke(main, ["knowledge", "check", str(tmp_path / "own")])
    assert checked.exit_code == 0


def test_a_line_for_a_code_that_nobody_knows_stops_the_start(tmp_path: Path) -> None:
    with as_file(files("cdshooks.mappings")) as mappings:
        shutil.copytree(mappings, tmp_path / "own")
    with (tmp_path / "own" / "codes" / "local.csv").open("a", encoding="utf-8") as table:
        table.write("urn:x,1,,http://loinc.org,0-0,\n")
    checked = CliRunner().invoke(main, ["knowledge", "check", str(tmp_path / "own")])
    assert checked.exit_code == 2
    assert "mappings/codes/local.csv: row 2: 0-0 of http://loinc.org is in none of the tables here" in checked.output
