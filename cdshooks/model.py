"""The vocabulary: frozen values that each stage of the pipeline hands to the next.

`Chart` answers "what did the record say?" (codes, raw units, one shape for all FHIR releases).
`Facts` answers "what does it mean?" (drug, analyte, milligrams, kilograms).
`Finding` is what a check has to say about one order.

This module holds no behaviour beyond small derived values, knows no FHIR, no web and no file.
A value that may be absent is typed `X | Missing`, so that whoever uses it has to decide what absence means.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, Protocol

# --------------------------------------------------------------------------------------------------------------------
# Missing values


SUMMARY_LIMIT = 139  # characters in the line of a card: the standard asks for fewer than 140


class Why(StrEnum):
    """Why a value is missing. Only NONE_ON_FILE is a statement about the patient."""

    NOT_SENT = "not sent"
    NONE_ON_FILE = "none on file"
    FETCH_FAILED = "fetch failed"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class Missing:
    """An absent value with the reason it is absent; `detail` is a short phrase for the reader of a card."""

    why: Why
    detail: str = ""

    def __str__(self) -> str:
        """The reason in words."""
        return f"{self.why.value} ({self.detail})" if self.detail else self.why.value

    def of(self, name: str) -> str:
        """That this is missing, in a few words: "no weight on file", "weight not sent"."""
        told = {Why.NONE_ON_FILE: f"no {name} on file", Why.UNUSABLE: f"no usable {name}"}
        return told.get(self.why, f"{name} {self.why.value}")


# --------------------------------------------------------------------------------------------------------------------
# Chart: what the record said


@dataclass(frozen=True, slots=True)
class Coding:
    """One code of a concept, as sent."""

    system: str
    code: str
    display: str = ""


@dataclass(frozen=True, slots=True)
class Concept:
    """A coded concept: codes, text, or both."""

    codings: tuple[Coding, ...] = ()
    text: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Every human-readable name in it, most specific first, without repeats."""
        names = (self.text, *(coding.display for coding in self.codings))
        return tuple(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit as sent. `code` is the coded unit (UCUM when `ucum`), `unit` the printed one."""

    value: Decimal
    unit: str = ""
    code: str = ""
    comparator: str = ""
    ucum: bool = False


@dataclass(frozen=True, slots=True)
class DoseEntry:
    """One `doseAndRate` entry: `low`..`high`, equal for a plain quantity, None for an open end."""

    low: Quantity | None
    high: Quantity | None
    kind: str = ""  # "ordered", "calculated", "admin-amount", or ""


@dataclass(frozen=True, slots=True)
class Timing:
    """A FHIR timing as sent; every field may be absent."""

    frequency: Decimal | None = None
    frequency_max: Decimal | None = None
    period: Decimal | None = None
    period_max: Decimal | None = None
    period_unit: str = ""  # s, min, h, d, wk, mo, a
    count: Decimal | None = None
    day_of_week: tuple[str, ...] = ()
    time_of_day: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    code: Concept | None = None
    starts: str = ""  # boundsPeriod
    ends: str = ""
    lasts_days: Decimal | None = None  # boundsDuration
    each_lasts: tuple[Decimal, Decimal, str] | None = None  # one infusion: shortest, longest, unit as period_unit
    events: int = 0  # number of explicit event times


@dataclass(frozen=True, slots=True)
class Dosage:
    """One dosage instruction in one shape for all releases."""

    text: str = ""
    sequence: int | None = None
    timing: Timing = Timing()
    route: Concept | None = None
    as_needed: bool = False
    doses: tuple[DoseEntry, ...] = ()
    rate: Quantity | None = None  # of a range the fastest
    most: tuple[DoseEntry, Timing] | None = None  # how much it allows in which period
    rate_varies: bool = False  # it is the fastest of a range
    unreadable: tuple[str, ...] = ()  # field paths that could not be read
    further: tuple[str, ...] = ()  # what else it says in words: additional and patient instructions, method, site


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One ingredient of the Medication ordered: so much (`amount`) of it in so much (`per`) of the whole."""

    item: Concept
    amount: Quantity | None = None
    per: Quantity | None = None  # without a unit, or None where an amount is given: in one piece


class ChartOrder(Protocol):
    """A medication order as sent: a draft to be judged, another draft, or an order on the medication list.

    Its fields are read when somebody asks: most orders of a medication list are never looked into.
    """

    @property
    def ref(self) -> str:
        """`MedicationRequest/12`, or "" without an id."""

    @property
    def place(self) -> str:
        """Where it stands in the request: "draft 1", "medication list 3"."""

    @property
    def status(self) -> str:
        """Status code, lower case, "" if none."""

    @property
    def intent(self) -> str:
        """Intent code, "do-not-perform", or "reported" for a plan that a report says is carried out."""

    @property
    def subject(self) -> str:
        """Bare patient id, "" if none is given, "?" for a subject that is no patient."""

    @property
    def drug(self) -> Concept:
        """What is ordered: codes and names of the order and of the Medication it points to."""

    @property
    def form(self) -> Concept | None:
        """Dose form of the Medication it points to."""

    @property
    def ingredients(self) -> tuple[Ingredient, ...]:
        """What the Medication it points to is made of; infusion mixtures name their drug here alone."""

    @property
    def dosages(self) -> tuple[Dosage, ...]:
        """The dosage instructions."""

    @property
    def reasons(self) -> tuple[Concept, ...]:
        """What it is for."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Free text."""

    @property
    def categories(self) -> tuple[Concept, ...]:
        """Categories."""

    @property
    def authored(self) -> str:
        """FHIR date text."""

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Fields that were sent and make no sense; for the dosage see there."""

    @property
    def replaces(self) -> str:
        """`MedicationRequest/12` of the order that this one takes the place of, "" if none is named."""

    @property
    def raw(self) -> Mapping[str, Any]:
        """The resource itself, never changed."""


@dataclass(frozen=True, slots=True)
class ChartComponent:
    """One component of an Observation: a result of its own beside the others."""

    code: Concept
    value: Quantity | str | Concept | None
    interpretation: tuple[Concept, ...] = ()
    absent_reason: str = ""


class ChartObservation(Protocol):
    """An Observation as sent; its fields are read when somebody asks. Dates are FHIR date texts."""

    @property
    def ref(self) -> str:
        """`Observation/7`, or "" without an id."""

    @property
    def status(self) -> str:
        """Status code, lower case, "" if none."""

    @property
    def subject(self) -> str:
        """As for an order."""

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """(system, code) of every coding."""

    @property
    def name(self) -> str:
        """What was measured, in the words of the sender, else ""."""

    @property
    def value(self) -> Quantity | str | Concept | None:
        """The result."""

    @property
    def interpretation(self) -> tuple[Concept, ...]:
        """How the laboratory grades the result."""

    @property
    def effective(self) -> str:
        """When it was true of the patient, else ""."""

    @property
    def issued(self) -> str:
        """When it was released, else ""."""

    @property
    def specimen(self) -> str:
        """What was taken, in words, else ""."""

    @property
    def laboratory(self) -> str:
        """Who measured it, else ""; people do not count."""

    @property
    def absent_reason(self) -> str:
        """Why there is no value, in words."""

    @property
    def code(self) -> Concept:
        """What was looked at, with displays and text."""

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Fields that were sent and make no sense."""

    @property
    def components(self) -> tuple[ChartComponent, ...]:
        """The components."""

    @property
    def parts(self) -> tuple["ChartObservation", ...]:
        """The components as results of their own, with what the whole says of patient, time and state."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Free text."""

    @property
    def raw(self) -> Mapping[str, Any]:
        """The resource itself, never changed."""


@dataclass(frozen=True, slots=True)
class ChartEvent:
    """A Condition, Procedure, AllergyIntolerance or DiagnosticReport: what, in which state, since when."""

    ref: str
    resource_type: str
    code: Concept
    status: str  # clinical status of a condition or allergy, status of a procedure or report
    verification: str
    subject: str
    on: str  # FHIR date text, "" if none
    ended: str = ""
    conclusion: str = ""
    kind: str = ""  # of an allergy: "allergy" or "intolerance"
    criticality: str = ""  # of an allergy: "low", "high", ...
    severities: tuple[str, ...] = ()  # of its reactions: "mild", "moderate", "severe"
    issued: str = ""  # of a report
    texts: tuple[
        str, ...
    ] = ()  # of a report, beside its conclusion: coded conclusions, readable attachments, result names
    closed: tuple[str, ...] = ()  # content types of its attachments that are no text
    observations: tuple[ChartObservation, ...] = ()  # results inside the report
    results: tuple[str, ...] = ()  # references to results beside it


@dataclass(frozen=True, slots=True)
class ChartPatient:
    """Who the call is about, as sent."""

    ref: str
    birth_date: str
    gender: str
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Unused:
    """Something sent that was not used: which, what it is in words, why, and whether it has to be visible on a card."""

    ref: str
    what: str
    why: str
    kind: (
        str  # unreadable, nameless, other patient, withdrawn, future, unit, implausible, undated, bound, imprecise ...
    )
    analyte: str = ""
    on: str = ""  # ISO date of a result, "" if unknown

    @property
    def said(self) -> str:
        """A sentence that names the resource."""
        named = "" if not self.ref or self.ref in self.what else f" ({self.ref})"
        return f"{self.what[:1].upper()}{self.what[1:]}{named} {self.why}."


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything of one call, in one shape for all FHIR releases, still coded."""

    patient_id: str
    hook: str
    release: str
    patient: ChartPatient | Missing
    judged: tuple[ChartOrder, ...]
    drafts: tuple[ChartOrder, ...]  # the other drafts: context only
    medications: tuple[ChartOrder, ...] | Missing
    observations: tuple[ChartObservation, ...]
    groups: Mapping[str, Missing | None]  # prefetch group -> None when data came
    events: tuple[ChartEvent, ...]
    event_gaps: Mapping[str, Missing | None]  # conditions, procedures, allergies, reports
    incomplete: frozenset[str]  # keys whose Bundle had a next page
    unused: tuple[Unused, ...]
    selection_lost: bool = False  # at order-select: the selections name nothing that was sent


# --------------------------------------------------------------------------------------------------------------------
# Facts: what it means


class Phase(StrEnum):
    """What an order is for. Pre-emptive therapy is dosed as treatment; secondary prophylaxis as maintenance."""

    TREATMENT = "treatment"
    MAINTENANCE = "maintenance"
    PROPHYLAXIS = "prophylaxis"


@dataclass(frozen=True, slots=True)
class Intent:
    """The phase of an order: `basis` is "said", "assumed" or "unknown"; `because` says why, in words."""

    phase: Phase | None
    basis: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class Regimen:
    """A dose and how often, in one unit. The result of reading an order, and what a label table expects.

    `low`..`high` is the dose of one administration in `unit` ("mg", "mg/kg", "mg/m2", "mL" when nothing converts);
    equal but for an ordered range. `per_day` is administrations per day on average (`Decimal`, exact for
    whole intervals), None when tied to events alone ("after each dialysis"); `per_day_high` differs for a range.
    """

    low: Decimal
    high: Decimal
    unit: str
    per_day: Decimal | None
    per_day_high: Decimal | None = None
    after_dialysis: bool = False
    as_needed: bool = False
    wording: str = ""  # how a clinician writes it: "450 mg every 12 h"
    read_from: tuple[str, ...] = ()  # how each part was read: "dose: 2 tablets x 450 mg (strength from RxNorm 313566)"
    sure: bool = True  # False when read from free text or by an assumption that is named in read_from
    later: "tuple[Step, ...]" = ()  # what follows this, in order
    counted_in: str = ""  # what the order counts in: mg, mg/kg, mL, tablet, capsule, pill, vial; "" for no order
    as_it_stands: bool = True  # nothing had to be interpreted: dose and frequency are structured, the dose in `unit`
    doses: int | None = None  # how many it is for; None where it does not say
    at: tuple[int, ...] = (0,)  # places of the dosage instructions that give it
    each: Decimal | None = None  # mg in one of what is counted, where that had to be known
    beside: tuple[Decimal, Decimal] | None = None  # of a dose per kg the mg that the order states as well


@dataclass(frozen=True, slots=True)
class Unread:
    """A dose that was sent and could not be read; `reason` completes "could not read this dose: ..."."""

    reason: str
    either: tuple[Regimen, ...] = ()  # what fields and text say, where each is complete and they contradict each other


@dataclass(frozen=True, slots=True)
class Step:
    """A later step of an order, with the words of its instruction."""

    regimen: Regimen | Unread
    said: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """What is known of the product ordered: `strength_mg` per tablet/capsule/vial, or `mg_per_ml` for a liquid.

    A strength counts as stated unless it is `assumed`: the only one sold, where nothing says another.
    """

    drug: str
    recognised_by: str  # "RxNorm 313566", "name \"Valcyte\" in text"
    form: str = ""  # tablet, capsule, solution, injection, gel, implant ... "" unknown
    strength_mg: Decimal | None = None
    mg_per_ml: Decimal | None = None
    systemic: bool = True
    another: str = ""  # the code decides, but a name says another CMV antiviral: which, and where
    beside: str = ""  # the code decides, but a name holds another word where a second substance stands
    assumed: bool = False
    unclear: str = ""  # why a strength is not known although something is said of it


@dataclass(frozen=True, slots=True)
class Order:
    """A CMV antiviral order, read. `regimen` is None when no dose was given yet."""

    chart: ChartOrder
    label: str  # how the order is named on a card
    product: Product
    route: str  # "oral", "intravenous", "local", ... "" unknown
    systemic: bool
    regimen: Regimen | Unread | None
    intent: Intent
    draft: bool  # False: already active (patient-view, medication-verify)
    route_assumed: bool = False  # no route given: the product's usual one
    indication: str = "cmv"
    unknown_reason: str = ""  # a reason in codes alone that no file here knows, where the dose hangs on the disease
    concepts: frozenset[str] = frozenset()  # what its reasons mean
    dialysis: tuple[str, str] = ("", "")  # the kind of dialysis that it speaks of, and in which words
    said: tuple[str, ...] = ()  # its free text: reasons, dosage text, notes
    starts: date | None = None
    ends: date | None = None
    finished: bool = False  # completed, stopped or on hold: on file, not running
    doses_before: int | None = 0  # of a later step: by the steps before it; None where they do not say how many

    def with_intent(self, intent: Intent) -> "Order":
        """The same order with another intent."""
        return replace(self, intent=intent)


@dataclass(frozen=True, slots=True)
class Lab:
    """One usable result in the canonical unit of its analyte."""

    analyte: str
    value: Decimal
    unit: str
    comparator: str
    on: date
    at: datetime | None
    ref: str
    original: str  # as sent: "168 umol/L"
    remark: str = ""  # "preliminary", "stated by the patient"
    specimen: str = ""  # in words, where it is given
    laboratory: str = ""
    rivals: tuple["Lab", ...] = ()  # results that are neither older nor newer and say something else

    def reaches(self, limit: Decimal) -> bool | None:
        """Is it at least so much? None when it is a bound ("<150", ">0.3") that leaves it open."""
        if ">" in self.comparator:
            return True if self.value >= limit else None
        if "<" in self.comparator:
            return False if self.value < limit or (self.comparator == "<" and self.value == limit) else None
        return self.value >= limit


@dataclass(frozen=True, slots=True)
class Problem:
    """A condition, procedure or report that maps to a concept of mappings/codes/conditions.csv (or a name list).

    Dialysis may also stand there as a status, an Observation.
    """

    concept: str
    text: str
    since: date | None
    ref: str
    kind: str  # "diagnosis", "procedure", "status", ...
    resource_type: str = "Condition"


@dataclass(frozen=True, slots=True)
class Said:
    """A usable result in words: `answer` is what the words mean ("positive", "negative"), "" when that is not known."""

    test: str
    answer: str
    words: str  # as sent, shortened
    on: date
    ref: str
    remark: str = ""
    rivals: tuple["Said", ...] = ()  # as for a `Lab`


class Words(Protocol):
    """The results of one test that is answered in words, newest first."""

    def newest(self) -> Said | Missing:
        """The newest usable result, or why there is none."""

    @property
    def looked_at(self) -> Said | None:
        """As for `Results`."""

    def otherwise(self) -> "Words":
        """As for `Results`."""

    @property
    def unused(self) -> tuple[Unused, ...]:
        """What was not used: all of it when nothing is usable, else what stands before the newest."""


class OrderState(StrEnum):
    """Whether a medication is being taken."""

    DRAFT = "draft"
    RUNNING = "running"
    PLANNED = "planned"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Prescription:
    """An order of any drug that is known here: one entry for each drug in it.

    `systemic` is False for a form or a route that acts where it is put. `ends` is None when the end is not known.
    """

    drug: str
    name: str  # how the record names it
    route: str  # "oral", "intravenous", ... "" unknown
    systemic: bool
    state: OrderState
    starts: date | None
    ends: date | None
    order: ChartOrder


@dataclass(frozen=True, slots=True)
class Allergy:
    """An allergy or intolerance on record: the drugs (keys, CMV antivirals too) and concepts that it names.

    `mild` when the record says so (low criticality, no severe reaction), `intolerance` when it says that it is none of
    the immune system; both False when it does not say.
    """

    drugs: frozenset[str]
    concepts: frozenset[str]
    text: str
    ref: str
    mild: bool = False
    intolerance: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one viral gene, named as the data name it: A594V, E22*, del595-603; else in words ("codon 594")."""

    gene: str
    change: str
    codons: tuple[int, int]  # first and last
    kind: str  # substitution, stop, deletion, insertion, frameshift, codon, unnamed
    written: str
    mixture: str = ""  # "mixture with wild type", "mixture"
    share: str = ""  # "23 %"
    inferred: bool = False  # the gene is not stated and follows from the name

    @property
    def name(self) -> str:
        """Gene and change."""
        return f"{self.gene} {self.change}"


@dataclass(frozen=True, slots=True)
class Call:
    """What a laboratory says of a drug: resistant, possible, susceptible, undetermined; drug "" when none is named."""

    drug: str
    says: str
    written: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """The codons of a gene that were read."""

    gene: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What the text of a resistance result says. A gene "" means that none is named."""

    changes: tuple[Change, ...] = ()
    absent: tuple[Change, ...] = ()  # named, and said not to be there
    calls: tuple[Call, ...] = ()
    clear: tuple[str, ...] = ()  # genes in which nothing was found
    failed: tuple[tuple[str, str], ...] = ()  # (gene, words): not determined
    covered: tuple[Coverage, ...] = ()
    unread: tuple[str, ...] = ()  # looks like a finding, with the reason why it is none


@dataclass(frozen=True, slots=True)
class Genotype:
    """One resistance result of this patient, read. `genes` and `drugs` are what its code asks for, () for no limit."""

    ref: str
    what: str  # how a card names it
    on: date | None
    remark: str  # "preliminary", "undated"
    reading: Reading
    genes: tuple[str, ...] = ()
    drugs: tuple[str, ...] = ()

    @property
    def when(self) -> str:
        """The date, or that there is none."""
        return self.on.isoformat() if self.on else "undated"


@dataclass(frozen=True, slots=True)
class Serostatus:
    """CMV serostatus of donor and recipient: "positive", "negative" or "" (not known); `because` says from where."""

    donor: str = ""
    recipient: str = ""
    because: tuple[str, ...] = ()

    @property
    def pair(self) -> str:
        """As it is written: "D+/R-", "R+" without a known donor, "" when nothing is known."""
        signs = {"positive": "+", "negative": "-"}
        parts = [f"{who}{signs[state]}" for who, state in (("D", self.donor), ("R", self.recipient)) if state]
        return "/".join(parts)


class Results(Protocol):
    """The results of one analyte, newest first, looked at only as far as a check needs."""

    def newest(self) -> Lab | Missing:
        """The newest usable result, or why there is none."""

    def since(self, day: date) -> tuple[Lab, ...]:
        """The usable results from `day` on, newest first."""

    @property
    def unused(self) -> tuple[Unused, ...]:
        """What was not used: all of it when nothing is usable, else at least what stands before the newest."""

    @property
    def met(self) -> tuple[Unused, ...]:
        """What was not used of the results that some check has looked at so far; looks at no further one."""

    @property
    def looked_at(self) -> Lab | None:
        """The newest usable result, where some check has looked at it; looks at no further one."""

    def otherwise(self) -> "Results":
        """The same results; of those that contradict each other the more favourable one counts."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the chart means: named, in known units, of this patient, usable."""

    patient_id: str
    hook: str
    today: date
    born: date | Missing
    sex: str | Missing  # "female" or "male"
    orders: tuple[Order, ...]  # to be judged
    context: tuple[Order, ...]  # other CMV orders: drafts and active ones
    results: Mapping[str, Results]  # by analyte
    problems: tuple[Problem, ...]
    problem_gaps: Mapping[str, Missing | None]
    incomplete: frozenset[str]
    unused: tuple[Unused, ...]
    born_by: date | None = (
        None  # the last day on which the patient may have been born, where only year or month is known
    )
    medicines: Mapping[str, str] = field(default_factory=dict)  # systemic drugs drafted or running: key -> their name
    on_hold: Mapping[str, str] = field(default_factory=dict)  # the same of drugs whose order is on hold
    medicines_gap: Missing | None = None  # why the medication list is not known
    prescriptions: tuple[Prescription, ...] = ()  # every known drug of the drafts and of the medication list
    history: tuple[Order, ...] = ()  # orders of CMV antivirals that are over or on hold
    allergies: tuple[Allergy, ...] = ()
    words: Mapping[str, Words] = field(default_factory=dict)  # by test
    genotypes: tuple[Genotype, ...] = ()  # resistance results, newest first
    genotypes_unused: tuple[Unused, ...] = ()
    serostatus: Serostatus = Serostatus()
    reported: Mapping[str, date] = field(default_factory=dict)  # tests that a report names, with its latest day
    refused: tuple[tuple[ChartOrder, str, str, str], ...] = ()  # (order, drug, what it is called, why not judged)
    not_for_cmv: tuple[tuple[Prescription, Intent], ...] = ()  # judged orders of other drugs whose words treat CMV

    def looked_at(self) -> tuple[Lab | Said, ...]:
        """The newest results that some check has looked at."""
        numbers = (results.looked_at for results in self.results.values())
        words = (results.looked_at for results in self.words.values())
        return tuple(found for found in (*numbers, *words) if found)

    def otherwise(self) -> "Facts":
        """The same facts, read more favourably where results contradict each other."""
        return replace(
            self,
            results={key: results.otherwise() for key, results in self.results.items()},
            words={key: words.otherwise() for key, words in self.words.items()},
        )

    def newest(self, analyte: str) -> Lab | Missing:
        """The newest usable result of an analyte, or why there is none."""
        return self.results[analyte].newest()

    def said(self, test: str) -> Said | Missing:
        """The newest usable result of a test that is answered in words, or why there is none."""
        return self.words[test].newest()

    @property
    def age(self) -> int | None:
        """Completed years; a birthday counts from its day on. None without a date of birth."""
        return None if isinstance(self.born, Missing) else self._age_of(self.born)

    @property
    def ages(self) -> tuple[int, ...]:
        """Every age that the patient may have, the oldest first; several where only year or month of birth is known."""
        if isinstance(self.born, Missing):
            return ()
        youngest = self._age_of(self.born_by or self.born)
        return tuple(range(self._age_of(self.born), youngest - 1, -1))

    def _age_of(self, born: date) -> int:
        before_birthday = (self.today.month, self.today.day) < (born.month, born.day)
        return self.today.year - born.year - before_birthday

    @property
    def age_told(self) -> tuple[int, str]:
        """The age as it is told, with its unit: days in the first month, months below two years, then years."""
        if isinstance(self.born, Missing) or self.age is None:
            return 0, ""
        if self.age >= 2:
            return self.age, "years"
        months = (self.today.year - self.born.year) * 12 + self.today.month - self.born.month
        months -= self.today.day < self.born.day
        count, unit = (months, "month") if months else ((self.today - self.born).days, "day")
        return count, unit if count == 1 else f"{unit}s"

    def is_younger_than(self, years: int) -> bool:
        """Is the patient known to be younger?"""
        return self.age is not None and self.age < years


# --------------------------------------------------------------------------------------------------------------------
# Findings: what a check says


class Indicator(IntEnum):
    """Card indicator; the order is the severity."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a figure comes from."""

    source: str  # title
    section: str
    version: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """One patient fact behind a finding, so that the arithmetic can be redone by hand."""

    name: str
    value: str
    unit: str = ""
    effective: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A concrete order that would mend the draft.

    `dose` in `unit` (as the order counts: mg, mg/kg, {tbl}, mL), `frequency` times per `period` `period_unit`.
    """

    label: str
    dose: Decimal
    unit: str
    frequency: int
    period: Decimal
    period_unit: str
    after_dialysis: bool
    wording: str
    same_timing: bool = False  # only the dose changes
    sure: bool = True  # False when the finding itself is in doubt: never preselected
    once: bool = False  # a single dose stays one: of `frequency` and `period` nothing is written
    times: Decimal | None = None  # administrations per day as a share of the ordered ones, None without these
    at: tuple[int, ...] = (0,)  # places of the dosage instructions that change
    doses: int | None = None  # how many, where the regimen is for so many alone
    texts: Mapping[str, str] = field(default_factory=dict, hash=False)  # what restates the old dose, anew; "" to drop


@dataclass(frozen=True, slots=True)
class LabRequest:
    """A laboratory test to order: LOINC code and name."""

    loinc: str
    name: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says about one order (or, with `order` None, about the call). Cannot exist without a rule."""

    topic: str
    indicator: Indicator
    rules: tuple[str, ...]
    order: ChartOrder | None
    drug: str
    summary: str  # one line, names the order; under 140 characters by wording
    because: tuple[str, ...]  # the "why" lines of the detail
    citations: tuple[Citation, ...]
    intent: Intent | None = None
    inputs: tuple[Input, ...] = ()
    ordered: str = ""
    expected: str = ""
    proposals: tuple[Proposal, ...] = ()
    withdraw: str = ""  # label of a "delete the draft" suggestion, "" for none
    mendable: bool = False  # what is absent can be ordered: to withdraw the draft is not the only way out
    lab_requests: tuple[LabRequest, ...] = ()
