"""Every statistic has an answer for every kind of column, however odd; no column spoils the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftReport, FeatureDrift
from gauntlet.core.statistics.registry import STATISTICS
from gauntlet.stages.drift_files import compare_files

Rng = np.random.Generator
Maker = Callable[[Rng, int], pa.Array]
ROWS = 3000
START = datetime(2026, 1, 1)
FAILED, PASSED, OPEN = Outcome.FAILED, Outcome.PASSED, Outcome.INCONCLUSIVE


def moments(rng: Rng, rows: int, days: int = 0) -> pa.Array:
    return pa.array([START + timedelta(days=days, seconds=int(s)) for s in rng.integers(0, 30 * 86_400, rows)])


def zeros(rng: Rng, rows: int, share: float) -> pa.Array:
    return pa.array(np.where(rng.random(rows) < share, 0.0, rng.gamma(2, 50, rows)))


def people(rng: Rng, rows: int, prefix: str) -> pa.Array:
    return pa.array([f"{prefix}{x % 5000}" for x in rng.zipf(1.3, rows)])


BEFORE: dict[str, Maker] = {
    "bool": lambda rng, n: pa.array(rng.random(n) < 0.3),
    "integer": lambda rng, n: pa.array(rng.poisson(4, n)),
    "nullable": lambda rng, n: pa.array(rng.integers(0, 9, n), mask=rng.random(n) < 0.2),
    "datetime": moments,
    "high_cardinality": lambda rng, n: people(rng, n, "u"),
    "each_once": lambda rng, n: pa.array([f"{x}" for x in rng.integers(1 << 60, size=n)]),
    "constant": lambda _, n: pa.array(np.full(n, 3.0)),
    "constant_text": lambda _, n: pa.array(["x"] * n),
    "zero_inflated": lambda rng, n: zeros(rng, n, 0.9),
    "heavy_tailed": lambda rng, n: pa.array(rng.standard_cauchy(n)),
    "all_null": lambda _, n: pa.nulls(n, pa.float64()),
    "all_nan": lambda _, n: pa.array(np.full(n, np.nan)),
    "all_null_text": lambda _, n: pa.nulls(n, pa.string()),
    "one_outlier": lambda rng, n: pa.array(rng.normal(size=n)),
    "infinite": lambda rng, n: pa.array(rng.normal(size=n)),
    "type": lambda rng, n: pa.array(rng.normal(size=n)),
    "healthy": lambda rng, n: pa.array(rng.normal(size=n)),
}

AFTER: dict[str, tuple[Maker, Outcome, str]] = {
    "bool": (lambda rng, n: pa.array(rng.random(n) < 0.7), FAILED, "→ 70%"),
    "integer": (lambda rng, n: pa.array(rng.poisson(8, n)), FAILED, ">= 8"),
    "nullable": (
        lambda rng, n: pa.array(rng.integers(0, 9, n), mask=rng.random(n) < 0.5),
        FAILED,
        "change of the missing rate",
    ),
    "datetime": (lambda rng, n: moments(rng, n, 20), FAILED, "2026-01-"),
    "high_cardinality": (lambda rng, n: people(rng, n, "new"), FAILED, "rows in new categories 1 > 0.01 (new"),
    "each_once": (lambda _, n: pa.array(["a"] * n), FAILED, "a: 0% → 100%"),
    "constant": (lambda _, n: pa.array(np.full(n, 4.0)), FAILED, ">= 4: 0% → 100%"),
    "constant_text": (lambda _, n: pa.array(["y"] * n), FAILED, "y: 0% → 100%"),
    "zero_inflated": (lambda rng, n: zeros(rng, n, 0.5), FAILED, "→ 5"),
    "heavy_tailed": (lambda rng, n: pa.array(5 * rng.standard_cauchy(n)), FAILED, "population stability index"),
    "all_null": (lambda rng, n: pa.array(rng.normal(size=n)), FAILED, "missing rate 1 > 0.05 (down)"),
    "all_nan": (lambda rng, n: pa.array(rng.normal(size=n)), FAILED, "missing rate 1 > 0.05 (down)"),
    "all_null_text": (lambda _, n: pa.array(["a"] * n), FAILED, "missing: 100% → 0%"),
    "one_outlier": (lambda rng, n: pa.array(np.append(rng.normal(size=n - 1), 1e12)), OPEN, "too few rows to tell"),
    "infinite": (lambda rng, n: pa.array(np.append(rng.normal(size=n - 1), np.inf)), FAILED, "1 infinite values"),
    "type": (lambda rng, n: pa.array([f"{x}" for x in rng.normal(size=n)]), FAILED, "float became string"),
    "healthy": (lambda rng, n: pa.array(rng.normal(size=n)), PASSED, "≤"),
}
"""What the column becomes, the verdict, and what is said. One row moves a mean, but shows nothing about a column."""

NEVER_SETTLED = {"all_null", "all_nan", "all_null_text", "each_once", "high_cardinality", "heavy_tailed"}
"""Unchanged, these are inconclusive: nothing to compare, names that were never seen, or no finite spread."""


def table(makers: dict[str, Maker], rows: int, seed: int) -> pa.Table:
    return pa.table({
        name: make(np.random.default_rng([seed, place]), rows) for place, (name, make) in enumerate(makers.items())
    })


def compared(tmp_path: Path, current: pa.Table, mode: Literal["profile", "exact"]) -> dict[str, FeatureDrift]:
    paths = tmp_path / "reference.parquet", tmp_path / "current.parquet"
    pq.write_table(table(BEFORE, ROWS, 1), paths[0])
    pq.write_table(current, paths[1])
    report = compare_files(*paths, mode=mode).report
    complete(report)
    return {one.feature: one for one in report.features}


def complete(report: DriftReport) -> None:
    """Every column has every statistic of its kind, each with a finite value or with why it has none."""
    assert {one.feature for one in report.features} == set(BEFORE)
    for feature in report.features:
        wanted = {name for name, statistic in STATISTICS.items() if feature.kind in statistic.kinds}
        assert {one.statistic for one in feature.statistics} == wanted
        for one in feature.statistics:
            assert one.sentence
            if one.value is None:
                assert "not defined (" in one.sentence
                assert one.outcome is None
            else:
                assert math.isfinite(one.value)
        assert feature.sentence.startswith(f"{feature.feature}: ")


MODES = ["profile", "exact"]


@pytest.mark.parametrize("mode", MODES)
def test_what_did_not_change_never_fails(tmp_path: Path, mode: Literal["profile", "exact"]) -> None:
    found = compared(tmp_path, table(BEFORE, ROWS - 7, 2), mode)
    assert {name for name, one in found.items() if one.outcome is not PASSED} <= NEVER_SETTLED
    assert not [one.sentence for one in found.values() if one.outcome is FAILED]


@pytest.mark.parametrize("mode", MODES)
def test_what_changed_is_found_and_named(tmp_path: Path, mode: Literal["profile", "exact"]) -> None:
    found = compared(tmp_path, table({name: made for name, (made, _, _) in AFTER.items()}, ROWS, 3), mode)
    for name, (_, outcome, words) in AFTER.items():
        assert found[name].outcome is outcome, found[name].sentence
        sentences = [found[name].sentence, *(one.sentence for one in found[name].statistics)]
        assert any(words in sentence for sentence in sentences), sentences


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_or_a_one_row_window_decides_nothing(
    tmp_path: Path, rows: int, mode: Literal["profile", "exact"]
) -> None:
    found = compared(tmp_path, table(BEFORE, ROWS, 1).slice(0, rows), mode)
    assert {one.outcome for one in found.values()} == {OPEN}


@pytest.mark.parametrize("mode", MODES)
def test_every_column_that_lost_its_values_is_a_finding(tmp_path: Path, mode: Literal["profile", "exact"]) -> None:
    whole = table(BEFORE, ROWS, 4)
    found = compared(tmp_path, pa.table({name: pa.nulls(ROWS, whole[name].type) for name in BEFORE}), mode)
    empty = {"all_null", "all_nan", "all_null_text"}
    assert {name for name, one in found.items() if one.outcome is FAILED and one.quality} == set(BEFORE) - empty
    assert all("all 3000 rows are missing" in found[name].sentence for name in set(BEFORE) - empty)
    assert all(found[name].outcome is OPEN for name in empty)
