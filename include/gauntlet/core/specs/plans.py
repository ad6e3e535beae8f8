"""Named rollout plans: what each fills in where a spec says nothing. They are data; the state machine knows none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Filling = Callable[[Mapping[str, Any]], dict[str, Any]]


def ramp(_: Mapping[str, Any]) -> dict[str, Any]:
    """1, 5, 10, 25, 50, 100 %."""
    return {
        "steps": [
            {"weight": 1, "hold": "30m", "requests": 100, "max_hold": "24h"},
            {"weight": 5, "hold": "30m", "requests": 300, "max_hold": "24h"},
            {"weight": 10, "hold": "1h", "requests": 500, "max_hold": "24h"},
            {"weight": 25, "hold": "1h", "requests": 1000, "max_hold": "24h"},
            {"weight": 50, "hold": "2h", "requests": 2000, "max_hold": "24h"},
            {"weight": 100, "hold": "4h", "requests": 2000, "max_hold": "24h"},
        ]
    }


def blue_green(_: Mapping[str, Any]) -> dict[str, Any]:
    """0, then 100 %: what 0 % can show is shown by the shadow."""
    return {
        "shadow": {"hold": "30m", "requests": 500, "max_hold": "24h"},
        "steps": [{"weight": 100, "hold": "4h", "requests": 1000, "max_hold": "24h"}],
    }


def shadow_only(_: Mapping[str, Any]) -> dict[str, Any]:
    """The challenger scores what the champion answers, until a person decides."""
    return {"shadow": {"hold": "24h", "requests": 1000}, "steps": [], "finish": "ask"}


def ab(said: Mapping[str, Any]) -> dict[str, Any]:
    """One fixed split, until the power analysis of ``ab`` has its requests; then a person decides."""
    from pydantic import ValidationError

    from gauntlet.core.specs.rollout import ABSection

    rest = {"on_max_hold": "extend", "deadline": "8w", "finish": "ask"}
    try:
        test = ABSection.model_validate(said.get("ab"))
    except ValidationError:
        return rest  # Whoever validates the section itself says what is wrong with it.
    return {**rest, "steps": [{"weight": test.weight, "hold": test.hold, "requests": test.horizon}]}


PLANS: Mapping[str, Filling] = {"ramp": ramp, "blue_green": blue_green, "shadow_only": shadow_only, "ab": ab}
