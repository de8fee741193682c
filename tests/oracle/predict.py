"""The verdict on a case: which cards, how urgent, which regimens they name and offer."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from .cases import Case
from .labels import DRUGS, Answer, Drug, Kidneys, Regimen

RANK = ("", "info", "warning", "critical")
TOPICS = ("renalDose", "doseAdvice", "contraindication", "dose", "renalFunction", "dataQuality")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the answer has to hold. A topic absent from `cards` has no card.

    `named`: regimens that the dose card has to name; `offered`: one entry per suggestion, each with all the regimens
    that would do (more than one only where the sources leave it open), if there is a dose card at all; `clearance` in
    mL/min or mL/min/kg, unrounded.
    """

    cards: dict[str, frozenset[str]] = field(default_factory=dict)  # topic -> indicators that would do, "" for no card
    named: frozenset[Regimen] = frozenset()
    offered: tuple[frozenset[Regimen], ...] = ()
    removes: bool = False
    can_be_mended: bool = False  # what speaks for removal is only something absent that may still be ordered
    clearance: Fraction | None = None
    topics: tuple[str, ...] = TOPICS  # those that are compared: others are no business of this opinion


@dataclass(frozen=True, slots=True)
class Verdict:
    """One column against the order."""

    indicator: str  # "" when right
    too_much: bool
    judges: frozenset[Regimen]  # the regimen that judges; several where the sources leave it open
    nearest: Fraction  # how far off, as a factor of at least 1: from the nearest judge
    farthest: Fraction  # and from the farthest, which is the same unless it is open
    smaller: Regimen | None = None  # the smallest in the ordered interval, offered too where a larger one judges


def predict(case: Case) -> Prediction:
    """What the product ought to answer."""
    drug = DRUGS[case.drug]
    kidneys = None
    if case.dialysis:  # no clearance is needed
        kind = "haemodialysis" if case.dialysis == "unnamed" else case.dialysis
        found = _dose(case, drug, drug.answer(Kidneys(Fraction(1), Fraction(1), kind), case.form))
    elif lacking := _lacking(case, drug):
        found = Prediction({topic: frozenset({"warning"}) for topic in lacking} | _beyond_the_table(case, drug))
    else:
        kidneys = _kidneys(case, drug, case.weight)
        found = _by_weights(case, drug, kidneys)
        trust = frozenset({_kidney_function(case, drug, kidneys)})
        found = replace(found, cards=found.cards | {"renalFunction": trust})
    if not {"dose", "contraindication"} & found.cards.keys() and _beyond_everything(case, drug):
        found = replace(found, cards=found.cards | {"dose": frozenset({"critical"})})
    unused = {"dataQuality": frozenset({"warning"}) if _cannot_be(case) else _unusable(case)}
    clearance = kidneys.at_one / kidneys.creatinine if kidneys else None
    return replace(found, cards=unused | found.cards, clearance=clearance)


def _cannot_be(case: Case) -> bool:
    """A weight that does not go with the height: below a BMI of 11 or from 70 on."""
    if case.weight is None or case.height is None:
        return False
    return not 11 * case.height**2 <= case.weight * 10_000 < 70 * case.height**2


def _beyond_the_table(case: Case, drug: Drug) -> dict[str, frozenset[str]]:
    """Without a clearance: a quarter more than the first row has, in every column in question, is too much."""
    best = drug.answer(Kidneys(Fraction(10**6), Fraction(1), ""), case.form)
    starting = best.treatment if drug.starts_high and case.phase == "prophylaxis" else ()
    verdicts = _verdicts(case, drug, best, starting)
    far = bool(verdicts) and all(verdict.indicator == "critical" for verdict in verdicts)
    return {"dose": frozenset({"critical"})} if far else {}


def _beyond_everything(case: Case, drug: Drug) -> bool:
    """A quarter more than any source has for anybody."""
    if case.dose is None or (case.weight is None and drug.unit != _mg_unit(case.dose.unit)):
        return False
    high = _in_label_unit(case.dose.high, case, drug)
    if drug.limited_at_once and high >= max(r.amount for row in drug.columns for r in row) * Fraction(5, 4):
        return True
    return high * case.dose.weekly_times >= drug.most * Fraction(5, 4)


def _unusable(case: Case) -> frozenset[str]:
    """The dataQuality card on creatinines that cannot be used.

    A warning where one is newer than what is used, or nothing usable is left. An earlier one costs only the look at
    whether the creatinine moves, which the sources do not grade; on dialysis it costs nothing: at most information.
    """
    results = [result for result in (case.creatinine, case.earlier) if result]
    if all(result.is_plausible for result in results):
        return frozenset({""})
    if case.dialysis:
        return frozenset({"", "info"})
    return frozenset({"", "info", "warning"} if results[0].is_plausible else {"warning"})


