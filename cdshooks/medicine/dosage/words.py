"""The words of dosage instructions, as data: units, numbers, units of time and phrases.

Read once from `sig.yaml` and `codes/timing.csv` (their heads explain the notation); `sig` reads texts with them.
This module knows the notation, not what a dose is.
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from importlib.resources.abc import Traversable
from itertools import product
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.yaml_file import read_yaml

Number = Decimal | Literal["n", "last"] | None  # "n": the first number of the phrase as found, "last": the last one


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of a dose: `kind` mass, pill, vial, liquid, concentration, rate or other; `factor` converts to `means`."""

    kind: str
    means: str
    factor: Decimal = Decimal(1)
    per_day: bool = False


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sequence of symbols (words and placeholders) and what it says; an empty saying is an aside."""

    symbols: tuple[str, ...]
    dose: str = ""  # amount, counted, range, strength
    per_day: bool = False
    frequency: Number = None
    period: Number = None
    unit: str = ""
    days: Number = None  # days of each week
    when: tuple[str, ...] = ()  # times of day and weekdays
    flags: frozenset[str] = frozenset()  # once, as_needed, after_dialysis, divided, then, clock, weekday, amount
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases as a tree: what may follow, by symbol, and the phrase that ends here."""

    following: dict[str, "Phrases"]
    phrase: Phrase | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """Words for one way to give a drug; `ignored` are phrases in which they mean something else."""

    words: re.Pattern[str]
    ignored: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class GivingWords:
    """What is known of writing how a dose is given: durations and dilutions as phrases, ways as words."""

    phrases: Phrases  # flags: duration, added, total
    rate_words: frozenset[str]
    apart: frozenset[str]
    apart_ml: Decimal
    resume: frozenset[str]
    reach: int
    denied_before: frozenset[str]
    denied_after: re.Pattern[str]  # with the words that may stand before it: "injection is contraindicated"
    injected: frozenset[str]  # ways that are listed together
    between: frozenset[str]  # words that may stand between the members of such a list
    contrasts: frozenset[str]  # after one of these a denial, or what is said of a flush, is over
    beside: re.Pattern[str]
    ways: Mapping[str, Way]


@dataclass(frozen=True, slots=True)
class RemarkWords:
    """Words that begin a remark, which goes to the end of its clause and does not say the dose ordered."""

    aside: re.Pattern[str]  # of one administration or of a test; one that names an amount is no remark
    other_dose: re.Pattern[str]  # of a dose before, or to come
    change_from: re.Pattern[str]  # of a dose before; it ends where "to" says the dose now
    conditional: re.Pattern[str]  # of a dose on a condition; a comma does not end it


@dataclass(frozen=True, slots=True)
class DoseWords:
    """What is known of writing doses. `codes` holds the phrases of each code system, `phrases` those of free text."""

    units: Mapping[tuple[str, ...], Unit]
    numbers: Mapping[tuple[str, ...], Decimal]
    fractions: Mapping[tuple[str, ...], Decimal]
    longest_key: int  # of the three above, in pieces
    time_units: Mapping[str, str]  # "hours" -> "h"
    period_days: Mapping[str, Fraction]
    about: frozenset[str]  # periods whose length in days is an approximation
    weekdays: Mapping[str, str]
    parts_of_day: tuple[frozenset[str], ...]
    counted_times: Mapping[str, bool]  # codes of times of day; False: says nothing on how often ("with a meal")
    phrases: Phrases
    codes: Mapping[str, Phrases]
    only_systemic: frozenset[tuple[str, ...]]
    agree_within: Decimal  # as a share of the dose
    loose_count_most: Decimal
    loose_count_step: Decimal
    largest_number: Decimal
    solid_forms: frozenset[str]
    vial_forms: frozenset[str]
    diluted_forms: frozenset[str]
    giving: GivingWords
    remarks: RemarkWords
    leading: frozenset[str]  # what may stand before a frequency that is said of the dose


# --------------------------------------------------------------------------------------------------------------------
# Raw text

_PIECE = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d(?:t[\d:.+z-]*)?|\d{1,2}/\d{1,2}/\d{2,4}(?!\d))"
    r"|(?P<clock>(?<!\d)\d{1,2}:\d\d(?::\d\d)?(?!\d))"
    r"|(?P<number>(?:(?<![^\s(])\.)?\d+(?:[.,]\d+)*)"
    r"|(?P<bad>\.\d[\d.,]*|(?<!\S),\d[\d.,]*)"  # "take.5": the point may be a full stop or a decimal point
    r"|(?P<word>[a-z]+)"
    r"|(?P<mark>[^\s.])"
)


