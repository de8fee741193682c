"""What each label says about a patient's kidneys: one function per drug, its tables beside it, column by column.

A column reads from the best kidney function to the worst: "5q12h" is 5 every 12 hours, "6x5" is 6 five times a week,
"|" parts regimens that stand side by side, "-" is "not recommended".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Regimen:
    """One amount (mg or mg/kg) so many times a week."""

    amount: Fraction
    unit: str
    times: Fraction

    @property
    def weekly(self) -> Fraction:
        """The amount in a week."""
        return self.amount * self.times


@dataclass(frozen=True, slots=True)
class Kidneys:
    """What a label needs to know. `at_one`: the clearance that this patient would have at a creatinine of 1 mg/dL."""

    at_one: Fraction
    creatinine: Fraction
    dialysis: str  # "", haemodialysis, peritoneal, continuous

    def place(self, limits: tuple[Fraction, ...]) -> int:
        """How many of the clearances `limits` this patient does not reach: the row of a table, from the top."""
        return sum(self.creatinine > self.at_one / limit for limit in limits)


Kind = Literal["doses", "not recommended", "ask", "guideline"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the label says: regimens for treatment and for the stable phases, or that there are none, or to ask."""

    kind: Kind
    treatment: tuple[Regimen, ...] = ()
    stable: tuple[Regimen, ...] = ()
    place: int = 0

    @property
    def largest(self) -> Fraction:
        """The largest amount at once, of whichever phase."""
        return max(regimen.amount for regimen in (*self.treatment, *self.stable))


Label = Callable[[Kidneys, str], Answer]  # the second argument is the form: injection, tablet, solution


@dataclass(frozen=True, slots=True)
class Drug:
    """A drug (against one disease) and how its label judges. Days are those for which a creatinine is current."""

    product: str
    answer: Label
    columns: tuple[tuple[Regimen, ...], ...]  # every regimen, for making orders near to right
    limits: tuple[Fraction, ...]  # the exact clearance at which each row of the table ends
    edges: tuple[Fraction, ...]  # the least rounded clearance of each row
    unit: str
    per_kg: bool  # clearance per kg of body weight
    by_vein: bool
    stable_days: int
    starts_high: bool = False  # prophylaxis may begin with the treatment dose
    one_phase: bool = False  # the label knows treatment only
    strength: Fraction = Fraction(0)  # mg of a tablet
    most: Fraction = Fraction(0)  # in a week, by any source for anybody
    sister: str = ""  # a drug whose doses are taken for this one's
    limited_at_once: bool = False  # the infusion itself does harm: no longer interval makes up for a larger one


def _regimen(text: str, unit: str) -> Regimen:
    if "q" in text:
        amount, hours = text.rstrip("h").split("q")
        return Regimen(Fraction(amount), unit, Fraction(7 * 24, int(hours)))
    amount, times = text.split("x")
    return Regimen(Fraction(amount), unit, Fraction(times))


def _column(text: str, unit: str) -> tuple[tuple[Regimen, ...], ...]:
    """The cells of a column; no regimen in a cell: not recommended."""
    return tuple(tuple(_regimen(part, unit) for part in cell.split("|") if part != "-") for cell in text.split())


def _limits(*texts: str) -> tuple[Fraction, ...]:
    return tuple(Fraction(text) for text in texts)


def _row(place: int, treatment: Iterable[tuple[Regimen, ...]], stable: Iterable[tuple[Regimen, ...]]) -> Answer:
    """The cells of some columns in one row; not recommended when they are empty."""
    first, second = (tuple(regimen for column in columns for regimen in column) for columns in (treatment, stable))
    return Answer("doses" if first else "not recommended", first, second, place)


# --------------------------------------------------------------------------------------------------------------------
# Ganciclovir by vein, label table 1. Whole mL/min, so a row ends half a millilitre below the figure printed.

_GANCICLOVIR_INDUCTION = _column("5q12h 2.5q12h 2.5q24h 1.25q24h 1.25x3", "mg/kg")
_GANCICLOVIR_MAINTENANCE = _column("5q24h|6x5 2.5q24h 1.25q24h 0.625q24h 0.625x3", "mg/kg")
_GANCICLOVIR_LIMITS = _limits("69.5", "49.5", "24.5", "9.5")


def ganciclovir(kidneys: Kidneys, _form: str) -> Answer:
    """Haemodialysis is dosed like a clearance below 10; other dialysis is not in the label."""
    if kidneys.dialysis in ("peritoneal", "continuous"):
        return Answer("ask")
    place = len(_GANCICLOVIR_LIMITS) if kidneys.dialysis else kidneys.place(_GANCICLOVIR_LIMITS)
    return _row(place, [_GANCICLOVIR_INDUCTION[place]], [_GANCICLOVIR_MAINTENANCE[place]])


# --------------------------------------------------------------------------------------------------------------------
# Valganciclovir, label table 2; the solution after haemodialysis from the guideline (Kotton 2025, table 5).

_VALGANCICLOVIR_INDUCTION = _column("900q12h 450q12h 450q24h 450q48h -", "mg")
_VALGANCICLOVIR_MAINTENANCE = _column("900q24h 450q24h 450q48h 450x2 -", "mg")
_VALGANCICLOVIR_LIMITS = _limits("59.5", "39.5", "24.5", "9.5")
_SOLUTION_AFTER_DIALYSIS = _column("200x3 100x3", "mg")


