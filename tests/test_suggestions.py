"""A suggested draft is the client's own with its dose and timing mended, in its release; nothing else moves."""

from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from cdshooks.model import LabRequest, Proposal
from cdshooks.wire.fhir import RELEASES, FhirOrder
from cdshooks.wire.hooks import Json
from cdshooks.wire.suggestions import laboratory_order, mended_order

UCUM = "http://unitsofmeasure.org"
OLD: Json = {"value": 900, "unit": "mg", "system": UCUM, "code": "mg"}
PROPOSAL = Proposal(
    label="Change to 450 mg every 12 h",
    dose=Decimal(450),
    unit="mg",
    frequency=1,
    period=Decimal(12),
    period_unit="h",
    after_dialysis=False,
    wording="450 mg every 12 h",
)
NEW: Json = {"value": 450, "unit": "mg", "system": UCUM, "code": "mg"}
EARLY = ("DSTU2", "STU3")


def draft(release: str, dosage: Any, **fields: Any) -> Json:
    kind = "MedicationOrder" if release == "DSTU2" else "MedicationRequest"
    found: Json = {"resourceType": kind, "id": "d-1", "status": "draft"} | fields
    return found if dosage is None else found | {"dosageInstruction": dosage}


def mend(resource: Json, release: str = "R4", proposal: Proposal = PROPOSAL) -> Json:
    before = deepcopy(resource)
    found = mended_order(FhirOrder(resource, "draft 1", {}), proposal, release)
    assert resource == before, "the client's own draft was changed"
    return found


def dosage_of(resource: Json) -> Json:
    (found,) = resource["dosageInstruction"]
    assert isinstance(found, dict)
    return found


def old_dosage(release: str) -> Json:
    unit = "periodUnits" if release == "DSTU2" else "periodUnit"
    found: Json = {"timing": {"repeat": {"frequency": 1, "period": 24, unit: "h"}}}
    return found | ({"doseQuantity": OLD} if release in EARLY else {"doseAndRate": [{"doseQuantity": OLD}]})


# --------------------------------------------------------------------------------------------------------------------
# In each release


@pytest.mark.parametrize("release", RELEASES)
def test_dose_and_timing_in_the_release_that_came_in(release: str) -> None:
    found = dosage_of(mend(draft(release, [old_dosage(release)]), release))
    unit = "periodUnits" if release == "DSTU2" else "periodUnit"
    timing = {"repeat": {"frequency": 1, "period": 12, unit: "h"}}
    if release in EARLY:
        assert found == {"timing": timing, "doseQuantity": NEW}
    else:
        assert found == {"timing": timing, "doseAndRate": [{"doseQuantity": NEW}]}


@pytest.mark.parametrize("release", RELEASES)
def test_everything_beside_dose_and_timing_stays(release: str) -> None:
    beside = {
        "subject": {"reference": "Patient/p"},
        "medicationCodeableConcept": {"text": "Valcyte <b>"},
        "note": [{"text": "as it came: <script>"}],
        "contained": [{"resourceType": "Medication", "id": "m"}],
        "extension": [{"url": "https://ehr.example.org/x", "valueString": "kept"}],
        "dispenseRequest": {"numberOfRepeatsAllowed": 2},
        "unknown": None,
    }
    kept = {
        "route": {"text": "oral"},
        "sequence": 1,
        "asNeededBoolean": False,
        "additionalInstruction": [{"text": "with food"}],
        "extension": [{"url": "https://ehr.example.org/y", "valueInteger": 1}],
    }
    resource = draft(release, [old_dosage(release) | kept], **beside)
    found = mend(resource, release)
    assert {k: v for k, v in found.items() if k != "dosageInstruction"} == {
        k: v for k, v in resource.items() if k != "dosageInstruction"
    }
    changed = ("timing", "doseQuantity", "doseAndRate")
    assert {k: v for k, v in dosage_of(found).items() if k not in changed} == kept


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("given", [None, [], {}, [{}], "x", ["x"]])
def test_a_draft_without_a_dose_gets_one(release: str, given: Any) -> None:
    found = dosage_of(mend(draft(release, given), release))
    assert (found["doseQuantity"] if release in EARLY else found["doseAndRate"][0]["doseQuantity"]) == NEW
    assert found["timing"]["repeat"]["frequency"] == 1
    assert "text" not in found


