"""How the templates show a card's text and a resource."""

import orjson
from flask import Flask
from markdown_it import MarkdownIt
from markupsafe import Markup

_RENDERER = MarkdownIt("commonmark", {"html": False}).disable("image")


def add_filters(app: Flask) -> None:
    """`|markdown` and `|pretty`."""
    app.add_template_filter(_markdown, "markdown")
    app.add_template_filter(_pretty, "pretty")


def _markdown(text: str) -> Markup:
    """Markdown of a card as HTML: no raw HTML, no images."""
    return Markup(_RENDERER.render(text))  # noqa: S704 - escaped by it


def _pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
