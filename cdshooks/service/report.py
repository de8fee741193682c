"""What became of the cards: acceptance and overrides for each rule and reason, alerts per 100 orders, for a period.

Made from the store alone, as a table in the terminal, as CSV files and as one page with plots that needs nothing else.
Comments of clinicians stand in none of them, and of a reason only its code: its words may be anybody's.
"""

import base64
import csv
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, select

from cdshooks import __version__
from cdshooks.service import audit
from cdshooks.service.store import CARDS, FEEDBACK, reading

ALERTS: Final = ("warning", "critical")
NO_REASON: Final = "(none given)"
NO_CODE: Final = "(no code)"
CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,39}")
PLOTTED: Final = 15  # rules in a plot; the tables hold all of them


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """One service: how often it was asked, and how loud it was. `alerts` are cards of warning or critical."""

    service: str
    calls: int
    silent_mode_calls: int
    orders: int
    info: int
    warning: int
    critical: int
    alerts_per_100_orders: float | None  # none where no order was judged


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule: what became of the cards it stands on. A card with two rules counts for both; its last word counts."""

    rule: str
    shown: int
    accepted: int
    overridden: int
    unanswered: int
    override_percent: float | None  # of the answered ones
    top_reason: str


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """How often a reason was given for overriding the cards of a rule."""

    rule: str
    reason: str
    meaning: str
    overridden: int


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `unmatched` counts feedback on cards that are not known here."""

    since: datetime | None
    until: datetime | None
    services: tuple[ServiceLine, ...]
    rules: tuple[RuleLine, ...]  # the most overridden first
    reasons: tuple[ReasonLine, ...]
    knowledge_versions: tuple[str, ...]
    unmatched: int


def make_report(
    store: Engine, meanings: Mapping[str, str], *, since: datetime | None = None, until: datetime | None = None
) -> Report:
    """Count the calls of a period and what was reported about their cards, whenever that came.

    `meanings` are the override reasons that this service offers: code -> words.
    """
    services, versions = _services(store, since, until)
    rules, reasons, unmatched = _rules(store, meanings, since, until)
    return Report(since, until, services, rules, reasons, versions, unmatched)


