"""The last routing of each model on local disk: what a worker starts from when everything else is down."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from gauntlet.core.records.rollout import Routing


class Snapshot:
    """One immutable file per model, replaced by temp + fsync + rename: a reader sees the old one or the new one."""

    def __init__(self, folder: Path) -> None:
        """Snapshots live in ``folder``."""
        self.folder = folder

    def path(self, model: str) -> Path:
        """Where a model's routing is."""
        return self.folder / f"{model}.routing.json"

    def read(self, model: str) -> Routing | None:
        """The last routing written, or ``None`` where there is none to read."""
        try:
            return Routing.model_validate_json(self.path(model).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, routing: Routing) -> None:
        """Replace a model's routing, durably."""
        write_durably(self.path(routing.model), routing.model_dump_json().encode())


def write_durably(path: Path, content: bytes) -> None:
    """Temp + fsync + rename + fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
