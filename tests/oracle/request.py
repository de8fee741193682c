"""A case as an order-sign call (FHIR R4), the way a client sends it."""

from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from .cases import TODAY, Case
from .labels import DRUGS
from .others import Other

Json = dict[str, Any]

_PATIENT = "pat-1"
_UCUM = "http://unitsofmeasure.org"
_NOTHING: Json = {"resourceType": "Bundle", "type": "searchset", "total": 0}
_LOINC = {"mg/dL": "2160-0", "umol/L": "14682-9", "kg": "29463-7", "cm": "8302-2", "g/dL": "1751-7"}
_PROCEDURES = {
    "haemodialysis": ("302497006", "Hemodialysis (procedure)"),
    "peritoneal": ("71192002", "Peritoneal dialysis (procedure)"),
    "continuous": ("714749008", "Continuous renal replacement therapy (procedure)"),
}


def request(case: Case) -> Json:
    """The body of the call."""
    prefetch: Json = {"patient": _patient(case)}
    if case.results_sent:
        prefetch["kidney"] = _bundle(_results(case))
    prefetch |= {"conditions": _NOTHING, "procedures": _NOTHING}
    if case.dialysis == "unnamed":
        prefetch["conditions"] = _bundle([_condition("Z99.2", "Dependence on renal dialysis")])
    elif case.dialysis:
        prefetch["procedures"] = _bundle([_dialysis(*_PROCEDURES[case.dialysis])])
    prefetch["pregnancy"] = _bundle([_negative_pregnancy_test()])
    others = ("medications", "allergies", "reports", "counts", "electrolytes", "virology", "levels")
    return {
        "hook": "order-sign",
        "hookInstance": "5d1c9a52-1f27-4f0e-9a35-6f2b6f0d7c11",
        "context": {
            "patientId": _PATIENT,
            "userId": "Practitioner/1",
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": _order(case)}]},
        },
        "prefetch": prefetch | dict.fromkeys(others, _NOTHING),
    }


def _bundle(resources: list[Json]) -> Json:
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(resources),
        "entry": [{"resource": resource} for resource in resources],
    }


def _patient(case: Case) -> Json:
    sex = {"gender": case.sex} if case.sex else {}
    return {"resourceType": "Patient", "id": _PATIENT, "birthDate": case.born.isoformat(), **sex}


def _subject() -> Json:
    return {"subject": {"reference": f"Patient/{_PATIENT}"}}


def _quantity(value: Fraction, unit: str) -> Json:
    if unit == "tablet":
        return {"value": float(value), "unit": "tablet", "system": _UCUM, "code": "{tbl}"}
    return {"value": float(value), "unit": unit, "system": _UCUM, "code": unit}


def _results(case: Case) -> list[Json]:
    measured: list[tuple[Fraction | None, str, int]] = [
        (case.weight, "kg", case.weight_days),
        (case.height, "cm", 200),
        (case.albumin, "g/dL", 5),
        *((c.value, c.unit, c.days) for c in (case.creatinine, case.earlier) if c),
    ]
    return [
        _result(f"obs-{position}", value, unit, days)
        for position, (value, unit, days) in enumerate(measured, 1)
        if value is not None
    ]


def _result(identifier: str, value: Fraction, unit: str, days: int) -> Json:
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": _LOINC[unit]}]},
        "effectiveDateTime": (TODAY - timedelta(days=days)).isoformat(),
        "valueQuantity": _quantity(value, unit),
        **_subject(),
    }


def _negative_pregnancy_test() -> Json:
    """On file for everybody, so that a sex that is not on record costs no check."""
    return {
        "resourceType": "Observation",
        "id": "obs-test",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2118-8"}]},
        "effectiveDateTime": (TODAY - timedelta(days=2)).isoformat(),
        "valueString": "Negative",
        **_subject(),
    }


def _dialysis(code: str, name: str) -> Json:
    return {
        "resourceType": "Procedure",
        "id": "proc-1",
        "status": "completed",
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": code, "display": name}], "text": name},
        "performedDateTime": (TODAY - timedelta(days=2)).isoformat(),
        **_subject(),
    }


def _condition(code: str, name: str) -> Json:
    states = "http://terminology.hl7.org/CodeSystem"
    coding = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code, "display": name}
    return {
        "resourceType": "Condition",
        "id": "cond-1",
        "code": {"coding": [coding], "text": name},
        "clinicalStatus": {"coding": [{"system": f"{states}/condition-clinical", "code": "active"}]},
        "verificationStatus": {"coding": [{"system": f"{states}/condition-ver-status", "code": "confirmed"}]},
        "onsetDateTime": "2024-03-01",
        **_subject(),
    }


