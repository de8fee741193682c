"""The files in mappings/, loaded once at start, and the checks that bad knowledge must not pass.

A wrong file raises `KnowledgeError` that names every problem with file, place and remedy. What a file may say is in
`rules`; code tables and dose words are read by `codes` and `dosage.words`.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.codes import Codes, load_codes
from cdshooks.medicine.dosage.words import DoseWords, load_dose_words
from cdshooks.medicine.medicines import Medicines, make_medicines
from cdshooks.medicine.rules import (
    KINDS,
    Advice,
    AdviceRule,
    CardWording,
    CidofovirRule,
    Cite,
    DoseRule,
    DrugRule,
    DurationRule,
    IndicationRule,
    JudgementRule,
    KidneyRule,
    OtherDrugs,
    PhaseRule,
    RenalDoseRule,
    ResponseRule,
    RouteRule,
    Rule,
    SerostatusRule,
    Source,
    cites_of,
)
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.model import Citation, Concept


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


@dataclass(frozen=True, eq=False)
class Knowledge:
    """All knowledge, loaded and checked. `version` is a short hash over the folder."""

    version: str
    sources: Mapping[str, Source]
    codes: Codes
    dose_words: DoseWords
    renal_dose: tuple[RenalDoseRule, ...]
    dose: tuple[DoseRule, ...]
    cidofovir: tuple[CidofovirRule, ...]
    indication: tuple[Advice, ...]
    response: ResponseRule
    duration: DurationRule
    serostatus: SerostatusRule
    kidney: KidneyRule
    judgement: JudgementRule
    phases: PhaseRule
    cards: CardWording
    routes: Routes
    medicines: Medicines

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule that a card can name."""
        lengths = self.duration
        return (
            *self.renal_dose,
            *self.dose,
            *self.cidofovir,
            *self.indication,
            self.response,
            *self.response.definitions,
            *lengths.courses,
            lengths.end,
            *lengths.prophylaxis,
            lengths.secondary,
            self.kidney,
            self.judgement,
            self.phases,
        )

    @property
    def prefetch_queries(self) -> dict[str, str]:
        """FHIR query per published prefetch key; only `{{context.patientId}}` is used."""
        patient = "{{context.patientId}}"
        queries = {
            "patient": f"Patient/{patient}",
            "medications": f"MedicationRequest?patient={patient}&status=active,on-hold,completed,stopped",
            "conditions": f"Condition?patient={patient}",
            "allergies": f"AllergyIntolerance?patient={patient}",
            "procedures": f"Procedure?patient={patient}",
            "reports": f"DiagnosticReport?patient={patient}&category=LAB&_sort=-date&_count=50",
        }
        for group, codes in self.codes.loinc_by_group.items():
            listed = ",".join(f"http://loinc.org|{code}" for code in codes)
            queries[group] = f"Observation?patient={patient}&code={listed}&_sort=-date&_count=100"
        return queries

    def dose_table(self, drug: str, route: str, indication: str = "cmv") -> RenalDoseRule | None:
        """The adult dose table of a drug by a route; its CMV table where the indication has none of its own."""
        tables = [table for table in self.renal_dose if table.drug == drug and route in table.routes]
        own = next((table for table in tables if table.indication == indication), None)
        return own or next((table for table in tables if table.indication == "cmv"), None)

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
    rules = list(_rule_files(root / "rules", "rules", problems))
    kidney = _load(KidneyRule, read_yaml(root / "kidney.yaml"), "kidney.yaml", problems)
    judgement = _load(JudgementRule, read_yaml(root / "judgement.yaml"), "judgement.yaml", problems)
    phases = _load(PhaseRule, read_yaml(root / "phases.yaml"), "phases.yaml", problems)
    cards = _load(CardWording, read_yaml(root / "cards.yaml"), "cards.yaml", problems)
    routes = _load(RouteRule, read_yaml(root / "routes.yaml"), "routes.yaml", problems)
    serostatus = _load(SerostatusRule, read_yaml(root / "serostatus.yaml"), "serostatus.yaml", problems)
    response = _only(ResponseRule, rules, "response", problems)
    duration = _only(DurationRule, rules, "duration", problems)
    others = _load(OtherDrugs, read_yaml(root / "other_drugs.yaml"), "other_drugs.yaml", problems)
    codes = load_codes(root)
    words = load_dose_words(root)
    if kidney is None or judgement is None or phases is None or cards is None or routes is None or others is None:
        raise KnowledgeError("\n".join(problems))
    if serostatus is None or response is None or duration is None or problems:
        raise KnowledgeError("\n".join(problems))
    knowledge = Knowledge(
        version=_hash(root),
        sources=sources,
        codes=codes,
        dose_words=words,
        renal_dose=tuple(rule for rule in rules if isinstance(rule, RenalDoseRule)),
        dose=tuple(rule for rule in rules if isinstance(rule, DoseRule)),
        cidofovir=tuple(rule for rule in rules if isinstance(rule, CidofovirRule)),
        indication=tuple(row for rule in rules if isinstance(rule, IndicationRule) for row in rule.advice),
        response=response,
        duration=duration,
        serostatus=serostatus,
        kidney=kidney,
        judgement=judgement,
        phases=phases,
        cards=cards,
        routes=_routes(root, routes),
        medicines=make_medicines(codes, others),
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
            message = _REMEDIES.get(problem["type"], message)
            problems.append(f"mappings/{place}: {path + ': ' if path else ''}{message}")
        return None


_REMEDIES = {
    "extra_forbidden": "unknown key: check the spelling, or remove it",
    "missing": "is missing: add it",
    "string_type": 'is no text: write it in quotes ("2.10")',
    "bool_type": "write true or false",
}


_Rule = TypeVar("_Rule", ResponseRule, DurationRule)


def _only(model: type[_Rule], rules: list[DrugRule | AdviceRule], kind: str, problems: list[str]) -> _Rule | None:
    """The one rule file of a kind that has just one."""
    found = [rule for rule in rules if isinstance(rule, model)]
    if len(found) != 1 and not problems:
        problems.append(f"mappings/rules: {len(found)} files are of kind {kind}; keep one")
    return found[0] if found else None


def _rule_files(folder: Traversable, place: str, problems: list[str]) -> Iterator[DrugRule | AdviceRule]:
    """Every rule file below a folder, in the order of names; its `kind` says what it is."""
    for entry in sorted(folder.iterdir(), key=lambda found: found.name):
        here = f"{place}/{entry.name}"
        if entry.is_dir():
            yield from _rule_files(entry, here, problems)
        elif entry.name.endswith(".yaml"):
            value = read_yaml(entry, f"mappings/{here}")
            kind = value.get("kind") if isinstance(value, dict) else None
            if kind not in KINDS:
                problems.append(f"mappings/{here}: kind: {kind!r} is not known; write one of {', '.join(KINDS)}")
            elif rule := _load(KINDS[kind], value, here, problems):
                yield rule


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
    for rule in (*knowledge.rules, knowledge.serostatus):
        for cite in cites_of(rule):
            if cite.source not in knowledge.sources:
                problems.append(
                    f"mappings: rule {rule.id} cites {cite.source!r}, which is not in sources.yaml; mend the name"
                )
    dosing: tuple[DrugRule, ...] = (*knowledge.renal_dose, *knowledge.dose, *knowledge.cidofovir)
    for table in dosing:
        if table.drug not in knowledge.codes.drugs:
            problems.append(
                f"mappings: rule {table.id} names the drug {table.drug!r}, which is not in drugs.yaml; mend the name"
            )
    problems += _unknown_names(knowledge, dosing)
    problems += _unknown_in_advice(knowledge)
    taken: dict[tuple[str, str, str], str] = {}
    for table in knowledge.renal_dose:
        for route in table.routes:
            if (other := taken.setdefault((table.drug, table.indication, route), table.id)) != table.id:
                problems.append(
                    f"mappings: rules {other} and {table.id} both dose {table.drug} by the {route} route; keep one"
                )
    return problems


def _unknown_names(knowledge: Knowledge, rules: tuple[DrugRule, ...]) -> Iterator[str]:
    """Names in conditions of rules that nothing stands behind: such a row would never apply, and nobody would see."""
    routes = frozenset((*knowledge.routes.by_code.values(), *knowledge.routes.by_text.values()))
    medicines = knowledge.medicines
    drugs = medicines.known | medicines.classes.keys()
    concepts = knowledge.codes.problem_concepts()
    used = [("drugs/others", "drug", name, medicines.known) for listed in medicines.classes.values() for name in listed]
    used += [(knowledge.phases.id, "transplant", name, concepts) for name in knowledge.phases.prophylaxis_window_days]
    for rule in rules:
        used += [(rule.id, "route", name, routes) for name in rule.routes]
        for when in [row.when for row in rule.rows] if isinstance(rule, DoseRule) else []:
            used += [(rule.id, "route", name, routes) for name in when.routes]
            used += [(rule.id, "drug", name, drugs) for name in when.with_drugs]
            used += [(rule.id, "problem", name, concepts) for name in when.problems]
    for place, what, name, known in used:
        if name not in known:
            yield f"mappings: rule {place} names the {what} {name!r}, which no file here knows; mend the name"


def _unknown_in_advice(knowledge: Knowledge) -> Iterator[str]:
    """The same for the rules of indication, response and duration."""
    codes, medicines = knowledge.codes, knowledge.medicines
    antivirals, drugs = frozenset(codes.drugs), medicines.known | medicines.classes.keys()
    tests, analytes = frozenset(codes.tests), frozenset(codes.analytes)
    concepts = codes.problem_concepts() | codes.groups.keys()
    concepts |= {f"{concept}-history" for concept in concepts}  # what was so once
    routes = frozenset(
        (*knowledge.routes.by_code.values(), *knowledge.routes.by_text.values(), *knowledge.routes.local)
    )
    response, lengths = knowledge.response, knowledge.duration
    used = [(response.id, "drug", name, antivirals) for name in (*response.treatment_drugs, *response.preventive_drugs)]
    used += [(response.id, "analyte", name, analytes) for name in response.series]
    used += [(response.id, "test", name, tests) for name in (*response.genotype_tests, response.genotype_order)]
    for row in knowledge.indication:
        when = row.when
        used += [(row.id, "drug", name, antivirals) for name in row.drugs]
        asked = (*when.with_drugs, *when.without_drugs, *when.treated_with, *when.ordered_for_cmv)
        used += [(row.id, "drug", name, drugs) for name in asked]
        named = (*when.problems, *when.no_problems, *((when.transplant,) if when.transplant else ()))
        used += [(row.id, "problem", name, concepts) for name in named]
        used += [(row.id, "route", name, routes) for name in (*when.routes, *when.treated_routes)]
        used += [(row.id, "test", name, tests | analytes) for name in row.proposes]
    for course in lengths.courses:
        used += [(course.id, "drug", name, antivirals) for name in course.drugs]
        used += [(course.id, "problem", name, concepts) for name in (*course.problems, *course.also)]
    for length in lengths.prophylaxis:
        used += [(length.id, "drug", name, antivirals) for name in length.drugs]
        used += [(length.id, "problem", name, concepts) for name in (*length.transplants, *length.late_risk)]
    used += [(lengths.secondary.id, "problem", name, concepts) for name in lengths.secondary.problems]
    for place, what, name, known in used:
        if name not in known:
            yield f"mappings: rule {place} names the {what} {name!r}, which no file here knows; mend the name"


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
