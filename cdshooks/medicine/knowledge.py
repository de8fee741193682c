"""The files in mappings/, loaded once at start, and the checks that bad knowledge must not pass.

A wrong file raises `KnowledgeError` that names every problem with file, place and remedy. What a file may say is in
`rules`; code tables and dose words are read by `codes` and `dosage.words`.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.codes import Codes, load_codes
from cdshooks.medicine.dosage.words import DoseWords, load_dose_words
from cdshooks.medicine.genotype import Lexicon, make_lexicon
from cdshooks.medicine.medicines import Medicines, make_medicines
from cdshooks.medicine.mutations import Mutations, load_mutations
from cdshooks.medicine.rules import (
    KINDS,
    CardWording,
    CidofovirRule,
    Cite,
    DoseRule,
    DrugRule,
    JudgementRule,
    KidneyRule,
    OtherDrugs,
    PhaseRule,
    ReadingRule,
    RenalDoseRule,
    ResistanceRule,
    RouteRule,
    Rule,
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


@dataclass(frozen=True, slots=True, eq=False)
class Resistance:
    """What mappings/resistance holds: the rule, the published mutations, and the words in which results come."""

    rule: ResistanceRule
    mutations: Mutations
    lexicon: Lexicon


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
    kidney: KidneyRule
    judgement: JudgementRule
    phases: PhaseRule
    cards: CardWording
    routes: Routes
    medicines: Medicines
    resistance: Resistance

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule that a card can name."""
        return (
            *self.renal_dose,
            *self.dose,
            *self.cidofovir,
            self.resistance.rule,
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
            "medications": f"MedicationRequest?patient={patient}&status=active",
            "conditions": f"Condition?patient={patient}",
            "allergies": f"AllergyIntolerance?patient={patient}",
            "procedures": f"Procedure?patient={patient}",
            "reports": f"DiagnosticReport?patient={patient}&category=LAB&_sort=-date&_count=50",
        }
        resistance = self.resistance.lexicon.rule.codes
        further = {"virology": tuple(dict.fromkeys((*resistance.genes, *resistance.variants)))}
        for group, known in self.codes.loinc_by_group.items():
            codes = dict.fromkeys((*known, *further.get(group, ())))
            listed = ",".join(f"http://loinc.org|{code}" for code in codes)
            queries[group] = f"Observation?patient={patient}&code={listed}&_sort=-date&_count=100"
        return queries

    def dose_table(self, drug: str, route: str, indication: str = "cmv") -> RenalDoseRule | None:
        """The adult dose table of a drug by a route; its CMV table where the indication has none of its own."""
        tables = [table for table in self.renal_dose if table.drug == drug and route in table.routes]
        own = next((table for table in tables if table.indication == indication), None)
        return own or next((table for table in tables if table.indication == "cmv"), None)

    @cached_property
    def drugs_that_matter(self) -> frozenset[str]:
        """The drugs beside the order that some rule asks about."""
        return frozenset(drug for rule in self.dose for row in rule.rows for drug in row.when.with_drugs)

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
    others = _load(OtherDrugs, read_yaml(root / "other_drugs.yaml"), "other_drugs.yaml", problems)
    resistance = _resistance_file(root, ResistanceRule, "interpretation.yaml", problems)
    reading = _resistance_file(root, ReadingRule, "reading.yaml", problems)
    codes = load_codes(root)
    words = load_dose_words(root)
    if kidney is None or judgement is None or phases is None or cards is None or routes is None or others is None:
        raise KnowledgeError("\n".join(problems))
    if problems or resistance is None or reading is None:
        raise KnowledgeError("\n".join(problems))
    mutations = load_mutations(root / "resistance", resistance)
    knowledge = Knowledge(
        version=_hash(root),
        sources=sources,
        codes=codes,
        dose_words=words,
        renal_dose=tuple(rule for rule in rules if isinstance(rule, RenalDoseRule)),
        dose=tuple(rule for rule in rules if isinstance(rule, DoseRule)),
        cidofovir=tuple(rule for rule in rules if isinstance(rule, CidofovirRule)),
        kidney=kidney,
        judgement=judgement,
        phases=phases,
        cards=cards,
        routes=_routes(root, routes),
        medicines=make_medicines(codes, others),
        resistance=Resistance(
            resistance, mutations, make_lexicon(reading, mutations, _names_by_drug(codes, resistance))
        ),
    )
    problems += _cross_checks(knowledge)
    if problems:
        raise KnowledgeError("\n".join(problems))
    return knowledge


