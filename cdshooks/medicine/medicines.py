"""Which drugs beside the order a patient is on: by code first, else by name as a whole word; systemic ones only."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cdshooks.medicine.codes import Codes, plain_text
from cdshooks.medicine.rules import OtherDrugs
from cdshooks.model import Concept


@dataclass(frozen=True, slots=True, eq=False)
class Medicines:
    """Recognises drugs other than the CMV antivirals."""

    codes: Codes
    by_name: Mapping[str, frozenset[str]]  # a product may hold several
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
    return Medicines(codes, by_name, file.classes, _any_of(by_name), _any_of(map(_plain, file.not_systemic)))


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
        return tuple(sorted({(drug, acts_in_blood and drug not in local) for drug, _ in coded}))
    product = medicines.codes.product(concept, None)
    named = {(drug, acts_in_blood) for name in medicines.names.findall(text) for drug in medicines.by_name[name]}
    if product and product.drug:
        named.add((product.drug, acts_in_blood and product.systemic))
    return tuple(sorted(named))
