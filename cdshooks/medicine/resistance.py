"""What the resistance results of a patient mean for one drug: level by level, with the reason for each.

Pure: results and knowledge in, a `Verdict` out. Nothing here is ever called susceptible: the level is "none" when
nothing that is known speaks against the drug, and what is not known is said apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, auto
from itertools import chain

from cdshooks.medicine.knowledge import Resistance
from cdshooks.medicine.mutations import Evidence, Name, codons_of
from cdshooks.medicine.rules.entries import Cite
from cdshooks.medicine.rules.resistance import LEVELS, Level
from cdshooks.model import Call, Change, Genotype


@dataclass(frozen=True, slots=True)
class JudgedChange:
    """One change and its level for the drug. `denied_by` is a later result of the same gene that does not hold it."""

    change: Change
    result: Genotype
    level: Level
    why: str
    cites: tuple[Cite, ...] = ()
    denied_by: Genotype | None = None


@dataclass(frozen=True, slots=True)
class JudgedCall:
    """What a laboratory said of the drug. `denied_by` is a later result in which it says otherwise."""

    call: Call
    result: Genotype
    level: Level
    denied_by: Genotype | None = None


class Gap(Enum):
    """Why results do not settle whether a drug is resisted."""

    UNREAD = auto()  # something stands there that makes no sense
    FAILED = auto()  # the laboratory could not determine it
    CODONS = auto()  # the codons that matter may not have been read
    GENES = auto()  # a gene that matters was not reported


@dataclass(frozen=True, slots=True)
class Unsettled:
    """One such gap of a result, in words."""

    result: Genotype
    why: str
    gap: Gap


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that the results say of one drug. `level` is the worst of what holds now, `earlier` of what did."""

    drug: str
    level: Level
    earlier: Level
    changes: tuple[JudgedChange, ...]
    calls: tuple[JudgedCall, ...]
    together: tuple[str, ...] = ()  # changes that count together, in words
    together_level: Level = "none"
    unsettled: tuple[Unsettled, ...] = ()
    needs: tuple[str, ...] = ()  # the genes that matter for the drug
    not_reported: tuple[str, ...] = ()  # those of them that no result tells of, however old
    cites: tuple[Cite, ...] = ()


def rank(level: Level) -> int:
    """For comparing levels."""
    return LEVELS.index(level)


def worst(levels: Iterable[Level]) -> Level:
    """The worst of some levels, "none" of none."""
    return max(levels, key=rank, default="none")


def judge(results: Sequence[Genotype], resistance: Resistance, ordered: str, today: date) -> Verdict | None:
    """The verdict on an ordered drug; None for one that no resistance data are about."""
    rule = resistance.rule
    drug = rule.data_drug(ordered)
    if drug not in rule.drugs:
        return None
    changes = tuple(_changes(results, resistance, drug))
    calls = tuple(_lab_calls(results, resistance, drug))
    now = [entry for entry in changes if entry.denied_by is None]
    together, together_level, cites = _together(now, resistance, drug)
    level = worst(
        (
            *(entry.level for entry in now),
            *(entry.level for entry in calls if entry.denied_by is None),
            together_level,
        )
    )
    told = _genes_told(results)
    not_reported = tuple(gene for gene in rule.drugs[drug].needs if gene not in told) if "" not in told else ()
    unsettled = tuple(dict.fromkeys(_unsettled(results, resistance, drug, level, calls)))
    if not_reported and not _settled(level, calls) and (beside := _beside(results, resistance, not_reported, today)):
        why = f"{' and '.join(not_reported)} not reported, only {' and '.join(sorted(told))}"
        unsettled = (*unsettled, Unsettled(beside, why, Gap.GENES))
    return Verdict(
        drug=drug,
        level=level,
        earlier=worst(
            (
                *(entry.level for entry in changes if entry.denied_by is not None),
                *(entry.level for entry in calls if entry.denied_by is not None),
            )
        ),
        changes=changes,
        calls=calls,
        together=together,
        together_level=together_level,
        unsettled=unsettled,
        needs=rule.drugs[drug].needs,
        not_reported=not_reported,
        cites=cites,
    )


