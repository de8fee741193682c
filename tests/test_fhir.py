"""FHIR in: one reading for every release, from every spelling that clients send; and what breaks a release."""

from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any

import orjson
import pytest

from cdshooks.model import (
    Chart,
    ChartEvent,
    ChartPatient,
    Coding,
    Concept,
    Dosage,
    DoseEntry,
    Ingredient,
    Missing,
    Quantity,
    Timing,
    Why,
)
from cdshooks.wire.fhir import (
    RELEASES,
    FhirObservation,
    FhirOrder,
    objects,
    read_chart,
    read_concept,
    recognise_release,
    violations,
)
from cdshooks.wire.hooks import ORDER_TYPES, Json, read_call

UCUM = "http://unitsofmeasure.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
VALGANCICLOVIR: Json = {"coding": [{"system": RXNORM, "code": "313566", "display": "valganciclovir 450 MG"}]}
READ_DRUG = Concept((Coding(RXNORM, "313566", "valganciclovir 450 MG"),))
DOSE: Json = {"value": 450, "unit": "mg", "system": UCUM, "code": "mg"}
READ_DOSE = Quantity(Decimal(450), "mg", "mg", "", True)


def order(resource_type: str = "MedicationRequest", **fields: Any) -> FhirOrder:
    return FhirOrder({"resourceType": resource_type, "id": "o-1"} | fields, "draft 1", {})


def dosage(value: Any) -> Dosage:
    (found,) = order(dosageInstruction=[value]).dosages
    return found


def chart(release: str = "auto", **values: Any) -> Chart:
    drafts = values.pop("drafts", [])
    body = {
        "hook": "order-sign",
        "hookInstance": "x",
        "context": {"patientId": "pat-1", "draftOrders": {"entry": [{"resource": draft} for draft in drafts]}},
        "prefetch": values,
    }
    call = read_call("cmv-order-sign", orjson.dumps(body), max_depth=64, max_entries=100, prefetch_keys={})
    return read_chart(call, release)


# --------------------------------------------------------------------------------------------------------------------
# Which release


@pytest.mark.parametrize(
    ("mark", "release"),
    [
        ({"resourceType": "MedicationOrder"}, "DSTU2"),
        ({"resourceType": "MedicationOrder", "dosageInstruction": [{"doseQuantity": DOSE}]}, "DSTU2"),
        ({"dosageInstruction": [{"doseQuantity": DOSE}]}, "STU3"),
        ({"dosageInstruction": [{"text": "x"}, {"doseRange": {}}]}, "STU3"),
        ({"dosageInstruction": [{"rateQuantity": DOSE}]}, "STU3"),
        ({"dosageInstruction": {"doseQuantity": DOSE}}, "STU3"),
        ({"dosageInstruction": [{"doseAndRate": [{"doseQuantity": DOSE}]}]}, "R4"),
        ({"medicationCodeableConcept": VALGANCICLOVIR}, "R4"),
        ({"medicationReference": {"reference": "#m"}}, "R4"),
        ({"dosageInstruction": ["x", 7, None]}, "R4"),
        ({"dosageInstruction": "x"}, "R4"),
        ({}, "R4"),
        ({"medication": {"concept": VALGANCICLOVIR}}, "R5"),
        ({"medication": {"reference": {"reference": "#m"}}}, "R5"),
    ],
)
def test_a_release_is_recognised_by_its_own_marks(mark: Json, release: str) -> None:
    assert recognise_release(({"resourceType": "MedicationRequest"} | mark,)) == release


def test_the_first_mark_of_any_order_counts() -> None:
    plain: Json = {"resourceType": "MedicationRequest"}
    assert recognise_release((plain, plain | {"medication": {}})) == "R5"
    assert recognise_release(()) == "R4"


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_that_is_set_is_not_recognised(release: str) -> None:
    marked = {"resourceType": "MedicationRequest", "medication": {"concept": VALGANCICLOVIR}}
    assert chart(release, drafts=[marked]).release == release


def test_without_drafts_the_medication_list_tells_the_release() -> None:
    listed = {"resourceType": "MedicationOrder", "id": "m"}
    assert chart(medications=listed).release == "DSTU2"
    assert chart(medications=listed, drafts=[{"resourceType": "MedicationRequest"}]).release == "R4"


# --------------------------------------------------------------------------------------------------------------------
# Small readers


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([{"a": 1}, 7, None, "x", {}], [{"a": 1}, {}]),
        ({"a": 1}, [{"a": 1}]),
        ([], []),
        (None, []),
        ("x", []),
        (7, []),
    ],
)
def test_objects_in_an_array_or_alone(value: Any, found: list[Json]) -> None:
    assert objects(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (VALGANCICLOVIR, READ_DRUG),
        ({"concept": VALGANCICLOVIR}, READ_DRUG),
        ([VALGANCICLOVIR], READ_DRUG),
        ({"coding": VALGANCICLOVIR["coding"][0]}, READ_DRUG),
        (VALGANCICLOVIR["coding"][0], READ_DRUG),
        (VALGANCICLOVIR | {"text": " Valcyte "}, Concept(READ_DRUG.codings, "Valcyte")),
        ("  oral ", Concept((), "oral")),
        ({"text": "oral"}, Concept((), "oral")),
        ({"coding": [{"display": "no code"}, {}, {"system": "x"}, 7]}, Concept((Coding("", "", "no code"),))),
        ({"coding": [{"system": 7, "code": 8, "display": 9}]}, Concept((Coding("", "", ""),))),
        ({}, Concept()),
        (None, Concept()),
        (7, Concept()),
    ],
)
def test_concepts_in_every_spelling(value: Any, found: Concept) -> None:
    assert read_concept(value) == found


