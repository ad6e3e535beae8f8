"""Retrain: every night, when the drift check asks for it, or by hand from the UI; no way in skips a gate."""

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, chain, task_group

from gauntlet.orchestration import assets, notify, tasks
from gauntlet.orchestration.dag import model_dag, specs

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
        trained = tasks.train(run)

        @task_group
        def gates(spec=spec, run=run):
            """One task per gate; all run, whatever the others say. A person is asked last, of what is good so far."""
            gates = {gate: tasks.run_gate.override(task_id=gate)(run, gate) for gate in spec.gates.names}
            if approval := gates.pop("approval", None):
                list(gates.values()) >> tasks.ask_approval(spec, run) >> approval

        registered = tasks.register_challenger(run)
        chain(
            tasks.consult_drift(run),
            decision,
            tasks.retrain_wanted(decision),
            tasks.pull_data(run),
            tasks.check_contract(run),
            tasks.split_data(run),
            tasks.check_leakage(run),
            trained,
            [tasks.evaluate(run), tasks.probe(run)],
            gates(),
            registered,
            tasks.announce(assets.challenger_registered(spec))(registered),
        )

    globals()[dag.dag_id] = dag
