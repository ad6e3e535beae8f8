"""What differs between two specs, and which differences make a gate weaker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gauntlet.core.spec import ModelSpec

MISSING = "(absent)"
# A gate is weaker when a floor falls or a ceiling rises; which of the two a key is, its name says.
FLOORS = ("minimum", "min_", "floor", "least", "required")
CEILINGS = ("maximum", "max_", "limit", "margin", "gap", "alpha", "tolerance")


@dataclass(frozen=True)
class Change:
    """One key that differs. ``meaning`` is empty unless a person should look twice."""

    key: str
    before: str
    after: str
    meaning: str


def differences(before: ModelSpec, after: ModelSpec) -> list[Change]:
    """All differing keys, in order."""
    old, new = dict(_flat(before.model_dump(mode="json"))), dict(_flat(after.model_dump(mode="json")))
    keys = [
        key for key in [*old, *(key for key in new if key not in old)] if old.get(key, MISSING) != new.get(key, MISSING)
    ]
    return [
        Change(key, str(old.get(key, MISSING)), str(new.get(key, MISSING)), _meaning(key, old.get(key), new.get(key)))
        for key in keys
    ]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, value


def _meaning(key: str, before: Any, after: Any) -> str:
    if not key.startswith("gates."):
        return ""
    if isinstance(after, str) and after.startswith("off") and not str(before).startswith("off"):
        return "gate weakened: switched off"
    if not _number(before) or not _number(after):
        return ""
    leaf = key.rsplit(".", 1)[-1]
    fell = after < before
    if any(part in leaf for part in FLOORS):
        return "gate weakened: floor lowered" if fell else "gate strengthened"
    if any(part in leaf for part in CEILINGS):
        return "gate strengthened" if fell else "gate weakened: ceiling raised"
    return ""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