# --------------------------------------------------------------------------------------------------------------------
# Orders, release by release

BY_RELEASE: dict[str, Json] = {
    "DSTU2": {
        "resourceType": "MedicationOrder",
        "status": "draft",
        "patient": {"reference": "Patient/pat-1"},
        "dateWritten": "2026-11-20",
        "medicationCodeableConcept": VALGANCICLOVIR,
        "reasonCodeableConcept": {"text": "CMV prophylaxis"},
        "note": "first note",
        "dosageInstruction": [
            {
                "text": "one daily",
                "timing": {"repeat": {"frequency": 1, "period": 24, "periodUnits": "h"}},
                "route": {"text": "oral"},
                "doseQuantity": DOSE,
            }
        ],
    },
    "STU3": {
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/pat-1"},
        "authoredOn": "2026-11-20",
        "medicationCodeableConcept": VALGANCICLOVIR,
        "reasonCode": [{"text": "CMV prophylaxis"}],
        "note": [{"text": "first note"}],
        "dosageInstruction": [
            {
                "text": "one daily",
                "timing": {"repeat": {"frequency": 1, "period": 24, "periodUnit": "h"}},
                "route": {"text": "oral"},
                "doseQuantity": DOSE,
            }
        ],
    },
    "R4": {
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/pat-1"},
        "authoredOn": "2026-11-20",
        "medicationCodeableConcept": VALGANCICLOVIR,
        "reasonCode": [{"text": "CMV prophylaxis"}],
        "note": [{"text": "first note"}],
        "dosageInstruction": [
            {
                "text": "one daily",
                "timing": {"repeat": {"frequency": 1, "period": 24, "periodUnit": "h"}},
                "route": {"text": "oral"},
                "doseAndRate": [{"doseQuantity": DOSE}],
            }
        ],
    },
}
BY_RELEASE["R4B"] = BY_RELEASE["R4"]
BY_RELEASE["R5"] = {
    name: value for name, value in BY_RELEASE["R4"].items() if name not in ("medicationCodeableConcept", "reasonCode")
} | {"medication": {"concept": VALGANCICLOVIR}, "reason": [{"concept": {"text": "CMV prophylaxis"}}]}


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_reads_alike(release: str) -> None:
    found = order(**{"resourceType": "MedicationRequest"} | BY_RELEASE[release])
    assert (found.status, found.subject, found.authored) == ("draft", "pat-1", "2026-11-20")
    assert found.intent == ("" if release == "DSTU2" else "order")
    assert (found.drug, found.form) == (READ_DRUG, None)
    assert found.reasons == (Concept((), "CMV prophylaxis"),)
    assert found.notes == ("first note",)
    assert found.dosages == (
        Dosage(
            text="one daily",
            timing=Timing(frequency=Decimal(1), period=Decimal(24), period_unit="h"),
            route=Concept((), "oral"),
            doses=(DoseEntry(READ_DOSE, READ_DOSE),),
        ),
    )
    assert violations(found.raw, release) == ()


@pytest.mark.parametrize("release", RELEASES)
def test_an_order_whose_arrays_are_lone_objects_reads_alike(release: str) -> None:
    loose = {
        name: value[0] if isinstance(value, list) else value for name, value in deepcopy(BY_RELEASE[release]).items()
    }
    rates = loose["dosageInstruction"].get("doseAndRate")
    if rates:
        loose["dosageInstruction"]["doseAndRate"] = rates[0]
    strict, read = order(**{"resourceType": "MedicationRequest"} | BY_RELEASE[release]), order(**loose)
    for name in ("drug", "reasons", "notes", "dosages", "subject"):
        assert getattr(read, name) == getattr(strict, name), name


def test_nothing_is_made_up_for_an_empty_order() -> None:
    found = FhirOrder({"resourceType": "MedicationRequest"}, "draft 1", {})
    assert (found.ref, found.status, found.intent, found.subject, found.authored) == ("", "", "", "", "")
    assert (found.drug, found.form, found.dosages, found.reasons) == (Concept(), None, (), ())
    assert (found.notes, found.categories) == ((), ())


@pytest.mark.parametrize(
    ("identifier", "ref"),
    [("o-1", "MedicationRequest/o-1"), (7, "MedicationRequest/7"), ("", ""), (None, ""), ([], "")],
)
def test_references_of_resources(identifier: Any, ref: str) -> None:
    assert order(id=identifier).ref == ref


