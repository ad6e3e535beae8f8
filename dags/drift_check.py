"""Drift check: compare the newest window with the champion's profile; ask for a retrain when it matters."""

from airflow.sdk import CronTriggerTimetable, chain

from gauntlet.orchestration import assets, tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("drift_check"):
    cron = spec.schedule.drift_check
    schedule = CronTriggerTimetable(cron, timezone=spec.schedule.timezone) if cron else None

    with model_dag(spec, "drift_check", __doc__, schedule=schedule, params=tasks.RUN_PARAMS) as dag:
        run = tasks.open_run(spec.model)
        report = tasks.check_drift(run)
        decision = tasks.decide(run)
        announced = tasks.announce(assets.retrain_wanted(spec))(decision, report)
        chain(report, decision, tasks.retrain_wanted(decision), announced)

    globals()[dag.dag_id] = dag
