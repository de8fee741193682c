"""The clinical knowledge, as the checks use it: one frozen value, loaded once at start by `knowledge_files`.

What a rule file may say is in `rules`; code tables and dose words are read by `codes` and `dosage.words`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cdshooks.medicine.codes import Codes
from cdshooks.medicine.dosage.words import DoseWords
from cdshooks.medicine.genotype import Lexicon
from cdshooks.medicine.medicines import Medicines
from cdshooks.medicine.mutations import Mutations
from cdshooks.medicine.rules import CareRule, Rule
from cdshooks.medicine.rules.advice import Advice, DurationRule, NotForCmvRule, ResponseRule
from cdshooks.medicine.rules.dose import CidofovirRule, DoseRule
from cdshooks.medicine.rules.entries import Cite, Source
from cdshooks.medicine.rules.flowsheet import FlowsheetRule
from cdshooks.medicine.rules.interaction import DuplicateRule, InteractionLimits, InteractionRule
from cdshooks.medicine.rules.kidney import KidneyRule
from cdshooks.medicine.rules.monitoring import MonitoringRule, ToxicityRule
from cdshooks.medicine.rules.reading import (
    CardWording,
    JudgementRule,
    PhaseRule,
    SerostatusRule,
    SiteRule,
)
from cdshooks.medicine.rules.renal_dose import RenalDoseRule
from cdshooks.medicine.rules.resistance import ResistanceRule
from cdshooks.medicine.rules.safety import AllergyRule, ImmunosuppressionRule, PregnancyRule, SafetyRule
from cdshooks.model import Citation, Concept


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
    not_for_cmv: tuple[NotForCmvRule, ...]
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
            *self.not_for_cmv,
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
