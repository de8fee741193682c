"""Doses that do not hang on adult kidney function: other drugs, weights, ages, companions, paediatric formulas.

Written from the labels again, drug by drug: a function per drug says which regimens are due for a person, and one
verdict compares. Nothing is shared with the product.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from math import isqrt
from typing import Literal

from .cases import FACTORS, INTERVALS, TODAY, Dose
from .labels import Regimen
from .predict import Prediction

Companion = Literal[
    "",
    "carbamazepine",
    "phenytoin",
    "phenobarbital",
    "fosphenytoin",
    "rifampicin",
    "rifabutin",
    "efavirenz",
    "tacrolimus",
    "ciclosporin",
    "ciclosporin 0.1 % eye drops",
]
DUE = ("dose", "doseAdvice", "interaction", "administration")


@dataclass(frozen=True, slots=True)
class Other:
    """One order for one person. None: not on file."""

    drug: str
    route: Literal["oral", "iv"]
    dose: Dose | None
    reason: str
    phase: str
    said: bool  # the reason names the phase itself, and not only a disease
    born: date | None
    sex: str = "female"
    weight: Fraction | None = None
    height: Fraction | None = None
    creatinine: Fraction | None = None  # mg/dL
    dialysis: bool = False
    condition: str = ""  # kidney transplant, congenital, ""
    companion: Companion = ""
    given: int = 0  # earlier doses of the same drug on file
    list_sent: bool = True

    @property
    def days(self) -> int:
        """Age in days; an unknown one is nobody's business here."""
        return (TODAY - self.born).days if self.born else 0

    @property
    def years(self) -> int:
        """Whole years."""
        if self.born is None:
            raise ValueError("no date of birth")
        return TODAY.year - self.born.year - ((TODAY.month, TODAY.day) < (self.born.month, self.born.day))


@dataclass(frozen=True, slots=True)
class Due:
    """What is due: regimens, or a verdict at once (topic and indicator). `most`: no graver than this.

    `instead`: right elsewhere or in a case that cannot be looked for, each with the gravest indicator it may earn.
    `grave`: too little is as grave as too much. `both_phases`: right in this phase alone is information.
    """

    regimens: tuple[Regimen, ...] = ()
    verdict: tuple[str, str] = ("", "")
    most: str = "critical"
    instead: tuple[tuple[Regimen, str], ...] = ()
    also_right: tuple[Regimen, ...] = ()
    grave: bool = False
    otherwise: tuple[Regimen, ...] = ()
    perhaps: tuple[Regimen, ...] = ()  # critical only if it is so against this one, too
    ceiling: Regimen | None = None
    gap: str = ""  # indicator of the dataQuality card
    quiet_gap: bool = False  # ... which is not compared
    remarks: dict[str, str] = field(default_factory=dict, hash=False)  # topic -> indicator


def _q(amount: str | int | Fraction, hours: int, unit: str = "mg") -> Regimen:
    return Regimen(Fraction(amount), unit, Fraction(24 * 7, hours))


def _weekly(amount: str | int, unit: str = "mg/kg", weeks: int = 1) -> Regimen:
    return Regimen(Fraction(amount), unit, Fraction(1, weeks))


# --------------------------------------------------------------------------------------------------------------------
# The labels


def _clearance(case: Other) -> Fraction | None:
    """Cockcroft-Gault in whole mL/min, for adults with everything on file."""
    if case.creatinine is None or case.weight is None or case.born is None or case.years < 18:
        return None
    exact = (140 - case.years) * case.weight / (72 * case.creatinine)
    return (exact * (Fraction(85, 100) if case.sex == "female" else 1) + Fraction(1, 2)) // 1 * Fraction(1)


def _beside(case: Other, due: Due, raised: tuple[Companion, ...]) -> Due:
    """A drug whose level the ordered one raises, at a first order with no level on file; a list that was not sent."""
    remarks = due.remarks | ({"interaction": "warning"} if case.companion in raised else {})
    return replace(due, remarks=remarks, gap=due.gap if case.list_sent else "warning")


def maribavir(case: Other) -> Due:
    """As dosed, beside what it raises."""
    return _beside(case, _maribavir_dose(case), ("tacrolimus", "ciclosporin"))


