"""From an expected regimen to a concrete order in the order's own form: mg/kg stays mg/kg, tablets stay tablets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from cdshooks.medicine.compare import in_table_unit
from cdshooks.medicine.dosage import beside, read_giving, read_regimen, regimen_wording, reworded
from cdshooks.medicine.dosage.amount import in_mg
from cdshooks.medicine.dosage.sig import Amount, read_steps
from cdshooks.medicine.dosage.wording import plain, span
from cdshooks.medicine.dosage.words import DoseWords, spelling
from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.phase import phase_said
from cdshooks.medicine.rules.renal_dose import TableRegimen
from cdshooks.model import Dosage, Lab, Missing, Order, Proposal, Regimen, Unread


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
    ordered = order.regimen if isinstance(order.regimen, Regimen) else None
    if order.product.another:
        return None  # which drug is meant has to be settled first
    form = _Form(order, expected, weight, knowledge, mg_per_kg)
    amount = form.as_ordered()
    if amount is None:
        return None
    dose, unit = amount
    once = ordered is not None and ordered.per_day is None and not ordered.after_dialysis
    same_timing = once or (
        ordered is not None
        and ordered.per_day == expected.per_day
        and ordered.per_day_high is None
        and ordered.after_dialysis == expected.after_dialysis
    )
    times = expected.per_day / ordered.per_day if ordered and ordered.per_day else None
    at = ordered.at if ordered else (0,)
    if not same_timing and (len(at) > 1 or _loses_its_end(order, times)):
        return None  # one instruction cannot stand for several, and a first step has to end
    counted = _COUNTED.get(unit, unit if re.search(r"[^\W\d]", unit) else order.product.form)  # "1" names no unit
    printed = f"{counted}s" if counted in _COUNTED.values() and dose != 1 else counted
    per_day = None if once else expected.per_day
    wording = regimen_wording(dose, dose, printed, per_day, expected.after_dialysis and not once)
    often = "" if same_timing else wording.removeprefix(f"{span(dose, dose)} {printed} ")
    texts = form.texts(at, wording, often)
    if texts is None:
        return None
    length, period_unit = expected.span
    return Proposal(
        label=f"{'Change' if order.regimen else 'Set'} to {wording} ({reason})",
        dose=dose,
        unit=unit,
        frequency=expected.frequency,
        period=length,
        period_unit=period_unit,
        after_dialysis=expected.after_dialysis and not once,
        wording=wording,
        same_timing=same_timing,
        sure=sure,
        once=once,
        times=times,
        at=at,
        texts=texts,
    )


def in_order_unit(
    order: Order, expected: TableRegimen, weight: Lab | Missing, knowledge: Knowledge, mg_per_kg: Decimal | None = None
) -> str:
    """The expected dose as the order counts it, where it counts in another unit: " (5040 mg)", else ""."""
    form = _Form(order, expected, weight, knowledge, mg_per_kg)
    amount = form.as_ordered() if isinstance(order.regimen, Regimen) else None
    return f" ({plain(amount[0])} {amount[1]})" if amount and amount[1] in _MEASURED - {expected.dose[1]} else ""


_MEASURED = {"mg", "mg/kg", "mL"}  # tablets are counted


def _loses_its_end(order: Order, times: Decimal | None) -> bool:
    """Is it the first of several steps, for a number of doses that the new frequency does not keep whole?"""
    regimen = order.regimen
    if not isinstance(regimen, Regimen) or not regimen.later or times is None:
        return False
    counts = (order.chart.dosages[place].timing.count for place in regimen.at)
    return any(count is not None and count * times % 1 != 0 for count in counts)


_COUNTED = {"{tbl}": "tablet", "{tablet}": "tablet", "{capsule}": "capsule", "{pill}": "pill"}


@dataclass(frozen=True, slots=True)
class _Form:
    """An expected dose in whatever an order, or a statement in its words, counts in."""

    order: Order
    expected: TableRegimen
    weight: Lab | Missing
    knowledge: Knowledge
    mg_per_kg: Decimal | None

    def as_ordered(self) -> tuple[Decimal, str] | None:
        """(dose, unit) as the order counts: mg, mg/kg, mL, its own word for a tablet or for grams."""
        dose, unit = self.expected.dose
        kind, spelled, factor = _ordered_unit(self.order, self.knowledge.dose_words)
        if kind == "" or (kind == "pill" and not self.order.product.strength_mg):
            # without a dose, and where only the text names the strength, which a bare count would lose
            number = dose if kind == "" else self.number("mg", None)
            return None if number is None else (number, unit if kind == "" else "mg")
        if (
            kind == "mg/kg" and self.number(kind, None) is None
        ):  # the table doses in mg: tablets cannot be cut to a dose per kg
            return dose, unit
        number = self.number(kind, None)
        return None if number is None else (number / factor, spelled if factor != 1 or kind == "pill" else kind)

    def number(self, kind: str, each: Decimal | None) -> Decimal | None:
        """The dose in mg, mg/kg, mL or pieces, the strength of which may be given; None where it has none."""
        dose, unit = self.expected.dose
        if kind == unit:
            return dose
        if kind == "mg/kg":
            return self.mg_per_kg
        judgement, product = self.knowledge.judgement, self.order.product
        milligrams = dose
        if unit == "mg/kg":
            if not isinstance(self.weight, Lab):
                return None
            milligrams = _rounded(dose * self.weight.value, judgement.round_mg)
        if kind == "mg":
            return milligrams
        if kind == "mL" and product.mg_per_ml:
            volume = milligrams / product.mg_per_ml
            return _rounded(volume, [each.step for each in judgement.round_ml if volume >= each.from_ml][-1])
        strength = each or product.strength_mg
        if kind == "pill" and strength:
            count = milligrams / strength
            return count if count == count.to_integral_value() else None  # tablets are never broken
        return None

    def texts(self, at: Sequence[int], wording: str, often: str) -> dict[str, str] | None:
        """The texts of these instructions that restate the old dose, anew; "" for one to be dropped.

        None where the text says more than one dose and the words cannot be told apart.
        """
        words, regimen = self.knowledge.dose_words, self.order.regimen
        old_rate = regimen.per_day if isinstance(regimen, Regimen) else None
        found: dict[str, str] = {}
        for place in at:
            dosage = self.order.chart.dosages[place] if place < len(self.order.chart.dosages) else Dosage()
            for text in (dosage.text, *dosage.further):
                new = reworded(text, self._restated, old_rate, often, words) if text else text
                if text and text == dosage.text and (new is None or not self._reads_right(text, new, often)):
                    if len(read_steps(text, words)) > 1:
                        return None
                    new = "; ".join(dict.fromkeys((self._with_phase(text, wording), *self._beside(text))))
                if new != text:
                    found[text] = new or ""
        return found

    def _restated(self, amount: Amount) -> Decimal | None:
        """The new dose in the unit of an amount that states the old one, 0 if it has none; None for another amount."""
        regimen, words = self.order.regimen, self.knowledge.dose_words
        stated = in_mg(amount, "text", self.order.product, words)
        if not isinstance(regimen, Regimen) or isinstance(stated, Unread):
            return None
        there = Regimen(stated.low, stated.high, stated.unit, None)
        same = in_table_unit(there, regimen.unit, self.weight)
        if same is None or abs(same.high / regimen.high - 1) > self.knowledge.judgement.tolerance:
            return None
        unit = amount.unit
        kind = {"pill": "pill", "vial": "pill", "liquid": "mL"}.get(unit.kind, unit.means)
        number = self.number(kind, amount.each)
        return Decimal(0) if number is None else number / unit.factor

    def _reads_right(self, old: str, new: str, often: str) -> bool:
        """Does the new text read as the expected dose, as far as the old one could be read by itself?"""
        product, words = self.order.product, self.knowledge.dose_words
        before, after = (read_regimen((Dosage(text=text),), product, words) for text in (old, new))
        if not isinstance(before, Regimen):
            return True
        if not isinstance(after, Regimen) or after.later != before.later:
            return False
        here = in_table_unit(after, self.expected.dose[1], self.weight)
        right_dose = (
            here is not None and abs(here.high / self.expected.dose[0] - 1) <= self.knowledge.judgement.tolerance
        )
        per_day = self.expected.per_day if often else before.per_day
        return right_dose and (after.per_day == per_day or after.after_dialysis)

    def _with_phase(self, text: str, wording: str) -> str:
        """The new dose, with the phase that the text names."""
        said = phase_said([("dosage text", text)], self.knowledge.phases)
        return f"{said.phase.value}: {wording}" if said and said.phase else wording

    def _beside(self, text: str) -> tuple[str, ...]:
        """What else the text says: whole clauses, and how the dose is given."""
        words = self.knowledge.dose_words
        kept = beside(text, words)
        giving = read_giving([Dosage(text=text)], (), words)
        still = read_giving([Dosage(text="; ".join(kept))], (), words)
        durations = (each.text for each in giving.durations if each not in still.durations)
        fluids = (f"with {plain(volume)} mL of fluid" for volume in giving.beside_ml if volume not in still.beside_ml)
        return (*durations, *fluids, *kept)


def _rounded(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).quantize(Decimal(1), rounding=ROUND_HALF_UP) * step


def _ordered_unit(order: Order, words: DoseWords) -> tuple[str, str, Decimal]:
    """What the order's dose is counted in, how it spells it, and its size in that.

    In mg, mg/kg, mL or pill; "" without a dose. Spelled "g" it has a size of 1000.
    """
    regimen, dosages = order.regimen, order.chart.dosages
    at = regimen.at if isinstance(regimen, Regimen) else range(len(dosages))
    entries = [entry for place in at for entry in dosages[place].doses]
    entries.sort(key=lambda entry: entry.kind != "ordered")
    for quantity in (entry.low or entry.high for entry in entries):
        if quantity is None:
            continue
        unit = words.units.get(spelling(quantity.code)) or words.units.get(spelling(quantity.unit))
        spelled = quantity.code or quantity.unit
        if unit is None or unit.kind == "pill":
            return "pill", spelled or "{tbl}", Decimal(1)
        return ("mL" if unit.kind == "liquid" else unit.means), spelled, unit.factor
    counted_in = regimen.counted_in if isinstance(regimen, Regimen) else ""
    spelled = next((unit for unit, printed in _COUNTED.items() if printed == counted_in), "")
    return ("pill", spelled, Decimal(1)) if spelled else (counted_in, counted_in, Decimal(1))
