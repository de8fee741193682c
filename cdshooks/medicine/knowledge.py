"""The files in mappings/: their models, loading, and the checks that bad knowledge must not pass.

One of the two modules that read files (the other reads code tables). Everything is read once, at start. A wrong file
raises `KnowledgeError` that names every problem with file, place and remedy.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.codes import Codes, load_codes
from cdshooks.medicine.dosage import regimen_wording
from cdshooks.medicine.dosage.words import DoseWords, load_dose_words
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.model import Citation, Concept, Phase, Regimen

# --------------------------------------------------------------------------------------------------------------------
# Models of the files


class _Entry(BaseModel):
    """Base of every entry: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Cite(_Entry):
    """Where a figure comes from: a key of sources.yaml and a section (quoted, so that 2.10 stays 2.10)."""

    source: str
    section: Annotated[str, Field(strict=True, min_length=1)]


class Source(_Entry):
    """One label or paper of sources.yaml."""

    title: str
    version: Annotated[str, Field(strict=True)]
    url: str = ""
    seen: Literal["label", "secondary", "design", "memory"]
    checked: str


def _measure(value: Any) -> Any:
    """`450 mg` or `12 h` as (number, unit)."""
    if isinstance(value, str):
        number, _, unit = value.strip().partition(" ")
        return number, unit
    return value


Measure = Annotated[tuple[Annotated[Decimal, Field(gt=0)], str], BeforeValidator(_measure)]
_DAYS = {"h": Decimal(1) / 24, "d": Decimal(1), "wk": Decimal(7)}


class TableRegimen(_Entry):
    """A regimen of a dose table: `{dose: 450 mg, every: 12 h}` or `{dose: 450 mg, times: 2, each: 1 wk}`."""

    dose: Measure
    every: Measure | None = None
    times: Annotated[int, Field(gt=0)] | None = None
    each: Measure | None = None
    after_dialysis: bool = False

    @model_validator(mode="after")
    def _one_way_to_say_when(self) -> "TableRegimen":
        if (self.every is None) == (self.times is None or self.each is None):
            raise ValueError("give either `every: 12 h`, or `times: 2` with `each: 1 wk`")
        if self.span[1] not in _DAYS:
            raise ValueError(f"period unit {self.span[1]!r} is not one of h, d, wk")
        return self

    @property
    def frequency(self) -> int:
        """Administrations per period."""
        return self.times or 1

    @property
    def span(self) -> tuple[Decimal, str]:
        """The period: (length, h | d | wk)."""
        return self.every or self.each or (Decimal(0), "")

    @property
    def per_day(self) -> Decimal:
        """Administrations per day, on average."""
        length, unit = self.span
        hours = {"h": 1, "d": 24, "wk": 168}[unit]
        return Decimal(24 * self.frequency) / (length * hours)

    @property
    def regimen(self) -> Regimen:
        """As a regimen with its wording."""
        number, unit = self.dose
        words = regimen_wording(number, number, unit, self.per_day, self.after_dialysis)
        return Regimen(number, number, unit, self.per_day, after_dialysis=self.after_dialysis, wording=words)


Regimens = tuple[TableRegimen, ...]


class Variant(_Entry):
    """A regimen that another source gives for some dose forms where the label gives none."""

    forms: tuple[str, ...]
    treatment: Regimens
    stable: Regimens
    cite: Cite


class _Row(_Entry):
    """What a row of a table says: regimens, or that the drug is not recommended, or that a specialist decides."""

    treatment: Regimens = ()
    stable: Regimens = ()
    not_recommended: str = ""
    refer: str = ""
    variant: Variant | None = None
    cite: Cite | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "_Row":
        said = [bool(self.treatment and self.stable), bool(self.not_recommended), bool(self.refer)]
        if sum(said) != 1 or bool(self.treatment) != bool(self.stable):
            raise ValueError("give `treatment` and `stable`, or `not_recommended`, or `refer`")
        return self


class Band(_Row):
    """One band of kidney function, from `at_least` (whole mL/min) up to the band above."""

    at_least: Annotated[int, Field(ge=0)]


class DialysisRow(_Row):
    """The row for a kind of dialysis."""

    modality: Literal["haemodialysis", "peritoneal", "continuous"]


class StartOfProphylaxis(_Entry):
    """Prophylaxis may start with the regimen of another column for some days."""

    regimens: Literal["treatment"]
    up_to_days: int
    cite: Cite


