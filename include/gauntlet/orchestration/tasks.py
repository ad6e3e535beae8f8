"""The pipeline's functions as Airflow tasks. No bodies here: a task is a function of :mod:`gauntlet.pipeline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, get_current_context, task
from airflow.sdk.bases.decorator import task_decorator_factory

from gauntlet import bootstrap, pipeline
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, run_name
from gauntlet.orchestration.events import payload
from gauntlet.orchestration.links import DriftTask, GateTask

if TYPE_CHECKING:
    from gauntlet.core.records.rollout import RolloutState

RUN_PARAMS = {
    "reason": Param("", type="string", title="Reason", description="Why you start this run. Needed when it is you."),
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="As of",
        description="Read data as it was known at this time; empty: the run's own time.",
    ),
    "force_retrain": Param(
        False,
        type="boolean",
        title="Force retrain",
        description="Train even when nothing triggers it. No gate is skipped.",
    ),
}
"""The typed form of "Trigger DAG"."""


def _connection_url(connection_id: str) -> str:
    from gauntlet.orchestration.connections import connection_url

    return connection_url(connection_id)


bootstrap.resolve_connections_with(_connection_url)


@task
def open_run(model: str) -> RunContext:
    """Settle what this run is about from Airflow's own facts."""
    context = get_current_context()
    dag_run = context["dag_run"]
    run = pipeline.open_run(
        model,
        run_name(dag_run.dag_id, dag_run.run_id),
        run_type=str(getattr(dag_run.run_type, "value", dag_run.run_type)),
        logical_date=dag_run.logical_date,
        run_after=dag_run.run_after,
        params=dict(context["params"]),
        requested_by=getattr(dag_run, "triggering_user_name", None) or "airflow",
        dag=dag_run.dag_id,
    )
    print(f"{run.kind}: {run.reason}; data as known at {run.as_of.isoformat()}")  # noqa: T201 - the task log
    return run


@task.short_circuit
def retrain_wanted(decision: TriggerDecision) -> bool:
    """Whether the recorded decision asks for a retrain; everything after is skipped otherwise."""
    print(f"{decision.action}: {decision.reason}")  # noqa: T201 - the task log
    return decision.action is TriggerAction.RETRAIN


@task.branch
def choose_path(state: RolloutState, *, ramp: str, bootstrap: str) -> str:
    """The ramp, or straight to promotion when there is no champion to compare with."""
    return ramp if state.stable is not None else bootstrap


def announce(asset: Any) -> Any:
    """A task that updates an asset: the signal for the next DAG, with what it rests on in the event."""

    @task(task_id="announce", outlets=[asset])
    def signal(fact: Any, report: Any = None) -> str:
        get_current_context()["outlet_events"][asset].extra = payload(fact, report)
        return str(fact.reason)

    return signal


check_drift = task_decorator_factory(pipeline.check_drift, decorated_operator_class=DriftTask)
consult_drift = task(task_id="check_drift")(pipeline.consult_drift)
decide = task(pipeline.decide)
pull_data = task(pipeline.pull_data)
check_contract = task(pipeline.check_contract)
split_data = task(pipeline.split_data)
check_leakage = task(pipeline.check_leakage)
train = task(pipeline.train)
derive = task(pipeline.derive)
evaluate = task(pipeline.evaluate)
probe = task(pipeline.probe)
run_gate = task_decorator_factory(pipeline.run_gate, decorated_operator_class=GateTask)
register_challenger = task(pipeline.register_challenger)
look = task(pipeline.look)
raise_alerts = task(pipeline.raise_alerts)
open_rollout = task(pipeline.open_rollout)
preflight = task(pipeline.preflight)
close_rollout = task(pipeline.close_rollout)


@task
def reconcile(model: str, *, repair: bool) -> str:
    """Registry, routing and servers agree, if need be after repair; fails when they do not."""
    report = pipeline.reconcile(model, repair=repair)
    print(report.reason)  # noqa: T201 - the task log
    if not report.agreed:
        raise InfrastructureError(f"{model}: {report.reason}")
    return report.reason


@task
def tidy(model: str) -> str:
    """Nothing is left half done; fails when something could not be settled."""
    report = pipeline.tidy(model)
    print(report.reason)  # noqa: T201 - the task log
    if report.left:
        raise InfrastructureError(f"{model}: {report.reason}")
    return report.reason


@task
def compact_journal(model: str) -> str:
    """Journal segments that have ended become partitioned Parquet; each is deleted once that has been read back."""
    return pipeline.compact_journal(model).reason


@task
def audit_slices(model: str) -> str:
    """Where it is due: how every slice of those who were served fares; the monitor raises what was found."""
    audit = pipeline.audit_slices(model)
    told = audit.reason if audit else "nobody is served yet, or the spec wants no slice audit"
    print(told)  # noqa: T201 - the task log
    return told


@task
def sum_up_rollout(model: str) -> str:
    """What the other version would have said in the newest rollout, as far as labels are known by now."""
    told = pipeline.sum_up_rollout(model)
    print(told)  # noqa: T201 - the task log
    return told


@task
def batch_score(run: RunContext) -> str:
    """The files that the spec names, scored by the champion, the challenger's scores beside it."""
    scores = pipeline.batch_score(run)
    print("\n".join([scores.reason, *(one.target for one in scores.files)]))  # noqa: T201 - the task log
    return scores.reason


@task
def apply_retention(model: str) -> str:
    """What nothing needs is gone; what could not be deleted is named, and tried again tomorrow."""
    report = pipeline.apply_retention(model)
    print("\n".join([report.reason, *report.refused]))  # noqa: T201 - the task log
    return report.reason


@task
def check_audit() -> str:
    """The audit log is what was written; fails otherwise."""
    pipeline.check_audit()
    return "unbroken"
