"""The resistance results of a chart: which Observations and reports are ones, and what each of them says.

Recognised by code first, else by words: one of the genes, or resistance beside the virus or a drug. A result that is
recognised and cannot be read is kept as unread. Whose it is, whether it counts and from when is decided here, once.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, tzinfo
from decimal import Decimal
from functools import lru_cache, partial, reduce

from cdshooks.medicine.dates import day_of, is_partial
from cdshooks.medicine.genotype import holds_a_change, merged, plain, read_text
from cdshooks.medicine.knowledge import Knowledge, Resistance
from cdshooks.medicine.orders import short
from cdshooks.medicine.results import SETTLED, WITHDRAWN
from cdshooks.model import (
    Call,
    ChartComponent,
    ChartEvent,
    ChartObservation,
    Concept,
    Genotype,
    Quantity,
    Reading,
    Unused,
)

_NOT_BEGUN = frozenset({"registered", "specimen-in-process"})
_BY_DRUG = re.compile(r"(?:cmv-resistance|susceptibility)-(?P<drug>[a-z]+)")  # concepts of codes/loinc.csv


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the code of a result asks for. `sure`: it is a resistance result by its code, whatever its value."""

    genes: tuple[str, ...] = ()
    drugs: tuple[str, ...] = ()
    of_resistance: bool = False
    sure: bool = True
    variant: bool = False


def read_genotypes(
    observations: Iterable[ChartObservation],
    events: Sequence[ChartEvent],
    patient_id: str,
    known_refs: frozenset[str],
    knowledge: Knowledge,
    today: date,
    zone: tzinfo,
) -> tuple[tuple[Genotype, ...], tuple[Unused, ...]]:
    """(resistance results, newest first; those not used).

    `observations` are this patient's that are no known analyte; `known_refs` all that were sent, so that a report whose
    results are missing is seen.
    """
    found: list[Genotype] = []
    unused: list[Unused] = []
    keep = partial(_keep, found=found, unused=unused, today=today, zone=zone)
    resistance = knowledge.resistance
    for observation in observations:
        if result := _of_observation(observation, knowledge):
            keep(result, observation.status, observation.effective or observation.issued, observation.value is None)
    for event in events:
        if event.resource_type != "DiagnosticReport" or event.subject not in ("", patient_id):
            continue
        for observation in event.observations:
            if observation.subject in ("", patient_id) and (result := _of_observation(observation, knowledge)):
                keep(result, observation.status, observation.effective or observation.issued or event.issued, False)
        if result := _of_report(event, known_refs, knowledge, resistance):
            keep(result, event.status, event.on or event.issued, not event.texts and not event.conclusion)
    found.sort(key=lambda result: (result.on or date.max, result.ref, result.what), reverse=True)
    return tuple(found), tuple(unused)


def _keep(
    result: Genotype,
    status: str,
    when: str,
    empty: bool,
    *,
    found: list[Genotype],
    unused: list[Unused],
    today: date,
    zone: tzinfo,
) -> None:
    """Into `found` what may be used, into `unused` what was withdrawn or is dated in the future."""
    day = day_of(when, zone)
    dated = day.isoformat() if day else ""
    refuse = partial(Unused, result.ref, f"{result.what}{f' of {dated}' if day else ''}", on=dated)
    if status in WITHDRAWN:
        unused.append(refuse(why=f"was withdrawn ({status})", kind="withdrawn"))
    elif day and day > today:
        unused.append(refuse(why="is dated in the future", kind="future"))
    elif not (status in _NOT_BEGUN and empty):
        remarks = [
            "" if status in SETTLED else status or "status not given",
            "" if day else "undated",
            "date known in part" if day and is_partial(when) else "",
        ]
        found.append(replace(result, on=day, remark="; ".join(filter(None, remarks))))


# --------------------------------------------------------------------------------------------------------------------
# Observations


