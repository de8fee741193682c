"""The knowledge as one FHIR Bundle: every rule, every regimen of a dose table, every code, every source.

Reads `Knowledge` and the tables behind it and hands plain values to `wire.knowledge_bundle`, which knows FHIR. What has
no resource of its own (formulas, conditions, thresholds) stands in words in the description of its rule, complete.
"""

from collections.abc import Iterator
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from cdshooks import __version__
from cdshooks.medicine.code_files import CodeFiles, read_code_files
from cdshooks.medicine.codes import LOINC, RXNORM, SNOMED
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.rules.dose import DoseRule, When
from cdshooks.medicine.rules.entries import cites_of
from cdshooks.medicine.rules.renal_dose import RenalDoseRule, TableRegimen
from cdshooks.model import Citation, Coding, Concept
from cdshooks.service.catalogue import in_words
from cdshooks.wire import knowledge_bundle as fhir

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.service.config import Settings
    from cdshooks.wire.hooks import Json

INGREDIENT: Final = "IN"  # the RxNorm term type of a drug without form and strength
CONFIRMED: Final = "yes"
NOTICES: Final = {
    LOINC: "LOINC is copyright Regenstrief Institute, Inc. and the LOINC Committee; license at http://loinc.org/license.",
    RXNORM: "RxNorm data courtesy of the U.S. National Library of Medicine, which is not responsible for the product.",
    SNOMED: "SNOMED CT is copyright SNOMED International; use in production needs an affiliate licence.",
}


def export(settings: "Settings") -> "Json":
    """The built-in knowledge, or the copy that the settings name, with the overlay.

    Raises:
        KnowledgeError: a file of the knowledge cannot be used.
    """
    knowledge = load_knowledge(settings.mappings, settings.overlay)
    root: Traversable = settings.mappings or files("cdshooks.mappings")
    edition = fhir.Edition(knowledge.version, __version__, knowledge.cards.note)
    codes = read_code_files(root)
    resources = [
        *_rules(edition, knowledge, codes),
        *_own_codes(edition, knowledge),
        *_value_sets(edition, knowledge, codes),
        *_local_codes(edition, codes),
        _mutations(edition, knowledge, root),
    ]
    sources = [Citation(one.title, "", one.version, one.url) for one in knowledge.sources.values()]
    contents = fhir.contents(edition, title="CMV therapy checks", resources=resources, sources=sources)
    return fhir.bundle([contents, *resources])


# --------------------------------------------------------------------------------------------------------------------
# Rules and regimens


def _rules(edition: fhir.Edition, knowledge: "Knowledge", codes: CodeFiles) -> Iterator["Json"]:
    """Each rule as a plan, followed by the regimens that it names."""
    for rule in knowledge.rules:
        regimens: list[Json] = []
        steps: list[Json] = []
        if isinstance(rule, RenalDoseRule):
            steps = list(_bands(edition, knowledge, codes, rule, regimens))
        elif isinstance(rule, DoseRule):
            steps = list(_rows(edition, knowledge, codes, rule, regimens))
        yield fhir.plan(
            edition,
            rule=rule.id,
            title=rule.title,
            words=in_words(knowledge, rule),
            reviewed=rule.reviewed,
            citations=_citations(knowledge, rule),
            steps=steps,
        )
        yield from regimens


def _bands(
    edition: fhir.Edition, knowledge: "Knowledge", codes: CodeFiles, table: RenalDoseRule, regimens: list["Json"]
) -> Iterator["Json"]:
    """The rows of a table by kidney function."""
    above: Decimal | None = None
    rows: list[tuple[str, str, Any, fhir.Limits | None]] = []
    for band in table.bands:
        highest = None if above is None else above - table.step
        limits = fhir.Limits("clearance", band.at_least, highest, table.measure)
        words = f"clearance {band.at_least} {table.measure} or more" + (f", below {above}" if above is not None else "")
        rows.append((f"{band.at_least}", words, band, limits))
        above = band.at_least
    rows += [(row.modality, f"{row.modality} dialysis", row, None) for row in table.dialysis]
    for name, words, row, within in rows:
        parts = []
        for phase in ("treatment", "stable"):
            for number, regimen in enumerate(getattr(row, phase), 1):
                full = f"{table.id}/{name}/{phase}/{number}"
                applies = {"phase": phase} | ({} if within else {"dialysis": name})
                cites = _citations(knowledge, row) or _citations(knowledge, table)[:1]
                regimens.append(
                    _regimen(edition, codes, full, table, regimen, applies, [within] if within else [], cites)
                )
                parts.append(fhir.action(f"{phase}: {regimen.regimen.wording}", applies=phase, does=full))
        told = "" if parts and not row.note and not row.variant else in_words(knowledge, row)
        yield fhir.action(words, applies=words, description=told, parts=parts)