class RenalDoseRule(_Entry):
    """One drug's adult dose table by kidney function."""

    kind: Literal["renal-dose"]
    id: str
    title: str
    drug: str
    routes: tuple[str, ...]
    adults_from_years: int
    unit: Literal["mg", "mg/kg"]
    cite: Cite
    reviewed: str
    start_of_prophylaxis: StartOfProphylaxis | None = None
    bands: tuple[Band, ...]
    dialysis: tuple[DialysisRow, ...]

    @model_validator(mode="after")
    def _bands_meet(self) -> "RenalDoseRule":
        edges = [band.at_least for band in self.bands]
        if edges != sorted(set(edges), reverse=True):
            raise ValueError(f"bands must run from the highest `at_least` to the lowest, each once; they run {edges}")
        if not edges or edges[-1] != 0:
            raise ValueError("bands leave a gap below the last one: the last band must have `at_least: 0`")
        kinds = [row.modality for row in self.dialysis]
        if sorted(kinds) != ["continuous", "haemodialysis", "peritoneal"]:
            raise ValueError("dialysis needs one row each for haemodialysis, peritoneal and continuous")
        for row in (*self.bands, *self.dialysis):
            for regimen in (*row.treatment, *row.stable):
                if regimen.dose[1] != self.unit:
                    raise ValueError(f"dose unit {regimen.dose[1]!r} differs from the table's unit {self.unit!r}")
        return self

    def band(self, clearance: int) -> Band:
        """The band that holds a clearance in whole mL/min."""
        return next(band for band in self.bands if clearance >= band.at_least)

    def for_dialysis(self, modality: str) -> DialysisRow:
        """The row of a kind of dialysis."""
        return next(row for row in self.dialysis if row.modality == modality)


class CockcroftGault(_Entry):
    """Constants of the Cockcroft-Gault formula."""

    age_from: Decimal
    divisor: Decimal
    female: Decimal
    cite: Cite


class SchwartzK(_Entry):
    """One row of the k table."""

    sex: Literal["any", "female", "male"]
    below_years: int
    k: Decimal


class Schwartz(_Entry):
    """The modified Schwartz formula for children."""

    cap: Decimal
    k: tuple[SchwartzK, ...]
    remark: str
    cite: Cite


class IdealWeight(_Entry):
    """Ideal body weight at 60 inches by sex, and what each further inch adds; kg."""

    male: Decimal
    female: Decimal
    per_inch_above_60: Decimal


class AdjustedWeight(_Entry):
    """From which BMI adjusted weight is looked at, and how it is computed."""

    bmi_at_least: Decimal
    fraction: Decimal
    ideal: IdealWeight
    cite: Cite


class AcuteChange(_Entry):
    """When a creatinine counts as moving."""

    rise_mg_dl: Decimal
    within_hours: int
    factor: Decimal
    within_days: int
    cite: Cite


class Freshness(_Entry):
    """Days for which a creatinine is current, by phase and route."""

    treatment_by_vein: int
    treatment: int
    stable: int
    cite: Cite


class Doubtful(_Entry):
    """When a clearance may read too high."""

    albumin_below_g_dl: Decimal
    upcr_at_least_mg_g: Decimal
    albumin_days: int
    margin_ml_min: int
    cite: Cite


class KidneyRule(_Entry):
    """mappings/kidney.yaml."""

    kind: Literal["kidney"]
    id: str
    title: str
    reviewed: str
    cockcroft_gault: CockcroftGault
    schwartz: Schwartz
    adjusted_weight: AdjustedWeight
    acute_change: AcuteChange
    freshness_days: Freshness
    weight_days: int
    doubtful: Doubtful
    dialysis_days: int


class JudgementRule(_Entry):
    """mappings/judgement.yaml."""

    kind: Literal["judgement"]
    id: str
    title: str
    reviewed: str
    tolerance: Annotated[Decimal, Field(gt=0, lt=1)]
    strong: Annotated[Decimal, Field(gt=0, lt=1)]
    round_mg: Annotated[Decimal, Field(gt=0)]
    cite: Cite


class PhaseWords(_Entry):
    """Words that name each phase."""

    maintenance: tuple[str, ...]
    treatment: tuple[str, ...]
    prophylaxis: tuple[str, ...]


