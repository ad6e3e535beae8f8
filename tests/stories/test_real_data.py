"""The same pipeline on two real data sets, from their YAML only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.stories.nightly import retrain

from gauntlet.bootstrap import build
from gauntlet.core.records.data import ContractReport, DatasetRef
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.gates import GateReceipt
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.settings import Settings
from gauntlet.stages.open_run import open_run

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, example_data: Path):
    assert example_data.is_dir()
    home = tmp_path_factory.mktemp("real")
    return build(
        Settings(
            home=home,
            models=ROOT / "examples",
            mlflow_url=f"sqlite:///{home}/mlflow.db",
            database_url=None,
            blobs_url=None,
            server_token=None,
        )
    )


@pytest.mark.parametrize(
    ("model", "as_of", "rows", "metric"),
    [
        ("adult_income", datetime(2026, 3, 1, tzinfo=UTC), 48_842, "roc_auc"),
        ("bike_demand", datetime(2012, 9, 1, tzinfo=UTC), None, "rmse"),
    ],
)
def test_a_yaml_is_enough(services, model: str, as_of: datetime, rows: int | None, metric: str) -> None:
    run = open_run(
        services,
        model,
        "first",
        run_type="manual",
        logical_date=None,
        run_after=as_of,
        params={"reason": "first model on real data"},
        requested_by="test",
    )
    assert retrain(services, run) == []
    dataset = services.records.get(run.key, DatasetRef)
    assert rows is None or dataset.rows == rows
    assert dataset.last_event is None or dataset.last_event <= as_of
    assert services.records.get(run.key, ContractReport).outcome.satisfied
    receipts = services.records.named(run.key, GateReceipt)
    assert set(receipts) == set(services.specs.get(model).gates.names)
    judged = receipts["absolute_performance"].verdict.measurements
    assert metric in {measurement.metric for measurement in judged}
    assert services.records.get(run.key, EvaluationRef).rows > 1000
    assert services.records.get(run.key, RegisteredVersion).version == 1
    assert services.registry.aliases(model) == {"challenger": 1}
