"""The clinical rules in words: for the knowledge page, its JSON and the command line."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from cdshooks.medicine.knowledge import Knowledge
    from cdshooks.model import Citation


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


def in_words(knowledge: "Knowledge", rule: BaseModel) -> str:
    """One rule, every number in it, and the source that each part of it cites."""
    return "\n".join(_lines(knowledge, rule, ""))


def _lines(knowledge: "Knowledge", entry: BaseModel, indent: str) -> Iterator[str]:
    """The filled fields of an entry, one line each; entries inside it are indented below their name."""
    from cdshooks.medicine.rules.entries import Cite
    from cdshooks.medicine.rules.renal_dose import TableRegimen

    for name, value in entry:
        label = name.replace("_", " ")
        match value:
            case None | "" | ():
                continue
            case Cite():
                citation = knowledge.citation(value)
                version = f", version {citation.version}" if citation.version else ""
                yield f"{indent}source: {citation.source}{version}, section {citation.section}"
                if citation.url:
                    yield f"{indent}        {citation.url}"
            case TableRegimen():
                yield f"{indent}{label}: {value.regimen.wording}"
            case BaseModel():
                yield f"{indent}{label}:"
                yield from _lines(knowledge, value, indent + "  ")
            case tuple() if all(isinstance(item, TableRegimen) for item in value):
                yield f"{indent}{label}: {' or '.join(item.regimen.wording for item in value)}"
            case tuple() if all(isinstance(item, BaseModel) for item in value):
                yield f"{indent}{label}:"
                for item in value:
                    first, *rest = _lines(knowledge, item, indent + "    ")
                    yield f"{indent}  - {first.strip()}"
                    yield from rest
            case dict():
                yield f"{indent}{label}:"
                for key, item in value.items():
                    if isinstance(item, BaseModel):
                        yield f"{indent}  {key}:"
                        yield from _lines(knowledge, item, indent + "    ")
                    else:
                        yield f"{indent}  {key}: {', '.join(map(str, item)) if isinstance(item, tuple) else item}"
            case tuple():
                yield f"{indent}{label}: {', '.join(map(str, value))}"
            case _:
                yield f"{indent}{label}: {value}"
