"""What every rule entry is made of: citations, sources, measures."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Entry(BaseModel):
    """Base of every entry: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Cite(Entry):
    """Where a figure comes from: a key of sources.yaml and a section (quoted, so that 2.10 stays 2.10)."""

    source: str
    section: Annotated[str, Field(strict=True, min_length=1)]


class Source(Entry):
    """One label or paper of sources.yaml."""

    title: str
    version: Annotated[str, Field(strict=True)]
    url: str = ""
    seen: Literal["label", "secondary", "design", "memory"]
    checked: str


def _measure(value: Any) -> Any:
    """`450 mg` or `12 h` as (number, unit)."""
    if isinstance(value, str):
        number, _, unit = value.strip().partition(" ")
        return number, unit
    return value


Measure = Annotated[tuple[Annotated[Decimal, Field(gt=0)], str], BeforeValidator(_measure)]
_HOURS = {"h": 1, "d": 24, "wk": 168}


def cites_of(entry: BaseModel) -> Iterator[Cite]:
    """Every citation inside an entry, in order."""
    for _, value in entry:
        for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(item, Cite):
                yield item
            elif isinstance(item, BaseModel):
                yield from cites_of(item)