# --------------------------------------------------------------------------------------------------------------------
# The kidneys


def _lacking(case: Case, drug: Drug) -> set[str]:
    """Topics of the warnings when the clearance cannot be computed: something not on file, or not sent."""
    topics = set() if case.sex else {"renalFunction"}
    if not case.results_sent:
        return topics | {"dataQuality"}
    if not case.usable or (case.weight is None and not drug.per_kg):
        topics.add("renalFunction")
    return topics


def _kidneys(case: Case, drug: Drug, weight: Fraction | None) -> Kidneys:
    """Cockcroft-Gault, turned round: the clearance at a creatinine of 1 mg/dL. Per kg the weight cancels out."""
    size = Fraction(1) if drug.per_kg else weight
    if size is None:
        raise ValueError("no weight")
    women = Fraction(17, 20) if case.sex == "female" else Fraction(1)
    return Kidneys((140 - case.age) * size * women / 72, case.usable[0].mg_dl, "")


def _adjusted_weight(case: Case, drug: Drug) -> Fraction | None:
    """Ideal weight and two fifths of the rest, from a BMI of 30 on; None below it or where weight does not matter."""
    if drug.per_kg or case.weight is None or case.height is None:
        return None
    if case.weight * 10_000 < 30 * case.height**2:
        return None
    inches = max(case.height / Fraction("2.54") - 60, Fraction(0))
    ideal = (Fraction("45.5") if case.sex == "female" else Fraction(50)) + Fraction("2.3") * inches
    return ideal + (case.weight - ideal) * Fraction(2, 5)


def _moves(case: Case) -> str:
    """Rising or falling, by the criteria for acute kidney injury."""
    if case.dialysis or len(case.usable) < 2:
        return ""
    newest, earlier = case.usable
    days = earlier.days - newest.days
    small, large = sorted((newest.mg_dl, earlier.mg_dl))
    step = Fraction(3, 10) if newest.unit == "mg/dL" else Fraction(265, 10) / Fraction(884, 10)
    if (days <= 2 and large - small >= step) or (days <= 7 and large * 2 >= small * 3):
        return "rising" if newest.value > earlier.value else "falling"
    return ""


def _kidney_function(case: Case, drug: Drug, kidneys: Kidneys) -> str:
    """The indicator of the renalFunction card: moving, old, an old weight, or doubtful."""
    sure = {"rising": "warning", "falling": "info"}.get(_moves(case), "")
    stable = case.phase in ("maintenance", "prophylaxis")
    limit = drug.stable_days if stable else 3 if drug.by_vein else 7
    days = case.usable[0].days
    if days > limit:
        sure = _worse(sure, "info" if days <= 2 * limit else "warning")
    if case.weight is not None and case.weight_days > 365:
        sure = _worse(sure, "info")
    low_albumin = case.albumin is not None and case.albumin < 3
    return _worse(sure, "info") if low_albumin and _near_above_an_edge(case, drug, kidneys) else sure


def _near_above_an_edge(case: Case, drug: Drug, kidneys: Kidneys) -> bool:
    """Is the rounded clearance at most 15 mL/min above the least of its row? Per kg by the weight, or that of 75 kg."""
    place = kidneys.place(drug.limits)
    if place == len(drug.limits):
        return False
    grain = Fraction(1, 100) if drug.per_kg else Fraction(1)
    above = (kidneys.at_one / kidneys.creatinine / grain + Fraction(1, 2)) // 1 * grain - drug.edges[place]
    return above * (1 if not drug.per_kg else 75 if case.weight is None else case.weight) <= 15


def _worse(one: str, other: str) -> str:
    return max(one, other, key=RANK.index)


# --------------------------------------------------------------------------------------------------------------------
# The dose


def _by_weights(case: Case, drug: Drug, kidneys: Kidneys) -> Prediction:
    """By actual weight; where adjusted weight lands in another row, an order right by either is information."""
    actual = drug.answer(kidneys, case.form)
    found = _dose(case, drug, actual)
    if (below := _row_below(case, drug, kidneys)) and not _is_wrong(_dose(case, drug, below)):
        both = {r for answer in (actual, below) for column in _columns(case, drug, answer) for r in column}
        if _is_wrong(found):
            return Prediction({"renalDose": frozenset({"info"})}, frozenset(both))
        if any("warning" in indicators for indicators in found.cards.values()):  # whether it is wrong is open
            return Prediction({"renalDose": frozenset({"", "info"})})
    lighter = _adjusted_weight(case, drug)
    if lighter is None or case.dose is None:
        return found
    adjusted = drug.answer(_kidneys(case, drug, lighter), case.form)
    if adjusted.place == actual.place:
        return found
    if _is_wrong(found) and _is_wrong(_dose(case, drug, adjusted)):
        return found
    if _moves(case) == "rising":
        return Prediction()
    named = {regimen for answer in (actual, adjusted) for column in _columns(case, drug, answer) for regimen in column}
    return Prediction({"renalDose": frozenset({"info"})}, frozenset(named))


