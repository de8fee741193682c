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
DUE = ("dose", "renalDose", "doseAdvice", "interaction", "administration")


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
    before: Fraction | None = None  # the creatinine of two days earlier
    albumin: Fraction | None = None  # g/dL
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
    `sure`: what holds by confirmed sources where `most` keeps the dose of a secondary one below critical.
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
    assumed: bool = False  # for a phase that nobody named: critical from ten times the dose on
    sources: tuple[tuple[Regimen, bool], ...] = ()  # what sources have where none settles it; True: for full kidneys
    reduced: bool | None = None  # are the kidneys? None: not known
    uncomputed: bool = False  # a figure of the sources lacks something
    at_most: str = "critical"  # where the order is more than any of them
    sure: tuple[Regimen, ...] = ()
    by_kidneys: tuple[Regimen, ...] = ()  # reckoned from these kidneys: far above it is a warning, whatever else fits
    smaller: Regimen | None = None  # by another constant: what is too little by the first alone is no error
    topic: str = "dose"
    gap: str = ""  # indicator of the dataQuality card
    quiet_gap: bool = False  # ... which is not compared
    remarks: dict[str, str] = field(default_factory=dict, hash=False)  # topic -> indicator
    kidneys: bool = False  # what is said of the kidney function is compared as well


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
        return Due(verdict=("dose", "info"), sources=((_q(40, 24), False),))
    return Due(verdict=("dose", "warning"))


def _with_ciclosporin(case: Other, alone: int, beside: int, most: str) -> Due:
    if case.companion == "ciclosporin":
        return Due((_q(beside, 24),), grave=True, most=most, sure=(_q(alone, 24),))
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
    return Due(verdict=("dose", "info"), sources=((_weekly(6), False),), at_most="warning", gap=gap)


def cidofovir(case: Other) -> Due:
    """As scheduled; 3 mg/kg is for a rise of creatinine, which one creatinine alone cannot show."""
    due, per_kg = _cidofovir_schedule(case), _per_kg(case)
    doubt = _doubt(case)
    remarks = {"renalFunction": doubt} if doubt else {}
    if per_kg is not None and Fraction(27, 10) <= per_kg <= Fraction(33, 10):
        remarks["renalDose"] = "info"
    return replace(due, remarks=remarks, kidneys=True)


def _doubt(case: Other) -> str:
    """How grave it is that the clearance beside cidofovir, which has to be above 55 for a start, cannot be trusted.

    Moving by 0.3 mg/dL in two days or by half; in obesity above the limit by actual weight alone; with low albumin at
    most 15 above it. Once the therapy runs no clearance is asked for.
    """
    now, before = case.creatinine, case.before
    if (
        now
        and before
        and now != before
        and (abs(now - before) >= Fraction(3, 10) or 2 * max(now, before) >= 3 * min(now, before))
    ):
        return "warning" if now > before else "info"
    if case.given or not now or case.weight is None or case.born is None:
        return ""
    clearance = _whole_clearance(case, now, case.weight)
    if clearance <= 55:
        return ""
    if case.albumin is not None and case.albumin < 3 and clearance <= 70:
        return "info"
    if case.height is not None and case.weight * 10_000 >= 30 * case.height**2:
        inches = max(case.height * 100 / 254 - 60, Fraction(0))
        ideal = (Fraction("45.5") if case.sex == "female" else 50) + Fraction("2.3") * inches
        if _whole_clearance(case, now, ideal + (case.weight - ideal) * 2 / 5) <= 55:
            return "info"
    return ""


def _whole_clearance(case: Other, creatinine: Fraction, weight: Fraction) -> int:
    exact = (140 - case.years) * weight / (72 * creatinine) * (Fraction(85, 100) if case.sex == "female" else 1)
    return (exact + Fraction(1, 2)).__floor__()


def _cidofovir_schedule(case: Other) -> Due:
    """Weekly twice, then every two weeks; 3 mg/kg is right once the therapy runs. Children: not settled."""
    if case.born is None:
        return Due(quiet_gap=True)
    if case.years < 18:
        return Due(verdict=("dose", "info"), quiet_gap=True)
    later, reduced_later = _weekly(5, weeks=2), _weekly(3, weeks=2)
    if case.phase in ("maintenance", "prophylaxis"):
        return Due((later,), also_right=(reduced_later,), quiet_gap=True, topic="renalDose")
    weekly, reduced = _weekly(5), _weekly(3)
    if case.given >= 2:  # called an induction it may be a new one
        perhaps = (weekly, reduced) if case.said else ()
        return Due((later,), also_right=(reduced_later,), perhaps=perhaps[:1], quiet_gap=True, topic="renalDose")
    otherwise = () if case.phase else (later, reduced_later)
    due = Due((weekly,), otherwise=otherwise, perhaps=otherwise[:1], quiet_gap=True, topic="renalDose")
    induction = "induction" in case.reason  # which outranks what the file may not hold
    if case.given == 1:
        instead = () if induction else ((later, "info"), (reduced_later, "info"))
        return replace(due, also_right=(reduced,), instead=instead)
    if not case.list_sent:
        return replace(due, also_right=(later, reduced_later, reduced))
    return replace(due, instead=() if induction else ((later, "info"), (reduced, "info"), (reduced_later, "info")))


