"""Reading the text of a dosage instruction ("900 mg PO BID x 21 days") into the statements it makes.

A text becomes tokens, tokens become phrases (the longest that fits, see `words`), phrases become statements
about the dose, the frequency and what else was said. Nothing is guessed: a number that no phrase explains is listed as
`unplaced`, and whoever needs the text to know the dose has to refuse it then. No FHIR, no product, no strengths here.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, takewhile

from cdshooks.medicine.dosage.tokens import Token, tokens
from cdshooks.medicine.dosage.words import DoseWords as DoseWords
from cdshooks.medicine.dosage.words import Number, Phrase, Phrases, Unit
from cdshooks.model import Unread

Rate = tuple[Fraction, Fraction]  # administrations per day, lowest and highest


@dataclass(frozen=True, slots=True)
class Amount:
    """A dose as stated: `low`..`high` of `unit`; `each` is the strength stated with it, in mg per piece or mL."""

    low: Decimal
    high: Decimal
    unit: Unit
    text: str
    each: Decimal | None = None
    per_day: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """Statements on how often. `rates` are the frequencies named; `days` the number of days of each week."""

    rates: tuple[Rate, ...] = ()
    slots: frozenset[str] = frozenset()  # MORN, EVE
    clocks: frozenset[str] = frozenset()  # 09:00
    weekdays: frozenset[str] = frozenset()
    days: frozenset[Decimal] = frozenset()
    once: bool = False
    as_needed: bool = False
    after_dialysis: bool = False
    about: bool = False  # a period whose length in days is an approximation (month)


@dataclass(frozen=True, slots=True)
class Sig:
    """Everything a text says. `refused` is why not to use it, "" if it may be; `unplaced` what no phrase explains."""

    amounts: tuple[Amount, ...] = ()
    strengths: tuple[Decimal, ...] = ()  # mg per tablet
    concentrations: tuple[Decimal, ...] = ()  # mg per mL, not said of an amount
    diluted: bool = False  # one of them is that of a dilution
    schedule: Schedule = field(default=Schedule())
    divided: bool = False
    only_systemic: bool = False
    amount_aside: bool = False  # an amount that is no dose: a limit, a rate, a concentration
    loose_unit: bool = False  # "tablet" without a number
    unplaced: tuple[str, ...] = ()
    refused: str = ""
    lasts: bool = False  # it says for how many days, or how many doses
    lasting: tuple[Decimal, str] | None = None  # the same as a number of a unit of time, "" for doses
    follows: bool = False  # it begins with "then"
    bids: bool = False  # its frequency stands first, but for "take", "give" and the like
    said: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """One phrase as found, with its tokens."""

    phrase: Phrase
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        """The words, as they were read."""
        return " ".join(token.text for token in self.tokens)

    @property
    def numbers(self) -> list[Token]:
        """Its numbers."""
        return [token for token in self.tokens if token.low is not None]

    @property
    def units(self) -> list[Unit]:
        """Its units of a dose."""
        return [token.unit for token in self.tokens if token.unit is not None]


# --------------------------------------------------------------------------------------------------------------------
# Tokens to phrases


def _longest(tree: Phrases, line: Sequence[Token], at: int) -> tuple[int, Phrase] | None:
    """The longest phrase that fits at `at`, with its end; among equals the more literal one."""
    best = (at, tree.phrase) if tree.phrase is not None else None
    if at < len(line):
        for symbol in line[at].symbols:
            if symbol in tree.following:
                longer = _longest(tree.following[symbol], line, at + 1)
                if longer is not None and (best is None or longer[0] > best[0]):
                    best = longer
    return best


def said_in(line: Sequence[Token], tree: Phrases) -> list[Said | Token]:
    """The phrases of a text in order; tokens that no phrase takes stand between them."""
    found: list[Said | Token] = []
    at = 0
    while at < len(line):
        match = _longest(tree, line, at)
        if match is None:
            found.append(line[at])
            at += 1
        else:
            end, phrase = match
            found.append(Said(phrase, tuple(line[at:end])))
            at = end
    return found


# --------------------------------------------------------------------------------------------------------------------
# Phrases to statements


def amount_of(said: Said) -> Amount | None:
    """The dose of one phrase; None when its parts make no dose (a range of strengths, a strength in mg/kg)."""
    numbers, units = said.numbers, said.units
    first, last = numbers[0], numbers[-1]
    low, high, unit, each = first.low, first.high, units[0], None
    if said.phrase.dose == "range":
        high = last.high
        if units[0] != units[1]:
            return None
    elif said.phrase.dose == "counted":
        # "2 x 450 mg", "2 tablets of 450 mg", "450 mg x 2 tablets", "10 mL of 50 mg/mL"
        second = said.tokens[said.tokens.index(first) + 1].unit
        count, strength = (last, first) if second is not None and second.kind == "mass" else (first, last)
        masses = [one for one in units if one.kind in ("mass", "concentration")]
        counted = [one for one in units if one.kind in ("pill", "vial", "liquid")]
        if strength.low is None or strength.low != strength.high or masses[0].means not in ("mg", "mg/mL"):
            return None
        low, high, each = count.low, count.high, strength.low * masses[0].factor
        unit = counted[0] if counted else Unit("pill", "tablet")
    if low is None or high is None or low > high:
        return None
    if unit.means in ("mg/kg", "mg/m2") and re.search(r"\b[1-9]\d*,\d{3}", said.text):
        return None  # "1,125 mg/kg": thousands by rule, a decimal comma by sense
    return Amount(low, high, unit, said.text, each, said.phrase.per_day or unit.per_day)


def _value(value: Number, said: Said) -> tuple[Decimal, Decimal] | None:
    """A number of a phrase's meaning: given, or found in the text."""
    if isinstance(value, Decimal):
        return value, value
    if value is None or not said.numbers:
        return None
    token = said.numbers[0 if value == "n" else -1]
    return None if token.low is None or token.high is None else (token.low, token.high)