def _plain(character: str, before: str) -> str:
    """One character in plain ASCII where that is safe: digits, dashes, spaces, fractions, micro; others unchanged."""
    if character == "²" and before in ("m", "M"):
        return "2"
    category = unicodedata.category(character)
    folded = unicodedata.normalize("NFKC", character)
    if "\N{FRACTION SLASH}" in folded:
        return f" {folded} ".replace("\N{FRACTION SLASH}", "/")
    if category == "No":
        return character  # a superscript digit is not a digit of the dose
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category[0] in "ZC":
        return " "
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    return {"×": "x", "÷": " divided "}.get(character, folded)


def pieces(text: str) -> list[tuple[str, str]]:
    """A text as (kind, piece); kinds: date, clock, number, bad, word, mark. Case, spaces and full stops are dropped."""
    plain = "".join(_plain(character, before) for before, character in zip(" " + text, text, strict=False))
    plain = plain.casefold().replace("\N{GREEK SMALL LETTER MU}", "u")
    plain = re.sub(r"\b([a-z](?:\.[a-z])+)\b\.?", lambda match: match[1].replace(".", ""), plain)  # b.i.d. -> bid
    plain = re.sub(r"(?<=\b\d{4}),(?=\d{4}\b)", " , ", plain)  # 0900,2100 is a list
    found = [(match.lastgroup or "mark", match.group()) for match in _PIECE.finditer(plain)]
    return [("bad" if kind == "mark" and piece.isnumeric() else kind, piece) for kind, piece in found]


def spelling(text: str) -> tuple[str, ...]:
    """A text as a key for looking up: its pieces without braces."""
    return tuple(piece for _, piece in pieces(text) if piece not in "{}")


# --------------------------------------------------------------------------------------------------------------------
# Models of sig.yaml


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Unit(_Entry):
    kind: Literal["mass", "pill", "vial", "liquid", "concentration", "rate", "other"]
    means: str
    spelled: list[str]
    factor: Decimal = Decimal(1)
    per_day: bool = False


class _Period(_Entry):
    days: Fraction
    spelled: list[str]
    about: bool = False

    model_config = ConfigDict(arbitrary_types_allowed=True)


class _Phrase(_Entry):
    say: str
    dose: Literal["", "amount", "counted", "range", "strength"] = ""
    per_day: bool = False
    frequency: Number = None
    period: Number = None
    unit: str = ""
    days: Number = None
    weekday: bool = False
    flags: list[Literal["once", "as_needed", "after_dialysis", "divided", "then", "clock", "lasts", "diluted"]] = []


class _Refused(_Entry):
    say: str
    because: str


class _LooseCount(_Entry):
    most: Decimal
    multiple_of: Decimal


class _Remarks(_Entry):
    aside: list[str]
    other_dose: list[str]
    change_from: list[str]
    conditional: list[str]


class _Way(_Entry):
    words: list[str]
    ignore: list[str] = []


class _Giving(_Entry):
    durations: list[str]
    added: list[str]
    total: list[str]
    rate_words: list[str]
    apart: list[str]
    apart_ml: Decimal
    resume: list[str]
    reach: int
    denied_before: list[str]
    denied_after: list[str]
    denied_after_words: list[str]
    injected: list[str]
    between: list[str]
    contrasts: list[str]
    beside: list[str]
    ways: dict[str, _Way]


class _SigFile(_Entry):
    kind: Literal["sig"]
    id: str
    reviewed: str
    cite: dict[str, str]
    agree_within_percent: Decimal
    loose_count: _LooseCount
    largest_number: Decimal
    solid_forms: list[str]
    vial_forms: list[str]
    diluted_forms: list[str]
    units: list[_Unit]
    numbers: dict[Decimal, list[str]]
    fractions: list[str]
    periods: dict[str, _Period]
    weekdays: dict[str, list[str]]
    parts_of_day: list[list[str]]
    doses: list[_Phrase]
    timing: list[_Phrase]
    only_systemic: list[str]
    times_of_day: dict[str, list[str]]
    lengths: list[str]
    asides: list[str]
    amounts_aside: list[str]
    refused: list[_Refused]
    remarks: _Remarks
    leading: list[str]
    giving: _Giving


class _Row(BaseModel):
    """What is read of a row of codes/timing.csv."""

    system: str
    code: str
    concept: str
    kind: str
    pattern: str
    frequency: Literal["", "n"] | Decimal = Field(union_mode="left_to_right")
    period: Literal["", "n"] | Decimal = Field(union_mode="left_to_right")
    period_unit: str
    days: Literal[""] | Decimal = Field(union_mode="left_to_right")
    when: str
    note: str


