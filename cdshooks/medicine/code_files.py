"""The files behind `codes.py`: mappings/codes/*.csv and the three lists that explain them, read and checked.

A wrong file raises `KnowledgeError` that names every problem with file, place and remedy.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.resources.abc import Traversable
from io import StringIO
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.yaml_file import read_yaml

Rows = list[dict[str, str]]

# --------------------------------------------------------------------------------------------------------------------
# Models of the files


class Entry(BaseModel):
    """Base of every entry of a file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Group = Literal["kidney", "counts", "electrolytes", "virology", "levels", "pregnancy"]


class Plausible(Entry):
    """Values outside low..high (canonical unit) are not used; `basis` says whose figure it is."""

    low: Decimal
    high: Decimal
    basis: Annotated[str, Field(min_length=1)]
    adult_low: Decimal | None = None


class Contradictory(Entry):
    """When two results of one moment contradict each other, and which of the two then counts (canonical unit)."""

    factor: Annotated[Decimal, Field(gt=1)]
    by: Annotated[Decimal, Field(gt=0)]
    worse: Literal["low", "high"]
    one_assay: StrictBool = False  # results of different specimens or laboratories are never compared


class LabOrder(Entry):
    """How a test is ordered."""

    loinc: str
    name: str


class NameWords(Entry):
    """Words of a name: one of each group stands in it, and none of `never`."""

    groups: tuple[tuple[str, ...], ...]
    never: tuple[str, ...]


class AnalyteEntry(Entry):
    """One analyte of analytes.yaml; the keys are explained there."""

    name: str
    unit: str
    group: Group
    plausible: Plausible
    contradictory: Contradictory
    concept: str = ""
    kinds: frozenset[str] = frozenset()
    units: str = ""
    order: LabOrder | None = None
    excluded: dict[str, str] = {}
    remarks: dict[str, str] = {}
    grades: dict[str, Decimal] = {}
    named: tuple[str, ...] = ()
    named_like: NameWords | None = None
    beside: tuple[str, ...] = ()
    not_from: tuple[str, ...] = ()
    always_from: tuple[str, ...] = ()
    needs_exact: StrictBool = False
    words_are_results: StrictBool = False


class TestEntry(Entry):
    """One test without a number. `answers` are the words in which each answer may come.

    `named` are words by which it is known where no code of ours names it.
    """

    name: str
    group: Group
    order: LabOrder | None = None
    answers: dict[str, tuple[str, ...]] = {}
    named: tuple[str, ...] = ()


class AnalytesFile(Entry):
    """mappings/analytes.yaml."""

    analytes: dict[str, AnalyteEntry]
    tests: dict[str, TestEntry]


class FormWords(Entry):
    """Words that tell a dose form."""

    form: str
    systemic: StrictBool
    words: tuple[str, ...]


class DrugForm(Entry):
    """A form in which a drug exists: its route, and its strengths per unit (mg) or per mL."""

    route: str
    strengths_mg: frozenset[Decimal] = frozenset()
    mg_per_ml: frozenset[Decimal] = frozenset()
    sold: StrictBool = True  # False: met in drug lists, no longer on the market
    note: str = ""


class Drug(Entry):
    """A CMV antiviral of drugs.yaml."""

    display: str
    names: tuple[str, ...]
    non_systemic_names: tuple[str, ...] = ()
    prodrug_of: str = ""  # the antiviral of this list that it turns into
    salts_mg: dict[Decimal, Decimal] = {}  # mg of a salt in one piece -> mg of the drug as doses count it
    forms: dict[str, DrugForm]

    @property
    def default_route(self) -> dict[str, str]:
        """Route by form; for the unknown form "" only where all forms on the market share one route."""
        routes = {form: entry.route for form, entry in self.forms.items()}
        distinct = {entry.route for entry in self.forms.values() if entry.sold}
        return routes | {"": distinct.pop()} if len(distinct) == 1 else routes

    def is_sold(self, form: str, *, strength_mg: Decimal) -> bool:
        """Does the drug exist in this strength, in this form (in any, when the form is "")?"""
        forms = [self.forms[form]] if form in self.forms else list(self.forms.values()) if not form else []
        return any(strength_mg in entry.strengths_mg for entry in forms)


