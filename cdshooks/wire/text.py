"""Text that came with a request, made harmless for display: no markup, live link, control or direction character."""

import re
import unicodedata
from html.entities import html5

_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_CLOSING = re.compile(r">(?![\s=\d.…])")
_ENTITY = re.compile(rf"&(?=#|\w+;|{'|'.join(name for name in html5 if not name.endswith(';'))})")  # "&lt" counts too
_WWW = re.compile(r"\bwww\.", re.IGNORECASE)
_SCHEME = re.compile(r"\b(javascript|data|vbscript|mailto)\s*:", re.IGNORECASE)
_MARKDOWN = str.maketrans({"[": "(", "]": ")", "`": "'", "|": "/", "@": "(at)"})
_EMPHASIS = re.compile(r"([*_~#\\])")


def neutral(text: str, length: int = 400) -> str:
    """`text` on one line, shortened to `length`, without anything that a client could render or run.

    A comparator such as "<20" stays as it is.
    """
    if text.isascii() and text.isprintable() and len(text) <= length and not _SUSPICIOUS.search(text):
        return text
    plain = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in text)
    plain = _UNIT.sub(lambda unit: _UNITS[unit[0]], plain)
    plain = _MARKS.sub("", plain).strip()  # first: what is taken out joins its neighbours
    plain = _CLOSING.sub(
        "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        _TAG.sub("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", plain.translate(_MARKDOWN)),  # this makes slashes
    ).replace("://", ":/ /")
    plain = _SCHEME.sub(r"\1 :", _WWW.sub("www ", _ENTITY.sub("& ", plain)))
    plain = re.sub(r"\s+", " ", plain).strip()
    return plain if len(plain) <= length else plain[: length - 1].rstrip() + "…"


_UNITS = {"[IU]": "IU", "[iU]": "IU", "[lb_av]": "lb", "[in_i]": "in"}  # as people write them
_UNIT = re.compile("|".join(map(re.escape, _UNITS)))
_MARKS = re.compile(r"[*_~]{2,}")  # bold and strike-through; a single one stays, units have it
_SUSPICIOUS = re.compile(r"[<>&\[\]`|@]|[*_~]{2}|://|\bwww\.|\b(?:javascript|data|vbscript|mailto)\s*:", re.IGNORECASE)


def markdown(text: str) -> str:
    """`neutral` text as literal Markdown: emphasis and heading characters escaped."""
    return _EMPHASIS.sub(r"\\\1", text)
