"""Allergies, how a drug is given, pregnancy, immunosuppression (`mappings/rules/safety/`)."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cdshooks.medicine.rules.entries import Cite, Entry
from cdshooks.medicine.rules.monitoring import Severity
from cdshooks.model import Phase


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
    """What allergies forbid."""

    kind: Literal["allergy"]
    id: str
    title: str
    reviewed: str
    rows: tuple[AllergyRow, ...]
    cite: Cite

    @property
    def about(self) -> frozenset[str]:
        """The antivirals that it speaks of."""
        return frozenset(drug for row in self.rows for drug in row.orders)


class GivingAdvice(Entry):
    """What a card says; `summary` follows the name of the order."""

    topic: Literal["contraindication", "administration", "toxicity"]
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


class DaysByRoute(GivingAdvice):
    """An order by one of these routes that is meant to last, or has lasted by it, more than so many days."""

    routes: tuple[str, ...]
    days: int


class WithProblem(GivingAdvice):
    """An order for a patient with one of these problems, or with a result of at least this.

    `sodium_mg_per_ml`: the card says how much sodium a dose brings.
    """

    routes: tuple[str, ...]
    problems: dict[str, str]  # each with how a card calls it
    at_least: dict[str, Decimal] = Field(default_factory=dict)
    sodium_mg_per_ml: Decimal | None = None


class Enough(Entry):
    """How much of a companion goes with one dose of the drug, from this dose on: mL, or mg and a part of it at once."""

    from_mg_per_kg: Decimal | None = None
    ml: Decimal | None = None
    mg: Decimal | None = None
    mg_at_once: Decimal | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> "Enough":
        if (self.ml is None) == (self.mg is None) or (self.mg is None) != (self.mg_at_once is None):
            raise ValueError("give either `ml`, or `mg` with `mg_at_once`")
        return self


class Companion(GivingAdvice):
    """What has to be ordered beside the drug, or to run: one of `drugs`, not by one of the routes `not_by`.

    An order of less than `at_least_ml` does not count. Named in the order's own words (`mentioned`, a way of sig.yaml),
    or beside a problem of `less_with`, its absence is one step less grave; `by_words`: a volume that they name is
    enough. Of `enough`, for adults, the first that holds says how much is asked for.
    """

    name: str
    routes: tuple[str, ...]
    drugs: tuple[str, ...]
    not_by: tuple[str, ...] = ()
    at_least_ml: Decimal | None = None
    mentioned: str
    by_words: StrictBool = False
    less_with: tuple[str, ...] = ()
    adults_from_years: int
    enough: Annotated[tuple[Enough, ...], Field(min_length=1)]


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
    """The fastest rate. It may be exceeded by `rounding`, a share of it, stated or computed alike.

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
    days_by_route: tuple[DaysByRoute, ...] = ()
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


class HormoneTest(Entry):
    """Chorionic gonadotropin as a pregnancy test: what lies between the two limits says neither yes nor no."""

    analyte: str
    unit: str
    negative_below: Decimal
    positive_from: Decimal
    basis: str
    cite: Cite


class PregnancyRule(Entry):
    """Pregnancy, contraception, breast-feeding. An entry or result older than its `..._days` says nothing of today."""

    kind: Literal["pregnancy"]
    id: str
    title: str
    reviewed: str
    child_bearing: ChildBearing
    men_from_years: int
    test_days: int
    pregnancy_days: int
    breastfeeding_days: int
    hormone: HormoneTest
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
    act: Annotated[str, Field(min_length=1, max_length=50)]  # for the line of a card
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