def test_an_order_not_to_give_a_drug_is_known_by_its_intent() -> None:
    assert order(intent="order", doNotPerform=True).intent == "do-not-perform"
    assert order(intent="ORDER", doNotPerform=False).intent == "order"


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({"subject": {"reference": "Patient/pat-1"}}, "pat-1"),
        ({"patient": {"reference": "Patient/pat-1"}}, "pat-1"),
        ({"subject": {"reference": "https://ehr.example.org/r4/Patient/pat-1"}}, "pat-1"),
        ({"subject": {"reference": "https://ehr.example.org/r4/Patient/pat-1/_history/2"}}, "pat-1"),
        ({"subject": {"reference": "Patient/pat-1/_history/2"}}, "pat-1"),
        ({"subject": {"reference": "pat-1"}}, "pat-1"),
        ({"subject": {"reference": "urn:uuid:pat-1"}}, "pat-1"),
        ({"subject": {"reference": "Group/g-1"}}, "?"),
        ({"subject": {"reference": "https://ehr.example.org/r4/Group/g-1"}}, "?"),
        ({"subject": {"identifier": {"value": "mrn"}}}, "?"),
        ({"subject": {"display": "somebody"}}, ""),
        ({"subject": "Patient/pat-1"}, "pat-1"),
        ({"subject": [{"reference": "Patient/pat-1"}]}, "pat-1"),
        ({"subject": [{"reference": "Patient/pat-1"}, {"reference": "Patient/pat-1"}]}, "?"),
        ({"subject": 5}, "?"),
        ({"subject": {"reference": 5}}, "?"),
        ({"subject": None, "patient": {"reference": "Patient/pat-1"}}, "pat-1"),
        ({"subject": {"reference": "Patient/pat-1"}, "patient": {"reference": "pat-1"}}, "pat-1"),
        ({"subject": {"reference": "Patient/pat-1"}, "patient": {"reference": "Patient/pat-2"}}, "?"),
        ({"subject": {"reference": "#pat-1"}}, "#pat-1"),
        ({"subject": {"reference": ""}}, ""),
        ({}, ""),
    ],
)
def test_whose_it_is(fields: Json, subject: str) -> None:
    assert order(**fields).subject == subject
    observation = FhirObservation({"resourceType": "Observation"} | fields)
    assert observation.subject == subject


# --------------------------------------------------------------------------------------------------------------------
# The drug

MEDICATION: Json = {"resourceType": "Medication", "id": "m-1", "code": VALGANCICLOVIR}


@pytest.mark.parametrize(
    "key",
    ["Medication/m-1", "https://ehr.example.org/r4/Medication/m-1", "urn:uuid:m-1", "m-1", "Medication/m-1/_history/2"],
)
@pytest.mark.parametrize("wrap", [False, True])
def test_a_medication_pointed_to(key: str, wrap: bool) -> None:
    reference = {"reference": key, "display": "Valcyte"}
    drug = {"medication": {"reference": reference}} if wrap else {"medicationReference": reference}
    known = {"Medication/m-1": MEDICATION, "urn:uuid:m-1": MEDICATION}
    found = FhirOrder({"resourceType": "MedicationRequest"} | drug, "draft 1", known)
    assert found.drug == Concept(READ_DRUG.codings, "Valcyte")


@pytest.mark.parametrize("identifier", ["m-1", "#m-1"])
def test_a_contained_medication(identifier: str) -> None:
    contained = MEDICATION | {"id": identifier}
    assert order(medicationReference={"reference": "#m-1"}, contained=[contained]).drug == READ_DRUG
    assert order(medicationReference={"reference": "#m-1"}, contained=contained).drug == READ_DRUG


FOSCARNET: Json = {"text": "foscarnet"}
RATIO: Json = {"numerator": {"value": 3000, "unit": "mg"}, "denominator": {"value": 250, "unit": "mL"}}
SUBSTANCE: Json = {"resourceType": "Substance", "id": "s", "code": FOSCARNET}


@pytest.mark.parametrize(
    "made_of",
    [
        {"ingredient": [{"itemCodeableConcept": FOSCARNET, "strength": RATIO}]},
        {"ingredient": [{"itemReference": {"reference": "#s"}, "strength": RATIO}], "contained": [SUBSTANCE]},
        {"ingredient": [{"itemReference": {"reference": "#gone", "display": "foscarnet"}, "strength": RATIO}]},
        {"ingredient": [{"item": {"concept": FOSCARNET}, "strengthRatio": RATIO}]},
        {
            "ingredient": [{"item": {"reference": {"reference": "#s"}}, "strengthRatio": RATIO}],
            "contained": [SUBSTANCE],
        },
        {"ingredient": [{"itemCodeableConcept": FOSCARNET, "amount": RATIO}]},
        {"product": {"ingredient": [{"item": {"reference": "#s"}, "amount": RATIO}]}, "contained": [SUBSTANCE]},
    ],
)
def test_the_ingredients_in_every_release(made_of: Json) -> None:
    medication = {"resourceType": "Medication", "id": "m-1"} | made_of
    found = FhirOrder(
        {"resourceType": "MedicationRequest", "medicationReference": {"reference": "Medication/m-1"}},
        "draft 1",
        {"Medication/m-1": medication},
    )
    amount, per = Quantity(Decimal(3000), "mg"), Quantity(Decimal(250), "mL")
    assert (found.drug, found.ingredients) == (Concept(), (Ingredient(Concept((), "foscarnet"), amount, per),))


