"""The shadow, labels that join later, product metrics: what a tick gathers beside the journal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gauntlet.core.errors import RolloutAborted
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import PauseCause, RolloutPhase
from gauntlet.core.specs.rollout import SHADOW

MODEL = "loans"
SHADOWED = {"hold": "2s", "requests": 100}


def blind(x: np.ndarray) -> np.ndarray:
    """The champion's scores in the wrong order: distribution and decisions as before, and no idea who is who."""
    return 0.05 + 0.5 * (1 - x) ** 2


def found(state: Any, metric: str) -> Any:
    return next(verdict for verdict in state.analysis.metrics if verdict.metric == metric)


# ---- the shadow


@pytest.fixture
def shadowed(make_world: Any) -> Any:
    world = make_world(shadow=SHADOWED)
    world.champion()
    world.challenger()
    return world


def test_the_shadow_is_routed_without_weight_and_leads_into_the_ramp(shadowed: Any) -> None:
    shadowed.open()
    state = shadowed.start()
    assert (state.phase, state.step) == (RolloutPhase.SHADOW, SHADOW)
    assert shadowed.routing.canary is not None
    assert shadowed.routing.weight_ppm == 0
    assert shadowed.routing.lease_until is not None
    state = shadowed.look(SHADOW, wait=2, requests=200)
    assert (state.phase, state.step, shadowed.routing.weight_ppm) == (RolloutPhase.STEP, 0, 50_000)
    names = [verdict.metric for verdict in state.analysis.metrics]
    assert names == ["shadow_errors", "score_spread", "score_psi", "score_shift", "decision_rate", "golden"]
    assert state.analysis.requests == 200


def test_a_challenger_that_scores_otherwise_never_answers_anybody(shadowed: Any) -> None:
    shadowed.start()
    with pytest.raises(RolloutAborted, match="taken out in shadow"):
        shadowed.look(SHADOW, wait=2, requests=200, live={"id2": lambda x: np.full(x.size, 0.4)})
    assert all(row.weight_ppm == 0 for row in shadowed.server.applied)
    assert shadowed.state().harmful


def test_requests_that_were_not_scored_by_both_are_no_evidence(shadowed: Any) -> None:
    shadowed.start()
    state = shadowed.look(SHADOW, wait=2, requests=200, paired=False)
    assert not state.step_done(SHADOW)
    assert state.analysis.requests == 0
    state = shadowed.look(SHADOW, wait=3)
    assert state.pause is PauseCause.NO_TRAFFIC
    assert [severity for severity, _ in shadowed.inbox.sent] == ["warning"]
    assert shadowed.look(SHADOW, wait=1, requests=200).phase is RolloutPhase.STEP


def test_shadow_only_ends_with_a_question(make_world: Any) -> None:
    world = make_world(plan="shadow_only", shadow=SHADOWED, steps=[])
    world.champion()
    world.challenger()
    world.start()
    state = world.look(SHADOW, wait=2, requests=200)
    assert (state.phase, state.pause) == (RolloutPhase.PAUSED, PauseCause.MANUAL)
    assert "promote it, or abort" in state.reason
    assert world.close().phase is RolloutPhase.ROLLED_BACK
    assert world.routing.canary is None


# ---- labels


LABELLED = [{"weight": 50, "hold": "2s", "requests": 20, "labels": 100, "max_hold": "1h"}]


def labelled_world(make_world: Any, score: Any = None, **rollout: Any) -> Any:
    world = make_world(**{"steps": LABELLED, "labels": {"maturity": "10s", "within": "1s"}, "lease": "60s", **rollout})
    world.champion()
    world.challenger(**({"score": score} if score else {}))
    world.start()
    return world


def test_a_step_waits_for_its_labels_and_passes_when_they_say_the_same(make_world: Any) -> None:
    world = labelled_world(make_world)
    early = world.look(0, wait=4, requests=600, labels=1.0)
    assert "0 of 100 labels" in early.reason
    assert early.analysis.labels == 0  # Known, and not mature: the same wait for every outcome.
    state = world.look(0, wait=12)
    assert state.step_done(0), state.reason
    assert state.analysis.labels > 100
    assert "of its mature requests have a label" in found(state, "label_ratio").sentence
    assert found(state, "log_loss").outcome is Outcome.PASSED
    assert found(state, "calibration").outcome is Outcome.PASSED