def _of_observation(observation: ChartObservation, knowledge: Knowledge) -> Genotype | None:
    """The result that an Observation is, None for one of another kind."""
    resistance = knowledge.resistance
    code, value = observation.code, observation.value
    asked = _asked(code, knowledge)
    if asked is None:
        if not _names_a_gene(value, resistance):
            return None
        asked = _Asked(sure=False)
    if asked.variant:
        reading = _of_variant(observation, asked, resistance)
        if reading is None:
            return None
    else:
        reading = _of_value(value, asked, resistance, observation.interpretation)
        for note in observation.notes:
            reading = merged(reading, read_text(note, resistance.lexicon, genes=asked.genes))
        for part in observation.components:
            reading = merged(reading, _of_component(part, asked, knowledge))
        if value is None and not observation.components and observation.absent_reason:
            reading = merged(reading, _undetermined(asked, observation.absent_reason))
    if asked.sure and reading == Reading():
        if value is None and not observation.components and observation.status in _NOT_BEGUN:
            return None
        reading = Reading(unread=(_unreadable(value),))
    if not asked.sure and not (reading.changes or reading.calls or reading.clear or reading.failed or reading.unread):
        return None
    what = short(code.words[0], 50) if code.words else "CMV resistance result"
    return Genotype(observation.ref, what, None, "", reading, asked.genes, asked.drugs)


def _unreadable(value: Quantity | str | Concept | None) -> str:
    said = short(_texts(value)[0], 40) if _texts(value) else ""
    return f'"{said}" could not be read' if said else "it holds no readable result"


def _texts(value: Quantity | str | Concept | None) -> tuple[str, ...]:
    """A value in words."""
    match value:
        case Quantity():
            return (f"{value.comparator}{value.value} {value.unit or value.code}".strip(),)
        case Concept():
            return value.words
        case str():
            return (value,) if value else ()
    return ()


def _names_a_gene(value: Quantity | str | Concept | None, resistance: Resistance) -> bool:
    if not isinstance(value, str | Concept):
        return False
    text = " ; ".join(_texts(value))
    return any(gene in resistance.mutations.proteins for gene in resistance.lexicon.genes_in(text))


@lru_cache(maxsize=4096)  # the same codes come again and again
def _asked(code: Concept, knowledge: Knowledge, *, inside: bool = False) -> _Asked | None:
    """What a code asks for, None when it is no resistance result. `inside` a panel the name of a drug is enough."""
    lexicon, proteins = knowledge.resistance.lexicon, knowledge.resistance.mutations.proteins
    codes = lexicon.rule.codes
    text = plain(" ; ".join(code.words))
    loinc = {coding.code.strip() for coding in code.codings}
    if loinc & set(codes.variants):
        return _Asked(genes=tuple(g for g in lexicon.genes_in(text) if g in proteins), sure=False, variant=True)
    genes = [gene for known in sorted(loinc & codes.genes.keys()) for gene in codes.genes[known]]
    genes += [gene for gene in lexicon.genes_in(text) if gene in proteins]
    drugs = list(lexicon.drugs_in(text))
    concepts = [concept for concept, _ in knowledge.codes.laboratory(code)]
    for concept in concepts:
        if (match := _BY_DRUG.fullmatch(concept)) and match["drug"] in knowledge.resistance.rule.drugs:
            drugs.append(match["drug"])
    of_ours, about = bool(lexicon.ours.search(text)), bool(lexicon.about.search(text))
    if not genes and not of_ours and lexicon.others.search(text):
        return None  # foscarnet against herpes simplex
    coded = bool(genes) or any(_BY_DRUG.fullmatch(c) or c.startswith("cmv-resistance") for c in concepts)
    of_resistance = any(token.kind in ("noun", "label", "resistant") for token in lexicon.read(text))
    asked = _Asked(tuple(dict.fromkeys(genes)), tuple(dict.fromkeys(drugs)), of_resistance or not text)
    if coded or (about and (of_ours or drugs)) or (inside and drugs):
        return asked
    return replace(asked, sure=False) if drugs else None


