"""Reconcile: compare registry aliases, routing and every server process; alert on a difference and repair it."""

from airflow.sdk import CronTriggerTimetable

from gauntlet.orchestration import tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("reconcile"):
    cron = spec.schedule.reconcile
    schedule = CronTriggerTimetable(cron, timezone=spec.schedule.timezone) if cron else None

    with model_dag(spec, "reconcile", __doc__, schedule=schedule) as dag:
        tasks.reconcile.override(task_id="agree")(spec.model, repair=True)

    globals()[dag.dag_id] = dag