class DrugsFile(Entry):
    """mappings/drugs.yaml."""

    forms: tuple[FormWords, ...]
    not_a_product: tuple[str, ...]
    diluents: frozenset[str]
    drugs: dict[str, Drug]


class PhraseEntry(Entry):
    """Phrases that name one concept."""

    concept: str
    kind: str
    phrases: tuple[str, ...]
    modality: str = ""
    past: Literal["", "same"] = ""
    outright: bool = False
    not_with: tuple[str, ...] = ()


class ConditionsFile(Entry):
    """mappings/conditions.yaml."""

    synonyms: dict[str, tuple[str, ...]]
    breaks: tuple[str, ...]
    reach: Annotated[int, Field(gt=0)]
    denied_before: tuple[str, ...]
    denied_just_before: tuple[str, ...]
    denied_after: tuple[str, ...]
    denied_next: tuple[str, ...]
    past_before: tuple[str, ...]
    past_next: tuple[str, ...]
    near: dict[str, tuple[str, ...]]
    confirms: tuple[str, ...]
    phrases: tuple[PhraseEntry, ...]
    groups: dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class UnitRule:
    """What a unit means for one analyte: `multiply` by `factor`, `log10`, or a reason why it does not convert."""

    operation: str
    factor: Decimal
    canonical: str
    is_ucum: bool


@dataclass(frozen=True, slots=True)
class CodeFiles:
    """All files, each consistent in itself and with the tables it names. `units` is by block and spelling."""

    analytes: AnalytesFile
    drugs: DrugsFile
    conditions: ConditionsFile
    loinc: Rows
    rxnorm: Rows
    condition_codes: Rows
    units: Mapping[str, Mapping[str, UnitRule]]
    local: Rows


# --------------------------------------------------------------------------------------------------------------------
# Reading and checking


def read_code_files(folder: Traversable) -> CodeFiles:
    """Everything below `folder` (mappings/) that gives codes and names a meaning. Raises KnowledgeError."""
    problems: list[str] = []
    analytes = _load(AnalytesFile, folder, "analytes.yaml", problems)
    drugs = _load(DrugsFile, folder, "drugs.yaml", problems)
    conditions = _load(ConditionsFile, folder, "conditions.yaml", problems)
    loinc = _rows(folder, "loinc.csv", ("code", "concept", "kind", "confirmed"), problems)
    rxnorm = _rows(folder, "rxnorm.csv", ("code", "concept", "strength", "quantity", "dose_form", "systemic"), problems)
    codes = _rows(folder, "conditions.csv", ("system", "code", "concept", "kind", "modality"), problems)
    unit_rows = _rows(
        folder, "units.csv", ("system", "code", "concept", "canonical_unit", "operation", "factor"), problems
    )
    local = _rows(folder, "local.csv", ("system", "code", "as_system", "as_code"), problems)
    if analytes is None or drugs is None or conditions is None or problems:
        raise KnowledgeError("\n".join(problems))
    units = _unit_rules(unit_rows, problems)
    problems += _analyte_problems(analytes, loinc, units)
    problems += _condition_problems(conditions, {row["concept"] for row in codes})
    if problems:
        raise KnowledgeError("\n".join(problems))
    return CodeFiles(analytes, drugs, conditions, loinc, rxnorm, codes, units, local)


_Model = TypeVar("_Model", bound=BaseModel)


def _load(model: type[_Model], folder: Traversable, name: str, problems: list[str]) -> _Model | None:
    """One file, or None with every problem of it added to `problems`."""
    try:
        return model.model_validate(read_yaml(folder / name))
    except KnowledgeError as error:
        problems.append(str(error))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            place = ".".join(str(part) for part in problem["loc"])
            said = {"missing": "is missing: add it", "extra_forbidden": "unknown key: check the spelling, or remove it"}
            problems.append(f"mappings/{name}: {place}: {said.get(problem['type'], problem['msg'])}")
    return None