def valganciclovir(kidneys: Kidneys, form: str) -> Answer:
    """Not recommended below 10 and on haemodialysis, where a guideline knows a dose of the solution."""
    if kidneys.dialysis in ("peritoneal", "continuous"):
        return Answer("ask")
    if kidneys.dialysis and form == "solution":
        treatment, stable = _SOLUTION_AFTER_DIALYSIS
        return Answer("guideline", treatment, stable)
    if kidneys.dialysis:
        return Answer("not recommended")
    place = kidneys.place(_VALGANCICLOVIR_LIMITS)
    return _row(place, [_VALGANCICLOVIR_INDUCTION[place]], [_VALGANCICLOVIR_MAINTENANCE[place]])


# --------------------------------------------------------------------------------------------------------------------
# Foscarnet, label table 13, mL/min/kg to two decimals: "> 1.4" begins at 1.405, ">= 0.4" at 0.395.

_FOSCARNET_LIMITS = _limits("1.405", "1.005", "0.805", "0.605", "0.505", "0.395")
_FOSCARNET_EIGHT_HOURLY = _column("60q8h 45q8h 50q12h 40q12h 60q24h 50q24h -", "mg/kg")
_FOSCARNET_TWELVE_HOURLY = _column("90q12h 70q12h 50q12h 80q24h 60q24h 50q24h -", "mg/kg")
_FOSCARNET_MAINTENANCE_90 = _column("90q24h 70q24h 50q24h 80q48h 60q48h 50q48h -", "mg/kg")
_FOSCARNET_MAINTENANCE_120 = _column("120q24h 90q24h 65q24h 105q48h 80q48h 65q48h -", "mg/kg")
_HERPES_TWELVE_HOURLY = _column("40q12h 30q12h 20q12h 35q24h 25q24h 20q24h -", "mg/kg")
_HERPES_EIGHT_HOURLY = _column("40q8h 30q8h 35q12h 25q12h 40q24h 35q24h -", "mg/kg")


def foscarnet(kidneys: Kidneys, _form: str) -> Answer:
    """Against CMV. No dialysis is in the label."""
    if kidneys.dialysis:
        return Answer("ask")
    place = kidneys.place(_FOSCARNET_LIMITS)
    return _row(
        place,
        [_FOSCARNET_EIGHT_HOURLY[place], _FOSCARNET_TWELVE_HOURLY[place]],
        [_FOSCARNET_MAINTENANCE_90[place], _FOSCARNET_MAINTENANCE_120[place]],
    )


def foscarnet_herpes(kidneys: Kidneys, _form: str) -> Answer:
    """Against herpes simplex: columns of its own, for treatment only."""
    if kidneys.dialysis:
        return Answer("ask")
    place = kidneys.place(_FOSCARNET_LIMITS)
    return _row(place, [_HERPES_EIGHT_HOURLY[place], _HERPES_TWELVE_HOURLY[place]], [])


# --------------------------------------------------------------------------------------------------------------------


def _all(*columns: tuple[tuple[Regimen, ...], ...]) -> tuple[tuple[Regimen, ...], ...]:
    """Row by row, every regimen of some columns."""
    return tuple(tuple(regimen for cell in row for regimen in cell) for row in zip(*columns, strict=True))


DRUGS = {
    "ganciclovir": Drug(
        product="ganciclovir injection",
        answer=ganciclovir,
        columns=_all(_GANCICLOVIR_INDUCTION, _GANCICLOVIR_MAINTENANCE),
        limits=_GANCICLOVIR_LIMITS,
        edges=_limits("70", "50", "25", "10"),
        unit="mg/kg",
        per_kg=False,
        by_vein=True,
        stable_days=30,
        starts_high=True,
        most=Fraction(10) * 14,  # specialists, against low-grade resistance (Kotton 2025)
        sister="valganciclovir",
    ),
    "valganciclovir": Drug(
        product="valganciclovir 450 mg tablet",
        answer=valganciclovir,
        columns=_all(_VALGANCICLOVIR_INDUCTION, _VALGANCICLOVIR_MAINTENANCE),
        limits=_VALGANCICLOVIR_LIMITS,
        edges=_limits("60", "40", "25", "10"),
        unit="mg",
        per_kg=False,
        by_vein=False,
        stable_days=30,
        strength=Fraction(450),
        most=Fraction(900) * 14,
        sister="ganciclovir",
    ),
    "foscarnet": Drug(
        product="foscarnet injection",
        answer=foscarnet,
        columns=_all(
            _FOSCARNET_EIGHT_HOURLY, _FOSCARNET_TWELVE_HOURLY, _FOSCARNET_MAINTENANCE_90, _FOSCARNET_MAINTENANCE_120
        ),
        limits=_FOSCARNET_LIMITS,
        edges=_limits("1.41", "1.01", "0.81", "0.61", "0.51", "0.40"),
        unit="mg/kg",
        per_kg=True,
        by_vein=True,
        stable_days=7,
        most=Fraction(180) * 7,
        limited_at_once=True,  # calcium is bound during the infusion
    ),
    "foscarnet against herpes": Drug(
        product="foscarnet injection",
        answer=foscarnet_herpes,
        columns=_all(_HERPES_EIGHT_HOURLY, _HERPES_TWELVE_HOURLY),
        limits=_FOSCARNET_LIMITS,
        edges=_limits("1.41", "1.01", "0.81", "0.61", "0.51", "0.40"),
        unit="mg/kg",
        per_kg=True,
        by_vein=True,
        stable_days=7,
        most=Fraction(180) * 7,
        one_phase=True,
    ),
}
