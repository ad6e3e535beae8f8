"""Small seeded snapshots in the pipeline's own format, and specs for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.ports import TrainingJob
from gauntlet.core.spec import ModelSpec

STAMP = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
PARAMS = {"num_leaves": 7, "learning_rate": 0.2, "min_data_in_leaf": 20}
SHARES = (("train", 0.55), ("validation", 0.75), ("calibration", 0.85), ("holdout", 1.01))


def spec_of(task: str = "binary", **training: Any) -> ModelSpec:
    """A spec of the small world; keywords override its training section."""
    return ModelSpec.model_validate({
        "model": "small",
        "task": task,
        "owner": {"team": "t", "email": "t@example.com"},
        "schedule": {"nightly": "0 2 * * *", "drift_check": "30 * * * *", "timezone": "UTC"},
        "source": {
            "kind": "files",
            "uri": "unused",
            "columns": {"label": "y", "key": "id", "event_time": "at", "protected": ["sex"], "extra": ["gain", "cost"]},
            "features": {"numeric": ["x", "net income", "steps"], "boolean": ["new"], "categorical": ["kind", "place"]},
        },
        "contract": {"rows": [1, 10_000_000], "columns": {}},
        "split": {"kind": "time"},
        "training": {"params": PARAMS, "rounds": 30, "early_stopping": 10, "threads": 1, **training},
        "drift": {"window": "1d"},
        "gates": dict.fromkeys(GATES, "off: not what is tested here"),
        "rollout": {"steps": [{"weight": 100, "hold": "1s", "requests": 1}]},
    })


def columns_of(rows: int, task: str = "binary", seed: int = 0) -> dict[str, Any]:
    """Columns of a snapshot, rows in time order."""
    rng = np.random.default_rng(seed)
    x, income = rng.normal(size=rows), np.round(rng.lognormal(7, 0.5, rows), 2)
    kind = rng.choice(["a", "b", "c", "rare"], rows, p=[0.5, 0.3, 0.199, 0.001])
    steps, new = rng.integers(0, 9, rows), rng.random(rows) < 0.3
    signal = 1.2 * x + (kind == "b") + 0.3 * steps - 1.5 + 0.5 * new
    label = {
        "binary": (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(np.int8),
        "regression": signal + rng.normal(size=rows),
        "multiclass": np.digitize(signal + rng.normal(size=rows), [-1.0, 1.0]).astype(np.int16),
    }[task]
    return {
        "row_key": rng.integers(0, 2**63, rows, dtype=np.uint64),
        "id": pa.array([f"k{i}" for i in range(rows)]),
        "at": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us", tz="UTC")),
        "y": label,
        "sex": pa.array(rng.choice(["f", "m"], rows)),
        "gain": np.full(rows, 100.0),
        "cost": np.full(rows, 300.0),
        "x": pa.array(np.where(rng.random(rows) < 0.05, np.nan, x), from_pandas=True),
        "net income": income,
        "steps": steps,
        "new": new,
        "kind": pa.array(kind.tolist(), pa.string(), mask=rng.random(rows) < 0.05),
        "place": pa.array(rng.choice(["north", "south"], rows)),
    }


def write_snapshot(path: Path, columns: dict[str, Any]) -> Path:
    """A snapshot file as the sources write it."""
    pq.write_table(pa.table(columns), path, compression="zstd", write_page_checksum=True, row_group_size=1_000)
    return path


def write_split(path: Path, rows: int) -> Path:
    """A split by time in the usual shares."""
    place = np.arange(rows) / rows
    codes = np.searchsorted([upto for _, upto in SHARES], place, side="right")
    parts = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array([name for name, _ in SHARES]))
    pq.write_table(pa.table({"part": parts}), path)
    return path


def job_in(folder: Path, columns: dict[str, Any], task: str = "binary") -> TrainingJob:
    """A training job on the given columns."""
    folder.mkdir(parents=True, exist_ok=True)
    snapshot = write_snapshot(folder / "snapshot.parquet", columns)
    split = write_split(folder / "split.parquet", len(columns["y"]))
    return TrainingJob(snapshot, split, STAMP, STAMP, ("low", "mid", "top") if task == "multiclass" else None)
