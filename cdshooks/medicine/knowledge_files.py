"""Reads mappings/ into `Knowledge`. Bad knowledge must not pass.

A wrong file raises `KnowledgeError` that names every problem with file, place and remedy.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.codes import Codes, load_codes
from cdshooks.medicine.dosage.words import load_dose_words
from cdshooks.medicine.genotype import make_lexicon
from cdshooks.medicine.knowledge import Knowledge, Resistance, Routes
from cdshooks.medicine.knowledge_checks import contradictions
from cdshooks.medicine.medicines import make_medicines
from cdshooks.medicine.mutations import load_mutations
from cdshooks.medicine.overlay import Overlay
from cdshooks.medicine.rules import KINDS, FiledRule
from cdshooks.medicine.rules.advice import DurationRule, IndicationRule, NotForCmvRule, ResponseRule
from cdshooks.medicine.rules.dose import CidofovirRule, DoseRule
from cdshooks.medicine.rules.entries import Source
from cdshooks.medicine.rules.flowsheet import FlowsheetRule
from cdshooks.medicine.rules.interaction import DuplicateRule, InteractionLimits, InteractionRule
from cdshooks.medicine.rules.kidney import KidneyRule
from cdshooks.medicine.rules.monitoring import MonitoringRule, ToxicityRule
from cdshooks.medicine.rules.reading import (
    CardWording,
    JudgementRule,
    OtherDrugs,
    PhaseRule,
    RouteRule,
    SerostatusRule,
    SiteRule,
)
from cdshooks.medicine.rules.renal_dose import RenalDoseRule
from cdshooks.medicine.rules.resistance import ReadingRule, ResistanceRule
from cdshooks.medicine.rules.safety import AllergyRule, ImmunosuppressionRule, PregnancyRule, SafetyRule
from cdshooks.medicine.yaml_file import read_yaml

_Model = TypeVar("_Model", bound=BaseModel)


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
        not_for_cmv=tuple(rule for rule in rules if isinstance(rule, NotForCmvRule)),
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
    problems += contradictions(knowledge)
    if problems:
        raise KnowledgeError("\n".join(problems))
    return knowledge


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
