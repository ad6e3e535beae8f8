"""Set threshold, by hand: the champion's trees with a threshold from the approved band; no gate is left out."""

from airflow.sdk import chain

from gauntlet.orchestration import assets, derivation, tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("set_threshold"):
    with model_dag(spec, "set_threshold", __doc__, schedule=None, params=derivation.threshold_form(spec)) as dag:
        run = tasks.open_run(spec.model)
        registered = tasks.register_challenger(run)
        chain(
            derivation.order_derivation(run),
            tasks.pull_data(run),
            tasks.check_contract(run),
            tasks.split_data(run),
            tasks.check_leakage(run),
            tasks.derive(run),
            [tasks.evaluate(run), tasks.probe(run)],
            derivation.all_gates(spec, run),
            registered,
            tasks.announce(assets.challenger_registered(spec))(registered),
        )

    globals()[dag.dag_id] = dag
