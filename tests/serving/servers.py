"""Real releases of small real models, and real servers on loopback."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import lightgbm
import numpy as np
from tests.processes import wait_for
from tests.serving.control import MODEL, ControlDatabase, fetch_file, run_server

from gauntlet.core.digest import canonical_json, sha256_bytes
from gauntlet.core.model_text import tree_digest
from gauntlet.core.records.model import (
    Calibration,
    Feature,
    FeatureKind,
    GoldenSet,
    ModelSidecar,
    ReleaseRef,
    Task,
)
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.core.specs.serving import ServingSection
from gauntlet.serving.config import ModelServing, ServerConfig

CATEGORIES = ("blue", "green", "red")
ENTITY = "customer"
TOKEN = "token-of-the-test"


@dataclass(frozen=True)
class Trained:
    """A trained booster with everything a test compares against."""

    booster: Any
    features: tuple[Feature, ...]
    rows: list[dict[str, Any]]
    matrix: np.ndarray
    task: Task
    calibration: Calibration | None = None

    def scores(self, matrix: np.ndarray) -> list[Any]:
        raw = self.booster.predict(matrix)
        if self.calibration is not None:
            raw = np.interp(raw, self.calibration.x, self.calibration.y)
        return raw.tolist()  # type: ignore[no-any-return]


def feature_list(numeric: int) -> tuple[Feature, ...]:
    numbers = [
        Feature(name=f"x{i}", kind=FeatureKind.NUMERIC, nullable=i == 1, minimum=-6.0, maximum=6.0)
        for i in range(numeric)
    ]
    return (
        *numbers,
        Feature(name="member", kind=FeatureKind.BOOLEAN, nullable=False),
        Feature(name="home colour", kind=FeatureKind.CATEGORICAL, nullable=True, categories=CATEGORIES),
    )


def train(
    seed: int = 0,
    *,
    task: Task = Task.BINARY,
    trees: int = 12,
    numeric: int = 4,
    rows: int = 600,
    calibration: Calibration | None = None,
    classes: int = 3,
) -> Trained:
    rng = np.random.default_rng(seed)
    features = feature_list(numeric)
    x = rng.normal(size=(rows, numeric)).clip(-6, 6)
    x[rng.random(rows) < 0.1, 1] = np.nan
    member = rng.integers(0, 2, rows)
    colour = rng.integers(0, len(CATEGORIES), rows).astype(float)
    colour[rng.random(rows) < 0.05] = np.nan
    matrix = np.column_stack([x, member, colour])
    margin = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) * member + (colour == 1) + rng.normal(size=rows)
    label = {
        Task.BINARY: (margin > 0).astype(float),
        Task.REGRESSION: margin,
        Task.MULTICLASS: np.digitize(margin, [-0.5, 0.8]).astype(float),
    }[task]
    params: dict[str, Any] = {
        "objective": {Task.BINARY: "binary", Task.REGRESSION: "regression", Task.MULTICLASS: "multiclass"}[task],
        "num_leaves": 7,
        "min_data_in_leaf": 5,
        "verbose": -1,
        "num_threads": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        **({"num_class": classes} if task is Task.MULTICLASS else {}),
    }
    names = [feature.name.replace(" ", "%20") for feature in features]
    data = lightgbm.Dataset(matrix, label, feature_name=names, categorical_feature=[names[-1]], free_raw_data=False)
    booster = lightgbm.train(params, data, trees)
    return Trained(booster, features, plain_rows(matrix, features), matrix, task, calibration)


def plain_rows(matrix: np.ndarray, features: tuple[Feature, ...]) -> list[dict[str, Any]]:
    return [
        {feature.name: plain_value(feature, value) for feature, value in zip(features, row, strict=True)}
        for row in matrix.tolist()
    ]


def plain_value(feature: Feature, value: float) -> Any:
    if value != value:
        return None
    if feature.kind is FeatureKind.CATEGORICAL:
        return CATEGORIES[int(value)]
    return bool(value) if feature.kind is FeatureKind.BOOLEAN else value


def write_release(
    folder: Path,
    trained: Trained,
    version_id: str,
    *,
    text: bytes | None = None,
    golden_scores: tuple[float, ...] | None = None,
    golden_rows: int = 20,
    **changes: Any,
) -> ReleaseRef:
    """A release folder as training writes it."""
    text = text if text is not None else trained.booster.model_to_string().encode()
    sidecar = ModelSidecar(
        model=MODEL,
        version_id=version_id,
        task=trained.task,
        objective=trained.booster.params["objective"],
        features=trained.features,
        classes=("low", "mid", "top") if trained.task is Task.MULTICLASS else None,
        threshold=0.5 if trained.task is Task.BINARY else None,
        calibration=trained.calibration,
        best_iteration=trained.booster.current_iteration(),
        tree_digest=tree_digest(text),
        model_sha256=sha256_bytes(text),
        trained_through=None,
    ).model_copy(update=changes)
    scores = trained.scores(trained.matrix[:golden_rows])
    if trained.task is Task.MULTICLASS:
        scores = [max(row) for row in scores]
    golden = GoldenSet(rows=tuple(trained.rows[:golden_rows]), scores=golden_scores or tuple(scores), tolerance=1e-12)
    files = {
        "model.txt": text,
        "sidecar.json": canonical_json(sidecar.model_dump(mode="json")),
        "golden.json": canonical_json(golden.model_dump(mode="json")),
        "profile.json": b"{}",
    }
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = canonical_json({"files": {name: sha256_bytes(content) for name, content in files.items()}})
    (folder / "manifest.json").write_bytes(manifest)
    return ReleaseRef(
        uri=folder.as_uri(),
        digest=sha256_bytes(manifest),
        version_id=version_id,
        tree_digest=sidecar.tree_digest,
        size_bytes=len(text),
    )


def served(release: ReleaseRef, version: int) -> ServedVersion:
    return ServedVersion(
        version=version, version_id=release.version_id, release_uri=release.uri, release_digest=release.digest
    )


def routing(
    epoch: int,
    stable: ServedVersion | None,
    canary: ServedVersion | None = None,
    weight_ppm: int = 0,
    *,
    lease_s: float = 600.0,
    previous: ServedVersion | None = None,
    rollout: str | None = "rollout-1",
) -> Routing:
    return Routing(
        model=MODEL,
        epoch=epoch,
        stable=stable,
        canary=canary,
        previous=previous,
        weight_ppm=weight_ppm,
        salt="salt-1",
        rollout=rollout if canary else None,
        lease_until=datetime.now(UTC) + timedelta(seconds=lease_s) if canary else None,
    )


@dataclass
class RunningServer:
    """A server in processes of its own."""

    config: ServerConfig
    process: Any
    database: ControlDatabase
    port: int = 0
    client: httpx.Client = field(init=False)
    admin: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        self.admin = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.config.admin_socket)),
            base_url="http://admin",
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )

    def predict(self, row: Mapping[str, Any], **more: Any) -> httpx.Response:
        return self.client.post(f"/v1/models/{MODEL}/predict", json={"row": row, **more})

    def predict_rows(self, rows: list[dict[str, Any]], **more: Any) -> httpx.Response:
        return self.client.post(f"/v1/models/{MODEL}/predict", json={"rows": rows, **more})

    def apply(self, row: Routing) -> httpx.Response:
        body = {"routing": row.model_dump(mode="json"), "timeout_s": 30}
        return self.admin.post("/admin/apply", json=body)

    def prepare(self, release: ReleaseRef) -> httpx.Response:
        return self.admin.post("/admin/prepare", json={"model": MODEL, "release": release.model_dump()})

    def reports(self) -> list[dict[str, Any]]:
        return self.admin.post("/admin/reports", json={"model": MODEL}).json()  # type: ignore[no-any-return]

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children if b"serving.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def stop(self) -> None:
        self.client.close()
        self.admin.close()
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)
        self.process.join(15)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


@contextmanager
def running(
    folder: Path,
    *,
    serving: ServingSection | None = None,
    fetch: Any = fetch_file,
    read_routing: Any = None,
    ready: bool = True,
    target: Any = run_server,
    **changes: Any,
) -> Generator[RunningServer]:
    """Start a server on a free port and stop it afterwards."""
    # A Unix socket's path is short; pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="gs-") as short:
        config = ServerConfig(
            models={MODEL: ModelServing(ENTITY, serving or ServingSection())},
            state=folder / "state",
            journal=folder / "journal",
            admin_socket=Path(short) / "admin.sock",
            admin_token=TOKEN,
            port=0,
        )
        config = replace(config, **changes)
        database = ControlDatabase(folder / "control")
        process = multiprocessing.get_context("spawn").Process(
            target=target, args=(config, fetch, read_routing or database.read_routing, database.report)
        )
        (config.state / "address.json").unlink(missing_ok=True)
        process.start()
        server = None
        try:
            address = wait_for(lambda: read_address(config.state, process), 30)
            server = RunningServer(config, process, database, address["port"])
            if ready:
                wait_for(lambda: server.client.get("/ready").status_code == 200, 30)
            yield server
        finally:
            if server is not None:
                server.stop()
            elif process.is_alive():
                process.terminate()
                process.join(10)


def read_address(state: Path, process: Any) -> dict[str, Any] | None:
    assert process.is_alive(), "the server ended while starting"
    path = state / "address.json"
    return json.loads(path.read_bytes()) if path.exists() else None
