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


class Note(Entry):
    """Something another source says, shown with every misfit; it changes no verdict."""

    says: str
    cite: Cite


class _Row(Entry):
    """What a row of a table says: regimens, or that the drug is not recommended, or that a specialist decides."""

    treatment: Regimens = ()
    stable: Regimens = ()
    not_recommended: str = ""
    refer: str = ""
    variant: Variant | None = None
    note: Note | None = None
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
    """The row for a kind of dialysis. `timing` is what the label says of when to give a dose after the session."""

    modality: Literal["haemodialysis", "peritoneal", "continuous"]
    timing: str = ""


class StartOfProphylaxis(Entry):
    """Prophylaxis may start with the regimen of another column for some days."""

    regimens: Literal["treatment"]
    up_to_days: int
    cite: Cite


class Protocol(Entry):
    """A smaller dose that a site's written protocol may use in one phase: information, where the switches say so.

    `for_positive` is the analyte that has to be positive; an order or reason with one of `never_with` is left out.
    """

    site: dict[str, str]
    phase: Phase
    regimens: Regimens
    for_positive: str
    never_with: tuple[str, ...]
    says: str
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
    protocol: Protocol | None = None
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


class WeightSlip(Entry):
    """When a weight looks like pounds taken for kilograms, or the other way round."""

    years_at_least: int
    factor: Decimal
    tolerance: Decimal
    within_days: int
    bmi_below: Decimal
    bmi_at_least: Decimal
    cite: Cite


class Measured(Entry):
    """How long a clearance measured in 24-hour urine counts; used per kg of body weight alone."""

    within_days: int
    cite: Cite


class KidneyRule(Entry):
    """mappings/kidney.yaml."""

    kind: Literal["kidney"]
    id: str
    title: str
    reviewed: str
    adults_from_years: int  # for rules without a dose table, which says its own
    cockcroft_gault: CockcroftGault
    schwartz: Schwartz
    adjusted_weight: AdjustedWeight
    acute_change: AcuteChange
    freshness_days: Freshness
    measured: Measured
    weight_days: int
    weight_slip: WeightSlip
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
    pounds_per_kg: Annotated[Decimal, Field(gt=1)]
    pounds_within: Annotated[Decimal, Field(gt=0, lt=1)]
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
    schedule_gap_days: int
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
    absorbed: tuple[str, ...]
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


class Switch(Entry):
    """One thing on which sources differ: `use` is one of `choices`, each with what it means."""

    use: str
    choices: dict[str, str]
    cite: Cite

    @model_validator(mode="after")
    def _is_a_choice(self) -> "Switch":
        if self.use not in self.choices:
            raise ValueError(f"{self.use!r} is no choice; write one of {', '.join(self.choices)}")
        return self


class SiteRule(Entry):
    """mappings/site.yaml: what a site may decide. Its own file (`overlay`) lays other values over these."""

    kind: Literal["site"]
    id: str
    title: str
    reviewed: str
    switches: dict[str, Switch]

    def holds(self, wanted: dict[str, str]) -> bool:
        """Do all the switches stand as wanted?"""
        return all(self.switches[name].use == value for name, value in wanted.items())


class When(Entry):
    """Conditions of a row: all that are given must hold. A needed value that is absent makes the row undecidable."""

    site: dict[str, str] = {}  # switches of site.yaml and how they have to stand
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
    earlier_doses_at_least: int | None = None  # of the same drug, by the orders on file


class Formula(Entry):
    """A dose in mg computed as `factor` times the product of `times`, at most `most_mg`, rounded to `round_mg`."""

    factor: Annotated[Decimal, Field(gt=0)]
    times: tuple[Literal["body surface area", "clearance", "weight"], ...]
    most_mg: Decimal | None = None
    round_mg: Decimal | None = None


class Elsewhere(Entry):
    """Regimens that another label has, or that are right at another time: at most so grave, and the card says why."""

    regimens: Regimens
    at_most: Literal["warning", "info"]
    says: str
    cite: Cite


class Remark(Entry):
    """Something to know beside the dose, whatever it is. `summary` follows the name of the order on the card."""

    when: When
    topic: Literal["administration", "contraindication", "dose"]
    indicator: Literal["warning", "info"]
    summary: str
    says: str
    cite: Cite


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
    ceiling: Regimens = ()  # of an unsettled row: no source has more
    elsewhere: Elsewhere | None = None
    weigh_every_days: int | None = None  # an older weight is named
    note: str = ""
    at_most: Literal["critical", "warning", "info"] = "critical"
    cite: Cite | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "DoseRow":
        said = [bool(self.regimens), bool(self.formula), bool(self.not_recommended), bool(self.unsettled)]
        if sum(said) != 1 or bool(self.formula) != bool(self.every):
            raise ValueError("give `regimens`, or `formula` with `every`, or `not_recommended`, or `unsettled`")
        if self.ceiling and not self.unsettled:
            raise ValueError("`ceiling` belongs to an `unsettled` row")
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
    remarks: tuple[Remark, ...] = ()

    @property
    def conditions(self) -> Iterator[When]:
        """The conditions of its rows and remarks."""
        yield from (row.when for row in self.rows)
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