def _order(case: Case) -> Json:
    drug = DRUGS[case.drug]
    name = drug.product if case.form != "solution" else drug.product.split()[0] + " oral solution"
    route = {"code": "47625008" if drug.by_vein else "26643006", "system": "http://snomed.info/sct"}
    dosage: Json = {"route": {"coding": [route]}}
    if case.dose:
        dose = case.dose
        low, high = (_quantity(amount, dose.unit) for amount in (dose.low, dose.high))
        amount = {"doseQuantity": low} if low == high else {"doseRange": {"low": low, "high": high}}
        dosage["doseAndRate"] = [amount]
        repeat = {"frequency": dose.times, "period": dose.period, "periodUnit": dose.period_unit}
        dosage["timing"] = {"repeat": repeat}
    reason = {"reasonCode": [{"text": case.reason}]} if case.reason else {}
    return {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {"text": name},
        "dosageInstruction": [dosage],
        **reason,
        **_subject(),
    }


# --------------------------------------------------------------------------------------------------------------------
# Orders that do not hang on adult kidney function

_PRODUCTS = {"oral": "oral tablet", "iv": "injection"}


def request_other(case: Other) -> Json:
    """The body of the call."""
    sex = {"gender": case.sex} if case.sex else {}
    born = {"birthDate": case.born.isoformat()} if case.born else {}
    measured = ((case.weight, "kg"), (case.height, "cm"), (case.creatinine, "mg/dL"))
    results = [_result(f"obs-{i}", value, unit, 1) for i, (value, unit) in enumerate(measured, 1) if value is not None]
    results += [_result("obs-before", case.before, "mg/dL", 3)] if case.before is not None else []
    results += [_result("obs-albumin", case.albumin, "g/dL", 1)] if case.albumin is not None else []
    conditions = {"kidney transplant": ("Z94.0", "Kidney transplant status"), "congenital": ("P35.1", "Congenital CMV")}
    problems = [_condition(*conditions[case.condition])] if case.condition else []
    procedures = [_dialysis(*_PROCEDURES["haemodialysis"])] if case.dialysis else []
    prefetch: Json = {
        "patient": {"resourceType": "Patient", "id": _PATIENT, **sex, **born},
        "kidney": _bundle(results),
        "conditions": _bundle(problems),
        "procedures": _bundle(procedures),
    }
    others = ("allergies", "reports", "counts", "electrolytes", "virology", "levels", "pregnancy")
    prefetch |= dict.fromkeys(others, _NOTHING)
    if case.list_sent:
        prefetch["medications"] = _bundle([*_companion(case), *_given(case)])
    return {
        "hook": "order-sign",
        "hookInstance": "5d1c9a52-1f27-4f0e-9a35-6f2b6f0d7c11",
        "context": {
            "patientId": _PATIENT,
            "userId": "Practitioner/1",
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": _draft(case)}]},
        },
        "prefetch": prefetch,
    }


def _draft(case: Other) -> Json:
    route = {"code": "47625008" if case.route == "iv" else "26643006", "system": "http://snomed.info/sct"}
    dosage: Json = {"route": {"coding": [route]}}
    if case.dose:
        dose = case.dose
        dosage["doseAndRate"] = [{"doseQuantity": _quantity(dose.low, dose.unit)}]
        dosage["timing"] = {"repeat": {"frequency": dose.times, "period": dose.period, "periodUnit": dose.period_unit}}
    product = f"{case.drug} {'oral solution' if case.drug == 'valganciclovir' else _PRODUCTS[case.route]}"
    return {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {"text": product},
        "dosageInstruction": [dosage],
        **({"reasonCode": [{"text": case.reason}]} if case.reason else {}),
        **_subject(),
    }


def _companion(case: Other) -> list[Json]:
    if not case.companion:
        return []
    return [_active("med-1", case.companion, TODAY - timedelta(days=30), {})]


def _given(case: Other) -> list[Json]:
    """Earlier doses, one order each."""
    dosage = {"doseAndRate": [{"doseQuantity": _quantity(Fraction(5), "mg/kg")}], "text": "once"}
    return [
        _active(f"given-{n}", f"{case.drug} injection", TODAY - timedelta(days=7 * n), {"dosageInstruction": [dosage]})
        | {"status": "completed"}
        for n in range(1, case.given + 1)
    ]


def _active(identifier: str, name: str, authored: date, more: Json) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": identifier,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": name},
        "authoredOn": authored.isoformat(),
        **more,
        **_subject(),
    }
