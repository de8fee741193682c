"""Orders and patients: random ones by number and seed, and those at every edge of every table."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction

from .labels import DRUGS, Drug, Regimen

TODAY = date(2026, 11, 21)
UMOL_PER_MG = Fraction(884, 10)  # umol/L in 1 mg/dL of creatinine


@dataclass(frozen=True, slots=True)
class Creatinine:
    """A result of so many days ago; unit mg/dL or umol/L."""

    value: Fraction
    unit: str
    days: int

    @property
    def mg_dl(self) -> Fraction:
        """In mg/dL, exactly."""
        return self.value if self.unit == "mg/dL" else self.value / UMOL_PER_MG

    @property
    def is_plausible(self) -> bool:
        """From 0.2 to 20 mg/dL; what lies outside is never used."""
        return Fraction(2, 10) <= self.mg_dl <= 20


@dataclass(frozen=True, slots=True)
class Dose:
    """What is ordered: an amount (or a range) in mg, mg/kg or tablets, `times` in each `period` of h, d or wk."""

    low: Fraction
    high: Fraction
    unit: str
    times: int
    period: int
    period_unit: str

    @property
    def weekly_times(self) -> Fraction:
        """Administrations in a week."""
        return Fraction(self.times * 7 * 24, self.period * {"h": 1, "d": 24, "wk": 7 * 24}[self.period_unit])


@dataclass(frozen=True, slots=True)
class Case:
    """One order for one patient. None: not on file, or not sent where `results_sent` is False."""

    drug: str
    form: str
    phase: str  # treatment, maintenance, prophylaxis, "" when the order does not say
    reason: str
    dose: Dose | None
    born: date
    sex: str  # "" when not on file
    weight: Fraction | None
    weight_days: int = 1
    height: Fraction | None = None
    creatinine: Creatinine | None = None
    earlier: Creatinine | None = None
    albumin: Fraction | None = None  # g/dL
    dialysis: str = ""  # haemodialysis, peritoneal, continuous, unnamed
    results_sent: bool = True

    @property
    def age(self) -> int:
        """Whole years today."""
        return TODAY.year - self.born.year - ((TODAY.month, TODAY.day) < (self.born.month, self.born.day))

    @property
    def usable(self) -> tuple[Creatinine, ...]:
        """The creatinines that may be used, newest first."""
        return tuple(result for result in (self.creatinine, self.earlier) if result and result.is_plausible)


REASONS = {
    "treatment": ("Treatment of CMV disease", "CMV colitis, induction", "Pre-emptive therapy of CMV infection"),
    "maintenance": ("Maintenance of CMV retinitis", "Secondary prophylaxis of CMV retinitis"),
    "prophylaxis": ("CMV prophylaxis", "Prevention of CMV disease"),
    "": ("",),
}
HERPES = (
    "Aciclovir-resistant herpes simplex",
    "HSV-2 proctitis",
    "Mucocutaneous herpes",
    "Herpesviral vesicular dermatitis",
)
INTERVALS = (
    *((1, hours, "h") for hours in (6, 8, 12, 24, 36, 48, 72)),
    *((times, 1, "d") for times in (1, 2, 3, 4)),
    *((times, 1, "wk") for times in (1, 2, 3, 4, 5, 6, 7)),
    (1, 2, "d"),
)
FACTORS = (*["1"] * 9, "0.9", "0.899", "0.901", "1.1", "1.101", "1.099", "1.25", "1.249", "0.75", "0.5", "2")


def random_case(seed: int, number: int) -> Case:
    """Case `number` of a seed, always the same one."""
    chance = random.Random(f"{seed}/{number}")
    name = chance.choice(tuple(DRUGS))
    drug = DRUGS[name]
    phase = "" if drug.one_phase else chance.choice(("treatment", "maintenance", "prophylaxis", ""))
    reason = chance.choice(HERPES if drug.one_phase else REASONS[phase])
    weight = Fraction(chance.randint(380, 1500), 10) if chance.random() < 0.96 else None
    dialysis = chance.choice(("haemodialysis", "peritoneal", "continuous", "unnamed")) if _rarely(chance, 10) else ""
    sex = chance.choice(("male", "female")) if not _rarely(chance, 50) else ""
    born = TODAY - timedelta(days=chance.randint(18 * 366, 100 * 365))
    place = chance.randrange(len(drug.limits))
    at_one = (
        (140 - (TODAY - born).days // 365) * _size(drug, weight) * (Fraction(85, 100) if sex == "female" else 1) / 72
    )
    creatinine = _creatinine(chance, at_one / drug.limits[place]) if not _rarely(chance, 30) else None
    form = _form(chance, drug)
    case = Case(
        drug=name,
        form=form,
        phase=phase,
        reason=reason,
        dose=None
        if _rarely(chance, 15)
        else _dose(chance, drug, form, weight, place, ranges=bool(phase) or drug.one_phase),
        born=born,
        sex=sex,
        weight=weight,
        weight_days=chance.choice((0, 1, 30, 364, 365)) if not _rarely(chance, 20) else chance.randint(366, 900),
        height=Fraction(chance.randint(1450, 2000), 10) if chance.random() < 0.6 else None,
        creatinine=creatinine,
        earlier=_earlier(chance, creatinine) if creatinine and _rarely(chance, 5) else None,
        albumin=Fraction(chance.randint(18, 48), 10) if _rarely(chance, 6) else None,
        dialysis=dialysis,
    )
    if not _rarely(chance, 40):
        return case
    return replace(case, weight=None, height=None, creatinine=None, earlier=None, albumin=None, results_sent=False)


def _rarely(chance: random.Random, one_in: int) -> bool:
    return chance.random() * one_in < 1


def _form(chance: random.Random, drug: Drug) -> str:
    if drug.by_vein:
        return "injection"
    return "solution" if _rarely(chance, 5) else "tablet"


def _size(drug: Drug, weight: Fraction | None) -> Fraction:
    return Fraction(1) if drug.per_kg else weight or Fraction(70)


def _creatinine(chance: random.Random, milligrams: Fraction) -> Creatinine:
    """Around that at which a row ends; now and then implausible. Mostly fresh."""
    days = chance.randint(0, 3)
    if _rarely(chance, 3):
        days = chance.choice((3, 4, 6, 7, 8, 14, 15, 29, 30, 31, 60, 61, 200))
    milligrams = milligrams * chance.randint(50, 150) / 100
    if _rarely(chance, 60):
        milligrams = chance.choice((Fraction(5, 100), Fraction(19, 100), Fraction(20), Fraction(201, 10), Fraction(88)))
    if chance.random() < 0.5:
        return Creatinine(Fraction(round(milligrams * 100), 100) or Fraction(1, 100), "mg/dL", days)
    return Creatinine(Fraction(round(milligrams * UMOL_PER_MG)), "umol/L", days)


def _earlier(chance: random.Random, newest: Creatinine) -> Creatinine:
    """Some days before, in the same unit: often near to what makes a creatinine a moving one."""
    step = Fraction(3, 10) if newest.unit == "mg/dL" else Fraction(27)
    value = chance.choice(
        (newest.value + step, newest.value - step, newest.value * 3 / 2, newest.value * 2 / 3, newest.value, 2 * step)
    )
    grain = 100 if newest.unit == "mg/dL" else 1
    value = Fraction(round(value * grain), grain)
    return replace(newest, value=value if value > 0 else newest.value, days=newest.days + chance.randint(1, 8))


def _dose(chance: random.Random, drug: Drug, form: str, weight: Fraction | None, place: int, *, ranges: bool) -> Dose:
    """Mostly at or near a regimen of the label, and mostly one of the rows around `place`; the others anything.

    `ranges`: some are a range (not with the phase unknown: which phase a range is nearer to, no source says).
    """
    unit = chance.choice(("mg", "mg/kg", "tablet", "tablet") if form == "tablet" else ("mg", "mg/kg", "mg/kg"))
    if chance.random() < 0.7:
        rows = drug.columns if _rarely(chance, 3) else drug.columns[place : place + 2]
        regimen = chance.choice([regimen for row in rows for regimen in row])
        factor = Fraction(chance.choice(FACTORS))
        if _rarely(chance, 6):  # the same amount a week in another interval
            other = Dose(Fraction(1), Fraction(1), unit, *chance.choice(INTERVALS)).weekly_times
            regimen = Regimen(regimen.weekly / other, regimen.unit, other)
        return near(regimen, factor, unit, drug, weight, chance)
    times, period, period_unit = chance.choice(INTERVALS)
    ceiling = max(regimen.amount for row in drug.columns for regimen in row)
    amount = Fraction(chance.randint(1, 1300) * ceiling, 1000)
    low = _in_unit(Regimen(amount, drug.unit, Fraction(1)), unit, drug, weight)
    high = low if not ranges or not _rarely(chance, 5) else low * chance.choice((Fraction(11, 10), Fraction(2)))
    return Dose(low, high, unit, times, period, period_unit)


def near(
    regimen: Regimen, factor: Fraction, unit: str, drug: Drug, weight: Fraction | None, chance: random.Random
) -> Dose:
    """A label's regimen times a factor, in a unit, with its interval written in one of the ways there are."""
    amount = _in_unit(replace(regimen, amount=regimen.amount * factor), unit, drug, weight)
    ways = [way for way in INTERVALS if Dose(amount, amount, unit, *way).weekly_times == regimen.times]
    return Dose(amount, amount, unit, *chance.choice(ways))


