"""The dose worksheet: the regimens that the labels give for the patient's numbers, or for others put in their place.

Every row is what the checks themselves say to an order without a dose; there is no second way to a regimen. Nothing is
written back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from cdshooks.model import Facts, Finding, Indicator, Lab, Missing
from cdshooks.pipeline import evaluate, facts_of
from cdshooks.service.config import Limits
from cdshooks.service.smart import Patient, hook_call
from cdshooks.wire.fhir import objects, read_concept
from cdshooks.wire.hooks import Json, with_answers

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.medicine.rules.flowsheet import WorksheetDrug

NUMBERS: Final = (("creatinine", ("mg/dL", "umol/L")), ("weight", ("kg",)), ("height", ("cm",)))  # units by UCUM
REGIMEN: Final = ("doseAdvice",)  # topics that carry a regimen


@dataclass(frozen=True, slots=True)
class Field:
    """One number of the form. `given` is what the record has, `value` what is in the form, `problem` why not used."""

    name: str
    label: str
    given: str
    value: str
    unit: str
    units: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What the checks say to one product for one purpose."""

    product: str
    purpose: str
    regimen: str
    doses: tuple[str, ...]  # the same in milligrams, where the label doses per kg
    remarks: tuple[tuple[str, str], ...]  # (indicator, words)
    because: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Worksheet:
    """The form and its rows; `changed` when some number is not the record's."""

    fields: tuple[Field, ...]
    rows: tuple[Row, ...]
    changed: bool


def worksheet(
    patient: Patient, asked: Mapping[str, str], *, knowledge: "Knowledge", today: date, zone: tzinfo, limits: Limits
) -> Worksheet:
    """The worksheet of a patient. `asked` are the fields of the form: `creatinine`, `creatinine_unit`, `weight` ..."""
    opened = hook_call("patient-view", {"patientId": patient.identifier}, limits)
    facts = facts_of(with_answers(opened, patient.answers), knowledge=knowledge, today=today, zone=zone)
    fields = tuple(_fields(facts, asked, knowledge))
    changed = {
        field.name: field for field in fields if field.value != field.given and field.value and not field.problem
    }
    answers = dict(patient.answers)
    for field in changed.values():
        answers["kidney"] = _put_in(answers["kidney"], field, patient.identifier, knowledge, today)
    weight = facts_of(with_answers(opened, answers), knowledge=knowledge, today=today, zone=zone).newest("weight")
    rows = []
    for drug in knowledge.flowsheet.worksheet:
        for purpose in drug.purposes:  # each in a call of its own: beside one another they would be a duplicate therapy
            call = with_answers(hook_call("order-select", _context(patient.identifier, drug, purpose), limits), answers)
            findings = evaluate(call, knowledge=knowledge, today=today, zone=zone).findings
            rows.append(_row(drug.product, purpose, findings, weight))
    return Worksheet(fields, tuple(rows), bool(changed))


def _context(patient: str, drug: "WorksheetDrug", purpose: str) -> Json:
    """An order without a dose."""
    order = {
        "resourceType": "MedicationRequest",
        "id": "worksheet",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{patient}"},
        "medicationCodeableConcept": {"text": drug.product},
        "reasonCode": [{"text": purpose}],
        "dosageInstruction": [{"route": {"text": drug.route}}],
    }
    return {
        "patientId": patient,
        "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": order}]},
        "selections": ["MedicationRequest/worksheet"],
    }


def _fields(facts: Facts, asked: Mapping[str, str], knowledge: "Knowledge") -> Iterator[Field]:
    for name, units in NUMBERS:
        analyte, newest = knowledge.codes.analytes[name], facts.newest(name)
        given = f"{newest.value.normalize():f}" if isinstance(newest, Lab) else ""
        typed = asked.get(name, "").strip()
        unit = asked.get(f"{name}_unit", units[0])
        unit = unit if unit in units else units[0]
        problem = ""
        if typed:
            try:
                number = Decimal(typed.replace(",", "."))
                if not number.is_finite() or number <= 0:
                    problem = "write a number above zero"
            except InvalidOperation:
                problem = "write a number, such as 1.4"
        yield Field(name, analyte.name, given, typed or given, unit, units, problem)


def _put_in(answer: Json | Missing, field: Field, patient: str, knowledge: "Knowledge", today: date) -> Json:
    """The results with one number in place of all of its kind: an earlier value says nothing about a supposed one."""
    kept = []
    for entry in objects(answer.get("entry")) if not isinstance(answer, Missing) else []:
        resource: Any = entry.get("resource")
        mapped = knowledge.codes.analyte(read_concept(resource.get("code"))) if isinstance(resource, dict) else None
        if mapped is None or mapped[0].key != field.name:
            kept.append(entry)
    number = Decimal(field.value.replace(",", "."))
    supposed = {
        "resourceType": "Observation",
        "id": f"worksheet-{field.name}",
        "status": "final",
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": today.isoformat(),
        "code": {"coding": [{"system": "http://loinc.org", "code": knowledge.codes.loinc_of(field.name)}]},
        "valueQuantity": {
            "value": float(number),
            "unit": field.unit,
            "system": "http://unitsofmeasure.org",
            "code": field.unit,
        },
    }
    return {"resourceType": "Bundle", "type": "searchset", "entry": [*kept, {"resource": supposed}]}


def _row(product: str, purpose: str, findings: tuple[Finding, ...], weight: Lab | Missing) -> Row:
    about = [f for f in findings if f.order is not None and f.order.ref == "MedicationRequest/worksheet"]
    advice = [f for f in about if f.topic in REGIMEN]
    others = sorted((f for f in about if f.topic not in REGIMEN), key=lambda f: -f.indicator)
    return Row(
        product=product,
        purpose=purpose,
        regimen=advice[0].expected if advice else "",
        doses=tuple(dict.fromkeys(_milligrams(advice, weight))),
        remarks=tuple(
            (f.indicator.name.lower(), f.summary) for f in others if f.indicator > Indicator.INFO or not advice
        ),
        because=tuple(dict.fromkeys(line for f in advice for line in f.because)),
        sources=tuple(dict.fromkeys(f"{c.source}, {c.section}" for f in advice for c in f.citations)),
    )


def _milligrams(advice: list[Finding], weight: Lab | Missing) -> Iterator[str]:
    for proposal in (proposal for finding in advice for proposal in finding.proposals):
        if proposal.unit == "mg/kg" and isinstance(weight, Lab):
            dose, kg = proposal.dose, weight.value
            yield f"{dose.normalize():f} mg/kg x {kg.normalize():f} kg = {dose * kg:.0f} mg"