def _per_kg(case: Other) -> Fraction | None:
    """The ordered dose of one administration."""
    if case.dose is None or case.dose.unit == "mg/kg":
        return case.dose.low if case.dose else None
    return case.dose.low / case.weight if case.weight else None


def valganciclovir(case: Other) -> Due:
    """Children: 7 x body surface x clearance for prophylaxis; 16 mg/kg every 12 h in congenital disease."""
    if case.born is None:
        raise ValueError("children here have a date of birth")
    formula = _formula(case)
    twice = (replace(formula, times=Fraction(14)),) if formula else ()  # as adults get twice as much for treatment
    by_weight = _q(_whole(16 * case.weight, 1), 12) if case.weight is not None else None
    if case.condition == "congenital" and case.years < 1:
        if by_weight is None:
            return Due(quiet_gap=True)
        return Due((by_weight,), most="warning", sure=twice, by_kidneys=twice, quiet_gap=True)
    if case.phase == "treatment":
        figures = [*twice, *([by_weight] if by_weight else [])]
        return Due(
            verdict=("dose", "info"),
            sources=tuple((figure, False) for figure in figures),
            uncomputed=len(figures) < 2,
            at_most="warning",
            by_kidneys=twice,
            quiet_gap=True,
        )
    if case.days < 30:  # the formula starts at one month
        return Due(verdict=("dose", "info"), quiet_gap=True)
    if formula is None:  # its cap holds for any kidneys
        most = _share(case, _q(900, 24)) if case.dose and case.phase else None
        if most is None or most <= Fraction(11, 10):
            return Due(quiet_gap=True)
        return Due(verdict=("dose", "critical" if most >= Fraction(5, 4) else "warning"), quiet_gap=True)
    smaller = _formula(case, Fraction("0.55")) if case.years == 16 and case.sex == "female" else None  # pages disagree
    return Due((formula,), quiet_gap=True, smaller=smaller, assumed=not case.phase)


def _child_clearance(case: Other, k: Fraction | None = None) -> Fraction | None:
    """Modified Schwartz, capped, mL/min per 1.73 m2."""
    if case.height is None or case.creatinine is None:
        return None
    if k is None and case.years < 2:
        k = Fraction("0.45")
    elif k is None:
        k = Fraction("0.55") if case.years < (16 if case.sex == "female" else 13) else Fraction("0.70")
    return min(k * case.height / case.creatinine, Fraction(150))


def _surface(case: Other) -> Fraction | None:
    """Mosteller, m2."""
    if case.height is None or case.weight is None:
        return None
    return _root(case.height * case.weight / 3600)


def _formula(case: Other, k: Fraction | None = None) -> Regimen | None:
    """The label's for prevention, in steps of 25 mg, at most 900 mg."""
    clearance, surface = _child_clearance(case, k), _surface(case)
    if clearance is None or surface is None:
        return None
    amount = 7 * clearance * surface
    return _q(_whole(min(amount, Fraction(900)), 25) or amount, 24)


def ganciclovir(case: Other) -> Due:
    """Children by vein: 6 mg/kg every 12 h in congenital disease, off label; else what some sources have."""
    if case.born is None:
        raise ValueError("children here have a date of birth")
    if case.condition == "congenital" and case.years < 1:
        return Due((_q(6, 12, "mg/kg"),), quiet_gap=True)
    clearance, surface = _child_clearance(case), _surface(case)
    sources: list[tuple[Regimen, bool]] = []
    uncomputed = False
    if case.phase in ("prophylaxis", "") and case.years < 17:  # the UK label
        if clearance is None or surface is None:
            uncomputed = True
        else:
            amount = 3 * clearance * surface
            sources.append((_q(_whole(amount, 1) or amount, 24), False))
    if case.phase in ("treatment", ""):  # the UK label from 12 years, a guideline below; the trial in newborns
        sources += [(_q(5, 12, "mg/kg"), True), (_q(6, 12, "mg/kg"), True)]
    if case.phase in ("maintenance", "") and case.years >= 12:
        sources.append((_q(5, 24, "mg/kg"), True))
    reduced = None if clearance is None else (clearance + Fraction(1, 2)) // 1 < 70
    return Due(verdict=("dose", "info"), sources=tuple(sources), reduced=reduced, uncomputed=uncomputed, quiet_gap=True)