class Panel(Entry):
    """One row of the flowsheet; its analytes share an axis."""

    name: str
    analytes: tuple[str, ...]
    scale: Literal["linear", "log"] = "linear"
    with_drugs: tuple[str, ...] = ()
    optional: StrictBool = False


class WorksheetDrug(Entry):
    """A product that the worksheet shows the regimens of, for each purpose."""

    product: str
    route: str
    purposes: tuple[str, ...]


class FlowsheetRule(Entry):
    """mappings/flowsheet.yaml."""

    kind: Literal["flowsheet"]
    id: str
    title: str
    panels: tuple[Panel, ...]
    worksheet: tuple[WorksheetDrug, ...]


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
    seen: Literal["label", "secondary", "memory"] = "label"
    risk: Annotated[str, Field(min_length=1, max_length=50)]  # a few words for the line of a card
    says: Annotated[str, Field(min_length=1)]  # what happens and what to do
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
    """The interaction table of CMV drugs: for each drug beside it, the first row that applies counts.

    `list_unknown` is how grave it is that the medication list could not be looked at.
    """

    kind: Literal["interaction"]
    id: str
    title: str
    drugs: Annotated[tuple[str, ...], Field(min_length=1)]
    reviewed: str
    list_unknown: Literal["warning", "info"]
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


class AllergyRow(Entry):
    """Antivirals that an allergy speaks against; `mild` where the record calls the allergy mild.

    What it is to: drugs (classes too), or concepts of conditions.
    """

    orders: tuple[str, ...]
    to_drugs: tuple[str, ...] = ()
    to_concepts: tuple[str, ...] = ()
    indicator: Severity
    mild: Severity | None = None
    intolerance: Severity
    says: str
    cite: Cite


class AllergyRule(Entry):
    """What allergies forbid. `unseen` is how grave it is that allergies could not be looked for, by antiviral."""

    kind: Literal["allergy"]
    id: str
    title: str
    reviewed: str
    unseen: dict[str, Severity]
    rows: tuple[AllergyRow, ...]
    cite: Cite

    @property
    def about(self) -> frozenset[str]:
        """The antivirals that it speaks of."""
        return frozenset(drug for row in self.rows for drug in row.orders)


class GivingAdvice(Entry):
    """What a card says; `summary` follows the name of the order."""

    topic: Literal["contraindication", "administration"]
    indicator: Severity
    summary: str
    says: str = ""
    cite: Cite


class ByRoute(GivingAdvice):
    """An order by one of these routes (or, without a route, of one of these forms)."""

    routes: tuple[str, ...]
    forms: tuple[str, ...] = ()


class InWords(GivingAdvice):
    """An order that says it is given in this way (`giving.ways` of sig.yaml)."""

    way: str
    routes: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()


class WithProblem(GivingAdvice):
    """An order for a patient with one of these problems, or with a result of at least this.

    `sodium_mg_per_ml`: the card says how much sodium a dose brings.
    """

    routes: tuple[str, ...]
    problems: tuple[str, ...]
    at_least: dict[str, Decimal] = {}
    sodium_mg_per_ml: Decimal | None = None


class Companion(GivingAdvice):
    """What has to be ordered beside the drug, or to run: one of `drugs`, not by one of the routes `not_by`.

    An order of less than `at_least_ml` does not count. Named in the order's own words (`mentioned`, a way of sig.yaml),
    or beside a problem of `less_with`, its absence is one step less grave.
    """

    name: str
    routes: tuple[str, ...]
    drugs: tuple[str, ...]
    not_by: tuple[str, ...] = ()
    at_least_ml: Decimal | None = None
    mentioned: str
    less_with: tuple[str, ...] = ()


class Shortest(Entry):
    """The shortest infusion, minutes; for these phases, and for doses above this, where given."""

    minutes: Decimal
    phases: tuple[Phase, ...] = ()
    above_mg_per_kg: Decimal | None = None


class Concentration(Entry):
    """The highest concentration, mg/mL; `way` where it holds for one way only, `must_be_said`: silence will not do."""

    at_most_mg_per_ml: Decimal
    way: str = ""
    must_be_said: StrictBool = False
    indicator: Severity
    cite: Cite


class FastestRate(Entry):
    """The fastest rate. One computed from dose and duration may be above it by `rounding`, a share of it.

    A rate in mL counts as of the concentration that the order says; else it is judged at `thinnest_mg_per_ml` too.
    """

    mg_per_kg_min: Decimal
    rounding: Decimal
    thinnest_mg_per_ml: Decimal
    cite: Cite


class InfusionLimits(Entry):
    """How an infusion has to run; of `shortest` the first that holds. Up to `bolus_minutes` it counts as a bolus."""

    routes: tuple[str, ...]
    undiluted_mg_per_ml: Decimal
    fastest: FastestRate | None = None
    shortest: tuple[Shortest, ...]
    bolus_minutes: Decimal
    bolus_cite: Cite
    concentrations: tuple[Concentration, ...] = ()
    agree_within: Decimal
    cite: Cite