def _maribavir_dose(case: Other) -> Due:
    """400 mg every 12 h from 12 years and 35 kg; more beside an inducer, none beside the strongest."""
    clearance = _clearance(case)
    unstudied = case.dialysis or (clearance is not None and clearance < 12)
    remarks = {"dose": "info"} if unstudied else {}
    if case.born is None:
        return Due(verdict=("dataQuality", "warning"), remarks=remarks)
    if case.years < 12:
        return Due(verdict=("dose", "warning"), remarks=remarks)
    if case.years < 18 and case.weight is None:
        return Due(verdict=("dataQuality", "warning"), remarks=remarks)
    if case.years < 18 and case.weight is not None and case.weight < 35:
        return Due(verdict=("dose", "warning"), remarks=remarks)
    if case.companion in ("rifampicin", "rifabutin"):
        return Due(verdict=("interaction", "critical"), remarks=remarks)
    if case.companion in ("phenytoin", "fosphenytoin", "phenobarbital"):
        return Due((_q(1200, 12),), grave=True, remarks=remarks)
    if case.companion == "carbamazepine":
        return Due((_q(800, 12),), grave=True, instead=((_q(1200, 12), "warning"),), remarks=remarks)
    if case.companion == "efavirenz":
        return Due(verdict=("dose", "info"), remarks=remarks)
    if not case.list_sent:
        return Due((_q(400, 12),), also_right=(_q(800, 12), _q(1200, 12)), gap="info", remarks=remarks)
    return Due((_q(400, 12),), remarks=remarks)


_LETERMOVIR = (  # from this weight: by mouth, by mouth with ciclosporin, by vein (with or without)
    ("15", 240, 120, 120),
    ("7.5", 120, 60, 60),
    ("6", 80, 40, 40),
)


def letermovir(case: Other) -> Due:
    """480 mg once daily, 240 with ciclosporin; below 30 kg by weight, where the dose by vein is the same with it."""
    clearance = _clearance(case)
    remarks = {"dose": "info"} if case.dialysis or (clearance is not None and clearance <= 10) else {}
    gap = ""
    if case.route == "iv":
        if case.dialysis or (clearance is not None and clearance < 50):
            remarks = remarks | {"administration": "warning"}
        elif clearance is None:
            gap = "info"
    bare = _letermovir(case)
    worse = max((bare.gap, gap), key=("", "info", "warning").index)
    return _beside(case, replace(bare, gap=worse, remarks=remarks), ("tacrolimus", "ciclosporin"))


def _letermovir(case: Other) -> Due:
    if case.born is None:
        return Due(verdict=("dataQuality", "warning"))
    kidney = case.condition == "kidney transplant"
    if case.years < 18:
        if kidney and case.years < 12:
            return Due(verdict=("dose", "warning"))
        if kidney and case.weight is None:
            return Due(verdict=("dataQuality", "warning"))
        if (kidney and case.weight is not None and case.weight < 40) or case.days < 183:
            return Due(verdict=("dose", "warning"))
        if case.weight is None:
            return Due(verdict=("dataQuality", "warning"))
    if case.years >= 18 or (case.weight is not None and case.weight >= 30):
        return _with_ciclosporin(case, 480, 240, "critical")
    for least, by_mouth, beside, by_vein in _LETERMOVIR:
        if case.weight is not None and case.weight >= Fraction(least):
            return (
                Due((_q(by_vein, 24),)) if case.route == "iv" else _with_ciclosporin(case, by_mouth, beside, "warning")
            )
    if case.route == "iv" and case.weight is not None and case.weight >= 5:
        return Due(verdict=("dose", "info"))
    return Due(verdict=("dose", "warning"))


def _with_ciclosporin(case: Other, alone: int, beside: int, most: str) -> Due:
    if case.companion == "ciclosporin":
        return Due((_q(beside, 24),), grave=True, most=most)
    if not case.list_sent:
        return Due((_q(alone, 24),), also_right=(_q(beside, 24),), gap="info")
    return Due((_q(alone, 24),))


def brincidofovir(case: Other) -> Due:
    """Two weekly doses by weight; below 10 kg not settled. A woman of unknown age: may she be pregnant?"""
    gap = "info" if case.born is None and case.sex == "female" else ""
    if case.weight is None:
        return Due(verdict=("dataQuality", "warning"), gap=gap)
    if case.weight >= 48:
        return Due((_weekly(200, "mg"),), gap=gap)
    if case.weight >= 10:
        return Due((_weekly(4),), gap=gap)
    return Due(verdict=("dose", "info"), ceiling=_weekly(6), gap=gap)


