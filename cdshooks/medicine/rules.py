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
    says: str  # completes "in time for 3 days "
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
    remedies: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()  # other drugs that do the same harm; those on the list are named
    cite: Cite

    @property
    def analytes(self) -> tuple[str, ...]:
        """Every analyte that it looks at."""
        return tuple(dict.fromkeys(name for name in self._looked_at()))

    def _looked_at(self) -> Iterator[str]:
        yield from (limit.analyte for limit in self.limits)
        yield from (fall.analyte for fall in self.falls)
        yield from (rise.analyte for rise in self.rises)


DrugRule = RenalDoseRule | DoseRule | CidofovirRule | MonitoringRule | ToxicityRule
KINDS: dict[str, type[DrugRule]] = {  # kinds of the files in mappings/rules/
    "renal-dose": RenalDoseRule,
    "dose": DoseRule,
    "cidofovir": CidofovirRule,
    "monitoring": MonitoringRule,
    "toxicity": ToxicityRule,
}
Rule = DrugRule | KidneyRule | JudgementRule | PhaseRule  # whatever a card can name


def cites_of(entry: BaseModel) -> Iterator[Cite]:
    """Every citation inside an entry, in order."""
    for _, value in entry:
        for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(item, Cite):
                yield item
            elif isinstance(item, BaseModel):
                yield from cites_of(item)