class Window(_Entry):
    """Days after a transplantation."""

    days: int
    cite: Cite


class PhaseRule(_Entry):
    """mappings/phases.yaml."""

    kind: Literal["phases"]
    id: str
    title: str
    reviewed: str
    words: PhaseWords
    another_time: tuple[str, ...]
    not_this: tuple[str, ...]
    ignore: tuple[str, ...]
    precedence: tuple[Phase, ...]
    then: tuple[str, ...]
    cite: Cite
    dnaemia_days: int
    prophylaxis_window_days: dict[str, Window]


class RouteRule(_Entry):
    """mappings/routes.yaml: what route names mean for dosing."""

    kind: Literal["routes"]
    id: str
    enteral: tuple[str, ...]
    intravenous: tuple[str, ...]
    other_systemic: tuple[str, ...]
    local: tuple[str, ...]
    ambiguous_text: tuple[str, ...]


class OverrideReason(_Entry):
    """A reason a clinician may give for overriding a card."""

    code: str
    display: str


class CardWording(_Entry):
    """mappings/cards.yaml."""

    kind: Literal["cards"]
    id: str
    topic_system: str
    reason_system: str
    note: str
    topics: dict[str, str]
    override_reasons: tuple[OverrideReason, ...]


# --------------------------------------------------------------------------------------------------------------------
# The whole


@dataclass(frozen=True, slots=True)
class Routes:
    """Routes by code and by words. Enteral routes are all "oral"; other names stay as they are."""

    by_code: Mapping[tuple[str, str], str]
    by_text: Mapping[str, str]
    local: frozenset[str]

    def of_concept(self, concept: Concept) -> str:
        """The route of a coded or named route, "" when unknown."""
        for coding in concept.codings:
            if found := self.by_code.get((coding.system.rstrip("/"), coding.code.upper())):
                return found
        return next((found for words in concept.words if (found := self.in_text(words))), "")

    def in_text(self, text: str) -> str:
        """The one route that a text names, "" when it names none or several."""
        plain = f" {' '.join(re.findall(r'[a-z0-9.-]+', text.lower()))} "
        found = {route for words, route in self.by_text.items() if f" {words} " in plain}
        return found.pop() if len(found) == 1 else ""