# --------------------------------------------------------------------------------------------------------------------
# Loading


def spoken(pattern: str) -> Iterator[tuple[str, ...]]:
    """Each sequence of symbols that a pattern stands for; `a|b c?` is `a c`, `b c`, `a`, `b`."""
    places = [
        [*place.removesuffix("?").split("|"), *([""] if place.endswith("?") else [])] for place in pattern.split()
    ]
    for choice in product(*places):
        yield tuple(symbol for symbol in choice if symbol)


_SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "once": {"flags": frozenset({"once"})},
    "once-now": {"flags": frozenset({"once"})},
    "as-needed": {"flags": frozenset({"as_needed"})},
    "post-haemodialysis": {"flags": frozenset({"after_dialysis"})},
    "ambiguous": {"refused": "may mean twice a week or every two weeks"},
    "calendar": {"refused": "names no frequency"},
    "continuous": {"refused": "is a continuous infusion"},
    "on-weekday": {"refused": "cannot be read"},
    "as-needed-with-limit": {"refused": "cannot be read"},
}


def _row_phrase(row: _Row) -> Phrase:
    """A row of the timing table as a phrase; times of day and days of the week outrank its average frequency."""
    symbols = tuple(row.pattern.split()) or spelling(row.code)
    says = dict(_SPECIAL.get(row.concept, {}))
    if row.days:
        says["days"] = row.days
    elif row.when:
        says["when"] = (row.when,)
    elif row.frequency and not says.get("refused"):
        says |= {"frequency": row.frequency, "period": row.period or None, "unit": row.period_unit}
    return Phrase(symbols, **says)


def _file_phrases(file: _SigFile) -> Iterator[Phrase]:
    """Every phrase of sig.yaml."""
    for entry in (*file.doses, *file.timing):
        flags = frozenset(entry.flags) | ({"weekday"} if entry.weekday else set())
        for symbols in spoken(entry.say):
            yield Phrase(
                symbols, entry.dose, entry.per_day, entry.frequency, entry.period, entry.unit, entry.days, flags=flags
            )
    for code, patterns in file.times_of_day.items():
        yield from (Phrase(symbols, when=(code,)) for pattern in patterns for symbols in spoken(pattern))
    lasts = frozenset({"lasts"})
    yield from (Phrase(symbols, flags=lasts) for pattern in file.lengths for symbols in spoken(pattern))
    yield from (Phrase(symbols) for pattern in file.asides for symbols in spoken(pattern))
    for pattern in file.amounts_aside:
        yield from (Phrase(symbols, flags=frozenset({"amount"})) for symbols in spoken(pattern))
    for refusal in file.refused:
        for symbols in spoken(refusal.say):
            amount = frozenset({"amount"} if any(symbol.startswith("<") for symbol in symbols) else ())
            yield Phrase(symbols, refused=refusal.because, flags=amount)


def _tree(phrases: Iterable[tuple[tuple[str, ...], Phrase]]) -> Phrases:
    """The phrases as a tree. Where two are worded alike, the first one counts."""
    endings: dict[str, list[tuple[tuple[str, ...], Phrase]]] = {}
    here: Phrase | None = None
    for rest, phrase in phrases:
        if rest:
            endings.setdefault(rest[0], []).append((rest[1:], phrase))
        elif here is None:
            here = phrase
    return Phrases({symbol: _tree(rests) for symbol, rests in endings.items()}, here)


def _indexed(phrases: Iterable[Phrase]) -> Phrases:
    return _tree((phrase.symbols, phrase) for phrase in phrases if phrase.symbols)


def _keys(patterns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (symbols for pattern in patterns for symbols in spoken(pattern))


def _rows(folder: Traversable) -> list[_Row]:
    """The rows of codes/timing.csv that speak of time. Raises KnowledgeError naming each wrong line."""
    try:
        lines = (folder / "codes" / "timing.csv").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KnowledgeError("mappings/codes/timing.csv: cannot be read; put the file back, as UTF-8") from error
    rows, problems = [], []
    for number, values in enumerate(csv.DictReader(lines), start=2):
        try:
            rows.append(_Row.model_validate(values))
        except ValidationError as error:
            problems += [f"mappings/codes/timing.csv: line {number}: {_place(one)}" for one in error.errors()]
    if problems:
        raise KnowledgeError("\n".join(problems))
    return [row for row in rows if not row.kind.startswith("route")]


def _place(error: Any) -> str:
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}; correct it"


def plain_words(text: str) -> str:
    """Text for looking up words: one letter case, single spaces, "i.m." as im, no hyphens, with its full stops."""
    plain = text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("-", " ")
    plain = re.sub(r"\b([a-z](?:\.[a-z])+)\b\.?", lambda match: match[1].replace(".", ""), plain)
    return " ".join(plain.split())