def _services(
    store: Engine, since: datetime | None, until: datetime | None
) -> tuple[tuple[ServiceLine, ...], tuple[str, ...]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    versions: dict[str, None] = {}
    for entry in audit.entries(store, since=since, until=until):
        if entry["event"] != "call":
            continue
        of = counts[entry["service"]]
        of["calls"] += 1
        of["silent_mode_calls"] += not entry["shown"]
        of["orders"] += len(entry["orders"])
        of.update(card["indicator"] for card in entry["cards"])
        versions[entry["knowledge_version"]] = None
    lines = []
    for service, of in sorted(counts.items()):
        alerts = sum(of[indicator] for indicator in ALERTS)
        lines.append(
            ServiceLine(
                service=service,
                **{name: of[name] for name in ("calls", "silent_mode_calls", "orders", "info", "warning", "critical")},
                alerts_per_100_orders=round(100 * alerts / of["orders"], 1) if of["orders"] else None,
            )
        )
    return tuple(lines), tuple(versions)


def _rules(
    store: Engine, meanings: Mapping[str, str], since: datetime | None, until: datetime | None
) -> tuple[tuple[RuleLine, ...], tuple[ReasonLine, ...], int]:
    cards = select(CARDS.c.uuid, CARDS.c.rules).where(CARDS.c.shown)
    told = select(FEEDBACK.c.card, FEEDBACK.c.outcome, FEEDBACK.c.reasons, CARDS.c.uuid).outerjoin(
        CARDS, CARDS.c.uuid == FEEDBACK.c.card
    )
    if since:
        cards, told = cards.where(CARDS.c.created_at >= since), told.where(FEEDBACK.c.received_at >= since)
    if until:
        cards = cards.where(CARDS.c.created_at < until)
    with reading(store).connect() as connection:
        rules_of = {row.uuid: row.rules for row in connection.execute(cards)}
        last: dict[str, tuple[str, list[list[str]]]] = {}
        unmatched = 0
        for row in connection.execute(told.order_by(FEEDBACK.c.received_at, FEEDBACK.c.outcome_at)):
            unmatched += row.uuid is None
            if row.card in rules_of:
                last[row.card] = (row.outcome, row.reasons)
    shown = Counter(rule for rules in rules_of.values() for rule in rules)
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for card, (outcome, given) in last.items():
        for rule in rules_of[card]:
            outcomes[rule][outcome] += 1
            if outcome == "overridden":
                reasons[rule].update({_plain(code) for code, _, _ in given if code} or {NO_REASON})
    lines = [_rule_line(rule, count, outcomes[rule], reasons[rule]) for rule, count in shown.items()]
    lines.sort(key=lambda line: (-line.overridden, -line.shown, line.rule))
    said = [
        ReasonLine(line.rule, reason, meanings.get(reason, ""), count)
        for line in lines
        for reason, count in reasons[line.rule].most_common()
    ]
    return tuple(lines), tuple(said), unmatched


def _rule_line(rule: str, shown: int, outcomes: Counter[str], reasons: Counter[str]) -> RuleLine:
    answered = outcomes.total()
    return RuleLine(
        rule=rule,
        shown=shown,
        accepted=outcomes["accepted"],
        overridden=outcomes["overridden"],
        unanswered=shown - answered,
        override_percent=round(100 * outcomes["overridden"] / answered, 1) if answered else None,
        top_reason=reasons.most_common(1)[0][0] if reasons else "",
    )


def _plain(code: str) -> str:
    """A reason's code, if it is one: a text that somebody sent in its place may be about a patient."""
    return code if CODE.fullmatch(code) else NO_CODE


# --------------------------------------------------------------------------------------------------------------------
# Ways to show it

TITLES: Final = {
    ServiceLine: "How loud: cards and alerts per service",
    RuleLine: "What became of the cards, per rule (most overridden first)",
    ReasonLine: "Reasons for overriding",
}


def draw(report: Report, console: Console) -> None:
    """The report as tables."""
    console.print(in_words(report))
    for lines in (report.services, report.rules, report.reasons):
        if lines:
            console.print(_table(lines))


def in_words(report: Report) -> str:
    """What the report is about, in one line."""
    since = f"from {report.since:%Y-%m-%d} " if report.since else ""
    until = f"to before {report.until:%Y-%m-%d} " if report.until else ""
    period = (since + until).strip() or "since the first call"
    versions = ", ".join(report.knowledge_versions) or "none"
    return (
        f"Feedback {period}; knowledge {versions}; {report.unmatched} feedback entries on cards not known here. "
        "Counts, no judgement: an overridden card may have been right."
    )


def _table(lines: Sequence[Any]) -> Table:
    table = Table(
        title=TITLES[type(lines[0])], title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for field in fields(lines[0]):
        number = field.type in (int, float | None)
        words = _words(field.name)
        whole = max(map(len, words.split())) if number else None  # a narrow terminal breaks headings between words
        table.add_column(words, justify="right" if number else "left", overflow="fold", min_width=whole)
    for line in lines:
        table.add_row(*_texts(line))
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


def _texts(line: Any) -> list[str]:
    return ["–" if value is None else str(value) for value in asdict(line).values()]


def write_csv(report: Report, folder: Path) -> tuple[Path, ...]:
    """One CSV file for each table, in a folder that is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    tables: tuple[tuple[str, type, Sequence[Any]], ...] = (
        ("services", ServiceLine, report.services),
        ("rules", RuleLine, report.rules),
        ("reasons", ReasonLine, report.reasons),
    )
    written = []
    for name, kind, lines in tables:
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(field.name for field in fields(kind))
            writer.writerows(asdict(line).values() for line in lines)
        written.append(path)
    return tuple(written)


def page(report: Report) -> str:
    """The report as one HTML page: plots inside it as pictures, no script, nothing loaded from anywhere."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("cdshooks.service")
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, loader=loader
    )
    style = (files("cdshooks.service") / "static" / "style.css").read_text(encoding="utf-8")
    tables = [
        (TITLES[type(lines[0])], [_words(field.name) for field in fields(lines[0])], [_texts(line) for line in lines])
        for lines in (report.services, report.rules, report.reasons)
        if lines
    ]
    return environment.get_template("report.html").render(
        version=__version__,
        knowledge_version=", ".join(report.knowledge_versions) or "none",
        words=in_words(report),
        plots=[(title, _picture(svg)) for title, svg in _plots(report)],
        tables=tables,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def _picture(svg: bytes) -> str:
    """A plot as the address of a picture: as such it can run and load nothing, whatever is in it."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _plots(report: Report) -> Iterable[tuple[str, bytes]]:
    rules = report.rules[:PLOTTED][::-1]  # the first one on top
    if rules:
        yield (
            "Accepted, overridden, unanswered cards per rule",
            _bars(
                [line.rule for line in rules],
                {
                    "accepted": [line.accepted for line in rules],
                    "overridden": [line.overridden for line in rules],
                    "unanswered": [line.unanswered for line in rules],
                },
            ),
        )
    loud = [line for line in report.services if line.alerts_per_100_orders is not None][::-1]
    if loud:
        yield (
            "Alerts (warning or critical) per 100 orders judged",
            _bars([line.service for line in loud], {"alerts": [line.alerts_per_100_orders for line in loud]}),
        )
    reasons: Counter[str] = Counter()
    for line in report.reasons:
        reasons[line.meaning or line.reason] += line.overridden
    if reasons:
        most = reasons.most_common(PLOTTED)[::-1]
        yield (
            "Reasons for overriding, over all rules",
            _bars([name for name, _ in most], {"overridden": [count for _, count in most]}),
        )


def _bars(labels: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> bytes:
    """Horizontal bars as SVG, stacked where there are several series."""
    import pygal
    from pygal.style import Style

    # It hooks itself into every later import for plug-ins that are not used here, in a way that Python warns about.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]
    style = Style(
        background="white", plot_background="white", colors=("#2a7f62", "#c0562f", "#b8b8b8"), font_family="sans-serif"
    )
    kind = pygal.HorizontalStackedBar if len(series) > 1 else pygal.HorizontalBar
    chart = kind(
        style=style, js=[], pretty_print=False, disable_xml_declaration=False, height=120 + 34 * len(labels),
        width=900, print_values=True, value_formatter=lambda value: f"{value:g}" if value else "",
        show_legend=len(series) > 1, legend_at_bottom=True, truncate_label=-1, show_y_guides=False,
    )  # fmt: skip
    chart.x_labels = labels
    for name, values in series.items():
        chart.add(name, values)
    return bytes(chart.render())
