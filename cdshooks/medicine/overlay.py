"""A site's own switches and thresholds: one small file whose values are laid over those in mappings/ at the start.

Single values alone can be changed. A dose table or a list of words is knowledge, not a setting: for those a site keeps
a copy of mappings/.
"""

import hashlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cdshooks.medicine.yaml_file import read_yaml

SWITCHES = "site/switches"  # the rule whose switches a file sets by name
_FIXED = frozenset({"kind", "id", "title", "drug", "cite", "reviewed", "source", "section", "choices"})


class Overlay:
    """The values of one file, by rule id; each rule takes its own, and what nobody takes is a problem."""

    def __init__(self, file: Path | None = None) -> None:
        """Read `file`; without one nothing is changed. Raises KnowledgeError when it cannot be read."""
        self._name = file.name if file else ""
        content = read_yaml(file, self._name) if file else {}
        self.problems: list[str] = []
        self.version = hashlib.sha256(file.read_bytes()).hexdigest()[:8] if file else ""
        self._values = dict(self._by_rule(content))
        self._rules: list[str] = []

    def _by_rule(self, content: Any) -> Iterator[tuple[str, Any]]:
        """(rule id, values). `switches` is short for the values of the switches in site.yaml."""
        if not isinstance(content, dict):
            self._refuse("", "write `switches:` and `thresholds:` at the top")
            return
        for key in content.keys() - {"switches", "thresholds"}:
            self._refuse(str(key), "unknown key; write `switches` or `thresholds`")
        parts = {key: content.get(key) or {} for key in ("switches", "thresholds")}
        for key, value in parts.items():
            if not isinstance(value, dict):
                self._refuse(key, "write one `name: value` a line below it")
                return
        if parts["switches"]:
            yield SWITCHES, {"switches": {name: {"use": value} for name, value in parts["switches"].items()}}
        yield from ((rule, values) for rule, values in parts["thresholds"].items() if rule != SWITCHES)
        if SWITCHES in parts["thresholds"]:
            self._refuse(f"thresholds.{SWITCHES}", "switches stand below `switches`")

    def over(self, entry: Any) -> tuple[Any, str]:
        """(the content of one file of mappings/ with this site's values, where they come from; "" when unchanged)."""
        rule = entry.get("id") if isinstance(entry, dict) else None
        self._rules.append(str(rule))
        if rule not in self._values:
            return entry, ""
        return self._laid_over(entry, self._values.pop(rule), str(rule)), f"{self._name}: {rule}"

    def left(self) -> list[str]:
        """What is wrong, once every file has been offered."""
        for rule in self._values:
            self._refuse(f"thresholds.{rule}", f"no rule has this id{_meant(str(rule), self._rules)}")
        return self.problems

    def _laid_over(self, entry: Mapping[str, Any], values: Any, place: str) -> dict[str, Any]:
        found = dict(entry)
        if not isinstance(values, dict):
            self._refuse(place, "write one `name: value` a line below it")
            return found
        for name, value in values.items():
            here = f"{place}.{name}".replace(f"{SWITCHES}.", "").removesuffix(".use")
            old = entry.get(name)
            if name in _FIXED or name not in entry:
                self._refuse(here, f"unknown key{_meant(str(name), set(entry) - _FIXED)}")
            elif isinstance(old, dict):
                found[name] = self._laid_over(old, value, f"{place}.{name}")
            elif isinstance(old, list) or isinstance(value, dict | list):
                self._refuse(here, "only a single value can be changed here; for more keep a copy of mappings/")
            else:
                found[name] = value
        return found

    def _refuse(self, key: str, remedy: str) -> None:
        self.problems.append(f"{self._name}: {key + ': ' if key else ''}{remedy}")


def _meant(name: str, known: Any) -> str:
    """The nearest known names, as the end of a message."""
    names = sorted(map(str, known))
    near = get_close_matches(name, names, 3) or (names if len(names) <= 8 else [])
    return f"; write {' or '.join(near)}, or remove it" if near else "; remove it"
