"""Where a reader goes next: MLflow, reports, Airflow's own pages, Grafana, the runbook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gauntlet.core.errors import MissingRecord
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Record
from gauntlet.core.records.data import ContractReport
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.run import airflow_run_id
from gauntlet.core.spec import ModelSpec

CONTRACT, DRIFT = "contract", "drift"
RETRAIN, CANARY = "retrain", "canary"


class Link(Record):
    """A name and an address. A relative address is relative to the page."""

    label: str
    href: str


@dataclass(frozen=True)
class Places:
    """What a browser can reach, and where the repository's documents are."""

    mlflow: str
    grafana: str | None
    documents: Path


NOWHERE = Places(mlflow="", grafana=None, documents=Path())
"""For readers without a browser."""


def quoted(text: str) -> str:
    """A path segment: Airflow's run ids have colons and pluses."""
    return quote(text, safe="")


def mlflow_run(places: Places, run_id: str | None) -> tuple[Link, ...]:
    """The run in MLflow; nothing when there is none yet."""
    return (Link(label="MLflow run", href=_run_address(places.mlflow, run_id)),) if run_id else ()


def mlflow_address(services: Services, mlflow: str, model: str, run: str) -> str:
    """The address of the run that trained a run's candidate; empty when none was trained."""
    trained = services.records.find(f"{model}/{run}", TrainedModel)
    return _run_address(mlflow, trained.mlflow_run_id) if trained else ""


def _run_address(mlflow: str, run_id: str) -> str:
    return f"{mlflow}/#/runs/{run_id}"


def grafana(places: Places, model: str) -> tuple[Link, ...]:
    """The dashboard in Grafana, where the installation has one."""
    return (Link(label="Grafana", href=f"{places.grafana}?var-model={quoted(model)}"),) if places.grafana else ()


def dashboard(places: Places, spec: ModelSpec) -> tuple[Link, ...]:
    """The spec's own dashboard, else the one in Grafana."""
    own = spec.alerts.dashboard
    return (Link(label="Dashboard", href=own),) if own else grafana(places, spec.model)


def runbook_link(services: Services, model: str) -> Link:
    """The runbook of the model's owner: an address, or a document that the page serves."""
    where = services.specs.get(model).owner.runbook
    return Link(label="Runbook", href=where if "://" in where else f"api/models/{quoted(model)}/runbook")


def airflow_run(dag: str, run: str) -> Link:
    """The run in Airflow's own UI."""
    return Link(label="Airflow run", href=f"../dags/{quoted(dag)}/runs/{quoted(airflow_run_id(dag, run))}")


def task_log(dag: str, run: str, task: str) -> Link:
    """A task's log in Airflow's own UI."""
    return Link(label="Task log", href=f"{airflow_run(dag, run).href}/tasks/{quoted(task)}")


def report_link(label: str, model: str, run: str, kind: str) -> Link:
    """A stored report, which the page serves."""
    return Link(label=label, href=f"api/models/{quoted(model)}/runs/{quoted(run)}/reports/{kind}")


def report_page(services: Services, model: str, run: str, kind: str) -> bytes:
    """The HTML of a run's data docs (``contract``) or drift report (``drift``), its digest checked.

    Raises :class:`MissingRecord` when the run has none.
    """
    key = f"{model}/{run}"
    uri, sha256 = _contract_page(services, key) if kind == CONTRACT else _drift_page(services, key)
    if uri is None or sha256 is None:
        raise MissingRecord(f"{key}: no {kind} report; it is written by the task check_{kind}")
    return services.blobs.fetch(uri, sha256).read_bytes()


def _contract_page(services: Services, key: str) -> tuple[str | None, str | None]:
    report = services.records.find(key, ContractReport)
    # The page's file is named after its digest.
    return (report.page_uri, Path(report.page_uri).stem) if report and report.page_uri else (None, None)


def _drift_page(services: Services, key: str) -> tuple[str | None, str | None]:
    report = services.records.find(key, DriftReport)
    return (report.page_uri, report.page_sha256) if report else (None, None)
