"""What the demo's spec has other than the shipped one: seconds instead of hours, and no person to ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gauntlet.core.spec import ModelSpec, load_spec

ONCE_A_YEAR = "0 0 29 2 *"
"""The story starts the nights, one after the other, so the clock must not; without a schedule a gate would object."""
OVERLAY: dict[str, Any] = {
    "schedule": {
        "nightly": ONCE_A_YEAR,
        "drift_check": ONCE_A_YEAR,
        "rollback_drill": None,
        "reconcile": None,
        "retries": 1,
    },
    "monitoring": {"cron": None},
    "training": {"rounds": 150, "early_stopping": 20, "threads": 1, "params": {"learning_rate": 0.12}},
    # The story plays at any hour of any day.
    "freeze": {"weekdays": [], "windows": []},
    "rollout": {
        "bootstrap": "automatic",
        "tick": "1s",
        "lease": "30s",
        # The demo's machine also runs Airflow and trains, on perhaps two cores: slow answers are no news here.
        "golden_ms": 1000,
        "checks": {"latency_p99_ms": 1000, "latency_floor_ms": 200},
        "steps": [
            {"weight": 5, "hold": "3s", "requests": 15, "entities": 10, "max_hold": "60s"},
            {"weight": 25, "hold": "3s", "requests": 60, "entities": 40, "max_hold": "60s"},
            {"weight": 100, "hold": "3s", "requests": 200, "entities": 100, "max_hold": "60s"},
        ],
    },
}
"""Everything that is not named here is as shipped: data, contract, gates."""


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