def _in_unit(regimen: Regimen, unit: str, drug: Drug, weight: Fraction | None) -> Fraction:
    """An amount of a label in another unit, cut to what an order would carry (three decimals at most)."""
    amount = regimen.amount
    if unit == "tablet":
        return max(Fraction(round(amount / drug.strength * 2), 2), Fraction(1, 2))
    if unit != regimen.unit:
        amount = amount * (weight or 70) if unit == "mg" else amount / (weight or 70)
    exact = amount * 10_000
    return amount if exact.denominator == 1 else max(Fraction(round(amount * 1000), 1000), Fraction(1, 1000))


# --------------------------------------------------------------------------------------------------------------------
# The edges

PEOPLE = ((24, "male", Fraction(81)), (58, "female", Fraction("63.5")), (71, "male", Fraction(67)))


def edge_cases() -> Iterator[Case]:
    """Every edge of every table: the creatinine that just reaches it, and one step to either side, in both units.

    Ordered is each regimen of the rows above and below the edge, for each phase, and once no dose.
    """
    chance = random.Random("edges")
    for name, drug in DRUGS.items():
        for place, limit in enumerate(drug.limits):
            for person in (*PEOPLE, *_people_on(limit, drug)):
                for creatinine in _around(person, limit, drug):
                    yield from _orders(name, drug, place, person, creatinine, chance)


