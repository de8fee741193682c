"""What becomes of each claim of the source articles: docs/claims.yaml with the scenarios, as docs/claims.md.

`python tests/claims.py` writes the page. Which scenarios show a claim is read from their own tags, which rules from
the cards that they get: nothing of it is written by hand, so it cannot go stale.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from scenario import Scenario, load_scenarios, render

from cdshooks.medicine.knowledge import Knowledge
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.medicine.yaml_file import read_yaml
from cdshooks.pipeline import evaluate
from cdshooks.wire.hooks import read_call

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "claims.md"
ANSWERS = ("enforced", "information", "refused")
_KEYS = {"id", "says", "verdict", "answer", "how", "reason", "rules", "by"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A scenario that shows a claim, and the rules that its cards name; none where silence is the point."""

    scenario: Scenario
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement and its answer. `missing` names rules and scenarios that do not exist."""

    id: str
    says: str
    verdict: str
    answer: str
    how: str
    rules: tuple[str, ...]
    shown: tuple[Shown, ...]
    missing: tuple[str, ...]

    @property
    def answered(self) -> bool:
        """Refused with a reason, or shown by a scenario or (as information) by a rule."""
        if self.missing:
            return False
        if self.answer == "refused":
            return bool(self.how)
        return bool(self.shown) or (self.answer == "information" and bool(self.rules))


def read_claims(knowledge: Knowledge) -> tuple[Claim, ...]:
    """Every claim with what shows it."""
    scenarios = {scenario.name: scenario for scenario in load_scenarios()}
    known = {rule.id for rule in knowledge.rules}
    return tuple(_claim(entry, scenarios, known, knowledge) for entry in read_file()["claims"])


def read_file() -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_yaml(DOCS / "claims.yaml")
    return found


def _claim(entry: Mapping[str, Any], scenarios: Mapping[str, Scenario], known: set[str], knowledge: Knowledge) -> Claim:
    if (unknown := entry.keys() - _KEYS) or entry["answer"] not in ANSWERS:
        raise ValueError(f"claims.yaml: {entry['id']}: {unknown or entry['answer']}")
    named, rules = entry.get("by", ()), tuple(entry.get("rules", ()))
    showing = [s for s in scenarios.values() if entry["id"] in s.claims or s.name in named]
    return Claim(
        id=entry["id"],
        says=entry["says"],
        verdict=entry["verdict"],
        answer=entry["answer"],
        how=entry.get("reason", entry.get("how", "")),
        rules=rules,
        shown=tuple(Shown(s, _rules_of(s, knowledge)) for s in showing),
        missing=(
            *(f"rule {r}" for r in rules if r not in known),
            *(f"scenario {n}" for n in named if n not in scenarios),
        ),
    )


def _rules_of(scenario: Scenario, knowledge: Knowledge) -> tuple[str, ...]:
    """The rules that stand behind the cards of a scenario."""
    body = orjson.dumps(render(scenario))
    call = read_call(scenario.service, body, max_depth=64, max_entries=1000, prefetch_keys={})
    found = evaluate(call, knowledge=knowledge, today=scenario.today, zone=ZoneInfo("UTC")).findings
    return tuple(dict.fromkeys(rule for finding in found for rule in finding.rules))


def page(claims: Iterable[Claim], knowledge: Knowledge) -> str:
    """docs/claims.md."""
    return "\n".join(_lines(tuple(claims), {rule.id for rule in knowledge.rules})) + "\n"


def _lines(claims: tuple[Claim, ...], known: set[str]) -> Iterator[str]:
    yield "# What becomes of each claim of the source articles"
    yield ""
    yield "Made by `make claims` from `docs/claims.yaml`, the tags of the scenarios and the cards that they get."
    yield "A rule in brackets stands behind a card of the scenario; a scenario without one shows that silence is right."
    yield ""
    count = {answer: sum(c.answer == answer and c.answered for c in claims) for answer in ANSWERS}
    waiting = [c.id for c in claims if not c.answered]
    told = ", ".join(f"{number} {answer}" for answer, number in count.items())
    yield f"{len(claims)} claims: {told}, {len(waiting)} without an answer yet."
    yield ""
    yield "| Claim | Statement | Verdict on it | Answer | Where |"
    yield "|---|---|---|---|---|"
    for claim in claims:
        answer = claim.answer if claim.answered else "**none yet**"
        yield f"| {claim.id} | {_cell(claim.says)} | {_cell(claim.verdict)} | {answer} | {_cell(_where(claim))} |"
    yield ""
    yield "## Conflicts between articles, labels and guidelines"
    yield ""
    yield "| Conflict | About | Rows | How it is resolved | Rules |"
    yield "|---|---|---|---|---|"
    for entry in read_file()["conflicts"]:
        rules = ", ".join(f"{r}" if r in known else f"**{r} (unknown)**" for r in entry.get("rules", ())) or "none"
        cells = (entry["id"], _cell(entry["about"]), ", ".join(entry["rows"]), _cell(entry["how"]), rules)
        yield f"| {' | '.join(cells)} |"


def _where(claim: Claim) -> str:
    parts = [claim.how] if claim.how else []
    parts += [f"rule {', '.join(claim.rules)}"] if claim.rules else []
    for shown in claim.shown[:3]:
        rules = f" [{', '.join(shown.rules)}]" if shown.rules else ""
        parts.append(f"{shown.scenario.file}: {shown.scenario.name}{rules}")
    if len(claim.shown) > len(claim.shown[:3]):
        parts.append(f"and {len(claim.shown) - 3} more scenarios")
    return "; ".join((*parts, *claim.missing)) or "no rule and no scenario yet"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    with_rules = load_knowledge()
    PAGE.write_text(page(read_claims(with_rules), with_rules), encoding="utf-8")
