"""Monitor: look at the service, the inputs, the model, the product and the business; tell people what is new."""

from airflow.sdk import CronTriggerTimetable

from gauntlet.core.records.monitoring import Layer
from gauntlet.orchestration import recovery, tasks
from gauntlet.orchestration.dag import model_dag, specs

for spec in specs("monitor"):
    cron = spec.monitoring.cron
    schedule = CronTriggerTimetable(cron, timezone=spec.schedule.timezone) if cron else None

    with model_dag(spec, "monitor", __doc__, schedule=schedule, params=tasks.RUN_PARAMS) as dag:
        run = tasks.open_run(spec.model)
        layers = [tasks.look.override(task_id=layer.value)(run, layer.value) for layer in Layer]
        # A red layer is what the alerts are about: they are raised whatever the layers say.
        layers >> recovery.guard_champion.override(trigger_rule="all_done")(run)
        layers >> tasks.raise_alerts.override(trigger_rule="all_done")(run)

    globals()[dag.dag_id] = dag
