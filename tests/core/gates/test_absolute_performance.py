"""Floors are judged by an interval: what is near its limit is not known to be on either side."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from tests.mutations.world import good

from gauntlet.core.comparison import rows_to_decide
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.outcome import Outcome

FLOOR = 0.8


def recall_night(seed: int, n: int, truth: float, **config):
    """A night whose recall is ``truth``: every second row is positive, and found with that chance."""
    random = np.random.default_rng([seed, n])
    label = (np.arange(n) % 2 == 0).astype(float)
    found = np.where(label == 1, random.random(n) < truth, random.random(n) < 0.1)
    gates = {"absolute_performance": {"metrics": {"recall": {"minimum": FLOOR}}, "minimum_rows": 100} | config}
    evidence = good("absolute_performance", n=n, gates=gates)
    assert evidence.frame is not None
    # Two scores, one on each side of the threshold.
    frame = replace(evidence.frame, label=label, candidate=np.where(found, 0.9, 0.1))
    return judge_gate("absolute_performance", replace(evidence, frame=frame))


def test_well_above_and_well_below_are_decided_and_say_their_interval() -> None:
    above, below = recall_night(1, 4000, 0.9), recall_night(1, 4000, 0.7)
    assert (above.outcome, below.outcome) == (Outcome.PASSED, Outcome.FAILED)
    (item,) = above.measurements
    assert item.interval is not None
    assert FLOOR < item.interval[0] < item.observed < item.interval[1]
    assert "as all of its interval [0.8" in above.reason
    assert above.mode == "interval"


def test_near_the_floor_is_inconclusive_on_either_side_and_says_how_many_rows_would_decide() -> None:
    for truth in (0.79, 0.81):
        verdict = recall_night(3, 600, truth)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        (item,) = verdict.measurements
        assert item.required_n is not None
        assert item.required_n > 600
        assert "reaches over the bound; about" in verdict.reason
        assert "rows would decide" in verdict.reason


def test_at_the_rows_that_were_asked_for_it_is_decided() -> None:
    """The distance is estimated on the small sample; here it is the true one, so that the arithmetic is checked."""
    n, truth = 600, 0.83
    width = 2 * 1.645 * np.sqrt(truth * (1 - truth) / (n / 2))
    needed = rows_to_decide(n, width, truth - FLOOR, alpha=0.05, power=0.95)
    assert needed is not None
    outcomes = [recall_night(seed, needed, truth).outcome for seed in range(40)]
    assert outcomes.count(Outcome.PASSED) >= 34
    assert Outcome.FAILED not in outcomes


def test_a_model_exactly_at_its_floor_rarely_passes_but_by_the_point_every_other_time() -> None:
    interval = [recall_night(seed, 400, FLOOR).outcome for seed in range(150)]
    point = [recall_night(seed, 400, FLOOR, judge="point").outcome for seed in range(150)]
    assert interval.count(Outcome.PASSED) / 150 <= 0.10
    assert interval.count(Outcome.FAILED) / 150 <= 0.10
    assert 0.35 <= point.count(Outcome.PASSED) / 150 <= 0.65
    assert Outcome.INCONCLUSIVE not in point


@pytest.mark.parametrize("side", ["minimum", "maximum"])
def test_both_bounds_are_judged_by_the_interval(side: str) -> None:
    value = next(iter(recall_night(5, 1000, 0.85).measurements)).observed
    assert value is not None
    limits = {"minimum": 0.1} | {side: value}
    verdict = recall_night(5, 1000, 0.85, metrics={"recall": limits})
    assert verdict.outcome is Outcome.INCONCLUSIVE
    # The value lies on its bound, so it holds by the point, and no number of rows tells them apart.
    assert "no number of rows would decide" in verdict.reason
    assert recall_night(5, 1000, 0.85, metrics={"recall": limits}, judge="point").outcome is Outcome.PASSED


def daily_return(label, score, threshold, columns):
    """A user's own business metric: what each bet has won."""
    return np.where(score >= threshold, columns["profit_if_repaid"], 0.0) - 1.0


def test_a_users_business_metric_has_an_interval_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Sharpe ratio of returns from a user's function; its standard error after Lo (2002): sqrt((1 + S^2/2) / n)."""
    users = ModuleType("users_own")
    users.daily_return = daily_return  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users_own", users)
    n, random = 3000, np.random.default_rng(4)
    returns = 1.0 + 0.1 + random.standard_normal(n)
    truth = float((returns - 1).mean() / (returns - 1).std())
    profit = {"function": "users_own:daily_return", "columns": ["profit_if_repaid"], "aggregate": "sharpe"}

    def judged(minimum: float):
        bounds = {"profit": {"minimum": minimum}, "f1": {"minimum": 0.01}}
        gates = {
            "absolute_performance": {"metrics": bounds},
            "versus_champion": {"margin": 0.02, "profit": profit},
        }
        evidence = good("absolute_performance", n=n, gates=gates)
        assert evidence.frame is not None
        columns = {**evidence.frame.columns, "profit_if_repaid": returns}
        frame = replace(evidence.frame, candidate=np.full(n, 0.9), columns=columns)
        return judge_gate("absolute_performance", replace(evidence, frame=frame)).measurements[0]

    found = judged(0.0)
    assert found.observed == pytest.approx(truth)
    assert found.interval is not None
    half = 1.645 * np.sqrt((1 + truth**2 / 2) / n)
    assert found.interval == pytest.approx((truth - half, truth + half), abs=0.15 * half)
    assert (found.outcome, judged(truth + 0.01).outcome, judged(truth + 3 * half).outcome) == (
        Outcome.PASSED,
        Outcome.INCONCLUSIVE,
        Outcome.FAILED,
    )


def test_no_distance_needs_no_end_of_rows() -> None:
    assert rows_to_decide(100, 0.1, 0.0, alpha=0.05, power=0.95) is None
    assert rows_to_decide(100, 0.1, 10.0, alpha=0.05, power=0.95) == 101
