"""How a dose is given, as an order says it: rate, duration, dilution, and ways such as "bolus" or "crushed".

Structured fields and words are read alike. Rates come per hour, durations in minutes, volumes in mL. Nothing is
guessed: a rate that cannot be read is named in `unread`. No patient and no limit here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from cdshooks.medicine.dosage.sig import Said, said_in
from cdshooks.medicine.dosage.tokens import Token, tokens
from cdshooks.medicine.dosage.wording import plain, quote
from cdshooks.medicine.dosage.words import DoseWords, GivingWords, Way, plain_words, spelling
from cdshooks.model import Dosage, Quantity

_CLAUSE = re.compile(r"[.;](?:\s|$)|,\s|\n")
_SENTENCE = re.compile(r"[.;](?=\s|$)|\n")
_MINUTES = {"s": Fraction(1, 60), "min": Fraction(1), "h": Fraction(60)}


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate as stated: `value` per hour in `unit` ("mg/kg/h", "mg/h", "mL/h"); `firm` when it is structured."""

    value: Decimal
    unit: str
    text: str
    firm: bool = False


@dataclass(frozen=True, slots=True)
class Duration:
    """How long an infusion runs, in minutes."""

    shortest: Decimal
    longest: Decimal
    text: str


@dataclass(frozen=True, slots=True)
class Giving:
    """What an order says of how it is given."""

    rates: tuple[Rate, ...] = ()
    durations: tuple[Duration, ...] = ()
    mg_per_ml: tuple[Decimal, ...] = ()
    added_ml: tuple[Decimal, ...] = ()  # the drug is put into this volume
    total_ml: tuple[Decimal, ...] = ()  # the volume of the whole
    beside_ml: tuple[Decimal, ...] = ()  # of fluids beside the drug
    ways: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()  # why a rate cannot be read


def read_giving(dosages: Sequence[Dosage], notes: Sequence[str], words: DoseWords) -> Giving:
    """Everything that the dosage instructions and the notes of one order say of how it is given."""
    rates: list[Rate] = []
    unread: list[str] = []
    texts = [text for dosage in dosages for text in (dosage.text, *dosage.further) if text]
    for dosage in dosages:
        read = _structured(dosage.rate, words) if dosage.rate else None
        if isinstance(read, Rate):
            rates.append(read)
        elif read:
            unread.append(read)
        unread += [f"{quote(path)} has no number" for path in dosage.unreadable if path.split(".")[-1][:4] == "rate"]
    found = [one for text in texts for clause in _CLAUSE.split(text) for one in _statements(clause, words)]
    rates += [one for one in found if isinstance(one, Rate)]
    durations = [one for dosage in dosages if (one := _timed(dosage))]
    durations += [one for one in found if isinstance(one, Duration)]
    volumes = [one for one in found if isinstance(one, tuple)]
    remarks = (one for note in notes for clause in _CLAUSE.split(note) for one in _statements(clause, words))
    noted = [one for one in remarks if isinstance(one, tuple)]
    return Giving(
        rates=tuple(dict.fromkeys(rates)),
        durations=tuple(dict.fromkeys(durations)),
        mg_per_ml=tuple(dict.fromkeys(one for one in found if isinstance(one, Decimal))),
        added_ml=tuple(volume for kind, volume in volumes if kind == "added"),
        total_ml=tuple(volume for kind, volume in volumes if kind == "total"),
        beside_ml=tuple(volume for kind, volume in (*volumes, *noted) if kind == "beside"),
        ways=frozenset(way for text in (*texts, *notes) for way in _ways(text, words.giving)),
        unread=tuple(dict.fromkeys(unread)),
    )


def infused_at_once(dosage: Dosage, words: DoseWords) -> tuple[Rate, Decimal] | None:
    """(the structured rate, how many hours each infusion runs); None where either is not exactly known."""
    giving = read_giving([dosage], (), words)
    spans = {(duration.shortest, duration.longest) for duration in giving.durations}
    if dosage.rate_varies or giving.unread or len({(rate.value, rate.unit) for rate in giving.rates}) != 1:
        return None
    shortest, longest = spans.pop() if len(spans) == 1 else (Decimal(0), Decimal(1))
    return (giving.rates[0], shortest / 60) if shortest == longest and giving.rates[0].firm else None


def _structured(rate: Quantity, words: DoseWords) -> Rate | str:
    """A structured rate, or why it cannot be read."""
    sent = [text for text in (rate.code, rate.unit) if text]
    shown = f"{plain(rate.value)} {rate.unit or rate.code}".strip()
    units = [words.units.get(spelling(text)) for text in sent]
    known = {(unit.means, unit.factor) for unit in units if unit and unit.means.endswith("/h")}
    if rate.comparator:
        return f"{quote(rate.comparator + shown)} is only a bound"
    if not rate.value.is_finite() or not 0 < rate.value <= words.largest_number:
        return f"{quote(shown)} is no usable number"
    if len(known) != 1:
        return f"{quote(shown)} has {'two units' if known else 'no unit of a rate'}"
    means, factor = known.pop()
    return Rate(rate.value * factor, means, shown, firm=True)


