"""Rollback, with a reason, from the Airflow UI: the champion before returns, the present one is quarantined."""

from gauntlet.orchestration import recovery
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("rollback"):
    with model_dag(spec, "rollback", __doc__, schedule=None, params=recovery.ROLLBACK_PARAMS) as dag:
        recovery.rollback(spec.model)

    globals()[dag.dag_id] = dag