def _routes(root: Traversable, rule: RouteRule) -> Routes:
    groups = dict.fromkeys(rule.enteral, "oral") | dict.fromkeys(rule.intravenous, "intravenous")
    by_code, by_text = {}, {}
    with (root / "codes" / "timing.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            route = groups.get(row["concept"], row["concept"])
            if row["kind"] == "route":
                by_code[row["system"], row["code"].upper()] = route
            if row["kind"] in ("route", "route-text"):
                words = row["code"] if row["kind"] == "route-text" else row["concept"]
                if words.lower() not in rule.ambiguous_text:
                    by_text[words.lower()] = route
    return Routes(by_code, by_text, frozenset(rule.local) | {"local"})


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """All knowledge, loaded and checked. `version` is a short hash over the folder."""

    version: str
    sources: Mapping[str, Source]
    codes: Codes
    dose_words: DoseWords
    renal_dose: tuple[RenalDoseRule, ...]
    kidney: KidneyRule
    judgement: JudgementRule
    phases: PhaseRule
    cards: CardWording
    routes: Routes

    @property
    def rules(self) -> tuple[RenalDoseRule | KidneyRule | JudgementRule | PhaseRule, ...]:
        """Every rule that a card can name."""
        return (*self.renal_dose, self.kidney, self.judgement, self.phases)

    @property
    def prefetch_queries(self) -> dict[str, str]:
        """FHIR query per published prefetch key; only `{{context.patientId}}` is used."""
        patient = "{{context.patientId}}"
        queries = {
            "patient": f"Patient/{patient}",
            "medications": f"MedicationRequest?patient={patient}&status=active",
            "conditions": f"Condition?patient={patient}",
            "allergies": f"AllergyIntolerance?patient={patient}",
            "procedures": f"Procedure?patient={patient}",
            "reports": f"DiagnosticReport?patient={patient}&category=LAB&_sort=-date&_count=50",
        }
        for group, codes in self.codes.loinc_by_group.items():
            listed = ",".join(f"http://loinc.org|{code}" for code in codes)
            queries[group] = f"Observation?patient={patient}&code={listed}&_sort=-date&_count=100"
        return queries

    def dose_table(self, drug: str, route: str) -> RenalDoseRule | None:
        """The adult dose table of a drug by a route, if there is one."""
        return next((table for table in self.renal_dose if table.drug == drug and route in table.routes), None)

    def citation(self, cite: Cite) -> Citation:
        """A citation as a card shows it."""
        source = self.sources[cite.source]
        return Citation(source.title, cite.section, source.version, source.url)


def load_knowledge(folder: Traversable | None = None) -> Knowledge:
    """Read and check mappings/ (the installed copy unless `folder` is given). Raises `KnowledgeError`."""
    root = folder if folder is not None else files("cdshooks.mappings")
    problems: list[str] = []
    sources = {
        key: source
        for key, value in _mapping(root / "sources.yaml").items()
        if (source := _load(Source, value, f"sources.yaml: {key}", problems))
    }
    tables = [
        rule
        for path in sorted((root / "rules" / "renal_dose").iterdir(), key=lambda entry: entry.name)
        if path.name.endswith(".yaml")
        and (rule := _load(RenalDoseRule, read_yaml(path), f"rules/renal_dose/{path.name}", problems))
    ]
    kidney = _load(KidneyRule, read_yaml(root / "kidney.yaml"), "kidney.yaml", problems)
    judgement = _load(JudgementRule, read_yaml(root / "judgement.yaml"), "judgement.yaml", problems)
    phases = _load(PhaseRule, read_yaml(root / "phases.yaml"), "phases.yaml", problems)
    cards = _load(CardWording, read_yaml(root / "cards.yaml"), "cards.yaml", problems)
    routes = _load(RouteRule, read_yaml(root / "routes.yaml"), "routes.yaml", problems)
    codes = load_codes(root)
    words = load_dose_words(root)
    if kidney is None or judgement is None or phases is None or cards is None or routes is None or problems:
        raise KnowledgeError("\n".join(problems))
    knowledge = Knowledge(
        _hash(root), sources, codes, words, tuple(tables), kidney, judgement, phases, cards, _routes(root, routes)
    )
    problems += _cross_checks(knowledge)
    if problems:
        raise KnowledgeError("\n".join(problems))
    return knowledge


_Model = TypeVar("_Model", bound=BaseModel)


def _load(model: type[_Model], value: Any, place: str, problems: list[str]) -> _Model | None:
    """The entry, or None with every problem of it added to `problems`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            path = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = "unknown key: check the spelling, or remove it"
            problems.append(f"mappings/{place}: {path + ': ' if path else ''}{message}")
        return None


def _mapping(path: Traversable) -> dict[str, Any]:
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise KnowledgeError(f"mappings/{path.name}: a mapping of keys is expected at the top")
    return value


def _cross_checks(knowledge: Knowledge) -> list[str]:
    problems = []
    ids = [rule.id for rule in knowledge.rules]
    problems += [
        f"mappings: rule id {rule_id} is used twice; ids must be unique"
        for rule_id in set(ids)
        if ids.count(rule_id) > 1
    ]
    for rule in knowledge.rules:
        for cite in cites_of(rule):
            if cite.source not in knowledge.sources:
                problems.append(
                    f"mappings: rule {rule.id} cites {cite.source!r}, which is not in sources.yaml; mend the name"
                )
    for table in knowledge.renal_dose:
        if table.drug not in knowledge.codes.drugs:
            problems.append(f"mappings: rule {table.id} names the drug {table.drug!r}, which is not in drugs.yaml")
    taken: dict[tuple[str, str], str] = {}
    for table in knowledge.renal_dose:
        for route in table.routes:
            if (other := taken.setdefault((table.drug, route), table.id)) != table.id:
                problems.append(
                    f"mappings: rules {other} and {table.id} both dose {table.drug} by the {route} route; keep one"
                )
    return problems


def cites_of(entry: BaseModel) -> Iterator[Cite]:
    """Every citation inside an entry, in order."""
    for _, value in entry:
        for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(item, Cite):
                yield item
            elif isinstance(item, BaseModel):
                yield from cites_of(item)


def _hash(root: Traversable) -> str:
    """A short hash over names and contents of every file of the folder that holds knowledge."""
    digest = hashlib.sha256()
    for name, content in sorted(_contents(root, "")):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]


def _contents(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _contents(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".yaml", ".csv")):
            yield prefix + entry.name, entry.read_bytes()
