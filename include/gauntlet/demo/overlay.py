"""What the demo's spec has other than the shipped one: seconds instead of hours, and no person to ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gauntlet.core.spec import ModelSpec, load_spec

OVERLAY: dict[str, Any] = {
    "schedule": {"nightly": None, "drift_check": None, "retries": 1},
    "training": {"rounds": 150, "early_stopping": 20, "params": {"learning_rate": 0.12}},
    "rollout": {
        "bootstrap": "automatic",
        "tick": "1s",
        "lease": "20s",
        "steps": [
            {"weight": 5, "hold": "3s", "requests": 15, "entities": 10, "max_hold": "60s"},
            {"weight": 25, "hold": "3s", "requests": 60, "entities": 40, "max_hold": "60s"},
            {"weight": 100, "hold": "3s", "requests": 200, "entities": 100, "max_hold": "60s"},
        ],
    },
}
"""The nights are started by the story, one after the other, so the clock starts none."""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``; mappings are merged, everything else is replaced.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = merged(inner, value) if both and inner is not None else value
    return result


def write_spec(shipped: Path, to: Path) -> ModelSpec:
    """Write the demo's variant of a shipped spec and load it."""
    document = merged(yaml.safe_load(shipped.read_text(encoding="utf-8")), OVERLAY)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_spec(to)