def _alternatives(words: Iterable[str]) -> str:
    longest_first = sorted(map(plain_words, words), key=len, reverse=True)
    return "|".join(map(re.escape, longest_first))


def _any_word(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.])(?:{_alternatives(words)})(?!\w)")


def _opening(patterns: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(_keys(patterns), key=len, reverse=True)
    written = "|".join(r"[\s-]+".join(re.escape(word) for word in words if word != "-") for words in longest_first)
    return re.compile(rf"(?<![\w.])(?:{written})(?!\w)", re.IGNORECASE)


def _giving(file: _Giving) -> GivingWords:
    phrases = [
        Phrase(symbols, flags=frozenset({flag}))
        for flag, patterns in (("duration", file.durations), ("added", file.added), ("total", file.total))
        for symbols in _keys(patterns)
    ]
    return GivingWords(
        phrases=_indexed(phrases),
        rate_words=frozenset(file.rate_words),
        apart=frozenset(file.apart),
        apart_ml=file.apart_ml,
        resume=frozenset(file.resume),
        reach=file.reach,
        denied_before=frozenset(map(plain_words, file.denied_before)),
        denied_after=re.compile(
            rf"(?:(?:{_alternatives(file.denied_after_words)})[ :,]+)*(?:{_alternatives(file.denied_after)})(?!\w)"
        ),
        injected=frozenset(file.injected),
        between=frozenset(map(plain_words, file.between)),
        contrasts=frozenset(map(plain_words, file.contrasts)),
        beside=_any_word(file.beside),
        ways={
            name: Way(_any_word(way.words), _any_word(way.ignore) if way.ignore else None)
            for name, way in file.ways.items()
        },
    )


def load_dose_words(folder: Traversable) -> DoseWords:
    """The words of dosage instructions. `folder` is mappings/. Raises KnowledgeError naming file, place and remedy."""
    try:
        file = _SigFile.model_validate(read_yaml(folder / "sig.yaml"))
    except ValidationError as error:
        raise KnowledgeError("\n".join(f"mappings/sig.yaml: {_place(one)}" for one in error.errors())) from error
    rows = _rows(folder)
    by_system: dict[str, list[Phrase]] = {}
    for row in rows:
        if row.kind.startswith("timing-code"):
            by_system.setdefault(row.system, []).append(_row_phrase(row))
    free = [*_file_phrases(file), *(_row_phrase(row) for row in rows if row.kind == "sig-text")]
    unknown = {phrase.unit for phrase in free} - {"", *file.periods}
    if unknown:
        raise KnowledgeError(f"mappings/sig.yaml: timing: no such period: {', '.join(sorted(unknown))}; see `periods`")
    units = {
        key: Unit(unit.kind, unit.means, unit.factor, unit.per_day)
        for unit in file.units
        for key in _keys(unit.spelled)
    }
    numbers = {key: value for value, patterns in file.numbers.items() for key in _keys(patterns)}
    fractions = {spelling(text): Decimal(text[0]) / Decimal(text[-1]) for text in file.fractions}
    return DoseWords(
        units=units,
        numbers=numbers,
        fractions=fractions,
        longest_key=max(len(key) for key in (*units, *numbers, *fractions)),
        time_units={word: code for code, period in file.periods.items() for word in period.spelled},
        period_days={code: period.days for code, period in file.periods.items()},
        about=frozenset(code for code, period in file.periods.items() if period.about),
        weekdays={word: day for day, spelled in file.weekdays.items() for word in spelled},
        parts_of_day=tuple(frozenset(part) for part in file.parts_of_day),
        counted_times={row.code: bool(row.frequency) for row in rows if row.kind == "event-timing"},
        phrases=_indexed(free),
        codes={system: _indexed(phrases) for system, phrases in by_system.items()},
        only_systemic=frozenset(spelling(text) for text in file.only_systemic),
        agree_within=file.agree_within_percent / 100,
        loose_count_most=file.loose_count.most,
        loose_count_step=file.loose_count.multiple_of,
        largest_number=file.largest_number,
        solid_forms=frozenset(file.solid_forms),
        vial_forms=frozenset(file.vial_forms),
        diluted_forms=frozenset(file.diluted_forms),
        giving=_giving(file.giving),
        leading=frozenset(file.leading),
        remarks=RemarkWords(
            aside=_opening(file.remarks.aside),
            other_dose=_opening(file.remarks.other_dose),
            change_from=_opening(file.remarks.change_from),
            conditional=_opening(file.remarks.conditional),
        ),
    )
