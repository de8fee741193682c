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
    by_name: Mapping[str, str]
    names: re.Pattern[str]
    not_systemic: re.Pattern[str]

    def of(self, concept: Concept) -> frozenset[str]:
        """Keys of the systemic drugs that a medication concept names; usually one, several for a combination."""
        return _recognised(self, concept)


def make_medicines(codes: Codes, file: OtherDrugs) -> Medicines:
    """From the code tables and mappings/other_drugs.yaml."""
    by_name = {_plain(name): key for key, names in file.names.items() for name in names}
    return Medicines(codes, by_name, _any_of(by_name), _any_of(map(_plain, file.not_systemic)))


def _plain(text: str) -> str:
    """Text for look-up; a typographic apostrophe is a plain one."""
    return plain_text(text).replace("\u2019", "'")


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w])(?:{'|'.join(map(re.escape, longest_first))})(?![\w])")


@lru_cache(maxsize=4096)
def _recognised(medicines: Medicines, concept: Concept) -> frozenset[str]:
    text = " ; ".join(map(_plain, concept.words))
    if medicines.not_systemic.search(text):
        return frozenset()
    coded = medicines.codes.medicines(concept)
    if coded:  # codes settle it, and the one that says that the product is not systemic outranks one of its substance
        return frozenset(drug for drug, _ in coded) - {drug for drug, systemic in coded if not systemic}
    return frozenset(medicines.by_name[name] for name in medicines.names.findall(text))
