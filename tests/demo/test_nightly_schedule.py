"""The real scheduler starts the nightly by its cron expression, as of the time it is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from gauntlet.bootstrap import build
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, TriggerKind
from gauntlet.demo.airflow_api import Airflow
from gauntlet.demo.airflow_env import load_secrets
from gauntlet.demo.components import components
from gauntlet.demo.layout import DATA_VARIABLE, MODEL, USUAL_PORTS, Layout
from gauntlet.demo.overlay import write_spec
from gauntlet.demo.ports import choose
from gauntlet.demo.stack import Stack
from gauntlet.simulation.events import Scenario
from gauntlet.simulation.world import World

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
DAG = f"{MODEL}__retrain"
NEEDED = ("mlflow", "airflow-db", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor")
EVERY_MINUTE = "* * * * *"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Layout, Airflow]]:
    """A stack without model server and traffic, whose nightly is due every minute."""
    ports, _ = choose({name: port + 100 for name, port in USUAL_PORTS.items()})
    layout = Layout(tmp_path, ports)
    for folder in (layout.logs, tmp_path / "mlflow", layout.settings.home):
        folder.mkdir(parents=True)
    path = layout.models / f"{MODEL}.yaml"
    write_spec(layout.root / "include/models" / f"{MODEL}.yaml", path)
    document = yaml.safe_load(path.read_text())
    document["schedule"]["nightly"] = EVERY_MINUTE
    path.write_text(yaml.safe_dump(document))
    now = datetime.now(UTC)
    World(layout.world, Scenario(per_day=600, begin=(now - timedelta(days=64)).date())).advance(now)
    monkeypatch.setenv(DATA_VARIABLE, str(layout.world))
    keys = load_secrets(layout.airflow.home)
    stack = Stack(tmp_path, ports, lambda _: None)
    try:
        parts = [part for part in components(layout) if part.name in NEEDED]
        stack.start(parts, layout.environment(keys), layout.logs)
        airflow = Airflow(layout.url("airflow"), keys.password)
        yield layout, airflow
        airflow.close()
    finally:
        stack.stop()


def test_the_nightly_is_started_by_its_cron_expression(layout: tuple[Layout, Airflow]) -> None:
    where, airflow = layout
    run = None
    deadline = time.monotonic() + 240
    while run is None or airflow.tasks(DAG, run.run_id).get("decide") != "success":
        assert time.monotonic() < deadline, f"no scheduled run decided: {run}; {airflow.import_errors()}"
        time.sleep(1)
        found = airflow.runs(DAG) if DAG in airflow.dags() else []
        run = next((each for each in found if each.run_type == "scheduled"), None)
    services = build(where.settings)
    context = services.records.get(f"{MODEL}/{run.run_id}", RunContext)
    assert context.kind is TriggerKind.SCHEDULE
    assert context.reason == "on schedule"
    assert context.as_of.second == 0
    assert abs(context.as_of - datetime.now(UTC)) < timedelta(minutes=5)
    decision = services.records.get(context.key, TriggerDecision)
    assert (decision.action, decision.kind) == (TriggerAction.RETRAIN, TriggerKind.BOOTSTRAP)
