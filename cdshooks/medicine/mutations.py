"""What is published of each CMV mutation: the reference proteins, and the level of resistance of each change by drug.

Reads mappings/resistance/reference.csv and mutations.csv. A level is the median of engineered single mutants; every
departure from that rule is in interpretation.yaml, with its reason. Absence from the data proves nothing.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib.resources.abc import Traversable
from io import StringIO
from itertools import product
from operator import itemgetter
from statistics import median
from typing import NamedTuple

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.rules.resistance import LEVELS, Level, ResistanceRule

_BASES = "TCAG"
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
_GENETIC_CODE = dict(zip(("".join(codon) for codon in product(_BASES, repeat=3)), _AMINO_ACIDS, strict=True))
_NAME = re.compile(r"([A-Z])(\d+)([A-Z*])|del(\d+)(?:-(\d+))?|([A-Z])(\d+)ins[A-Z]+")
_COLUMNS = "gene mutation drug fold reported_call co_mutations evidence assay record_status flags doi reference_url"


@dataclass(frozen=True, slots=True)
class Protein:
    """A protein of strain Merlin, with its coding sequence."""

    gene: str
    residues: str
    bases: str

    def fits(self, letter: str, codon: int) -> bool:
        """Has the reference this amino acid at this codon?"""
        return 1 <= codon <= len(self.residues) and self.residues[codon - 1] == letter

    def change(self, position: int, old: str, new: str) -> str | None:
        """`A594V` for bases replaced from a position of the coding sequence on, within one codon; None when it misfits.

        A change that leaves the amino acid as it is gives "A594A".
        """
        codon, offset = divmod(position - 1, 3)
        triplet = self.bases[3 * codon : 3 * codon + 3]
        if codon >= len(self.residues) or triplet[offset : offset + len(old)] != old or len(old) != len(new):
            return None
        mutated = triplet[:offset] + new + triplet[offset + len(old) :]
        return f"{self.residues[codon]}{codon + 1}{_GENETIC_CODE[mutated]}" if len(mutated) == len(triplet) else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the data say of one change, or of changes tested together, for one drug.

    `rule_level` is what the rule gives ("reported resistant" without a number), `level` what is judged by;
    `low`..`high` are the folds of the `values` used; `reason` says why `level` departs from the rule.
    """

    rule_level: str
    level: Level
    fold: Decimal | None
    low: Decimal | None
    high: Decimal | None
    values: int
    studies: int
    engineered: bool
    agreement: str
    dois: tuple[str, ...]
    reason: str = ""


class Name(NamedTuple):
    """A mutation by gene and name."""

    gene: str
    change: str


@dataclass(frozen=True, slots=True, eq=False)
class Mutations:
    """All published changes. `withdrawn` are those without an active record: "R", "S" or "" as last reported."""

    proteins: Mapping[str, Protein]
    single: Mapping[tuple[Name, str], Evidence]
    combined: Mapping[tuple[frozenset[Name], str], Evidence]
    names: Mapping[str, frozenset[str]]  # change -> the genes in which it is known
    withdrawn: Mapping[Name, str]
    known_codons: Mapping[str, Mapping[str, frozenset[int]]]  # drug -> gene -> codons of resistance


@lru_cache(maxsize=4096)
def codons_of(change: str) -> tuple[int, int] | None:
    """First and last codon of a change as the data write it; None when it is not written so."""
    found = _NAME.fullmatch(change)
    if not found:
        return None
    first = int(found[2] or found[4] or found[7])
    return first, int(found[5] or first)


class _Line(NamedTuple):
    """One usable line of mutations.csv."""

    names: frozenset[Name]
    drug: str
    fold: Decimal | None
    call: str
    engineered: bool
    study: str
    counts: bool  # a phenotype of the virus, without a flag that rules it out
    disputed: bool


def load_mutations(folder: Traversable, rule: ResistanceRule) -> Mutations:
    """Read the two tables of mappings/resistance. Raises KnowledgeError that names every problem with its row."""
    problems: list[str] = []
    proteins = {row["gene"]: _protein(row, problems) for row in _rows(folder, "reference.csv", "gene coding_sequence")}
    active: list[_Line] = []
    names: dict[str, set[str]] = defaultdict(set)
    live: set[Name] = set()
    gone: dict[Name, str] = {}
    for number, row in enumerate(_rows(folder, "mutations.csv", _COLUMNS), start=2):
        line = _line(row, rule, proteins, f"mappings/resistance/mutations.csv: row {number}", problems)
        name = Name(row["gene"], row["mutation"])
        names[name.change].add(name.gene)
        if line is None:
            continue
        if row["record_status"] == "active":
            active.append(line)
            live.add(name)
        else:
            gone[name] = max(gone.get(name, ""), line.call, key="\0SR".find)
    for gene, changes in rule.polymorphisms.items():
        for change in changes:
            names[change].add(gene)
    problems += _unknown(rule, proteins)
    if problems:
        raise KnowledgeError("\n".join(problems))
    grouped: dict[tuple[frozenset[Name], str], list[_Line]] = defaultdict(list)
    for line in active:
        if line.drug in rule.drugs:
            grouped[line.names, line.drug].append(line)
    judged = {key: found for key, lines in grouped.items() if (found := _judge(lines, rule))}
    single = {(next(iter(together)), drug): found for (together, drug), found in judged.items() if len(together) == 1}
    _override(single, rule)
    return Mutations(
        proteins=proteins,
        single=single,
        combined={key: found for key, found in judged.items() if len(key[0]) > 1},
        names={change: frozenset(genes) for change, genes in names.items()},
        withdrawn={name: call for name, call in gone.items() if name not in live},
        known_codons=_known_codons(single, rule),
    )


