"""The same stored requests under two versions of the knowledge: which rules say more, less, or something else.

Nothing is kept, nothing is shown to anybody: what would change is known before it changes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdshooks.errors import CdsError, KnowledgeError
from cdshooks.service.terminal import judge

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.service.config import Settings

NAMED: Final = 3  # requests named per rule and kind of change in the table; --json names them all
SUFFIXES: Final = (".json", ".ndjson")


class NothingToReplay(CdsError):
    """The folder holds no stored requests."""


@dataclass(slots=True)
class RuleDiff:
    """One rule over all requests: how often it fired under each version, and where that differs."""

    rule: str
    before: int = 0
    after: int = 0
    new: list[str] = field(default_factory=list)  # requests where it fires only afterwards
    gone: list[str] = field(default_factory=list)  # … only before
    graver: list[str] = field(default_factory=list)  # fires under both, with a graver indicator afterwards
    milder: list[str] = field(default_factory=list)
    reworded: list[str] = field(default_factory=list)  # same indicator, other words or numbers

    @property
    def changed(self) -> bool:
        """Does the rule behave differently anywhere?"""
        return bool(self.new or self.gone or self.graver or self.milder or self.reworded)


@dataclass(slots=True)
class Diff:
    """The outcome of a replay."""

    before: str  # knowledge version
    after: str
    requests: int = 0
    differing: int = 0  # requests whose cards differ in any way
    cards_before: dict[str, int] = field(default_factory=dict)  # indicator -> cards
    cards_after: dict[str, int] = field(default_factory=dict)
    rules: list[RuleDiff] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)  # requests that could not be judged, and why


def stored_requests(folder: Path) -> list[tuple[str, bytes]]:
    """The requests of a folder and those below it: *.json holds one, *.ndjson one a line. Named by their place.

    Raises:
        NothingToReplay: there is none.
    """
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            found.append((name, path.read_bytes()))
        else:
            lines = enumerate(path.read_bytes().splitlines(), 1)
            found += [(f"{name}:{number}", line) for number, line in lines if line.strip()]
    if not found:
        raise NothingToReplay(f"{folder}: no *.json or *.ndjson in it; store one hook request a file, or one a line")
    return found


def replay(
    requests: Iterable[tuple[str, bytes]],
    before: "Knowledge",
    after: "Knowledge",
    *,
    settings: "Settings",
    today: date,
) -> Diff:
    """Judge each request under both versions, as of the same day."""
    diff = Diff(before.version, after.version)
    rules: dict[str, RuleDiff] = {}
    for name, body in requests:
        diff.requests += 1
        try:
            old, new = (judge(body, settings=settings, knowledge=one, today=today) for one in (before, after))
        except CdsError as error:
            diff.errors.append((name, str(error)))
            continue
        for cards, counts in ((old, diff.cards_before), (new, diff.cards_after)):
            for card in cards:
                counts[card["indicator"]] = counts.get(card["indicator"], 0) + 1
        said_before, said_after = _said(old), _said(new)
        diff.differing += said_before != said_after
        for rule in said_before.keys() | said_after.keys():
            _compare(rules.setdefault(rule, RuleDiff(rule)), name, said_before.get(rule, []), said_after.get(rule, []))
    diff.rules = sorted(rules.values(), key=lambda rule: rule.rule)
    return diff


RANKS: Final = ("info", "warning", "critical")


def _said(cards: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, bytes]]]:
    """Per rule: gravity and words of the cards it stands on, without what every card says about versions."""
    said: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for card in cards:
        finding = {
            name: value
            for name, value in card["extension"]["cmv-cds.finding"].items()
            if name not in ("knowledgeVersion", "serviceVersion")
        }
        detail = [line for line in card["detail"].splitlines() if not line.startswith("Rule ")]
        offered = [suggestion["label"] for suggestion in card.get("suggestions", ())]
        words = orjson.dumps([card["summary"], detail, finding, offered])
        for rule in finding["checks"]:
            said[rule].append((RANKS.index(card["indicator"]), words))
    return {rule: sorted(entries) for rule, entries in said.items()}


def _compare(rule: RuleDiff, name: str, old: list[tuple[int, bytes]], new: list[tuple[int, bytes]]) -> None:
    rule.before += bool(old)
    rule.after += bool(new)
    if not old or not new:
        (rule.new if new else rule.gone).append(name)
    elif old != new:
        worst_before, worst_after = old[-1][0], new[-1][0]
        if worst_after > worst_before:
            rule.graver.append(name)
        elif worst_after < worst_before:
            rule.milder.append(name)
        else:
            rule.reworded.append(name)


# --------------------------------------------------------------------------------------------------------------------
# Command line


def run(folder: Path, against: Path, *, settings: "Settings", today: date, as_json: bool) -> None:
    """Replay the requests of a folder under the configured knowledge and under the copy in `against`, and print it.

    A site's own values (the overlay) lie over both.

    Raises:
        KnowledgeError: one of the two cannot be used.
        NothingToReplay: the folder holds no requests.
    """
    from cdshooks.medicine.knowledge_files import load_knowledge

    requests = stored_requests(folder)
    before = load_knowledge(settings.mappings, settings.overlay)
    try:
        after = load_knowledge(against, settings.overlay)
    except KnowledgeError as error:
        raise KnowledgeError(f"--against {against}: no copy of mappings/ that can be used:\n{error}") from None
    diff = replay(_tracked(requests), before, after, settings=settings, today=today)
    if as_json:
        Console(soft_wrap=True, highlight=False).print(
            orjson.dumps(asdict(diff), option=orjson.OPT_INDENT_2).decode(), markup=False
        )
    else:
        draw(diff, Console())


def _tracked(requests: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The requests, with a bar on standard error that shows how far it is."""
    from rich.progress import track

    yield from track(requests, "Judging under both", console=Console(stderr=True), transient=True)


def draw(diff: Diff, console: Console) -> None:
    """The differences per rule as a table, and what could not be judged."""
    console.print(
        f"{diff.requests} requests, {diff.differing} answered differently; knowledge {diff.before} -> {diff.after}"
    )
    for indicator in reversed(RANKS):
        old, new = diff.cards_before.get(indicator, 0), diff.cards_after.get(indicator, 0)
        console.print(f"  {indicator:8} {old:6} -> {new:6} cards")
    changed = [rule for rule in diff.rules if rule.changed]
    if changed:
        console.print(_table(changed))
    same = len(diff.rules) - len(changed)
    console.print(f"{same} rules fired and say the same." if same else "Every rule that fired says something else.")
    for name, why in diff.errors:
        console.print(Text(f"{name}: not judged: {why}"))


def _table(rules: Sequence[RuleDiff]) -> Table:
    kinds: tuple[tuple[str, Callable[[RuleDiff], list[str]]], ...] = (
        ("new", lambda rule: rule.new),
        ("gone", lambda rule: rule.gone),
        ("graver", lambda rule: rule.graver),
        ("milder", lambda rule: rule.milder),
        ("reworded", lambda rule: rule.reworded),
    )
    table = Table("rule", title="Rules that differ", title_justify="left")
    for title in ("before", "after", *(kind for kind, _ in kinds)):
        table.add_column(title, justify="right")
    table.add_column("for example", overflow="fold")
    for rule in rules:
        examples = [f"{kind}: {name}" for kind, of in kinds for name in of(rule)[:NAMED]]
        counts = [str(len(of(rule)) or "") for _, of in kinds]
        table.add_row(rule.rule, str(rule.before), str(rule.after), *counts, Text("\n".join(examples)))
    return table
