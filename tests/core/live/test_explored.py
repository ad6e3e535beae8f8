"""Decisions of the exploration reserve are no evidence about a version's decisions; the scores behind them are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from gauntlet.core.judge import case_for, judge
from gauntlet.core.live.products import product
from gauntlet.core.live.scores import decision_rate, score_psi, score_shift
from gauntlet.core.live.units import request_metrics
from gauntlet.core.live.window import Product, explored
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.model import Task
from gauntlet.core.specs.rollout import ProductMetric, RolloutSection

N = 4000
T0 = datetime(2026, 3, 1, tzinfo=UTC)


def drawn(_: Any, rng: np.random.Generator) -> np.ndarray:
    return rng.random(N) < 0.05


def test_decisions_are_judged_without_them_and_scores_with_them(window: Any, case: Any) -> None:
    told = window(N, 0.5, explored=drawn)
    given = case(stable_threshold=0.25, canary_threshold=0.25)
    left = int((~told.explored).sum())
    assert decision_rate(told, given)[0].canary_n == left
    assert {score_shift(told, given)[0].canary_n, score_psi(told, given)[0].canary_n} == {N}


def test_what_they_were_worth_is_no_evidence(window: Any, case: Any) -> None:
    """All harm is in requests of the canary arm that the reserve decided."""

    def values(has: dict[str, Any], rng: np.random.Generator) -> dict[str, Product]:
        worth = np.where(has["explored"] & has["arm"], -10.0, rng.normal(1, 0.1, N))
        return {"revenue": Product(np.where(has["arm"], np.nan, worth), np.where(has["arm"], worth, np.nan))}

    metric = product("revenue", ProductMetric(function="shop:revenue", margin=0.1))
    told = window(N, 0.5, explored=drawn, products=values)
    (found,) = metric(told, case())
    assert found.outcome is Outcome.PASSED, found.sentence
    (blind,) = metric(replace(told, explored=None), case())
    assert blind.outcome is not Outcome.PASSED


def test_the_judge_counts_them(window: Any) -> None:
    plan = RolloutSection.model_validate({"steps": [{"weight": 50, "hold": "1s", "requests": 20}]})
    told = window(N, 0.5, explored=drawn)
    look = judge(
        told,
        case_for(plan, Task.BINARY, look=1, stable_threshold=0.25, canary_threshold=0.25),
        task=Task.BINARY,
        rollout="r",
        step=0,
        plan=plan.steps[0],
        since=T0,
        until=T0 + timedelta(seconds=10),
    )
    assert look.explored == int(told.explored.sum()) > 100
    assert look.requests == int(told.arm.sum())


def test_an_ab_report_leaves_their_decisions_out() -> None:
    table = pa.table({
        "status": ["ok", "ok", "ok"],
        "score": [0.1, 0.2, 0.3],
        "latency_us": [1, 2, 3],
        "decision": [0, 1, 1],
        "explored": pa.array([0, 1, None]),
    })
    metrics = request_metrics(table, binary=True)
    assert np.array_equal(metrics["decision"], [0, np.nan, 1], equal_nan=True)
    assert metrics["score"].tolist() == [0.1, 0.2, 0.3]


def test_rows_older_than_the_column_were_not_drawn() -> None:
    assert not explored(pa.table({"status": ["ok"]})).any()
    assert not explored(pa.table({"explored": pa.array([None, 0], pa.int64())})).any()
