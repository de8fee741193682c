"""Formulas and limits of the kidney function (`mappings/kidney.yaml`)."""

from decimal import Decimal
from typing import Literal

from pydantic import model_validator

from cdshooks.medicine.rules.entries import Cite, Entry


class CockcroftGault(Entry):
    """Constants of the Cockcroft-Gault formula."""

    age_from: Decimal
    divisor: Decimal
    female: Decimal
    cite: Cite


class SchwartzK(Entry):
    """One row of the k table. `or_k` where sources disagree, `because` says how; `problems`: at least one on record.

    `remark` is what a card says of this k, beside the remark on the formula.
    """

    sex: Literal["any", "female", "male"]
    below_years: int
    problems: tuple[str, ...] = ()
    k: Decimal
    or_k: Decimal | None = None
    because: str = ""
    remark: str = ""

    @model_validator(mode="after")
    def _says_why(self) -> "SchwartzK":
        if (self.or_k is None) != (not self.because):
            raise ValueError("give `or_k` with `because`, or neither")
        return self


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
    margin_ml_min_kg: Decimal  # where a clearance per kg has no weight beside it
    cite: Cite


class Growth(Entry):
    """How long a weight or a height of a child of this age stands for today."""

    below_years: int
    days: int


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


class DialysisSaid(Entry):
    """When an order's own words tell that the patient is dialysed, where the record does not."""

    conditional: tuple[str, ...]  # a text with one of these words says what to do in case of dialysis
    clearance_below: Decimal  # mL/min; from here on dialysis is unlikely
    per_kg_below: Decimal  # the same in mL/min/kg
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
    growth_days: tuple[Growth, ...]
    weight_slip: WeightSlip
    doubtful: Doubtful
    prolonged_dialysis: tuple[str, ...]  # words for a kind that is judged as a continuous one
    dialysis_days: int
    dialysis_said: DialysisSaid
