"""A ramp step looks, waits without a worker, and ends when the rollout has moved on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gauntlet import pipeline
from gauntlet.core.errors import RolloutAborted
from gauntlet.core.records.rollout import RolloutPhase, RolloutState, ServedVersion
from gauntlet.core.records.run import RunContext, TriggerKind

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
VERSION = ServedVersion(version=2, version_id="v_2", release_uri="/releases/2", release_digest="2" * 64)
RUN = RunContext(
    model="m",
    run="asset_triggered__1",
    as_of=NOW,
    kind=TriggerKind.CHALLENGER,
    reason="registered",
    requested_by="airflow",
    force_retrain=False,
    spec_digest="0" * 64,
    opened_at=NOW,
)


def state(step: int, phase: RolloutPhase = RolloutPhase.STEP) -> RolloutState:
    return RolloutState(
        rollout="m-1",
        model="m",
        run=RUN.key,
        phase=phase,
        step=step,
        weight_ppm=10_000,
        candidate=VERSION,
        stable=VERSION,
        reason="looking",
        started_at=NOW,
        step_started_at=NOW,
        updated_at=NOW,
    )


def ramp(step: int):
    from gauntlet.orchestration.ramp import RampStep

    return RampStep(task_id="step", run_context=RUN, step=step, tick=timedelta(seconds=30))


def answers(monkeypatch: pytest.MonkeyPatch, *states: RolloutState) -> list[int]:
    looked: list[int] = []
    left = list(states)

    def tick(run: RunContext, step: int) -> RolloutState:
        assert run == RUN
        looked.append(step)
        return left.pop(0)

    monkeypatch.setattr(pipeline, "tick", tick)
    return looked


def test_a_step_that_holds_is_deferred_to_the_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    looked = answers(monkeypatch, state(1))
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as deferred:
        ramp(1).execute({})
    assert looked == [1]
    assert deferred.value.method_name == "look"
    wait = datetime.fromisoformat(deferred.value.trigger.moment) - before
    assert timedelta(seconds=29) < wait < timedelta(seconds=31)


@pytest.mark.parametrize("after", [state(2), state(1, RolloutPhase.BAKE), state(1, RolloutPhase.PROMOTED)])
def test_a_step_ends_when_the_rollout_has_moved_on(monkeypatch: pytest.MonkeyPatch, after: RolloutState) -> None:
    answers(monkeypatch, after)
    assert ramp(1).look({}, event="moment")["step"] == after.step


def test_a_paused_rollout_keeps_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    answers(monkeypatch, state(1, RolloutPhase.PAUSED))
    with pytest.raises(TaskDeferred):
        ramp(1).look({})


def test_an_abort_fails_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def tick(run: RunContext, step: int) -> RolloutState:
        raise RolloutAborted("error rate 9 % against 1 %")

    monkeypatch.setattr(pipeline, "tick", tick)
    with pytest.raises(RolloutAborted, match="error rate"):
        ramp(1).execute({})
