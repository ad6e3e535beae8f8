"""A/B as a plan: a fixed split to its horizon, a report of every metric, and a person who decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gauntlet.core.errors import MissingRecord
from gauntlet.core.records.ab import ABReport
from gauntlet.core.records.rollout import PauseCause, RolloutPhase
from gauntlet.stages.ab_report import ab_report
from gauntlet.stages.command_rollout import say

MODEL = "loans"
HERE = "tests.stages.rollout.test_ab"
TEST = {"baseline": 0.3, "change": 0.15, "weight": 50, "hold": "2s"}


def sold(columns: Any) -> Any:
    """The canary's customers buy more: 45 % against 30 %, decided by their number alone."""
    numbers = np.array([int(entity[1:]) for entity in columns["entity"]])
    chance = np.where(columns["arm"] == "canary", 0.45, 0.30)
    return ((numbers * 2654435761 % 1000) / 1000 < chance).astype(float)


@pytest.fixture
def world(make_world: Any) -> Any:
    made = make_world(
        plan="ab", ab=TEST, metrics={"sold": {"function": f"{HERE}:sold", "margin": 0.05, "bounds": [0, 1]}}
    )
    made.champion()
    made.challenger()
    return made


def test_an_ab_test_runs_to_its_horizon_and_asks(make_world: Any, world: Any) -> None:
    horizon = world.spec.rollout.steps[0].requests
    assert horizon == 163  # R: power.prop.test(p1 = .3, p2 = .45, power = .8): n = 162.33 by the same formula
    state = world.start()
    assert state.weight_ppm == 500_000
    state = world.look(0, wait=3, requests=horizon)
    assert f"of {horizon} canary requests" in state.reason
    state = world.look(0, wait=1, requests=2 * horizon)
    assert (state.phase, state.pause) == (RolloutPhase.PAUSED, PauseCause.MANUAL)
    stored = world.store.records.named(f"{MODEL}/canary-1", ABReport)
    assert set(stored) == {"answered", "latency_ms", "score", "decision", "sold"}
    won = stored["sold"]
    assert won.lift == pytest.approx(0.15, abs=0.08)
    assert won.better > 0.95
    assert won.expected_loss < 0.01
    assert won.cohens_d == pytest.approx(0.31, abs=0.2)
    assert won.t_p_value < 0.05
    assert won.mann_whitney_p < 0.05
    assert stored["score"].interval[0] < 0 < stored["score"].interval[1]
    say(world.services, MODEL, "promote", by="ann", reason="sells more")
    assert world.look(0, wait=1).phase is RolloutPhase.BAKE


def test_a_pre_period_of_the_same_people_takes_their_differences_out(world: Any) -> None:
    """The same 600 customers, before and during the test; how slow their line is belongs to them."""
    rng = np.random.default_rng(5)
    slow = rng.gamma(4, 20_000, 600)

    def served(arm: str, number: int, **more: Any) -> dict[str, Any]:
        latency = int(slow[number] + rng.normal(0, 500))
        told = {"request_id": f"r{number}", "at": world.clock.now(), "entity": f"c{number}", "score": 0.2}
        return {**told, "arm": arm, "latency_us": latency, "decision": 1, **more}

    world.journal.append(MODEL, [served("stable", number) for number in range(600)])
    world.clock.wait(1)
    state = world.start()
    world.clock.wait(1)
    routing = {"epoch": state.step_epoch, "rollout": state.rollout, "weight_ppm": 500_000}
    rows = [served(("canary", "stable")[number % 2], number, **routing) for number in range(600)]
    world.journal.append(MODEL, rows)
    world.look(0, wait=1)
    found = {one.metric: one for one in ab_report(world.services, MODEL)}
    assert found["latency_ms"].variance_removed > 0.95
    plain, cuped = (high - low for low, high in (found["latency_ms"].interval, found["latency_ms"].cuped_interval))
    assert cuped < plain / 3


def test_without_two_arms_there_is_nothing_to_report(world: Any) -> None:
    with pytest.raises(MissingRecord, match="both versions in traffic"):
        ab_report(world.services, MODEL)