def _rows(folder: Traversable, name: str, needed: tuple[str, ...], problems: list[str]) -> Rows:
    """The rows of one table of mappings/codes."""
    try:
        table = csv.DictReader(StringIO((folder / "codes" / name).read_text(encoding="utf-8")), strict=True)
        rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"mappings/codes/{name}: cannot be read ({type(error).__name__}); put back a UTF-8 CSV file")
        return []
    if absent := [column for column in needed if column not in (table.fieldnames or ())]:
        problems.append(f"mappings/codes/{name}: column {', '.join(absent)} is missing; add it to the first line")
        return []
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            problems.append(f"mappings/codes/{name}: row {line}: not as many values as columns; quote commas")
    return rows


def _unit_rules(rows: Rows, problems: list[str]) -> dict[str, dict[str, UnitRule]]:
    """Unit spellings by block of units.csv, each once."""
    found: dict[str, dict[str, UnitRule]] = defaultdict(dict)
    for line, row in enumerate(rows, start=2):
        place, block = f"mappings/codes/units.csv: row {line}", found[row["concept"]]
        factor = Decimal(1)
        if row["operation"] == "multiply":
            try:
                factor = Decimal(row["factor"])
            except InvalidOperation:
                problems.append(f"{place}: factor {row['factor']!r} is no number; write a decimal")
                continue
        if row["code"] in block:
            problems.append(f"{place}: {row['code']!r} stands twice for {row['concept']}; keep one")
        block[row["code"]] = UnitRule(row["operation"], factor, row["canonical_unit"], row["system"] != "text")
    return found


def _analyte_problems(file: AnalytesFile, loinc: Rows, units: Mapping[str, Mapping[str, UnitRule]]) -> Iterator[str]:
    """What analytes.yaml names but the tables do not hold."""
    kinds: dict[str, set[str]] = defaultdict(set)
    confirmed = {row["code"]: row["concept"] for row in loinc if row["confirmed"] == "yes"}
    for row in loinc:
        kinds[row["concept"]].add(row["kind"])
    for key, analyte in file.analytes.items():
        place, concept = f"mappings/analytes.yaml: analytes.{key}", analyte.concept or key
        if concept not in kinds:
            yield f"{place}: no row of codes/loinc.csv has the concept {concept!r}; add the rows or mend the name"
            continue
        for other in sorted(set(analyte.beside) - kinds.keys()):
            yield f"{place}.beside: no row of codes/loinc.csv has the concept {other!r}; mend it"
        for kind in sorted((analyte.kinds | analyte.excluded.keys() | analyte.remarks.keys()) - kinds[concept]):
            yield f"{place}: the kind {kind!r} does not occur for {concept} in codes/loinc.csv; mend it"
        block = units.get(analyte.units or key, {})
        if analyte.unit not in block:
            yield f"{place}: {analyte.unit!r} is not in the block {analyte.units or key!r} of codes/units.csv; add it"
        if analyte.order and confirmed.get(analyte.order.loinc) != concept:
            yield f"{place}.order: {analyte.order.loinc} is no confirmed code of {concept} in codes/loinc.csv; mend it"
        if analyte.plausible.low >= analyte.plausible.high:
            yield f"{place}.plausible: low must be below high"
    for key, test in file.tests.items():
        if key not in kinds:
            yield f"mappings/analytes.yaml: tests.{key}: no row of codes/loinc.csv has this concept; mend it"
        if test.order and confirmed.get(test.order.loinc) != key:
            yield f"mappings/analytes.yaml: tests.{key}.order: {test.order.loinc} is no confirmed code of it; mend it"


def _condition_problems(file: ConditionsFile, known: set[str]) -> Iterator[str]:
    """Names in conditions.yaml that nothing stands behind."""
    place = "mappings/conditions.yaml"
    named = known | {entry.concept for entry in file.phrases}
    for group, members in file.groups.items():
        for member in sorted(members - named):
            yield f"{place}: groups.{group}: {member!r} is in neither codes/conditions.csv nor `phrases`; mend it"
    for entry in file.phrases:
        for phrase in entry.phrases:
            for name in sorted(set(re.findall(r"<(\w*)>", phrase)) - file.synonyms.keys()):
                yield f"{place}: phrases: {phrase!r}: <{name}> is not in `synonyms`; add it or mend it"
