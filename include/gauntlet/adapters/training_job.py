"""What a training process is to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gauntlet.core.spec import ModelSpec


@dataclass(frozen=True)
class Job:
    """What to do, read from the job file."""

    spec: ModelSpec
    snapshot: Path
    split: Path
    folder: Path
    stamp: datetime
    trained_through: datetime | None
    classes: tuple[str, ...] | None
    threads: int

    @staticmethod
    def read(path: Path) -> Job:
        """Read a job file."""
        job = json.loads(path.read_bytes())
        through = job["trained_through"]
        return Job(
            spec=ModelSpec.model_validate(job["spec"]),
            snapshot=Path(job["snapshot"]),
            split=Path(job["split"]),
            folder=Path(job["folder"]),
            stamp=datetime.fromisoformat(job["stamp"]),
            trained_through=datetime.fromisoformat(through) if through else None,
            classes=tuple(job["classes"]) if job["classes"] else None,
            threads=job["threads"],
        )
