"""Which drugs beside the order a patient is on: by code first, else by name as a whole word; systemic ones only."""

import re
from collections.abc import Mapping
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
    by_name = {plain_text(name): key for key, names in file.names.items() for name in names}
    return Medicines(codes, by_name, _any_of(by_name), _any_of(map(plain_text, file.not_systemic)))


def _any_of(words: "Mapping[str, str] | map[str]") -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w])(?:{'|'.join(map(re.escape, longest_first))})(?![\w])")


@lru_cache(maxsize=4096)
def _recognised(medicines: Medicines, concept: Concept) -> frozenset[str]:
    text = " ; ".join(map(plain_text, concept.words))
    if medicines.not_systemic.search(text):
        return frozenset()
    coded = frozenset(drug for drug, systemic in medicines.codes.medicines(concept) if systemic)
    return coded or frozenset(medicines.by_name[name] for name in medicines.names.findall(text))
