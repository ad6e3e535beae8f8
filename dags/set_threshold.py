"""Set threshold, from the Airflow UI: the champion's trees, a threshold of the approved band; no gate is left out."""

from gauntlet.orchestration import derivation, tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("set_threshold"):
    with model_dag(spec, "set_threshold", __doc__, schedule=None, params=derivation.threshold_form(spec)) as dag:
        derivation.derive_version(spec, tasks.open_run(spec.model))

    globals()[dag.dag_id] = dag
