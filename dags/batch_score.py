"""Batch score: every night, the files that the spec names, by the champion, with the challenger's scores beside."""

from airflow.sdk import CronTriggerTimetable

from gauntlet.orchestration import tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("batch_score"):
    if (batch := spec.batch_score) is None:
        continue
    schedule = CronTriggerTimetable(batch.cron, timezone=spec.schedule.timezone) if batch.cron else None

    with model_dag(spec, "batch_score", __doc__, schedule=schedule, params=tasks.RUN_PARAMS) as dag:
        tasks.batch_score(tasks.open_run(spec.model))

    globals()[dag.dag_id] = dag
