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


Level = Literal["none", "unknown", "possible", "low", "moderate", "high"]  # of resistance, from least to most
LEVELS: tuple[Level, ...] = ("none", "unknown", "possible", "low", "moderate", "high")
Loudness = Literal["critical", "warning", "info"]
Codons = Annotated[tuple[int, int], Field(min_length=2)]  # first and last


class Bands(Entry):
    """From which fold change of the EC50 each level starts."""

    low: Decimal
    moderate: Decimal
    high: Decimal
    cite: Cite

    @model_validator(mode="after")
    def _rising(self) -> "Bands":
        if not self.low < self.moderate < self.high:
            raise ValueError("the bands must rise from low to high")
        return self

    def level(self, fold: Decimal) -> Level:
        """The level of a fold change."""
        return "high" if fold >= self.high else "moderate" if fold >= self.moderate else self._lower(fold)

    def _lower(self, fold: Decimal) -> Level:
        return "low" if fold >= self.low else "none"


class EvidenceChoice(Entry):
    """Which lines of mutations.csv count, and how."""

    engineered: tuple[str, ...]
    no_phenotype_assays: tuple[str, ...]
    left_out_flags: tuple[str, ...]
    call_only_flags: tuple[str, ...]


class Loudnesses(Entry):
    """The indicator of each level; a change without effect is silent."""

    high: Loudness
    moderate: Loudness
    low: Loudness
    possible: Loudness
    unknown: Loudness


class CallLevels(Entry):
    """What level a laboratory's word for a drug counts as."""

    resistant: Level
    possible: Level
    undetermined: Level


class ResistanceDrug(Entry):
    """Which genes matter for a drug, and which codons a negative result has to have covered."""

    genes: tuple[str, ...]
    asks: dict[str, tuple[int, ...]]
    asks_always: tuple[str, ...] = ()  # genes of which an unstated coverage is not taken for granted
    follows: str = ""  # a drug whose figures stand in where there are none
    note: str = ""
    cite: Cite


class MutationOverride(Entry):
    """A level that departs from the rule, with its reason."""

    gene: str
    mutation: str
    drug: str
    level: Level
    reason: Annotated[str, Field(min_length=1)]
    cite: Cite


class DefaultLevel(Entry):
    """Changes of a kind that are at least possible resistance, whatever the data say."""

    gene: str
    kinds: tuple[Literal["deletion", "stop", "frameshift", "insertion"], ...]
    codons: Codons | None = None
    drugs: tuple[str, ...]
    reason: Annotated[str, Field(min_length=1)]
    cite: Cite


class Together(Entry):
    """Changes of one drug in each of these genes count as `level`."""

    drug: str
    genes: tuple[str, ...]
    level: Level
    reason: Annotated[str, Field(min_length=1)]
    cite: Cite


class Region(Entry):
    """A named part of a protein."""

    name: str
    codons: Codons


class Option(Entry):
    """What may be discussed instead, and which of the patient's values speak to it; counts as in analytes.yaml."""

    says: str
    kidney: str = ""
    clearance_per_kg_below: Decimal | None = None
    start_limits: StrictBool = False  # those of the cidofovir rule
    counts: dict[str, Decimal] = {}  # not to be started below
    not_with: str = ""
    cite: Cite


class Options(Entry):
    """The options, in the order shown."""

    lead: str
    cite: Cite
    drugs: dict[str, Option]
    never: dict[str, str]


class ResistanceRule(Entry):
    """mappings/resistance/interpretation.yaml."""

    kind: Literal["resistance"]
    id: str
    title: str
    reviewed: str
    cite: Cite
    disclaimer: Annotated[str, Field(min_length=1)]
    bands: Bands
    evidence: EvidenceChoice
    indicators: Loudnesses
    earlier_at_most: Loudness
    calls: CallLevels
    drugs: dict[str, ResistanceDrug]
    same_drug: dict[str, str]
    other_drugs: tuple[str, ...]  # in the data, judged for no order
    overrides: tuple[MutationOverride, ...]
    polymorphisms: dict[str, tuple[str, ...]]
    defaults: tuple[DefaultLevel, ...]
    together: tuple[Together, ...]
    multiply: tuple[str, ...]
    regions: dict[str, tuple[Region, ...]]
    options: Options

    def data_drug(self, ordered: str) -> str:
        """The drug of the data that an ordered one is."""
        return self.same_drug.get(ordered, ordered)


class ResultCodes(Entry):
    """Codes of mappings/resistance/reading.yaml."""

    genes: dict[str, tuple[str, ...]]
    answers: dict[str, Literal["resistant", "possible", "susceptible", "undetermined"]]
    interpretations: dict[str, Literal["resistant", "possible", "susceptible", "undetermined"]]
    variants: tuple[str, ...]
    components: dict[str, Literal["gene", "protein", "dna", "share", "kind"]]


class Viruses(Entry):
    """Names of the virus, and of others whose results are not ours."""

    ours: tuple[str, ...]
    others: tuple[str, ...]


class CallWords(Entry):
    """What a laboratory says of a drug."""

    resistant: tuple[str, ...]
    possible: tuple[str, ...]
    susceptible: tuple[str, ...]
    undetermined: tuple[str, ...]


class Assay(Entry):
    """An assay that reads only part of a gene."""

    name: str
    words: tuple[str, ...]
    covers: dict[str, Codons]
    cite: Cite


class ReadingRule(Entry):
    """mappings/resistance/reading.yaml: the words of CMV resistance results; each group is explained there."""

    codes: ResultCodes
    viruses: Viruses
    about: tuple[str, ...]
    drugs: dict[str, tuple[str, ...]]
    calls: CallWords
    brief_undetermined: tuple[str, ...]
    hedges: tuple[str, ...]
    noun: tuple[str, ...]
    noun_of: tuple[str, ...]
    asked: tuple[str, ...]
    mutation: tuple[str, ...]
    none: tuple[str, ...]
    wild_type: tuple[str, ...]
    affirmed: tuple[str, ...]
    denied: tuple[str, ...]
    denying: tuple[str, ...]
    except_: Annotated[tuple[str, ...], Field(alias="except")]
    remainder: tuple[str, ...]
    listed: tuple[str, ...]
    mixture: tuple[str, ...]
    breaks: tuple[str, ...]
    assays: tuple[Assay, ...]


DrugRule = RenalDoseRule | DoseRule | CidofovirRule
KINDS: dict[str, type[DrugRule]] = {  # kinds of the files in mappings/rules/
    "renal-dose": RenalDoseRule,
    "dose": DoseRule,
    "cidofovir": CidofovirRule,
}
Rule = DrugRule | KidneyRule | JudgementRule | PhaseRule | ResistanceRule  # whatever a card can name


def cites_of(entry: BaseModel) -> Iterator[Cite]:
    """Every citation inside an entry, in order."""
    for _, value in entry:
        for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(item, Cite):
                yield item
            elif isinstance(item, BaseModel):
                yield from cites_of(item)
