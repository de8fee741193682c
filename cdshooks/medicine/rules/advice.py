"""Indication, response and length of therapy (`mappings/rules/indication/`, `response/`, `duration/`)."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cdshooks.medicine.rules.entries import Cite, Entry
from cdshooks.model import Phase


class Situation(Entry):
    """When a piece of advice applies: all that is given must hold. Names of drugs and of problems may be groups."""

    against: tuple[str, ...] = ("cmv",)  # what the order is for by its own words: cmv, or a key of phases.yaml
    phases: tuple[Phase, ...] = ()
    phase_from: Literal["order", "chart", "either"] = "either"  # who says it: the order's own words, or the chart alone
    problems: tuple[str, ...] = ()  # at least one on the problem list or among the reasons
    no_problems: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # at least one in what the order says, or in the words of a CMV problem
    no_words: tuple[str, ...] = ()
    with_drugs: tuple[str, ...] = ()  # at least one drafted or running
    without_drugs: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    serostatus: tuple[Literal["D+/R-", "D+/R+", "D-/R+", "D-/R-", "R+", "R-", "D-"], ...] = ()  # R+: whatever the donor
    dnaemia: Literal["", "significant"] = ""
    starts: StrictBool = False  # the order begins the therapy: none of it is on record
    treated_days_below: int | None = None  # fewer days than this of treatment with `treated_with` are on record
    treated_days_at_least: int | None = None
    treated_with: tuple[str, ...] = ()
    treated_routes: tuple[str, ...] = ()
    falling: bool | None = None  # did the viral load fall clearly on the earlier treatment?
    transplant: str = ""  # with `days_outside`: the day after this transplantation is outside the span
    days_outside: tuple[int, int] | None = None
    no_resistance_result: StrictBool = False  # no genotype or phenotype on file speaks of resistance
    neutrophils_at_least: Decimal | None = None  # 10*3/uL
    ordered_for_cmv: tuple[str, ...] = ()  # one of these drugs is drafted or running with CMV as its reason

    @model_validator(mode="after")
    def _whole(self) -> "Situation":
        if bool(self.transplant) != (self.days_outside is not None):
            raise ValueError("give `transplant` and `days_outside` together")
        limits = (self.treated_days_below, self.treated_days_at_least)
        if any(limit is not None for limit in limits) and not self.treated_with:
            raise ValueError("give `treated_with`: the drugs whose days count")
        return self


class Advice(Entry):
    """One thing to say about an order in a situation."""

    id: str
    title: str
    drugs: tuple[str, ...]
    when: Situation
    topic: Literal["indication", "duration"] = "indication"
    indicator: Literal["info", "warning", "critical"]
    summary: Annotated[str, Field(min_length=1, max_length=100)]  # follows the order's name
    because: tuple[str, ...]
    proposes: tuple[str, ...] = ()  # tests of analytes.yaml
    remove: StrictBool = False  # offer to remove the draft
    reviewed: str
    cite: Cite


class IndicationRule(Entry):
    """Which drug for what: every piece of advice whose situation holds is given."""

    kind: Literal["indication"]
    id: str
    title: str
    advice: tuple[Advice, ...]


class NotForCmvRule(Entry):
    """Antivirals of other viruses: an order of one that by its own words treats CMV is named, any other is not ours."""

    kind: Literal["not-for-cmv"]
    id: str
    title: str
    drugs: tuple[str, ...]  # or classes of other_drugs.yaml
    other_viruses: tuple[str, ...]  # an order with one of these words is for that virus
    denied_behind: tuple[str, ...]  # behind "CMV" in its clause these say that it is not there
    indicator: Literal["info", "warning"]
    summary: Annotated[str, Field(min_length=1, max_length=80)]  # follows the drug's name
    because: tuple[str, ...]
    reviewed: str
    cite: Cite


class PerUnit(Entry):
    """A viral load by the unit of the assay: IU and copies are never converted into each other."""

    iu_per_ml: Decimal
    copies_per_ml: Decimal
    cite: Cite

    def of(self, unit: str) -> Decimal:
        """The figure for a unit."""
        return self.copies_per_ml if "copies" in unit else self.iu_per_ml


class Definition(Entry):
    """One verdict on a series of viral loads, with the words for it."""

    id: str
    title: str
    indicator: Literal["info", "warning", "critical"]
    because: tuple[str, ...]
    reviewed: str
    cite: Cite


class ResponseRule(Entry):
    """mappings/rules/response.yaml: how a series of viral loads is judged. Changes are in log10."""

    kind: Literal["response"]
    id: str
    title: str
    reviewed: str
    significant: Decimal  # a smaller change is none
    near_limit: Decimal  # the same next to the limit of quantification, and how far "next to" reaches
    refractory_rise: Decimal
    clear_fall: Decimal
    least_days: int  # of rightly dosed treatment before a verdict
    exposure_days: int  # of all therapy with the substance before a genotype
    current_days: int  # a result this old still stands for today
    start_days_before: int  # how far before the treatment its starting value may lie
    start_days_after: int  # the first days, whose peak is the starting value
    limit_of_quantification: PerUnit  # where the series itself shows none
    threshold: PerUnit  # from here on DNAemia counts as significant
    genotype_tests: tuple[str, ...]
    genotype_clear: tuple[str, ...]
    genotype_order: str
    treatment_drugs: tuple[str, ...]
    preventive_drugs: tuple[str, ...]
    whole_blood: tuple[str, ...]  # words for the specimen
    series: tuple[str, ...]  # analytes
    refractory: Definition
    probable: Definition
    slow: Definition
    rebound: Definition
    breakthrough: Definition
    low_positive: Definition
    blip: Definition
    dose_first: Definition
    not_compared: Definition
    genotype_due: Definition

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """Every verdict."""
        return tuple(value for _, value in self if isinstance(value, Definition))


class CourseLength(Entry):
    """The least days of a course of treatment; `most`, and the age at which it begins, where a source says so.

    The first whose conditions hold applies.
    """

    id: str
    title: str
    drugs: tuple[str, ...]
    problems: tuple[str, ...] = ()  # one of them
    also: tuple[str, ...] = ()  # and one of these
    days: int
    most: int | None = None
    begins_within_days: int | None = None  # of age
    words: str
    at_most: Literal["info", "warning"] = "warning"
    reviewed: str
    cite: Cite


class SourceDays(Entry):
    """What one source has for the length of prophylaxis, days after transplantation."""

    least: int
    most: int
    words: str
    cite: Cite


class ProphylaxisLength(Entry):
    """How long prophylaxis runs after a transplantation. The first row that fits applies."""

    id: str
    title: str
    drugs: tuple[str, ...]
    transplants: tuple[str, ...]
    serostatus: tuple[Literal["D+/R-", "R+"], ...] = ()  # empty: whatever it is
    late_risk: tuple[str, ...] = ()  # problems that allow the longest of the sources
    label: SourceDays | None = None
    guideline: SourceDays | None = None
    practice: SourceDays | None = None  # where no document is at hand
    too_short: Literal["info", "warning"]
    too_long: Literal["info", "warning"]
    reviewed: str
    cite: Cite

    @property
    def named(self) -> tuple[tuple[str, SourceDays], ...]:
        """What is known, label first, each with what it is."""
        known = (("label", self.label), ("guideline", self.guideline), ("usual practice", self.practice))
        return tuple((who, source) for who, source in known if source)

    @property
    def sources(self) -> tuple[SourceDays, ...]:
        """What is known, label first."""
        return tuple(source for _, source in self.named)


class SecondaryProphylaxis(Entry):
    """Maintenance in HIV: when it may stop, and that it goes on until then."""

    id: str
    title: str
    problems: tuple[str, ...]
    least_days: int  # of treatment
    cd4_above: Decimal  # /uL, throughout `sustained_days`
    sustained_days: int
    hiv_rna_below: Decimal  # copies/mL
    may_stop: tuple[str, ...]
    go_on: tuple[str, ...]
    reviewed: str
    cite: Cite


class EndOfTreatment(Entry):
    """What is looked at when a course of treatment comes to its end."""

    id: str
    title: str
    days_ahead: int  # the end is this near
    viral_load_days: int  # a viral load no older than this
    negatives: int  # consecutive ones
    negatives_apart_days: int
    still_detectable: str
    one_negative: str
    blood_may_mislead: str
    reviewed: str
    cite: Cite
    negatives_cite: Cite


class DurationRule(Entry):
    """mappings/rules/duration.yaml: how long treatment and prevention run."""

    kind: Literal["duration"]
    id: str
    title: str
    deliberate_days: int  # a period this long is a plan, not a repeat prescription
    grace_days: int  # beyond the longest source before it is said
    courses: tuple[CourseLength, ...]
    end: EndOfTreatment
    prophylaxis: tuple[ProphylaxisLength, ...]
    secondary: SecondaryProphylaxis
