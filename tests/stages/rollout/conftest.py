"""Worlds for rollouts; see :mod:`tests.stages.rollout.world`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stages.rollout.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A model with champion v1 and challenger v2 that scores alike."""
    made = World(tmp_path)
    made.champion()
    made.challenger()
    return made


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """A world whose rollout section says otherwise."""

    def make(**rollout: Any) -> World:
        return World(tmp_path, **rollout)

    return make
