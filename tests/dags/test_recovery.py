"""The DAGs that go back, run by Airflow's own engine from their real files."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.dags.shipped import MODEL, dag
from tests.orchestration.test_ramp import RUN
from tests.orchestration.test_recovery import PROMOTED

from gauntlet import pipeline
from gauntlet.core.errors import DeploymentHeld, DrillFailed, RollbackRefused

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("airflow_database"),
]


def play(kind: str, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> tuple[str, dict[str, str], str]:
    """The run's state, its tasks' states, and its id."""
    done = dag(kind, monkeypatch).test(logical_date=None, **arguments)
    return str(done.state), {ti.task_id: str(ti.state) for ti in done.get_task_instances()}, done.run_id


def test_a_rollback_from_the_ui_takes_reason_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def rollback(model: str, **more: str) -> Any:
        asked.append({"model": model, **more})
        return SimpleNamespace(sentence="version 1 serves again")

    monkeypatch.setattr(pipeline, "rollback", rollback)
    state, _, run = play("rollback", monkeypatch, run_conf={"reason": "scores collapsed"})
    assert state == "success"
    (order,) = asked
    assert (order["model"], order["reason"], order["request"]) == (MODEL, "scores collapsed", run)
    assert order["actor"]


def test_without_a_reason_nothing_is_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    monkeypatch.setattr(pipeline, "rollback", lambda *_, **__: pytest.fail("it was asked for"))
    with pytest.raises(ParamValidationError):
        play("rollback", monkeypatch)


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [("rollback", "rollback", RollbackRefused), ("rollback_drill", "drill", DrillFailed)],
)
def test_what_is_refused_is_red_at_the_first_try(monkeypatch: pytest.MonkeyPatch, kind, name, error) -> None:
    tries: list[str] = []

    def refuse(model: str, **_: str) -> Any:
        tries.append(model)
        raise error(f"{model}: nothing to return to")

    monkeypatch.setattr(pipeline, name, refuse)
    conf = {"run_conf": {"reason": "scores collapsed"}} if kind == "rollback" else {}
    state, tasks, _ = play(kind, monkeypatch, **conf)
    assert (state, tasks[name], tries) == ("failed", "failed", [MODEL])


def test_a_drill_is_scheduled_and_asked_for_by_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def drill(model: str, *, request: str) -> Any:
        asked.append(request)
        return SimpleNamespace(reason="back in 0.1 s")

    monkeypatch.setattr(pipeline, "drill", drill)
    state, _, run = play("rollback_drill", monkeypatch)
    assert (state, asked) == ("success", [run])
    assert dag("rollback_drill", monkeypatch).timetable.expression == "0 5 * * 1"
    assert dag("reconcile", monkeypatch).timetable.expression == "*/15 * * * *"


def test_a_promotion_that_must_wait_is_deferred_and_then_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the triggerer's own code: deferred, resumed by the trigger, promoted; the run is green."""
    answers: list[Any] = [DeploymentHeld("no deployments on Fridays"), PROMOTED]
    kept: list[str] = []

    def promote(run: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(pipeline, "promote", promote)
    monkeypatch.setattr(pipeline, "keep", lambda run: kept.append(run.run))
    monkeypatch.setattr(pipeline, "open_run", lambda *_, **__: RUN)
    canary = dag("canary", monkeypatch)
    monkeypatch.setattr(canary.get_task("promote"), "tick", timedelta(seconds=0.2))
    done = canary.test(logical_date=None, mark_success_pattern=r"(?!open_run$|promote$).*")
    states = {ti.task_id: str(ti.state) for ti in done.get_task_instances()}
    assert states["promote"] == "success"
    assert (kept, answers) == ([RUN.run], [])
