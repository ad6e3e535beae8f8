"""Buttons on tasks in Airflow's UI: a gate's receipt and its run in MLflow, and the page of a drift check."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.configuration import conf
from airflow.providers.standard.decorators.python import _PythonDecoratedOperator
from airflow.sdk import BaseOperatorLink

from gauntlet.core.records.run import run_name


class ReceiptLink(BaseOperatorLink):
    """The gate's row on the page, unfolded."""

    name = "Receipt"
    xcom_key = "gauntlet_receipt"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Airflow's address of the page, opened at this run and gate."""
        gate = ti_key.task_id.rpartition(".")[2]
        base = conf.get("api", "base_url", fallback="/").rstrip("/")
        return f"{base}/plugin/gauntlet/gauntlet/?dag={ti_key.dag_id}&run={quote(ti_key.run_id, safe='')}#gate={gate}"


class MlflowRunLink(BaseOperatorLink):
    """The run that trained the candidate."""

    name = "MLflow run"
    xcom_key = "gauntlet_mlflow_run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """MLflow's address of the run; empty when nothing has been trained."""
        from gauntlet import views
        from gauntlet.bootstrap import services
        from gauntlet.settings import settings

        model = ti_key.dag_id.rpartition("__")[0]
        return views.mlflow_address(services(), settings().mlflow_link, model, run_name(ti_key.dag_id, ti_key.run_id))


class DriftReportLink(BaseOperatorLink):
    """The page of a drift check."""

    name = "Drift report"
    xcom_key = "gauntlet_drift_report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """The address from which the plugin serves the stored page."""
        model = ti_key.dag_id.rpartition("__")[0]
        base = conf.get("api", "base_url", fallback="/").rstrip("/")
        run = run_name(ti_key.dag_id, ti_key.run_id)
        return f"{base}/gauntlet/api/models/{quote(model)}/runs/{quote(run, safe='')}/reports/drift"


class DriftTask(_PythonDecoratedOperator):
    """A task that checks for drift."""

    custom_operator_name = "@drift"
    operator_extra_links = (DriftReportLink(),)


class GateTask(_PythonDecoratedOperator):
    """A task that asks one gate."""

    custom_operator_name = "@gate"
    operator_extra_links = (ReceiptLink(), MlflowRunLink())
