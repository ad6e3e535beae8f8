"""Retrain: every night, when the drift check asks for it, or by hand from the UI; no way in skips a gate."""

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, chain

from gauntlet.orchestration import assets, notify, tasks
from gauntlet.orchestration.dag import model_dag, specs
from gauntlet.orchestration.gates import gates

for spec in specs("retrain"):
    cron = spec.schedule.nightly
    drift = [assets.retrain_wanted(spec)]
    schedule = (
        AssetOrTimeSchedule(timetable=CronTriggerTimetable(cron, timezone=spec.schedule.timezone), assets=drift)
        if cron
        else drift
    )

    with model_dag(
        spec,
        "retrain",
        __doc__,
        schedule=schedule,
        params=tasks.RUN_PARAMS,
        on_failure_callback=notify.TellOwner(spec.model),
        deadline=notify.deadline(spec),
    ) as dag:
        run = tasks.open_run(spec.model)
        decision = tasks.decide(run)
        registered = tasks.register_challenger(run)
        chain(
            tasks.consult_drift(run),
            decision,
            tasks.retrain_wanted(decision),
            tasks.pull_data(run),
            tasks.check_contract(run),
            tasks.split_data(run),
            tasks.check_leakage(run),
            tasks.train(run),
            [tasks.evaluate(run), tasks.probe(run)],
            gates(spec, run),
            registered,
            tasks.announce(assets.challenger_registered(spec))(registered),
        )

    globals()[dag.dag_id] = dag
