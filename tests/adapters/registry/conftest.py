"""A registry of each kind: in memory, and MLflow on a store of its own; and a real MLflow server."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.processes import mlflow_server

from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.core.digest import sha256_file
from gauntlet.core.records.model import Feature, FeatureKind, ModelSidecar, ReleaseRef, Task


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the adapter sets when nobody has, undone after each test."""
    for name in ("REQUEST_TIMEOUT", "REQUEST_MAX_RETRIES", "REQUEST_BACKOFF_FACTOR"):
        monkeypatch.delenv(f"MLFLOW_HTTP_{name}", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without content: its hundred migrations are run once."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with warnings.catch_warnings():
        # MLflow 3.17 on SQLAlchemy 2.1: its mappers use a loader that is deprecated.
        warnings.simplefilter("ignore")
        MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The URL of an MLflow store of this test's own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(params=["memory", "mlflow"])
def registry(request: pytest.FixtureRequest) -> Any:
    """Both implementations, held to the same behaviour."""
    if request.param == "memory":
        return MemoryRegistry()
    from gauntlet.adapters.registry_mlflow import MLflowRegistry

    return MLflowRegistry(request.getfixturevalue("store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small release folder."""
    features = (
        Feature(name="net income", kind=FeatureKind.NUMERIC, nullable=False),
        Feature(name="new", kind=FeatureKind.BOOLEAN, nullable=True),
        Feature(name="kind", kind=FeatureKind.CATEGORICAL, nullable=True, categories=("a",)),
    )
    sidecar = ModelSidecar(
        model="m",
        version_id="v_1",
        task=Task.BINARY,
        objective="binary",
        features=features,
        classes=None,
        threshold=0.5,
        calibration=None,
        best_iteration=1,
        tree_digest="t",
        model_sha256="s",
        trained_through=None,
    )
    release = tmp_path / "release"
    release.mkdir()
    (release / "sidecar.json").write_text(sidecar.model_dump_json())
    (release / "model.txt").write_text("tree\n")
    files = {path.name: sha256_file(path) for path in release.iterdir()}
    (release / "manifest.json").write_text(json.dumps({"files": files}))
    return release


def release_of(digest: str) -> ReleaseRef:
    """A release reference."""
    return ReleaseRef(
        uri=f"file:///r/{digest}", digest=digest * 8, version_id=f"v_{digest}", tree_digest="t" * 64, size_bytes=5
    )


@pytest.fixture(scope="session")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on loopback, as the project starts it."""
    work = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, work / "mlflow.db")
    with mlflow_server(work) as url:
        yield url