def foscarnet(case: Other) -> Due:
    """Children: not established. The adult regimens, for kidneys that are full per kg and by body surface; a stop."""
    if case.born is None:
        raise ValueError("children here have a date of birth")
    clearance, surface = _child_clearance(case), _surface(case)
    per_kg = None
    if clearance is not None and surface is not None and case.weight is not None:
        per_kg = (clearance * surface / Fraction("1.73") / case.weight * 100 + Fraction(1, 2)) // 1 * Fraction(1, 100)
    reduced = None
    if clearance is not None:
        by_surface = (clearance + Fraction(1, 2)) // 1 < 70
        reduced = by_surface or (per_kg is not None and per_kg <= Fraction("1.4"))
    figures = [_q(60, 8, "mg/kg"), _q(90, 12, "mg/kg")] if case.phase in ("treatment", "") else []
    figures += [_q(90, 24, "mg/kg"), _q(120, 24, "mg/kg")] if case.phase != "treatment" else []
    stopped = per_kg is not None and per_kg < Fraction("0.4")
    return Due(
        verdict=("dose", "warning" if stopped else "info"),
        sources=() if stopped else tuple((figure, True) for figure in figures),
        reduced=reduced,
        quiet_gap=True,
    )


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
    topics: tuple[str, ...] = DUE if due.quiet_gap else (*DUE, "dataQuality")
    if case.drug == "foscarnet":  # the fluid that goes with it is no matter of doses
        topics = tuple(topic for topic in topics if topic != "administration")
    topics = (*topics, "renalFunction") if due.kidneys else topics
    if due.gap:
        cards["dataQuality"] = frozenset({due.gap})
    topic, indicator = due.verdict
    offered: tuple[frozenset[Regimen], ...] = ()
    named: frozenset[Regimen] = frozenset()
    if topic:
        if (due.sources or due.uncomputed) and case.dose:
            indicator = _unsettled(case, due)
    elif case.dose is None and due.regimens:
        topic, indicator, named = "doseAdvice", "info", frozenset(due.regimens)
        offered = tuple(frozenset({_in_form(case, regimen)}) for regimen in due.regimens)
    elif case.dose and due.regimens:
        if any(_share(case, regimen) is None for regimen in due.regimens):
            topic, indicator = "dataQuality", "warning"
        else:
            topic, (indicator, suggests) = due.topic, _judged(case, due)
            offered = tuple(frozenset({_in_form(case, r)}) for r in due.regimens) if suggests else ()
            named = frozenset(due.regimens) if indicator not in ("", "info") else frozenset()
            if suggests and due.topic != "dose" and _is_slip(case, due.regimens[0]):
                cards["dose"] = frozenset({indicator})
    if due.smaller and due.smaller not in due.regimens:
        offered = ()  # two doses on which sources disagree: neither is filled in
    if topic and indicator:
        before = next(iter(cards.get(topic, frozenset({""}))))
        cards[topic] = frozenset({max(before, indicator, key=_RANK.index)})
    if due.verdict[1] != "critical" and _beyond_everything(case):
        cards["dose"] = frozenset({"critical"})
    return Prediction(cards, named, offered, topics=topics, can_be_mended=_can_be_mended(case))


def _can_be_mended(case: Other) -> bool:
    """Cidofovir here goes without probenecid and saline, which can be ordered; a limit of a start is no such thing.

    These are creatinine above 1.5 mg/dL and a clearance of 55 mL/min or less; once the therapy runs they are over.
    """
    if case.drug != "cidofovir":
        return False
    newest = case.before if case.creatinine is None else case.creatinine
    clearance = _clearance(replace(case, creatinine=newest))
    beyond = (newest is not None and newest > Fraction(3, 2)) or (clearance or 100) <= 55
    return case.given > 0 or not beyond