# --------------------------------------------------------------------------------------------------------------------
# Changes


def _changes(results: Sequence[Genotype], resistance: Resistance, drug: str) -> Iterator[JudgedChange]:
    """Every change in a gene that matters for the drug, once, as the newest result that holds it tells it."""
    genes = resistance.rule.drugs[drug].genes
    seen: set[Name] = set()
    for result in results:  # newest first
        for change in result.reading.changes:
            name = Name(change.gene, change.change)
            if change.gene in genes and name not in seen:
                seen.add(name)
                level, why, cites = level_of(change, resistance, drug)
                later = next((other for other in results if _denies(other, change, result.on)), None)
                yield JudgedChange(change, result, level, why, cites, later)


def _denies(other: Genotype, change: Change, on: date | None) -> bool:
    """Does a later result say that the change is not there?"""
    if on is None or other.on is None or other.on <= on:
        return False
    if any((gone.gene, gone.change) == (change.gene, change.change) for gone in other.reading.absent):
        return True
    read = [part for part in other.reading.covered if part.gene == change.gene]
    covers = not read or any(part.first <= change.codons[0] and change.codons[1] <= part.last for part in read)
    return covers and change.gene in other.reading.clear


def level_of(change: Change, resistance: Resistance, drug: str) -> tuple[Level, str, tuple[Cite, ...]]:
    """(level, why in words, further sources) of one change for a drug of the data."""
    rule, mutations = resistance.rule, resistance.mutations
    name = Name(change.gene, change.change)
    if change.change in rule.polymorphisms.get(change.gene, ()):
        return "none", "natural polymorphism, no resistance", ()
    cites = tuple(entry.cite for entry in rule.overrides if (entry.gene, entry.mutation, entry.drug) == (*name, drug))
    found = mutations.single.get((name, drug))
    if found:
        level, why = found.level, _in_words(found)
    elif mutations.withdrawn.get(name) == "S":
        return "none", "published as polymorphism only", ()
    else:
        level, why = _without_figure(change, resistance, drug)
    for default in rule.defaults:
        inside = default.codons is None or (
            default.codons[0] <= change.codons[0] and change.codons[1] <= default.codons[1]
        )
        applies = default.gene == change.gene and drug in default.drugs and change.kind in default.kinds and inside
        if applies and (rank(level) < rank("possible") or not found):
            level, why = "possible", f"{default.reason}; {why}"
            cites = (*cites, default.cite)
    return level, why, cites


def _without_figure(change: Change, resistance: Resistance, drug: str) -> tuple[Level, str]:
    """What is said of a change that the data do not know for this drug. Never that it has no effect."""
    rule, mutations = resistance.rule, resistance.mutations
    name = Name(change.gene, change.change)
    other = rule.drugs[drug].follows
    model = mutations.single.get((name, other)) if other else None
    if model and rank(model.level) >= rank("possible"):
        return "possible", f"not measured; {drug} follows {other}, for which it is {_in_words(model)}"
    if change.kind == "unnamed":
        return "possible", "a mutation is reported and not named"
    known = mutations.known_codons[drug].get(change.gene, frozenset())
    hit = sorted(known & set(range(change.codons[0], change.codons[1] + 1)))
    withdrawn = "; a withdrawn record called it resistant" if mutations.withdrawn.get(name) == "R" else ""
    if hit:
        what = "a change" if change.kind == "codon" else "another change"
        return (
            "possible",
            f"{what} at codon {hit[0]}, where resistance to {drug} is known; not in the data itself{withdrawn}",
        )
    region = next(
        (r for r in rule.regions.get(change.gene, ()) if r.codons[0] <= change.codons[0] <= r.codons[1]), None
    )
    where = f" (in the {region.name})" if region else ""
    measured = any((name, each) in mutations.single for each in rule.drugs)
    why = f"not measured for {drug}" if measured else "not in the data"
    return "unknown", f"{why}{where}: its effect on {drug} is not known{withdrawn}"