# --------------------------------------------------------------------------------------------------------------------
# Forms of the old order


@pytest.mark.parametrize(
    "old",
    [
        {"doseQuantity": OLD},
        {"doseRange": {"low": OLD, "high": OLD}},
        {"doseSimpleQuantity": OLD},
        {"doseAndRate": [{"doseQuantity": OLD}]},
        {"doseQuantity": OLD, "doseRange": {"low": OLD}, "doseAndRate": [{"doseQuantity": OLD}]},
    ],
)
@pytest.mark.parametrize("release", ["STU3", "R4", "R5"])
def test_no_form_of_the_old_dose_is_left(release: str, old: Json) -> None:
    found = dosage_of(mend(draft(release, [old]), release))
    assert {k: v for k, v in found.items() if k != "timing"} == (
        {"doseQuantity": NEW} if release in EARLY else {"doseAndRate": [{"doseQuantity": NEW}]}
    )


def test_several_statements_of_one_dose_become_one() -> None:
    ordered = {"type": {"text": "ordered"}, "doseQuantity": OLD, "extension": [{"url": "x", "valueQuantity": OLD}]}
    calculated = {"type": {"text": "calculated"}, "doseQuantity": OLD}
    found = dosage_of(mend(draft("R4", [{"doseAndRate": [ordered, calculated]}])))
    assert found["doseAndRate"] == [{"type": {"text": "ordered"}, "doseQuantity": NEW}]


@pytest.mark.parametrize("dose", [{"doseQuantity": OLD}, {"doseRange": {"low": OLD, "high": OLD}}])
def test_the_entry_that_holds_the_dose_is_the_one_that_is_kept(dose: Json) -> None:
    rate = {"type": {"text": "calculated"}, "rateRatio": {"numerator": {"value": 1}}}
    found = dosage_of(mend(draft("R4", [{"doseAndRate": [rate, {"type": {"text": "ordered"}} | dose]}])))
    assert found["doseAndRate"] == [
        {"type": {"text": "ordered"}, "rateRatio": {"numerator": {"value": 1}}, "doseQuantity": NEW}
    ]


def test_without_a_dose_among_the_entries_the_first_is_kept() -> None:
    entries = [{"type": {"text": "ordered"}}, {"type": {"text": "calculated"}}]
    found = dosage_of(mend(draft("R4", [{"doseAndRate": entries}])))
    assert found["doseAndRate"] == [{"type": {"text": "ordered"}, "doseQuantity": NEW}]


def test_a_rate_of_infusion_stays() -> None:
    rate = {"value": 100, "unit": "mL/h"}
    found = dosage_of(mend(draft("R4", [{"doseAndRate": [{"doseQuantity": OLD}, {"rateQuantity": rate}]}])))
    assert found["doseAndRate"] == [{"doseQuantity": NEW, "rateQuantity": rate}]


def test_rates_that_are_one_object_become_an_array() -> None:
    found = dosage_of(mend(draft("R4", [{"doseAndRate": {"doseRange": {"low": OLD}}}])))
    assert found["doseAndRate"] == [{"doseQuantity": NEW}]


def test_a_vendors_extension_with_the_old_dose_goes_and_others_stay() -> None:
    dose = {"url": "https://ehr.example.org/ordered-dose", "valueQuantity": OLD}
    other = {"url": "https://ehr.example.org/other", "valueString": "x"}
    assert dosage_of(mend(draft("R4", [{"extension": [dose, other]}])))["extension"] == [other]
    assert "extension" not in dosage_of(mend(draft("R4", [{"extension": [dose]}])))


