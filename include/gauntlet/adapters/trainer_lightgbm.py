"""Training with LightGBM in a process of its own, which may die without taking the caller with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gauntlet.adapters.child import Ending, run_child
from gauntlet.core import errors
from gauntlet.core.errors import InfrastructureError, Rejection, TrainingFailed
from gauntlet.core.ports import TrainingJob
from gauntlet.core.records.model import TrainingSummary
from gauntlet.core.spec import ModelSpec

REFUSED = 3
COMMAND = (sys.executable, "-m", "gauntlet.adapters.training_main")
FROM_OUTSIDE = ("SIGTERM", "SIGINT", "SIGHUP")


class LightGBMTrainer:
    """Implements :class:`~gauntlet.core.ports.Trainer`."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """``command`` is run with the job file as its last argument."""
        self._command = tuple(command)

    def train(self, spec: ModelSpec, job: TrainingJob, folder: Path) -> TrainingSummary:
        """Train and write the model's files into ``folder``.

        Raises:
            TrainingFailed: the data was refused, a limit was exceeded, or the process died; the message says which.
            InfrastructureError: somebody ended the process.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="training-", dir=folder.parent) as name:
            work = Path(name)
            (work / "job.json").write_text(json.dumps(describe(spec, job, folder)))
            ending = run_child(
                [*self._command, str(work / "job.json")],
                work / "log",
                timeout_s=spec.training.timeout.total_seconds(),
                memory_mb=spec.training.memory_mb,
            )
            return _result(spec, ending, work)


def describe(spec: ModelSpec, job: TrainingJob, folder: Path) -> dict[str, object]:
    """The job file's content."""
    return {
        "spec": spec.model_dump(mode="json"),
        "snapshot": str(job.snapshot),
        "split": str(job.split),
        "folder": str(folder),
        "stamp": job.stamp.isoformat(),
        "trained_through": job.trained_through.isoformat() if job.trained_through else None,
        "classes": job.classes,
        "threads": spec.training.threads or cores(),
    }


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _result(spec: ModelSpec, ending: Ending, work: Path) -> TrainingSummary:
    if ending.code == REFUSED and (work / "rejected.json").exists():
        raise _refusal(spec, json.loads((work / "rejected.json").read_bytes()))
    if ending.code == 0 and (work / "result.json").exists():
        return TrainingSummary.model_validate_json((work / "result.json").read_bytes())
    message = f"{spec.model}: the training process {ending.sentence}; it wrote last:\n{ending.log or '(nothing)'}"
    if ending.signal in FROM_OUTSIDE and not ending.limit:
        raise InfrastructureError(message)
    raise TrainingFailed(message)


def _refusal(spec: ModelSpec, refused: dict[str, str]) -> Rejection:
    kind = getattr(errors, refused["kind"], TrainingFailed)
    refusal: Rejection = kind(f"{spec.model}: {refused['reason']}")
    return refusal