def _of_value(
    value: Quantity | str | Concept | None,
    asked: _Asked,
    resistance: Resistance,
    interpretation: Sequence[Concept] = (),
) -> Reading:
    """What a value and its interpretation say. A number says nothing of a drug: it is left to be shown as unread."""
    lexicon = resistance.lexicon
    read = partial(
        read_text,
        lexicon=lexicon,
        genes=asked.genes,
        drugs=asked.drugs if asked.sure or not isinstance(value, Quantity) else (),
        of_resistance=asked.of_resistance,
    )
    parts: list[Reading] = []
    letters = {code.casefold(): says for code, says in lexicon.rule.codes.interpretations.items()}
    for text in _texts(value) if not isinstance(value, Quantity) else ():
        if (says := letters.get(text.casefold())) and asked.drugs:  # a lone R, S, I
            parts.append(Reading(calls=tuple(Call(drug, says, text) for drug in asked.drugs)))
        else:
            parts.append(read(text))
    concepts = [*([value] if isinstance(value, Concept) else []), *interpretation]
    for concept in concepts:
        for coding in concept.codings:
            said = lexicon.rule.codes.answers.get(coding.code)
            if said is None and concept is not value:
                said = letters.get(coding.code.casefold())
            if said and asked.drugs:
                parts.append(
                    Reading(calls=tuple(Call(drug, said, coding.display or coding.code) for drug in asked.drugs))
                )
        if concept is not value and concept.text:
            parts.append(read(concept.text))
    return reduce(merged, parts, Reading())


def _of_component(part: ChartComponent, around: _Asked, knowledge: Knowledge) -> Reading:
    own = _asked(part.code, knowledge, inside=True)
    asked = _Asked(
        genes=(own.genes if own else ()) or around.genes,
        drugs=(own.drugs if own else ()) or around.drugs,
        of_resistance=bool(own and own.of_resistance) or around.of_resistance or bool(own and own.drugs),
    )
    reading = _of_value(part.value, asked, knowledge.resistance, part.interpretation)
    if own is None:  # specimen, method ...: what names no gene and no drug is no gap
        return replace(reading, unread=(), failed=())
    if part.value is None and part.absent_reason:
        reading = merged(reading, _undetermined(asked, part.absent_reason))
    if reading == Reading() and (part.value is not None or not part.interpretation):
        named = " ".join((*asked.drugs, *asked.genes))
        reading = Reading(unread=(f"{named}: {_unreadable(part.value)}",))
    return reading


def _undetermined(asked: _Asked, words: str) -> Reading:
    """No value, with the reason: not determined."""
    if asked.drugs:
        return Reading(calls=tuple(Call(drug, "undetermined", words) for drug in asked.drugs))
    return Reading(failed=tuple((gene, words) for gene in asked.genes or ("",)))


# --------------------------------------------------------------------------------------------------------------------
# HL7 Genomics Reporting


