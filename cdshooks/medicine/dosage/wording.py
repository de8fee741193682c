"""Doses and frequencies in words, as a clinician writes them. The words read back to the same numbers."""

from decimal import Decimal
from fractions import Fraction


def plain(value: Decimal) -> str:
    """A number with at most four decimals and no trailing zeros."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return text if text not in ("0", "") else f"{value.normalize():f}"


def span(low: Decimal, high: Decimal) -> str:
    """A dose or a range of doses without its unit."""
    return plain(low) if low == high else f"{plain(low)}-{plain(high)}"


def often_wording(per_day: Decimal) -> str:
    """A frequency in words; `per_day` is administrations per day."""
    rate = Fraction(per_day).limit_denominator(1000)
    hours, weekly, days = 24 / rate, 7 * rate, 1 / rate
    if rate == 1:
        return "once daily"
    if rate == Fraction(5, 7):
        return "5 days a week"
    if weekly.denominator == 1 and rate < 1:
        return {1: "once weekly", 2: "twice weekly"}.get(int(weekly), f"{weekly} times weekly")
    if hours.denominator == 1 and hours < 168:
        return f"every {hours} h"
    if weekly.denominator == 1 and rate < 2:
        return f"{weekly} times weekly"
    if days.denominator == 1:
        return f"every {days / 7} weeks" if days % 7 == 0 else f"every {days} days"
    return f"{plain(per_day)} times daily"


def regimen_wording(low: Decimal, high: Decimal, unit: str, per_day: Decimal | None, after_dialysis: bool) -> str:
    """A regimen as a clinician writes it: "450 mg every 12 h", "1.25 mg/kg 3 times weekly after dialysis".

    `per_day` is administrations per day; None is a dose "after each dialysis", or without dialysis a single dose.
    """
    if per_day is None:
        often = "after each dialysis" if after_dialysis else "once"
    else:
        often = often_wording(per_day) + (" after dialysis" if after_dialysis else "")
    return f"{span(low, high)} {unit} {often}"


def quote(text: str) -> str:
    """A fragment of the order for the reader: one line, short."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return f"“{line[:57]}...”" if len(line) > 60 else f"“{line}”"
