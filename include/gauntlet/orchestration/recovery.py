"""Going back, as Airflow tasks: by a person from the UI, by the monitor, and in a drill."""

from __future__ import annotations

from airflow.sdk import Param, get_current_context, task

from gauntlet import pipeline

ROLLBACK_PARAMS = {
    "reason": Param(
        type="string",
        minLength=3,
        title="Reason",
        description="Why the champion must go. It is recorded, and shown where the quarantine is.",
    )
}
"""The typed form of "Trigger DAG": without a reason nothing is triggered."""


@task
def rollback(model: str) -> str:
    """Return to the recorded previous champion. The run is the request: a task that is cleared repeats nothing."""
    context = get_current_context()
    dag_run = context["dag_run"]
    actor = getattr(dag_run, "triggering_user_name", None) or "airflow"
    report = pipeline.rollback(model, reason=context["params"]["reason"], actor=actor, request=dag_run.run_id)
    print(report.sentence)  # noqa: T201 - the task log
    return report.sentence


guard_champion = task(pipeline.guard_champion)


@task
def drill(model: str) -> str:
    """Rehearse a rollback; fails when it would not have gone as it must."""
    report = pipeline.drill(model, request=get_current_context()["dag_run"].run_id)
    print(report.reason)  # noqa: T201 - the task log
    return report.reason