def fold(value: Decimal) -> str:
    """A fold change for reading."""
    return f"{value.normalize():f}"


def _in_words(evidence: Evidence) -> str:
    """The figures behind a level."""
    if evidence.fold is None or (evidence.reason and evidence.values == 0):
        told = evidence.reason or f"{evidence.rule_level or 'reported'}, without a number"
        return told if evidence.values or not evidence.studies else f"{told} ({_counted(evidence.studies, 'study')})"
    if evidence.values == 1:
        figures = f"{fold(evidence.fold)}-fold (one value"
    else:
        spread = f"{fold(evidence.low or evidence.fold)} to {fold(evidence.high or evidence.fold)}"
        counts = f"median of {evidence.values} values, {spread}; {_counted(evidence.studies, 'study')}"
        figures = f"{fold(evidence.fold)}-fold ({counts}"
    kind = "engineered virus" if evidence.engineered else "isolate or laboratory strain only"
    words = f"{figures}, {kind})"
    if evidence.agreement == "crosses the resistance limit":
        words += ", studies disagree"
    if evidence.fold < Decimal("0.5"):
        words += ", hypersusceptible (nothing to act on)"
    return f"{words}; {evidence.reason}" if evidence.reason and evidence.reason != "studies disagree" else words


def _counted(number: int, one: str) -> str:
    return f"{number} {one if number == 1 else one.removesuffix('y') + 'ies'}"


# --------------------------------------------------------------------------------------------------------------------
# All that is published


@dataclass(frozen=True, slots=True)
class Published:
    """One change, or changes measured together, with (level, why in words) for each drug, and the studies behind it."""

    name: str
    levels: Mapping[str, tuple[Level, str]]
    studies: tuple[str, ...]  # DOI or address


def drugs_of(gene: str, resistance: Resistance) -> tuple[str, ...]:
    """The drugs that a gene matters for."""
    return tuple(drug for drug, about in resistance.rule.drugs.items() if gene in about.genes)


def published(gene: str, resistance: Resistance) -> Iterator[Published]:
    """Every change of a gene that the data or the polymorphisms hold, by codon, judged as a result that reports it."""
    rule, mutations = resistance.rule, resistance.mutations
    named = {name.change for name, _ in mutations.single if name.gene == gene} | set(rule.polymorphisms.get(gene, ()))
    placed = [(codons, change) for change in named if (codons := codons_of(change))]
    for codons, change in sorted(placed):
        kind = "deletion" if change.startswith("del") else "stop" if change.endswith("*") else "substitution"
        sent = Change(gene, change, codons, "insertion" if "ins" in change else kind, change)
        levels: dict[str, tuple[Level, str]] = {}
        studies: list[str] = []
        for drug in drugs_of(gene, resistance):
            levels[drug] = level_of(sent, resistance, drug)[:2]
            if found := mutations.single.get((Name(gene, change), drug)):
                studies += found.dois
        yield Published(change, levels, tuple(dict.fromkeys(studies)))


def published_together(gene: str, resistance: Resistance) -> Iterator[Published]:
    """The changes that were measured together, one of them at least in this gene."""
    found: dict[frozenset[Name], dict[str, Evidence]] = {}
    for (names, drug), evidence in resistance.mutations.combined.items():
        if gene in {name.gene for name in names}:
            found.setdefault(names, {})[drug] = evidence
    for names, by_drug in sorted(found.items(), key=lambda pair: _joined(pair[0])):
        levels = {drug: (evidence.level, _in_words(evidence)) for drug, evidence in by_drug.items()}
        studies = chain.from_iterable(evidence.dois for evidence in by_drug.values())
        yield Published(_joined(names), levels, tuple(dict.fromkeys(studies)))


# --------------------------------------------------------------------------------------------------------------------
# Changes together


