"""How the templates show a card's text and a resource."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import orjson
from flask import Flask
from markdown_it import MarkdownIt
from markupsafe import Markup

from cdshooks.service.plot import plots

_RENDERER = MarkdownIt("commonmark", {"html": False}).disable("image")


def add_filters(app: Flask) -> None:
    """`|markdown`, `|pretty`, `|note` and `|plots`."""
    app.add_template_filter(_markdown, "markdown")
    app.add_template_filter(_pretty, "pretty")
    app.add_template_filter(note, "note")
    app.add_template_filter(lambda card: tuple(plots(card)), "plots")


def _markdown(text: str) -> Markup:
    """Markdown of a card as HTML: no raw HTML, no images."""
    return Markup(_RENDERER.render(text))  # noqa: S704 - escaped by it


def _pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def note(card: dict[str, Any], today: date) -> str:
    """A card as plain text for the patient's note: the verdict, the values and the formula behind it, its sources."""
    finding = card["extension"]["cmv-cds.finding"]
    lines = [f"CMV therapy check of {today.isoformat()}, {card['indicator']}: {card['summary']}"]
    lines += _plain_lines(card.get("detail", ""))
    if finding.get("inputs"):
        lines += ["Values:", *(f"- {_value(entry)}" for entry in finding["inputs"])]
    return "\n".join(lines)


def _value(entry: dict[str, str]) -> str:
    told = " ".join(filter(None, (entry["name"], entry["value"], entry.get("unit", ""))))
    where = ", ".join(filter(None, (entry.get("effective", ""), entry.get("reference", ""))))
    return f"{told} ({where})" if where else told


def _plain_lines(markdown: str) -> Iterator[str]:
    """The lines of a Markdown text without its marks; an item of a list begins with a dash."""
    item = ""
    for token in _RENDERER.parse(markdown):
        if token.type == "list_item_open":
            item = "- "
        elif token.type == "inline":
            text = "".join(
                "\n" if child.type in ("softbreak", "hardbreak") else child.content for child in token.children or ()
            )
            for line in text.split("\n"):
                yield item + line
                item = ""
