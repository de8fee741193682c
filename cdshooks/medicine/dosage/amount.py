"""How much is given at once: each statement of the dose brought to mg, mg/kg or mg/m2; all must agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from cdshooks.medicine.dosage.sig import Amount
from cdshooks.medicine.dosage.timing import Often
from cdshooks.medicine.dosage.wording import plain, quote, span
from cdshooks.medicine.dosage.words import DoseWords, Unit, spelling
from cdshooks.model import DoseEntry, Ingredient, Product, Quantity, Unread

_KINDS = ("ordered", "calculated", "admin-amount", "", "text")  # of two statements of a dose, the earlier one is shown


@dataclass(frozen=True, slots=True)
class Dose:
    """One statement of the dose in mg, mg/kg or mg/m2; `kind` is that of its entry, or "text"."""

    low: Decimal
    high: Decimal
    unit: str
    kind: str
    how: str
    per_day: bool = False
    volume: bool = False
    assumed: bool = False
    counted_in: str = ""  # mg, mg/kg, mL, tablet, vial: what was converted
    each: Decimal | None = None  # mg in one of them
    beside: tuple[Decimal, Decimal] | None = None  # of a dose per kg the mg that are stated as well

    @property
    def wording(self) -> str:
        """The dose as written: "900 mg"."""
        return f"{span(self.low, self.high)} {self.unit}"

    @property
    def rank(self) -> tuple[bool, bool, bool, int, Decimal, Decimal, str]:
        """Which statement stands for the dose: structured before text, the ordered one, per kg before mg."""
        kind = _KINDS.index(self.kind) if self.kind in _KINDS else _KINDS.index("")
        return self.kind == "text", kind != 0, self.unit == "mg", kind, self.low, self.high, self.how


def unit_of(quantity: Quantity, product: Product, words: DoseWords) -> tuple[Unit, bool] | Unread:
    """The unit of a quantity, and whether it is an assumption (a bare small count of a tablet or capsule)."""
    sent = [text for text in (quantity.code, quantity.unit) if text and text != "1"]
    known = [words.units.get(spelling(text)) for text in sent]
    if (
        len(known) == 2
        and known[0]
        and known[1]
        and known[0] != known[1]
        and {known[0].kind, known[1].kind} != {"pill"}
    ):
        return Unread(f"unit {quote(quantity.unit)} and code {quote(quantity.code)} of the dose disagree")
    unit = next((one for one in known if one), None)
    if sent and unit is None:
        return Unread(f"the unit {quote(sent[-1])} is not known")
    if unit is not None and unit.means != "pill":
        return unit, False
    small = quantity.value <= words.loose_count_most and quantity.value % words.loose_count_step == 0
    if not small or product.form not in words.solid_forms:
        return Unread(f"{plain(quantity.value)} without a unit that says of what")
    return unit or Unit("pill", product.form), unit is None


def entry_amount(entry: DoseEntry, product: Product, words: DoseWords) -> tuple[Amount, bool] | Unread:
    """A structured dose as an amount, and whether its unit is an assumption."""
    if entry.high is None:
        return Unread("the dose is a range with an open end" if entry.low else "a dose without a number")
    up_to = entry.low is None  # then the most it may be stands for the dose
    entry = replace(entry, low=entry.low or entry.high)
    if entry.low is None or entry.high is None:
        return Unread("a dose without a number")
    for quantity in (entry.low, entry.high):
        if quantity.comparator:
            return Unread(f"the dose is open-ended ({quantity.comparator})")
        if not quantity.value.is_finite() or not 0 < quantity.value <= words.largest_number:
            return Unread("the dose is not a usable number")
    low, high = unit_of(entry.low, product, words), unit_of(entry.high, product, words)
    if isinstance(low, Unread):
        return low
    if low != high or entry.low.value > entry.high.value:
        return Unread("the two ends of the dose range do not fit")
    unit, assumed = low
    text = f"{span(entry.low.value, entry.high.value)} {entry.low.unit or entry.low.code or unit.means}"
    text = f"up to {text}" if up_to else text
    return Amount(entry.low.value, entry.high.value, unit, text, per_day=unit.per_day), assumed or up_to


def with_ingredient(product: Product, part: Ingredient, salts: Mapping[Decimal, Decimal], words: DoseWords) -> Product:
    """The product with the strength that an ingredient states; one that contradicts what its code or name states: none.

    `salts` has the mg of the drug for the mg of a salt.
    """
    if part.amount is None or (part.per is not None and part.per.value <= 0):
        return product
    held, per = words.units.get(spelling(part.amount.code or part.amount.unit)), part.per
    whole = (per.code or per.unit) if per else ""
    unit = words.units.get(spelling(whole)) if whole != "1" else None
    if held is None or held.means != "mg" or (whole not in ("", "1") and unit is None):
        return product
    liquid = unit is not None and unit.kind == "liquid"
    if not liquid and unit is not None and unit.kind not in ("pill", "vial"):
        return product
    stated = part.amount.value * held.factor / ((per.value if per else 1) * (unit.factor if unit else 1))
    stated = stated if liquid else salts.get(stated, stated)
    known = None if product.assumed else product.mg_per_ml if liquid else product.strength_mg
    if known is not None and abs(known - stated) > words.agree_within * known:
        printed = "mg/mL" if liquid else "mg"
        why = f"it is given as {plain(known)} {printed} and, of the ingredient, as {plain(stated)} {printed}"
        return replace(_with_strength(product, None, liquid=liquid), unclear=why)
    if known is not None or product.unclear:
        return product
    if product.assumed:
        product = replace(product, assumed=False, strength_mg=None, mg_per_ml=None)
    return _with_strength(product, stated, liquid=liquid)


def _with_strength(product: Product, strength: Decimal | None, *, liquid: bool) -> Product:
    return replace(product, mg_per_ml=strength) if liquid else replace(product, strength_mg=strength)


def in_mg(amount: Amount, kind: str, product: Product, words: DoseWords) -> Dose | Unread:
    """An amount in mg, mg/kg or mg/m2. Pieces need the strength, a volume the concentration."""
    unit = amount.unit
    if not 1 / words.largest_number <= amount.low <= amount.high <= words.largest_number:
        return Unread("the dose is not a usable number")
    if unit.kind == "mass":
        low, high = amount.low * unit.factor, amount.high * unit.factor
        return Dose(low, high, unit.means, kind, amount.text, amount.per_day, counted_in=unit.means)
    if unit.kind not in ("pill", "vial", "liquid"):
        return Unread(f"{quote(amount.text)} is a rate or a concentration, not a dose")
    liquid = unit.kind == "liquid"
    strength, why = product.mg_per_ml if liquid else product.strength_mg, product.unclear
    forms = words.solid_forms if unit.kind == "pill" else words.vial_forms
    if not liquid and product.form and product.form not in forms:
        return Unread(f"{quote(amount.text)} does not fit the form ordered ({product.form})")
    if amount.each is not None and not product.assumed and strength not in (None, amount.each):
        return Unread(f"{quote(amount.text)} names another strength than the product ordered")
    each = amount.each if amount.each is not None else strength
    if each is None:
        lacking = "concentration of the liquid" if liquid else f"strength of the {unit.means}"
        return Unread(f"{quote(amount.text)}, but the {lacking} is not known" + (f": {why}" if why else ""))
    origin = "the text" if amount.each is not None else product.recognised_by
    per = "mg/mL" if liquid else "mg"
    count = span(amount.low * unit.factor, amount.high * unit.factor)
    how = f"{count} {unit.means} x {plain(each)} {per} (strength from {origin})"
    low, high = amount.low * unit.factor * each, amount.high * unit.factor * each
    return Dose(low, high, "mg", kind, how, amount.per_day, volume=liquid, counted_in=unit.means, each=each)


def one_dose(doses: Sequence[Dose], often: Often | None, product: Product, words: DoseWords) -> Dose | Unread:
    """The dose of one administration, on which all statements agree; mg and mg/kg need a weight to be compared."""
    if product.form in words.diluted_forms and not all(dose.volume for dose in doses):
        doses = [dose for dose in doses if not dose.volume]
    each: list[Dose] = []
    for dose in doses:
        if not dose.per_day:
            each.append(dose)
        elif often is None or often.rate is None or often.rate[0] != often.rate[1] or often.rate[0] < 1:
            return Unread(f"{quote(dose.how)} is an amount per day, and how many doses it is split into is not given")
        else:
            number = Decimal(often.rate[0].numerator) / Decimal(often.rate[0].denominator)
            how = f"{dose.how}, an amount per day, divided by {plain(number)}"
            each.append(replace(dose, low=dose.low / number, high=dose.high / number, how=how, per_day=False))
    each.sort(key=lambda dose: dose.rank)
    for other in each:
        same = next(dose for dose in each if dose.unit == other.unit)
        if max(abs(same.low - other.low), abs(same.high - other.high)) > words.agree_within * same.low:
            return Unread(
                f"two doses are given: {same.wording} ({quote(same.how)}) and {other.wording} ({quote(other.how)})"
            )
    chosen = each[0]
    first = next(dose for dose in doses if (dose.kind, dose.unit) == (chosen.kind, chosen.unit))
    chosen = replace(chosen, counted_in=first.counted_in, each=first.each)  # of those that agree, the first one
    also = next((other for other in each if other.unit != chosen.unit), None)
    if also is None:
        return chosen
    weighed = (chosen.unit, also.unit) == ("mg/kg", "mg")
    how = f"{chosen.how}; also given as {also.wording}{'' if weighed else ', not compared'}"
    return replace(chosen, how=how, beside=(also.low, also.high) if weighed else None)
