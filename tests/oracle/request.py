"""A case as an order-sign call (FHIR R4), the way a client sends it."""

from datetime import timedelta
from fractions import Fraction
from typing import Any

from .cases import TODAY, Case
from .labels import DRUGS

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
        prefetch["conditions"] = _bundle([_dependence_on_dialysis()])
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
        {
            "resourceType": "Observation",
            "id": f"obs-{position}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": _LOINC[unit]}]},
            "effectiveDateTime": (TODAY - timedelta(days=days)).isoformat(),
            "valueQuantity": _quantity(value, unit),
            **_subject(),
        }
        for position, (value, unit, days) in enumerate(measured, 1)
        if value is not None
    ]


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


def _dependence_on_dialysis() -> Json:
    name = "Dependence on renal dialysis"
    coding = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "Z99.2", "display": name}
    states = "http://terminology.hl7.org/CodeSystem"
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
