"""What runs in the process that is killed."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Engine
from tests.faults.points import Tripwire, sigkill, wire_files, wire_fsync, wire_statements, wired
from tests.faults.steps import STEPS
from tests.faults.world import World

from gauntlet.adapters.registry_mlflow import MLflowRegistry


def database(folder: Path) -> str:
    """The URL of the world's own SQLite file."""
    return f"sqlite:///{folder}/gauntlet.db"


def small_world(folder: Path) -> World:
    """Over SQLite, with a registry in a file."""
    return World(folder, database(folder))


def mlflow_world(folder: Path) -> World:
    """Over SQLite, with MLflow's own SQLite store as the registry."""
    os.chdir(folder)  # MLflow keeps artifacts of a database store below the working directory
    return World(folder, database(folder), MLflowRegistry(f"sqlite:///{folder}/mlflow.db"))


WORLDS = {world.__name__: world for world in (small_world, mlflow_world)}


def act(folder: str, kind: str, name: str, index: int | None) -> list[str]:
    """Run a step of the world in ``folder``, and die at a point; without one, the points."""
    world = WORLDS[kind](Path(folder))
    world.registry.aliases(world.model)  # connected, as a process that has been running for a while
    tripwire = Tripwire(index, sigkill)
    wire_statements(Engine, tripwire)
    wire_files(tripwire, str(Path(folder).parent))
    wire_fsync(tripwire)
    STEPS[name].act(world, wired(world.services, tripwire))
    world.store.close()
    return tripwire.labels


def enumerate_points(folder: str, kind: str, name: str, answer: str) -> None:
    """Write the labels of all points to a file: an audit hook cannot be taken off, so this is done in a child too."""
    labels = act(folder, kind, name, None)
    Path(answer).write_text("\n".join(labels), encoding="utf-8")


def prepare(folder: str, kind: str, name: str) -> None:
    """Make the world right before a step."""
    world = WORLDS[kind](Path(folder))
    STEPS[name].prepare(world)
    world.store.close()
