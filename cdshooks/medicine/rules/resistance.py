"""Genotypes: reading, levels, options (`mappings/resistance/`)."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cdshooks.medicine.rules.entries import Cite, Entry

Level = Literal["none", "unknown", "possible", "low", "moderate", "high"]  # of resistance, from least to most
LEVELS: tuple[Level, ...] = ("none", "unknown", "possible", "low", "moderate", "high")
Loudness = Literal["critical", "warning", "info"]
Codons = Annotated[tuple[int, int], Field(min_length=2)]  # first and last


class Bands(Entry):
    """From which fold change of the EC50 each level starts."""

    low: Decimal
    moderate: Decimal
    high: Decimal
    cite: Cite

    @model_validator(mode="after")
    def _rising(self) -> "Bands":
        if not self.low < self.moderate < self.high:
            raise ValueError("the bands must rise from low to high")
        return self

    def level(self, fold: Decimal) -> Level:
        """The level of a fold change."""
        return "high" if fold >= self.high else "moderate" if fold >= self.moderate else self._lower(fold)

    def _lower(self, fold: Decimal) -> Level:
        return "low" if fold >= self.low else "none"


class EvidenceChoice(Entry):
    """Which lines of mutations.csv count, and how."""

    engineered: tuple[str, ...]
    no_phenotype_assays: tuple[str, ...]
    left_out_flags: tuple[str, ...]
    call_only_flags: tuple[str, ...]


class Loudnesses(Entry):
    """The indicator of each level; a change without effect is silent."""

    high: Loudness
    moderate: Loudness
    low: Loudness
    possible: Loudness
    unknown: Loudness


class CallLevels(Entry):
    """What level a laboratory's word for a drug counts as."""

    resistant: Level
    possible: Level
    undetermined: Level
    cite: Cite


class ResistanceDrug(Entry):
    """Which genes matter for a drug, and which genes and codons a negative result has to have covered."""

    genes: tuple[str, ...]
    needs: tuple[str, ...]  # genes without which a result does not exclude resistance
    asks: dict[str, tuple[int, ...]]
    asks_always: tuple[str, ...] = ()  # genes of which an unstated coverage is not taken for granted
    follows: str = ""  # a drug whose figures stand in where there are none
    note: str = ""
    cite: Cite


class Coverage(Entry):
    """When a gene that no result tells of is worth a word."""

    panels: tuple[tuple[str, ...], ...]  # genes that are asked for together: a result of one is about the drugs of all
    current_days: Annotated[int, Field(gt=0)]  # a result this old still stands for today
    cite: Cite


class MutationOverride(Entry):
    """A level that departs from the rule, with its reason."""

    gene: str
    mutation: str
    drug: str
    level: Level
    reason: Annotated[str, Field(min_length=1)]
    cite: Cite


class DefaultLevel(Entry):
    """Changes of a kind that are at least possible resistance, whatever the data say."""

    gene: str
    kinds: tuple[Literal["deletion", "stop", "frameshift", "insertion"], ...]
    codons: Codons | None = None
    drugs: tuple[str, ...]
    reason: Annotated[str, Field(min_length=1)]
    cite: Cite


class Together(Entry):
    """Changes of one drug in each of these genes count as `level`."""

    drug: str
    genes: tuple[str, ...]
    level: Level
    reason: Annotated[str, Field(min_length=1)]
    cite: Cite


class Region(Entry):
    """A named part of a protein."""

    name: str
    codons: Codons


class ClearanceLimit(Entry):
    """What is said of a drug below a creatinine clearance (mL/min; mL/min/kg where `per_kg`), and on dialysis."""

    below: Decimal
    says: Annotated[str, Field(min_length=1)]


class Option(Entry):
    """What may be discussed instead, and which of the patient's values speak to it; counts as in analytes.yaml."""

    says: str
    kidney: str = ""  # shown with the clearance
    per_kg: StrictBool = False
    limit: ClearanceLimit | None = None
    start_limits: StrictBool = False  # those of the cidofovir rule
    counts: dict[str, Decimal] = Field(default_factory=dict)  # not to be started below
    not_with: str = ""
    cite: Cite


class Options(Entry):
    """The options, in the order shown."""

    lead: str
    cite: Cite
    drugs: dict[str, Option]
    never: dict[str, str]


class ResistanceRule(Entry):
    """mappings/resistance/interpretation.yaml."""

    kind: Literal["resistance"]
    id: str
    title: str
    reviewed: str
    cite: Cite
    disclaimer: Annotated[str, Field(min_length=1)]
    bands: Bands
    evidence: EvidenceChoice
    indicators: Loudnesses
    earlier_at_most: Loudness
    calls: CallLevels
    coverage: Coverage
    drugs: dict[str, ResistanceDrug]
    same_drug: dict[str, str]
    other_drugs: tuple[str, ...]  # in the data, judged for no order
    overrides: tuple[MutationOverride, ...]
    polymorphisms: dict[str, tuple[str, ...]]
    defaults: tuple[DefaultLevel, ...]
    together: tuple[Together, ...]
    multiply: tuple[str, ...]
    regions: dict[str, tuple[Region, ...]]
    options: Options

    def data_drug(self, ordered: str) -> str:
        """The drug of the data that an ordered one is."""
        return self.same_drug.get(ordered, ordered)


class ResultCodes(Entry):
    """Codes of mappings/resistance/reading.yaml."""

    genes: dict[str, tuple[str, ...]]
    answers: dict[str, Literal["resistant", "possible", "susceptible", "undetermined"]]
    interpretations: dict[str, Literal["resistant", "possible", "susceptible", "undetermined"]]
    variants: tuple[str, ...]
    components: dict[str, Literal["gene", "protein", "dna", "share", "kind"]]


class Viruses(Entry):
    """Names of the virus, and of others whose results are not ours."""

    ours: tuple[str, ...]
    others: tuple[str, ...]


class CallWords(Entry):
    """What a laboratory says of a drug."""

    resistant: tuple[str, ...]
    possible: tuple[str, ...]
    susceptible: tuple[str, ...]
    undetermined: tuple[str, ...]


class Assay(Entry):
    """An assay that reads only part of a gene."""

    name: str
    words: tuple[str, ...]
    covers: dict[str, Codons]
    cite: Cite


class ReadingRule(Entry):
    """mappings/resistance/reading.yaml: the words of CMV resistance results; each group is explained there."""

    codes: ResultCodes
    viruses: Viruses
    about: tuple[str, ...]
    drugs: dict[str, tuple[str, ...]]
    calls: CallWords
    brief_undetermined: tuple[str, ...]
    hedges: tuple[str, ...]
    noun: tuple[str, ...]
    noun_of: tuple[str, ...]
    asked: tuple[str, ...]
    suspected: tuple[str, ...]
    many: tuple[str, ...]
    these: tuple[str, ...]
    teaching: tuple[str, ...]
    caveat: tuple[str, ...]
    mutation: tuple[str, ...]
    none: tuple[str, ...]
    wild_type: tuple[str, ...]
    affirmed: tuple[str, ...]
    denied: tuple[str, ...]
    denying: tuple[str, ...]
    except_: Annotated[tuple[str, ...], Field(alias="except")]
    remainder: tuple[str, ...]
    listed: tuple[str, ...]
    sought: tuple[str, ...]
    back: tuple[str, ...]
    elsewhere: tuple[str, ...]
    answers: tuple[str, ...]
    common: tuple[str, ...]
    mixture: tuple[str, ...]
    breaks: tuple[str, ...]
    contrasts: tuple[str, ...]
    assays: tuple[Assay, ...]
