"""A candidate that waits for its promotion is judged on: what it does meanwhile still counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.faults.world import World as Installation
from tests.stages.rollout.world import MODEL, World

from gauntlet.core.errors import DeploymentHeld, RolloutAborted, SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import CommandKind, Quarantine, RolloutPhase, RolloutState
from gauntlet.core.specs.rollout import RolloutSection
from gauntlet.stages.answer_approval import answer_approval
from gauntlet.stages.command_rollout import command_rollout
from gauntlet.stages.keep import keep
from gauntlet.stages.promote import promote
from gauntlet.stages.register import register_challenger


def bad(x: np.ndarray) -> np.ndarray:
    return 0.05 + 0.5 * np.minimum(1, 2.5 * x) ** 2


def bake(world: World) -> RolloutState:
    """Through every step, with good traffic."""
    world.start()
    for step in range(3):
        state = world.look(step, wait=2, requests=200)
    assert state.phase is RolloutPhase.BAKE, state.reason
    return state


def wait(world: World, requests: int = 0, **kind: Any) -> RolloutState:
    """A tick of the wait, with what happened since the last one."""
    world.clock.wait(1)
    if requests:
        world.traffic(requests, **kind)
    world.clock.wait(1)
    return keep(world.services, world.run())


def waits(world: World, ticks: int, requests: int, **kind: Any) -> None:
    for _ in range(ticks):
        wait(world, requests, **kind)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ({"live": {"id2": bad}}, "score"),
        ({"canary_errors": 0.5}, "rate"),
        ({"canary_errors": 0.05, "invalid": True}, "invalid"),
        ({"slow_ms": 200.0}, "latency"),
    ],
)
def test_a_guardrail_that_fails_during_the_wait_rolls_back(world: World, kind: dict[str, Any], why: str) -> None:
    bake(world)
    assert wait(world, 100).phase is RolloutPhase.BAKE
    with pytest.raises(RolloutAborted, match="version 2 was taken out") as told:
        waits(world, 5, 400, **kind)
    assert why in str(told.value)
    assert (world.routing.canary, world.routing.weight_ppm) == (None, 0)
    assert world.state().harmful
    assert [one.version for one in world.services.records.newest(MODEL, Quarantine, 9)] == [2]
    assert [severity for severity, _ in world.inbox.sent] == ["critical"]


def test_good_days_do_not_hide_a_bad_hour(world: World) -> None:
    """All evidence since the last step together would have more than enough good requests to drown these."""
    bake(world)
    for _ in range(40):
        wait(world, 500)
    with pytest.raises(RolloutAborted, match="was taken out"):
        waits(world, 2, 60, canary_errors=0.5)


def test_a_good_candidate_waits_as_long_as_it_takes(world: World) -> None:
    windows = bake(world).windows
    for _ in range(30):
        state = wait(world, 150)
        assert (state.phase, world.routing.weight_ppm) == (RolloutPhase.BAKE, 1_000_000), state.reason
        assert world.routing.lease_until > world.clock.now()
    assert state.analysis is not None
    assert (state.analysis.step, state.analysis.outcome) == (3, Outcome.PASSED)
    assert state.windows >= windows + 10
    assert world.services.records.newest(MODEL, Quarantine) == []


def test_without_traffic_nothing_is_concluded_and_the_window_stays_open(world: World) -> None:
    bake(world)
    windows = wait(world).windows
    for _ in range(5):
        state = wait(world)
    assert (state.phase, state.windows) == (RolloutPhase.BAKE, windows)
    assert state.analysis is not None
    assert state.analysis.outcome is not Outcome.PASSED


def test_one_promoted_by_hand_waits_and_is_judged_at_the_weight_it_has(world: World) -> None:
    world.start()
    command_rollout(world.services, MODEL, CommandKind.PROMOTE, by="ann", reason="known from the shadow")
    state = world.look(0, wait=1)
    assert (state.phase, state.weight_ppm) == (RolloutPhase.BAKE, 50_000)
    assert wait(world, 500).analysis.weight_ppm == 50_000
    with pytest.raises(RolloutAborted, match="was taken out"):
        waits(world, 5, 800, canary_errors=0.6)


def test_a_lapsed_lease_begins_a_window_and_brings_the_weight_back(world: World) -> None:
    windows = bake(world).windows
    world.clock.wait(60)
    state = keep(world.services, world.run())
    assert (state.windows, world.routing.weight_ppm) == (windows + 1, 1_000_000)
    assert state.step_started_at == world.clock.now()
    assert wait(world, 200).analysis.step == 3


def test_a_pause_at_the_end_holds_keeps_and_is_judged_on(world: World) -> None:
    bake(world)
    command_rollout(world.services, MODEL, CommandKind.PAUSE, by="ann", reason="look at the card first")
    assert wait(world, 100).phase is RolloutPhase.PAUSED
    with pytest.raises(DeploymentHeld, match="look at the card first; to go on: gauntlet rollout loans resume"):
        promote(world.services, world.run())
    for _ in range(4):
        state = wait(world, 150)
        assert (state.phase, world.routing.weight_ppm) == (RolloutPhase.PAUSED, 1_000_000)
    assert state.analysis.step == 3
    command_rollout(world.services, MODEL, CommandKind.RESUME, by="ann", reason="fine")
    assert wait(world, 100).phase is RolloutPhase.BAKE
    command_rollout(world.services, MODEL, CommandKind.PAUSE, by="ann", reason="look again")
    wait(world, 100)
    with pytest.raises(RolloutAborted, match="was taken out"):
        waits(world, 5, 300, canary_errors=0.5)


def test_a_plan_without_the_weight_it_waits_at_says_so(world: World) -> None:
    bake(world)
    steps = world.spec.rollout.steps[:2]
    plan = world.spec.rollout.model_copy(update={"steps": (*steps, steps[0], steps[1])})
    world.services.specs.spec = world.spec.model_copy(update={"rollout": plan})
    with pytest.raises(SpecError, match="no stage at 100 % any more"):
        wait(world)


# ---- the promotion after the wait ------------------------------------------------------------------


@pytest.fixture
def approved(tmp_path: Any) -> Any:
    """Everything a promotion needs, and a person to wait for."""
    made = Installation(tmp_path)
    made.champion("a")
    plan = {
        "approval": True,
        "steps": [{"weight": weight, "hold": "2s", "requests": 20} for weight in (1, 5, 25, 50, 100)],
    }
    made.specs.spec = replace(made.specs.spec, rollout=RolloutSection.model_validate(plan))
    source = made.trained("night-b", "b")
    register_challenger(made.services, source)
    return made, made.ramped("canary-b", source)


def answered(made: Any, count: int, status: str) -> None:
    """Requests at 100 %, as the journal has them."""
    routing = made.services.routing.read(made.model)
    at = made.clock.now()
    made.clock.moment += timedelta(seconds=3)
    rng = np.random.default_rng(5)
    made.journal.append(made.model, [
        {
            "request_id": f"{at:%H%M%S%f}-{place}",
            "at": at,
            "epoch": routing.epoch,
            "rollout": routing.rollout,
            "arm": "canary",
            "entity": f"c{at:%H%M%S%f}{place}",
            "bucket": 0,
            "weight_ppm": routing.weight_ppm,
            "score": float(score),
            "other_score": float(score),
            "decision": int(score >= 0.5),
            "latency_us": 1500,
            "status": status,
            "error": None if status == "ok" else "raised",
        }
        for place, score in enumerate(rng.random(count))
    ])  # fmt: skip


@pytest.mark.parametrize(("status", "serves"), [("ok", "id-b"), ("fallback", "id-a")])
def test_what_it_did_since_the_last_look_counts_at_its_promotion(approved: Any, status: str, serves: str) -> None:
    made, run = approved
    with pytest.raises(DeploymentHeld, match="gauntlet approve"):
        promote(made.services, run)
    answered(made, 100, "ok")
    assert keep(made.services, run).phase is RolloutPhase.BAKE
    answer_approval(made.services, made.model, "night-b", approver="bob", approved=True, reason="looked at the card")
    answered(made, 200, status)
    if serves == "id-b":
        promote(made.services, run)
    else:
        with pytest.raises(RolloutAborted, match="was taken out"):
            promote(made.services, run)
    assert made.stable() == serves
    assert made.services.routing.read(made.model).canary is None


def test_after_a_lapse_the_promotion_waits_for_a_look_that_judges(approved: Any) -> None:
    made, run = approved
    answered(made, 100, "ok")
    keep(made.services, run)
    answer_approval(made.services, made.model, "night-b", approver="bob", approved=True, reason="looked at the card")
    made.clock.moment += timedelta(days=2)
    with pytest.raises(DeploymentHeld, match="the next look judges it"):
        promote(made.services, run)
    answered(made, 100, "ok")
    promote(made.services, run)
    assert made.stable() == "id-b"


@pytest.mark.parametrize("kept", [False, True])
def test_one_that_nobody_judged_while_it_waited_is_judged_before_its_promotion(approved: Any, kept: bool) -> None:
    """No tick came while its lease ran out, or one that only brought the weight back."""
    made, run = approved
    answer_approval(made.services, made.model, "night-b", approver="bob", approved=True, reason="looked at the card")
    made.clock.moment += timedelta(days=2)
    if kept:
        assert keep(made.services, run).analysis is None
    else:
        with pytest.raises(DeploymentHeld, match="the next look judges it"):
            promote(made.services, run)
    answered(made, 200, "fallback")
    with pytest.raises(RolloutAborted, match="was taken out"):
        promote(made.services, run)
    assert made.stable() == "id-a"
