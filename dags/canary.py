"""Canary: the challenger meets live traffic step by step and becomes champion, or traffic returns to the champion."""

from airflow.sdk import chain

from gauntlet.orchestration import assets, notify, tasks
from gauntlet.orchestration.dag import model_dag, specs
from gauntlet.orchestration.promotion import Promote
from gauntlet.orchestration.ramp import ramp_of

for spec in specs("canary"):
    with model_dag(
        spec,
        "canary",
        __doc__,
        schedule=[assets.challenger_registered(spec)],
        params=tasks.RUN_PARAMS,
        on_failure_callback=notify.TellOwner(spec.model),
    ) as dag:
        run = tasks.open_run(spec.model)
        rollout = tasks.open_rollout(run).as_setup()
        preflight = tasks.preflight(run)
        ramp = ramp_of(spec, run)
        # A bootstrap has no ramp: its steps are skipped, a failed step still stops the promotion.
        promote = Promote(
            task_id="promote", run_context=run, tick=spec.rollout.tick, trigger_rule="none_failed_min_one_success"
        )
        path = tasks.choose_path(rollout, ramp=ramp[0].task_id, bootstrap="promote")
        chain(rollout, preflight, path, *ramp, promote)
        path >> promote
        promote >> tasks.close_rollout(run).as_teardown(setups=rollout)

    globals()[dag.dag_id] = dag