def cidofovir(case: Other) -> Due:
    """Weekly twice, then every two weeks; 3 mg/kg is right once the therapy runs. Children: not settled."""
    if case.born is None:
        return Due(quiet_gap=True)
    if case.years < 18:
        return Due(verdict=("dose", "info"), ceiling=_weekly(5), quiet_gap=True)
    later, reduced_later = _weekly(5, weeks=2), _weekly(3, weeks=2)
    if case.phase in ("maintenance", "prophylaxis"):
        return Due((later,), also_right=(reduced_later,), quiet_gap=True)
    weekly, reduced = _weekly(5), _weekly(3)
    if case.given >= 2:  # called an induction it may be a new one
        perhaps = (weekly, reduced) if case.said else ()
        return Due((later,), also_right=(reduced_later,), perhaps=perhaps[:1], quiet_gap=True)
    otherwise = () if case.phase else (later, reduced_later)
    due = Due((weekly,), otherwise=otherwise, perhaps=otherwise[:1], quiet_gap=True)
    if case.given == 1:
        return replace(due, also_right=(reduced,), instead=((later, "info"), (reduced_later, "info")))
    if not case.list_sent:
        return replace(due, also_right=(later, reduced_later, reduced))
    return replace(due, instead=((later, "info"), (reduced, "info"), (reduced_later, "info")))


def valganciclovir(case: Other) -> Due:
    """Children: 7 x body surface x clearance for prophylaxis; 16 mg/kg every 12 h in congenital disease."""
    if case.born is None:
        raise ValueError("children here have a date of birth")
    if case.condition == "congenital" and case.years < 1:
        if case.weight is None:
            return Due(quiet_gap=True)
        return Due((_q(_whole(16 * case.weight, 1), 12),), most="warning", quiet_gap=True)
    if case.phase not in ("prophylaxis", "") or case.days < 30:  # the formula starts at one month
        return Due(verdict=("dose", "info"), ceiling=_q(900, 12), quiet_gap=True)
    if case.weight is None or case.height is None or case.creatinine is None:
        return Due(quiet_gap=True)
    if case.years < 2:
        k = Fraction("0.45")
    else:
        k = Fraction("0.55") if case.years < (16 if case.sex == "female" else 13) else Fraction("0.70")
    clearance = min(k * case.height / case.creatinine, Fraction(150))
    amount = 7 * clearance * _root(case.height * case.weight / 3600)
    amount = _whole(min(amount, Fraction(900)), 25) or amount
    return Due((_q(amount, 24),), most="critical" if case.phase else "warning", quiet_gap=True)


def ganciclovir(case: Other) -> Due:
    """Children by vein: 6 mg/kg every 12 h in congenital disease, off label; else not settled."""
    if case.condition == "congenital" and case.born is not None and case.years < 1:
        return Due((_q(6, 12, "mg/kg"),), most="warning", quiet_gap=True)
    ceiling = _q(6, 12, "mg/kg") if case.phase in ("treatment", "") else None
    return Due(verdict=("dose", "info"), ceiling=ceiling, quiet_gap=True)


def _whole(amount: Fraction, step: int) -> Fraction:
    """Rounded to the nearest whole number of steps, halves up."""
    return (amount / step + Fraction(1, 2)) // 1 * Fraction(step)


