"""The viral loads behind a card, laid out for drawing: in the terminal as bars, on a page as a line.

Read from the card's own explanation, so that a drawing shows what the verdict rests on and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from math import log10
from typing import Any, Final

WIDTH: Final = 320
HEIGHT: Final = 96
_MARGIN: Final = 10
_SERIES: Final = "CMV DNA"


@dataclass(frozen=True, slots=True)
class Mark:
    """One result. `share` is its place between the lowest (0) and the highest (1) logarithm; x, y: on the page."""

    value: str  # with < or >
    on: str
    share: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Plot:
    """One series, oldest first."""

    name: str
    unit: str
    marks: tuple[Mark, ...]

    @property
    def line(self) -> str:
        """The points of an SVG polyline."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)

    @property
    def words(self) -> str:
        """What the drawing shows, for who does not see it."""
        return f"{self.name}, {self.unit}: " + ", ".join(f"{mark.value} on {mark.on}" for mark in self.marks)


def plots(card: dict[str, Any]) -> Iterator[Plot]:
    """Every series of at least two viral loads behind a card."""
    series: dict[tuple[str, str], list[dict[str, str]]] = {}
    for entry in card["extension"]["cmv-cds.finding"].get("inputs", ()):
        if entry["name"].startswith(_SERIES) and "effective" in entry:
            series.setdefault((entry["name"], entry.get("unit", "")), []).append(entry)
    for (name, unit), entries in series.items():
        if len(entries) > 1:
            yield Plot(name, unit, tuple(_marks(sorted(entries, key=lambda entry: entry["effective"]))))


def _marks(entries: list[dict[str, str]]) -> Iterator[Mark]:
    levels = [log10(max(float(entry["value"].lstrip("<>=")), 1)) for entry in entries]
    lowest, span = min(levels), max(levels) - min(levels) or 1.0
    days = [date.fromisoformat(entry["effective"]).toordinal() for entry in entries]
    length = days[-1] - days[0] or 1
    for entry, level, day in zip(entries, levels, days, strict=True):
        share = (level - lowest) / span
        x = _MARGIN + (day - days[0]) / length * (WIDTH - 2 * _MARGIN)
        y = HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN)
        yield Mark(entry["value"], entry["effective"], share, x, y)
