"""Reading an order honestly: dosage instructions, structured or as text, become one regimen, or a reason why not.

Every statement of the dose and of the frequency has to agree with the others (`amount`, `timing`); texts are
read by `sig`. What cannot be read with certainty is refused in words: a wrong guess is worse than none. No patient, no
expected dose, no FHIR here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil

from cdshooks.medicine.dosage.amount import Dose, entry_amount, in_mg, one_dose
from cdshooks.medicine.dosage.amount import with_ingredient as with_ingredient
from cdshooks.medicine.dosage.giving import Giving as Giving
from cdshooks.medicine.dosage.giving import Rate as Rate
from cdshooks.medicine.dosage.giving import infused_at_once
from cdshooks.medicine.dosage.giving import read_giving as read_giving
from cdshooks.medicine.dosage.rewording import beside as beside
from cdshooks.medicine.dosage.rewording import reworded as reworded
from cdshooks.medicine.dosage.sig import Amount, Sig, amounts_in, read_sig, read_steps, volumes_in
from cdshooks.medicine.dosage.timing import Often, read_timing
from cdshooks.medicine.dosage.wording import often_wording, plain, quote, span
from cdshooks.medicine.dosage.wording import regimen_wording as regimen_wording
from cdshooks.medicine.dosage.words import DoseWords, Unit
from cdshooks.medicine.dosage.words import load_dose_words as load_dose_words
from cdshooks.medicine.dosage.words import spelling as spelling
from cdshooks.model import Dosage, Product, Regimen, Step, Timing, Unread

_NO_PART_OF_A_DOSE = ("route", "site", "method", "rate")  # unreadable fields of an instruction that others report


def _no_dose(dosage: Dosage, sig: Sig, *, goes_on: bool) -> Unread | None:
    """What to say of an instruction without an amount: no dose was given yet (None), or it cannot be read."""
    timing = dosage.timing
    timed = bool(sig.schedule.rates or sig.schedule.slots or timing.period is not None or timing.code)
    if dosage.rate is not None:
        return Unread("only an infusion rate is given")
    if sig.unplaced:
        return Unread(f"{quote(dosage.text)}: it is not clear what {quote(sig.unplaced[0])} means")
    if sig.amount_aside or sig.strengths or goes_on or (sig.loose_unit and timed):
        return Unread(f"{quote(dosage.text)}: {sig.refused or 'it does not say how much to give'}")
    return None


def _doubt(dosage: Dosage, sig: Sig, product: Product) -> str:
    """Why the text must not be used, "" if it may."""
    if sig.refused:
        return f"{quote(dosage.text)}: {sig.refused}"
    if sig.unplaced:
        return f"{quote(dosage.text)}: it is not clear what {quote(sig.unplaced[0])} means"
    if sig.divided and not any(amount.per_day for amount in sig.amounts):
        return f"{quote(dosage.text)}: it divides a dose that is not given per day"
    if sig.only_systemic and not product.systemic:
        return f"{quote(dosage.text)}: “od” may mean the right eye"
    return ""


def _read_one(dosage: Dosage, product: Product, words: DoseWords) -> Regimen | Unread | None:
    """The regimen of one instruction, with the later steps of its text; None when it gives no dose."""
    first, *rest = read_steps(dosage.text, words)
    read = _read_step(dosage, first, product, words, goes_on=bool(rest))
    if isinstance(read, Unread) and not rest:
        return replace(read, either=_either(dosage, product, words))
    if not isinstance(read, Regimen) or not rest:
        return read
    if read.per_day is None and not read.after_dialysis:
        return Unread(f"{quote(dosage.text)}: a single dose, then another one")
    steps, before = [], read
    for sig in rest:
        if not sig.amounts:  # "then once daily": the dose stays
            unit = Unit("mass", before.unit)
            sig = replace(sig, amounts=(Amount(before.low, before.high, unit, before.wording),))
        alone = Dosage(text=dosage.text, as_needed=dosage.as_needed)
        step = _read_step(alone, sig, product, words, goes_on=False)
        steps.append(Step(step or Unread(f"{quote(sig.said)} gives no dose"), sig.said))
        before = step if isinstance(step, Regimen) else before
    notes = (*read.read_from, f"the first of {len(rest) + 1} steps in the text")
    return replace(read, read_from=notes, sure=False, as_it_stands=False, later=tuple(steps))


def _either(dosage: Dosage, product: Product, words: DoseWords) -> tuple[Regimen, ...]:
    """What the fields say and what the text says, where they contradict each other and both say a whole dose.

    What the text leaves out, the dose or how often, the fields complete.
    """
    if not dosage.text or not dosage.doses or dosage.timing == Timing():
        return ()
    fields = _read_one(replace(dosage, text="", further=()), product, words)
    alone = Dosage(text=dosage.text, as_needed=dosage.as_needed)
    texts = (alone, replace(alone, timing=dosage.timing), replace(alone, doses=dosage.doses))
    said = next((read for text in texts if isinstance(read := _read_one(text, product, words), Regimen)), None)
    return (fields, said) if isinstance(fields, Regimen) and said else ()


def _read_step(
    dosage: Dosage, sig: Sig, product: Product, words: DoseWords, *, goes_on: bool
) -> Regimen | Unread | None:
    """The regimen of one instruction, of whose text `sig` is the step; None when it gives no dose."""
    blocked = [path for path in dosage.unreadable if not path.split(".")[-1].startswith(_NO_PART_OF_A_DOSE)]
    if blocked:
        return Unread(f"the field {quote(blocked[0])} is not readable")
    beside = [one for one in (read_sig(text, words) for text in dosage.further) if not one.refused and not one.unplaced]
    sig = replace(sig, amounts=(*sig.amounts, *(amount for one in beside for amount in one.amounts if _solid(amount))))
    by_rate = None if dosage.doses or sig.amounts else _by_rate(dosage, product, words)
    if not dosage.doses and not sig.amounts and by_rate is None:
        return _no_dose(dosage, sig, goes_on=goes_on)
    if sig.strengths and product.strength_mg is None and len(sig.strengths) == 1:
        product = replace(product, strength_mg=sig.strengths[0], recognised_by="the text")
    elif sig.strengths and sig.strengths != (product.strength_mg,):
        return Unread(f"{quote(dosage.text)}: it names another strength than the product ordered")
    concentrated = _of_concentration(dosage, sig, product, words)
    if isinstance(concentrated, Unread):
        return concentrated
    product = concentrated
    timed = read_timing(dosage.timing, sig, words, [one for one in beside if _solid(*one.amounts) and one.bids])
    if isinstance(timed, Unread):
        return timed
    doses = [by_rate] if by_rate else []
    lacking: list[Unread] = []
    for entry in dosage.doses:
        read = entry_amount(entry, product, words)
        if isinstance(read, Unread):
            return read
        dose = in_mg(read[0], entry.kind, product, words)
        if isinstance(dose, Unread):
            lacking.append(dose)
        else:
            doses.append(replace(dose, assumed=read[1]))
    structured = bool(doses) and timed.structured
    doubt = _doubt(dosage, sig, product)
    if doubt and not structured:
        return Unread(doubt)
    for amount in sig.amounts:
        dose = in_mg(amount, "text", product, words)
        if isinstance(dose, Unread):
            lacking.append(dose)
        else:
            doses.append(dose)
    if lacking and (not doses or all(dose.kind == "text" for dose in doses)):
        return lacking[
            0
        ]  # also for "2 tablets (450 mg)": without the strength nobody knows if that is one tablet or both
    chosen = one_dose(doses, timed.often, product, words)
    if isinstance(chosen, Unread):
        return chosen
    if timed.often is None:
        return Unread(f"{chosen.wording} is given, but not how often")
    notes = [f"dose: {chosen.how}", f"timing: {', '.join(timed.sources)}"]
    notes += [f"the text was not used: {doubt}"] if doubt else []
    notes += ["a month is taken for 30 days"] if timed.often.about else []
    sure = structured and not (chosen.assumed or doubt or timed.often.about or chosen.kind == "text")
    often = timed.often if not dosage.as_needed else replace(timed.often, as_needed=True)
    put = _put(chosen, often, tuple(notes), sure)
    regimen = replace(put, as_it_stands=sure and chosen.how == chosen.wording, doses=_doses(dosage, sig, often, words))
    return _beyond_its_limit(regimen, dosage, product, words) or regimen


def _beyond_its_limit(regimen: Regimen, dosage: Dosage, product: Product, words: DoseWords) -> Unread | None:
    """A scheduled regimen of more than the order itself allows in a period: which of the two is meant?"""
    if dosage.most is None or regimen.per_day is None or regimen.as_needed:
        return None
    entry, period = dosage.most
    amount, timed = entry_amount(entry, product, words), read_timing(period, read_sig("", words), words)
    if isinstance(amount, Unread) or isinstance(timed, Unread) or timed.often is None or timed.often.rate is None:
        return None
    most = in_mg(amount[0], "", product, words)
    if isinstance(most, Unread) or most.unit != regimen.unit:
        return None
    allowed = most.high * _decimal(timed.often.rate[0]) * (1 + words.agree_within)
    if regimen.high * (regimen.per_day_high or regimen.per_day) <= allowed:
        return None
    return Unread(f"{regimen.wording}, and at most {most.wording} {often_wording(_decimal(timed.often.rate[0]))}")


def _doses(dosage: Dosage, sig: Sig, often: Often, words: DoseWords) -> int | None:
    """How many doses an instruction is for, None where it does not say; its last day may come after the last dose."""
    if dosage.timing.count:
        return int(dosage.timing.count)
    if often.once:
        return 1
    number, unit = sig.lasting or (None, "")
    if number is not None and not unit:
        return int(number)
    days = Fraction(number) * words.period_days[unit] if number is not None else None
    if dosage.timing.lasts_days:
        days = Fraction(dosage.timing.lasts_days)
    if days is None or often.rate is None:
        return None
    spare = 1 if often.rate[1] < 1 else 0
    return max(1, ceil((days - spare) * often.rate[1]))


def _solid(*amounts: Amount) -> bool:
    """No volume is among them: in an instruction beside the text it may be that of water, or of a flush."""
    return all(amount.unit.kind != "liquid" for amount in amounts)


def _by_rate(dosage: Dosage, product: Product, words: DoseWords) -> Dose | None:
    """The dose of an instruction that gives a rate, and how long each infusion runs, in place of a dose."""
    infused = infused_at_once(dosage, words)
    if infused is None:
        return None
    rate, hours = infused
    given = rate.value * hours
    if rate.unit == "mL/h" and product.mg_per_ml is not None and not product.assumed:
        given *= product.mg_per_ml
    elif rate.unit not in ("mg/h", "mg/kg/h"):
        return None
    unit = "mg/kg" if rate.unit == "mg/kg/h" else "mg"
    return Dose(given, given, unit, "", f"rate {rate.text} x {plain(hours)} h", counted_in="rate")


def _of_concentration(dosage: Dosage, sig: Sig, product: Product, words: DoseWords) -> Product | Unread:
    """The product with the concentration that the text states, where a volume is given that no other one settles."""
    fields = [read[0] for entry in dosage.doses if not isinstance(read := entry_amount(entry, product, words), Unread)]
    volumes = [amount for amount in (*fields, *sig.amounts) if amount.unit.kind == "liquid"]
    tied = {amount.each for amount in volumes if amount.each is not None}
    stated = set(sig.concentrations) | tied
    if not volumes or not stated or (sig.diluted and not product.assumed and product.mg_per_ml is not None):
        return product
    known = set() if product.assumed or product.mg_per_ml is None else {product.mg_per_ml}
    if sig.diluted and not tied:
        return Unread(f"{quote(dosage.text)}: is the volume that before or after the dilution?")
    if len(tied or stated) > 1 or len(known | (tied or stated)) > 1:
        return Unread(f"{quote(dosage.text)}: it names another strength than the product ordered")
    return product if known else replace(product, mg_per_ml=(tied or stated).pop(), recognised_by="the text")


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _put(dose: Dose, often: Often, notes: tuple[str, ...], sure: bool) -> Regimen:
    """Dose and frequency as a regimen in words."""
    low, high = often.rate if often.rate is not None else (None, None)
    per_day = None if low is None else _decimal(low)
    per_day_high = None if high is None or high == low else _decimal(high)
    regimen = Regimen(
        dose.low, dose.high, dose.unit, per_day, per_day_high, often.after_dialysis, often.as_needed, "", notes, sure
    )
    return _worded(replace(regimen, counted_in=dose.counted_in, each=dose.each, beside=dose.beside))


def at_weight(regimen: Regimen, weight_kg: Decimal, within: Decimal) -> Regimen | Unread:
    """A dose per kg held against the mg stated beside it: two doses where these are apart by more than a share."""
    if regimen.beside is None:
        return regimen
    low, high = (amount / weight_kg for amount in regimen.beside)
    if max(abs(low / regimen.low - 1), abs(high / regimen.high - 1)) <= within:
        return regimen
    alone = replace(regimen, beside=None)
    other = _worded(replace(alone, low=regimen.beside[0], high=regimen.beside[1], unit="mg", counted_in="mg"))
    per_kg = span(*(each.quantize(Decimal("0.1")) for each in (low, high)))
    why = f"{regimen.wording} and {other.wording}, which is {per_kg} mg/kg at {plain(weight_kg)} kg"
    return Unread(f"two doses are given: {why}", either=(alone, other))


def _worded(regimen: Regimen) -> Regimen:
    """The regimen with its wording."""
    low, high, unit, after = regimen.low, regimen.high, regimen.unit, regimen.after_dialysis
    wording = regimen_wording(low, high, unit, regimen.per_day, after)
    if regimen.per_day is not None and regimen.per_day_high is not None:
        wording += f" to {often_wording(regimen.per_day_high)}"
    return replace(regimen, wording=wording + (" as needed" if regimen.as_needed else ""))


# --------------------------------------------------------------------------------------------------------------------
# Several instructions


@dataclass(frozen=True, slots=True)
class _Reading:
    """One dosage instruction, read, and the times it is tied to."""

    regimen: Regimen | Unread
    dosage: Dosage
    times: frozenset[str]
    weekdays: frozenset[str]


def _tied(regimen: Regimen | Unread, dosage: Dosage, words: DoseWords) -> _Reading:
    schedule = read_sig(dosage.text, words).schedule
    timing = dosage.timing
    times = frozenset((*timing.when, *(time[:5] for time in timing.time_of_day), *schedule.slots, *schedule.clocks))
    weekdays = frozenset((*(day.casefold()[:3] for day in timing.day_of_week), *schedule.weekdays))
    return _Reading(regimen, dosage, times, weekdays)


def _apart(readings: Sequence[_Reading]) -> bool:
    """Whether each instruction has times of day, or days of the week, of its own: all of them are given."""

    def disjoint(sets: Sequence[frozenset[str]]) -> bool:
        return all(sets) and sum(map(len, sets)) == len(frozenset[str]().union(*sets))

    same_days = len({reading.weekdays for reading in readings}) == 1
    return disjoint([reading.weekdays for reading in readings]) or (
        same_days and disjoint([reading.times for reading in readings])
    )


def _together(readings: Sequence[_Reading]) -> Regimen | Unread:
    """Instructions that all hold at once, tied to different times: one dose, added up; different doses are refused."""
    regimens: list[Regimen] = []
    for reading in readings:
        if isinstance(reading.regimen, Unread):
            return replace(reading.regimen, either=())
        regimens.append(reading.regimen)
    first = regimens[0]
    rates: list[Decimal] = []
    for regimen in regimens:
        if (regimen.low, regimen.high, regimen.unit) != (first.low, first.high, first.unit):
            return Unread(f"two different doses: {first.wording} and {regimen.wording}")
        if regimen.per_day is None or regimen.per_day_high is not None or regimen.as_needed != first.as_needed:
            return Unread("several dosage instructions that cannot be added up")
        rates.append(regimen.per_day)
    return _worded(
        replace(
            first,
            per_day=sum(rates, Decimal(0)),
            after_dialysis=all(regimen.after_dialysis for regimen in regimens),
            at=tuple(place for regimen in regimens for place in regimen.at),
            doses=sum(regimen.doses for regimen in regimens if regimen.doses) if first.doses else None,
            read_from=(*first.read_from, f"added up from {len(regimens)} dosage instructions at different times"),
            as_it_stands=False,
            sure=all(regimen.sure for regimen in regimens),
        )
    )


def _in_order(readings: Sequence[_Reading], words: DoseWords) -> tuple[list[_Reading], str] | None:
    """Instructions that follow each other in their order, and by what it is known; None when it is not.

    Without numbers and dates the order of the list counts where each but the last says how long it lasts, or each but
    the first begins with "then".
    """
    sequences = [reading.dosage.sequence for reading in readings]
    numbered = None not in sequences and len(set(sequences)) == len(sequences)
    by_date = sorted(readings, key=lambda reading: reading.dosage.timing.starts)
    dated = all(reading.dosage.timing.starts for reading in readings) and all(
        earlier.dosage.timing.ends and earlier.dosage.timing.ends[:10] <= later.dosage.timing.starts[:10]
        for earlier, later in pairwise(by_date)
    )
    by_number = sorted(readings, key=lambda reading: reading.dosage.sequence or 0)
    if numbered and dated and by_number[0] is not by_date[0]:
        return None
    if numbered:
        return by_number, "by sequence"
    if dated:
        return by_date, "by dates"
    if any(sequence is not None for sequence in sequences) or any(r.dosage.timing.starts for r in readings):
        return None
    lasting = all(_lasts(reading.dosage, words) for reading in readings[:-1])
    following = all(read_sig(reading.dosage.text, words).follows for reading in readings[1:])
    return (list(readings), "in the order listed") if lasting or following else None


def _lasts(dosage: Dosage, words: DoseWords) -> bool:
    """Does the instruction say how long it lasts?"""
    timing = dosage.timing
    return bool(timing.lasts_days or timing.ends or timing.count) or read_sig(dosage.text, words).lasts


def _first_step(readings: Sequence[_Reading], words: DoseWords) -> Regimen | Unread:
    """Of instructions that follow each other the first, with the others behind it."""
    ordered = _in_order(readings, words)
    if ordered is None:
        return Unread("several dosage instructions without an order")
    (first, *rest), how = ordered
    if isinstance(first.regimen, Unread):
        return first.regimen
    later = list(first.regimen.later)
    for reading in rest:
        later.append(Step(reading.regimen, reading.dosage.text))
        later += reading.regimen.later if isinstance(reading.regimen, Regimen) else ()
    note = f"the first of {len(readings)} dosage instructions, {how}"
    read_from = (*first.regimen.read_from, note)
    return replace(first.regimen, read_from=read_from, sure=False, as_it_stands=False, later=tuple(later))


def read_regimen(dosages: tuple[Dosage, ...], product: Product, words: DoseWords) -> Regimen | Unread | None:
    """The regimen that the dosage instructions of one order give for its product.

    None: no dose was given yet. `Unread`: something like a dose was sent and cannot be read with certainty.
    A single dose ("900 mg once") is a regimen with `per_day` None and `after_dialysis` False.
    Doses come in mg, mg/kg or mg/m2, per administration. Never raises.
    """
    places: dict[Dosage, list[int]] = {}
    for place, dosage in enumerate(dosages):
        places.setdefault(replace(dosage, sequence=None), []).append(place)
    distinct: list[_Reading] = []
    for at in places.values():
        dosage = dosages[at[0]]
        regimen = _read_one(dosage, product, words)
        if isinstance(regimen, Regimen):
            regimen = replace(regimen, at=tuple(at))
        if regimen is not None:
            distinct.append(_tied(regimen, dosage, words))
    if not distinct:
        return None
    if len(distinct) == 1:
        return distinct[0].regimen
    if _apart(distinct) and not any(reading.dosage.timing.starts for reading in distinct):
        return _together(distinct)
    return _first_step(distinct, words)


# --------------------------------------------------------------------------------------------------------------------
# How much at once, where the whole regimen need not be known


@dataclass(frozen=True, slots=True)
class Stated:
    """What an order states as given at once: mg, or mL with how often a day (None when that is not said)."""

    mg: tuple[Decimal, ...] = ()
    ml: tuple[tuple[Decimal, Decimal | None], ...] = ()
    ml_per_day: tuple[Decimal, ...] = ()  # fluids that run at a rate, around the clock


def read_stated(dosages: Sequence[Dosage], names: Sequence[str], product: Product, words: DoseWords) -> Stated:
    """Every amount that fields and text state. A volume in the product's name counts where the dosage has none."""
    mg: list[Decimal] = []
    ml: list[tuple[Decimal, Decimal | None]] = []
    per_day: list[Decimal] = []
    for dosage in dosages:
        amounts = [
            read[0] for entry in dosage.doses if not isinstance(read := entry_amount(entry, product, words), Unread)
        ]
        own = [amount.high * amount.unit.factor for amount in amounts if amount.unit.kind == "liquid"]
        amounts += amounts_in(dosage.text, words)
        doses = (in_mg(amount, "text", product, words) for amount in amounts)
        mg += [dose.high for dose in doses if isinstance(dose, Dose) and dose.unit == "mg"]
        timed = read_timing(dosage.timing, read_sig(dosage.text, words), words)
        rate = timed.often.rate if not isinstance(timed, Unread) and timed.often else None
        often = _decimal(rate[1]) if rate else None
        ml += [(volume, often) for volume in own or volumes_in(dosage.text, words)]
        per_day += [found.value * 24 for found in read_giving([dosage], (), words).rates if found.unit == "mL/h"]
    if not ml and not per_day:
        ml = [(volume, None) for name in names for volume in volumes_in(name, words)]
    return Stated(tuple(mg), tuple(ml), () if ml else tuple(per_day))
