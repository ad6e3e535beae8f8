"""Housekeeping: every day, bring registry and servers in line, settle what was left, delete what nothing needs."""

from airflow.sdk import CronTriggerTimetable

from gauntlet.orchestration import tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("housekeeping"):
    cron = spec.schedule.housekeeping
    schedule = CronTriggerTimetable(cron, timezone=spec.schedule.timezone) if cron else None

    with model_dag(spec, "housekeeping", __doc__, schedule=schedule) as dag:
        settled = tasks.reconcile(spec.model, repair=True)
        tidied = tasks.tidy(spec.model)
        settled >> tidied >> tasks.apply_retention(spec.model)
        tasks.compact_journal(spec.model)
        tasks.audit_slices(spec.model)
        tasks.sum_up_rollout(spec.model)
        tasks.check_audit()

    globals()[dag.dag_id] = dag