def test_instructions_rendered_in_words_count_where_nothing_else_is_said() -> None:
    words = "900 mg oral twice daily"
    assert order(renderedDosageInstruction=words).dosages == (Dosage(text=words),)
    assert order(renderedDosageInstruction=words, dosageInstruction=[{"text": "BID"}]).dosages == (Dosage(text="BID"),)


def test_a_reference_to_nothing_leaves_its_display() -> None:
    found = order(medicationReference={"reference": "Medication/gone", "display": "Valcyte 450 mg"})
    assert found.drug == Concept((), "Valcyte 450 mg")
    assert order(medicationReference={"display": "Valcyte"}).drug == Concept((), "Valcyte")


@pytest.mark.parametrize(
    "form", [{"form": {"text": "tablet"}}, {"doseForm": {"text": "tablet"}}, {"product": {"form": {"text": "tablet"}}}]
)
def test_the_dose_form_in_every_release(form: Json) -> None:
    found = FhirOrder(
        {"resourceType": "MedicationRequest", "medicationReference": {"reference": "Medication/m-1"}},
        "draft 1",
        {"Medication/m-1": MEDICATION | form},
    )
    assert found.form == Concept((), "tablet")


# --------------------------------------------------------------------------------------------------------------------
# Dosage

OTHER: Json = {"value": 900, "unit": "mg", "system": UCUM, "code": "mg"}
READ_OTHER = Quantity(Decimal(900), "mg", "mg", "", True)


@pytest.mark.parametrize(
    ("value", "doses"),
    [
        ({"doseQuantity": DOSE}, (DoseEntry(READ_DOSE, READ_DOSE),)),
        ({"doseSimpleQuantity": DOSE}, (DoseEntry(READ_DOSE, READ_DOSE),)),
        ({"doseAndRate": [{"doseQuantity": DOSE}]}, (DoseEntry(READ_DOSE, READ_DOSE),)),
        ({"doseAndRate": {"doseQuantity": DOSE}}, (DoseEntry(READ_DOSE, READ_DOSE),)),
        ({"doseRange": {"low": DOSE, "high": OTHER}}, (DoseEntry(READ_DOSE, READ_OTHER),)),
        ({"doseAndRate": [{"doseRange": {"low": DOSE}}]}, (DoseEntry(READ_DOSE, None),)),
        ({"doseAndRate": [{"doseRange": {"high": OTHER}}]}, (DoseEntry(None, READ_OTHER),)),
        (
            {"doseAndRate": [{"type": {"text": "Ordered"}, "doseQuantity": DOSE}, {"doseQuantity": OTHER}]},
            (DoseEntry(READ_DOSE, READ_DOSE, "ordered"), DoseEntry(READ_OTHER, READ_OTHER)),
        ),
        (
            {"extension": [{"url": "https://ehr.example.org/ordered-dose", "valueQuantity": DOSE}]},
            (DoseEntry(READ_DOSE, READ_DOSE, "ordered"),),
        ),
        (
            {"doseAndRate": [{"extension": {"url": "x/ordered-dose", "valueQuantity": DOSE}}]},
            (DoseEntry(READ_DOSE, READ_DOSE, "ordered"),),
        ),
        ({"extension": [{"url": "https://ehr.example.org/other", "valueQuantity": DOSE}]}, ()),
        ({"doseQuantity": None}, ()),
        ({}, ()),
    ],
)
def test_doses_in_every_spelling(value: Json, doses: tuple[DoseEntry, ...]) -> None:
    found = dosage(value)
    assert (found.doses, found.unreadable) == (doses, ())


@pytest.mark.parametrize(
    ("quantity", "found"),
    [
        ({"value": 0.1}, Quantity(Decimal("0.1"))),
        ({"value": "1.25", "unit": " mg/kg "}, Quantity(Decimal("1.25"), "mg/kg")),
        ({"value": 5, "units": "mg"}, Quantity(Decimal(5), "mg")),
        (
            {"value": 5, "unit": "tablet", "code": "{tbl}", "system": f"{UCUM}/"},
            Quantity(Decimal(5), "tablet", "{tbl}", "", True),
        ),
        ({"value": 5, "code": "mg", "system": "x", "comparator": "<"}, Quantity(Decimal(5), "", "mg", "<")),
        ([{"value": 5}], Quantity(Decimal(5))),
    ],
)
def test_quantities_in_every_spelling(quantity: Any, found: Quantity) -> None:
    assert dosage({"doseQuantity": quantity}).doses == (DoseEntry(found, found),)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"doseQuantity": {"value": "much"}}, "doseQuantity"),
        ({"doseQuantity": {"value": True}}, "doseQuantity"),
        ({"doseQuantity": {"value": "NaN"}}, "doseQuantity"),
        ({"doseQuantity": {"value": "Infinity"}}, "doseQuantity"),
        ({"doseQuantity": {"unit": "mg"}}, "doseQuantity"),
        ({"doseQuantity": "450 mg"}, "doseQuantity"),
        ({"doseAndRate": [{"doseRange": {"low": DOSE, "high": {"value": "?"}}}]}, "doseRange"),
        ({"doseRange": {}}, "doseRange"),
        ({"extension": [{"url": "x/ordered-dose"}]}, "extension ordered-dose"),
        ({"timing": {"repeat": {"frequency": "often"}}}, "timing.repeat.frequency"),
        ({"timing": {"repeat": {"frequency": 0}}}, "timing.repeat.frequency"),
        ({"timing": {"repeat": {"period": -1}}}, "timing.repeat.period"),
        ({"timing": {"repeat": {"periodMax": True}}}, "timing.repeat.periodMax"),
    ],
)
def test_what_cannot_be_read_is_named_and_never_a_default(value: Json, path: str) -> None:
    found = dosage(value)
    assert found.unreadable == (path,)
    assert found.doses == ()


