"""Hook requests judged without a server, and cards drawn in the terminal.

The verdict is `pipeline.evaluate` alone; this module reads files, draws, and chooses the exit code.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import orjson
from rich import box
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cdshooks.errors import BadRequest, CdsError
from cdshooks.medicine.knowledge_files import load_knowledge
from cdshooks.pipeline import evaluate
from cdshooks.service.config import Settings
from cdshooks.service.plot import Plot, plots
from cdshooks.wire.hooks import SERVICES, read_call

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge

Card = dict[str, Any]

COLOURS: Final = {"critical": "red", "warning": "yellow", "info": "blue"}  # never alone: the word stands beside it
CRITICAL_FOUND: Final = 1
NOT_JUDGED: Final = 2
_BAR_WIDTH: Final = 40


class Unreadable(CdsError):
    """A file that cannot be opened."""


def check(files: Sequence[str], *, as_json: bool, settings: Settings) -> int:
    """Judge hook request files ("-": standard input) and print the answers; errors go to standard error.

    Returns the exit code: 2 when a file could not be judged, else 1 when a card is critical, else 0.

    Raises:
        KnowledgeError: a file of the knowledge cannot be used.
    """
    knowledge = load_knowledge(settings.mappings, settings.overlay)
    today = settings.today or datetime.now(ZoneInfo(settings.timezone)).date()
    answers: list[tuple[str, list[Card]]] = []
    errors: list[tuple[str, str]] = []
    for name in files:
        try:
            answers.append((name, judge(read_file(name), settings=settings, knowledge=knowledge, today=today)))
        except CdsError as error:
            errors.append((name, str(error)))
    if as_json:
        told = [{"file": name, "cards": cards} for name, cards in answers]
        told += [{"file": name, "error": message} for name, message in errors]
        sys.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    else:
        draw(answers, Console())
    for name, message in errors:
        Console(stderr=True).print(Text(printable(f"{name}: not judged: {message}")), soft_wrap=True)
    return NOT_JUDGED if errors else CRITICAL_FOUND if any(_is_critical(cards) for _, cards in answers) else 0


def judge(body: bytes, *, settings: Settings, knowledge: "Knowledge", today: date) -> list[Card]:
    """The cards for one hook request.

    Raises:
        BadRequest: the request is no hook call of ours; names the field at fault.
    """
    limits = settings.limits
    call = read_call(
        service_of(body), body, max_depth=limits.max_depth, max_entries=limits.max_entries, prefetch_keys={}
    )
    answer = evaluate(call, knowledge=knowledge, today=today, zone=ZoneInfo(settings.timezone))
    cards: list[Card] = orjson.loads(answer.body)["cards"]
    return cards


def read_file(name: str) -> bytes:
    """The content of a file ("-": standard input). Raises `Unreadable`."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except IsADirectoryError as error:
        raise Unreadable("is a folder: name the files in it") from error
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error


def service_of(body: bytes) -> str:
    """The service for the request's hook; what is no JSON object is left to `read_call`, which says why."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return SERVICES[0].id
    hook = request.get("hook") if isinstance(request, dict) else None
    if not isinstance(hook, str):
        return SERVICES[0].id
    for service in SERVICES:
        if service.hook == hook:
            return service.id
    raise BadRequest(f"no service answers this hook; known: {', '.join(s.hook for s in SERVICES)}", "hook")


def _is_critical(cards: Iterable[Card]) -> bool:
    return any(card["indicator"] == "critical" for card in cards)


def draw(answers: Iterable[tuple[str, Sequence[Card]]], console: Console) -> None:
    """Draw the cards of each answer under its title. Reads without colour as well."""
    for title, cards in answers:
        console.print(Text(printable(title), style="bold underline"))
        if not cards:
            console.print(Text("  no cards: nothing to say"))
        for card in cards:
            console.print(_panel(card))
        console.print()


def printable(text: str) -> str:
    """A file may be named anything: nothing of it may steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _panel(card: Card) -> Panel:
    colour = COLOURS[card["indicator"]]
    title = Text.assemble(
        (f" {card['indicator'].upper()} ", f"bold reverse {colour}"),
        (f" {card['source']['topic']['display']}", colour),
    )
    return Panel(
        Group(*_lines(card)), title=title, title_align="left", border_style=colour, box=box.ROUNDED, padding=(0, 1)
    )


def _bars(plot: Plot) -> Table:
    """A series as bars on a logarithmic scale; the lowest result keeps a short one."""
    drawn = Table.grid(padding=(0, 1))
    for mark in plot.marks:
        bar = Bar(1, 0, 0.05 + 0.95 * mark.share, width=_BAR_WIDTH)
        drawn.add_row(mark.on, Text(mark.value, justify="right"), bar)
    drawn.add_row("", "", Text(f"{plot.name}, {plot.unit}, logarithmic scale", style="dim"))
    return drawn


def _lines(card: Card) -> Iterator[RenderableType]:
    yield Text(card["summary"], style="bold")
    if not card["detail"].startswith("- "):  # a list brings an empty line of its own
        yield Text()
    yield Markdown(card["detail"], hyperlinks=False)
    for plot in plots(card) if card["source"]["topic"]["code"] == "response" else ():
        yield Text()
        yield _bars(plot)
    suggestions = card.get("suggestions", ())
    if suggestions:
        yield Text()
    for suggestion in suggestions:
        yield Padding(Text(f"-> {suggestion['label']}", style="bold green"), (0, 0, 0, 1))
    yield Text()
    source = card["source"]
    yield Text(f"Source: {source['label']}", style="dim")
    if "url" in source:
        yield Text(source["url"], style="dim", overflow="fold")
