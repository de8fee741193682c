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


Severity = Literal["critical", "warning", "info"]


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


class Advice(Entry):
    """What a card says; `summary` follows the name of the order."""

    topic: Literal["contraindication", "administration"]
    indicator: Severity
    summary: str
    says: str = ""
    cite: Cite


class ByRoute(Advice):
    """An order by one of these routes (or, without a route, of one of these forms)."""

    routes: tuple[str, ...]
    forms: tuple[str, ...] = ()


class InWords(Advice):
    """An order that says it is given in this way (`giving.ways` of sig.yaml)."""

    way: str
    routes: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()


class WithProblem(Advice):
    """An order for a patient with one of these problems, or with a result of at least this.

    `sodium_mg_per_ml`: the card says how much sodium a dose brings.
    """

    routes: tuple[str, ...]
    problems: tuple[str, ...]
    at_least: dict[str, Decimal] = {}
    sodium_mg_per_ml: Decimal | None = None


class Companion(Advice):
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


DrugRule = RenalDoseRule | DoseRule | CidofovirRule
CareRule = AllergyRule | SafetyRule | PregnancyRule | ImmunosuppressionRule
KINDS: dict[str, type[DrugRule] | type[CareRule]] = {  # kinds of the files in mappings/rules/
    "renal-dose": RenalDoseRule,
    "dose": DoseRule,
    "cidofovir": CidofovirRule,
    "allergy": AllergyRule,
    "safety": SafetyRule,
    "pregnancy": PregnancyRule,
    "immunosuppression": ImmunosuppressionRule,
}
Rule = DrugRule | CareRule | KidneyRule | JudgementRule | PhaseRule  # whatever a card can name


def cites_of(entry: BaseModel) -> Iterator[Cite]:
    """Every citation inside an entry, in order."""
    for _, value in entry:
        for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(item, Cite):
                yield item
            elif isinstance(item, BaseModel):
                yield from cites_of(item)