_Model = TypeVar("_Model", bound=BaseModel)


def _resistance_file(root: Traversable, model: type[_Model], name: str, problems: list[str]) -> _Model | None:
    value = read_yaml(root / "resistance" / name, f"mappings/resistance/{name}")
    return _load(model, value, f"resistance/{name}", problems)


def _names_by_drug(codes: Codes, rule: ResistanceRule) -> dict[str, tuple[str, ...]]:
    """Every name of drugs.yaml by the drug of the resistance data that it stands for."""
    found: dict[str, tuple[str, ...]] = {}
    for key, drug in codes.drugs.items():
        found[rule.data_drug(key)] = (*found.get(rule.data_drug(key), ()), *drug.names)
    return found


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


def _rule_files(folder: Traversable, place: str, problems: list[str]) -> Iterator[DrugRule]:
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
    for rule in knowledge.rules:
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
    problems += _unknown_in_resistance(knowledge)
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
    drugs = knowledge.codes.drug_concepts() | set(knowledge.medicines.by_name.values())
    concepts = knowledge.codes.problem_concepts()
    used = [(knowledge.phases.id, "transplant", name, concepts) for name in knowledge.phases.prophylaxis_window_days]
    for rule in rules:
        used += [(rule.id, "route", name, routes) for name in rule.routes]
        for when in [row.when for row in rule.rows] if isinstance(rule, DoseRule) else []:
            used += [(rule.id, "route", name, routes) for name in when.routes]
            used += [(rule.id, "drug", name, drugs) for name in when.with_drugs]
            used += [(rule.id, "problem", name, concepts) for name in when.problems]
    for place, what, name, known in used:
        if name not in known:
            yield f"mappings: rule {place} names the {what} {name!r}, which no file here knows; mend the name"


def _unknown_in_resistance(knowledge: Knowledge) -> Iterator[str]:
    """Names in mappings/resistance that the other files have to know."""
    rule, reading = knowledge.resistance.rule, knowledge.resistance.lexicon.rule
    place = "mappings/resistance/interpretation.yaml"
    for drug in (
        *rule.drugs,
        *rule.same_drug,
        *rule.options.never,
        *filter(None, (o.not_with for o in rule.options.drugs.values())),
    ):
        if drug not in knowledge.codes.drugs:
            yield f"{place}: drug {drug!r} is not in drugs.yaml; mend the name"
    for drug in reading.drugs:
        if drug not in rule.drugs:
            yield f"mappings/resistance/reading.yaml: drugs: {drug!r} is not in interpretation.yaml; mend the name"
    for option in rule.options.drugs.values():
        for analyte in option.counts:
            if analyte not in knowledge.codes.analytes:
                yield f"{place}: analyte {analyte!r} is not in analytes.yaml; mend the name"
    genes = [gene for named in reading.codes.genes.values() for gene in named]
    for gene in (*genes, *(gene for assay in reading.assays for gene in assay.covers)):
        if gene not in knowledge.resistance.mutations.proteins:
            yield f"mappings/resistance/reading.yaml: gene {gene!r} is not in reference.csv; mend the name"
    for assay in reading.assays:
        if assay.cite.source not in knowledge.sources:
            yield f"mappings/resistance/reading.yaml: assays: source {assay.cite.source!r} is unknown; mend the name"


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