def _rows(folder: Traversable, name: str, needed: str) -> list[dict[str, str]]:
    """The needed columns of each row."""
    place, wanted = f"mappings/resistance/{name}", needed.split()
    try:
        head, *lines = csv.reader(StringIO((folder / name).read_text(encoding="utf-8")), strict=True)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise KnowledgeError(f"{place}: cannot be read ({type(error).__name__}); put back a UTF-8 CSV file") from error
    if absent := [column for column in wanted if column not in head]:
        raise KnowledgeError(f"{place}: column {', '.join(absent)} is missing; add it to the first line")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(head):
            raise KnowledgeError(f"{place}: row {number}: not as many values as columns; quote commas")
    needed_of = itemgetter(*(head.index(column) for column in wanted))
    return [dict(zip(wanted, needed_of(line), strict=True)) for line in lines]


def _protein(row: Mapping[str, str], problems: list[str]) -> Protein:
    bases = row["coding_sequence"]
    residues = "".join(_GENETIC_CODE.get(bases[i : i + 3], "?") for i in range(0, len(bases) - 2, 3))
    if len(bases) % 3 or not residues.startswith("M") or residues.find("*") != len(residues) - 1 or "?" in residues:
        problems.append(
            f"mappings/resistance/reference.csv: {row['gene']}: no coding sequence from start to stop; put it back"
        )
    return Protein(row["gene"], residues[:-1], bases)


def _line(
    row: Mapping[str, str], rule: ResistanceRule, proteins: Mapping[str, Protein], place: str, problems: list[str]
) -> _Line | None:
    """A line, or None with what is wrong with it added to `problems`."""
    found = len(problems)
    together = {Name(row["gene"], row["mutation"])}
    for partner in filter(None, row["co_mutations"].split(";")):
        gene, _, change = partner.partition(":")
        together.add(Name(gene, change))
    for name in sorted(together) if len(together) > 1 else together:
        codons = codons_of(name.change)
        if name.gene not in proteins:
            problems.append(f"{place}: gene {name.gene!r} is not in reference.csv; mend the name")
        elif codons is None or codons[1] > len(proteins[name.gene].residues):
            problems.append(f"{place}: mutation {name.change!r} is no change of {name.gene}; write A594V or del595-603")
    if row["drug"] not in rule.drugs and row["drug"] not in rule.other_drugs:
        problems.append(f"{place}: drug {row['drug']!r} is not in interpretation.yaml; mend the name")
    if row["record_status"] not in ("active", "inactive"):
        problems.append(f"{place}: record_status {row['record_status']!r}: write active or inactive")
    if row["reported_call"] not in ("", "R", "S"):
        problems.append(f"{place}: reported_call {row['reported_call']!r}: write R, S or nothing")
    fold = None
    try:
        fold = Decimal(row["fold"]) if row["fold"] else None
        if fold is not None and not fold > 0:
            raise InvalidOperation
    except InvalidOperation:
        problems.append(f"{place}: fold {row['fold']!r} is no number above 0; write a decimal or nothing")
    if len(problems) > found:
        return None
    flags, chosen = row["flags"].split(";") if row["flags"] else (), rule.evidence
    return _Line(
        names=frozenset(together),
        drug=row["drug"],
        fold=fold,
        call=row["reported_call"],
        engineered=row["evidence"] in chosen.engineered,
        study=row["doi"] or row["reference_url"],
        counts=row["assay"] not in chosen.no_phenotype_assays and not any(f in chosen.left_out_flags for f in flags),
        disputed=any(flag in chosen.call_only_flags for flag in flags),
    )


