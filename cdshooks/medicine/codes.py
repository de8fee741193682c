"""What codes and names mean: drugs, results, conditions. Reads mappings/codes and the three lists that explain them.

Codes outrank names. Nothing is guessed: a code that is not in the tables means nothing here, and a name counts only as
a whole word. Everything is read once; the answers do not depend on the order in which codings were sent.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.resources.abc import Traversable
from itertools import product as combinations
from typing import NamedTuple

from cdshooks.errors import KnowledgeError
from cdshooks.medicine.code_files import (
    AnalyteEntry,
    AnalytesFile,
    CodeFiles,
    ConditionsFile,
    Contradictory,
    Drug,
    LabOrder,
    Rows,
    UnitRule,
    read_code_files,
)
from cdshooks.model import Coding, Concept, LabRequest, Product

LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10_PCS = "http://www.cms.gov/medicare/coding/icd10"

_SAME_SYSTEM = {
    "urn:oid:2.16.840.1.113883.6.1": LOINC,
    "urn:oid:2.16.840.1.113883.6.88": RXNORM,
    "urn:oid:2.16.840.1.113883.6.96": SNOMED,
    "urn:oid:2.16.840.1.113883.6.90": ICD_10_CM,
    "urn:oid:2.16.840.1.113883.6.3": ICD_10_CM,
    "http://hl7.org/fhir/sid/icd-10": ICD_10_CM,  # the listed categories mean the same there
    "urn:oid:2.16.840.1.113883.6.4": ICD_10_PCS,
    "http://hl7.org/fhir/sid/icd-10-pcs": ICD_10_PCS,
}
_LONG_WORD = 40  # letters; only bounds the work on endless text
_SYSTEM_NAMES = {RXNORM: "RxNorm", SNOMED: "SNOMED CT"}


def normal_system(system: str) -> str:
    """A code system in one spelling: OIDs, letter case, a trailing slash and SNOMED CT editions do not matter."""
    plain = system.strip().casefold().rstrip("/").replace("https://", "http://", 1)
    if plain.startswith(SNOMED + "/"):
        plain = SNOMED
    return _SAME_SYSTEM.get(plain, plain)


def normal_code(system: str, code: str) -> str:
    """A code in one spelling; ICD codes without dots and in capitals. `system` is a normal one."""
    plain = code.strip()
    return plain.replace(".", "").upper() if system in (ICD_10_CM, ICD_10_PCS) else plain


# --------------------------------------------------------------------------------------------------------------------
# What the rest of the program sees


@dataclass(frozen=True, slots=True)
class Analyte:
    """A result with a number; `lowest`..`highest` are the plausible values in `unit`, of an adult from `adult_lowest`.

    `excluded_kinds` and `remarks` give words by kind of code; `units` the known spellings of units, which stand in
    units.csv under `unit_block`. `not_from` finds the name of a specimen that this analyte is never measured in.
    """

    key: str
    name: str
    unit: str
    group: str
    lowest: Decimal
    highest: Decimal
    adult_lowest: Decimal
    basis: str
    contradictory: Contradictory
    excluded_kinds: Mapping[str, str]
    remarks: Mapping[str, str]
    needs_exact: bool
    words_are_results: bool
    grades: Mapping[str, Decimal]
    order: LabRequest | None
    units: Mapping[str, UnitRule]
    unit_block: str
    not_from: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Test:
    """A test that is answered in words; `answers` maps each known wording to what it means."""

    key: str
    name: str
    group: str
    order: LabRequest | None
    answers: Mapping[str, str]

    def answer(self, words: str) -> str:
        """What a result in words means, "" when that is not known: the whole text, else the longest wording in it."""
        text = plain_text(words)
        found = [wording for wording in self.answers if re.search(rf"(?<!\w){re.escape(wording)}(?!\w)", text)]
        meant = {
            self.answers[wording]
            for wording in found
            if not any(wording in other for other in found if other != wording)
        }
        return meant.pop() if len(meant) == 1 else ""


class Meaning(NamedTuple):
    """What a condition or procedure means; `modality` is empty except for dialysis."""

    concept: str
    kind: str
    modality: str


class _DrugCode(NamedTuple):
    """A row of rxnorm.csv."""

    concept: str
    systemic: bool
    form: str
    strength_mg: Decimal | None
    mg_per_ml: Decimal | None


class _Mention(NamedTuple):
    """A drug name found: which drug, whether a systemic one, the finding in words, and the text it stands in."""

    drug: str
    systemic: bool
    label: str
    place: str


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a code of conditions.csv means, with its titles ready for look-up."""

    meanings: tuple[Meaning, ...]
    titles: tuple[str, ...]