@pytest.mark.parametrize("given", ["x", 7, ["x"], [None]])
def test_instructions_that_are_no_objects_are_named(given: Any) -> None:
    assert order(dosageInstruction=given).dosages == (Dosage(unreadable=("dosageInstruction",)),)


@pytest.mark.parametrize(
    ("value", "timing"),
    [
        ({"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}}, Timing(Decimal(2), None, Decimal(1), None, "d")),
        (
            {"repeat": {"frequency": 2, "period": 1, "periodUnits": "d"}},
            Timing(Decimal(2), None, Decimal(1), None, "d"),
        ),
        ([{"repeat": [{"frequency": 2}]}], Timing(Decimal(2))),
        (
            {"repeat": {"frequencyMax": 3, "periodMax": "8", "count": 4}},
            Timing(frequency_max=Decimal(3), period_max=Decimal(8), count=Decimal(4)),
        ),
        (
            {"repeat": {"dayOfWeek": ["mon", "thu"], "timeOfDay": "08:00:00", "when": ["CM", 7]}},
            Timing(day_of_week=("mon", "thu"), time_of_day=("08:00:00",), when=("CM",)),
        ),
        (
            {"repeat": {"boundsPeriod": {"start": "2026-11-20", "end": "2026-12-01"}}},
            Timing(starts="2026-11-20", ends="2026-12-01"),
        ),
        ({"code": {"text": "BID"}}, Timing(code=Concept((), "BID"))),
        ({"event": ["2026-11-20", "2026-11-21"]}, Timing(events=2)),
        ({}, Timing()),
        ("daily", Timing()),
    ],
)
def test_timings_in_every_spelling(value: Any, timing: Timing) -> None:
    assert dosage({"timing": value}).timing == timing


@pytest.mark.parametrize(
    "value",
    [
        {"asNeededBoolean": True},
        {"asNeeded": True},
        {"asNeededCodeableConcept": {"text": "fever"}},
        {"asNeededFor": [{"text": "fever"}]},
    ],
)
def test_as_needed_in_every_release(value: Json) -> None:
    assert dosage(value).as_needed
    assert not dosage({"asNeededBoolean": False, "asNeeded": False}).as_needed


def test_other_parts_of_a_dosage() -> None:
    found = dosage({"patientInstruction": "with food", "sequence": 2, "doseAndRate": [{"rateQuantity": DOSE}]})
    assert (found.text, found.sequence, found.rate) == ("with food", 2, READ_DOSE)
    assert dosage({"sequence": True}).sequence is None
    assert dosage({"rateSimpleQuantity": DOSE}).rate == READ_DOSE


def test_a_statement_has_its_doses_under_another_name() -> None:
    found = order("MedicationStatement", dosage=[{"text": "one daily"}])
    assert found.dosages == (Dosage(text="one daily"),)


# --------------------------------------------------------------------------------------------------------------------
# Observations


def observation(**fields: Any) -> FhirObservation:
    return FhirObservation({"resourceType": "Observation", "id": "r-1"} | fields)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"valueQuantity": {"value": 1.9, "unit": "mg/dL"}}, Quantity(Decimal("1.9"), "mg/dL")),
        ({"valueQuantity": {"value": "1.9"}}, Quantity(Decimal("1.9"))),
        ({"valueQuantity": {"value": "see text", "unit": "mg/dL"}}, "see text"),
        ({"valueQuantity": {"unit": "mg/dL"}}, None),
        ({"valueQuantity": None}, None),
        ({"valueQuantity": "1.9"}, None),
        ({"valueString": " not detected "}, "not detected"),
        ({"valueCodeableConcept": {"text": "2+"}}, Concept((), "2+")),
        ({"valueInteger": 7}, Quantity(Decimal(7))),
        ({"valueDecimal": 7.5}, Quantity(Decimal("7.5"))),
        ({"valueInteger": True}, None),
        ({}, None),
    ],
)
def test_values_in_every_type(fields: Json, value: object) -> None:
    assert observation(**fields).value == value


