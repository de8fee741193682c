"""What an order is for: said in the order, else assumed from the chart, else unknown.

Pure functions over words and problems; the words are in mappings/phases.yaml.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache

from cdshooks.medicine.rules.reading import PhaseRule
from cdshooks.model import Intent, Lab, Phase, Problem, Results, Why

_SENTENCE = re.compile(r"[;\n]|\.(?!\d)")
_PUNCTUATION = re.compile(r"[,.;:()\[\]\n]|(?<!\bs)/|\s-\s")  # "s/p" is one word


def phase_said(texts: Iterable[tuple[str, str]], rule: PhaseRule) -> Intent | None:
    """The phase that the order itself names: `texts` are (where, text), the first that names one counts.

    A text that names an active CMV disease and no phase means treatment, assumed.
    """
    disease = None
    for where, text in texts:
        phase, word = _phase_in(text, rule)
        if phase and word not in rule.disease:
            return Intent(phase, "said", f'the order says "{word}" ({where})')
        if phase and disease is None:
            disease = Intent(phase, "assumed", f'the order names a CMV disease, "{word}" ({where})')
    return disease


def indication_said(texts: Iterable[tuple[str, str]], rule: PhaseRule) -> str:
    """What the order is against, by its own words: "cmv" unless it names something else and not CMV."""
    said = " ; ".join(text.lower() for _, text in texts)
    if not _word(*rule.cmv_words).search(said):
        for indication, words in rule.indications.items():
            if _word(*words).search(said):
                return indication
    return "cmv"


def _phase_in(text: str, rule: PhaseRule) -> tuple[Phase | None, str]:
    """(phase, the word that names it). What speaks of another time is left out first, and only then looked at."""
    plain = re.sub(r"\s+", " ", text.lower())
    about_cmv = bool(_word(*rule.cmv_words).search(plain))
    for phrase in rule.ignore:
        plain = _word(phrase).sub(" ", plain)
    now = " ; ".join(_before(sentence, rule.then) for sentence in _SENTENCE.split(plain))
    for left_out in ((*rule.another_time, *rule.not_this), rule.not_this):
        rest = " ; ".join(_before(clause, left_out) for clause in _PUNCTUATION.split(now))
        if not about_cmv and _word(*rule.other_purpose).search(rest):
            continue
        for phase in rule.precedence:
            if found := _word(*getattr(rule.words, phase.value)).search(rest):
                return phase, found.group(0).strip()
        # "at risk of CMV disease", "after CMV disease": what is left out names no disease of now
        if about_cmv and left_out is not rule.not_this and (found := _word(*rule.disease).search(rest)):
            return Phase.TREATMENT, found.group(0).strip()
    return None, ""


def _before(clause: str, markers: tuple[str, ...]) -> str:
    """The part of a clause before the first word that opens a statement about another time."""
    found = _word(*markers).search(clause)
    return clause[: found.start()] if found else clause


@lru_cache(maxsize=256)
def _word(*phrases: str) -> re.Pattern[str]:
    """Any of the phrases as whole words; a hyphen in a phrase also matches a space or nothing."""
    longest_first = sorted(phrases, key=len, reverse=True)
    body = "|".join(re.escape(p.lower()).replace(r"\-", r"[-\s]?").replace(r"\ ", r"\s+") for p in longest_first)
    return re.compile(rf"(?<![\w])(?:{body})(?![\w])")


def _says_detected(text: str, rule: PhaseRule) -> bool:
    return bool(_word(*rule.detected).search(_before(text.lower(), rule.not_this)))


def says(texts: Iterable[str], words: tuple[str, ...], rule: PhaseRule, *, denied_behind: tuple[str, ...] = ()) -> str:
    """The first of these words that one of the texts says and does not deny, "" for none.

    `denied_behind`: words that deny it from behind ("CMV ruled out").
    """
    for text in texts:
        for clause in _PUNCTUATION.split(text.lower()):
            found = _word(*words).search(_before(clause, rule.denied))
            if found and not (denied_behind and _word(*denied_behind).search(clause, found.end())):
                return found.group(0)
    return ""


def _measurable(load: Lab) -> bool:
    return load.value > 0 and "<" not in load.comparator


def phase_assumed(
    problems: Sequence[Problem],
    problems_known: bool,
    viral_loads: Iterable[Results],
    groups: Mapping[str, frozenset[str]],
    rule: PhaseRule,
    today: date,
) -> Intent:
    """The phase assumed from the chart, or unknown. `groups` names which concepts are CMV disease, transplants ...

    Prophylaxis is assumed only where CMV disease and DNAemia could be looked for (`problems_known`, viral loads).
    """
    found = [problem for problem in problems if problem.kind not in ("complication", "encounter")]
    for problem in problems:
        if problem.concept in groups["cmv_disease"] or problem.concept == "cmv-viraemia":
            return Intent(Phase.TREATMENT, "assumed", f"{problem.text or problem.concept} is on the problem list")
    recent = today - timedelta(days=rule.dnaemia_days)
    looked = problems_known
    for results in viral_loads:  # one per specimen and unit; they are never compared
        load = results.newest()
        for entry in results.unused:  # what stands before the newest number
            if entry.kind == "word" and entry.on >= recent.isoformat() and _says_detected(entry.why, rule):
                return Intent(Phase.TREATMENT, "assumed", f"{entry.what} {entry.why}")
            looked = looked and entry.kind in ("withdrawn", "future", "specimen", "excluded")
        if isinstance(load, Lab) and load.on >= recent and _measurable(load):
            return Intent(Phase.TREATMENT, "assumed", f"CMV viral load {load.original} on {load.on.isoformat()}")
        # cleared just now: it may be the end of a treatment, so prophylaxis is not assumed
        looked = looked and not any(_measurable(earlier) for earlier in results.since(recent))
        looked = looked and (isinstance(load, Lab) or load.why is Why.NONE_ON_FILE)
    for problem in found:
        window = rule.prophylaxis_window_days.get(problem.concept)
        if window and looked and problem.since and timedelta(0) <= today - problem.since <= timedelta(days=window.days):
            days = (today - problem.since).days
            return Intent(
                Phase.PROPHYLAXIS,
                "assumed",
                f"day {days} after {problem.text or problem.concept}, no CMV DNAemia on file",
            )
    return Intent(None, "unknown", "the order does not say what it is for, and the chart does not settle it")
