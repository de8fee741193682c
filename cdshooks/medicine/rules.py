"""Models of the rule files in mappings/: what a pharmacist may write, and which slips are refused.

One model per `kind`. Every figure carries its source. Reading the files is the business of `knowledge`.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from cdshooks.medicine.dosage import regimen_wording
from cdshooks.model import Phase, Regimen


class Entry(BaseModel):
    """Base of every entry: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Cite(Entry):
    """Where a figure comes from: a key of sources.yaml and a section (quoted, so that 2.10 stays 2.10)."""

    source: str
    section: Annotated[str, Field(strict=True, min_length=1)]


class Source(Entry):
    """One label or paper of sources.yaml."""

    title: str
    version: Annotated[str, Field(strict=True)]
    url: str = ""
    seen: Literal["label", "secondary", "design", "memory"]
    checked: str


def _measure(value: Any) -> Any:
    """`450 mg` or `12 h` as (number, unit)."""
    if isinstance(value, str):
        number, _, unit = value.strip().partition(" ")
        return number, unit
    return value


Measure = Annotated[tuple[Annotated[Decimal, Field(gt=0)], str], BeforeValidator(_measure)]
_HOURS = {"h": 1, "d": 24, "wk": 168}


class TableRegimen(Entry):
    """A regimen of a dose table: `{dose: 450 mg, every: 12 h}` or `{dose: 450 mg, times: 2, each: 1 wk}`."""

    dose: Measure
    every: Measure | None = None
    times: Annotated[int, Field(gt=0)] | None = None
    each: Measure | None = None
    after_dialysis: StrictBool = False
    alternative: StrictBool = False  # right when ordered, but not what a misfit is compared with first

    @model_validator(mode="after")
    def _one_way_to_say_when(self) -> "TableRegimen":
        if (self.every is None) == (self.times is None or self.each is None):
            raise ValueError("give either `every: 12 h`, or `times: 2` with `each: 1 wk`")
        if self.span[1] not in _HOURS:
            raise ValueError(f"period unit {self.span[1]!r} is not one of h, d, wk")
        return self

    @property
    def frequency(self) -> int:
        """Administrations per period."""
        return self.times or 1

    @property
    def span(self) -> tuple[Decimal, str]:
        """The period: (length, h | d | wk)."""
        return self.every or self.each or (Decimal(0), "")

    @property
    def per_day(self) -> Decimal:
        """Administrations per day, on average."""
        length, unit = self.span
        return Decimal(24 * self.frequency) / (length * _HOURS[unit])

    @property
    def regimen(self) -> Regimen:
        """As a regimen with its wording."""
        number, unit = self.dose
        words = regimen_wording(number, number, unit, self.per_day, self.after_dialysis)
        return Regimen(number, number, unit, self.per_day, after_dialysis=self.after_dialysis, wording=words)


Regimens = tuple[TableRegimen, ...]


class Variant(Entry):
    """A regimen that another source gives for some dose forms where the label gives none."""

    forms: tuple[str, ...]
    treatment: Regimens
    stable: Regimens
    cite: Cite


class _Row(Entry):
    """What a row of a table says: regimens, or that the drug is not recommended, or that a specialist decides."""

    treatment: Regimens = ()
    stable: Regimens = ()
    not_recommended: str = ""
    refer: str = ""
    variant: Variant | None = None
    cite: Cite | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "_Row":
        said = [bool(self.treatment and self.stable), bool(self.not_recommended), bool(self.refer)]
        if sum(said) != 1 or bool(self.treatment) != bool(self.stable):
            raise ValueError("give `treatment` and `stable`, or `not_recommended`, or `refer`")
        return self


class Band(_Row):
    """One band of kidney function, from `at_least` (in the table's measure) up to the band above."""

    at_least: Annotated[Decimal, Field(ge=0)]


class DialysisRow(_Row):
    """The row for a kind of dialysis."""

    modality: Literal["haemodialysis", "peritoneal", "continuous"]


class StartOfProphylaxis(Entry):
    """Prophylaxis may start with the regimen of another column for some days."""

    regimens: Literal["treatment"]
    up_to_days: int
    cite: Cite


