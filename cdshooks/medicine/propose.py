"""From an expected regimen to a concrete order in the order's own form: mg/kg stays mg/kg, tablets stay tablets."""

import re
from decimal import ROUND_HALF_UP, Decimal

from cdshooks.medicine.dosage import regimen_wording
from cdshooks.medicine.dosage.words import DoseWords, spelling
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.renal_dose import TableRegimen
from cdshooks.model import Lab, Missing, Order, Proposal, Regimen


def proposal(
    order: Order,
    expected: TableRegimen,
    reason: str,
    weight: Lab | Missing,
    knowledge: Knowledge,
    *,
    sure: bool,
    mg_per_kg: Decimal | None = None,
) -> Proposal | None:
    """The suggestion that would make the order the expected regimen, or None where its form cannot hold that dose.

    `reason` ends the label; `sure` is False when the kidney function behind it is in doubt. `mg_per_kg` is a dose in mg
    as an order per kg gives it, where its product can.
    """
    ordered = order.regimen
    if order.product.another:
        return None  # which drug is meant has to be settled first
    if isinstance(ordered, Regimen) and (ordered.later or len(order.chart.dosages) > 1):
        return None  # one instruction cannot stand for several
    amount = _in_form(order, expected, weight, knowledge, mg_per_kg)
    if amount is None:
        return None
    dose, unit = amount
    length, period_unit = expected.span
    counted = _COUNTED.get(unit, unit if re.search(r"[^\W\d]", unit) else order.product.form)  # "1" names no unit
    printed = f"{counted}s" if counted in _COUNTED.values() and dose != 1 else counted
    wording = regimen_wording(dose, dose, printed, expected.per_day, expected.after_dialysis)
    return Proposal(
        label=f"{'Change' if order.regimen else 'Set'} to {wording} ({reason})",
        dose=dose,
        unit=unit,
        frequency=expected.frequency,
        period=length,
        period_unit=period_unit,
        after_dialysis=expected.after_dialysis,
        wording=wording,
        same_timing=isinstance(ordered, Regimen)
        and ordered.per_day == expected.per_day
        and ordered.per_day_high is None
        and ordered.after_dialysis == expected.after_dialysis,
        sure=sure,
    )


_COUNTED = {"{tbl}": "tablet", "{tablet}": "tablet", "{capsule}": "capsule", "{pill}": "pill"}


def _in_form(
    order: Order, expected: TableRegimen, weight: Lab | Missing, knowledge: Knowledge, mg_per_kg: Decimal | None
) -> tuple[Decimal, str] | None:
    """(dose, unit) of the expected dose as the order counts: mg, mg/kg, mL, or its own word for a tablet."""
    dose, unit = expected.dose
    kind, spelled = _ordered_unit(order, knowledge.dose_words)
    if kind in ("", unit):
        return dose, unit
    if kind == "mg/kg":  # the table doses in mg: tablets cannot be cut to a dose per kg
        return (mg_per_kg, kind) if mg_per_kg else (dose, unit)
    milligrams = dose
    if unit == "mg/kg":
        if not isinstance(weight, Lab):
            return None
        step = knowledge.judgement.round_mg
        milligrams = _rounded(dose * weight.value, step)
    if kind == "mg":
        return milligrams, kind
    if kind == "mL" and order.product.mg_per_ml:
        volume = milligrams / order.product.mg_per_ml
        steps = [each.step for each in knowledge.judgement.round_ml if volume >= each.from_ml]
        return _rounded(volume, steps[-1]), kind
    if kind == "pill" and not order.product.strength_mg:
        return milligrams, "mg"  # only the text names the strength: a bare count would lose it
    if kind == "pill" and order.product.strength_mg:
        count = milligrams / order.product.strength_mg
        return (count, spelled) if count == count.to_integral_value() else None  # tablets are never broken
    return None


def _rounded(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).quantize(Decimal(1), rounding=ROUND_HALF_UP) * step


def _ordered_unit(order: Order, words: DoseWords) -> tuple[str, str]:
    """What the order's dose is counted in (mg, mg/kg, mL, pill; "" without a dose) and how it spells it."""
    entries = [entry for dosage in order.chart.dosages for entry in dosage.doses]
    entries.sort(key=lambda entry: entry.kind != "ordered")
    for quantity in (entry.low or entry.high for entry in entries):
        if quantity is None:
            continue
        unit = words.units.get(spelling(quantity.code)) or words.units.get(spelling(quantity.unit))
        spelled = quantity.code or quantity.unit
        if unit is None or unit.kind == "pill":
            return "pill", spelled or "{tbl}"
        return ("mL" if unit.kind == "liquid" else unit.means), spelled
    counted_in = order.regimen.counted_in if isinstance(order.regimen, Regimen) else ""
    spelled = next((unit for unit, printed in _COUNTED.items() if printed == counted_in), "")
    return ("pill", spelled) if spelled else (counted_in, counted_in)
