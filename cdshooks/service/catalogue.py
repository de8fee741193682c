"""The clinical rules in words: for the knowledge pages, their JSON and the command line."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.model import Citation


@dataclass(frozen=True, slots=True)
class Part:
    """One filled field of an entry: a text, or the fields inside it, or (`entries`) a list of such."""

    label: str
    text: str = ""
    url: str = ""  # of a source
    inside: tuple["Part", ...] = ()
    entries: tuple[tuple["Part", ...], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels of a list whose entries fit a table, each field a text; () for any other."""
        parts = [part for entry in self.entries for part in entry]
        labels = tuple(dict.fromkeys(part.label for part in parts))
        return labels if len(self.entries) > 1 and all(part.text for part in parts) else ()


def describe_rules(knowledge: "Knowledge") -> list[dict[str, Any]]:
    """Every rule with its citations, in order, as plain data without empty members."""
    return [_described(knowledge, rule) for rule in knowledge.rules]


def _described(knowledge: "Knowledge", rule: BaseModel) -> dict[str, Any]:
    from cdshooks.medicine.rules.entries import cites_of

    cited = dict.fromkeys(knowledge.citation(cite) for cite in cites_of(rule))
    words = {name: getattr(rule, name, "") for name in ("id", "title", "drug", "reviewed")}
    return {name: text for name, text in words.items() if text} | {"citations": [_members(one) for one in cited]}


def _members(citation: "Citation") -> dict[str, str]:
    named = {name: str(getattr(citation, name)) for name in ("source", "section", "version", "url")}
    return {name: text for name, text in named.items() if text}


def drugs_of(rule: BaseModel) -> tuple[str, ...]:
    """The CMV drugs that a rule is about; () when it is about all of them, or about none."""
    one, several = getattr(rule, "drug", ""), getattr(rule, "drugs", ())
    return (one,) if isinstance(one, str) and one else tuple(several)


def parts(knowledge: "Knowledge", entry: BaseModel) -> tuple[Part, ...]:
    """The filled fields of a rule or of an entry inside it, in order."""
    return tuple(part for name, value in entry for part in _parts(knowledge, name.replace("_", " "), value))


def _parts(knowledge: "Knowledge", label: str, value: object) -> Iterator[Part]:
    """The one field, or none when it is empty."""
    from cdshooks.medicine.rules.entries import Cite
    from cdshooks.medicine.rules.renal_dose import TableRegimen

    match value:
        case None | "" | () | False:
            return
        case True:
            yield Part(label, "yes")
        case Cite():
            citation = knowledge.citation(value)
            version = f", version {citation.version}" if citation.version else ""
            yield Part("source", f"{citation.source}{version}, section {citation.section}", citation.url)
        case TableRegimen():
            yield Part(label, value.regimen.wording)
        case BaseModel():
            yield Part(label, inside=parts(knowledge, value))
        case tuple() if all(isinstance(item, TableRegimen) for item in value):
            yield Part(label, " or ".join(item.regimen.wording for item in value))
        case tuple() if all(isinstance(item, BaseModel) for item in value):
            yield Part(label, entries=tuple(parts(knowledge, item) for item in value))
        case dict():
            inside = (part for key, item in value.items() for part in _parts(knowledge, str(key), item))
            yield Part(label, inside=tuple(inside))
        case tuple():
            yield Part(label, ", ".join(map(str, value)))
        case _:
            yield Part(label, str(value))


def in_words(knowledge: "Knowledge", rule: BaseModel) -> str:
    """One rule, every number in it, and the source that each part of it cites."""
    return "\n".join(_lines(parts(knowledge, rule), ""))


def _lines(listed: tuple[Part, ...], indent: str) -> Iterator[str]:
    """One line for a text; what is inside a field is indented below its label."""
    for part in listed:
        if part.text:
            yield f"{indent}{part.label}: {part.text}"
            if part.url:
                yield f"{indent}        {part.url}"
            continue
        yield f"{indent}{part.label}:"
        yield from _lines(part.inside, indent + "  ")
        for entry in part.entries:
            first, *rest = _lines(entry, indent + "    ")
            yield f"{indent}  - {first.strip()}"
            yield from rest
