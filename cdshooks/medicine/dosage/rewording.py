"""A text of a dosage instruction with another dose: only the words that state dose and frequency change, in place."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from cdshooks.medicine.dosage.sig import Amount, Said, Sig, amount_of, read_steps, said_in
from cdshooks.medicine.dosage.timing import Often, read_timing
from cdshooks.medicine.dosage.tokens import Token, tokens
from cdshooks.medicine.dosage.wording import plain
from cdshooks.medicine.dosage.words import DoseWords, pieces
from cdshooks.model import Timing, Unread

Counted = Callable[[Amount], Decimal | None]
"""The new dose in the unit of an amount that states the old one, 0 where it has none; None for another amount."""

_TIMED = frozenset({"clock", "weekday", "once", "after_dialysis"})
_CHUNK = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_CLAUSE = re.compile(r"[.;](?:\s|$)|,\s|\n")
_COUNTABLE = re.compile(r"(tablet|capsule|pill|vial|tab|cap)s?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Edit:
    """Pieces of the text from `start` up to `end`, and what stands there instead; None takes them out."""

    start: int
    end: int
    new: str | None


def reworded(text: str, counted: Counted, old_rate: Decimal | None, often: str, words: DoseWords) -> str | None:
    """The text with the dose as `counted` has it and the frequency as `often`, "" where that stays.

    Of several steps the first changes; of frequencies what states `old_rate` (administrations per day, None for a
    single dose). The text itself where it states neither; None where the words cannot be told apart.
    """
    line = tokens(text, words)
    steps = _steps(said_in(line, words.phrases))
    position = next((at for at, step in enumerate(steps) if any(_tells(said) for said, _ in step)), None)
    if position is None:
        return text
    sig = read_steps(text, words)[0]
    timed = read_timing(Timing(), sig, words)
    stated = None if isinstance(timed, Unread) else timed.often
    doses = [edit for said, start in steps[position] for edit in _dose(said, start, counted)]
    timing = [(said, start) for said, start in steps[position] if _is_timing(said)]
    timing = timing if often and _is_rate(stated, old_rate) else []
    if not doses and not timing:
        return text
    often_again = often and isinstance(timed, Unread)  # it says how often in a way that cannot be told
    lost = any("lasts" in said.phrase.flags for said, _ in timing) or (doses and not any(edit.new for edit in doses))
    per_day = sig.divided or any(amount.per_day for amount in sig.amounts)
    later = any(_tells(said) for step in steps[position + 1 :] for said, _ in step[:1])
    follows_on = any(
        any(_is_timing(said) for said, _ in step) and not any(said.phrase.dose for said, _ in step)
        for step in steps[position + 1 :]
    )
    if any(map(_is_doubtful, _clauses(text, words))) or often_again or lost or per_day or (later and follows_on):
        return None
    edits = [*doses, *(_Edit(start, start + _size(said.tokens), None) for said, start in timing)]
    if timing:
        said, start = timing[0]
        edits[len(doses)] = _Edit(start, start + _size(said.tokens), often)
    return _edited(text, sorted(edits, key=lambda edit: edit.start, reverse=True))


def beside(text: str, words: DoseWords) -> tuple[str, ...]:
    """The clauses of a text that say nothing of dose and frequency, word for word."""
    clauses = _clauses(text, words)
    return tuple(clause.text for clause in clauses if not clause.tells and not clause.sig.amount_aside)


@dataclass(frozen=True, slots=True)
class _Clause:
    """A clause, what it says, and whether it says anything of dose and frequency."""

    text: str
    sig: Sig
    tells: bool


def _clauses(text: str, words: DoseWords) -> list[_Clause]:
    found = []
    for clause in filter(None, map(str.strip, _CLAUSE.split(text))):
        said = [one for one in said_in(tokens(clause, words), words.phrases) if isinstance(one, Said)]
        sig = read_steps(clause, words)[0]
        found.append(_Clause(clause, sig, sig.loose_unit or any(map(_tells, said))))
    return found


def _is_doubtful(clause: _Clause) -> bool:
    """Does it hold words beside its dose or frequency that may belong to them?"""
    return clause.tells and bool(clause.sig.refused or clause.sig.unplaced)


def _is_rate(often: Often | None, per_day: Decimal | None) -> bool:
    if often is None:
        return False
    if often.rate is None or per_day is None:
        return often.rate is None and per_day is None
    return all(abs(Fraction(per_day) / rate - 1) < Fraction(1, 1000) for rate in often.rate)


def _size(found: Sequence[Token]) -> int:
    return sum(token.size for token in found)


def _steps(found: Sequence[Said | Token]) -> list[list[tuple[Said, int]]]:
    """The phrases of each step ("... then ..."), each with the piece at which it starts."""
    steps: list[list[tuple[Said, int]]] = [[]]
    at = 0
    for one in found:
        if isinstance(one, Said) and "then" in one.phrase.flags:
            steps.append([])
        elif isinstance(one, Said):
            steps[-1].append((one, at))
        at += one.size if isinstance(one, Token) else _size(one.tokens)
    return steps


def _tells(said: Said) -> bool:
    return bool(said.phrase.dose) or _is_timing(said)


def _is_timing(said: Said) -> bool:
    phrase = said.phrase
    return bool(phrase.frequency is not None or phrase.days is not None or phrase.when or phrase.flags & _TIMED)


def _dose(said: Said, start: int, counted: Counted) -> Iterator[_Edit]:
    """The number of a dose, and its unit where that has a plural; all of it where the new dose cannot be put so."""
    kind = said.phrase.dose
    amount = amount_of(said) if kind and kind != "strength" else None
    number = counted(amount) if amount else None
    if amount is None or number is None:
        return
    if number == 0:
        yield _Edit(start, start + _size(said.tokens), None)
        return
    numbers = [at for at, token in enumerate(said.tokens) if token.low is not None]
    first, last = numbers[0], numbers[-1] if kind == "range" else numbers[0]
    if kind == "counted":  # "2 tablets of 450 mg", "450 mg x 2 tablets": the count alone
        second = said.tokens[1].unit
        first = last = numbers[-1] if second is not None and second.kind == "mass" else numbers[0]
    at = start + _size(said.tokens[:first])
    yield _Edit(at, at + _size(said.tokens[first : last + 1]), plain(number))
    unit = said.tokens[last + 1] if last + 1 < len(said.tokens) else None
    if unit and _COUNTABLE.fullmatch(unit.text):
        at = start + _size(said.tokens[: last + 1])
        yield _Edit(at, at + unit.size, unit.text.rstrip("s") + ("" if number <= 1 else "s"))


def _edited(text: str, edits: Sequence[_Edit]) -> str | None:
    """The text with the edits made, the last one first; None where a place cannot be told."""
    starts, ends = _places(text)
    for edit in edits:
        start, end = starts.get(edit.start), ends.get(edit.end)
        if start is None or end is None:
            return None
        if re.search(r"[A-Za-z]\.[A-Za-z]", text[start:end]) and text[end : end + 1] == ".":
            end += 1  # "b.i.d."
        before, after = text[:start], text[end:]
        if edit.new is not None:
            text = before + edit.new + after
            continue
        if before.rstrip().endswith("(") and after.lstrip().startswith(")"):
            before, after = before.rstrip()[:-1], after.lstrip()[1:]
        before = before.rstrip(" ,;/")
        text = before + after if not before or after[:1] in ("", " ", ",", ".", ";", ")") else f"{before} {after}"
    return text.strip()


def _places(text: str) -> tuple[dict[int, int], dict[int, int]]:
    """Where each piece of the text starts, and where the text of so many pieces ends: only what is beyond doubt."""
    whole = pieces(text)
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for chunk in _CHUNK.finditer(text):
        for places, at in ((starts, chunk.start()), (ends, chunk.end())):
            found = pieces(text[:at])
            if found == whole[: len(found)]:
                places.setdefault(len(found), at)
    return starts, ends
