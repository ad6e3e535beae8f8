"""Who hears of a run that failed or is late, by Airflow's own engine and its own deadline."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.dags.shipped import MODEL, ROOT, dag

from gauntlet import pipeline
from gauntlet.core.errors import GateFailed
from gauntlet.core.spec import load_spec

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("airflow_database"),
]

NIGHT = datetime(2026, 3, 2, 2, tzinfo=UTC)
Told = list[tuple[str, str, str, dict[str, Any]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    found: Told = []
    monkeypatch.setattr(
        pipeline, "tell", lambda model, subject, body, **more: found.append((model, subject, body, more))
    )
    return found


@pytest.mark.parametrize("kind", ["retrain", "canary"])
def test_a_failed_run_is_told_once_with_the_log_of_the_task_that_failed(kind: str, told: Told, monkeypatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise GateFailed("roc_auc 0.61 < 0.70")

    monkeypatch.setattr(pipeline, "open_run", refuse)
    conf = {"reason": "because I said so"}
    done = dag(kind, monkeypatch).test(logical_date=None, run_conf=conf)
    assert str(done.state) == "failed"
    ((model, subject, body, more),) = told
    assert (model, subject) == (MODEL, f"{MODEL}__{kind} failed at open_run")
    assert f"/dags/{MODEL}__{kind}/runs/" in body
    assert "/tasks/open_run" in body
    assert more == {"severity": "warning", "about": {"dag": f"{MODEL}__{kind}", "run": done.run_id, "kind": "failed"}}


def test_a_nightly_that_misses_its_deadline_is_told(told: Told, monkeypatch) -> None:
    """From the run that Airflow queues: its deadline in the database, and the trigger that missing it starts."""
    from airflow.models.deadline import Deadline
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.trigger import Trigger
    from airflow.triggers.callback import CallbackTrigger
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    def refuse(*_: Any, **__: Any) -> Any:
        raise GateFailed("no")

    monkeypatch.setattr(pipeline, "open_run", refuse)
    # Playing it once brings the DAG into Airflow's database, as its DAG processor would.
    dag("retrain", monkeypatch).test(logical_date=None, run_conf={"reason": "because I said so"})
    told.clear()
    with create_session() as session:
        known = SerializedDagModel.get(f"{MODEL}__retrain", session=session)
        run = known.dag.create_dagrun(
            run_id="manual__late",
            run_after=NIGHT,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.QUEUED,
            session=session,
        )
        session.flush()
        (missed,) = session.scalars(select(Deadline).where(Deadline.dagrun_id == run.id)).all()
        within = load_spec(ROOT / "include" / "models" / f"{MODEL}.yaml").schedule.deadline
        assert missed.deadline_time - run.queued_at == within
        missed.handle_miss(session)
        trigger = session.get(Trigger, missed.callback.trigger.id)
        events = asyncio.run(_all(CallbackTrigger(**trigger.kwargs)))
        session.rollback()
    assert [str(getattr(event.payload["state"], "value", event.payload["state"])) for event in events] == [
        "running",
        "success",
    ]
    ((model, subject, body, more),) = told
    assert (model, subject) == (MODEL, f"{MODEL}__retrain is late: not done 6h after it was queued")
    assert f"/dags/{MODEL}__retrain/runs/manual__late" in body
    assert more == {
        "severity": "warning",
        "about": {"dag": f"{MODEL}__retrain", "run": "manual__late", "kind": "late"},
    }


async def _all(trigger: Any) -> list[Any]:
    return [event async for event in trigger.run()]


def test_without_a_time_there_is_no_deadline() -> None:
    from gauntlet.orchestration.notify import deadline

    spec = load_spec(ROOT / "include" / "models" / f"{MODEL}.yaml")
    never = spec.model_copy(update={"schedule": spec.schedule.model_copy(update={"deadline": None})})
    assert deadline(never) is None