def _rate(said: Said, words: DoseWords) -> tuple[Rate, str] | None:
    """Administrations per day named by a phrase, and the unit of time; None when a number is out of bounds."""
    frequency, period = _value(said.phrase.frequency, said), _value(said.phrase.period, said)
    times = [words.time_units[token.text] for token in said.tokens if "<time>" in token.symbols]
    unit = said.phrase.unit or (times[-1] if times else "")
    numbers = [*(frequency or ()), *(period or ())]
    if len(numbers) < 4 or not unit or any(not 0 < one <= words.largest_number for one in numbers):
        return None
    days = words.period_days[unit]
    low, high, shortest, longest = (Fraction(one) for one in numbers)
    return (low / (longest * days), high / (shortest * days)), unit


_CLOCKS = frozenset({"<clock>", "<hhmm>", "<n>"})  # what may stand for a time of day in such a phrase


def _clock(token: Token, said: Said) -> str | None:
    """A time of day as 09:00; `9 pm` counts its half of the day."""
    digits = re.sub(r"\D", "", token.text)[:4]
    hour, minute = (int(digits[:-2]), digits[-2:]) if len(digits) > 2 else (int(digits or 99), "00")
    half = said.tokens[-1].text
    if half in ("am", "pm"):
        hour = hour % 12 + (12 if half == "pm" else 0) if hour <= 12 else 99
    return f"{hour:02}:{minute}" if hour < 24 and int(minute) < 60 else None


def _unexplained(token: Token, after_dose: bool) -> bool:
    """Whether a token outside all phrases may belong to a dose: a number, a mass unit, or "5 mg /" something."""
    if token.text in ("/", "per"):
        return after_dose
    if token.unit is not None:
        return token.unit.kind == "mass"
    return token.symbols[0] != "<date>" and (
        token.low is not None or token.symbols[0] == "<bad>" or token.text[0].isdigit()
    )


