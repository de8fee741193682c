"""FHIR date texts as calendar dates of the site."""

import re
from calendar import monthrange
from datetime import date, datetime, tzinfo

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2}))?")


def moment_of(text: str, zone: tzinfo) -> datetime | None:
    """The instant of a FHIR dateTime with time and offset; None for a plain date or anything unreadable."""
    if "T" not in text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=zone)


def day_of(text: str, zone: tzinfo) -> date | None:
    """The calendar date, in the site's zone, of a FHIR date, dateTime or instant.

    A partial date (year, or year and month) counts from its first day: the oldest it can be. None if unreadable.
    """
    if moment := moment_of(text, zone):
        return moment.astimezone(zone).date()
    try:
        if partial := _PARTIAL.fullmatch(text):
            return date(int(partial[1]), int(partial[2] or 1), 1)
        return date.fromisoformat(text)
    except ValueError:
        return None


def last_day_of(text: str, first: date) -> date:
    """The last day of the year or month that a partial date with this `first` day names."""
    if len(text) == len("2026"):
        return first.replace(month=12, day=31)
    return first.replace(day=monthrange(first.year, first.month)[1])


def counted(days: int) -> str:
    """A number of days in words: "1 day", "8 days"."""
    return f"{days} day" if days == 1 else f"{days} days"


def is_partial(text: str) -> bool:
    """Is the date known to the year or month only?"""
    return bool(_PARTIAL.fullmatch(text))