def _judge(lines: list[_Line], rule: ResistanceRule) -> Evidence | None:
    """What lines on the same change and drug say together; None when none of them says anything usable."""
    measured = [line for line in lines if line.counts and line.fold is not None and not line.disputed]
    engineered = [line for line in measured if line.engineered]
    used = engineered or measured
    folds = sorted(line.fold for line in used if line.fold is not None)
    if folds:
        middle = median(folds)
        level = rule.bands.level(middle)
        return _settled(
            Evidence(
                rule_level=level,
                level=level,
                fold=middle,
                low=folds[0],
                high=folds[-1],
                values=len(folds),
                studies=len({line.study for line in used}),
                engineered=bool(engineered),
                agreement=_agreement(folds, rule),
                dois=tuple(dict.fromkeys(line.study for line in used)),
            )
        )
    called = [line for line in lines if line.call or line.disputed]
    if not called:
        return None
    resistant = any(line.call == "R" or line.disputed for line in called)
    return Evidence(
        rule_level="reported resistant" if resistant else "reported susceptible",
        level="possible" if resistant else "none",
        fold=None,
        low=None,
        high=None,
        values=0,
        studies=len({line.study for line in called}),
        engineered=any(line.engineered for line in called),
        agreement="fold disputed" if any(line.disputed for line in called) else "call only",
        dois=tuple(dict.fromkeys(line.study for line in called)),
    )


def _agreement(folds: list[Decimal], rule: ResistanceRule) -> str:
    if len(folds) == 1:
        return "single value"
    if folds[0] < rule.bands.low <= folds[-1]:
        return "crosses the resistance limit"
    return "same band" if rule.bands.level(folds[0]) == rule.bands.level(folds[-1]) else "crosses band"


def _settled(evidence: Evidence) -> Evidence:
    """Studies on both sides of the limit, with a median near it: neither side is picked."""
    if evidence.agreement == "crosses the resistance limit" and evidence.level in ("none", "low"):
        return replace(evidence, level="possible", reason="studies disagree")
    return evidence


def _override(single: dict[tuple[Name, str], Evidence], rule: ResistanceRule) -> None:
    for entry in rule.overrides:
        key = (Name(entry.gene, entry.mutation), entry.drug)
        nothing = Evidence("", "none", None, None, None, 0, 0, False, "author statement", ())
        single[key] = replace(single.get(key, nothing), level=entry.level, reason=entry.reason)


def _known_codons(
    single: Mapping[tuple[Name, str], Evidence], rule: ResistanceRule
) -> dict[str, dict[str, frozenset[int]]]:
    found: dict[str, dict[str, set[int]]] = {drug: defaultdict(set) for drug in rule.drugs}
    for (name, drug), evidence in single.items():
        codons = codons_of(name.change)
        if codons and codons[0] == codons[1] and LEVELS.index(evidence.level) >= LEVELS.index("possible"):
            found[drug][name.gene].add(codons[0])
    return {drug: {gene: frozenset(codons) for gene, codons in genes.items()} for drug, genes in found.items()}


def _unknown(rule: ResistanceRule, proteins: Mapping[str, Protein]) -> Iterator[str]:
    """Genes, drugs and changes in interpretation.yaml that nothing stands behind."""
    place = "mappings/resistance/interpretation.yaml"
    used_genes: list[tuple[str, Iterable[str]]] = [
        *(
            (f"drugs.{name}", (*drug.genes, *drug.needs, *drug.asks, *drug.asks_always))
            for name, drug in rule.drugs.items()
        ),
        ("coverage.panels", [gene for panel in rule.coverage.panels for gene in panel]),
        ("overrides", [entry.gene for entry in rule.overrides]),
        ("polymorphisms", rule.polymorphisms),
        ("defaults", [entry.gene for entry in rule.defaults]),
        ("together", [gene for entry in rule.together for gene in entry.genes]),
        ("regions", rule.regions),
    ]
    for where, genes in used_genes:
        for gene in genes:
            if gene not in proteins:
                yield f"{place}: {where}: gene {gene!r} is not in reference.csv; mend the name"
    used_drugs: list[tuple[str, Iterable[str]]] = [
        ("drugs.follows", [drug.follows for drug in rule.drugs.values() if drug.follows]),
        ("same_drug", rule.same_drug.values()),
        ("overrides", [entry.drug for entry in rule.overrides]),
        ("defaults", [drug for entry in rule.defaults for drug in entry.drugs]),
        ("together", [entry.drug for entry in rule.together]),
        ("multiply", rule.multiply),
        ("options", rule.options.drugs),
    ]
    for where, drugs in used_drugs:
        for drug in drugs:
            if drug not in rule.drugs:
                yield f"{place}: {where}: drug {drug!r} is not among `drugs`; mend the name"
    named = [(entry.gene, entry.mutation) for entry in rule.overrides]
    named += [(gene, change) for gene, changes in rule.polymorphisms.items() for change in changes]
    for gene, change in named:
        codons = codons_of(change)
        if codons is None or (gene in proteins and codons[1] > len(proteins[gene].residues)):
            yield f"{place}: {change!r} is no change of {gene}; write A594V or del595-603"
