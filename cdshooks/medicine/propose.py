"""From an expected regimen to a concrete order in the form the order already has: mg/kg stays mg/kg, tablets stay tablets."""

from decimal import ROUND_HALF_UP, Decimal

from cdshooks.medicine.dosage import ordered_unit, regimen_wording
from cdshooks.medicine.knowledge import Knowledge, TableRegimen
from cdshooks.model import Lab, Missing, Order, Proposal


def proposal(
    order: Order, expected: TableRegimen, phase: str, weight: Lab | Missing, knowledge: Knowledge
) -> Proposal | None:
    """The suggestion that would make the order the expected regimen, or None where its form cannot hold that dose."""
    amount = _in_form(order, expected, weight, knowledge)
    if amount is None:
        return None
    dose, unit = amount
    length, period_unit = expected.span
    wording = regimen_wording(dose, dose, _READABLE.get(unit, unit), expected.per_day, expected.after_dialysis)
    return Proposal(
        label=f"Change to {wording} ({phase})",
        dose=dose,
        unit=unit,
        frequency=expected.frequency,
        period=length,
        period_unit=period_unit,
        after_dialysis=expected.after_dialysis,
        wording=wording,
    )


_READABLE = {"{tbl}": "tablet", "{capsule}": "capsule"}


def _in_form(
    order: Order, expected: TableRegimen, weight: Lab | Missing, knowledge: Knowledge
) -> tuple[Decimal, str] | None:
    """(dose, unit) of the expected dose in the unit of the order: "mg", "mg/kg", "{tbl}", "{capsule}" or "mL"."""
    dose, unit = expected.dose
    wanted = ordered_unit(order.chart.dosages, knowledge.dose_words) or unit
    if wanted == unit:
        return dose, unit
    if unit == "mg/kg":
        if not isinstance(weight, Lab):
            return None
        step = knowledge.judgement.round_mg
        milligrams = (dose * weight.value / step).quantize(Decimal(1), rounding=ROUND_HALF_UP) * step
    else:
        milligrams = dose
    product = order.product
    if wanted == "mg":
        return milligrams, "mg"
    if wanted == "mg/kg":
        return (milligrams / weight.value, "mg/kg") if isinstance(weight, Lab) else None
    if wanted == "mL" and product.mg_per_ml:
        return milligrams / product.mg_per_ml, "mL"
    if wanted in _READABLE and product.strength_mg:
        count = milligrams / product.strength_mg
        return (count, wanted) if count == count.to_integral_value() else None  # tablets are never broken
    return None
