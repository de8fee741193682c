"""Drugs beside each other (`mappings/rules/interaction/`)."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cdshooks.medicine.rules.entries import Cite, Entry
from cdshooks.medicine.rules.kidney import Freshness
from cdshooks.medicine.rules.monitoring import Severity


class Pair(Entry):
    """One row of an interaction table: the CMV drug of the file with any of these drugs.

    `severity` is what the row gives; `in_eu` where the EU label gives another one. It is information while
    `info_while` holds (see `InteractionLimits`), and up to `above_mg_per_day` of the other drug. `seen` says where the
    row stands; what no label was seen to say never becomes critical.
    """

    with_drugs: Annotated[tuple[str, ...], Field(min_length=1)]  # drugs or classes
    also_with: tuple[str, ...] = ()  # and one of these as well
    severity: Severity
    in_eu: Severity | None = None
    seen: Literal["label", "class", "secondary", "memory"] = "label"  # class: the label names others of its kind
    risk: Annotated[str, Field(min_length=1, max_length=50)]  # a few words for the line of a card
    act: Annotated[str, Field(max_length=40)] = ""  # what to do, in that line, where the risk does not say it
    says: Annotated[str, Field(min_length=1)]  # what happens and what to do, of one drug or of several
    not_routes: tuple[str, ...] = ()  # of the other drug: by these it is none
    any_form: StrictBool = False  # counts in forms that are not systemic as well
    washout_days: Annotated[int, Field(gt=0)] | None = None  # it has to have ended so many days before
    above_mg_per_day: Annotated[Decimal, Field(gt=0)] | None = None
    info_while: tuple[Literal["counts", "creatinine", "heart", "levels"], ...] = ()
    test: str = ""  # analyte that a card offers to order
    cite: Cite

    @model_validator(mode="after")
    def _is_graded_soundly(self) -> "Pair":
        if self.seen != "label" and "critical" in (self.severity, self.in_eu):
            raise ValueError("a row that no label was seen for is never critical: write warning")
        if (self.info_while or self.above_mg_per_day is not None) and self.severity != "warning":
            raise ValueError("`info_while` and `above_mg_per_day` grade a row of severity warning")
        return self


class InteractionRule(Entry):
    """The interaction table of CMV drugs: for each drug beside it, the first row that applies counts."""

    kind: Literal["interaction"]
    id: str
    title: str
    drugs: Annotated[tuple[str, ...], Field(min_length=1)]
    reviewed: str
    cite: Cite
    pairs: tuple[Pair, ...]


class InDate(Entry):
    """A result that has to be so recent and within this limit, in the unit of its analyte."""

    analyte: str
    at_least: Decimal | None = None
    below: Decimal | None = None
    days: Freshness


class SteadyCreatinine(Entry):
    """A creatinine of this factor over the lowest of so many days has risen; the AKI criteria are in kidney.yaml."""

    rise_factor: Annotated[Decimal, Field(gt=1)]
    within_days: Annotated[int, Field(gt=0)]
    cite: Cite


class Levels(Entry):
    """The drug level that belongs to a drug, and for how many days it is current."""

    analyte_of: dict[str, str]
    days: int
    cite: Cite


class InteractionLimits(Entry):
    """mappings/rules/interaction/limits.yaml: while what holds an everyday companion is information only."""

    kind: Literal["interaction-limits"]
    id: str
    title: str
    reviewed: str
    label_region: Literal["us", "eu"]
    ended_unknown_days: int
    ended_unknown_cite: Cite
    planned_after_days: int
    counts: tuple[InDate, ...]
    heart: tuple[InDate, ...]
    steady_creatinine: SteadyCreatinine
    levels: Levels


class SameDrug(Entry):
    """CMV drugs that are the same active substance in the blood."""

    drugs: tuple[str, ...]
    says: str
    cite: Cite


class DuplicateRule(Entry):
    """mappings/rules/duplicate.yaml: what counts as one drug given twice."""

    kind: Literal["duplicate"]
    id: str
    title: str
    reviewed: str
    same: tuple[SameDrug, ...]
    cite: Cite