def _together(
    now: Sequence[JudgedChange], resistance: Resistance, drug: str
) -> tuple[tuple[str, ...], Level, tuple[Cite, ...]]:
    """(what changes mean together, its level, sources): the exact combination in the data, else an inference."""
    rule, mutations = resistance.rule, resistance.mutations
    names = {Name(entry.change.gene, entry.change.change) for entry in now}
    lines: list[str] = []
    levels: list[Level] = []
    cites: list[Cite] = []
    measured: set[frozenset[Name]] = set()
    held = (
        (combined, evidence)
        for (combined, of), evidence in mutations.combined.items()
        if of == drug and combined <= names and evidence.fold is not None
    )
    for combined, evidence in sorted(held, key=lambda pair: sorted(pair[0])):
        measured.add(combined)
        levels.append(evidence.level)
        lines.append(f"{_joined(combined)} were measured together: {_in_words(evidence)}.")
    for entry in rule.together:
        if entry.drug != drug:
            continue
        by_gene = {
            gene: [j for j in now if j.change.gene == gene and rank(j.level) >= rank("low")] for gene in entry.genes
        }
        if all(by_gene.values()):
            pair = frozenset(Name(j.change.gene, j.change.change) for j in chain(*by_gene.values()))
            levels.append(entry.level)
            cites.append(entry.cite)
            known = any(combined <= pair for combined in measured)
            basis = "" if known else ", by inference: the pair is not in the data"
            lines.append(f"{_joined(pair)} together count as {entry.level}{basis}; {entry.reason}.")
    resistant = [j for j in now if rank(j.level) >= rank("possible")]
    if drug in rule.multiply and len(resistant) > 1 and not measured:
        lines.append(f"{drug.capitalize()} changes together multiply; this combination was not measured.")
    return tuple(lines), worst(levels), tuple(cites)


def _joined(names: Iterable[Name]) -> str:
    return " and ".join(
        f"{name.gene} {name.change}" for name in sorted(names, key=lambda n: (n.gene[2:], n.change), reverse=True)
    )


# --------------------------------------------------------------------------------------------------------------------
# Calls


def _lab_calls(results: Sequence[Genotype], resistance: Resistance, drug: str) -> Iterator[JudgedCall]:
    """What laboratories said of the drug, newest first; a call that names no drug counts as possible resistance."""
    rule = resistance.rule
    told: dict[str, Level] = {
        "resistant": rule.calls.resistant,
        "possible": rule.calls.possible,
        "undetermined": rule.calls.undetermined,
        "susceptible": "none",
    }
    settled = [
        (result, call)
        for result in results
        for call in result.reading.calls
        if call.drug == drug and call.says != "undetermined"
    ]
    for result in results:
        for call in result.reading.calls:
            if call.drug and call.drug == rule.drugs[drug].follows and call.says in ("resistant", "possible"):
                yield JudgedCall(call, result, "possible")  # of the drug that this one follows
            elif call.drug not in ("", drug) or (not call.drug and not _may_concern(result, resistance, drug)):
                continue
            elif call.says == "undetermined":
                if any(_not_before(other.on, result.on) for other, _ in settled):
                    continue
                yield JudgedCall(call, result, told[call.says])
            elif not call.drug:
                yield JudgedCall(call, result, "possible")
            else:
                later = next((o for o, said in settled if said.says == "susceptible" and _after(o.on, result.on)), None)
                yield JudgedCall(call, result, told[call.says], later if call.says != "susceptible" else None)


def _may_concern(result: Genotype, resistance: Resistance, drug: str) -> bool:
    """May a result that names no gene of this drug still speak of it? Not when its code asks for others."""
    if result.drugs:
        return drug in result.drugs
    return not result.genes or bool(set(result.genes) & set(resistance.rule.drugs[drug].genes))


def _after(one: date | None, other: date | None) -> bool:
    return one is not None and other is not None and one > other


def _not_before(one: date | None, other: date | None) -> bool:
    return one is not None and other is not None and one >= other


# --------------------------------------------------------------------------------------------------------------------
# What is not settled


