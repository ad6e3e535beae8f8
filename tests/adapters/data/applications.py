"""A small table of loan applications with every role a column can have, and specs that read it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.spec import ModelSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def applications(rows: int = 600, seed: int = 0) -> pa.Table:
    """One application per hour from 2026-01-01; known one hour later, label known two days later."""
    rng = np.random.default_rng(seed)
    income = rng.lognormal(10, 0.5, rows)
    amount = rng.gamma(2, 4_000, rows)
    chance = 1 / (1 + np.exp(2 + 1.5 * np.log(income / 22_000) - amount / 20_000))
    at = [START + i * HOUR for i in range(rows)]
    times = pa.timestamp("us", tz="UTC")
    return pa.table({
        "id": pa.array(range(1, rows + 1), pa.int64()),
        "customer": pa.array([f"c{i // 2}" for i in range(rows)]),
        "applied_at": pa.array(at, times),
        "loaded_at": pa.array([moment + HOUR for moment in at], times),
        "settled_at": pa.array([moment + 48 * HOUR for moment in at], times),
        "income": pa.array(income, mask=rng.random(rows) < 0.05),
        "amount": pa.array(amount),
        "open_loans": pa.array(rng.integers(0, 6, rows)),
        "employed": pa.array(rng.random(rows) < 0.8),
        "region": pa.array(rng.choice(["north", "south", "east"], rows)),
        "gender": pa.array(rng.choice(["f", "m"], rows)),
        "defaulted": pa.array((rng.random(rows) < chance).astype(np.int64)),
        "unused": pa.array(rng.normal(size=rows)),
    })


def loans(**changes: Any) -> dict[str, Any]:
    """The spec's document; dotted keys change it: ``loans(**{"source.window": "7d"})``."""
    document: dict[str, Any] = {
        "model": "loans",
        "task": "binary",
        "owner": {"team": "risk", "email": "risk@example.org"},
        "schedule": {},
        "source": {
            "kind": "files",
            "uri": "${GAUNTLET_TEST_SOURCE}",
            "columns": {
                "key": "id",
                "entity": "customer",
                "event_time": "applied_at",
                "known_at": "loaded_at",
                "label": "defaulted",
                "protected": ["gender"],
            },
            "features": {
                "numeric": ["income", "amount", "open_loans"],
                "boolean": ["employed"],
                "categorical": ["region"],
            },
        },
        "contract": {
            "rows": [10, 100_000],
            "columns": {
                "income": {"type": "number", "max_null": 0.2, "minimum": 0},
                "amount": {"type": "number", "minimum": 0},
                "region": {"type": "string", "values": ["north", "south", "east"]},
            },
        },
        "split": {"kind": "time", "validation": 0.2, "calibration": 0.1, "holdout": 0.2},
        "training": {},
        "drift": {"window": "7d"},
        "gates": dict.fromkeys(GATES, "off: not what is tested here"),
        "rollout": {"steps": [{"weight": 100, "hold": "1m", "requests": 1}]},
    }
    for key, value in changes.items():
        _set(document, key.split("."), value)
    return document


def spec(**changes: Any) -> ModelSpec:
    """A valid spec; ``None`` as a value removes a key."""
    return ModelSpec.model_validate(loans(**changes))


def _set(document: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        document = document.setdefault(step, {})
    if value is None:
        document.pop(path[-1], None)
    else:
        document[path[-1]] = value


def write(table: pa.Table, path: Path) -> Path:
    """Write a table as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def replace(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """The table with columns replaced or added."""
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        at = table.schema.get_field_index(name)
        table = table.append_column(name, array) if at < 0 else table.set_column(at, name, array)
    return table
