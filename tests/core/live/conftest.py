"""Windows of one step, drawn or told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gauntlet.core.live.case import Case
from gauntlet.core.live.window import Window
from gauntlet.core.specs.rollout import LiveChecks

Make = Callable[..., Window]


def draw(n: int = 2000, share: float = 0.2, seed: int = 0, said: float | None = None, **changes: Any) -> Window:
    """Requests of both arms that differ in nothing but a little score noise; ``changes`` replace arrays.

    A change is an array, or a function of the drawn values; ``said`` is the share they are said to be drawn with.
    """
    rng = np.random.default_rng(seed)
    arm = rng.random(n) < share
    stable = rng.beta(2, 8, n)
    values: dict[str, Any] = {
        "share": said or share,
        "arm": arm,
        "unit": np.arange(n),
        "stable": stable,
        "canary": np.clip(stable + rng.normal(0, 0.01, n), 0, 1),
        "failed": np.zeros(n, dtype=bool),
        "fell_back": np.zeros(n, dtype=bool),
        "invalid": np.zeros(n, dtype=bool),
        "latency_ms": rng.lognormal(0.5, 0.5, n),
        "settled": np.ones(n, dtype=bool),
        "label": np.full(n, np.nan),
        "complete": True,
    }
    for name, change in changes.items():
        values[name] = change(values, rng) if callable(change) else change
    return Window(**values)


@pytest.fixture
def window() -> Make:
    return draw


@pytest.fixture
def case() -> Callable[..., Case]:
    def make(*, alpha: float = 1e-3, look: int = 1, checks: dict[str, Any] | None = None, **rest: Any) -> Case:
        return Case(checks=LiveChecks(**(checks or {})), alpha=alpha, look=look, **rest)

    return make