@pytest.mark.parametrize("at", [(0,), (1,), (0, 1)])
def test_of_several_instructions_those_that_are_meant_change(at: tuple[int, ...]) -> None:
    given = [{"sequence": 1, "route": {"text": "oral"}}, {"sequence": 2, "text": "then less"}]
    found = mend(draft("R4", given), proposal=replace(PROPOSAL, at=at))["dosageInstruction"]
    assert len(found) == 2
    for place, (new, old) in enumerate(zip(found, given, strict=True)):
        assert (new == old) == (place not in at)
        assert new | old == new, "nothing else is lost"


def test_the_statement_that_was_ordered_is_kept_before_one_that_was_calculated() -> None:
    calculated = {"type": {"coding": [{"code": "calculated"}]}, "doseQuantity": OLD}
    ordered = {"type": {"coding": [{"code": "ordered"}]}, "doseQuantity": OLD}
    found = dosage_of(mend(draft("R4", [{"doseAndRate": [calculated, ordered]}])))
    assert found["doseAndRate"] == [ordered | {"doseQuantity": NEW}]


def test_the_largest_dose_of_the_old_order_goes() -> None:
    limit = {"numerator": {"value": 450}, "denominator": {"value": 1}}
    old = {"maxDosePerPeriod": limit, "maxDosePerAdministration": OLD, "maxDosePerLifetime": OLD}
    found = dosage_of(mend(draft("R4", [old])))
    assert not found.keys() & {"maxDosePerPeriod", "maxDosePerAdministration"}
    assert found["maxDosePerLifetime"] == OLD


def test_an_instruction_that_is_no_array_becomes_one() -> None:
    assert dosage_of(mend(draft("R4", {"route": {"text": "oral"}})))["route"] == {"text": "oral"}


# --------------------------------------------------------------------------------------------------------------------
# Text and timing that restate the old dose


def test_texts_that_restate_the_old_dose_are_written_anew_or_go() -> None:
    old = {
        "text": " 900 mg daily ",
        "patientInstruction": "two tablets a day",
        "additionalInstruction": [{"text": "two tablets"}, {"coding": [{"display": "with food"}], "text": "with food"}],
    }
    texts = {"900 mg daily": "450 mg every 12 h", "two tablets a day": "one tablet every 12 h", "two tablets": ""}
    found = mend(draft("R4", [old], renderedDosageInstruction="900 mg daily"), proposal=replace(PROPOSAL, texts=texts))
    assert dosage_of(found)["text"] == "450 mg every 12 h"
    assert dosage_of(found)["patientInstruction"] == "one tablet every 12 h"
    assert dosage_of(found)["additionalInstruction"] == [{"coding": [{"display": "with food"}], "text": "with food"}]
    assert "renderedDosageInstruction" not in found


@pytest.mark.parametrize("name", ["additionalInstruction", "additionalInstructions"])
@pytest.mark.parametrize("given", [{"text": "two tablets"}, [{"text": "two tablets"}]])
def test_an_instruction_that_is_nothing_but_the_old_dose_goes(name: str, given: Any) -> None:
    found = mend(draft("R4", [{name: given}]), proposal=replace(PROPOSAL, texts={"two tablets": ""}))
    assert name not in dosage_of(found)


def test_words_that_say_nothing_of_the_dose_stay() -> None:
    old = {"text": "induction", "patientInstruction": "with food"}
    assert dosage_of(mend(draft("R4", [old]))) | old == dosage_of(mend(draft("R4", [old])))


