"""What differs between two specs, and which differences make a gate weaker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gauntlet.core.gates.strength import way_of, weaker
from gauntlet.core.spec import ModelSpec

MISSING = "(absent)"
WEAKER = {"floor": "floor lowered", "ceiling": "ceiling raised", "range": "range widened", "switch": "switched off"}


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
    looser = weaker(key.removeprefix("gates."), before, after)
    if looser is None:
        return ""
    if not looser:
        return "gate strengthened"
    how = "limit removed" if after is None else WEAKER.get(str(way_of(key.removeprefix("gates."))), "list shortened")
    return f"gate weakened: {how}"
