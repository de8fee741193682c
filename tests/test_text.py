"""Words that came with a request, made harmless: what must not survive, and what must."""

import re
import unicodedata
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cdshooks.wire.text import markdown, neutral

ZERO_WIDTH, BIDI_OVERRIDE, ISOLATE, BACKSPACE, BOM = "\u200b", "\u202e", "\u2066", "\x08", "\ufeff"

HOSTILE = (
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js>",
    "</td></tr></table>",
    "<img src=x onerror=alert(1)>",
    "<img/src=x>",
    "<svg onload=alert(1)//",
    "<!-- hidden -->",
    "<!DOCTYPE html>",
    "<?xml version='1.0'?>",
    "<<b>b>",
    "<|script>",
    "<**script>",
    "<_~/td>",
    "http:**//evil.example",
    "java__script:alert(1)",
    "&~~lt;b&**gt;",
    "http:||evil.example",
    "http:|/evil.example",
    "<\x00b>",
    f"<{ZERO_WIDTH}b>",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&#x3c;b&#x3e;",
    "&colon;&Tab;",
    "&ltscript&gt",
    "&#60b",
    "https://evil.example/login",
    "HTTP://EVIL.EXAMPLE",
    "ftp://evil.example",
    "file:///secret",
    "http:/\x00/evil.example",
    f"http:{ZERO_WIDTH}//evil.example",
    "www.evil.example",
    "WWW.evil.example",
    f"www{ZERO_WIDTH}.evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "javascript\n:alert(1)",
    f"java{ZERO_WIDTH}script:alert(1)",
    "vbscript:x",
    "data:text/html;base64,PGI+",
    "mailto:somebody@evil.example",
    "somebody@evil.example",
    "[click](https://evil.example)",
    "[click](javascript:alert(1))",
    "![pixel](//evil.example/x.png)",
    "[a]: //evil.example",
    "[click][a]",
    "<https://evil.example>",
    "<somebody@evil.example>",
    "`code`",
    "```\nblock\n```",
    "| a | b |",
    "line\nbreak\r\nand\x0bmore\u2028yet\u2029more\x85",
    "\x1b[31mred\x1b[0m",
    f"{BIDI_OVERRIDE}gnp.exe",
    f"{ISOLATE}isolated",
    f"bell\x07 back{BACKSPACE}space",
    f"{BOM}marked",
    "soft\u00adhyphen",
    "private\ue000use",
    "tag\U000e0041letters",
)
PRINTABLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *HOSTILE,
            "**",
            "__",
            "~~",
            *"<>&#;:/[]()!|@`*_~.\\\n\t",
            "lt",
            "www.",
            "http",
            "script",
            "java",
            "data",
            "mailto",
            " ",
            "b",
            "5",
        ]
    ),
    max_size=14,
).map("".join)
ANY = st.one_of(PRINTABLE, FRAGMENTS)
many = settings(deadline=None, derandomize=True, max_examples=600)


class _Tags(HTMLParser):
    """What a browser would take for markup."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.found.append(tag)

    def handle_comment(self, data: str) -> None:
        self.found.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.found.append(f"declaration {decl}")

    def handle_pi(self, data: str) -> None:
        self.found.append(f"instruction {data}")


def markup_in(text: str) -> list[str]:
    parser = _Tags()
    parser.feed(text)
    parser.close()
    return parser.found + (["character reference"] if unescape(text) != text else [])


def live_parts(text: str) -> list[str]:
    """Everything in a text that a client could render, follow or be misled by."""
    found = markup_in(text)
    found += re.findall(r"://|\bwww\.|\b(?:javascript|vbscript|data|mailto):|@|[\[\]`|]", text, re.IGNORECASE)
    return found + [f"U+{ord(c):04X}" for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Zl", "Zp")]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_hostile_survives(text: str) -> None:
    assert live_parts(neutral(text)) == []
    assert live_parts(neutral(f"before {text} after")) == []


@many
@given(text=ANY, length=st.integers(8, 120))
def test_nothing_live_survives_in_any_text(text: str, length: int) -> None:
    plain = neutral(text, length)
    assert live_parts(plain) == []
    assert len(plain) <= length


@many
@given(text=ANY, length=st.integers(8, 120))
def test_neutral_twice_is_neutral_once(text: str, length: int) -> None:
    once = neutral(text, length)
    assert neutral(once, length) == once


@pytest.mark.parametrize(
    "text",
    [
        "<20",
        "<20 copies/mL",
        "< 34.5 IU/mL",
        ">10000000 IU/mL",
        "> 5",
        "<=0.3 mg/dL",
        ">=90 mL/min",
        "a < b and b > 4",
        "1.5 x 10*9/L",
        "D+/R- (day 40), 50 %",
        "Müller & Söhne",
        "µmol/L × 2 – 3",
        "ratio 1:2; time 12:30",
        "",
    ],
)
def test_what_a_clinician_writes_survives(text: str) -> None:
    assert neutral(text) == text


@pytest.mark.parametrize(
    ("sent", "shown"), [("90000 [IU]/mL", "90000 IU/mL"), ("25 m[IU]/mL", "25 mIU/mL"), ("150 [lb_av]", "150 lb")]
)
def test_a_unit_in_brackets_is_shown_as_people_write_it(sent: str, shown: str) -> None:
    assert neutral(sent) == shown


def test_text_is_one_line_and_shortened_with_a_mark() -> None:
    assert neutral("one\n\n  two\tthree") == "one two three"
    assert neutral("x" * 500) == "x" * 399 + "…"
    assert neutral("é" * 12, 10) == "é" * 9 + "…"
    assert neutral("exactly ten", 11) == "exactly ten"


def test_words_stay_readable_when_their_markup_is_gone() -> None:
    assert neutral("see https://evil.example") == "see https:/ /evil.example"
    assert neutral("[click](x)") == "(click)(x)"
    assert neutral("a|b `c`") == "a/b 'c'"
    assert neutral("**bold** and ~~gone~~, 10*9/L") == "bold and gone, 10*9/L"


# --------------------------------------------------------------------------------------------------------------------
# As Markdown

COMMON_MARK = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def inline_kinds(text: str) -> set[str]:
    """The kinds of inline elements that a Markdown reader finds."""
    (paragraph,) = COMMON_MARK.parseInline(text)
    return {token.type for token in paragraph.children or ()}


@pytest.mark.parametrize(
    "text",
    ["**bold**", "_em_ and __strong__", "~~gone~~", "# heading", "a\\b", "10*9/L and 10*12/L", "* item", *HOSTILE],
    ids=ascii,
)
def test_markdown_shows_the_words_themselves(text: str) -> None:
    plain = neutral(text)
    assert inline_kinds(markdown(plain)) <= {"text", "text_special"}
    (paragraph,) = COMMON_MARK.parseInline(markdown(plain))
    assert "".join(token.content for token in paragraph.children or ()) == plain


@many
@given(text=ANY)
def test_no_text_becomes_markdown(text: str) -> None:
    plain = neutral(text)
    (paragraph,) = COMMON_MARK.parseInline(markdown(plain))
    assert {token.type for token in paragraph.children or ()} <= {"text", "text_special"}
    assert "".join(token.content for token in paragraph.children or ()) == plain