def test_a_dose_after_dialysis_is_said_in_the_text() -> None:
    tied = replace(
        PROPOSAL,
        frequency=3,
        period=Decimal(1),
        period_unit="wk",
        after_dialysis=True,
        wording="1.25 mg/kg 3 times weekly after dialysis",
    )
    found = dosage_of(mend(draft("R4", [old_dosage("R4")]), proposal=tied))
    assert found["text"] == "1.25 mg/kg 3 times weekly after dialysis"
    assert found["timing"]["repeat"] == {"frequency": 3, "period": 1, "periodUnit": "wk"}


def test_the_bounds_of_the_order_stay_and_all_else_of_its_timing_goes() -> None:
    bounds = {"start": "2026-11-20", "end": "2026-12-20"}
    old = {
        "code": {"text": "QD"},
        "event": ["2026-11-21"],
        "repeat": {
            "boundsPeriod": bounds,
            "frequency": 4,
            "frequencyMax": 6,
            "period": 1,
            "periodMax": 2,
            "periodUnit": "d",
            "periodUnits": "d",
            "timeOfDay": ["08:00:00"],
            "dayOfWeek": ["mon"],
            "when": ["CM"],
            "offset": 30,
            "count": 5,
            "countMax": 9,
        },
    }
    found = dosage_of(mend(draft("R4", [{"timing": old}])))["timing"]
    assert found == {"repeat": {"boundsPeriod": bounds, "frequency": 1, "period": 12, "periodUnit": "h"}}


@pytest.mark.parametrize("timing", [{"repeat": {"count": 1}}, {"event": ["2026-11-21T08:00:00Z"]}, None])
def test_a_single_dose_stays_one(timing: Any) -> None:
    old = {"timing": timing} if timing else {}
    found = dosage_of(mend(draft("R4", [old]), proposal=replace(PROPOSAL, same_timing=True, once=True)))
    assert found["timing"] == (timing or {"repeat": {"count": 1}})


@pytest.mark.parametrize(
    ("times", "count"), [("1", 10), ("0.5", 5), ("2", 20), ("0.3", 3), ("0.25", None), (None, None)]
)
def test_a_count_of_doses_goes_on_for_as_many_days(times: str | None, count: int | None) -> None:
    repeat = {"frequency": 2, "period": 1, "periodUnit": "d", "count": 10}
    share = Decimal(times) if times else None
    found = dosage_of(mend(draft("R4", [{"timing": {"repeat": repeat}}]), proposal=replace(PROPOSAL, times=share)))
    assert found["timing"]["repeat"].get("count") == count


def test_a_regimen_for_so_many_doses_says_so() -> None:
    found = dosage_of(mend(draft("R4", None), proposal=replace(PROPOSAL, doses=2)))
    assert found["timing"]["repeat"]["count"] == 2


def test_a_timing_that_is_right_stays_as_it_is() -> None:
    timing = {"code": {"text": "Q12H"}, "repeat": {"frequency": 1, "period": 12, "periodUnit": "h", "offset": 5}}
    resource = draft("R4", [{"timing": timing}])
    assert dosage_of(mend(resource, proposal=replace(PROPOSAL, same_timing=True)))["timing"] == timing


def test_a_timing_that_is_right_in_words_alone_is_written_out() -> None:
    resource = draft("R4", [{"timing": {"code": {"text": "Q12H"}}}])
    found = dosage_of(mend(resource, proposal=replace(PROPOSAL, same_timing=True)))
    assert found["timing"] == {"repeat": {"frequency": 1, "period": 12, "periodUnit": "h"}}


@pytest.mark.parametrize(
    "timing",
    [None, "daily", [], {"repeat": None}, {"repeat": "x"}, {"repeat": []}, [{"repeat": [{"count": 3}]}]],
)
def test_timings_of_the_wrong_type_are_replaced(timing: Any) -> None:
    found = dosage_of(mend(draft("R4", [{"timing": timing}])))["timing"]
    assert found == {"repeat": {"frequency": 1, "period": 12, "periodUnit": "h"}}


