"""Doses not by band alone (`mappings/rules/dose/`, `mappings/rules/cidofovir.yaml`)."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cdshooks.medicine.rules.entries import Cite, Entry, Measure
from cdshooks.medicine.rules.renal_dose import Maximum, Regimens
from cdshooks.model import Phase


class When(Entry):
    """Conditions of a row: all that are given must hold. A needed value that is absent makes the row undecidable."""

    site: dict[str, str] = Field(default_factory=dict)  # switches of site.yaml and how they have to stand
    with_drugs: tuple[str, ...] = ()  # at least one of them running or drafted (keys of codes/rxnorm.csv)
    routes: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()  # as in drugs.yaml
    phases: tuple[Phase, ...] = ()
    problems: tuple[str, ...] = ()  # at least one on the problem list or among the reasons
    years_at_least: int | None = None
    years_below: int | None = None
    days_below: int | None = None  # of age
    kg_at_least: Decimal | None = None
    kg_below: Decimal | None = None
    clearance_below: int | None = None  # mL/min; dialysis counts as below
    against: tuple[str, ...] = ()  # what the order is for by its own words: cmv, or a key of phases.yaml
    earlier_doses_at_least: int | None = None  # of the same drug, by the orders on file


class Formula(Entry):
    """A dose in mg computed as `factor` times the product of `times`, at most `most_mg`, rounded to `round_mg`."""

    factor: Annotated[Decimal, Field(gt=0)]
    times: tuple[Literal["body surface area", "clearance", "weight"], ...]
    most_mg: Decimal | None = None
    round_mg: Decimal | None = None


class Elsewhere(Entry):
    """Regimens that another label has, or that are right at another time: at most so grave, and the card says why.

    Not where the order itself says one of the words `unless_said`.
    """

    regimens: Regimens
    unless_said: tuple[str, ...] = ()
    at_most: Literal["warning", "info"]
    says: str
    cite: Cite


class Known(Entry):
    """What one source has where none settles the dose: regimens, or a formula with its interval.

    `by` names the source and what it is about, for the reader of a card. `full_kidneys_from` (mL/min/1.73 m2, and
    mL/min/kg where the source counts so): below it the regimen would have to be reduced; no source says by how much.
    `bound`: no source has it; it holds back a verdict, and a card never shows it as a dose.
    """

    by: str
    bound: StrictBool = False
    when: When = When()
    regimens: Regimens = ()
    formula: Formula | None = None
    every: Measure | None = None
    full_kidneys_from: int | None = None
    full_kidneys_from_per_kg: Decimal | None = None
    cite: Cite

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Known":
        if bool(self.regimens) == bool(self.formula) or bool(self.formula) != bool(self.every):
            raise ValueError("give `regimens`, or `formula` with `every`")
        return self


class StopBelow(Entry):
    """A clearance (mL/min/kg, two decimals) below which a label for others stops the drug: a warning, no suggestion."""

    per_kg: Decimal
    by: str
    cite: Cite


class DosesAtMost(Entry):
    """A regimen is for so many doses, earlier ones of the course included; `summary` says what follows.

    More of them are as grave as `indicator`; with `without_end` an order that does not say how many is information.
    """

    doses: Annotated[int, Field(gt=0)]
    summary: str
    indicator: Literal["critical", "warning"] = "warning"
    without_end: StrictBool = False


class Remark(Entry):
    """Something to know beside the dose, whatever it is. `summary` follows the name of the order on the card."""

    when: When
    topic: Literal["administration", "contraindication", "dose"]
    indicator: Literal["warning", "info"]
    summary: str
    says: str
    unchecked: str = ""  # what a warning looks for, in a few words: for when it is not known
    cite: Cite

    @model_validator(mode="after")
    def _warning_is_named(self) -> "Remark":
        if self.indicator == "warning" and not self.unchecked:
            raise ValueError("a remark of severity warning needs `unchecked`: what could not be looked for")
        return self


class DoseRow(Entry):
    """What applies when its conditions hold: regimens, a formula with an interval, or why there is none.

    `not_recommended` gets no suggestion, nor does `unsettled`, where the sources do not settle the dose: what some have
    is `known`. `at_most: warning` holds a row from a secondary source below critical, but for what is far too much by
    every figure of `known` as well, and for a slip of the decimal point.
    """

    when: When = When()
    regimens: Regimens = ()
    formula: Formula | None = None
    every: Measure | None = None
    not_recommended: str = ""
    unsettled: str = ""
    known: tuple[Known, ...] = ()
    stop_below: StopBelow | None = None
    elsewhere: Elsewhere | None = None
    off_label: StrictBool = False  # said with what is suggested
    weigh_every_days: int | None = None  # an older weight is named
    doses_at_most: DosesAtMost | None = None
    note: str = ""
    at_most: Literal["critical", "warning", "info"] = "critical"
    cite: Cite | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "DoseRow":
        said = [bool(self.regimens), bool(self.formula), bool(self.not_recommended), bool(self.unsettled)]
        if sum(said) != 1 or bool(self.formula) != bool(self.every):
            raise ValueError("give `regimens`, or `formula` with `every`, or `not_recommended`, or `unsettled`")
        if self.known and not (self.unsettled or self.at_most == "warning"):
            raise ValueError("`known` belongs to a row that is `unsettled`, or at most a warning")
        if self.stop_below and not self.unsettled:
            raise ValueError("`stop_below` belongs to a row that is `unsettled`")
        return self


class DoseRule(Entry):
    """Doses of a drug that depend on something else than the kidneys: the first row whose conditions hold applies.

    `topic` is that of a misfit. `maximum` is the most that any source has for anybody.
    """

    kind: Literal["dose"]
    id: str
    title: str
    drug: str
    routes: tuple[str, ...]
    reviewed: str
    topic: Literal["dose", "renalDose"] = "dose"
    single_dose_counts: StrictBool = (
        False  # a dose above the largest of the rule is too much, however seldom it is given
    )
    cite: Cite
    maximum: Maximum
    rows: tuple[DoseRow, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def doses(self) -> frozenset[tuple[Decimal, str]]:
        """Every dose that its rows print, with its unit."""
        printed = (*self.maximum.regimens, *(regimen for row in self.rows for regimen in row.regimens))
        return frozenset(regimen.dose for regimen in printed)

    def largest_dose(self, unit: str) -> Decimal | None:
        """The most at once that the rule has in this unit; None where a single dose has no limit of its own."""
        return max((dose for dose, of in self.doses if of == unit), default=None) if self.single_dose_counts else None

    @property
    def conditions(self) -> Iterator[When]:
        """The conditions of its rows, of what they know, and of its remarks."""
        yield from (row.when for row in self.rows)
        yield from (known.when for row in self.rows for known in row.known)
        yield from (remark.when for remark in self.remarks)


class StartLimits(Entry):
    """Any one of these forbids the first dose."""

    creatinine_above_mg_dl: Decimal
    clearance_at_most_ml_min: int
    protein_at_least_mg_dl: Decimal
    dipstick: str
    cite: Cite


class EveryDose(Entry):
    """Creatinine and urine protein have to be this recent before every dose."""

    within_hours: int
    cite: Cite

    @property
    def within_days(self) -> int:
        """The same in calendar days: results have a day, and not always an hour."""
        return self.within_hours // 24


class Reduction(Entry):
    """A rise of creatinine over the baseline that asks for another dose."""

    rise_at_least_mg_dl: Decimal
    regimen_mg_per_kg: Decimal
    full_mg_per_kg: Decimal
    cite: Cite


class StopLimits(Entry):
    """Either of these on treatment: discontinue."""

    rise_at_least_mg_dl: Decimal
    protein_at_least_mg_dl: Decimal
    dipstick: str
    cite: Cite


class WatchLimit(Entry):
    """New protein on treatment below the stop limit: what the label says to do."""

    protein_at_least_mg_dl: Decimal
    dipstick: str
    says: str
    cite: Cite


class CidofovirRule(Entry):
    """When cidofovir may be started, given, reduced and stopped."""

    kind: Literal["cidofovir"]
    id: str
    title: str
    drug: str
    routes: tuple[str, ...]
    adults_from_years: int
    baseline_days: int
    reviewed: str
    start: StartLimits
    every_dose: EveryDose
    reduce: Reduction
    stop: StopLimits
    watch: WatchLimit