def _rows(
    edition: fhir.Edition, knowledge: "Knowledge", codes: CodeFiles, rule: DoseRule, regimens: list["Json"]
) -> Iterator["Json"]:
    """The rows of a table of doses: the first one whose conditions hold."""
    for index, row in enumerate(rule.rows, 1):
        applies = _conditions(row.when)
        words = "; ".join(f"{about}: {text}" for about, text in applies.items()) or "in every other case"
        parts = []
        for number, regimen in enumerate(row.regimens, 1):
            full = f"{rule.id}/{index}/{number}"
            cites = _citations(knowledge, row) or _citations(knowledge, rule)[:1]
            regimens.append(_regimen(edition, codes, full, rule, regimen, applies, [], cites))
            parts.append(fhir.action(regimen.regimen.wording, does=full))
        yield fhir.action(words, applies=f"no row above; {words}", description=in_words(knowledge, row), parts=parts)


def _regimen(
    edition: fhir.Edition,
    codes: CodeFiles,
    name: str,
    rule: RenalDoseRule | DoseRule,
    regimen: TableRegimen,
    applies: dict[str, str],
    limits: list[fhir.Limits],
    cites: list[Citation],
) -> "Json":
    display = codes.drugs.drugs[rule.drug].display
    ingredients = [row for row in codes.rxnorm if row["concept"] == rule.drug and row["kind"] == INGREDIENT]
    indication = {"indication": rule.indication} if isinstance(rule, RenalDoseRule) else {}
    return fhir.activity(
        edition,
        name=name,
        title=f"{display.capitalize()} {regimen.regimen.wording}",
        drug=display,
        codes=[fhir.Code(row["system"], row["code"], row["display"]) for row in ingredients],
        route=" or ".join(rule.routes),
        regimen=regimen.regimen,
        times=(regimen.frequency, *regimen.span),
        applies=applies | indication,
        limits=limits,
        citations=cites,
    )


def _conditions(when: When) -> dict[str, str]:
    """The conditions that are given, in words by what they are about."""
    found: dict[str, str] = {}
    for name, value in when:
        if isinstance(value, dict):
            found |= {f"switch {switch}": choice for switch, choice in value.items()}
        elif value not in (None, ()):
            found[name.replace("_", " ")] = " or ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return found


def _citations(knowledge: "Knowledge", entry: BaseModel) -> list[Citation]:
    return list(dict.fromkeys(knowledge.citation(cite) for cite in cites_of(entry)))


# --------------------------------------------------------------------------------------------------------------------
# Codes


def _own_codes(edition: fhir.Edition, knowledge: "Knowledge") -> Iterator["Json"]:
    """The codes that cards carry."""
    wording = knowledge.cards
    topics = [fhir.Code(wording.topic_system, code, display) for code, display in wording.topics.items()]
    reasons = [fhir.Code(wording.reason_system, reason.code, reason.display) for reason in wording.override_reasons]
    yield fhir.code_system(edition, name="topic", title="Topics of cards", codes=topics)
    yield fhir.code_system(edition, name="override-reason", title="Reasons for overriding a card", codes=reasons)


def _value_sets(edition: fhir.Edition, knowledge: "Knowledge", codes: CodeFiles) -> Iterator["Json"]:
    """What each code is taken to mean; without codes from memory, and without results that are never used."""
    tables = (
        ("result", codes.loinc, lambda row: _result(knowledge, row)),
        ("drug", codes.rxnorm, lambda row: row["concept"]),
        ("condition", codes.condition_codes, lambda row: row["concept"]),
    )
    for kind, rows, meaning in tables:
        found: dict[str, dict[fhir.Code, None]] = {}
        for row in rows:
            if row["confirmed"] == CONFIRMED and (concept := meaning(row)):
                found.setdefault(concept, {})[_code(row)] = None
        for concept, members in found.items():
            systems = dict.fromkeys(code.system for code in members)
            notice = " ".join(NOTICES[system] for system in systems if system in NOTICES)
            title = f"{kind.capitalize()}: {concept.replace('-', ' ')}"
            yield fhir.value_set(edition, name=f"{kind}/{concept}", title=title, codes=members, notice=notice)


def _result(knowledge: "Knowledge", row: dict[str, str]) -> str:
    """The analyte or test that a row of loinc.csv is used for, "" for one that is never used."""
    known = knowledge.codes.analyte(Concept((Coding(LOINC, row["code"]),)))
    if known is None:
        return row["concept"] if row["concept"] in knowledge.codes.tests else ""
    analyte, kind = known
    return "" if kind in analyte.excluded_kinds else analyte.key


def _code(row: dict[str, str]) -> fhir.Code:
    return fhir.Code(row["system"], row["code"], row["display"])


def _local_codes(edition: fhir.Edition, codes: CodeFiles) -> Iterator["Json"]:
    """A site's own codes, where it has some."""
    pairs = [(_code(row), fhir.Code(row["as_system"], row["as_code"], "")) for row in codes.local]
    if pairs:
        yield fhir.concept_map(edition, name="local", title="Codes of this site", pairs=pairs)


def _mutations(edition: fhir.Edition, knowledge: "Knowledge", root: Traversable) -> "Json":
    """The published resistance findings."""
    tables = {name: (root / "resistance" / name).read_bytes() for name in ("mutations.csv", "reference.csv")}
    cites = _citations(knowledge, knowledge.resistance.rule)
    return fhir.table(edition, name="resistance", title="Published resistance findings", files=tables, citations=cites)