def _people_on(limit: Fraction, drug: Drug) -> Iterator[tuple[int, str, Fraction]]:
    """People whose clearance can be exactly the limit: then it rounds up."""
    if not drug.per_kg:
        size = limit * -(-40 // limit)
        yield from ((50, "female", size), (68, "male", size))


def _around(person: tuple[int, str, Fraction], limit: Fraction, drug: Drug) -> Iterator[Creatinine]:
    age, sex, weight = person
    factor = Fraction(85, 100) if sex == "female" else Fraction(1)
    exact = (140 - age) * factor * _size(drug, weight) / (72 * limit)
    for unit, value, step in (("mg/dL", exact, Fraction(1, 1000)), ("umol/L", exact * UMOL_PER_MG, Fraction(1, 10))):
        reached = value // step * step
        yield from (Creatinine(reached + step * move, unit, 1) for move in (-1, 0, 1))
        if (value * 10_000).denominator == 1 and value != reached:
            yield Creatinine(value, unit, 1)


def _orders(
    name: str,
    drug: Drug,
    place: int,
    person: tuple[int, str, Fraction],
    creatinine: Creatinine,
    chance: random.Random,
) -> Iterator[Case]:
    age, sex, weight = person
    regimens = dict.fromkeys(regimen for row in drug.columns[place : place + 2] for regimen in row)
    phases = ("",) if drug.one_phase else ("treatment", "maintenance", "prophylaxis", "")
    for phase in phases:
        reason = HERPES[0] if drug.one_phase else REASONS[phase][0]
        bare = Case(
            drug=name,
            form="injection" if drug.by_vein else "tablet",
            phase=phase,
            reason=reason,
            dose=None,
            born=date(TODAY.year - age, 3, 14),
            sex=sex,
            weight=weight,
            creatinine=creatinine,
        )
        yield bare
        for regimen in regimens:
            unit = chance.choice(("mg", "mg/kg")) if drug.unit == "mg/kg" else chance.choice(("mg", "tablet"))
            yield replace(bare, dose=near(regimen, Fraction(1), unit, drug, weight, chance))