@pytest.mark.parametrize(
    ("fields", "effective"),
    [
        ({"effectiveDateTime": "2026-11-20"}, "2026-11-20"),
        ({"effectiveInstant": "2026-11-20T10:00:00Z"}, "2026-11-20T10:00:00Z"),
        ({"effectivePeriod": {"start": "2026-11-19", "end": "2026-11-20"}}, "2026-11-20"),
        ({"effectivePeriod": {"start": "2026-11-19"}}, "2026-11-19"),
        ({"effectiveDateTime": 20261120}, ""),
        ({"issued": "2026-11-20T10:00:00Z"}, ""),
        ({}, ""),
    ],
)
def test_when_a_result_was_true(fields: Json, effective: str) -> None:
    assert observation(**fields).effective == effective


def test_the_rest_of_an_observation() -> None:
    found = observation(
        status="Final",
        issued="2026-11-20T10:00:00Z",
        code={"coding": [{"system": " http://loinc.org ", "code": " 2160-0 "}, 7]},
        dataAbsentReason={"text": "clotted"},
    )
    assert (found.ref, found.status, found.issued) == ("Observation/r-1", "final", "2026-11-20T10:00:00Z")
    assert found.codes == (("http://loinc.org", "2160-0"),)
    assert found.absent_reason == "clotted"
    assert observation(code="2160-0").codes == ()
    assert observation(code={"coding": {"system": "x", "code": "y"}}).codes == (("x", "y"),)


# --------------------------------------------------------------------------------------------------------------------
# Events, patient, chart


def event(kind: str, **fields: Any) -> ChartEvent:
    (found,) = chart(mine={"resourceType": kind, "id": "e-1"} | fields).events
    return found


@pytest.mark.parametrize(
    ("kind", "fields", "on"),
    [
        ("Condition", {"onsetDateTime": "2026-01-02"}, "2026-01-02"),
        ("Condition", {"onsetPeriod": {"start": "2026-01-02"}}, "2026-01-02"),
        ("Condition", {"recordedDate": "2026-01-02"}, "2026-01-02"),
        ("Condition", {"onsetDateTime": "2026-01-02", "recordedDate": "2026-05-05"}, "2026-01-02"),
        ("Procedure", {"performedDateTime": "2026-01-02"}, "2026-01-02"),
        ("Procedure", {"performedPeriod": {"start": "2026-01-02", "end": "2026-01-03"}}, "2026-01-02"),
        ("Procedure", {"occurrenceDateTime": "2026-01-02"}, "2026-01-02"),
        ("Procedure", {"occurrencePeriod": {"start": "2026-01-02"}}, "2026-01-02"),
        ("DiagnosticReport", {"effectiveDateTime": "2026-01-02"}, "2026-01-02"),
        ("Condition", {}, ""),
    ],
)
def test_since_when(kind: str, fields: Json, on: str) -> None:
    assert event(kind, **fields).on == on


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("Active", "active"),
        ({"coding": [{"code": "active", "display": "Active"}]}, "active"),
        ({"text": "Active"}, "active"),
        (None, ""),
    ],
)
def test_states_as_code_or_concept(value: Any, state: str) -> None:
    found = event("Condition", clinicalStatus=value, verificationStatus=value, status="ignored")
    assert (found.status, found.verification) == (state, state)
    assert event("Procedure", status=value, clinicalStatus="ignored").status == state


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"abatementDateTime": "2026-02-03"}, "2026-02-03"),
        ({"abatementPeriod": {"end": "2026-02-03"}}, "2026-02-03"),
        ({"abatementBoolean": True}, "yes"),
        ({"abatementBoolean": False}, ""),
        ({}, ""),
    ],
)
def test_until_when(fields: Json, ended: str) -> None:
    assert event("Condition", **fields).ended == ended


def test_an_allergy_of_dstu2_names_a_substance() -> None:
    assert event("AllergyIntolerance", substance={"text": "ganciclovir"}).code == Concept((), "ganciclovir")
    assert event("DiagnosticReport", conclusion=" UL97 ", patient={"reference": "Patient/pat-1"}).conclusion == "UL97"


PATIENT: Json = {"resourceType": "Patient", "id": "pat-1", "birthDate": "1968-01-15", "gender": "Female"}


def test_the_patient() -> None:
    found = chart(patient=PATIENT | {"gender": "female"})
    assert found.patient == ChartPatient("Patient/pat-1", "1968-01-15", "female")
    assert found.unused == ()


@pytest.mark.parametrize(
    ("identifier", "why"),
    [
        ("pat-2", "is not the patient of this call"),
        ("Patient/pat-1", "is not the patient of this call"),
        ("", "has no id and cannot be matched to this call"),
        (None, "has no id and cannot be matched to this call"),
    ],
)
def test_a_patient_who_is_not_that_of_the_call_is_never_used(identifier: Any, why: str) -> None:
    found = chart(patient=PATIENT | {"id": identifier})
    assert found.patient == Missing(Why.UNUSABLE, f"the Patient resource {why}")
    assert [(entry.kind, entry.why) for entry in found.unused] == [("other patient", why)]


