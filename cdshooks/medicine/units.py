"""Results into the canonical unit of their analyte, or a reason why not.

The real-life spellings of mappings/codes/units.csv come first (`K/uL` is kelvin to UCUM); only a plain metric unit that
is not listed is left to the UCUM library. Nothing is read off the size of a number.
"""

import re
from dataclasses import dataclass
from decimal import Context, Decimal, Overflow
from functools import lru_cache
from threading import Lock
from typing import Any

from lark.exceptions import LarkError
from pint.errors import PintError

from cdshooks.medicine.code_files import UnitRule
from cdshooks.medicine.codes import Analyte
from cdshooks.model import Quantity


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a result does not convert; `reason` completes "... is not used: "."""

    reason: str


_RESULT = Context(prec=10)  # hides the last digits of factors such as 1/88.4, keeps all that a laboratory reports
_SHOWN = Context(prec=4)
_FACTOR = Context(prec=12)
_ONE_AT_A_TIME = Lock()  # the registry is not made for threads: without this it answers wrongly, and the cache keeps it
_NOT_UCUM = (LarkError, PintError, ArithmeticError, AttributeError, TypeError, ValueError)
# Braces and brackets (copies, IU, per 1.73 m2) carry meaning that dimensions do not, equivalents need the valence:
# these come from the table only. Long powers would only cost time.
_PLAIN_UNIT = re.compile(r"(?!.*(?:eq|osm|\d{4}))[a-z0-9./*%^-]{1,24}", re.IGNORECASE)


def convert(quantity: Quantity, analyte: Analyte, kind: str = "") -> Decimal | Refusal:
    """The value in `analyte.unit`, or why it does not convert.

    Printed and coded unit are both read; if they say different things, nothing is used. `kind` is the kind of the
    result's code: a code for a logarithm needs a unit that says so. A unit that says so is believed beside any code:
    many laboratories send the logarithm under the code of the plain number.
    """
    if not quantity.value.is_finite():
        return Refusal("the value is not a number")
    if quantity.value < 0:
        return Refusal(f"the value is negative ({quantity.value})")
    code, unit = quantity.code.strip(), " ".join(quantity.unit.split())
    given = list(dict.fromkeys(text for text in (code, unit) if text))
    if not given and "1" in analyte.units and analyte.units["1"].factor == 1:
        given = ["1"]  # a pure number by nature
    if not given:
        return Refusal("no unit")
    rules = {text: rule for text in given if (rule := _rule(text, analyte))}
    if not rules:
        return Refusal(f"unknown unit {_quoted(*given)}")
    first = next(iter(rules))
    if any(_differ(rules[first], rules[text]) if text in rules else _is_ucum(text) for text in given):
        return Refusal(f"unit and code disagree: {_quoted(*given)}")
    rule = rules[first]
    if refusal := _obstacle(rule, analyte, first, kind):
        return refusal
    if rule.operation == "log10":
        try:
            return _shortest(_RESULT.power(Decimal(10), quantity.value))
        except Overflow:
            return Refusal(f"10 to the power of {quantity.value} is no result")
    return quantity.value if rule.factor == 1 else _shortest(_RESULT.multiply(quantity.value, rule.factor))


def readable(value: Decimal) -> str:
    """A converted value for reading: what has decimals is given to four digits."""
    return f"{value if value == value.to_integral_value() else _shortest(_SHOWN.plus(value)):f}"


def is_logarithm(quantity: Quantity, analyte: Analyte) -> bool:
    """Does the unit of a result say that it is the logarithm of the analyte?"""
    rules = (_rule(text, analyte) for text in (quantity.code.strip(), " ".join(quantity.unit.split())) if text)
    return any(rule is not None and rule.operation == "log10" for rule in rules)


def _obstacle(rule: UnitRule, analyte: Analyte, text: str, kind: str) -> Refusal | None:
    """Why a known unit does not give a value."""
    if rule.operation.startswith("needs-"):
        lack = {"bsa": "the body surface area", "weight": "the body weight", "wbc": "the white cell count"}
        what = rule.operation.removeprefix("needs-")
        return Refusal(f"{_quoted(text)} cannot be converted without {lack.get(what, what)}")
    if rule.operation not in ("multiply", "log10") or rule.canonical != analyte.unit:
        return Refusal(f"{_quoted(text)} cannot be converted to {analyte.unit}")
    if kind.startswith("log10") and rule.operation != "log10":
        return Refusal(f"unit and test disagree: the test is a logarithm, the unit is {_quoted(text)}")
    return None


def _rule(text: str, analyte: Analyte) -> UnitRule | None:
    """What a unit means for an analyte: as listed, as listed in other letters, or by UCUM; None when nobody knows."""
    if found := analyte.units.get(text):
        return found
    alike = {
        (rule.operation, rule.factor, rule.canonical): rule
        for known, rule in analyte.units.items()
        if _loosely(known) == _loosely(text)
    }
    if alike:
        return alike.popitem()[1] if len(alike) == 1 else None
    if not _PLAIN_UNIT.fullmatch(text) or not _PLAIN_UNIT.fullmatch(analyte.unit):
        return None
    for known, rule in analyte.units.items():  # a molar unit reaches a molar row, a mass unit a mass row
        if (
            rule.is_ucum
            and (rule.operation, rule.canonical) == ("multiply", analyte.unit)
            and _PLAIN_UNIT.fullmatch(known)
        ):
            factor = _ucum_factor(text, known)
            if factor is not None:
                return UnitRule("multiply", _FACTOR.multiply(factor, rule.factor), analyte.unit, is_ucum=True)
    return None


def _differ(one: UnitRule, other: UnitRule) -> bool:
    """Do two units give different values (beyond rounding)?"""
    same_kind = (one.operation, one.canonical) == (other.operation, other.canonical)
    return not same_kind or abs(one.factor - other.factor) * 10**6 > abs(one.factor)


@lru_cache(maxsize=4096)
def _loosely(text: str) -> str:
    """A unit as one of its many spellings: whatever letter case, spaces, brackets, signs for micro and for a power."""
    plain = re.sub(r"\s", "", text).translate(_SIGNS).casefold()
    plain = _POWER.sub(r"10*\1", plain)
    return re.sub(r"(^|/)mc(?=[a-z])", r"\1u", re.sub(r"[{}\[\]]|(?<=mm)\^(?=3)|(?<=m)\^(?=2)", "", plain))


_SIGNS = str.maketrans({"µ": "u", "μ": "u", "×": "x", **dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))})
_POWER = re.compile(r"^x?10(?:\*\*|[*^ex]|\((?=\d\)))?([2-9])\)?(?=[/.{a-z])")  # x10^9, 10e9, 10(9), 10⁹, 10x9: 10*9


@lru_cache(maxsize=512)
def _ucum_factor(source: str, target: str) -> Decimal | None:
    """How many `target` one `source` is, by UCUM; None if `source` is no UCUM unit or measures something else."""
    with _ONE_AT_A_TIME:
        try:
            factor = _registry().from_ucum(source).to(_registry().from_ucum(target).units).magnitude
        except _NOT_UCUM:
            return None
    return _FACTOR.create_decimal(repr(float(factor)))


@lru_cache(maxsize=512)
def _is_ucum(text: str) -> bool:
    """Is it a plain UCUM unit, of whatever?"""
    if not _PLAIN_UNIT.fullmatch(text):
        return False
    with _ONE_AT_A_TIME:
        try:
            _registry().from_ucum(text)
        except _NOT_UCUM:
            return False
    return True


@lru_cache(maxsize=1)
def _registry() -> Any:
    """The UCUM registry; half a second to build, so it is built when a unit is not listed for the first time."""
    from ucumvert import PintUcumRegistry  # type: ignore[import-untyped]

    return PintUcumRegistry()


def _shortest(value: Decimal) -> Decimal:
    """A number without trailing zeros; a large one without an exponent."""
    plain = value.normalize()
    return plain if "E+" not in str(plain) else Decimal(int(plain))


def _quoted(*texts: str) -> str:
    """Unit texts as shown: short, in quotes."""
    return " and ".join(f'"{text[:20]}"' for text in texts)
