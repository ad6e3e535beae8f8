"""The buttons on a gate's task in Airflow."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]
KEY = SimpleNamespace(
    dag_id="credit_default__retrain", task_id="gates.latency", run_id="manual__2026-03-01T02:00:00+00:00"
)


def test_the_receipt_is_on_the_page_at_this_run_and_gate() -> None:
    from gauntlet.orchestration.links import ReceiptLink

    address = urlsplit(ReceiptLink().get_link(None, ti_key=KEY))
    asked = parse_qs(address.query)
    assert address.path == "/plugin/gauntlet/gauntlet/"
    assert asked == {"dag": [KEY.dag_id], "run": [KEY.run_id]}
    assert address.fragment == "gate=latency"


@pytest.mark.parametrize("trained", [True, False])
def test_the_mlflow_run_is_that_of_the_candidate(monkeypatch, trained: bool) -> None:
    from gauntlet.orchestration.links import MlflowRunLink

    asked = []

    def find(key: str, kind: type) -> object:
        asked.append((key, kind.__name__))
        return SimpleNamespace(mlflow_run_id="abc") if trained else None

    services = SimpleNamespace(records=SimpleNamespace(find=find))
    monkeypatch.setattr("gauntlet.bootstrap.services", lambda: services)
    monkeypatch.setenv("GAUNTLET_MLFLOW_PUBLIC_URL", "https://mlflow.example/")
    from gauntlet.settings import settings

    settings.cache_clear()
    try:
        link = MlflowRunLink().get_link(None, ti_key=KEY)
    finally:
        settings.cache_clear()
    assert link == ("https://mlflow.example/#/runs/abc" if trained else "")
    assert asked == [(f"credit_default/{KEY.run_id}", "TrainedModel")]


def test_a_gate_is_serialised_with_its_buttons(airflow_database, monkeypatch, tmp_path) -> None:
    from airflow.sdk import DAG

    from gauntlet.orchestration import tasks

    with DAG("m__retrain", schedule=None) as dag:
        tasks.run_gate.override(task_id="latency")({}, "latency")
    from airflow.serialization.serialized_objects import DagSerialization

    [task] = DagSerialization.to_dict(dag)["dag"]["tasks"]
    links = task["__var"]["_operator_extra_links"]
    assert links == {"Receipt": "gauntlet_receipt", "MLflow run": "gauntlet_mlflow_run"}