@pytest.mark.parametrize("birth_date", ["15.01.1968", "1968-13-01", "soon"])
def test_a_birth_date_is_read_as_it_was_sent(birth_date: str) -> None:
    """Whether it is a date is judged by whoever needs the age; that it breaks FHIR is said by `violations`."""
    found = chart(patient=PATIENT | {"birthDate": birth_date})
    assert isinstance(found.patient, ChartPatient)
    assert found.patient.birth_date == birth_date
    assert violations(found.patient.raw, "R4") == ("birthDate",)


def test_a_chart_keeps_judged_orders_apart_from_the_list() -> None:
    listed = [{"resourceType": "MedicationRequest", "id": f"m-{i}"} for i in (1, 2)]
    found = chart(
        drafts=[{"resourceType": "MedicationRequest", "id": "d-1"}],
        medications={"resourceType": "Bundle", "entry": [{"resource": entry} for entry in listed]},
        kidney="x",
    )
    assert [(o.ref, o.place) for o in found.judged] == [("MedicationRequest/d-1", "draft 1")]
    assert not isinstance(found.medications, Missing)
    assert [o.place for o in found.medications] == ["medication list 1", "medication list 2"]
    assert [(entry.what, entry.kind) for entry in found.unused] == [('prefetch "kidney"', "unreadable")]
    assert set(found.event_gaps) == {"conditions", "procedures", "allergies", "reports"}
    assert set(found.groups) == {"kidney", "counts", "electrolytes", "virology", "levels", "pregnancy"}
    assert chart(medications=None).medications == Missing(Why.NONE_ON_FILE)


def test_drafts_that_are_context_have_places_of_their_own() -> None:
    drafts = [{"resource": {"resourceType": "MedicationRequest", "id": f"d-{i}"}} for i in (1, 2, 3)]
    context = {"patientId": "pat-1", "draftOrders": {"entry": drafts}, "selections": ["MedicationRequest/d-2"]}
    body = orjson.dumps({"hook": "order-select", "hookInstance": "x", "context": context})
    call = read_call("cmv-order-select", body, max_depth=64, max_entries=100, prefetch_keys={})
    found = read_chart(call)
    assert [(o.ref, o.place) for o in found.judged] == [("MedicationRequest/d-2", "draft 1")]
    assert [o.place for o in found.drafts] == ["other draft 1", "other draft 2"]


# --------------------------------------------------------------------------------------------------------------------
# Validation

RESULT: Json = {
    "resourceType": "Observation",
    "id": "r-1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]},
    "subject": {"reference": "Patient/pat-1"},
    "effectiveDateTime": "2026-11-20",
    "issued": "2026-11-20T10:00:00Z",
    "valueQuantity": {"value": 1.9, "unit": "mg/dL", "system": UCUM, "code": "mg/dL"},
}
SOUND: dict[str, Callable[[str], Json]] = {
    "Patient": lambda _: PATIENT | {"gender": "female"},
    "Observation": lambda _: RESULT,
    "order": lambda release: {"resourceType": "MedicationRequest", "id": "o-1"} | BY_RELEASE[release],
    "MedicationStatement": lambda _: {
        "resourceType": "MedicationStatement",
        "status": "active",
        "dosage": [{"text": "x"}],
    },
}


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("release", RELEASES)
def test_a_sound_resource_breaks_no_release(kind: str, release: str) -> None:
    assert violations(SOUND[kind](release), release) == ()


@pytest.mark.parametrize("kind", ORDER_TYPES)
@pytest.mark.parametrize("release", RELEASES)
def test_every_kind_of_order_can_be_validated(kind: str, release: str) -> None:
    """A medication list may hold any of them, and its orders are judged when a chart is opened."""
    assert violations({"resourceType": kind, "id": "o-1", "status": "active"}, release) == ()


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("release", RELEASES)
def test_absent_fields_break_nothing(kind: str, release: str) -> None:
    assert violations({"resourceType": SOUND[kind](release)["resourceType"]}, release) == ()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("kind", "change", "path"),
    [
        ("Patient", {"birthDate": "tomorrow"}, "birthDate"),
        ("Patient", {"gender": ["female"]}, "gender"),
        ("Observation", {"status": 7}, "status"),
        ("Observation", {"valueQuantity": {"value": "much"}}, "valueQuantity.value"),
        ("Observation", {"code": "2160-0"}, "code"),
        ("order", {"status": ["draft"]}, "status"),
        ("order", {"dosageInstruction": [{"text": 7}]}, "dosageInstruction.0.text"),
        (
            "order",
            {"dosageInstruction": [{"timing": {"repeat": {"frequency": "x"}}}]},
            "dosageInstruction.0.timing.repeat.frequency",
        ),
        (
            "order",
            {"dosageInstruction": [{"timing": {"repeat": {"period": "x"}}}]},
            "dosageInstruction.0.timing.repeat.period",
        ),
        ("order", {"dosageInstruction": ["x"]}, "dosageInstruction.0"),
        ("MedicationStatement", {"dosage": [{"text": 7}]}, "dosage.0.text"),
    ],
)
def test_a_broken_field_is_named_by_its_path(release: str, kind: str, change: Json, path: str) -> None:
    found = violations(SOUND[kind](release) | change, release)
    assert [p for p in found if p.startswith(path)], found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Patient", {"gender": None, "birthDate": ""}),
        ("Patient", {"name": [{"family": 7}], "extension": "x"}),  # not among the fields that are read
        ("Observation", {"issued": None, "effectivePeriod": {}}),
        ("Observation", {"category": "laboratory", "component": 7, "note": ["x"]}),
        (
            "Observation",
            {"code": {"coding": [None, {"system": "http://loinc.org", "code": "2160-0", "display": None}]}},
        ),
        ("Observation", {"valueQuantity": {"value": 1.9, "unit": "", "extension": [{"valueX": 1}]}}),
        ("order", {"dosageInstruction": {"text": "one daily"}}),
        ("order", {"dosageInstruction": [None, {"text": "one daily", "timing": {}, "route": None}]}),
        ("order", {"dispenseRequest": "x", "requester": 7}),
        ("MedicationStatement", {"dosage": {"text": "x"}}),
    ],
)
def test_known_deviations_are_mended(release: str, kind: str, change: Json) -> None:
    resource = SOUND[kind](release) | change
    before = deepcopy(resource)
    assert violations(resource, release) == ()
    assert resource == before


