"""The text of a dosage instruction as tokens: units and number words joined, numbers read, nothing interpreted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from cdshooks.medicine.dosage.words import DoseWords, Unit, pieces


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text that stands for one thing; `symbols` are what it can be in a phrase, the most literal first."""

    text: str
    symbols: tuple[str, ...]
    low: Decimal | None = None
    high: Decimal | None = None
    unit: Unit | None = None
    size: int = 1  # how many pieces of the text it takes


def number(text: str) -> Decimal | None:
    """A written number: "1,25" is 1.25, "1,000" is 1000. None when it may mean two things ("1.000", "0900")."""
    if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?", text):
        return Decimal(text.replace(",", ""))
    if re.fullmatch(r"(0|[1-9]\d*),\d+", text):
        return Decimal(text.replace(",", "."))
    if re.fullmatch(r"[1-9]\d{0,2}\.\d{2}0", text) or not re.fullmatch(r"(0|[1-9]\d*)?(\.\d+)?", text):
        return None
    return Decimal(text)


def _token(kind: str, text: str, words: DoseWords) -> Token:
    if kind == "number":
        value = number(text)
        clock = ("<hhmm>",) if re.fullmatch(r"([01]\d|2[0-3])[0-5]\d", text) else ()
        return Token(text, (text, *(("<n>",) if value is not None else ()), *clock), value, value)
    if kind in ("clock", "bad", "date"):
        return Token(text, ("<clock>", "<hhmm>") if kind == "clock" else (f"<{kind}>",))
    time = ("<time>",) if text in words.time_units else ()
    weekday = ("<weekday>",) if text in words.weekdays else ()
    return Token(text, (text, *time, *weekday))


def _merged(found: Sequence[Token], words: DoseWords) -> list[Token]:
    """Numbers that belong together as one: "1 1/2", "1-2", "1 to 2", "2 (two)"."""
    out: list[Token] = []
    for token in found:
        out.append(token)
        match [last.text for last in out[-4:]], [last.low for last in out[-4:]]:
            case [*_, _, "1/2" | "1/4" | "3/4"], [*_, Decimal() as whole, Decimal() as part] if (
                whole == int(whole) and whole <= words.loose_count_most
            ):
                out[-2:] = [_number_token(f"{out[-2].text} {token.text}", whole + part, whole + part, _size(out[-2:]))]
            case [*_, _, "-" | "to", _], [*_, Decimal() as low, None, Decimal() as high] if low < high:
                out[-3:] = [_number_token(" ".join(last.text for last in out[-3:]), low, high, _size(out[-3:]))]
            case [_, "(", _, ")"], [Decimal() as one, None, Decimal() as same, None] if one == same:
                out[-4:] = [replace(out[-4], size=_size(out[-4:]))]
            case _:
                pass
    return out


def _size(found: Sequence[Token]) -> int:
    return sum(token.size for token in found)


def _number_token(text: str, low: Decimal, high: Decimal, size: int) -> Token:
    return Token(text, ("<n>",), low, high, size=size)


def tokens(text: str, words: DoseWords) -> list[Token]:
    """The tokens of a text: units and number words joined, numbers read."""
    raw = pieces(text)
    texts = tuple(piece for _, piece in raw)
    found: list[Token] = []
    at = 0
    while at < len(raw):
        for size in range(min(words.longest_key, len(raw) - at), 0, -1):
            key = texts[at : at + size]
            if (unit := words.units.get(key)) is not None:
                found.append(Token("".join(key), (*(key if size == 1 else ()), f"<{unit.kind}>"), unit=unit, size=size))
            elif (value := words.numbers.get(key)) is not None:
                found.append(Token(" ".join(key), (f"{value:f}", " ".join(key), "<n>"), value, value, size=size))
            elif (value := words.fractions.get(key)) is not None:
                found.append(_number_token("".join(key), value, value, size))
            else:
                continue
            break
        else:
            size = 1
            found.append(_token(*raw[at], words))
        at += size
    return _merged(found, words)
