"""Rollout command, from the Airflow UI: pause, resume, extend, hold, promote or abort the rollout that is under way."""

from gauntlet.orchestration import rollout_command
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("rollout_command"):
    with model_dag(spec, "rollout_command", __doc__, schedule=None, params=rollout_command.FORM) as dag:
        rollout_command.command(spec.model)

    globals()[dag.dag_id] = dag
