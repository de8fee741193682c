"""Which drugs beside the order a patient is on: by code first, else by name as a whole word; systemic ones only."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from cdshooks.medicine.codes import Codes, plain_text
from cdshooks.medicine.rules.reading import OtherDrugs
from cdshooks.model import Concept


@dataclass(frozen=True, slots=True, eq=False)
class Medicines:
    """Recognises drugs other than the CMV antivirals."""

    codes: Codes
    by_name: Mapping[str, frozenset[str]]  # a product may hold several
    titles: Mapping[str, str]
    classes: Mapping[str, tuple[str, ...]]
    names: re.Pattern[str]
    not_systemic: re.Pattern[str]

    def of(self, concept: Concept) -> frozenset[str]:
        """Keys of the systemic drugs that a medication concept names; usually one, several for a combination."""
        return frozenset(drug for drug, systemic in _recognised(self, concept) if systemic)

    def all_of(self, concept: Concept) -> tuple[tuple[str, bool], ...]:
        """(key, is this form systemic?) of every drug that a medication concept names, sorted."""
        return _recognised(self, concept)

    def substances(self, concept: Concept) -> frozenset[str]:
        """Keys of the drugs, CMV antivirals too, that an allergy names; its form and route say nothing there."""
        coded = {drug for drug, _ in self.codes.medicines(concept)}
        texts = [_plain(words) for words in concept.words]
        found = {name for text in texts for name in self.codes.affirmed(self.names, text)}
        named = {drug for name in found for drug in self.by_name[name]}
        return frozenset(coded | named).union(*map(self.codes.drugs_named, texts))

    def title(self, drug: str) -> str:
        """How cards call a drug: its first name in the list."""
        return self.titles.get(drug) or (self.codes.drugs[drug].display if drug in self.codes.drugs else drug)

    def calls(self, drug: str, text: str) -> bool:
        """Does a text name the drug as cards do? The order of the words does not count."""
        said = _plain(text)
        return all(word in said for word in re.findall(r"\w+", _plain(self.title(drug))))

    def by_code(self, drug: str, concept: Concept) -> bool:
        """Was the drug recognised by a code, not by a name?"""
        return drug in dict(self.codes.medicines(concept))

    def strength_mg(self, drug: str, concept: Concept) -> Decimal | None:
        """The strength that follows a drug's name in the name of a product ("amlodipine 5 mg / atorvastatin 80 mg")."""
        names = "|".join(re.escape(name) for name, drugs in self.by_name.items() if drug in drugs)
        written = re.compile(rf"(?<!\w)(?:{names})(?: [a-z]+)? (\d+(?:\.\d+)?) ?mg(?![\w/])")
        found = {Decimal(number) for text in map(_plain, concept.words) for number in written.findall(text)}
        return found.pop() if len(found) == 1 else None

    @property
    def known(self) -> frozenset[str]:
        """Every drug that an order or an allergy can name here."""
        named = frozenset(drug for drugs in self.by_name.values() for drug in drugs)
        return named | self.codes.drug_concepts() | frozenset(self.codes.drugs)

    def members(self, names: Iterable[str]) -> frozenset[str]:
        """The drugs that these names of drugs and classes stand for."""
        return frozenset(drug for name in names for drug in self.classes.get(name, (name,)))


def make_medicines(codes: Codes, file: OtherDrugs) -> Medicines:
    """From the code tables and mappings/other_drugs.yaml."""
    by_name: dict[str, frozenset[str]] = {}
    for key, names in file.names.items():
        for name in map(_plain, names):
            by_name[name] = by_name.get(name, frozenset()) | {key}
    titles = {key: names[0] for key, names in file.names.items()}
    return Medicines(codes, by_name, titles, file.classes, _any_of(by_name), _any_of(map(_plain, file.not_systemic)))


def _plain(text: str) -> str:
    """Text for look-up; a typographic apostrophe is a plain one."""
    return plain_text(text).replace("\u2019", "'")


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w])(?:{'|'.join(map(re.escape, longest_first))})(?![\w])")


@lru_cache(maxsize=4096)
def _recognised(medicines: Medicines, concept: Concept) -> tuple[tuple[str, bool], ...]:
    text = " ; ".join(map(_plain, concept.words))
    acts_in_blood = not medicines.not_systemic.search(text)
    coded = medicines.codes.medicines(concept)
    if coded:  # codes settle it, and the one that says that the product is not systemic outranks one of its substance
        local = {drug for drug, systemic in coded if not systemic}
        beside = _beside(medicines, concept, frozenset(drug for drug, _ in coded)) if not local else frozenset()
        return tuple(sorted({(drug, acts_in_blood and drug not in local) for drug in {*beside, *dict(coded)}}))
    product = medicines.codes.product(concept, None)
    named = {(drug, acts_in_blood) for name in medicines.names.findall(text) for drug in medicines.by_name[name]}
    if product and product.drug:
        named.add((product.drug, acts_in_blood and product.systemic))
    return tuple(sorted(named))


def _beside(medicines: Medicines, concept: Concept, coded: frozenset[str]) -> frozenset[str]:
    """The other drugs of a combination whose code is listed for one of them: by its brand, or by a name with "/"."""
    found: set[str] = set()
    for text in map(_plain, concept.words):
        named = [medicines.by_name[name] for name in medicines.names.findall(text)]
        found |= {drug for drugs in named if drugs & coded for drug in drugs}
        if "/" in text and any(drugs & coded for drugs in named):
            found |= {drug for drugs in named for drug in drugs}
    return frozenset(found)