def test_rates_that_are_one_object_are_mended() -> None:
    loose = {"dosageInstruction": [{"doseAndRate": {"doseQuantity": DOSE}}], "reasonCode": {"text": "x"}}
    assert violations({"resourceType": "MedicationRequest"} | loose, "R4") == ()


def test_the_same_field_may_be_right_in_one_release_and_wrong_in_another() -> None:
    flat = {"resourceType": "MedicationRequest", "dosageInstruction": [{"doseQuantity": DOSE}]}
    nested = {"resourceType": "MedicationRequest", "dosageInstruction": [{"doseAndRate": [{"doseQuantity": DOSE}]}]}
    assert violations(flat, "STU3") == ()
    assert violations(flat, "R4") == ("dosageInstruction.0.doseQuantity",)
    assert violations(nested, "STU3") == ("dosageInstruction.0.doseAndRate",)
    assert violations(nested, "R5") == ()


def test_every_broken_field_is_named_once() -> None:
    broken = RESULT | {"status": 7, "code": "x", "valueQuantity": {"value": "y"}}
    found = violations(broken, "R4")
    assert sorted(found) == sorted(set(found))
    assert {"status", "code", "valueQuantity.value"} <= set(found)


@pytest.mark.parametrize("change", [{"id": "not an id!"}, {"issued": "x"}, {"subject": 7}, {"effectiveDateTime": "y"}])
def test_fields_on_which_no_verdict_rests_are_left_to_their_readers(change: Json) -> None:
    assert violations(RESULT | change, "R4") == ()


# --------------------------------------------------------------------------------------------------------------------
# Versions of one result


def version(value: float, **fields: Any) -> Json:
    return {"resourceType": "Observation", "id": "o1", "valueQuantity": {"value": value}, **fields}


def results_of(sent: list[Json]) -> list[Any]:
    searchset = {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in sent]}
    return [observation.raw for observation in chart(kidney=searchset).observations]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"status": "final"}, {"status": "corrected"}),
        ({"status": "preliminary"}, {"status": "final"}),
        ({"status": "final"}, {"status": "entered-in-error"}),
        ({"meta": {"versionId": "9"}, "status": "corrected"}, {"meta": {"versionId": "10"}, "status": "final"}),
        ({"meta": {"lastUpdated": "2026-11-20T10:00:00+02:00"}}, {"meta": {"lastUpdated": "2026-11-20T09:00:00Z"}}),
    ],
)
def test_of_the_versions_of_one_result_the_latest_counts(older: Json, newer: Json, backwards: bool) -> None:
    sent = [version(2.2, **older), version(0.9, **newer)]
    found = results_of([*sent[::-1], *sent] if backwards else [*sent, *sent[::-1]])
    assert found == [sent[1]]


def test_versions_that_nothing_puts_in_order_all_stay() -> None:
    sent = [version(2.2, status="final"), version(0.9, status="final"), version(2.2, status="final")]
    assert results_of(sent) == sent[:2]


def test_equal_results_without_an_id_are_one() -> None:
    result = {"resourceType": "Observation", "valueQuantity": {"value": 1}}
    assert results_of([result, dict(result)]) == [result]


@pytest.mark.parametrize(
    ("fields", "specimen"),
    [
        ({"specimen": {"display": "CSF"}}, "CSF"),
        ({"specimen": {"reference": "#s"}, "contained": [{"id": "s", "type": {"text": "Urine"}}]}, "Urine"),
        ({"specimen": {"reference": "#s"}, "contained": [{"id": "t", "type": {"text": "Urine"}}]}, ""),
        ({"specimen": {"reference": "Specimen/1"}}, ""),
        ({}, ""),
    ],
)
def test_the_specimen_is_named_beside_the_result_or_inside_it(fields: Json, specimen: str) -> None:
    assert FhirObservation({"resourceType": "Observation"} | fields).specimen == specimen
