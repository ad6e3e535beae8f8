"""Rollback, drill and reconciliation as tasks; and a promotion that waits out a freeze."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.orchestration.test_ramp import RUN, VERSION

from gauntlet import pipeline
from gauntlet.core.errors import DeploymentHeld, InfrastructureError, RolloutAborted
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.ledger import PromotionRecord, ReconcileReport

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

NOW = datetime(2026, 3, 6, 9, tzinfo=UTC)
PROMOTED = PromotionRecord(
    model="m",
    run=RUN.run,
    rollout="m-1",
    candidate=VERSION,
    replaced=None,
    champion_epoch=1,
    routing_epoch=4,
    reason="all steps passed",
    actor="airflow",
    opened_at=NOW,
    promoted_at=NOW,
    seconds=0.1,
)


@pytest.fixture
def recovery(monkeypatch: pytest.MonkeyPatch) -> Any:
    from gauntlet.orchestration import recovery as module

    run = SimpleNamespace(run_id="manual__7", triggering_user_name="ann")
    context = {"dag_run": run, "params": {"reason": "complaints"}}
    monkeypatch.setattr(module, "get_current_context", lambda: context)
    return SimpleNamespace(module=module, run=run)


def test_a_rollback_says_who_why_and_for_which_run(recovery, monkeypatch) -> None:
    asked: list[dict[str, str]] = []

    def rollback(model: str, **more: str) -> Any:
        asked.append({"model": model, **more})
        return SimpleNamespace(sentence="v1 serves again")

    monkeypatch.setattr(pipeline, "rollback", rollback)
    for _ in range(2):  # cleared and run again: the same request
        assert recovery.module.rollback.function("m") == "v1 serves again"
    assert asked == [{"model": "m", "reason": "complaints", "actor": "ann", "request": "manual__7"}] * 2
    recovery.run.triggering_user_name = None
    recovery.module.rollback.function("m")
    assert asked[-1]["actor"] == "airflow"


def test_a_rollback_from_the_ui_needs_a_reason(recovery) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    reason = recovery.module.ROLLBACK_PARAMS["reason"]
    with pytest.raises(ParamValidationError):
        reason.resolve()
    for bad in ("", "no", None):
        with pytest.raises(ParamValidationError):
            deepcopy(reason).resolve(bad)
    assert deepcopy(reason).resolve("complaints") == "complaints"


def test_a_drill_is_asked_for_by_its_run(recovery, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "drill", lambda model, request: SimpleNamespace(reason=f"{model} {request}"))
    assert recovery.module.drill.function("m") == "m manual__7"


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.ERROR])
def test_a_difference_that_stays_makes_the_task_red(monkeypatch, outcome) -> None:
    from gauntlet.orchestration import tasks

    report = ReconcileReport(
        model="m", outcome=outcome, reason="v1, not v2", differences=(), unreachable=(), resumed=None, at=NOW
    )
    monkeypatch.setattr(pipeline, "reconcile", lambda model, repair: report)
    with pytest.raises(InfrastructureError, match="v1, not v2"):
        tasks.reconcile.function("m", repair=True)
    monkeypatch.setattr(
        pipeline, "reconcile", lambda model, repair: report.model_copy(update={"outcome": Outcome.PASSED})
    )
    assert tasks.reconcile.function("m", repair=True) == "v1, not v2"


# ---- a promotion in a freeze -----------------------------------------------------------------------


def task() -> Any:
    from gauntlet.orchestration.promotion import Promote

    return Promote(task_id="promote", run_context=RUN, tick=timedelta(seconds=30))


def test_a_promotion_waits_without_a_worker_and_keeps_the_canary(monkeypatch) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    kept: list[str] = []
    answers: list[Any] = [DeploymentHeld("m: no deployments on Fridays"), DeploymentHeld("m: still"), PROMOTED]

    def promote(run) -> PromotionRecord:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(pipeline, "promote", promote)
    monkeypatch.setattr(pipeline, "keep", lambda run: kept.append(run.run))
    operator = task()
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as first:
        operator.execute({})
    assert first.value.method_name == "attempt"
    moment = datetime.fromisoformat(first.value.trigger.moment)
    assert timedelta(seconds=29) < moment - before < timedelta(seconds=40)
    with pytest.raises(TaskDeferred):
        operator.attempt({}, event=first.value.trigger.moment)
    assert operator.attempt({})["candidate"]["version_id"] == "v_2"
    assert kept == [RUN.run] * 2


def test_a_rollout_that_ends_while_it_waits_fails_the_task(monkeypatch) -> None:
    def held(run) -> None:
        raise DeploymentHeld("m: frozen")

    def ended(run) -> None:
        raise RolloutAborted("aborted by ann")

    monkeypatch.setattr(pipeline, "promote", held)
    monkeypatch.setattr(pipeline, "keep", ended)
    with pytest.raises(RolloutAborted, match="aborted by ann"):
        task().execute({})
