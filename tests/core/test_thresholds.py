"""Choosing a threshold: the best of all that divide the rows differently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauntlet.core.errors import TrainingFailed
from gauntlet.core.metrics import Sample, measure
from gauntlet.core.specs.profit import ProfitSection
from gauntlet.core.thresholds import candidate_thresholds, choose_threshold

BELOW = ProfitSection(gain="gain", loss="loss")
ABOVE = ProfitSection(act="above", good=1, gain=50.0, loss=10.0)


def sample(seed: int, rows: int = 60, profit: ProfitSection | None = None) -> Sample:
    rng = np.random.default_rng(seed)
    score = np.round(rng.random(rows), 2)
    label = (rng.random(rows) < score).astype(float)
    label[:2] = [0, 1]
    columns = {"gain": rng.uniform(10, 90, rows), "loss": rng.uniform(100, 300, rows)}
    return Sample(label, score, rng.uniform(0.5, 2, rows) if seed % 2 else None, None, columns, profit)


@settings(max_examples=60)
@given(st.integers(0, 1_000), st.sampled_from(["f1", "below", "above"]))
def test_no_threshold_does_better(seed: int, kind: str) -> None:
    data = sample(seed, profit={"f1": None, "below": BELOW, "above": ABOVE}[kind])
    metric = "f1" if kind == "f1" else "profit"
    chosen = choose_threshold(metric, data)
    best = measure(metric, replace(data, threshold=chosen))
    for other in candidate_thresholds(data.score).tolist():
        assert measure(metric, replace(data, threshold=other)) <= best + 1e-9
    assert 0 < chosen < 1


def test_no_row_sits_on_the_edge() -> None:
    data = sample(3)
    assert not np.isin(candidate_thresholds(data.score), data.score).any()


def test_a_ratio_is_asked_threshold_by_threshold() -> None:
    sharpe = ProfitSection(gain="gain", loss="loss", aggregate="sharpe")
    data = sample(4, profit=sharpe)
    chosen = choose_threshold("profit", data)
    assert measure("profit", replace(data, threshold=chosen)) >= measure("profit", replace(data, threshold=0.5))


def test_what_has_no_value_is_refused() -> None:
    data = sample(1, profit=BELOW)
    broken = replace(data, columns={**data.columns, "gain": np.full(len(data), np.nan)})
    with pytest.raises(TrainingFailed, match="profit"):
        choose_threshold("profit", broken)
    with pytest.raises(TrainingFailed, match="f1"):
        choose_threshold("f1", replace(data, label=np.zeros(len(data))))
