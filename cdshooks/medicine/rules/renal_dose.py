"""Doses by kidney function, as bands (`mappings/rules/renal_dose/`)."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cdshooks.medicine.dosage import regimen_wording
from cdshooks.medicine.rules.entries import _HOURS, Cite, Entry, Measure
from cdshooks.medicine.rules.resistance import Level
from cdshooks.model import Phase, Regimen


class TableRegimen(Entry):
    """A regimen of a dose table: `{dose: 450 mg, every: 12 h}` or `{dose: 450 mg, times: 2, each: 1 wk}`."""

    dose: Measure
    every: Measure | None = None
    times: Annotated[int, Field(gt=0)] | None = None
    each: Measure | None = None
    after_dialysis: StrictBool = False
    alternative: StrictBool = False  # right when ordered, but not what a misfit is compared with first
    column: str = ""  # where a row has several: the regimen for full kidney function that it stands for

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

    @property
    def wording(self) -> str:
        """In words, with the column it is from: "35 mg/kg every 12 h (as 40 every 8 h)"."""
        return self.regimen.wording + (f" (as {self.column})" if self.column else "")


Regimens = tuple[TableRegimen, ...]


class Variant(Entry):
    """A regimen that another source gives for some dose forms where the label gives none."""

    forms: tuple[str, ...]
    treatment: Regimens
    stable: Regimens
    cite: Cite


class Note(Entry):
    """Something another source says, shown with a misfit; it changes no verdict.

    Only beside the regimen of `phase`; with `times`, only for an order of more than that and at most so many times it.
    """

    phase: Phase
    times: Annotated[Decimal, Field(gt=1)] | None = None
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

    For seropositive recipients alone.
    """

    site: dict[str, str]
    phase: Phase
    regimens: Regimens
    says: str
    cite: Cite


class Escalation(Entry):
    """A larger dose that specialists use in one phase against resistance of one level in one gene.

    The card says so and suggests nothing. At most `times` the regimen of the row, in its interval; never on dialysis.
    Known by a genotype; where none is on file, by the words `said` in the order.
    """

    phase: Phase
    gene: str
    level: Level
    times: Annotated[Decimal, Field(gt=1)]
    said: tuple[str, ...] = ()
    says: str
    cite: Cite


class Purpose(Entry):
    """What a table that is not for CMV is for: `name` stands on cards for the phase, `says` says why it judges."""

    name: str
    says: str


class Maximum(Entry):
    """The most that any source has for anybody, in whatever phase; with several regimens the largest counts."""

    regimens: Annotated[Regimens, Field(min_length=1)]
    says: str
    cite: Cite


class RenalDoseRule(Entry):
    """One drug's adult dose table by kidney function, in whole mL/min or in mL/min/kg to two decimals."""

    kind: Literal["renal-dose"]
    id: str
    title: str
    drug: str
    indication: str = "cmv"
    purpose: Purpose | None = None
    routes: tuple[str, ...]
    measure: Literal["mL/min", "mL/min/kg"] = "mL/min"
    adults_from_years: int
    unit: Literal["mg", "mg/kg"]
    cite: Cite
    clearance_cite: Cite  # where the label says how the clearance is computed
    reviewed: str
    maximum: Maximum
    no_dose_against: dict[str, str] = Field(default_factory=dict)  # keys of phases.yaml, with the name: not judged
    single_dose_counts: StrictBool = False  # a dose above the row's largest is too much, however seldom given
    confusable_with: str = ""  # a drug whose doses are taken for this one's
    stable_freshness_days: int | None = None  # instead of the one in kidney.yaml
    start_of_prophylaxis: StartOfProphylaxis | None = None
    protocol: Protocol | None = None
    escalation: Escalation | None = None
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
        listed = (self.maximum.regimens, *((*row.treatment, *row.stable) for row in with_doses))
        for regimens in listed:
            for regimen in regimens:
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

    def largest_dose(self, row: "Band | DialysisRow | Variant | None" = None) -> Decimal | None:
        """The most at once that a row, or the whole table, has; None where a single dose has no limit of its own."""
        if not self.single_dose_counts:
            return None
        rows = (row,) if row else self.bands
        return max((regimen.dose[0] for each in rows for regimen in (*each.treatment, *each.stable)), default=None)

    def band(self, clearance: Decimal) -> Band:
        """The band that holds a clearance, rounded to the table's step."""
        return next(band for band in self.bands if clearance >= band.at_least)

    def for_dialysis(self, modality: str) -> DialysisRow:
        """The row of a kind of dialysis."""
        return next(row for row in self.dialysis if row.modality == modality)
