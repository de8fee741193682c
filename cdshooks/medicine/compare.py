"""An ordered regimen against an expected one: how much too much or too little, and whether the interval differs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from cdshooks.medicine.rules.reading import JudgementRule
from cdshooks.medicine.rules.renal_dose import TableRegimen
from cdshooks.model import Lab, Missing, Phase, Regimen


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ordered against one expected regimen. Ratios are amounts per day (per dose when no frequency is known).

    `largest` is the most that the label gives at once, where a single dose has a limit of its own; `at_once` is the
    ordered dose as a share of it.
    """

    ordered: Regimen  # in the unit of `expected`
    expected: TableRegimen
    phase: Phase
    low: Decimal
    high: Decimal
    interval_differs: bool
    tolerance: Decimal
    within: bool = False  # between two regimens of the column: "90 to 120 mg/kg"
    smaller: TableRegimen | None = None  # the smallest of the column in this interval, where a larger one judges
    largest: Decimal | None = None
    at_once: Decimal = Decimal(0)

    @property
    def excess(self) -> Decimal:
        """How much it is at its upper end, by the day or by the single dose: whichever is more."""
        return max(self.high, self.at_once)

    @property
    def too_much(self) -> bool:
        """At its upper end, beyond the tolerance."""
        return self.excess > 1 + self.tolerance

    @property
    def too_much_at_once(self) -> bool:
        """Is it the single dose that is too much?"""
        return self.at_once > 1 + self.tolerance

    @property
    def tenfold(self) -> bool:
        """Ten times what is expected or more, within the tolerance?"""
        return self.excess >= _TENFOLD * (1 - self.tolerance)

    @property
    def too_little(self) -> bool:
        """At its lower end, beyond the tolerance."""
        return self.low < 1 - self.tolerance

    @property
    def misfit(self) -> str:
        """What is wrong, as the summary of a card says it."""
        if self.too_much:
            return "is too much" if self.high > 1 + self.tolerance else "is too much at once"
        return "is too little" if self.too_little else "has the wrong interval"

    @property
    def fits(self) -> bool:
        """Right in amount and interval."""
        return self.within or not (self.too_much or self.too_little or self.interval_differs)

    @property
    def choices(self) -> tuple[TableRegimen, ...]:
        """What would be right in this interval, the smaller one first."""
        return (self.smaller, self.expected) if self.smaller else (self.expected,)

    @property
    def wording(self) -> str:
        """What would be right, in words."""
        return " or ".join(choice.wording for choice in self.choices)

    @property
    def distance(self) -> Decimal:
        """How far off, as a factor of at least 1."""
        return max(self.excess, 1 / self.high, self.low, 1 / self.low)


def in_table_unit(ordered: Regimen, unit: str, weight: Lab | Missing) -> Regimen | None:
    """The ordered regimen in the table's unit, with the actual weight where mg and mg/kg meet; None if they cannot."""
    if ordered.unit == unit:
        return ordered
    if {ordered.unit, unit} != {"mg", "mg/kg"} or not isinstance(weight, Lab):
        return None
    if unit == "mg/kg":
        return replace(ordered, low=ordered.low / weight.value, high=ordered.high / weight.value, unit=unit)
    return replace(ordered, low=ordered.low * weight.value, high=ordered.high * weight.value, unit=unit)


def compare(
    ordered: Regimen, expected: TableRegimen, phase: Phase, tolerance: Decimal, largest: Decimal | None = None
) -> Comparison:
    """Both regimens, and the largest single dose if that has a limit, in one unit.

    Without an ordered frequency only the dose is compared.
    """
    dose = expected.dose[0]
    low, high = ordered.low / dose, ordered.high / dose
    differs = False
    if ordered.per_day is not None:
        most = ordered.per_day_high or ordered.per_day
        low *= ordered.per_day / expected.per_day
        high *= most / expected.per_day
        differs = max(most / expected.per_day, expected.per_day / ordered.per_day) > 1 + tolerance
    at_once = ordered.high / largest if largest else Decimal(0)
    return Comparison(ordered, expected, phase, low, high, differs, tolerance, largest=largest, at_once=at_once)