def _of_variant(observation: ChartObservation, asked: _Asked, resistance: Resistance) -> Reading | None:
    """What a variant with its components says; None for a gene that is not one of ours."""
    lexicon = resistance.lexicon
    roles = lexicon.rule.codes.components
    parts: dict[str, list[str]] = {role: [] for role in roles.values()}
    share = ""
    for component in observation.components:
        role = next((roles[coding.code] for coding in component.code.codings if coding.code in roles), "")
        if role == "share" and isinstance(component.value, Quantity):
            share = _percent(component.value)
        elif role:
            parts[role] += [*_texts(component.value), *_codes(component.value)]
    named = " ; ".join((*parts["gene"], *observation.code.words, *observation.notes))
    genes = [gene for gene in (*lexicon.genes_in(named), *asked.genes) if gene in resistance.mutations.proteins]
    if not genes and (parts["gene"] or not lexicon.ours.search(plain(named))):
        return None
    read = partial(read_text, lexicon=lexicon, genes=tuple(dict.fromkeys(genes)))
    reading = reduce(merged, map(read, dict.fromkeys(parts["protein"])), Reading())
    if not reading.changes:
        translated = reduce(merged, map(read, dict.fromkeys(parts["dna"])), Reading())
        reading = translated if translated.changes else merged(reading, translated)
    whole = _texts(observation.value)
    if reading.changes and whole:
        said = reduce(
            merged, (read_text(f"{change.name} {words}", lexicon) for change in reading.changes for words in whole)
        )
        if said.absent or said.unread:
            reading = replace(reading, changes=(), absent=said.absent, unread=(*reading.unread, *said.unread))
    elif not reading.changes and whole:
        reading = merged(reading, reduce(merged, map(read, whole)))
    if reading == Reading():
        reading = Reading(unread=(f"a variant of {' '.join(genes)} could not be read",))
    return replace(reading, changes=tuple(replace(change, share=change.share or share) for change in reading.changes))


def _codes(value: Quantity | str | Concept | None) -> list[str]:
    """The codes of a value: HGVS names are codes of their own system."""
    return [coding.code for coding in value.codings if coding.code] if isinstance(value, Concept) else []


def _percent(share: Quantity) -> str:
    number = share.value if "%" in (share.unit, share.code) or share.value > 1 else share.value * Decimal(100)
    return f"{number.normalize():f} %"


# --------------------------------------------------------------------------------------------------------------------
# Reports


def _of_report(
    event: ChartEvent, known_refs: frozenset[str], knowledge: Knowledge, resistance: Resistance
) -> Genotype | None:
    """The result that the text of a report is, None for a report of another kind or without a text of its own."""
    lexicon = resistance.lexicon
    texts = [*filter(None, (event.conclusion, *event.texts))]
    asked = _asked(event.code, knowledge)
    sure = asked is not None and asked.sure
    if not sure:
        text = plain("\n".join(texts))
        gene = any(name in resistance.mutations.proteins for name in lexicon.genes_in(text))
        ours = bool(lexicon.ours.search(text) or lexicon.ours.search(plain(" ; ".join(event.code.words))))
        if not gene and not (ours and lexicon.about.search(text) and lexicon.drugs_in(text)):
            return None
        asked = _Asked(sure=False)
    assert asked is not None  # noqa: S101 - settled above
    read = partial(read_text, lexicon=lexicon, genes=asked.genes, drugs=asked.drugs, of_resistance=asked.of_resistance)
    reading = reduce(merged, map(read, texts), Reading())
    if sure and reading == Reading():
        if unread := _why_nothing(event, texts, known_refs):
            reading = Reading(unread=(unread,))
    elif not sure and not (reading.changes or reading.calls or reading.clear or reading.failed or reading.unread):
        if not any(holds_a_change(text, lexicon) for text in texts):
            return None
        reading = Reading(unread=(f'"{short(texts[0], 60)}" could not be read with certainty',))
    if reading == Reading():
        return None
    what = short(event.code.words[0], 50) if event.code.words else "CMV resistance report"
    return Genotype(event.ref, what, None, "", reading, asked.genes, asked.drugs)


def _why_nothing(event: ChartEvent, texts: Sequence[str], known_refs: frozenset[str]) -> str:
    """Why a resistance report tells nothing; "" when its results stand beside or inside it."""
    beside = {"/".join(reference.split("/_history/")[0].split("/")[-2:]) for reference in event.results}
    if beside & known_refs or event.observations:
        return ""
    if texts:
        return f'"{short(texts[0], 60)}" could not be read'
    if event.closed:
        return f"the report is an attachment ({short(event.closed[0], 30)}) that cannot be read here"
    if event.status in _NOT_BEGUN:
        return ""
    return "its results were not sent" if event.results else "it holds no readable text"
