"""Recalibrate, from the Airflow UI: the champion's trees, a calibration fitted on fresh data; no gate is left out."""

from gauntlet.orchestration import derivation, tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("recalibrate"):
    with model_dag(spec, "recalibrate", __doc__, schedule=None, params=derivation.RECALIBRATE_FORM) as dag:
        derivation.derive_version(spec, tasks.open_run(spec.model))

    globals()[dag.dag_id] = dag