def nearest(comparisons: Sequence[Comparison]) -> Comparison:
    """The comparison that judges. Several regimens of a column are a range: too much is what exceeds the largest.

    Regimens with the ordered interval judge before others; between them all is right, among others the interval is not.
    """
    right = [c for c in comparisons if c.fits]
    same = [c for c in comparisons if not c.interval_differs]
    among = [c for c in same or comparisons if not c.expected.alternative] or same
    most, least = min(among, key=lambda c: (c.excess, c.high)), max(among, key=lambda c: c.low)
    if right:
        return right[0]
    if most.too_much:
        return most
    if least.too_little:
        return replace(least, high=min(least.high, Decimal(1)))  # its upper end was judged by the largest
    between = min(among, key=lambda c: c.distance)
    return replace(between, within=True) if same else replace(between, low=Decimal(1), high=Decimal(1))


def single_dose_words(c: Comparison) -> str:
    """What is said of a single dose that is too much."""
    largest = f"{c.largest.normalize():f} {c.expected.dose[1]}" if c.largest else ""
    return f"its single dose is {c.at_once * 100:.0f} % of the largest that the label gives at once ({largest})"


@dataclass(frozen=True, slots=True)
class Slip:
    """What a misfit looks like: for the summary of a card, and in a sentence.

    `sure`: the order is no dose of the drug at all, so that nothing but a slip explains it. `of_a_day`: what it looks
    like is the amount of a day as one dose.
    """

    summary: str
    says: str
    sure: bool = True
    of_a_day: bool = False


def likely_slip(
    ordered: Regimen, c: Comparison, judgement: JudgementRule, known: frozenset[tuple[Decimal, str]] = frozenset()
) -> Slip | None:
    """What a misfit looks like: the decimal point, mg for mg/kg, pounds for kg, a day's amount as one dose; or None.

    `known` are all doses of the drug. An order that gives one of them may be meant for other kidneys, and is no sure
    slip.
    """
    dose, unit = c.expected.dose
    pounds = judgement.pounds_per_kg
    given = c.ordered.high if c.too_much else c.ordered.low

    def about(value: Decimal, wanted: Decimal, near: Decimal = judgement.tolerance) -> bool:
        return abs(value / wanted - 1) <= near

    sure = not c.interval_differs and not any(of == unit and about(given, other) for other, of in known)
    figures = sorted(figure for figure, of in {*known, (dose, unit)} if of == unit and about(ordered.high, figure))
    if ordered.unit != unit and figures:
        meant = min(figures, key=lambda figure: abs(ordered.high - figure))
        is_meant = f"is {meant.normalize():f} {unit} meant, not {ordered.unit}?"
        return Slip(f": {is_meant}", f"The figure is the label's in {unit}: {is_meant}")
    for power, factor in _POWERS:
        if about(c.excess, factor) or about(c.low, 1 / factor):
            times = f"{power} times" if c.excess > 1 else f"a {power.removeprefix('a ')}th of"
            check = "check the decimal point" if factor <= _TENFOLD else "check decimal point and unit"
            return Slip(
                f" is {times} what is expected, {check}", f"The amount is off by a factor of {power}: {check}.", sure
            )
    if ordered.unit != unit and any(about(c.high, off, judgement.pounds_within) for off in (pounds, 1 / pounds)):
        why = "off by the factor between pounds and kilograms"
        return Slip(f": {why}, check the weight", f"The amount is {why}: check the weight it was computed with.", sure)
    same_interval = not c.interval_differs and c.expected.per_day > 1
    if same_interval and about(c.high, c.expected.per_day):
        says = "The dose equals the amount of a whole day: is it meant per day, not per dose?"
        return Slip(": a whole day's amount as one dose?", says, sure=False, of_a_day=True)
    return None


_TENFOLD = Decimal(10)
_POWERS = (("ten", _TENFOLD), ("a hundred", Decimal(100)), ("a thousand", Decimal(1000)))