def _row_below(case: Case, drug: Drug, kidneys: Kidneys) -> Answer | None:
    """At low albumin the clearance reads too high: near above the edge of its row an order may follow the next one."""
    if case.dose is None or case.albumin is None or case.albumin >= 3:
        return None
    if not _near_above_an_edge(case, drug, kidneys):
        return None
    edge = drug.limits[kidneys.place(drug.limits)]
    below = drug.answer(Kidneys(edge - Fraction(1, 10**6), Fraction(1), ""), case.form)
    return below if below.kind == "doses" else None


def _is_wrong(prediction: Prediction) -> bool:
    return any(indicators <= {"warning", "critical"} for indicators in prediction.cards.values())


def _columns(case: Case, drug: Drug, answer: Answer) -> list[tuple[Regimen, ...]]:
    """The columns in question: of the phase said, or of both."""
    if drug.one_phase or case.phase == "treatment":
        return [answer.treatment]
    return [answer.treatment, answer.stable] if not case.phase else [answer.stable]


def _dose(case: Case, drug: Drug, answer: Answer) -> Prediction:
    """The card on the dose, of whichever topic."""
    if answer.kind == "ask":
        return _card("renalDose", "warning")
    if answer.kind == "not recommended":
        return replace(_card("contraindication", "critical"), removes=True)
    columns = _columns(case, drug, answer)
    if answer.kind == "guideline":
        verdicts = _verdicts(case, drug, answer, ()) if case.dose is not None else ()
        kept = any(not verdict.indicator for verdict in verdicts)
        far = bool(verdicts) and all(verdict.indicator == "critical" for verdict in verdicts)  # beyond all there is
        indicator = "info" if kept else "critical" if far else "warning"
        return _card("renalDose", indicator, (r for column in columns for r in column))
    if case.dose is None:
        every = list(dict.fromkeys(regimen for column in columns for regimen in column))
        offered = () if _moves(case) == "rising" else every  # while creatinine rises nothing is filled in
        return replace(_card("doseAdvice", "info", every), offered=tuple(frozenset({r}) for r in offered))
    if case.weight is None and drug.unit != _mg_unit(case.dose.unit):
        return _card("dataQuality", "warning")
    starting = answer.treatment if drug.starts_high and case.phase == "prophylaxis" else ()
    return _judged(case, drug, _verdicts(case, drug, answer, starting))


def _card(topic: str, indicator: str, named: Iterable[Regimen] = ()) -> Prediction:
    return Prediction({topic: frozenset({indicator})}, frozenset(named))


def _judged(case: Case, drug: Drug, verdicts: list[Verdict]) -> Prediction:
    wrong = [verdict for verdict in verdicts if verdict.indicator]
    rising = _moves(case) == "rising"  # then nothing is right or too small by a row
    if not wrong or (rising and len(wrong) < len(verdicts)):
        return Prediction()
    named = frozenset(next(iter(v.judges)) for v in verdicts if len(v.judges) == 1)
    if len(wrong) < len(verdicts):
        return _card("renalDose", "info", named)
    reach = min(verdict.farthest for verdict in wrong)
    nearer = [verdict for verdict in wrong if verdict.nearest <= reach]  # one, unless it is open which is nearer
    indicators = frozenset("" if rising and not verdict.too_much else verdict.indicator for verdict in nearer)
    ways = [v.judges for v in verdicts] + [frozenset({v.smaller}) for v in verdicts if v.smaller]
    offered = (frozenset(_in_form(regimen, case, drug) for regimen in way) for way in ways)
    cards = {"renalDose": indicators}
    slips = {_is_slip(case, drug, regimen) for verdict in nearer for regimen in verdict.judges}
    if True in slips and indicators != {""}:
        cards["dose"] = indicators | (frozenset({""}) if False in slips else frozenset())
    return Prediction(cards, named, tuple(dict.fromkeys(offered)))


