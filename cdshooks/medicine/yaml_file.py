"""Reading YAML so that what is written is what is meant.

YAML 1.1 takes `no` for false, `012` for ten and `1.10` for a binary fraction. Here only `true` and `false` are
booleans, plain whole numbers are integers, numbers with a point are exact decimals, ISO dates are dates, and everything
else is text. A key written twice is refused.
"""

from collections.abc import Hashable
from decimal import Decimal
from importlib.resources.abc import Traversable
from re import compile as pattern
from typing import Any

import yaml

from cdshooks.errors import KnowledgeError

_TAG = "tag:yaml.org,2002:"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is some ten times faster


class _PlainLoader(_Loader):  # type: ignore[misc]
    """A safe loader with the few implicit types named above."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  the library's way to drop the YAML 1.1 types


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Hashable, Any]:
    """A mapping in which each key is written once."""
    found: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key is a list or a mapping", key_node.start_mark)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key `{key}` is written twice; keep one of them", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _decimal(loader: Any, node: yaml.ScalarNode) -> Decimal:
    """A number with a point, exactly as written."""
    return Decimal(loader.construct_scalar(node))


for _tag, _expression, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$", "-0123456789"),
    ("timestamp", r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "0123456789"),
):
    _PlainLoader.add_implicit_resolver(_TAG + _tag, pattern(_expression), list(_first))
_PlainLoader.add_constructor(_TAG + "float", _decimal)
_PlainLoader.add_constructor(_TAG + "map", _mapping)


def read_yaml(path: Traversable, name: str = "") -> Any:
    """The content of one YAML file (see the module on types).

    `name` is how messages call the file (default "mappings/<file name>").
    Raises KnowledgeError when the file is absent, is not UTF-8, is no valid YAML or holds a key twice.
    """
    name = name or f"mappings/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise KnowledgeError(f"{name}: cannot be read; put the file back") from error
    except UnicodeDecodeError as error:
        raise KnowledgeError(f"{name}: is not UTF-8; save it as UTF-8") from error
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506  a safe loader, see above
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise KnowledgeError(f"{name}: {place}{error.problem or 'not valid YAML'}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2026-02-30
        raise KnowledgeError(f"{name}: not valid YAML: {error}") from error