def test_a_loss_that_only_labels_show_is_caught(make_world: Any) -> None:
    world = labelled_world(make_world, score=blind)
    world.look(0, wait=4, requests=1500, labels=1.0)
    with pytest.raises(RolloutAborted, match="log_loss"):
        world.look(0, wait=12)
    passed = {verdict.metric for verdict in world.state().analysis.metrics if verdict.outcome is Outcome.PASSED}
    assert passed >= {"score_spread", "score_psi", "score_shift", "decision_rate", "error_rate"}


def test_outcomes_that_one_arm_does_not_report_are_a_mismatch(make_world: Any) -> None:
    world = labelled_world(make_world)
    world.look(0, wait=4, requests=800, labels=1.0, seen=lambda canary: not canary or bool(world.rng.random() < 0.5))
    with pytest.raises(RolloutAborted, match="label_ratio"):
        world.look(0, wait=12)


def test_an_outcome_that_comes_after_its_time_does_not_count(make_world: Any) -> None:
    world = labelled_world(make_world)
    world.look(0, wait=4, requests=600, labels=11.0)
    state = world.look(0, wait=12)
    assert state.analysis.labels == 0
    assert not state.step_done(0)


def test_a_source_that_cannot_be_asked_is_said_and_never_passes(make_world: Any) -> None:
    world = labelled_world(make_world)
    world.source.refuses = "loans: no column 'y'"
    world.look(0, wait=4, requests=600, labels=1.0)
    state = world.look(0, wait=12)
    assert not state.step_done(0)
    assert "no column 'y'" in found(state, "label_ratio").sentence


# ---- product metrics


def clicked(columns: Any) -> Any:
    """A user's function: the champion's arm clicks more."""
    return np.where(columns["arm"] == "canary", 0.0, 1.0)


def raises(columns: Any) -> Any:
    raise KeyError("basket")


def steady(columns: Any) -> Any:
    return np.ones(len(columns["arm"]))


HERE = "tests.stages.rollout.test_shadow_and_evidence"


def with_metric(make_world: Any, metric: dict[str, Any], **rollout: Any) -> Any:
    world = make_world(metrics={"clicks": {"margin": 0.05, "bounds": [0, 1], **metric}}, **rollout)
    world.champion()
    world.challenger()
    world.start()
    return world


def test_a_users_function_is_judged_with_its_margin(make_world: Any) -> None:
    world = with_metric(make_world, {"function": f"{HERE}:clicked", "critical": True})
    with pytest.raises(RolloutAborted, match="clicks: 0 against 1"):
        world.look(0, wait=1, requests=2000)


def test_a_users_function_that_raises_never_passes_and_ends_nothing(make_world: Any) -> None:
    world = with_metric(make_world, {"function": f"{HERE}:raises"})
    state = world.look(0, wait=3, requests=2000)
    assert not state.step_done(0)
    assert found(state, "clicks").outcome is Outcome.ERROR
    assert "KeyError: 'basket'" in found(state, "clicks").sentence


@pytest.mark.parametrize("kind", ["function", "sql"])
def test_the_same_product_metric_passes(make_world: Any, kind: str) -> None:
    said = (
        f"{HERE}:steady" if kind == "function" else 'SELECT request_id, 1.0 AS value FROM requests WHERE "at" >= :since'
    )
    world = with_metric(make_world, {kind: said})
    state = world.look(0, wait=2, requests=2000)
    assert state.step_done(0), state.reason
    assert found(state, "clicks").canary == pytest.approx(1.0)
    for step in (1, 2):
        state = world.look(step, wait=2, requests=300)
        assert state.step_done(step), state.reason


def test_profit_of_both_decisions_on_the_same_loans(make_world: Any) -> None:
    """The blind challenger lends to those who default; its margin is given up on every loan."""
    metric = {"profit": {"gain": 0.2, "loss": "amount"}, "margin": 1.0, "bounds": None}
    world = labelled_world(make_world, score=blind, metrics={"profit": metric}, checks={"log_loss_increase": 9.0})
    world.look(0, wait=4, requests=1500, labels=1.0)
    with pytest.raises(RolloutAborted, match=r"profit: .* requests of both"):
        world.look(0, wait=12)
