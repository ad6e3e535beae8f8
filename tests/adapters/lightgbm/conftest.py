"""A release made once, and ways to damage copies of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.adapters.lightgbm.small_world import columns_of, job_in, spec_of

from gauntlet.adapters import training_child
from gauntlet.adapters.trainer_lightgbm import describe
from gauntlet.core.digest import sha256_file
from gauntlet.core.ports import TrainingJob
from gauntlet.core.records.model import TrainingSummary
from gauntlet.core.spec import ModelSpec


def train_here(spec: ModelSpec, job: TrainingJob, folder: Path) -> TrainingSummary:
    """The real training in this process: only tests of the process itself need another."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "job.json").write_text(json.dumps(describe(spec, job, folder)))
    return training_child.train(training_child.Job.read(folder.parent / "job.json"))


def seal(folder: Path) -> Path:
    """(Re)write the manifest."""
    files = {path.name: sha256_file(path) for path in folder.iterdir() if path.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sealed release of each task, with the snapshot it was trained on beside it."""
    releases = {}
    for task, training in (("binary", {"calibration": "isotonic"}), ("regression", {}), ("multiclass", {})):
        folder = tmp_path_factory.mktemp(task)
        job = job_in(folder, columns_of(3_000, task), task)
        train_here(spec_of(task, **training), job, folder / "release")
        releases[task] = seal(folder / "release")
    return releases


@pytest.fixture
def copy(made: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy that may be damaged."""
    return lambda task: Path(shutil.copytree(made[task], tmp_path / "release"))
