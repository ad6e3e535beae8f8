"""Labels through the source the model trains on: its files, its SQL database, and no more of them than is needed."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.stages.rollout.test_shadow_and_evidence import blind, found
from tests.stages.rollout.world import World

from gauntlet.adapters.sources import Reading, open_source
from gauntlet.core.errors import RolloutAborted
from gauntlet.core.outcome import Outcome
from gauntlet.core.spec import ModelSpec

STEPS = [{"weight": 50, "hold": "2s", "requests": 20, "labels": 100, "max_hold": "1h"}]
PROFIT = {"profit": {"profit": {"gain": 0.2, "loss": "amount"}, "margin": 1.0}}


def told(folder: Path, kind: str, by: str, score: Any = None) -> World:
    """A world whose labels are in a real source; features and protected columns are there too, and damaged."""
    world = World(
        folder, steps=STEPS, labels={"maturity": "10s", "within": "1s", "by": by}, lease="60s", metrics=PROFIT
    )
    uri = f"{folder}/loans.parquet" if kind == "files" else f"sqlite:///{folder}/loans.db"
    said = world.spec.model_dump(mode="json")
    said["source"] |= {"kind": kind, "uri": uri, "query": None if kind == "files" else "SELECT * FROM loans"}
    said["source"]["columns"] |= {"protected": ["gender"]}
    world.spec = ModelSpec.model_validate(said)
    world.services.specs.spec = world.spec  # type: ignore[attr-defined]
    world.services = replace(world.services, sources={kind: open_source(kind, Reading(folder / "scratch"))})
    world.champion()
    world.challenger(**({"score": score} if score else {}))
    world.start()
    return world


def write(world: World, kind: str, folder: Path) -> None:
    rows = [
        {
            "loan": f"q{place + 1}",
            "customer": row["customer"],
            "at": row["at"],
            "known": row["known"],
            "y": row["y"],
            "amount": row["amount"],
            "x": "no number",
            "gender": None,
        }
        for place, row in enumerate(world.source.rows)
    ]
    if kind == "files":
        pq.write_table(pa.Table.from_pylist(rows), folder / "loans.parquet")
        return
    with sqlite3.connect(folder / "loans.db") as database:
        database.execute("CREATE TABLE loans (loan, customer, at, known, y, amount REAL, x, gender)")
        values = [
            (
                *(
                    str(row[name]) if name in {"at", "known"} else row[name]
                    for name in ("loan", "customer", "at", "known", "y")
                ),
                row["amount"],
                row["x"],
                row["gender"],
            )
            for row in rows
        ]
        database.executemany("INSERT INTO loans VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    database.close()


@pytest.mark.parametrize(("kind", "by"), [("files", "entity"), ("files", "request"), ("sql", "entity")])
def test_labels_come_from_the_models_own_source(tmp_path: Path, kind: str, by: str) -> None:
    world = told(tmp_path, kind, by)
    world.clock.wait(2)
    world.traffic(600, labels=1.0)
    write(world, kind, tmp_path)
    assert world.look(0, wait=2).analysis.labels == 0
    state = world.look(0, wait=12)
    assert state.step_done(0), state.reason
    assert state.analysis.labels > 250
    assert found(state, "profit").outcome is Outcome.PASSED
    loss = found(state, "log_loss")
    assert 0.2 < loss.stable < 0.7
    assert loss.stable == pytest.approx(loss.canary)


def test_what_only_labels_show_is_caught_through_files(tmp_path: Path) -> None:
    world = told(tmp_path, "files", "entity", score=blind)
    world.clock.wait(2)
    world.traffic(1500, labels=1.0)
    write(world, "files", tmp_path)
    with pytest.raises(RolloutAborted, match="log_loss"):
        world.look(0, wait=14)


def test_before_the_source_has_anything_there_are_no_labels(tmp_path: Path) -> None:
    world = told(tmp_path, "files", "entity")
    world.clock.wait(2)
    world.traffic(100)
    state = world.look(0, wait=14)
    assert not state.step_done(0)
    assert "does not exist" in found(state, "label_ratio").sentence
    assert np.isfinite(state.analysis.requests)
    assert state.updated_at - state.started_at >= timedelta(seconds=14)
