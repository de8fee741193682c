"""CMV DNA over time: one series per specimen and unit, which are never compared with each other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.rules.advice import ResponseRule
from cdshooks.medicine.units import readable
from cdshooks.model import Facts, Input, Lab

_LOOK_BACK = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Point:
    """One result. `level` is what its logarithm is taken of: never below the limit of quantification."""

    lab: Lab
    level: Decimal
    below: bool  # not detected, or below the limit of quantification

    @property
    def on(self) -> date:
        """The day of the result."""
        return self.lab.on

    @property
    def words(self) -> str:
        """As the laboratory gave it, with its day."""
        return f"{self.lab.original} on {self.lab.on.isoformat()}"


@dataclass(frozen=True, slots=True)
class Series:
    """The results of one specimen in one unit, oldest first; at least one. `limit` is that of quantification."""

    analyte: str
    name: str
    unit: str
    points: tuple[Point, ...]
    limit: Decimal
    near: Decimal  # up to here a result is next to the limit (of this assay or the usual one, whichever is higher)

    @property
    def newest(self) -> Point:
        """The latest result."""
        return self.points[-1]

    def between(self, first: date, last: date) -> tuple[Point, ...]:
        """The results from `first` to `last`, both included."""
        return tuple(point for point in self.points if first <= point.on <= last)

    def is_near_limit(self, point: Point) -> bool:
        """Is it next to the limit of quantification, where a change has to be larger to be one?"""
        return point.level <= self.near

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The results as a card's explanation holds them, newest last."""
        return tuple(
            Input(self.name, f"{p.lab.comparator}{readable(p.lab.value)}", self.unit, p.on.isoformat(), p.lab.ref)
            for p in self.points[-12:]
        )


def log_change(before: Point, after: Point) -> Decimal:
    """Change in log10; positive is a rise."""
    return (after.level / before.level).log10()


def all_series(facts: Facts, rule: ResponseRule, knowledge: Knowledge) -> Iterator[Series]:
    """Every series that holds a usable result: one per test, specimen and laboratory."""
    for key in rule.series:
        analyte = knowledge.codes.analytes[key]
        usual = rule.limit_of_quantification.of(analyte.unit)
        for name, labs in _kinds(facts.results[key].since(facts.today - _LOOK_BACK), analyte.name, rule):
            bounds = [lab.value for lab in labs if "<" in lab.comparator and lab.value > 0]
            limit = max(bounds, default=usual)
            points = tuple(_point(lab, limit) for lab in sorted(labs, key=_in_time))
            yield Series(key, name, analyte.unit, points, limit, max(limit, usual) * Decimal(10) ** rule.near_limit)


def _kinds(labs: Iterable[Lab], name: str, rule: ResponseRule) -> Iterator[tuple[str, list[Lab]]]:
    """Results that may be compared. Where the record names several laboratories, each is a kind of its own."""
    laboratories = {lab.laboratory for lab in labs if lab.laboratory}
    found: dict[str, list[Lab]] = {}
    for lab in labs:
        whole = any(words in lab.specimen for words in rule.whole_blood) and "whole blood" not in name
        kind = f"{name}, specimen whole blood" if whole else name
        kind += f", {lab.laboratory or 'laboratory not given'}" if len(laboratories) > 1 else ""
        found.setdefault(kind, []).append(lab)
    yield from found.items()


def _in_time(lab: Lab) -> tuple[date, str, str]:
    return lab.on, lab.at.isoformat() if lab.at else "", lab.ref


def _point(lab: Lab, limit: Decimal) -> Point:
    below = lab.value == 0 or "<" in lab.comparator
    return Point(lab, max(lab.value, limit) if not below else limit, below)


def starting_value(series: Series, since: date, rule: ResponseRule) -> Point | None:
    """The peak of the first week and of the last result before it; else the first one a week before the newest."""
    before = series.between(since - timedelta(days=rule.start_days_before), since)
    first_days = series.between(since + timedelta(days=1), since + timedelta(days=rule.start_days_after))
    early = [p for p in (*before[-1:], *first_days) if p is not series.newest]
    if early:
        return max(early, key=lambda p: (p.level, p.on))
    week_ago = series.newest.on - timedelta(days=rule.start_days_after)
    return next(iter(series.between(since, week_ago)), None)


def significant(series: Series, rule: ResponseRule, today: date) -> bool:
    """Does the newest result show DNAemia at the site's threshold, and recently?"""
    newest = series.newest
    recent = (today - newest.on).days <= rule.current_days
    return recent and not newest.below and newest.lab.value >= rule.threshold.of(series.unit)