class _Phrase(NamedTuple):
    """What a phrase means."""

    meaning: Meaning
    keeps_past: bool
    outright: bool
    not_with: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class _Guards:
    """The guard words of conditions.yaml as expressions."""

    breaks: re.Pattern[str]
    reach: int
    denied_before: re.Pattern[str]
    denied_just_before: re.Pattern[str]
    denied_after: re.Pattern[str]
    denied_next: re.Pattern[str]
    past_before: re.Pattern[str]
    past_next: re.Pattern[str]
    near: tuple[tuple[frozenset[str], re.Pattern[str]], ...]  # (concepts, words that speak of something near them)

    def bounds(self, plain: str) -> list[int]:
        """Where the clauses of a text begin, and its end."""
        return sorted({0, len(plain), *(each.start() for each in self.breaks.finditer(plain))})

    def clause(self, plain: str, bounds: list[int], match: re.Match[str]) -> tuple[int, int, str]:
        """The clause that a match stands in: its start, its end, and the last words before the match."""
        start, end = bounds[bisect_right(bounds, match.start()) - 1], bounds[bisect_left(bounds, match.end())]
        nearby = plain[max(start, match.start() - _LONG_WORD * self.reach) : match.start()]
        return start, end, " ".join(nearby.split()[-self.reach :])

    def denies(self, plain: str, before: str, after: int, end: int) -> bool:
        """Do the words around a match deny it? It ends at `after`, its clause at `end`."""
        return bool(
            self.denied_before.search(before)
            or self.denied_just_before.search(before)
            or self.denied_after.search(plain, after, end)
            or self.denied_next.match(plain, after)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """All code tables, ready for look-up. Built by `load_codes`."""

    analytes: Mapping[str, Analyte]
    tests: Mapping[str, Test]
    _tests_by_name: Mapping[str, str]
    _analytes_by_name: Mapping[str, str]
    _analytes_like: Mapping[str, tuple[re.Pattern[str], ...]]
    _analytes_beside: Mapping[str, str]
    drugs: Mapping[str, Drug]
    groups: Mapping[str, frozenset[str]]
    loinc_by_group: Mapping[str, tuple[str, ...]]
    _loinc: Mapping[str, tuple[str, str]]
    _analyte_of: Mapping[tuple[str, str], str]
    _drug_codes: Mapping[tuple[str, str], _DrugCode]
    _conditions: Mapping[tuple[str, str], _Listed]
    _drug_names: re.Pattern[str]
    _drug_of_name: Mapping[str, tuple[str, bool]]
    _not_a_product: re.Pattern[str]
    _forms: tuple[tuple[str, bool, re.Pattern[str]], ...]
    _one_substance: frozenset[str]
    _masses: Mapping[str, Decimal]
    _phrases: re.Pattern[str]
    _meaning_of: Mapping[str, tuple[_Phrase, ...]]
    _guards: _Guards
    _confirms: frozenset[str]
    _local: Mapping[tuple[str, str], tuple[str, str]]

    def _coding(self, coding: Coding) -> tuple[str, str]:
        """(system, code) in one spelling; a site's own code as the standard one that local.csv says it is."""
        system = normal_system(coding.system)
        code = normal_code(system, coding.code)
        return self._local.get((system, code), (system, code))

    # ---- names that rules may use

    def drug_concepts(self) -> frozenset[str]:
        """Every drug of rxnorm.csv, not only CMV antivirals."""
        return frozenset(row.concept for row in self._drug_codes.values())

    def problem_concepts(self) -> frozenset[str]:
        """Everything that a condition or procedure can mean."""
        coded = (meaning.concept for listed in self._conditions.values() for meaning in listed.meanings)
        worded = (phrase.meaning.concept for phrases in self._meaning_of.values() for phrase in phrases)
        return frozenset((*coded, *worded))

    # ---- results

    def laboratory(self, concept: Concept) -> tuple[tuple[str, str], ...]:
        """Every (concept, kind) of loinc.csv that the codes name, sorted."""
        codes = (code for system, code in map(self._coding, concept.codings) if system == LOINC)
        return tuple(sorted({self._loinc[code] for code in codes if code in self._loinc}))

    def analyte(self, concept: Concept) -> tuple[Analyte, str] | None:
        """The analyte and the kind of a result, by LOINC code only.

        None for an unknown code, for a test without a number, and when codes name different tests. Where codes of one
        analyte differ in kind, a kind that excludes or remarks wins.
        """
        named = self.laboratory(concept)
        keys = {self._analyte_of.get(code, "") for code in named}
        if len(keys) != 1 or not (key := keys.pop()):
            return None
        analyte = self.analytes[key]
        kinds = sorted(kind for _, kind in named)
        kinds.sort(key=lambda kind: (kind not in analyte.excluded_kinds, kind not in analyte.remarks))
        return analyte, kinds[0]

    def loinc_of(self, analyte: str) -> str:
        """A LOINC code for a value of an analyte that is written here: the one to order it by, else the first known."""
        order = self.analytes[analyte].order
        listed = (code for code, known in self._loinc.items() if self._analyte_of.get(known) == analyte)
        return order.loinc if order else next(listed)

    def test_named(self, name: str) -> set[str]:
        """The test that a name stands for, where no code tells."""
        key = self._tests_by_name.get(plain_text(name))
        return {key} if key else set()

    def analyte_named(self, concept: Concept, name: str) -> str:
        """The analyte that a result without a code known here seems to be by its name, "" for none.

        Too little to use the result (its specimen is not known), enough to mention it.
        """
        text = plain_text(name)
        by_loinc = any(normal_system(coding.system) == LOINC for coding in concept.codings)
        if not by_loinc and (key := self._analytes_by_name.get(text, "")):
            return key
        for key, (never, *groups) in self._analytes_like.items():
            if all(group.search(text) for group in groups) and not never.search(text):
                return key
        return ""

    def analyte_beside(self, concepts: Iterable[str]) -> str:
        """The analyte that one of these is measured beside, in another specimen; "" for none."""
        return next((self._analytes_beside[name] for name in concepts if name in self._analytes_beside), "")

    # ---- drugs

    def same_active_drug(self, drug: str) -> frozenset[str]:
        """The CMV antivirals that put the same active substance into the blood as this one, itself included."""
        active = self.drugs[drug].prodrug_of or drug
        return frozenset(key for key, entry in self.drugs.items() if active in (key, entry.prodrug_of))

    def medicines(self, concept: Concept) -> tuple[tuple[str, bool], ...]:
        """Every (drug, is it systemic?) of rxnorm.csv that the codes name, sorted; not only CMV antivirals."""
        return tuple(sorted({(row.concept, row.systemic) for _, row in self._coded(concept)}))

    def product(self, concept: Concept, form: Concept | None) -> Product | None:
        """The CMV antiviral that is ordered, or None for anything else.

        Codes first, else a name as a whole word in text or display. A contradiction among codes (two drugs, two forms)
        or, where no code settles it, among names (two drugs, a combination) gives a product without `drug`; then
        `recognised_by` names it. Where the code of one antiviral settles it, `another` and `beside` say what names add.
        """
        coded, named = self._coded(concept), list(self._named(concept))
        by_code = {row.concept for _, row in coded}
        if not self.drugs.keys() & (by_code | {mention.drug for mention in named}):
            return None
        # A name that holds the coded drug may speak of another one as well ("valganciclovir, was on ganciclovir").
        explained = {mention.place for mention in named if by_code == {mention.drug}}
        said = {mention.drug: mention.label for mention in reversed(named) if mention.place not in explained}
        said |= {row.concept: label for label, row in reversed(coded)}
        shapes = sorted({row.form for _, row in coded if row.form})
        if len(by_code) == 1 and by_code <= self.drugs.keys() and len(shapes) <= 1:
            (drug,) = by_code
            product = self._one_product(drug, coded, [m for m in named if m.drug == drug], concept, form)
            others = [f"{self.drugs[key].display} ({label})" for key, label in sorted(said.items()) if key != drug]
            words = [f'"{word}"' for word in self._second_substance(concept)]
            return replace(product, another=" and ".join(others), beside="".join(words))
        parts = [f"{drug} ({label})" for drug, label in sorted(said.items())]
        parts += [f'"{word}"' for word in self._second_substance(concept)]
        parts += shapes if len(shapes) > 1 else []
        if len(parts) > 1:
            return Product("", " and ".join(parts))
        return self._one_product(next(iter(said)), coded, named, concept, form)

    def _coded(self, concept: Concept) -> list[tuple[str, _DrugCode]]:
        """Known drug codes with a label, in the order of the labels."""
        found = {}
        for coding in concept.codings:
            system, code = self._coding(coding)
            if row := self._drug_codes.get((system, code)):
                found[f"{_SYSTEM_NAMES.get(system, system)} {code}"] = row
        return sorted(found.items())

    def _named(self, concept: Concept) -> Iterator[_Mention]:
        """Every drug name in text and displays."""
        for where, text in _places(concept):
            for match in self._drug_names.finditer(text):
                if not self._not_a_product.match(text, match.end()):
                    drug, systemic = self._drug_of_name[match[0]]
                    yield _Mention(drug, systemic, f'name "{match[0]}" in {where}', text)

    def _second_substance(self, concept: Concept) -> Iterator[str]:
        """Another substance after "/" or "+" in a name ("ganciclovir / dexamethasone"), at most one."""
        for _, text in _places(concept):
            for part in re.split(r"\s*(?<!\d)[/+]\s*", text)[1:]:
                word = re.match(r"[^\W\d_]{6,}", part)
                if word and word[0] not in self._one_substance and not self._drug_names.match(part):
                    yield word[0]
                    return

    def _one_product(
        self,
        drug: str,
        coded: list[tuple[str, _DrugCode]],
        named: list[_Mention],
        concept: Concept,
        form: Concept | None,
    ) -> Product:
        """Codes at several levels and names merged: the most specific statement gives form and strength."""
        rows = [row for _, row in coded]
        names = [text for _, text in _places(concept)]
        shape = next((row.form for row in rows if row.form), "")
        shape = shape or self._form(plain_text(" ; ".join(form.words)) if form else "") or self._form(" ; ".join(names))
        strengths = {row.strength_mg for row in rows if row.strength_mg is not None}
        densities = {row.mg_per_ml for row in rows if row.mg_per_ml is not None}
        recognised = ", ".join(label for label, _ in coded) or named[0].label
        by_code = bool(strengths or densities)
        for text in names:
            masses, stated = _strengths(text, shape, self._masses, self._one_substance)
            if not by_code:  # a mass in a name may be a dose: it counts where a product of that strength is sold
                known = {mass for mass in masses if self.drugs[drug].is_sold(shape, strength_mg=mass)}
                strengths |= known if len(masses) == 1 else set()
            densities |= stated  # what is written per mL is no dose: it counts, whether sold or made by a pharmacy
        if coded and not by_code and (strengths or densities):
            recognised += ", strength from the name"
        two = " and as ".join(f"{density:f} mg/mL" for density in sorted(densities)) if len(densities) > 1 else ""
        assumed = not strengths and not densities
        if assumed:
            sold = [entry for name, entry in self.drugs[drug].forms.items() if entry.sold and shape in ("", name)]
            strengths = {strength for entry in sold for strength in entry.strengths_mg}
            densities = {density for entry in sold for density in entry.mg_per_ml}
            if len(strengths) == 1 or len(densities) == 1:
                recognised += ", the only strength sold"
        local = {name for name, systemic, _ in self._forms if not systemic}
        return Product(
            drug=drug,
            recognised_by=recognised,
            form=shape,
            strength_mg=strengths.pop() if len(strengths) == 1 else None,
            mg_per_ml=densities.pop() if len(densities) == 1 else None,
            assumed=assumed,
            unclear=f"the order names its strength as {two}" if two and not assumed else "",
            systemic=shape not in local and all(row.systemic for row in rows) and all(name.systemic for name in named),
        )

    def _form(self, text: str) -> str:
        """The dose form that a name tells, "" for none."""
        return next((form for form, _, words in self._forms if words.search(text)), "")

    def drugs_named(self, text: str) -> frozenset[str]:
        """The CMV antivirals that a text names, whatever it says of them; `text` is plain."""
        return frozenset(self._drug_of_name[match[0]][0] for match in self._affirmed(self._drug_names, text))

    def affirmed(self, words: re.Pattern[str], text: str) -> frozenset[str]:
        """Which of these words a plain text holds without denying them."""
        return frozenset(match[0] for match in self._affirmed(words, text))

    def _affirmed(self, words: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
        guards, bounds = self._guards, self._guards.bounds(text)
        for match in words.finditer(text):
            _, end, before = guards.clause(text, bounds, match)
            if not guards.denies(text, before, match.end(), end):
                yield match

    # ---- conditions and procedures

    def concepts(self, concept: Concept) -> tuple[Meaning, ...]:
        """What a condition or procedure means, sorted: by its codes, and by phrases in its words.

        A code has settled what its own title speaks of. Its display, and a text that repeats it, count for what they
        say beyond that title: "End stage renal disease on haemodialysis" says more than N18.6 does.
        """
        found: set[Meaning] = set()
        texts = {plain_text(concept.text)}
        settled: dict[str, set[Meaning]] = defaultdict(set)
        for coding in concept.codings:
            display = plain_text(coding.display)
            if listed := self._listed(coding):
                found.update(listed.meanings)
                settled[display].update(self._spoken_of(listed.titles))
            else:
                texts.add(display)
        for text in texts - settled.keys():
            found.update(self._in_words(text))
        for display, by_title in settled.items():
            found.update(meaning for meaning in self._in_words(display) if not _is_among(meaning, by_title))
        return tuple(sorted(found))

    def answered(self, asked: Concept, value: str | Concept) -> tuple[Meaning, ...]:
        """What a status means that one concept asks for and a value answers, sorted; nothing where nothing is known.

        The value's own meaning counts ("Renal replacement: on haemodialysis"), else that of the question where the
        value confirms it ("Haemodialysis: yes").
        """
        answer = Concept(text=value) if isinstance(value, str) else value
        if own := self.concepts(answer) or self.concepts(Concept(text=f"on {' '.join(answer.words[:1])}")):
            return own
        return self.concepts(asked) if self._confirms & set(map(plain_text, answer.words)) else ()

    def _listed(self, coding: Coding) -> "_Listed | None":
        system, code = self._coding(coding)
        if found := self._conditions.get((system, code)):
            return found
        if system == ICD_10_CM:  # B25.81 is a B25; a listed parent speaks for children that are not listed
            for length in range(len(code) - 1, 2, -1):
                if found := self._conditions.get((system, code[:length])):
                    meanings = tuple(meaning for meaning in found.meanings if meaning.kind != "parent-category")
                    return replace(found, meanings=meanings) if meanings else None
        return None

    def _spoken_of(self, titles: Iterable[str]) -> Iterator[Meaning]:
        """Everything that titles of codes speak of, be it affirmed or denied."""
        for title in titles:
            for match in _matches(self._phrases, title):
                yield from (phrase.meaning for phrase in self._meaning_of[match[0]])

    def _in_words(self, text: str) -> Iterator[Meaning]:
        """Phrases in a text that are neither denied, planned nor about somebody else."""
        guards, plain = self._guards, _for_phrases(text)
        found = list(_matches(self._phrases, plain))
        only_near = [concepts for concepts, words in guards.near if words.search(plain)] if found else []
        bounds = guards.bounds(plain) if found else []
        for match in found:
            start, end, before = guards.clause(plain, bounds, match)
            if guards.denies(plain, before, match.end(), end):
                continue
            past = guards.past_before.search(before) or guards.past_next.match(plain, match.end())
            for phrase in self._meaning_of[match[0]]:
                if phrase.not_with and phrase.not_with.search(plain, start, end):
                    continue
                if not phrase.outright and any(phrase.meaning.concept in concepts for concepts in only_near):
                    continue
                if past and not phrase.keeps_past:
                    yield Meaning(f"{phrase.meaning.concept}-history", "history", phrase.meaning.modality)
                else:
                    yield phrase.meaning


# --------------------------------------------------------------------------------------------------------------------
# Words


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches that may share words ("refractory CMV" and "CMV colitis"), but none that lies inside an earlier one."""
    at = reached = 0
    while match := pattern.search(text, at):
        if match.end() > reached:
            reached = match.end()
            yield match
        at = match.start() + 1


def plain_text(text: str) -> str:
    """Text for look-up: one letter case, plain dashes and spaces, no invisible characters."""
    if text.isascii():
        return " ".join(text.casefold().replace("_", " ").split())
    visible = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return " ".join(re.sub(r"[‐‑‒–—−]", "-", visible).casefold().replace("_", " ").split())  # noqa: RUF001


def _for_phrases(text: str) -> str:
    """Plain text as phrases are looked up in it: a hyphen counts as a space."""
    return text.replace("-", " ")


def _is_among(meaning: Meaning, settled: Iterable[Meaning]) -> bool:
    """Is it settled already? Dialysis of no named kind is by dialysis of any kind."""
    unnamed = meaning.modality in ("", "unspecified")
    return any(meaning.concept == each.concept and (unnamed or meaning.modality == each.modality) for each in settled)


def _places(concept: Concept) -> Iterator[tuple[str, str]]:
    """("text" or "display", text for look-up), in an order that does not depend on the order of the codings."""
    if concept.text:
        yield "text", plain_text(concept.text)
    for display in sorted({plain_text(coding.display) for coding in concept.codings if coding.display}):
        yield "display", display


def _other_specimens(entry: AnalyteEntry) -> re.Pattern[str] | None:
    if not entry.not_from:
        return None
    own = f"(?!.*{_any_of(entry.always_from)})" if entry.always_from else ""
    return re.compile(f"^{own}.*{_any_of(entry.not_from)}")


def _any_of(words: Iterable[str], *, letters_only: bool = False) -> str:
    """An expression that finds any of the words as a whole word, longest first; `letters_only`: a digit may follow."""
    longest_first = sorted({plain_text(word) for word in words}, key=lambda word: (-len(word), word))
    ending = r"(?![^\W\d_])" if letters_only else r"(?!\w)"
    return rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))}){ending}"


_NUMBER = r"(?<![\d.,])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)"


def _number(text: str) -> Decimal:
    """A number of a product name: a comma before three digits groups thousands, any other is a decimal comma."""
    return Decimal(re.sub(r",(?=\d{3}(?!\d))", "", text).replace(",", "."))


def _strengths(
    text: str, form: str, masses: Mapping[str, Decimal], containers: frozenset[str]
) -> tuple[set[Decimal], set[Decimal]]:
    """Every (mg per unit, mg per mL) in a product name: "450 mg", "50 mg/mL", "250 mg/5 mL", "24 mL ... 20 mg/mL".

    "500 mg in NS 100 mL" is 5 mg/mL. `masses` are mass units with their mg.
    """
    mass = "|".join(map(re.escape, sorted(masses, key=len, reverse=True)))
    strengths: set[Decimal] = set()
    densities: set[Decimal] = set()
    vials: set[Decimal] = set()
    fluid = r"(?:(?:[^\W\d_]\w*|\d+(?:\.\d+)?\s*%|\d+(?:\.\d+)?%)\s+){0,6}?"  # "in 0.9 % sodium chloride"
    within = rf"(?:/|per)\s*(?:{_NUMBER})?|in\s+{fluid}{_NUMBER}"
    in_liquid = re.compile(rf"{_NUMBER}\s*({mass})\s*(?:{within})\s*ml(?!\w)")
    for number, unit, *volumes_named in in_liquid.findall(text):
        volume = "".join(volumes_named)
        amount, millilitres = _number(number) * masses[unit], _number(volume) if volume else Decimal(1)
        if millilitres:
            densities.add(amount / millilitres)
        if volume:
            vials.add(amount)
    rest = in_liquid.sub(" ", text)
    for match in re.finditer(rf"{_NUMBER}\s*({mass})(?!\w)\s*(?:/\s*(\w+))?", rest):
        if not match[3] or match[3] in containers:
            strengths.add(_number(match[1]) * masses[match[2]])
    volumes = {_number(volume) for volume in re.findall(rf"{_NUMBER}\s*ml(?!\w)", rest)}
    if form == "injection" and not strengths:  # what one vial or bag holds
        strengths = vials or {density * volume for density in densities for volume in volumes}
    return strengths, densities


# --------------------------------------------------------------------------------------------------------------------
# Loading


def load_codes(folder: Traversable) -> Codes:
    """Read mappings/codes/*.csv, analytes.yaml, drugs.yaml and conditions.yaml below `folder`.

    Raises KnowledgeError that names every problem found, with file, place and remedy.
    """
    read = read_code_files(folder)
    masses = {name.casefold(): rule.factor for name, rule in read.units["dose"].items() if rule.operation == "multiply"}
    forms = tuple((entry.form, entry.systemic, re.compile(_any_of(entry.words))) for entry in read.drugs.forms)
    form_words = {word for entry in read.drugs.forms for words in entry.words for word in words.split()}
    names: dict[str, tuple[str, bool]] = {}
    for key, drug in read.drugs.drugs.items():
        names |= {plain_text(name): (key, True) for name in drug.names}
        names |= {plain_text(name): (key, False) for name in drug.non_systemic_names}
    phrases = _phrases(read.conditions)
    return Codes(
        analytes={key: _analyte(key, entry, read.units) for key, entry in read.analytes.analytes.items()},
        tests={
            key: Test(
                key,
                entry.name,
                entry.group,
                _request(entry.order),
                {plain_text(words): answer for answer, listed in entry.answers.items() for words in listed},
            )
            for key, entry in read.analytes.tests.items()
        },
        _tests_by_name={
            plain_text(name): key for key, entry in read.analytes.tests.items() for name in (entry.name, *entry.named)
        },
        _analytes_by_name={
            plain_text(name): key
            for key, entry in read.analytes.analytes.items()
            for name in (entry.name, *entry.named)
        },
        _analytes_like={
            key: tuple(re.compile(_any_of(map(plain_text, words))) for words in (like.never, *like.groups))
            for key, entry in read.analytes.analytes.items()
            if (like := entry.named_like)
        },
        _analytes_beside={concept: key for key, entry in read.analytes.analytes.items() for concept in entry.beside},
        drugs=read.drugs.drugs,
        groups=read.conditions.groups,
        loinc_by_group=_queries(read.analytes, read.loinc),
        _loinc={row["code"]: (row["concept"], row["kind"]) for row in read.loinc},
        _analyte_of=_analyte_keys(read.analytes, read.loinc),
        _drug_codes=_drug_codes(read, forms, masses),
        _conditions=_listed(read.condition_codes),
        _drug_names=re.compile(_any_of(names, letters_only=True)),
        _drug_of_name=names,
        _not_a_product=re.compile(rf"[\s-]*(?:cmv[\s-]+)?{_any_of(read.drugs.not_a_product)}"),
        _forms=forms,
        _one_substance=read.drugs.diluents | form_words,
        _masses=masses,
        _phrases=re.compile(_any_of(phrases)),
        _meaning_of=phrases,
        _guards=_guards(read.conditions),
        _confirms=frozenset(map(plain_text, read.conditions.confirms)),
        _local=_local_codes(read),
    )


def squeezed(words: str) -> str:
    """Words of a grade as they are looked up: without spaces, in any letter case."""
    return "".join(words.casefold().split())


def _request(order: LabOrder | None) -> LabRequest | None:
    return LabRequest(order.loinc, order.name) if order else None


def _analyte(key: str, entry: AnalyteEntry, units: Mapping[str, Mapping[str, UnitRule]]) -> Analyte:
    return Analyte(
        key=key,
        name=entry.name,
        unit=entry.unit,
        group=entry.group,
        lowest=entry.plausible.low,
        highest=entry.plausible.high,
        adult_lowest=entry.plausible.low if entry.plausible.adult_low is None else entry.plausible.adult_low,
        basis=entry.plausible.basis,
        contradictory=entry.contradictory,
        excluded_kinds=entry.excluded,
        remarks=entry.remarks,
        needs_exact=entry.needs_exact,
        words_are_results=entry.words_are_results,
        grades={squeezed(words): number for words, number in entry.grades.items()},
        not_from=_other_specimens(entry),
        order=_request(entry.order),
        units=units[entry.units or key],
        unit_block=entry.units or key,
    )


def _analyte_keys(file: AnalytesFile, loinc: Rows) -> dict[tuple[str, str], str]:
    """(concept, kind) of loinc.csv -> analyte."""
    by_concept: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
    for key, entry in file.analytes.items():
        by_concept[entry.concept or key].append((key, entry.kinds))
    return {
        (row["concept"], row["kind"]): key
        for row in loinc
        for key, kinds in by_concept[row["concept"]]
        if not kinds or row["kind"] in kinds
    }


def _queries(file: AnalytesFile, loinc: Rows) -> dict[str, tuple[str, ...]]:
    """Per prefetch group, the confirmed LOINC codes to ask for; kinds that would not be used are not asked for."""
    analyte_of = _analyte_keys(file, loinc)
    found: dict[str, list[str]] = {
        group: [] for group in ("kidney", "counts", "electrolytes", "virology", "levels", "pregnancy")
    }
    for row in loinc:
        key = analyte_of.get((row["concept"], row["kind"]), "")
        entry = file.analytes.get(key) or file.tests.get(row["concept"])
        if entry is None or row["confirmed"] != "yes" or (key and row["kind"] in file.analytes[key].excluded):
            continue
        found[entry.group].append(row["code"])
    return {group: tuple(codes) for group, codes in found.items()}


def _drug_codes(
    read: CodeFiles, forms: tuple[tuple[str, bool, re.Pattern[str]], ...], masses: Mapping[str, Decimal]
) -> dict[tuple[str, str], _DrugCode]:
    """(system, code) -> drug. SNOMED CT product codes of the antivirals stand in conditions.csv."""
    found = {}
    for row in read.rxnorm:
        form, strength, density = "", None, None
        if row["concept"] in read.drugs.drugs and row["dose_form"]:
            dose_form = plain_text(row["dose_form"])
            form = next((name for name, _, words in forms if words.search(dose_form)), "")
            stated = _strengths(plain_text(f"{row['quantity']} {row['strength']}"), form, masses, frozenset())
            strength, density = (one.pop() if len(one) == 1 else None for one in stated)
        found[RXNORM, row["code"]] = _DrugCode(row["concept"], row["systemic"] != "no", form, strength, density)
    for row in read.condition_codes:
        if row["kind"] == "substance-or-product" and row["concept"] in read.drugs.drugs:
            found[normal_system(row["system"]), row["code"]] = _DrugCode(row["concept"], True, "", None, None)
    return found


def _local_codes(read: CodeFiles) -> dict[tuple[str, str], tuple[str, str]]:
    """(system, code) of a site -> the standard code it stands for, which has to be in one of the tables.

    Raises KnowledgeError for one that is not: it would never mean anything, and nobody would see.
    """
    known = {(LOINC, row["code"]) for row in read.loinc} | {(RXNORM, row["code"]) for row in read.rxnorm}
    for row in read.condition_codes:
        system = normal_system(row["system"])
        known.add((system, normal_code(system, row["code"])))
    found, problems = {}, []
    for line, row in enumerate(read.local, start=2):
        (system, code), (target, target_code) = (
            (normal_system(row[f"{name}system"]), row[f"{name}code"]) for name in ("", "as_")
        )
        meant = (target, normal_code(target, target_code))
        if meant not in known:
            problems.append(
                f"mappings/codes/local.csv: row {line}: {target_code} of {target} is in none of the tables here;"
                " mend it, or add that code first"
            )
        found[system, normal_code(system, code)] = meant
    if problems:
        raise KnowledgeError("\n".join(problems))
    return found


def _listed(rows: Rows) -> dict[tuple[str, str], _Listed]:
    found: dict[tuple[str, str], list[tuple[Meaning, str]]] = defaultdict(list)
    systems = {system: normal_system(system) for system in {row["system"] for row in rows}}
    for row in rows:
        system, meaning = systems[row["system"]], Meaning(row["concept"], row["kind"], row["modality"])
        found[system, normal_code(system, row["code"])].append((meaning, _for_phrases(plain_text(row["display"]))))
    return {
        key: _Listed(tuple(meaning for meaning, _ in listed), tuple({title: None for _, title in listed}))
        for key, listed in found.items()
    }


def _phrases(file: ConditionsFile) -> dict[str, tuple[_Phrase, ...]]:
    """Every phrase written out, with what it means."""
    found: dict[str, list[_Phrase]] = defaultdict(list)
    for entry in file.phrases:
        not_with = re.compile(_any_of(entry.not_with)) if entry.not_with else None
        phrase = _Phrase(
            Meaning(entry.concept, entry.kind, entry.modality), entry.past == "same", entry.outright, not_with
        )
        for written in entry.phrases:
            parts = [
                file.synonyms[part[1:-1]] if part.startswith("<") else (part,) for part in re.split(r"(<\w+>)", written)
            ]
            for words in combinations(*parts):
                found[_for_phrases(plain_text("".join(words)))].append(phrase)
    return {words: tuple(dict.fromkeys(meanings)) for words, meanings in found.items()}


def _guards(file: ConditionsFile) -> _Guards:
    return _Guards(
        breaks=re.compile(rf"[.;,()]|(?<!not ){_any_of(file.breaks)}"),
        reach=file.reach,
        denied_before=re.compile(_any_of(file.denied_before)),
        denied_just_before=re.compile(rf"{_any_of(file.denied_just_before)}\s*$"),
        denied_after=re.compile(_any_of(file.denied_after)),
        denied_next=re.compile(rf"\s*(?:status)?\s*[:=]?\s*{_any_of(file.denied_next)}(?!\W*\d)"),
        past_before=re.compile(_any_of(file.past_before)),
        past_next=re.compile(rf"[\s,:(]*{_any_of(file.past_next)}(?!\s+of\s+\w)"),  # "CMV colitis, history of" itself
        near=tuple((file.groups[group], re.compile(_any_of(words))) for group, words in file.near.items()),
    )
