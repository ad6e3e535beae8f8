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


def test_a_look_that_was_overtaken_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    from gauntlet.core.errors import Conflict

    def tick(run: RunContext, step: int) -> RolloutState:
        raise Conflict("the routing has changed from epoch 3 to 4 while this tick looked")

    monkeypatch.setattr(pipeline, "tick", tick)
    with pytest.raises(TaskDeferred):
        ramp(1).execute({})


def test_the_evidence_is_in_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from gauntlet.core.outcome import Outcome
    from gauntlet.core.records.rollout import CanaryAnalysis, MetricVerdict

    verdict = MetricVerdict(
        metric="error_rate",
        outcome=Outcome.PASSED,
        critical=True,
        sentence="error_rate: 0.10 % of 812 canary requests against 0.10 % of 8012",
        stable=0.001,
        canary=0.001,
        limit=0.01,
        stable_n=8012,
        canary_n=812,
    )
    judged = CanaryAnalysis(
        rollout="m-1",
        step=1,
        weight_ppm=10_000,
        outcome=Outcome.PASSED,
        reason="all 1 live metrics are within their limits",
        metrics=(verdict,),
        since=NOW,
        until=NOW,
        requests=812,
        entities=700,
        stable_requests=8012,
        paired=8824,
        labels=3,
    )
    answers(monkeypatch, state(2).model_copy(update={"analysis": judged, "looks": 4}))
    operator = ramp(1)
    lines: list[str] = []
    monkeypatch.setattr(
        type(operator),
        "log",
        property(lambda self: type("Log", (), {"info": staticmethod(lambda *a: lines.append(a[0] % a[1:]))})),
    )
    operator.look({})
    assert lines == [
        "m-1, step: looking",
        "  look 4: 812 requests and 700 entities of the canary, 8012 of the champion, 8824 scored by both, 3 labels",
        f"  passed: {verdict.sentence}",
    ]


def test_every_stage_of_a_plan_is_a_task_and_the_shadow_comes_first() -> None:
    from gauntlet.core.spec import load_spec
    from gauntlet.core.specs.rollout import RolloutSection
    from gauntlet.orchestration.dag import models_folder
    from gauntlet.orchestration.ramp import ramp_of

    spec = load_spec(models_folder() / "credit_default.yaml")
    green = spec.model_copy(update={"rollout": RolloutSection.model_validate({"plan": "blue_green"})})
    assert [(task.task_id, task.step) for task in ramp_of(green, RUN)] == [("shadow", -1), ("step_1_100_percent", 0)]
    assert [task.task_id for task in ramp_of(spec, RUN)][:2] == ["step_1_1_percent", "step_2_5_percent"]