class DoseSpan(Entry):
    """Doses in mg, both ends included."""

    from_mg: Decimal
    to_mg: Decimal


class Forms(Entry):
    """Which dose form is for whom. `tablet_when` are the computed children's doses that whole tablets can give."""

    routes: tuple[str, ...]
    adults: str
    adults_unless: tuple[str, ...]
    adults_says: str
    children: str
    tablet_when: tuple[DoseSpan, ...]
    children_says: str
    whole_says: str
    cite: Cite


class SafetyRule(Entry):
    """How one antiviral is given, what has to be beside it, and what speaks against it; its kidney rules are others."""

    kind: Literal["safety"]
    id: str
    title: str
    drug: str
    reviewed: str
    by_route: tuple[ByRoute, ...] = ()
    in_words: tuple[InWords, ...] = ()
    with_problem: tuple[WithProblem, ...] = ()
    companions: tuple[Companion, ...] = ()
    infusion: InfusionLimits | None = None
    forms: Forms | None = None
    line: str = ""  # said on every card of topic administration

    @property
    def about(self) -> frozenset[str]:
        """The antiviral that it speaks of."""
        return frozenset({self.drug})


class PregnancyOf(Entry):
    """What pregnancy and breast-feeding mean for some antivirals; contraception in days after the last dose.

    `test` asks for a pregnancy test before the first dose. Empty texts: the sources at hand say nothing.
    """

    drugs: tuple[str, ...]
    test: StrictBool = False
    pregnant: Severity
    pregnant_says: str
    breastfeeding: Severity
    breastfeeding_says: str
    women: str = ""
    men: str = ""
    cite: Cite


class ChildBearing(Entry):
    """Ages, both included, at which a woman may be pregnant, and the concepts that exclude it at any age."""

    from_years: int
    to_years: int
    excluded_by: tuple[str, ...]
    cite: Cite


class PregnancyRule(Entry):
    """Pregnancy, contraception, breast-feeding. An entry or result older than its `..._days` says nothing of today."""

    kind: Literal["pregnancy"]
    id: str
    title: str
    reviewed: str
    child_bearing: ChildBearing
    test_days: int
    pregnancy_days: int
    breastfeeding_days: int
    antivirals: tuple[PregnancyOf, ...]
    cite: Cite

    @property
    def about(self) -> frozenset[str]:
        """The antivirals that it speaks of."""
        return frozenset(drug for antiviral in self.antivirals for drug in antiviral.drugs)


class LessImmunosuppression(Entry):
    """Advice for a patient with one of `problems` (and one of `also`, none of `unless`) on one of `drugs`.

    Names of problems may be groups of conditions.yaml. `seropositive`: only for a CMV seropositive patient.
    """

    problems: tuple[str, ...]
    also: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    drugs: tuple[str, ...]
    seropositive: StrictBool = False
    says: str
    cite: Cite


class ImmunosuppressionRule(Entry):
    """What to do with immunosuppression when CMV disease is treated; not said later in the course than given here."""

    kind: Literal["immunosuppression"]
    id: str
    title: str
    reviewed: str
    drugs: tuple[str, ...]
    course_days_at_most: int
    rows: tuple[LessImmunosuppression, ...]

    @property
    def about(self) -> frozenset[str]:
        """The antivirals that it speaks of."""
        return frozenset(self.drugs)


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


DrugRule = (
    RenalDoseRule
    | DoseRule
    | CidofovirRule
    | MonitoringRule
    | ToxicityRule
    | InteractionRule
    | InteractionLimits
    | DuplicateRule
)
CareRule = AllergyRule | SafetyRule | PregnancyRule | ImmunosuppressionRule
AdviceRule = IndicationRule | ResponseRule | DurationRule
FiledRule = DrugRule | CareRule | AdviceRule  # a file in mappings/rules/
KINDS: dict[str, type[FiledRule]] = {
    "renal-dose": RenalDoseRule,
    "dose": DoseRule,
    "cidofovir": CidofovirRule,
    "monitoring": MonitoringRule,
    "toxicity": ToxicityRule,
    "interaction": InteractionRule,
    "interaction-limits": InteractionLimits,
    "duplicate": DuplicateRule,
    "allergy": AllergyRule,
    "safety": SafetyRule,
    "pregnancy": PregnancyRule,
    "immunosuppression": ImmunosuppressionRule,
    "indication": IndicationRule,
    "response": ResponseRule,
    "duration": DurationRule,
}
Row = Advice | Definition | CourseLength | ProphylaxisLength | SecondaryProphylaxis | EndOfTreatment
StandingRule = KidneyRule | JudgementRule | PhaseRule | SiteRule | ResistanceRule | ResponseRule
Rule = DrugRule | CareRule | StandingRule | Row  # what stands behind cards


def cites_of(entry: BaseModel) -> Iterator[Cite]:
    """Every citation inside an entry, in order."""
    for _, value in entry:
        for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(item, Cite):
                yield item
            elif isinstance(item, BaseModel):
                yield from cites_of(item)