def test_bounds_are_kept_from_a_timing_in_an_array() -> None:
    bounds = {"start": "2026-11-20"}
    found = dosage_of(mend(draft("R4", [{"timing": [{"repeat": [{"boundsPeriod": bounds}]}]}])))["timing"]
    assert found["repeat"]["boundsPeriod"] == bounds


# --------------------------------------------------------------------------------------------------------------------
# Units and numbers


@pytest.mark.parametrize(
    ("unit", "printed"),
    [
        ("mg", "mg"),
        ("mg/kg", "mg/kg"),
        ("mL", "mL"),
        ("{tbl}", "tablet"),
        ("{tablet}", "tablet"),
        ("{pill}", "pill"),
        ("{capsule}", "capsule"),
    ],
)
def test_the_unit_of_the_order_is_coded_and_printed(unit: str, printed: str) -> None:
    found = dosage_of(mend(draft("R4", None), proposal=replace(PROPOSAL, unit=unit)))
    assert found["doseAndRate"][0]["doseQuantity"] == {"value": 450, "unit": printed, "system": UCUM, "code": unit}


@pytest.mark.parametrize(
    "old",
    [
        {"value": 900, "unit": "milligram", "system": "urn:local", "code": "mg"},
        {"value": 900, "unit": "mg"},
        {"value": 900, "unit": "mg", "code": "1234"},
    ],
)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("ranged", [False, True])
def test_a_unit_that_stays_is_spelled_as_the_client_spelled_it(old: Json, nested: bool, ranged: bool) -> None:
    dose: Json = {"doseRange": {"low": old, "high": old}} if ranged else {"doseQuantity": old}
    found = dosage_of(mend(draft("R4", [{"doseAndRate": [dose]} if nested else dose])))
    assert found["doseAndRate"][0]["doseQuantity"] == old | {"value": 450}


def test_a_unit_that_was_only_coded_gets_its_printed_form() -> None:
    old = {"value": 2, "system": UCUM, "code": "{pill}"}
    found = dosage_of(
        mend(draft("R4", [{"doseAndRate": [{"doseQuantity": old}]}]), proposal=replace(PROPOSAL, unit="{pill}"))
    )
    assert found["doseAndRate"][0]["doseQuantity"] == old | {"value": 450, "unit": "pill"}


@pytest.mark.parametrize(
    ("dose", "value"),
    [("450", 450), ("450.0", 450), ("0.625", 0.625), ("1.25", 1.25), ("1E+2", 100)],
)
def test_whole_doses_have_no_point(dose: str, value: float) -> None:
    found = dosage_of(mend(draft("R4", None), proposal=replace(PROPOSAL, dose=Decimal(dose), period=Decimal("1.5"))))
    given = found["doseAndRate"][0]["doseQuantity"]["value"]
    assert (given, type(given)) == (value, type(value))
    assert found["timing"]["repeat"]["period"] == 1.5


# --------------------------------------------------------------------------------------------------------------------
# A laboratory order


@pytest.mark.parametrize(
    ("release", "kind"),
    [
        ("DSTU2", "DiagnosticOrder"),
        ("STU3", "ProcedureRequest"),
        ("R4", "ServiceRequest"),
        ("R4B", "ServiceRequest"),
        ("R5", "ServiceRequest"),
    ],
)
def test_a_laboratory_order_in_each_release(release: str, kind: str) -> None:
    found = laboratory_order(LabRequest("2160-0", "Creatinine in serum or plasma"), "pat-1", release)
    assert found["resourceType"] == kind
    assert found["subject"] == {"reference": "Patient/pat-1"}
    assert found["status"] == ("proposed" if release == "DSTU2" else "draft")
    code = found["item"][0]["code"] if release == "DSTU2" else found["code"]
    concept = code["concept"] if release == "R5" else code
    (coding,) = concept["coding"]
    assert coding == {"system": "http://loinc.org", "code": "2160-0", "display": "Creatinine in serum or plasma"}
    assert ("intent" in found) == (release != "DSTU2")
