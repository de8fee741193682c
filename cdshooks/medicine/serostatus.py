"""The CMV serostatus of donor and recipient: "D+/R-" and its like in words, and results of CMV IgG."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from cdshooks.medicine.rules.reading import SerostatusRule
from cdshooks.model import Said, Serostatus, Words

_SIGNS = {"+": "positive", "-": "negative"}
# "D+/R-": a sign counts after a lone letter only, and not where a word goes on ("D-dimer", "R-CHOP")
_DONOR_SIGN = re.compile(r"(?<!\w)d\s?([+-])(?=\s*/?\s*r\s?[+-]|\W|$)")
_RECIPIENT_SIGN = re.compile(r"(?:(?<!\w)|(?<=[+-]))r\s?([+-])(?!\w)")


def serostatus(
    texts: Iterable[str], words: Mapping[str, Words], problems: set[str], rule: SerostatusRule
) -> Serostatus:
    """What is known: what the record says in words goes first (IgG changes with transfusions), then results of IgG."""
    donor = recipient = ""
    because: list[str] = []
    for text in texts:
        found_donor, found_recipient = in_words(text, rule)
        if (found_donor and not donor) or (found_recipient and not recipient):
            because.append(f'"{text[:60]}"')
        donor, recipient = donor or found_donor, recipient or found_recipient
    for test, known in (("cmv-igg-donor", donor), ("cmv-igg", recipient)):
        said = words[test].newest() if not known and test in words else None
        if isinstance(said, Said) and said.answer:
            because.append(
                f"{test.replace('-', ' ').replace('cmv igg', 'CMV IgG')} {said.answer} on {said.on.isoformat()}"
            )
            donor, recipient = (said.answer, recipient) if test.endswith("donor") else (donor, said.answer)
    for concept, answer in (("cmv-seropositive", "positive"), ("cmv-seronegative", "negative")):
        if not recipient and concept in problems:
            recipient = answer
            because.append(f"{concept.replace('-', ' ')} on the problem list")
    return Serostatus(donor, recipient, tuple(because))


def in_words(text: str, rule: SerostatusRule) -> tuple[str, str]:
    """(donor, recipient) as a text says it: "positive", "negative" or ""."""
    plain = re.sub(r"[\u2010-\u2015\u2212]", "-", text.casefold())
    patterns = _patterns(rule)
    if patterns["high risk"].search(plain):
        return "positive", "negative"
    donor = _sign(_DONOR_SIGN, plain) or _answer(patterns, "donor", plain)
    recipient = _sign(_RECIPIENT_SIGN, plain) or _answer(patterns, "recipient", plain)
    if not donor and not recipient:
        recipient = _answer(patterns, "bare", plain)
    return donor, recipient


def _sign(pattern: re.Pattern[str], text: str) -> str:
    found = {_SIGNS[sign] for sign in pattern.findall(text)}
    return found.pop() if len(found) == 1 else ""


def _answer(patterns: Mapping[str, re.Pattern[str]], who: str, text: str) -> str:
    found = {answer for answer in ("positive", "negative") if patterns[f"{who} {answer}"].search(text)}
    return found.pop() if len(found) == 1 else ""


@lru_cache(maxsize=8)
def _patterns(rule: SerostatusRule) -> Mapping[str, re.Pattern[str]]:
    def any_of(words: Iterable[str]) -> str:
        return "|".join(re.escape(word).replace(r"\-", r"[-\s]?") for word in sorted(words, key=len, reverse=True))

    found = {"high risk": re.compile(rf"(?<!\w)(?:{any_of(rule.high_risk)})(?!\w)")}
    between = rf"[\s:]+(?:(?:{any_of(rule.between)})[\s:]+)*"
    for answer, words in (("positive", rule.positive), ("negative", rule.negative)):
        sign = any_of(words)
        for who, names in (("donor", rule.donor), ("recipient", rule.recipient)):
            name = any_of(names)
            after, before = rf"(?:{name}){between}(?:{sign})", rf"(?:{sign}){between}(?:{name})"
            found[f"{who} {answer}"] = re.compile(rf"(?<!\w)(?:{after}|{before})(?!\w)")
        found[f"bare {answer}"] = re.compile(rf"(?<!\w)(?:{any_of(rule.bare)})[\s:]+(?:{sign})(?!\w)")
    return found
