"""Tests that are due, and results that are toxicity (`mappings/rules/monitoring/`, `toxicity/`)."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cdshooks.medicine.rules.entries import Cite, Entry
from cdshooks.model import Phase

Severity = Literal["info", "warning", "critical"]


class Due(Entry):
    """A test that is asked for. The newest result of any of `any_of` will do: keys of analytes.yaml, or a procedure.

    Without `any_of` nobody can see whether it was done: then it is a reminder. `beside`: only while one of these drugs
    runs. `not_instead`: analytes that are taken for it and do not stand for it.
    """

    any_of: tuple[str, ...] = ()
    name: str = ""
    beside: tuple[str, ...] = ()
    not_instead: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_named(self) -> "Due":
        if len(self.any_of) != 1 and not self.name:
            raise ValueError("several tests that stand for one another, or none, need a `name`")
        return self


class Interval(Entry):
    """From this day of therapy on, a result is in time for so many days."""

    from_day: Annotated[int, Field(ge=0)] = 0
    max_days: Annotated[int, Field(gt=0)]


class Tightened(Entry):
    """A shorter interval: while an analyte is below a value, while creatinine rises, or beside some drugs."""

    max_days: Annotated[int, Field(gt=0)]
    analyte: str = ""
    below: Decimal | None = None
    creatinine: Literal["", "rising"] = ""
    with_drugs: tuple[str, ...] = ()
    says: str  # completes "wanted every 3 days "
    cite: Cite

    @model_validator(mode="after")
    def _one_cause(self) -> "Tightened":
        if bool(self.analyte) != (self.below is not None):
            raise ValueError("`analyte` and `below` belong together")
        if sum(map(bool, (self.analyte, self.creatinine, self.with_drugs))) != 1:
            raise ValueError("give one of `analyte` with `below`, `creatinine: rising`, or `with_drugs`")
        return self


class MonitoringRule(Entry):
    """Tests that are due before and during a therapy, and how old the last one may be.

    `routes` and `phases` empty: all. `after_stop_of`: days count from the end of one of these drugs, whatever is
    ordered now. `since_start`: a result from before the therapy does not count. Severities: `absent` with none on
    file, `late` for a last one that is too old, `at_start` for both where a therapy only begins, `unseen` for a test
    that could not be looked for.
    """

    kind: Literal["monitoring"]
    id: str
    title: str
    reviewed: str
    drugs: tuple[str, ...]
    routes: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    indication: str = ""  # as an order names it; empty: any
    problems: tuple[str, ...] = ()
    unless_problems: tuple[str, ...] = ()
    problems_below_years: int | None = None  # an unseen one is reckoned with up to this age alone
    after_stop_of: tuple[str, ...] = ()
    tests: tuple[Due, ...]
    intervals: tuple[Interval, ...]
    until_day: int | None = None
    since_start: StrictBool = False
    tightened: tuple[Tightened, ...] = ()
    absent: Severity = "warning"
    late: Severity = "warning"
    at_start: Severity | None = None
    unseen: Severity = "info"
    basis: str  # what the source says, and which figure is this service's own
    cite: Cite

    @model_validator(mode="after")
    def _intervals_follow(self) -> "MonitoringRule":
        days = [interval.from_day for interval in self.intervals]
        if not days or days != sorted(set(days)):
            raise ValueError(f"intervals must run from the first day on, each once; they run {days}")
        return self

    def interval(self, day: int) -> Interval | None:
        """The interval in force on a day of therapy; None where nothing is asked for."""
        if self.until_day is not None and day > self.until_day:
            return None
        return next((one for one in reversed(self.intervals) if day >= one.from_day), None)


class Limit(Entry):
    """A value of an analyte that speaks against the drug: below `below`, or `at_least` and above; in `unit`.

    `unless_normal`: not where this other analyte has a result that is as new and reaches `normal_from`. `problems`:
    only where one of these is on record.
    """

    analyte: str
    unit: str
    below: Decimal | None = None
    at_least: Decimal | None = None
    also: str = ""  # the limit as the source prints it
    indicator: Severity
    starting: str  # what to do before the first dose, in a few words
    running: str  # and on treatment
    unless_normal: str = ""
    normal_from: Decimal | None = None
    problems: tuple[str, ...] = ()
    cite: Cite

    @model_validator(mode="after")
    def _one_direction(self) -> "Limit":
        if (self.below is None) == (self.at_least is None):
            raise ValueError("give either `below` or `at_least`")
        if bool(self.unless_normal) != (self.normal_from is not None):
            raise ValueError("`unless_normal` and `normal_from` belong together")
        return self


class Fall(Entry):
    """A fall to `share` of an earlier value within `within_days` that ends below `below`."""

    analyte: str
    unit: str
    share: Annotated[Decimal, Field(gt=0, lt=1)]
    within_days: int
    below: Decimal
    indicator: Severity
    cite: Cite


class Rise(Entry):
    """A rise to `factor` times the last value before the therapy."""

    analyte: str
    factor: Annotated[Decimal, Field(gt=1)]
    baseline_days: int  # how old that value may be on the first day
    indicator: Severity
    running: str
    cite: Cite


class Remedy(Entry):
    """What to do about a harmful value: of any analyte of its rule, or of these alone."""

    says: str
    analytes: tuple[str, ...] = ()
    cite: Cite


class ToxicityRule(Entry):
    """Laboratory values at which a drug is not started, held or watched.

    Of the limits of one analyte the first that a value reaches counts. A value older than `current_days` is never more
    than a warning.
    """

    kind: Literal["toxicity"]
    id: str
    title: str
    reviewed: str
    drugs: tuple[str, ...]
    current_days: int
    limits: tuple[Limit, ...] = ()
    falls: tuple[Fall, ...] = ()
    rises: tuple[Rise, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    shared_with: tuple[str, ...] = ()  # other drugs that do the same harm; those on the list are named
    cite: Cite

    @model_validator(mode="after")
    def _remedies_fit(self) -> "ToxicityRule":
        for remedy in self.remedies:
            if strange := set(remedy.analytes) - set(self.analytes):
                raise ValueError(f"a remedy is for {', '.join(sorted(strange))}, which no limit of this rule looks at")
        return self

    @property
    def analytes(self) -> tuple[str, ...]:
        """Every analyte that it looks at."""
        return tuple(dict.fromkeys(name for name in self._looked_at()))

    def _looked_at(self) -> Iterator[str]:
        yield from (limit.analyte for limit in self.limits)
        yield from (fall.analyte for fall in self.falls)
        yield from (rise.analyte for rise in self.rises)