class RenalDoseRule(Entry):
    """One drug's adult dose table by kidney function, in whole mL/min or in mL/min/kg to two decimals."""

    kind: Literal["renal-dose"]
    id: str
    title: str
    drug: str
    indication: str = "cmv"
    routes: tuple[str, ...]
    measure: Literal["mL/min", "mL/min/kg"] = "mL/min"
    adults_from_years: int
    unit: Literal["mg", "mg/kg"]
    cite: Cite
    reviewed: str
    confusable_with: str = ""  # a drug whose doses are taken for this one's
    stable_freshness_days: int | None = None  # instead of the one in kidney.yaml
    start_of_prophylaxis: StartOfProphylaxis | None = None
    bands: tuple[Band, ...]
    dialysis: tuple[DialysisRow, ...]

    @model_validator(mode="after")
    def _bands_meet(self) -> "RenalDoseRule":
        edges = [band.at_least for band in self.bands]
        if edges != sorted(set(edges), reverse=True):
            raise ValueError(f"bands must run from the highest `at_least` to the lowest, each once; they run {edges}")
        if any(edge % self.step for edge in edges):
            raise ValueError(f"a band edge is finer than {self.step} {self.measure}, to which clearances are rounded")
        if not edges or edges[-1] != 0:
            raise ValueError("bands leave a gap below the last one: the last band must have `at_least: 0`")
        kinds = [row.modality for row in self.dialysis]
        if sorted(kinds) != ["continuous", "haemodialysis", "peritoneal"]:
            raise ValueError("dialysis needs one row each for haemodialysis, peritoneal and continuous")
        rows: tuple[_Row, ...] = (*self.bands, *self.dialysis)
        with_doses: tuple[_Row | Variant, ...] = (*rows, *(row.variant for row in rows if row.variant))
        for row in with_doses:
            for regimen in (*row.treatment, *row.stable):
                if regimen.dose[1] != self.unit:
                    raise ValueError(f"dose unit {regimen.dose[1]!r} differs from the table's unit {self.unit!r}")
        return self

    @property
    def per_kg(self) -> bool:
        """Is the measure per kg of body weight?"""
        return self.measure == "mL/min/kg"

    @property
    def step(self) -> Decimal:
        """To what clearances are rounded before banding."""
        return Decimal("0.01") if self.per_kg else Decimal(1)

    @property
    def doses(self) -> frozenset[tuple[Decimal, str]]:
        """Every dose of the table, with its unit."""
        rows = (*self.bands, *self.dialysis)
        return frozenset(regimen.dose for row in rows for regimen in (*row.treatment, *row.stable))

    def band(self, clearance: Decimal) -> Band:
        """The band that holds a clearance, rounded to the table's step."""
        return next(band for band in self.bands if clearance >= band.at_least)

    def for_dialysis(self, modality: str) -> DialysisRow:
        """The row of a kind of dialysis."""
        return next(row for row in self.dialysis if row.modality == modality)


class CockcroftGault(Entry):
    """Constants of the Cockcroft-Gault formula."""

    age_from: Decimal
    divisor: Decimal
    female: Decimal
    cite: Cite


class SchwartzK(Entry):
    """One row of the k table."""

    sex: Literal["any", "female", "male"]
    below_years: int
    k: Decimal


class Schwartz(Entry):
    """The modified Schwartz formula for children."""

    cap: Decimal
    k: tuple[SchwartzK, ...]
    remark: str
    cite: Cite


class IdealWeight(Entry):
    """Ideal body weight at 60 inches by sex, and what each further inch adds; kg."""

    male: Decimal
    female: Decimal
    per_inch_above_60: Decimal


class AdjustedWeight(Entry):
    """From which BMI adjusted weight is looked at, and how it is computed."""

    bmi_at_least: Decimal
    fraction: Decimal
    ideal: IdealWeight
    cite: Cite


class AcuteChange(Entry):
    """When a creatinine counts as moving."""

    rise_mg_dl: Decimal
    within_hours: int
    factor: Decimal
    within_days: int
    cite: Cite


class Freshness(Entry):
    """Days for which a creatinine is current, by phase and route."""

    treatment_by_vein: int
    treatment: int
    stable: int
    cite: Cite


class Doubtful(Entry):
    """When a clearance may read too high."""

    albumin_below_g_dl: Decimal
    upcr_at_least_mg_g: Decimal
    albumin_days: int
    margin_ml_min: int
    cite: Cite


