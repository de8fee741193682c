"""The viral loads behind a response card, drawn: bars in the terminal, a line on the page."""

import io
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from conftest import Judge
from flask import Flask, render_template_string
from markupsafe import Markup
from rich.console import Console
from scenario import load_scenarios, render

from cdshooks.service import pages
from cdshooks.service.plot import HEIGHT, WIDTH, plots
from cdshooks.service.terminal import draw

Card = dict[str, Any]
REBOUND = "CMV DNA that falls and rises again is a rebound"


@pytest.fixture(scope="module")
def card(judge: Judge) -> Card:
    scenario = next(s for s in load_scenarios() if s.name == REBOUND)
    cards = judge(render(scenario), scenario.today).cards
    return next(c for c in cards if c["source"]["topic"]["code"] == "response")


def test_a_series_is_laid_out_by_day_and_logarithm(card: Card) -> None:
    (plot,) = plots(card)
    assert (plot.name, plot.unit) == ("CMV DNA in plasma", "[IU]/mL")
    assert [(mark.value, mark.on) for mark in plot.marks] == [
        ("90000", "2026-10-23"),
        ("900", "2026-11-07"),
        ("9000", "2026-11-20"),
    ]
    assert [round(mark.share, 2) for mark in plot.marks] == [1.0, 0.0, 0.5]
    first, middle, last = plot.marks
    days = [date.fromisoformat(mark.on).toordinal() for mark in plot.marks]
    assert (middle.x - first.x) / (last.x - first.x) == pytest.approx((days[1] - days[0]) / (days[2] - days[0]))
    assert first.y < last.y < middle.y, "up is more"
    assert all(0 < mark.x < WIDTH and 0 < mark.y < HEIGHT for mark in plot.marks)


@pytest.mark.parametrize("values", [["<35", "0"], ["5000", "5000"]])
def test_nothing_measurable_and_no_change_can_be_drawn(values: list[str], card: Card) -> None:
    entries = [
        {"name": "CMV DNA in plasma", "value": value, "unit": "[IU]/mL", "effective": "2026-11-20"} for value in values
    ]
    (plot,) = plots({"extension": {"cmv-cds.finding": {"inputs": entries}}})
    assert [mark.value for mark in plot.marks] == values
    assert all(0 <= mark.share <= 1 for mark in plot.marks)


def test_one_result_or_another_analyte_is_no_series() -> None:
    one = {"name": "CMV DNA in plasma", "value": "5000", "unit": "[IU]/mL", "effective": "2026-11-20"}
    other = {"name": "CD4 cell count", "value": "40", "unit": "/uL", "effective": "2026-11-20"}
    assert list(plots({"extension": {"cmv-cds.finding": {"inputs": [one, other, other]}}})) == []
    assert list(plots({"extension": {"cmv-cds.finding": {}}})) == []


def test_the_terminal_draws_bars(card: Card) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    draw([("a file", [card])], console)
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    lines = [
        line
        for line in drawn.splitlines()
        if ("2026-11-07" in line and "█" in line) or ("2026-10-23" in line and "█" in line)
    ]
    assert "logarithmic scale" in drawn
    assert lines[0].count("█") == 40
    assert len(lines) == 2
    assert lines[1].count("█") < 5


def test_the_page_draws_a_line_without_inline_style(card: Card) -> None:
    app = Flask("page", root_path=str(Path(pages.__file__).parent))
    app.add_template_filter(lambda found: tuple(plots(found)), "plots")
    app.add_template_filter(Markup, "markdown")
    app.add_template_filter(str, "pretty")
    with app.app_context():
        html = render_template_string('{% from "card.html" import shown_card %}{{ shown_card(card, 1) }}', card=card)
    (plot,) = plots(card)
    assert f'<polyline points="{plot.line}"/>' in html
    assert html.count("<circle ") == len(plot.marks)
    assert "90000 on 2026-10-23, 900 on 2026-11-07, 9000 on 2026-11-20" in html
    assert "style=" not in html
