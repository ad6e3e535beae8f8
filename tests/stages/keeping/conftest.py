"""The small installation with a retention policy and a way to let time pass."""

from __future__ import annotations

import pytest
from tests.faults.world import World


@pytest.fixture(params=["memory", "sqlite"])
def world(request, tmp_path):
    world = World(tmp_path, "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/gauntlet.db")
    yield world
    if request.param == "sqlite":
        world.store.close()