_MOST = {  # a week, by any source for anybody
    "maribavir": (_q(1200, 12),),
    "letermovir": (_q(480, 24),),
    "brincidofovir": (_weekly(200, "mg"),),
    "cidofovir": (_weekly(5),),
    "valganciclovir": (_q(900, 12),),
    "ganciclovir": (_q(10, 12, "mg/kg"), _q(30, 24, "mg/kg")),
    "foscarnet": (_q(60, 8, "mg/kg"),),
}
_PRINTED = {  # every dose of the labels and guidelines that is a number, and no formula
    "maribavir": ((400, 800, 1200), "mg"),
    "letermovir": ((480, 240, 120, 80, 60, 40), "mg"),
    "cidofovir": ((5, 3), "mg/kg"),
    "valganciclovir": ((900,), "mg"),
    "ganciclovir": ((6, 10, 30), "mg/kg"),
    "foscarnet": ((60, 90), "mg/kg"),
}


def _at_once(case: Other) -> Fraction:
    """The single dose as a share of the most that may be given at once; 0 where only the amount in time counts.

    Cidofovir harms the kidneys by each infusion: never more than 5 mg/kg, however long the interval.
    """
    per_kg = _per_kg(case) if case.drug == "cidofovir" else None
    return per_kg / 5 if per_kg else Fraction(0)


def _beyond_everything(case: Other) -> bool:
    """A quarter more than any source has for anybody."""
    if _at_once(case) >= Fraction(5, 4):
        return True
    shares = [_share(case, regimen) for regimen in _MOST[case.drug]]
    return all(share is not None and share >= Fraction(5, 4) for share in shares)


def _unsettled(case: Other, due: Due) -> str:
    """Where no source settles the dose: like one of them, far above all, far below all (kidneys good), or between."""
    shares = [(regimen, full, _share(case, regimen)) for regimen, full in due.sources]
    known = [(regimen, full, share) for regimen, full, share in shares if share is not None]
    whole = not due.uncomputed and len(known) == len(shares)
    too_many = any(_sure_share(case, regimen) >= Fraction(5, 4) for regimen in due.by_kidneys)
    for regimen, full, _ in known:
        if _right(case, (regimen,)):
            return "warning" if (full and due.reduced) or too_many else "info"
    if known and all(share >= Fraction(5, 4) for _, _, share in known):
        if any(share >= 9 or _is_slip(case, regimen) for regimen, _, share in known):
            return "critical"
        return due.at_most if whole else "warning"
    if too_many:
        return "warning"
    if due.reduced and any(full and share >= Fraction(9, 10) for _, full, share in known):
        return "warning"  # as much as full kidneys get, whatever the interval
    if whole and known and all(full and share <= Fraction(3, 4) for _, full, share in known):
        return "warning" if due.reduced is False else "info"
    return "info"


def _is_slip(case: Other, due: Regimen) -> bool:
    """No dose of the drug, but ten, a hundred or a thousand times one, or its number in another unit, or pounds."""
    if case.dose is None:
        return False
    share, times = _sure_share(case, due), case.dose.weekly_times / due.times
    printed, unit = _PRINTED.get(case.drug, ((), ""))
    if case.dose.unit != due.unit and _near(case.dose.low, due.amount):
        return True
    if case.dose.unit != due.unit and unit == due.unit and any(_near(case.dose.low, Fraction(a)) for a in printed):
        return True  # a figure of the label, in the wrong one of mg and mg/kg
    if not Fraction(10, 11) <= times <= Fraction(11, 10):
        return False
    given = due.amount * share
    if unit == due.unit and any(_near(given, Fraction(amount)) for amount in printed):
        return False
    if any(_near(share, Fraction(tens)) or _near(share, Fraction(1, tens)) for tens in (10, 100, 1000)):
        return True
    pounds = Fraction("2.2046")
    return case.dose.unit != due.unit and any(_near(share, off, Fraction(3, 100)) for off in (pounds, 1 / pounds))


def _near(amount: Fraction, wanted: Fraction, within: Fraction = Fraction(1, 10)) -> bool:
    return abs(amount / wanted - 1) <= within


