"""Served rows with what the journal does not say: features as their version saw them, days whole or thinned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gauntlet.adapters.memory.journal import MemoryJournal
from gauntlet.core.records.model import Feature, FeatureKind, ModelSidecar
from gauntlet.core.spec import load_spec
from gauntlet.stages import served_rows
from gauntlet.stages.served_rows import answered_rows, declared_columns, feature_columns, slice_columns

NOW = datetime(2026, 3, 6, 9, tzinfo=UTC)
DAY = timedelta(days=1)
CREDIT = Path(__file__).parents[2] / "include" / "models" / "credit_default.yaml"


def sidecar(*categories: str, **more: FeatureKind) -> ModelSidecar:
    features = [Feature(name="colour", kind=FeatureKind.CATEGORICAL, nullable=True, categories=categories)]
    features += [Feature(name=name, kind=kind, nullable=True) for name, kind in more.items()]
    return ModelSidecar(
        model="m",
        version_id="v",
        task="binary",
        objective="binary",
        features=tuple(features),
        classes=None,
        threshold=0.5,
        calibration=None,
        best_iteration=1,
        tree_digest="t",
        model_sha256="m",
        trained_through=None,
    )


def vector(*values: float) -> bytes:
    return np.asarray(values, dtype="<f8").tobytes()


def spec(kept: str = "vector") -> Any:
    return SimpleNamespace(serving=SimpleNamespace(journal=SimpleNamespace(features=kept)))


TABLE = pa.table({
    "version_id": ["b", "a", "gone", "a", "b"],
    "features": [vector(0, 7), vector(0, 1), vector(1, 1), vector(float("nan"), 0), None],
})
SIDECARS = {
    "a": sidecar("red", "blue", member=FeatureKind.BOOLEAN),
    "b": sidecar("blue", "red", age=FeatureKind.NUMERIC),
    "gone": None,
}


def test_each_row_is_decoded_by_the_version_that_saw_it_and_stays_in_its_place() -> None:
    found = feature_columns(spec(), TABLE, SIDECARS)
    assert {name: column.to_pylist() for name, column in found.items()} == {
        "colour": ["blue", "red", None, None, None],
        "member": [None, True, None, False, None],
        "age": [7.0, None, None, None, None],
    }
    assert list(feature_columns(spec(), TABLE, SIDECARS, ["age"])) == ["age"]


@pytest.mark.parametrize("kept", ["hash", "none"])
def test_what_the_journal_does_not_keep_makes_no_columns(kept: str) -> None:
    assert feature_columns(spec(kept), TABLE, SIDECARS) == {}
    assert feature_columns(spec(), TABLE.drop_columns(["features"]), SIDECARS) == {}
    assert feature_columns(spec(), TABLE, {"gone": None}) == {}


def test_what_was_served_goes_before_what_the_source_says_now() -> None:
    table = pa.table({"colour": ["green"], "gender": ["f"]})
    found = slice_columns(table, {"colour": pa.chunked_array([["red"]])}, ["colour", "gender", "nowhere"])
    assert {name: column.to_pylist() for name, column in found.items()} == {"colour": ["red"], "gender": ["f"]}


def test_the_slices_of_the_monitor_the_gate_and_protected_columns_are_declared() -> None:
    assert declared_columns(load_spec(CREDIT)) == ("region", "new_customer", "gender")


def rows(count: int, start: datetime, **more: Any) -> list[dict[str, Any]]:
    return [
        {"request_id": f"{start:%d}-{place}", "at": start + place * timedelta(seconds=1), "version_id": "v"} | more
        for place in range(count)
    ]


def test_every_good_row_of_a_window_is_read_once() -> None:
    journal = MemoryJournal()
    journal.append("m", [*rows(30, NOW - 3 * DAY), *rows(5, NOW - DAY), *rows(7, NOW - DAY, status="error")])
    journal.append("m", rows(1, NOW))
    table, notes = answered_rows(SimpleNamespace(journal=journal), "m", NOW - 3 * DAY, NOW)
    assert table.num_rows == 36
    assert len(set(table.column("request_id").to_pylist())) == 36
    assert notes == []


def test_a_day_of_too_many_rows_is_thinned_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_rows, "MOST_A_DAY", 10)
    journal = MemoryJournal()
    journal.append("m", [*rows(25, NOW - 2 * DAY), *rows(8, NOW - DAY + timedelta(hours=1))])
    table, notes = answered_rows(SimpleNamespace(journal=journal), "m", NOW - 2 * DAY, NOW)
    assert table.num_rows == 9 + 8
    assert notes == ["2026-03-04: 1 of every 3 of 25 rows"]


def test_what_the_journal_lacks_is_said() -> None:
    journal = MemoryJournal()
    journal.append("m", rows(3, NOW - timedelta(hours=1)))
    journal.incomplete = True
    table, notes = answered_rows(SimpleNamespace(journal=journal), "m", NOW - DAY, NOW)
    assert table.num_rows == 3
    assert "is not whole" in notes[0]
