"""Rollback drill: rehearse the way back on the live server, and measure it; nobody meets another version."""

from airflow.sdk import CronTriggerTimetable

from gauntlet.orchestration import recovery
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("rollback_drill"):
    cron = spec.schedule.rollback_drill
    schedule = CronTriggerTimetable(cron, timezone=spec.schedule.timezone) if cron else None

    with model_dag(spec, "rollback_drill", __doc__, schedule=schedule) as dag:
        recovery.drill(spec.model)

    globals()[dag.dag_id] = dag
