"""A person's word to a rollout as an Airflow task with a typed form."""

from __future__ import annotations

from airflow.sdk import Param, get_current_context, task

from gauntlet import pipeline
from gauntlet.core.records.rollout import CommandKind

FORM = {
    "command": Param(
        type="string",
        enum=[kind.value for kind in CommandKind],
        title="Command",
        description="An abort is carried out at once and beats everything; the rest is carried out by the next tick.",
    ),
    "reason": Param(
        type="string", minLength=3, title="Reason", description="Why. It is recorded, with your name, in the audit log."
    ),
    "until": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Until",
        description="With hold_until: no step passes before. With extend: the longest hold is not over before.",
    ),
    "lasting": Param(
        None,
        type=["null", "string"],
        pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*$",
        title="For",
        description="Instead of a time, how long from now: 2h, 1d.",
    ),
}
"""The typed form of "Trigger DAG": without command and reason nothing is triggered."""


@task
def command(model: str) -> str:
    """Hand the command over. The run is the request: a task that is cleared repeats nothing."""
    context = get_current_context()
    dag_run, said = context["dag_run"], context["params"]
    fact = pipeline.command_rollout(
        model,
        said["command"],
        by=getattr(dag_run, "triggering_user_name", None) or "airflow",
        reason=said["reason"],
        until=said["until"],
        lasting=said["lasting"],
        request=dag_run.run_id,
    )
    told = f"{fact.kind} by {fact.by} for {fact.rollout}: {fact.reason}"
    print(told)  # noqa: T201 - the task log
    return told