def _judged(case: Other, due: Due) -> tuple[str, bool]:
    """(indicator, is a suggestion made?)."""
    if _right(case, due.regimens) and any(_sure_share(case, r) >= Fraction(5, 4) for r in due.by_kidneys):
        return "warning", False
    if _right(case, due.regimens):
        if case.drug == "brincidofovir":
            return "info", False  # for two doses alone, and no order here says how many
        return ("info", False) if due.otherwise and not _right(case, due.otherwise) else ("", False)
    if _right(case, due.also_right) and not case.list_sent:
        return "", False  # the card on the list that was not sent shows both
    if _right(case, due.also_right):
        return ("info", False) if due.otherwise and not _right(case, due.otherwise) else ("", False)
    (expected,) = due.regimens
    if due.smaller and _sure_share(case, expected) < Fraction(9, 10) <= _sure_share(case, due.smaller):
        return "info", False
    shares = (_sure_share(case, regimen) for regimen in (expected, *due.perhaps))
    far = all(max(share, _at_once(case)) >= Fraction(5, 4) for share in shares)
    indicator = "critical" if far else "warning"
    if due.grave and _sure_share(case, expected) <= Fraction(3, 4):
        indicator = "critical"
    by_sure = bool(due.sure) and all((_share(case, regimen) or 0) >= Fraction(5, 4) for regimen in due.sure)
    slip = _is_slip(case, expected) and _sure_share(case, expected) > 1
    if not (far and (by_sure or slip or _sure_share(case, expected) >= 9)):
        indicator = min(indicator, due.most, key=_RANK.index)
    if due.assumed:
        indicator = "critical" if _sure_share(case, expected) >= 9 else "warning"
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
    if case.drug == "valganciclovir" and case.dose and case.dose.unit == "mg/kg" and case.weight is not None:
        tenths = (regimen.amount / case.weight * 10 + Fraction(1, 2)) // 1
        congenital = case.condition == "congenital" and case.years < 1
        return replace(regimen, amount=Fraction(16) if congenital else Fraction(tenths, 10), unit="mg/kg")
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
    "foscarnet": foscarnet,
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
    make = _MAKERS[chance.choice(tuple(_MAKERS))]
    return next(case for case in iter(lambda: make(chance), None) if not _too_light(case))


def _too_light(case: Other) -> bool:
    """Is that the weight of no adult? Such a figure is not used: a matter of reading, not of doses."""
    return case.born is not None and case.years >= 18 and case.weight is not None and case.weight < 20


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
    near += [*due.sure, *(regimen for regimen, _ in due.sources)]
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
    "foscarnet": (_q(60, 8, "mg/kg"), _q(90, 12, "mg/kg"), _q(90, 24, "mg/kg")),
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
    case = _dosed(chance, replace(case, given=given))
    case = replace(case, height=Fraction(chance.randint(1450, 1950), 10) if _rarely(chance, 2) else None)
    if case.creatinine and case.weight and case.born and _rarely(chance, 2):  # around the limit for a start
        at_one = (140 - case.years) * case.weight / 72 * (Fraction(85, 100) if case.sex == "female" else 1)
        near = Fraction(round(at_one / chance.randint(45, 85) * 100), 100)
        case = replace(case, creatinine=min(max(near, Fraction(1, 4)), Fraction(19)))
    if _rarely(chance, 3):
        case = replace(case, albumin=Fraction(chance.randint(20, 40), 10))
    per_kg = _per_kg(case)
    small = per_kg is not None and Fraction(5, 2) < per_kg < Fraction(7, 2)  # with two results another question
    if case.creatinine and not small and _rarely(chance, 3):
        step = chance.choice((Fraction(29, 100), Fraction(3, 10), Fraction(-3, 10), Fraction(-29, 100)))
        before = chance.choice((case.creatinine - step, case.creatinine * 2 / 3, case.creatinine * 3 / 2))
        before = Fraction(round(before * 100), 100)
        case = replace(case, before=before if Fraction(1, 5) <= before <= 20 else None)
    return case


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
        route="oral" if drug == "valganciclovir" else "iv",
        dose=None,
        reason=reason,
        phase=phase,
        said=bool(phase),
        born=born,
        sex=chance.choice(("female", "male")),
        weight=weight if not _rarely(chance, 25) else None,
        height=height if not _rarely(chance, 25) else None,
        creatinine=Fraction(chance.randint(20, 400 if drug == "foscarnet" else 120), 100)
        if not _rarely(chance, 20)
        else None,
        condition="congenital" if congenital else "",
    )


_MAKERS: dict[str, Callable[[random.Random], Other]] = {
    "maribavir": _maribavir,
    "letermovir": _letermovir_case,
    "brincidofovir": _brincidofovir,
    "cidofovir": _cidofovir,
    "valganciclovir": lambda chance: _dosed(chance, _child(chance, "valganciclovir")),
    "ganciclovir": lambda chance: _dosed(chance, _child(chance, "ganciclovir")),
    "foscarnet": lambda chance: _dosed(chance, _child(chance, "foscarnet")),
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
            if _too_light(case):
                continue
            if case.years < 17 or drug not in ("valganciclovir", "ganciclovir", "foscarnet"):
                yield _dosed(chance, case)
