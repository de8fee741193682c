"""The files in mappings/, loaded once at start, and the checks that bad knowledge must not pass.

A wrong file raises `KnowledgeError` that names every problem with file, place and remedy. What a file may say is in
`rules`; code tables and dose words are read by `codes` and `dosage.words`.
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.codes import Codes, load_codes
from cdshooks.medicine.dosage.words import DoseWords, load_dose_words
from cdshooks.medicine.genotype import Lexicon, make_lexicon
from cdshooks.medicine.medicines import Medicines, make_medicines
from cdshooks.medicine.mutations import Mutations, load_mutations
from cdshooks.medicine.overlay import Overlay
from cdshooks.medicine.rules import (
    KINDS,
    Advice,
    AllergyRule,
    CardWording,
    CareRule,
    CidofovirRule,
    Cite,
    DoseRule,
    DuplicateRule,
    DurationRule,
    FiledRule,
    FlowsheetRule,
    ImmunosuppressionRule,
    IndicationRule,
    InteractionLimits,
    InteractionRule,
    JudgementRule,
    KidneyRule,
    MonitoringRule,
    OtherDrugs,
    PhaseRule,
    PregnancyRule,
    ReadingRule,
    RenalDoseRule,
    ResistanceRule,
    ResponseRule,
    RouteRule,
    Rule,
    SafetyRule,
    SerostatusRule,
    SiteRule,
    Source,
    ToxicityRule,
    cites_of,
)
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.model import Citation, Concept

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Routes:
    """Routes by code and by words. Enteral routes are all "oral"; other names stay as they are."""

    by_code: Mapping[tuple[str, str], str]
    by_text: Mapping[str, str]
    local: frozenset[str]
    absorbed: frozenset[str]

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
    return Routes(by_code, by_text, frozenset(rule.local) | {"local"}, frozenset(rule.absorbed))


@dataclass(frozen=True, slots=True, eq=False)
class Resistance:
    """What mappings/resistance holds: the rule, the published mutations, and the words in which results come."""

    rule: ResistanceRule
    mutations: Mutations
    lexicon: Lexicon


@dataclass(frozen=True, eq=False)
class Knowledge:
    """All knowledge, loaded and checked. `version` is a short hash over the folder, and over a site's own values."""

    version: str
    sources: Mapping[str, Source]
    codes: Codes
    dose_words: DoseWords
    renal_dose: tuple[RenalDoseRule, ...]
    dose: tuple[DoseRule, ...]
    cidofovir: tuple[CidofovirRule, ...]
    monitoring: tuple[MonitoringRule, ...]
    toxicity: tuple[ToxicityRule, ...]
    interactions: tuple[InteractionRule, ...]
    interaction_limits: InteractionLimits
    duplicates: DuplicateRule
    allergy: tuple[AllergyRule, ...]
    safety: tuple[SafetyRule, ...]
    pregnancy: tuple[PregnancyRule, ...]
    immunosuppression: tuple[ImmunosuppressionRule, ...]
    indication: tuple[Advice, ...]
    response: ResponseRule
    duration: DurationRule
    serostatus: SerostatusRule
    kidney: KidneyRule
    judgement: JudgementRule
    phases: PhaseRule
    site: SiteRule
    cards: CardWording
    flowsheet: FlowsheetRule
    routes: Routes
    medicines: Medicines
    resistance: Resistance

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule that a card can name."""
        dosing: tuple[Rule, ...] = (*self.renal_dose, *self.dose, *self.cidofovir)
        watching: tuple[Rule, ...] = (*self.monitoring, *self.toxicity)
        between_drugs: tuple[Rule, ...] = (*self.interactions, self.interaction_limits, self.duplicates)
        standing: tuple[Rule, ...] = (self.resistance.rule, self.kidney, self.judgement, self.phases, self.site)
        lengths = self.duration
        course: tuple[Rule, ...] = (
            *self.indication,
            self.response,
            *self.response.definitions,
            *lengths.courses,
            lengths.end,
            *lengths.prophylaxis,
            lengths.secondary,
        )
        return (*dosing, *watching, *between_drugs, *self.care, *course, *standing)

    @property
    def care(self) -> tuple[CareRule, ...]:
        """The rules on allergies, on how a drug is given, on pregnancy and on immunosuppression."""
        return (*self.allergy, *self.safety, *self.pregnancy, *self.immunosuppression)

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

    def citation(self, cite: Cite) -> Citation:
        """A citation as a card shows it."""
        source = self.sources[cite.source]
        return Citation(source.title, cite.section, source.version, source.url)


def load_knowledge(folder: Traversable | None = None, overlay: Path | None = None) -> Knowledge:
    """Read and check mappings/ (the installed copy unless `folder` is given), with a site's own values laid over it.

    Raises `KnowledgeError`.
    """
    root = folder if folder is not None else files("cdshooks.mappings")
    problems: list[str] = []
    sources = {
        key: source
        for key, value in _mapping(root / "sources.yaml").items()
        if (source := _load(Source, value, "mappings/sources.yaml: " + key, problems))
    }
    own = Overlay(overlay)

    def read(model: type[_Model], name: str) -> _Model | None:
        value, changed_by = own.over(read_yaml(root / name))
        return _load(model, value, changed_by or f"mappings/{name}", problems)

    rules = list(_rule_files(root / "rules", "rules", own, problems))
    kidney = read(KidneyRule, "kidney.yaml")
    judgement = read(JudgementRule, "judgement.yaml")
    phases = read(PhaseRule, "phases.yaml")
    site = read(SiteRule, "site.yaml")
    cards = _load(CardWording, read_yaml(root / "cards.yaml"), "mappings/cards.yaml", problems)
    sheet = _load(FlowsheetRule, read_yaml(root / "flowsheet.yaml"), "mappings/flowsheet.yaml", problems)
    routes = _load(RouteRule, read_yaml(root / "routes.yaml"), "mappings/routes.yaml", problems)
    others = _load(OtherDrugs, read_yaml(root / "other_drugs.yaml"), "mappings/other_drugs.yaml", problems)
    limits = _only(InteractionLimits, rules, problems)
    duplicates = _only(DuplicateRule, rules, problems)
    resistance = _resistance_file(root, ResistanceRule, "interpretation.yaml", problems)
    reading = _resistance_file(root, ReadingRule, "reading.yaml", problems)
    serostatus = read(SerostatusRule, "serostatus.yaml")
    response = _only(ResponseRule, rules, problems)
    duration = _only(DurationRule, rules, problems)
    codes = load_codes(root)
    words = load_dose_words(root)
    problems += own.left()
    if limits is None or duplicates is None:
        raise KnowledgeError("\n".join(problems))
    if serostatus is None or response is None or duration is None:
        raise KnowledgeError("\n".join(problems))
    if kidney is None or judgement is None or phases is None or site is None or problems:
        raise KnowledgeError("\n".join(problems))
    if cards is None or routes is None or others is None or sheet is None or resistance is None or reading is None:
        raise KnowledgeError("\n".join(problems))
    mutations = load_mutations(root / "resistance", resistance)
    knowledge = Knowledge(
        version=_hash(root) + (f"+site.{own.version}" if own.version else ""),
        sources=sources,
        codes=codes,
        dose_words=words,
        renal_dose=tuple(rule for rule in rules if isinstance(rule, RenalDoseRule)),
        dose=tuple(rule for rule in rules if isinstance(rule, DoseRule)),
        cidofovir=tuple(rule for rule in rules if isinstance(rule, CidofovirRule)),
        monitoring=tuple(rule for rule in rules if isinstance(rule, MonitoringRule)),
        toxicity=tuple(rule for rule in rules if isinstance(rule, ToxicityRule)),
        interactions=tuple(rule for rule in rules if isinstance(rule, InteractionRule)),
        interaction_limits=limits,
        duplicates=duplicates,
        allergy=tuple(rule for rule in rules if isinstance(rule, AllergyRule)),
        safety=tuple(rule for rule in rules if isinstance(rule, SafetyRule)),
        pregnancy=tuple(rule for rule in rules if isinstance(rule, PregnancyRule)),
        immunosuppression=tuple(rule for rule in rules if isinstance(rule, ImmunosuppressionRule)),
        indication=tuple(row for rule in rules if isinstance(rule, IndicationRule) for row in rule.advice),
        response=response,
        duration=duration,
        serostatus=serostatus,
        kidney=kidney,
        judgement=judgement,
        phases=phases,
        site=site,
        cards=cards,
        flowsheet=sheet,
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


def _resistance_file(root: Traversable, model: type[_Model], name: str, problems: list[str]) -> _Model | None:
    value = read_yaml(root / "resistance" / name, f"mappings/resistance/{name}")
    return _load(model, value, f"mappings/resistance/{name}", problems)


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
            problems.append(f"{place}: {path + ': ' if path else ''}{message}")
        return None


_REMEDIES = {
    "extra_forbidden": "unknown key: check the spelling, or remove it",
    "missing": "is missing: add it",
    "string_type": 'is no text: write it in quotes ("2.10")',
    "bool_type": "write true or false",
}


def _rule_files(folder: Traversable, place: str, own: Overlay, problems: list[str]) -> Iterator[FiledRule]:
    """Every rule file below a folder, in the order of names; its `kind` says what it is."""
    for entry in sorted(folder.iterdir(), key=lambda found: found.name):
        here = f"{place}/{entry.name}"
        if entry.is_dir():
            yield from _rule_files(entry, here, own, problems)
        elif entry.name.endswith(".yaml"):
            value, changed_by = own.over(read_yaml(entry, f"mappings/{here}"))
            kind = value.get("kind") if isinstance(value, dict) else None
            if kind not in KINDS:
                problems.append(f"mappings/{here}: kind: {kind!r} is not known; write one of {', '.join(KINDS)}")
            elif rule := _load(KINDS[kind], value, changed_by or f"mappings/{here}", problems):
                yield rule


def _only(model: type[_Model], rules: Sequence[FiledRule], problems: list[str]) -> _Model | None:
    """The one rule of a kind of which there has to be one."""
    found = [rule for rule in rules if isinstance(rule, model)]
    if len(found) != 1:
        (kind,) = get_args(model.model_fields["kind"].annotation)
        remedy = "keep one" if found else "there has to be one that can be read"
        problems.append(f"mappings/rules: {len(found)} files are of kind {kind}; {remedy}")
        return None
    return found[0]


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
    dosing: tuple[RenalDoseRule | DoseRule | CidofovirRule, ...] = (
        *knowledge.renal_dose,
        *knowledge.dose,
        *knowledge.cidofovir,
    )
    for table in dosing:
        if table.drug not in knowledge.codes.drugs:
            problems.append(
                f"mappings: rule {table.id} names the drug {table.drug!r}, which is not in drugs.yaml; mend the name"
            )
    problems += _unknown_names(knowledge, dosing)
    problems += _unwatched(knowledge)
    problems += _unknown_in_care(knowledge)
    problems += _unknown_in_resistance(knowledge)
    problems += _unknown_in_advice(knowledge)
    taken: dict[tuple[str, str, str], str] = {}
    for table in knowledge.renal_dose:
        for route in table.routes:
            if (other := taken.setdefault((table.drug, table.indication, route), table.id)) != table.id:
                problems.append(
                    f"mappings: rules {other} and {table.id} both dose {table.drug} by the {route} route; keep one"
                )
    return problems


def _unknown_names(knowledge: Knowledge, rules: tuple[RenalDoseRule | DoseRule | CidofovirRule, ...]) -> Iterator[str]:
    """Names in conditions of rules that nothing stands behind: such a row would never apply, and nobody would see."""
    routes = frozenset((*knowledge.routes.by_code.values(), *knowledge.routes.by_text.values()))
    medicines = knowledge.medicines
    drugs = medicines.known | frozenset(medicines.classes)
    concepts = knowledge.codes.problem_concepts()
    panels, analytes = knowledge.flowsheet.panels, knowledge.codes.analytes
    yield from (
        f"mappings/flowsheet.yaml: {panel.name}: the analyte {name!r} is not in analytes.yaml; mend the name"
        for panel in panels
        for name in panel.analytes
        if name not in analytes
    )
    used = [
        ("flowsheet/panels", "drug", name, frozenset(knowledge.codes.drugs)) for p in panels for name in p.with_drugs
    ]
    used += [
        ("drugs/others", "drug", name, medicines.known) for listed in medicines.classes.values() for name in listed
    ]
    used += [(knowledge.phases.id, "transplant", name, concepts) for name in knowledge.phases.prophylaxis_window_days]
    switches = knowledge.site.switches.items()
    choices = frozenset(f"{name}: {choice}" for name, switch in switches for choice in switch.choices)
    for rule in rules:
        used += [(rule.id, "route", name, routes) for name in rule.routes]
        for when in rule.conditions if isinstance(rule, DoseRule) else ():
            used += [(rule.id, "route", name, routes) for name in when.routes]
            used += [
                (rule.id, "form", name, frozenset(knowledge.codes.drugs[rule.drug].default_route))
                for name in when.forms
            ]
            used += [(rule.id, "drug", name, drugs) for name in when.with_drugs]
            used += [(rule.id, "problem", name, concepts) for name in when.problems]
            used += [(rule.id, "switch", f"{name}: {value}", choices) for name, value in when.site.items()]
    known_names = {"route": routes, "drug": drugs, "problem": concepts, "analyte": frozenset(knowledge.codes.analytes)}
    known_names |= {"antiviral": frozenset(knowledge.codes.drugs)}
    known_names |= {"test": known_names["analyte"] | knowledge.codes.tests.keys() | concepts}
    for place, what, name in (*_names_in_monitoring(knowledge), *_names_in_toxicity(knowledge)):
        used.append((place, what, name, known_names[what]))
    used += _names_of_interactions(knowledge, routes, drugs)
    for place, what, name, known in used:
        if name not in known:
            yield f"mappings: rule {place} names the {what} {name!r}, which no file here knows; mend the name"


def _names_in_monitoring(knowledge: Knowledge) -> Iterator[tuple[str, str, str]]:
    """(rule, what it is, name) of every name in the monitoring rules."""
    for rule in knowledge.monitoring:
        named = {"antiviral": rule.drugs, "route": rule.routes, "problem": (*rule.problems, *rule.unless_problems)}
        named["test"] = tuple(name for due in rule.tests for name in due.any_of)
        named["analyte"] = tuple(name for due in rule.tests for name in due.not_instead)
        named["analyte"] += tuple(cause.analyte for cause in rule.tightened if cause.analyte)
        named["drug"] = rule.after_stop_of + tuple(name for due in rule.tests for name in due.beside)
        named["drug"] += tuple(name for cause in rule.tightened for name in cause.with_drugs)
        yield from ((rule.id, what, name) for what, names in named.items() for name in names)


def _names_in_toxicity(knowledge: Knowledge) -> Iterator[tuple[str, str, str]]:
    """(rule, what it is, name) of every name in the toxicity rules."""
    for rule in knowledge.toxicity:
        named = {"antiviral": rule.drugs, "drug": rule.shared_with, "analyte": rule.analytes}
        named["analyte"] += tuple(limit.unless_normal for limit in rule.limits if limit.unless_normal)
        named["problem"] = tuple(name for limit in rule.limits for name in limit.problems)
        yield from ((rule.id, what, name) for what, names in named.items() for name in names)


def _unwatched(knowledge: Knowledge) -> Iterator[str]:
    """Limits in another unit than the results have, and limits on a test whose absence no rule would show."""
    for rule in knowledge.toxicity:
        units = [(limit.analyte, limit.unit) for limit in rule.limits] + [
            (fall.analyte, fall.unit) for fall in rule.falls
        ]
        for name, unit in units:
            analyte = knowledge.codes.analytes.get(name)
            if analyte and unit != analyte.unit:
                yield f"mappings: rule {rule.id}: {name} is in {analyte.unit}, not in {unit}; convert the figure"
        for drug in rule.drugs:
            dues = [due for asking in knowledge.monitoring if drug in asking.drugs for due in asking.tests]
            asked = {name for due in dues for name in due.any_of}
            for name in sorted({name for name, _ in units} - asked):
                yield (
                    f"mappings: rule {rule.id} has a limit on {name}, which no monitoring rule of {drug} asks for;"
                    " add one, else its absence would go unseen"
                )


def _names_of_interactions(
    knowledge: Knowledge, routes: frozenset[str], drugs: frozenset[str]
) -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """(rule, what, name, known names of that kind) of the interaction tables and what stands beside them."""
    ours, analytes = frozenset(knowledge.codes.drugs), frozenset(knowledge.codes.analytes)
    with_level = frozenset(knowledge.interaction_limits.levels.analyte_of)
    for rule in knowledge.interactions:
        yield from ((rule.id, "drug", name, ours) for name in rule.drugs)
        for pair in rule.pairs:
            yield from ((rule.id, "drug", name, drugs) for name in (*pair.with_drugs, *pair.also_with))
            yield from ((rule.id, "route", name, routes) for name in pair.not_routes)
            yield from ((rule.id, "analyte", name, analytes) for name in filter(None, [pair.test]))
            measured = knowledge.medicines.members(pair.with_drugs) if "levels" in pair.info_while else ()
            yield from ((rule.id, "drug with a level", name, with_level) for name in measured)
    limits, same = knowledge.interaction_limits, knowledge.duplicates
    yield from ((limits.id, "analyte", limit.analyte, analytes) for limit in (*limits.counts, *limits.heart))
    yield from ((limits.id, "analyte", name, analytes) for name in limits.levels.analyte_of.values())
    yield from ((limits.id, "drug", name, drugs) for name in limits.levels.analyte_of)
    yield from ((same.id, "drug", name, ours) for group in same.same for name in group.drugs)


def _unknown_in_care(knowledge: Knowledge) -> Iterator[str]:
    """The same for the rules on allergies, on how a drug is given, on pregnancy and on immunosuppression."""
    known = {
        "antiviral": frozenset(knowledge.codes.drugs),
        "drug": knowledge.medicines.known | knowledge.medicines.classes.keys(),
        "problem": knowledge.codes.problem_concepts() | knowledge.codes.groups.keys(),
        "route": frozenset((*knowledge.routes.by_code.values(), *knowledge.routes.by_text.values())),
        "way": frozenset(knowledge.dose_words.giving.ways),
        "result": frozenset(knowledge.codes.analytes),
    }
    for rule in knowledge.care:
        for what, name in _names_in(rule):
            if name and name not in known[what]:
                yield f"mappings: rule {rule.id} names the {what} {name!r}, which no file here knows; mend the name"


def _names_in(rule: CareRule) -> Iterator[tuple[str, str]]:
    """(kind of name, name) of everything that a rule refers to."""
    used: list[tuple[str, Iterable[str]]] = [("antiviral", rule.about)]
    match rule:
        case AllergyRule():
            used += [("antiviral", rule.unseen)]
            used += [("drug", row.to_drugs) for row in rule.rows] + [("problem", row.to_concepts) for row in rule.rows]
        case SafetyRule():
            routed = (rule.by_route, rule.in_words, rule.with_problem, rule.companions)
            used += [("route", entry.routes) for entries in routed for entry in entries]
            used += [("route", entry.routes) for entry in (rule.infusion, rule.forms) if entry]
            used += [("route", each.not_by) for each in rule.companions]
            used += [("way", [row.way for row in rule.in_words]), ("way", [each.mentioned for each in rule.companions])]
            used += [("way", rule.forms.adults_unless)] if rule.forms else []
            used += [("way", [each.way for each in rule.infusion.concentrations])] if rule.infusion else []
            used += [("drug", each.drugs) for each in rule.companions]
            used += [("problem", row.problems) for row in rule.with_problem]
            used += [("problem", each.less_with) for each in rule.companions]
            used += [("result", row.at_least) for row in rule.with_problem]
        case PregnancyRule():
            used += [("problem", rule.child_bearing.excluded_by)]
        case ImmunosuppressionRule():
            used += [("drug", row.drugs) for row in rule.rows]
            used += [("problem", (*row.problems, *row.also, *row.unless)) for row in rule.rows]
    for what, names in used:
        for name in names:
            yield what, name


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