class KidneyRule(Entry):
    """mappings/kidney.yaml."""

    kind: Literal["kidney"]
    id: str
    title: str
    reviewed: str
    cockcroft_gault: CockcroftGault
    schwartz: Schwartz
    adjusted_weight: AdjustedWeight
    acute_change: AcuteChange
    freshness_days: Freshness
    weight_days: int
    doubtful: Doubtful
    dialysis_days: int


class JudgementRule(Entry):
    """mappings/judgement.yaml."""

    kind: Literal["judgement"]
    id: str
    title: str
    reviewed: str
    tolerance: Annotated[Decimal, Field(gt=0, lt=1)]
    strong: Annotated[Decimal, Field(gt=0, lt=1)]
    round_mg: Annotated[Decimal, Field(gt=0)]
    course_gap_days: Annotated[int, Field(ge=0)]
    cite: Cite


class PhaseWords(Entry):
    """Words that name each phase."""

    maintenance: tuple[str, ...]
    treatment: tuple[str, ...]
    prophylaxis: tuple[str, ...]


class Window(Entry):
    """Days after a transplantation."""

    days: int
    cite: Cite


class PhaseRule(Entry):
    """mappings/phases.yaml."""

    kind: Literal["phases"]
    id: str
    title: str
    reviewed: str
    words: PhaseWords
    another_time: tuple[str, ...]
    not_this: tuple[str, ...]
    denied: tuple[str, ...]
    ignore: tuple[str, ...]
    precedence: tuple[Phase, ...]
    then: tuple[str, ...]
    indications: dict[str, tuple[str, ...]]
    cmv_words: tuple[str, ...]
    disease: tuple[str, ...]
    detected: tuple[str, ...]
    other_purpose: tuple[str, ...]
    cite: Cite
    dnaemia_days: int
    prophylaxis_window_days: dict[str, Window]


class SerostatusRule(Entry):
    """mappings/serostatus.yaml: words for the CMV serostatus of donor and recipient."""

    kind: Literal["serostatus"]
    id: str
    title: str
    reviewed: str
    donor: tuple[str, ...]
    recipient: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    between: tuple[str, ...]
    high_risk: tuple[str, ...]
    bare: tuple[str, ...]
    cite: Cite


class RouteRule(Entry):
    """mappings/routes.yaml: what route names mean for dosing."""

    kind: Literal["routes"]
    id: str
    enteral: tuple[str, ...]
    intravenous: tuple[str, ...]
    other_systemic: tuple[str, ...]
    local: tuple[str, ...]
    ambiguous_text: tuple[str, ...]


class OtherDrugs(Entry):
    """mappings/other_drugs.yaml."""

    kind: Literal["other-drugs"]
    id: str
    title: str
    names: dict[str, tuple[str, ...]]
    classes: dict[str, tuple[str, ...]] = {}
    not_systemic: tuple[str, ...]


class OverrideReason(Entry):
    """A reason a clinician may give for overriding a card."""

    code: str
    display: str


class CardWording(Entry):
    """mappings/cards.yaml."""

    kind: Literal["cards"]
    id: str
    topic_system: str
    reason_system: str
    note: str
    topics: dict[str, str]
    override_reasons: tuple[OverrideReason, ...]


class When(Entry):
    """Conditions of a row: all that are given must hold. A needed value that is absent makes the row undecidable."""

    with_drugs: tuple[str, ...] = ()  # at least one of them running or drafted (keys of codes/rxnorm.csv)
    routes: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    problems: tuple[str, ...] = ()  # at least one on the problem list or among the reasons
    years_at_least: int | None = None
    years_below: int | None = None
    days_below: int | None = None  # of age
    kg_at_least: Decimal | None = None
    kg_below: Decimal | None = None


class Formula(Entry):
    """A dose in mg computed as `factor` times the product of `times`, at most `most_mg`, rounded to `round_mg`."""

    factor: Annotated[Decimal, Field(gt=0)]
    times: tuple[Literal["body surface area", "clearance", "weight"], ...]
    most_mg: Decimal | None = None
    round_mg: Decimal | None = None