def _is_slip(case: Case, drug: Drug, due: Regimen) -> bool:
    """Does nothing but a slip explain the order: no dose of the drug, but one of its sister, or of another unit?"""
    if case.dose is None:
        return False
    dose, unit = case.dose, _mg_unit(case.dose.unit)
    low, high = (_in_label_unit(amount, case, drug) for amount in (dose.low, dose.high))
    printed = dose.high * drug.strength if dose.unit == "tablet" else dose.high
    sister = [r for row in DRUGS[drug.sister].columns for r in row] if drug.sister else []
    if any((r.amount, r.unit) == (printed, unit) for r in sister):
        return not _is_own(high, drug)
    if unit != drug.unit and any(_near(printed, r.amount) for row in drug.columns for r in row):
        return True  # a figure of the label, in the wrong one of mg and mg/kg
    if not Fraction(10, 11) <= dose.weekly_times / due.times <= Fraction(11, 10):
        return False
    most, least = high * dose.weekly_times / due.weekly, low * dose.weekly_times / due.weekly
    if _is_own(high if most > Fraction(11, 10) else low, drug):
        return False
    if any(_near(most, Fraction(tens)) or _near(least, Fraction(1, tens)) for tens in (10, 100, 1000)):
        return True
    pounds = Fraction("2.2046")
    return unit != drug.unit and any(_near(most, off, Fraction(3, 100)) for off in (pounds, 1 / pounds))


def _is_own(amount: Fraction, drug: Drug) -> bool:
    return any(_near(amount, regimen.amount) for row in drug.columns for regimen in row)


def _near(amount: Fraction, wanted: Fraction, within: Fraction = Fraction(1, 10)) -> bool:
    return abs(amount / wanted - 1) <= within


def _verdicts(case: Case, drug: Drug, answer: Answer, starting: tuple[Regimen, ...]) -> list[Verdict]:
    if case.dose is None or (case.weight is None and drug.unit != _mg_unit(case.dose.unit)):
        return []
    low, high = (_in_label_unit(amount, case, drug) for amount in (case.dose.low, case.dose.high))
    at_once = high / answer.largest if drug.limited_at_once else Fraction(0)
    found = []
    for column in _columns(case, drug, answer):
        verdict = _against(low, high, at_once, case.dose.weekly_times, column)
        early = [_against(low, high, at_once, case.dose.weekly_times, (regimen,)) for regimen in starting]
        found.append(next((v for v in early if not v.indicator), verdict))
    return found


def _against(low: Fraction, high: Fraction, at_once: Fraction, times: Fraction, column: tuple[Regimen, ...]) -> Verdict:
    """A dose of `low` to `high`, so many times a week, against the regimens that stand side by side.

    `at_once`: as a share of the largest amount that may be given at once, 0 where none is.

    Those with the ordered interval judge as a range, from the smallest to the largest. Without one the amounts of all
    judge, and which regimen is offered is open.
    """
    same = [r for r in column if Fraction(10, 11) <= times / r.times <= Fraction(11, 10)]
    judging = same or list(column)
    least, most = min(r.weekly for r in judging), max(r.weekly for r in judging)
    too_much = high * times > most * Fraction(11, 10) or at_once > Fraction(11, 10)
    too_little = low * times < least * Fraction(9, 10)
    indicator = ""
    if too_much or too_little or not same:
        indicator = "critical" if max(high * times / most, at_once) >= Fraction(5, 4) else "warning"
    judges = judging
    if same and (too_much or too_little):
        judges = [r for r in same if r.weekly == (most if too_much else least)]
    elif same:
        judges = [min(same, key=lambda r: _distance(high * times, r))]
    distances = [max(_distance(amount * times, regimen), at_once) for amount in (low, high) for regimen in judges]
    smallest = min(same, key=lambda r: r.weekly) if same and too_much else None
    smaller = smallest if smallest not in judges else None
    return Verdict(indicator, too_much, frozenset(judges), min(distances), max(distances), smaller)


def _distance(weekly: Fraction, regimen: Regimen) -> Fraction:
    """How far off, as a factor of at least 1."""
    share = weekly / regimen.weekly
    return max(share, 1 / share)


def _mg_unit(unit: str) -> str:
    return "mg" if unit == "tablet" else unit


def _in_label_unit(amount: Fraction, case: Case, drug: Drug) -> Fraction:
    """Milligrams and mg/kg meet through the actual weight; a tablet has its strength."""
    if case.dose is None:
        raise ValueError("no dose")
    if case.dose.unit == "tablet":
        amount = amount * drug.strength
    unit = _mg_unit(case.dose.unit)
    if unit == drug.unit:
        return amount
    if case.weight is None:
        raise ValueError("no weight")
    return amount / case.weight if drug.unit == "mg/kg" else amount * case.weight


def _in_form(regimen: Regimen, case: Case, drug: Drug) -> Regimen:
    """A regimen as the order counts: mg to the nearest mg, whole tablets; a label in mg stays in mg."""
    unit = case.dose.unit if case.dose else drug.unit
    if unit == "tablet":
        return replace(regimen, amount=regimen.amount / drug.strength, unit="tablet")
    if unit == "mg" and regimen.unit == "mg/kg" and case.weight is not None:
        return replace(regimen, amount=(regimen.amount * case.weight + Fraction(1, 2)) // 1 * Fraction(1), unit="mg")
    return regimen
