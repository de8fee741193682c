"""Structured suggestions: the draft with its dose mended, a laboratory order, the removal of a draft.

The client's own resource is copied and only its dose and timing change; whatever restates the old dose goes with it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from cdshooks.model import ChartOrder, LabRequest, Proposal
from cdshooks.wire.fhir import objects
from cdshooks.wire.hooks import Json

_UCUM = "http://unitsofmeasure.org"
_LOINC = "http://loinc.org"
_OLD_TIMING = (
    "frequencyMax",
    "periodMax",
    "timeOfDay",
    "dayOfWeek",
    "when",
    "offset",
    "count",
    "countMax",
    "periodUnit",
    "periodUnits",
)


def mended_order(order: ChartOrder, proposal: Proposal, release: str) -> Json:
    """A copy of the draft with the proposed dose and timing, in the release it came in."""
    resource: Json = orjson.loads(orjson.dumps(order.raw))  # the quickest deep copy
    dosages = objects(resource.get("dosageInstruction")) or [{}]
    for dosage in (dosage for place, dosage in enumerate(dosages) if place in proposal.at):
        _mend(dosage, proposal, release)
    resource.pop("renderedDosageInstruction", None)
    resource["dosageInstruction"] = dosages
    return resource


def _mend(dosage: Json, proposal: Proposal, release: str) -> None:
    """One dosage instruction with the proposed dose and timing."""
    quantity = _quantity(proposal, dosage)
    on_dosage = release in ("DSTU2", "STU3")
    for name in ("doseQuantity", "doseRange", "doseSimpleQuantity", "maxDosePerPeriod", "maxDosePerAdministration"):
        dosage.pop(name, None)
    if on_dosage:
        dosage["doseQuantity"] = quantity
        dosage.pop("doseAndRate", None)
    else:
        entries = objects(dosage.get("doseAndRate"))
        with_dose = sorted((e for e in entries if "doseQuantity" in e or "doseRange" in e), key=_is_calculated)
        kept = next(iter([*with_dose, *entries]), {})
        rates = {name: value for e in entries for name, value in e.items() if name.startswith("rate")}
        entry = {n: v for n, v in kept.items() if n not in ("doseRange", "doseSimpleQuantity", "extension")} | rates
        dosage["doseAndRate"] = [entry | {"doseQuantity": quantity}]
    _without_old_dose_extension(dosage)
    if timing := _timing(dosage.get("timing"), proposal, release):
        dosage["timing"] = timing
    _mend_texts(dosage, proposal)


def _is_calculated(entry: Json) -> bool:
    """A statement of a dose that somebody computed, beside the one that was ordered."""
    return "calculated" in orjson.dumps(entry.get("type")).decode().lower()


def _mend_texts(dosage: Json, proposal: Proposal) -> None:
    """The texts that restate the old dose: anew, or gone."""
    for holder, name in _texts(dosage):
        old = holder[name].strip()
        if old in proposal.texts:
            holder[name] = proposal.texts[old]
        if not holder[name]:
            del holder[name]
    for name in ("additionalInstruction", "additionalInstructions"):
        if name in dosage:
            kept = [concept for concept in objects(dosage[name]) if concept]
            dosage[name] = kept if isinstance(dosage[name], list) else next(iter(kept), None)
            if not dosage[name]:
                del dosage[name]
    if proposal.after_dialysis and not proposal.same_timing and "dialysis" not in str(dosage.get("text", "")).lower():
        dosage["text"] = "; ".join(filter(None, [proposal.wording, dosage.get("text")]))


def _texts(dosage: Json) -> list[tuple[Json, str]]:
    """Where an instruction says something in words: (object, name of the field)."""
    found = [(dosage, "text"), (dosage, "patientInstruction")]
    for name in ("additionalInstruction", "additionalInstructions"):
        for concept in objects(dosage.get(name)):
            found += [(coding, "display") for coding in objects(concept.get("coding"))] + [(concept, "text")]
    return [(holder, name) for holder, name in found if isinstance(holder.get(name), str)]


def _quantity(proposal: Proposal, dosage: Json) -> Json:
    """The dose in the order's own unit, spelled and coded as it was where the unit stays."""
    printed = {"{tbl}": "tablet"}.get(proposal.unit, proposal.unit.strip("{}"))
    value = {"value": _number(proposal.dose), "unit": printed}
    for holder in (dosage, *objects(dosage.get("doseAndRate"))):
        for old in (*objects(holder.get("doseQuantity")), *objects(holder.get("doseRange"))):
            given = next(iter(objects(old.get("high"))), old)
            if proposal.unit in (given.get("code"), given.get("unit")):
                return value | {name: given[name] for name in ("unit", "system", "code") if given.get(name)}
    return value | {"system": _UCUM, "code": proposal.unit}


def _without_old_dose_extension(dosage: Json) -> None:
    kept = [e for e in objects(dosage.get("extension")) if not str(e.get("url", "")).endswith("/ordered-dose")]
    if "extension" in dosage:
        del dosage["extension"]
        if kept:
            dosage["extension"] = kept


def _timing(old: Any, proposal: Proposal, release: str) -> Json:
    timing: Json = dict(next(iter(objects(old)), {}))
    given = next(iter(objects(timing.get("repeat"))), {})
    if proposal.once:
        return timing or {"repeat": {"count": 1}}
    if proposal.same_timing and given.get("frequency") and given.get("period"):
        return timing  # only the dose changes
    repeat: Json = {k: v for k, v in given.items() if k not in _OLD_TIMING}
    repeat |= {
        "frequency": proposal.frequency,
        "period": _number(proposal.period),
        "periodUnits" if release == "DSTU2" else "periodUnit": proposal.period_unit,
    }
    count = given.get("count")
    if isinstance(count, int) and proposal.times and count * proposal.times % 1 == 0:
        repeat["count"] = int(count * proposal.times)  # as many days as before
    if proposal.doses:
        repeat["count"] = proposal.doses
    for name in ("code", "event"):
        timing.pop(name, None)
    return timing | {"repeat": repeat}


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def laboratory_order(request: LabRequest, patient_id: str, release: str) -> Json:
    """An order for a laboratory test, in the resource type of the release."""
    code: Mapping[str, Any] = {
        "coding": [{"system": _LOINC, "code": request.loinc, "display": request.name}],
        "text": request.name,
    }
    subject = {"reference": f"Patient/{patient_id}"}
    if release == "DSTU2":
        return {"resourceType": "DiagnosticOrder", "status": "proposed", "subject": subject, "item": [{"code": code}]}
    kind = "ProcedureRequest" if release == "STU3" else "ServiceRequest"
    coded = {"concept": code} if release == "R5" else code
    return {"resourceType": kind, "status": "draft", "intent": "proposal", "code": coded, "subject": subject}