def _root(value: Fraction) -> Fraction:
    """The square root to some thirty digits."""
    scale = 10**30
    return Fraction(isqrt(value.numerator * scale * scale // value.denominator), scale)


# --------------------------------------------------------------------------------------------------------------------
# The verdict

_RANK = ("", "info", "warning", "critical")


def predict_other(case: Other) -> Prediction:
    """What the product ought to answer."""
    due = LABELS[case.drug](case)
    cards = {topic: frozenset({indicator}) for topic, indicator in due.remarks.items()}
    topics = DUE if due.quiet_gap else (*DUE, "dataQuality")
    if due.gap:
        cards["dataQuality"] = frozenset({due.gap})
    topic, indicator = due.verdict
    offered: tuple[frozenset[Regimen], ...] = ()
    named: frozenset[Regimen] = frozenset()
    if topic:
        if due.ceiling and case.dose and _share(case, due.ceiling) is not None:
            indicator = "warning" if (_share(case, due.ceiling) or 0) >= Fraction(5, 4) else indicator
    elif case.dose is None and due.regimens:
        topic, indicator, named = "doseAdvice", "info", frozenset(due.regimens)
        offered = tuple(frozenset({_in_form(case, regimen)}) for regimen in due.regimens)
    elif case.dose and due.regimens:
        if any(_share(case, regimen) is None for regimen in due.regimens):
            topic, indicator = "dataQuality", "warning"
        else:
            topic, (indicator, suggests) = "dose", _judged(case, due)
            offered = tuple(frozenset({_in_form(case, r)}) for r in due.regimens) if suggests else ()
            named = frozenset(due.regimens) if indicator not in ("", "info") else frozenset()
    if topic and indicator:
        before = next(iter(cards.get(topic, frozenset({""}))))
        cards[topic] = frozenset({max(before, indicator, key=_RANK.index)})
    return Prediction(cards, named, offered, topics=topics)


def _judged(case: Other, due: Due) -> tuple[str, bool]:
    """(indicator, is a suggestion made?)."""
    if _right(case, due.regimens):
        return ("info", False) if due.otherwise and not _right(case, due.otherwise) else ("", False)
    if _right(case, due.also_right) and not case.list_sent:
        return "", False  # the card on the list that was not sent shows both
    if _right(case, due.also_right):
        return ("info", False) if due.otherwise and not _right(case, due.otherwise) else ("", False)
    (expected,) = due.regimens
    far = all(_sure_share(case, regimen) >= Fraction(5, 4) for regimen in (expected, *due.perhaps))
    indicator = "critical" if far else "warning"
    if due.grave and _sure_share(case, expected) <= Fraction(3, 4):
        indicator = "critical"
    indicator = min(indicator, due.most, key=_RANK.index)
    for regimen, most in due.instead:
        if _right(case, (regimen,)):
            indicator = min(indicator, most, key=_RANK.index)
            return indicator, indicator != "info"
    return indicator, True


def _right(case: Other, regimens: tuple[Regimen, ...]) -> bool:
    for regimen in regimens:
        times = case.dose.weekly_times / regimen.times if case.dose else Fraction(0)
        share = _sure_share(case, regimen)
        if Fraction(10, 11) <= times <= Fraction(11, 10) and Fraction(9, 10) <= share <= Fraction(11, 10):
            return True
    return False


def _sure_share(case: Other, regimen: Regimen) -> Fraction:
    share = _share(case, regimen)
    if share is None:
        raise ValueError("units do not meet")
    return share


def _share(case: Other, regimen: Regimen) -> Fraction | None:
    """The ordered amount of a week against the regimen's; None when mg and mg/kg cannot meet."""
    if case.dose is None:
        return None
    amount = case.dose.low
    if case.dose.unit != regimen.unit:
        if case.weight is None:
            return None
        amount = amount / case.weight if regimen.unit == "mg/kg" else amount * case.weight
    return amount * case.dose.weekly_times / regimen.weekly


def _in_form(case: Other, regimen: Regimen) -> Regimen:
    """mg/kg stays mg/kg, mg stays mg (whole ones)."""
    if case.dose and case.dose.unit == "mg" and regimen.unit == "mg/kg" and case.weight is not None:
        return replace(regimen, amount=_whole(regimen.amount * case.weight, 1), unit="mg")
    return regimen


LABELS: dict[str, Callable[[Other], Due]] = {
    "maribavir": maribavir,
    "letermovir": letermovir,
    "brincidofovir": brincidofovir,
    "cidofovir": cidofovir,
    "valganciclovir": valganciclovir,
    "ganciclovir": ganciclovir,
}


# --------------------------------------------------------------------------------------------------------------------
# Cases

_LONG = (*INTERVALS, (1, 1, "wk"), (1, 1, "wk"), (1, 2, "wk"), (1, 2, "wk"), (1, 3, "wk"), (1, 4, "wk"))
_MARIBAVIR_BESIDE: tuple[Companion, ...] = (
    "",
    "",
    "",
    "carbamazepine",
    "phenytoin",
    "phenobarbital",
    "fosphenytoin",
    "rifampicin",
    "rifabutin",
    "efavirenz",
    "tacrolimus",
)
_LETERMOVIR_BESIDE: tuple[Companion, ...] = (
    "",
    "",
    "ciclosporin",
    "ciclosporin",
    "ciclosporin 0.1 % eye drops",
    "tacrolimus",
)


def random_other(seed: int, number: int) -> Other:
    """Case `number` of a seed, always the same one."""
    chance = random.Random(f"other {seed}/{number}")
    return _MAKERS[chance.choice(tuple(_MAKERS))](chance)


def _rarely(chance: random.Random, one_in: int) -> bool:
    return chance.random() * one_in < 1


def _born(chance: random.Random, low_days: int, high_days: int) -> date:
    return TODAY - timedelta(days=chance.randint(low_days, high_days))


def _dosed(chance: random.Random, case: Other) -> Other:
    """With an order: mostly near to what is due or to what is due in another case, else anything; sometimes none."""
    if _rarely(chance, 15):
        return case
    due = LABELS[case.drug](case)
    near = [*due.regimens, *due.also_right, *due.otherwise, *(regimen for regimen, _ in due.instead)]
    near += [due.ceiling] if due.ceiling else []
    near += list(_USUAL[case.drug])
    regimen = chance.choice(near)
    amount = regimen.amount * Fraction(chance.choice(FACTORS))
    if _rarely(chance, 8):
        amount = amount * chance.choice((10, Fraction(1, 10), Fraction("2.2"), 3))
    unit = regimen.unit
    if case.weight is not None and _rarely(chance, 3):
        unit = "mg" if unit == "mg/kg" else "mg/kg"
        amount = amount * case.weight if unit == "mg" else amount / case.weight
    amount = max(Fraction(round(amount * 1000), 1000), Fraction(1, 1000))
    ways = [way for way in _LONG if Dose(amount, amount, unit, *way).weekly_times == regimen.times]
    way = chance.choice(ways) if ways and not _rarely(chance, 6) else chance.choice(_LONG)
    return replace(case, dose=Dose(amount, amount, unit, *way))


_USUAL = {
    "maribavir": (_q(400, 12), _q(800, 12)),
    "letermovir": (_q(480, 24), _q(240, 24), _q(120, 24)),
    "brincidofovir": (_weekly(200, "mg"), _weekly(4), _weekly(6)),
    "cidofovir": (_weekly(5), _weekly(5, weeks=2), _weekly(3, weeks=2)),
    "valganciclovir": (_q(450, 24), _q(900, 12), _q(16, 12, "mg/kg")),
    "ganciclovir": (_q(5, 12, "mg/kg"), _q(6, 12, "mg/kg")),
}


def _adult_or_child(chance: random.Random) -> date | None:
    if _rarely(chance, 30):
        return None
    if _rarely(chance, 3):
        return _born(chance, 60, 18 * 366)
    return _born(chance, 18 * 366, 90 * 365)


def _person(chance: random.Random, drug: str, route: Literal["oral", "iv"], reason: str, phase: str) -> Other:
    born = _adult_or_child(chance)
    adult = born is None or (TODAY - born).days >= 18 * 366
    weight = Fraction(chance.randint(400, 1100) if adult else chance.randint(40, 600), 10)
    return Other(
        drug=drug,
        route=route,
        dose=None,
        reason=reason,
        phase=phase,
        said=True,
        born=born,
        sex=chance.choice(("female", "male")),
        weight=weight if not _rarely(chance, 25) else None,
        creatinine=Fraction(chance.randint(40, 900), 100) if adult and not _rarely(chance, 4) else None,
        dialysis=_rarely(chance, 20),
        list_sent=not _rarely(chance, 6),
    )


def _maribavir(chance: random.Random) -> Other:
    case = _person(chance, "maribavir", "oral", "Treatment of refractory CMV infection", "treatment")
    companion = chance.choice(_MARIBAVIR_BESIDE) if case.list_sent else ""
    return _dosed(chance, replace(case, companion=companion))


def _letermovir_case(chance: random.Random) -> Other:
    route: Literal["oral", "iv"] = "iv" if _rarely(chance, 3) else "oral"
    case = _person(chance, "letermovir", route, "CMV prophylaxis", "prophylaxis")
    companion = chance.choice(_LETERMOVIR_BESIDE) if case.list_sent else ""
    weight = case.weight
    if weight is not None and _rarely(chance, 3):  # at the edges
        weight = Fraction(
            chance.choice(("4.9", "5", "5.9", "6", "7.4", "7.5", "14.9", "15", "29.9", "30", "39.9", "40"))
        )
    condition = "kidney transplant" if _rarely(chance, 4) else ""
    return _dosed(chance, replace(case, companion=companion, weight=weight, condition=condition))


def _brincidofovir(chance: random.Random) -> Other:
    case = _person(chance, "brincidofovir", "oral", "Smallpox", "")
    weight = Fraction(chance.choice(("9.9", "10", "47.9", "48"))) if _rarely(chance, 3) else case.weight
    return _dosed(chance, replace(case, weight=weight, creatinine=None, dialysis=False, list_sent=True, said=False))


def _cidofovir(chance: random.Random) -> Other:
    reason, phase, said = chance.choice(
        (
            ("CMV retinitis, induction", "treatment", True),
            ("CMV retinitis in AIDS", "treatment", False),
            ("Maintenance of CMV retinitis", "maintenance", True),
            ("", "", False),
        )
    )
    case = replace(_person(chance, "cidofovir", "iv", reason, phase), said=said, dialysis=False)
    given = chance.choice((0, 0, 1, 2, 3)) if case.list_sent else 0
    return _dosed(chance, replace(case, given=given))


def _child(chance: random.Random, drug: str) -> Other:
    infant = _rarely(chance, 3)
    born = _born(chance, 1, 364) if infant else _born(chance, 365, 17 * 365)
    days = (TODAY - born).days
    height = Fraction(500 + days * 250 // 365, 10) if infant else Fraction(700 + (days - 365) * 60 // 365, 10)
    height = height + Fraction(chance.randint(-40, 40), 10)
    weight = Fraction(round(height**2 * chance.randint(130, 200) / 10_000), 10)
    congenital = infant and chance.random() < 0.6
    if congenital:
        reason, phase = "Treatment of congenital CMV", "treatment"
    else:
        reason, phase = chance.choice(
            (("CMV prophylaxis", "prophylaxis"),) * 4 + (("Treatment of CMV disease", "treatment"), ("", ""))
        )
    return Other(
        drug=drug,
        route="iv" if drug == "ganciclovir" else "oral",
        dose=None,
        reason=reason,
        phase=phase,
        said=bool(phase),
        born=born,
        sex=chance.choice(("female", "male")),
        weight=weight if not _rarely(chance, 25) else None,
        height=height if not _rarely(chance, 25) else None,
        creatinine=Fraction(chance.randint(20, 120), 100) if not _rarely(chance, 20) else None,
        condition="congenital" if congenital else "",
    )


_MAKERS: dict[str, Callable[[random.Random], Other]] = {
    "maribavir": _maribavir,
    "letermovir": _letermovir_case,
    "brincidofovir": _brincidofovir,
    "cidofovir": _cidofovir,
    "valganciclovir": lambda chance: _dosed(chance, _child(chance, "valganciclovir")),
    "ganciclovir": lambda chance: _dosed(chance, _child(chance, "ganciclovir")),
}


def edge_others() -> Iterator[Other]:
    """Every weight and every age at which a label changes, one step to either side, with orders near to what is due."""
    chance = random.Random("others at the edges")
    turns = [date(TODAY.year - years, TODAY.month, TODAY.day) for years in (1, 2, 12, 13, 16, 18)]
    ages = [turn + timedelta(days=move) for turn in turns for move in (-1, 0, 1)]
    ages += [TODAY - timedelta(days=days) for days in (182, 183, 184)]
    changes = [Fraction(weight) for weight in ("5", "6", "7.5", "10", "15", "30", "35", "40", "48")]
    weights = [weight + Fraction(move, 10) for weight in changes for move in (-1, 0, 1)]
    pairs = [(age, weight) for age in ages for weight in (Fraction(8), Fraction(38), Fraction(60))]
    pairs += [(age, weight) for age in (ages[-1], ages[3], ages[9], ages[16]) for weight in weights]
    for drug, make in _MAKERS.items():
        for born, weight in pairs:
            case = replace(make(chance), born=born, weight=weight, height=None, creatinine=None, dose=None)
            if case.years < 17 or drug not in ("valganciclovir", "ganciclovir"):
                yield _dosed(chance, case)