def _sig(found: Sequence[Said | Token], words: DoseWords) -> Sig:
    """The statements of one step."""
    amounts: list[Amount] = []
    strengths: list[Decimal] = []
    concentrations: list[Decimal] = []
    rates: list[Rate] = []
    unplaced: list[str] = []
    clocks: set[str] = set()
    days: set[Decimal] = set()
    about = loose_unit = False
    said_all = [one for one in found if isinstance(one, Said)]
    flags = frozenset[str]().union(*(said.phrase.flags for said in said_all))
    before_rate = takewhile(lambda one: not (isinstance(one, Said) and one.phrase.frequency is not None), found)
    for before, one in zip([None, *found], found, strict=False):
        if isinstance(one, Token):
            if _unexplained(one, isinstance(before, Said) and bool(before.phrase.dose)):
                unplaced.append(one.text)
            loose_unit |= one.unit is not None and one.unit.kind in ("pill", "vial")
            continue
        phrase = one.phrase
        if phrase.dose:
            amount = amount_of(one)
            if amount is not None and phrase.dose == "strength" and amount.unit.kind == "concentration":
                concentrations.append(amount.high * amount.unit.factor)
            elif amount is None or (phrase.dose == "strength" and amount.unit.means != "mg"):
                unplaced.append(one.text)
            elif phrase.dose == "strength":
                strengths.append(amount.low * amount.unit.factor)
            else:
                amounts.append(amount)
        if phrase.frequency is not None:
            rate = _rate(one, words)
            if rate is None:
                unplaced.append(one.text)
            else:
                rates.append(rate[0])
                about |= rate[1] in words.about
        if phrase.days is not None:
            each_week = _value(phrase.days, one)
            if each_week and each_week[0] == each_week[1] and 0 < each_week[0] <= 7:
                days.add(each_week[0])
            else:
                unplaced.append(one.text)
        if "clock" in phrase.flags:
            read = [_clock(token, one) for token in one.tokens if _CLOCKS & set(token.symbols)]
            clocks |= {clock for clock in read if clock}
            unplaced += [one.text for clock in read if not clock]
    schedule = Schedule(
        rates=tuple(dict.fromkeys(rates)),
        slots=frozenset(slot for said in said_all for slot in said.phrase.when),
        clocks=frozenset(clocks),
        weekdays=frozenset(
            words.weekdays[token.text]
            for said in said_all
            if "weekday" in said.phrase.flags
            for token in said.tokens
            if token.text in words.weekdays
        ),
        days=frozenset(days),
        once="once" in flags,
        as_needed="as_needed" in flags,
        after_dialysis="after_dialysis" in flags,
        about=about,
    )
    refusals = [f"“{said.text}” {said.phrase.refused}" for said in said_all if said.phrase.refused]
    return Sig(
        amounts=tuple(dict.fromkeys(amounts)),
        strengths=tuple(dict.fromkeys(strengths)),
        concentrations=tuple(dict.fromkeys(concentrations)),
        diluted="diluted" in flags,
        schedule=schedule,
        divided="divided" in flags,
        only_systemic=any(said.phrase.symbols in words.only_systemic for said in said_all),
        amount_aside="amount" in flags or bool(concentrations),
        loose_unit=loose_unit,
        unplaced=tuple(unplaced),
        refused="; ".join(refusals) or _unclear(schedule, words),
        lasts=any(_is_length(said, words) for said in said_all),
        lasting=next(filter(None, (_lasting(said, words) for said in said_all)), None),
        bids=all(isinstance(one, Said) or one.text in words.leading for one in before_rate),
        said=" ".join(one.text for one in found),
    )


def _is_length(said: Said, words: DoseWords) -> bool:
    """Does it say how long a step lasts: days or more, or a number of doses?"""
    units = [words.time_units[token.text] for token in said.tokens if token.text in words.time_units]
    return "lasts" in said.phrase.flags and all(words.period_days[unit] >= 1 for unit in units)


def _lasting(said: Said, words: DoseWords) -> tuple[Decimal, str] | None:
    """How long a step lasts, as a number of days or more, or of doses; None where it does not say."""
    if not _is_length(said, words) or not said.numbers or (number := said.numbers[-1].high) is None:
        return None
    return number, next((words.time_units[token.text] for token in said.tokens if token.text in words.time_units), "")


def _unclear(schedule: Schedule, words: DoseWords) -> str:
    """Why a schedule found in free text may mean something else, "" if it cannot."""
    daily = any(high >= 1 for _, high in schedule.rates)
    if schedule.weekdays and daily:
        return "it names days of the week and a daily frequency"
    if len(schedule.weekdays) == 1 and not schedule.rates and not schedule.after_dialysis:
        return "it names one day of the week"
    parts = [part for part in words.parts_of_day if part & schedule.slots]
    if not schedule.rates and len(parts) != len(schedule.slots):
        return "the times of day may be the same ones"
    return ""