class DoseRow(Entry):
    """What applies when its conditions hold: regimens, a formula with an interval, or why there is none.

    `not_recommended` gets no suggestion; `unsettled` gives information only, because the sources do not settle it.
    `at_most: warning` holds a row from a secondary source below critical.
    """

    when: When = When()
    regimens: Regimens = ()
    formula: Formula | None = None
    every: Measure | None = None
    not_recommended: str = ""
    unsettled: str = ""
    note: str = ""
    at_most: Literal["critical", "warning", "info"] = "critical"
    cite: Cite | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "DoseRow":
        said = [bool(self.regimens), bool(self.formula), bool(self.not_recommended), bool(self.unsettled)]
        if sum(said) != 1 or bool(self.formula) != bool(self.every):
            raise ValueError("give `regimens`, or `formula` with `every`, or `not_recommended`, or `unsettled`")
        return self


class DoseRule(Entry):
    """Doses of a drug that depend on something else than the kidneys: the first row whose conditions hold applies."""

    kind: Literal["dose"]
    id: str
    title: str
    drug: str
    routes: tuple[str, ...]
    reviewed: str
    cite: Cite
    rows: tuple[DoseRow, ...]


class StartLimits(Entry):
    """Any one of these forbids the first dose."""

    creatinine_above_mg_dl: Decimal
    clearance_at_most_ml_min: int
    protein_at_least_mg_dl: Decimal
    cite: Cite


class EveryDose(Entry):
    """Creatinine and urine protein have to be this recent before every dose."""

    within_days: int
    cite: Cite


class Reduction(Entry):
    """A rise of creatinine over the baseline that asks for another dose."""

    rise_at_least_mg_dl: Decimal
    regimen_mg_per_kg: Decimal
    cite: Cite


class StopLimits(Entry):
    """Either of these on treatment: discontinue."""

    rise_at_least_mg_dl: Decimal
    protein_at_least_mg_dl: Decimal
    cite: Cite


class CidofovirRule(Entry):
    """When cidofovir may be started, given, reduced and stopped."""

    kind: Literal["cidofovir"]
    id: str
    title: str
    drug: str
    routes: tuple[str, ...]
    reviewed: str
    start: StartLimits
    every_dose: EveryDose
    reduce: Reduction
    stop: StopLimits


class Situation(Entry):
    """When a piece of advice applies: all that is given must hold. Names of drugs and of problems may be groups."""

    phases: tuple[Phase, ...] = ()
    phase_from: Literal["order", "chart", "either"] = "either"  # who says it: the order's own words, or the chart alone
    problems: tuple[str, ...] = ()  # at least one on the problem list or among the reasons
    no_problems: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # at least one in what the order says, or in the words of a CMV problem
    no_words: tuple[str, ...] = ()
    with_drugs: tuple[str, ...] = ()  # at least one drafted or running
    without_drugs: tuple[str, ...] = ()
    listed: StrictBool = False  # the medication list holds something
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
    """The least days of a course of treatment. The first whose conditions hold applies."""

    id: str
    title: str
    drugs: tuple[str, ...]
    problems: tuple[str, ...] = ()  # one of them
    also: tuple[str, ...] = ()  # and one of these
    days: int
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
    too_short: Literal["info", "warning"]
    too_long: Literal["info", "warning"]
    reviewed: str
    cite: Cite

    @property
    def named(self) -> tuple[tuple[str, SourceDays], ...]:
        """What is known, label first, each with what it is."""
        return tuple((who, s) for who, s in (("label", self.label), ("guideline", self.guideline)) if s)

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


DrugRule = RenalDoseRule | DoseRule | CidofovirRule
AdviceRule = IndicationRule | ResponseRule | DurationRule
KINDS: dict[str, type[DrugRule | AdviceRule]] = {  # kinds of the files in mappings/rules/
    "renal-dose": RenalDoseRule,
    "dose": DoseRule,
    "cidofovir": CidofovirRule,
    "indication": IndicationRule,
    "response": ResponseRule,
    "duration": DurationRule,
}
Row = Advice | Definition | CourseLength | ProphylaxisLength | SecondaryProphylaxis | EndOfTreatment
Rule = DrugRule | KidneyRule | JudgementRule | PhaseRule | ResponseRule | Row  # what stands behind cards


def cites_of(entry: BaseModel) -> Iterator[Cite]:
    """Every citation inside an entry, in order."""
    for _, value in entry:
        for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(item, Cite):
                yield item
            elif isinstance(item, BaseModel):
                yield from cites_of(item)