def _timed(dosage: Dosage) -> Duration | None:
    """How long one infusion runs by the timing; None for days, which are the length of the course."""
    if dosage.timing.each_lasts is None:
        return None
    shortest, longest, unit = dosage.timing.each_lasts
    if unit not in _MINUTES:
        return None
    ends = plain(shortest) if shortest == longest else f"{plain(shortest)} to {plain(longest)}"
    factor = _MINUTES[unit]
    return Duration(_decimal(Fraction(shortest) * factor), _decimal(Fraction(longest) * factor), f"over {ends} {unit}")


def _statements(clause: str, words: DoseWords) -> Iterator[Rate | Duration | Decimal | tuple[str, Decimal]]:
    """The rates, durations, concentrations and volumes of a clause; of the fluids beside the drug the volumes alone."""
    line = said_in(tokens(clause, words), words.giving.phrases)
    apart, at_a_rate = False, False
    for position, one in enumerate(line):
        if isinstance(one, Token):
            follows = line[position + 1] if position + 1 < len(line) else None
            unit = follows.unit if isinstance(follows, Token) else None
            high = one.high
            apart = (apart and one.text not in words.giving.resume) or one.text in words.giving.apart
            at_a_rate |= one.text in words.giving.rate_words
            if high is None or unit is None:
                continue
            value = high * unit.factor
            apart |= unit.kind == "liquid" and value >= words.giving.apart_ml
            if unit.kind == "liquid" and apart:
                yield "beside", value
            elif unit.kind == "concentration":
                yield value
            elif unit.means.endswith("/h") and (unit.kind == "rate" or at_a_rate) and not apart:
                yield Rate(value, unit.means, f"{one.text} {follows.text if isinstance(follows, Token) else ''}")
        elif "duration" in one.phrase.flags:
            apart = apart and not words.giving.resume & {token.text for token in one.tokens}
            duration = _duration(one, words)
            if duration and not apart:
                yield duration
        else:
            if number := one.numbers[-1].high:
                kind = "beside" if apart else "added" if "added" in one.phrase.flags else "total"
                yield kind, number * one.units[0].factor


def _duration(said: Said, words: DoseWords) -> Duration | None:
    """Minutes; None for a span of days."""
    times = [words.time_units[token.text] for token in said.tokens if "<time>" in token.symbols]
    if any(time not in _MINUTES for time in times):
        return None
    ends = [(token.low, token.high) for token in said.numbers] or [(Decimal(1), Decimal(1))]
    shortest = longest = Fraction(0)
    for (low, high), time in zip(ends, times, strict=False):
        if low is None or high is None:
            return None
        shortest += Fraction(low) * _MINUTES[time]
        longest += Fraction(high) * _MINUTES[time]
    return Duration(_decimal(shortest), _decimal(longest), said.text) if shortest else None


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _ways(text: str, words: GivingWords) -> Iterator[str]:
    for sentence in _SENTENCE.split(plain_words(text)):
        named = {name: list(_named(sentence, way)) for name, way in words.ways.items()}
        injections = sorted(span for name in words.injected for span in named[name])
        for name, spans in named.items():
            injected = name in words.injected
            lists = (_listed(sentence, span, injections if injected else spans, words) for span in spans)
            if any(
                not _denied(sentence, start, end, words, over_commas=not injected)
                and not (injected and _of_something_beside(sentence[:start], words))
                for start, end in lists
            ):
                yield name


def _named(sentence: str, way: Way) -> Iterator[tuple[int, int]]:
    """Where the sentence has the words of a way, and means it."""
    ignored = [match.span() for match in way.ignored.finditer(sentence)] if way.ignored else []
    for match in way.words.finditer(sentence):
        if not any(start <= match.start() < end for start, end in ignored):
            yield match.span()


def _listed(sentence: str, at: tuple[int, int], together: list[tuple[int, int]], words: GivingWords) -> tuple[int, int]:
    """Start and end of the list in which it stands: "IV push, IM or SC"."""
    position = together.index(at)
    first = last = position
    while first > 0 and _is_list(sentence[together[first - 1][1] : together[first][0]], words):
        first -= 1
    while last + 1 < len(together) and _is_list(sentence[together[last][1] : together[last + 1][0]], words):
        last += 1
    return together[first][0], together[last][1]


def _is_list(between: str, words: GivingWords) -> bool:
    return set(re.findall(r"[\w']+", between)) <= words.between


def _of_something_beside(before: str, words: GivingWords) -> bool:
    """Is it a flush, or another drug, that is given so? Not across a comma, nor after a word that turns to the drug."""
    part = before.rsplit(",", 1)[-1]
    found = list(words.beside.finditer(part))
    return bool(found) and not (words.resume | words.contrasts) & set(re.findall(r"[\w']+", part[found[-1].end() :]))


def _denied(sentence: str, start: int, end: int, words: GivingWords, *, over_commas: bool) -> bool:
    """Is what stands from start to end said not to be done? A comma ends a denial, but for one in a list."""
    if words.denied_after.match(sentence[end:].lstrip(" :,-)/")):
        return True
    pieces = re.findall(r"[\w']+|,", sentence[:start])
    passed = 0
    for position in range(len(pieces) - 1, -1, -1):
        piece = pieces[position]
        if piece in words.denied_before:
            return True
        listed = piece in words.between or piece == ","
        passed += not listed
        after_another = piece == "," and position and pieces[position - 1] not in words.between | words.denied_before
        if piece in words.contrasts or passed >= words.reach or (after_another and not over_commas):
            return False
    return False
