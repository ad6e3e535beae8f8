"""What runs in the process that is killed."""

from __future__ import annotations

from pathlib import Path

from tests.faults.points import Tripwire, sigkill, wire_files, wire_statements, wired
from tests.faults.steps import STEPS
from tests.faults.world import World


def database(folder: Path) -> str:
    """The URL of the world's own SQLite file."""
    return f"sqlite:///{folder}/gauntlet.db"


def act(folder: str, name: str, index: int | None) -> list[str]:
    """Run a step of the world in ``folder``, and die at a point; without one, the points."""
    world = World(Path(folder), database(Path(folder)))
    tripwire = Tripwire(index, sigkill)
    wire_statements(world.store.database.engine, tripwire)
    wire_files(tripwire, folder)
    STEPS[name].act(world, wired(world.services, tripwire))
    world.store.close()
    return tripwire.labels


def enumerate_points(folder: str, name: str, answer: str) -> None:
    """Write the labels of all points to a file: an audit hook cannot be taken off, so this is done in a child too."""
    Path(answer).write_text("\n".join(act(folder, name, None)), encoding="utf-8")