_TO = re.compile(r"\bto\b", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[.,](?=\s|$)|[;()\[\]]")


def _clause_end(text: str, at: int, *, over_commas: bool) -> int:
    """Where the clause that begins at `at` ends; what stands in brackets within it belongs to it."""
    depth = 0
    for match in _CLAUSE_END.finditer(text, at):
        if match[0] in "([":
            depth += 1
        elif match[0] in ")]" and depth:
            depth -= 1
        elif not depth and not (match[0] == "," and over_commas):
            return match.start()
    return len(text)


def _without_remarks(text: str, words: DoseWords) -> tuple[str, tuple[str, ...]]:
    """The text without its remarks, and those of the remarks that speak of another dose than the one ordered."""
    known = words.remarks
    kinds = (known.conditional, known.change_from, known.other_dose, known.aside)
    found = sorted((match for kind in kinds for match in kind.finditer(text)), key=lambda match: match.start())
    begins = [match.start() for match in found if match.re is not known.aside]
    others: list[str] = []
    kept, at = "", 0
    for match in found:
        start, kind = match.start(), match.re
        if start < at:
            continue
        end = _clause_end(text, start, over_commas=kind is known.conditional)
        if kind is known.change_from and (now := _TO.search(text, start, end)):
            end = now.start()
        if kind is known.aside:
            following = bisect_left(begins, start)
            end = min(end, begins[following]) if following < len(begins) else end
        if kind is known.aside and amounts_in(text[start:end], words):  # "first dose 900 mg": no remark
            kept += text[at:end]
        else:
            kept += f"{text[at:start]} ; "
            others += [text[start:end]] if kind is not known.aside else []
        at = end
    return kept + text[at:], tuple(others)


def _beside(others: Sequence[str], words: DoseWords) -> tuple[str, bool]:
    """(why a text with these remarks says too little by itself, does one of them name an amount?)."""
    sigs = [_sig(said_in(tokens(other, words), words.phrases), words) for other in others]
    telling = [
        sig for sig in sigs if sig.refused or sig.amounts or sig.strengths or sig.schedule.rates or sig.schedule.once
    ]
    reasons = [sig.refused or f"“{sig.said}” speaks of another dose" for sig in telling]
    return "; ".join(reasons), any(sig.amounts for sig in sigs)


def read_steps(text: str, words: DoseWords) -> tuple[Sig, ...]:
    """What each step of a text ("... then ...") says about dose and frequency, the first one first; at least one.

    Later steps that say neither are left out. A remark says nothing on the dose ordered, but one of another dose
    makes the text too little by itself.
    """
    steps: list[list[Said | Token]] = [[]]
    kept, others = _without_remarks(text, words)
    doubt, names_amount = _beside(others, words)
    for one in said_in(tokens(kept, words), words.phrases):
        if isinstance(one, Said) and "then" in one.phrase.flags:
            steps.append([])
        else:
            steps[-1].append(one)
    follows = len(steps) > 1 and not steps[0]
    sigs = [_sig(step, words) for step in steps]
    sigs = [
        replace(
            sig, refused="; ".join(filter(None, (sig.refused, doubt))), amount_aside=sig.amount_aside | names_amount
        )
        for sig in sigs
    ]
    telling = [
        sig for sig in sigs if sig.amounts or sig.strengths or sig.unplaced or sig.refused or sig.schedule != Schedule()
    ]
    first = replace(telling[0] if telling else sigs[0], follows=follows)
    return (first, *(sig for sig in telling[1:] if sig.amounts or sig.schedule.rates))


def read_sig(text: str, words: DoseWords) -> Sig:
    """What a text says about dose and frequency; of several steps what the first one says."""
    return read_steps(text, words)[0]


def read_code(system: str, code: str, words: DoseWords) -> Schedule | Unread | None:
    """A timing code of a known system; None when system or code is not known."""
    tree = words.codes.get(system)
    line = tokens(code, words)
    match = _longest(tree, line, 0) if tree is not None and line else None
    if match is None or match[0] != len(line):
        return None
    sig = _sig([Said(match[1], tuple(line))], words)
    if sig.unplaced or sig.refused:
        return Unread(sig.refused or f"the code {code} cannot be read")
    return sig.schedule


def amounts_in(text: str, words: DoseWords) -> tuple[Amount, ...]:
    """Every amount that a text names, of whichever step; strengths of a tablet are none."""
    said = [one for one in said_in(tokens(text, words), words.phrases) if isinstance(one, Said)]
    amounts = (amount_of(one) for one in said if one.phrase.dose and one.phrase.dose != "strength")
    return tuple(amount for amount in amounts if amount)


def volumes_in(text: str, words: DoseWords) -> tuple[Decimal, ...]:
    """Every volume that a text names, mL."""
    line = tokens(text, words)
    pairs = ((number.high, unit.unit) for number, unit in pairwise(line))
    return tuple(high * unit.factor for high, unit in pairs if high and unit and unit.kind == "liquid")