def _unsettled(
    results: Sequence[Genotype], resistance: Resistance, drug: str, level: Level, calls: Sequence[JudgedCall]
) -> Iterator[Unsettled]:
    """What could not be read, was not determined, or was not looked at."""
    entry = resistance.rule.drugs[drug]
    for result in results:
        if _may_concern(result, resistance, drug):
            for why in result.reading.unread:
                yield Unsettled(result, why, Gap.UNREAD)
        for gene, words in result.reading.failed:
            concerns = gene in entry.genes if gene else _may_concern(result, resistance, drug)
            if concerns and not _read_since(results, result, gene, entry.genes, drug):
                yield Unsettled(result, f"{gene or 'resistance'} not determined ({words})", Gap.FAILED)
    if _settled(level, calls):
        return
    for gene, codons in entry.asks.items():
        found = [part for result in results for part in result.reading.covered if part.gene == gene]
        missed = _codons([c for c in codons if not any(part.first <= c <= part.last for part in found)])
        clear = [result for result in results if _is_clear(result, gene, resistance, drug)]
        told = [*clear, *(r for r in results if any(change.gene == gene for change in r.reading.changes))]
        unstated = [result for result in told if not any(part.gene == gene for part in result.reading.covered)]
        if missed and found and not unstated:
            spans = " and ".join(dict.fromkeys(f"{part.first} to {part.last}" for part in found))
            source = next(r for r in results if any(part.gene == gene for part in r.reading.covered))
            yield Unsettled(source, f"{gene} was read from codon {spans} only, not {missed}", Gap.CODONS)
        elif missed and gene in entry.asks_always and (silent := [r for r in unstated if r in clear]):
            why = f"it does not say which codons of {gene} were read, {missed} may be missing"
            yield Unsettled(silent[0], why, Gap.CODONS)


def _codons(numbers: Sequence[int]) -> str:
    """Codons in words; "" for none."""
    *first, last = map(str, numbers or [0])
    return f"codons {', '.join(first)} and {last}" if first else f"codon {last}" if numbers else ""


def _settled(level: Level, calls: Sequence[JudgedCall]) -> bool:
    """Is resistance found, or has the laboratory spoken on the drug itself? Then nothing hangs on what was read."""
    return rank(level) >= rank("low") or any(c.call.says in ("resistant", "susceptible") for c in calls)


def _beside(
    results: Sequence[Genotype], resistance: Resistance, not_reported: Sequence[str], today: date
) -> Genotype | None:
    """A current result of the panel that the genes not reported belong to."""
    coverage = resistance.rule.coverage
    for panel in coverage.panels:
        for result in results if set(not_reported) & set(panel) else ():
            current = result.on is None or (today - result.on).days <= coverage.current_days
            if current and set(_genes_told([result])) & set(panel):
                return result
    return None


def _genes_told(results: Sequence[Genotype]) -> tuple[str, ...]:
    """The genes that results tell of or were asked for, each once; "" where one speaks of all without a name."""
    told: list[str] = []
    for result in results:
        reading = result.reading
        told += [*result.genes, *(change.gene for change in (*reading.changes, *reading.absent))]
        told += [part.gene for part in reading.covered]
        told += [gene for gene in (*reading.clear, *(gene for gene, _ in reading.failed)) if gene or not result.genes]
    return tuple(dict.fromkeys(told))


def _is_clear(result: Genotype, gene: str, resistance: Resistance, drug: str) -> bool:
    """Was nothing found in a gene, named or not?"""
    clear = result.reading.clear
    return gene in clear or ("" in clear and _may_concern(result, resistance, drug))


def _read_since(results: Sequence[Genotype], failed: Genotype, gene: str, genes: tuple[str, ...], drug: str) -> bool:
    """Has another result, not older, read what this one could not?"""
    wanted = {gene} if gene else set(genes)
    for other in results:
        reading = other.reading
        if other is failed or not _not_before(other.on, failed.on):
            continue
        if wanted & {*reading.clear, *(change.gene for change in reading.changes)}:
            return True
        if any(call.drug == drug and call.says != "undetermined" for call in reading.calls):
            return True
    return False
