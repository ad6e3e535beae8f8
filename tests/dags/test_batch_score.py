"""A spec with a batch_score section has a nightly DAG for it; one without has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]

ROOT = Path(__file__).parents[2]


def test_only_a_spec_with_the_section_has_the_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    plain = yaml.safe_load((ROOT / "include" / "models" / "credit_default.yaml").read_text())
    section = {"source": "/data/in/{date}", "target": "/data/scores/{date}", "cron": "15 5 * * *"}
    for name, more in (("scored", {"batch_score": section}), ("plain", {})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(plain | {"model": name} | more, sort_keys=False))
    monkeypatch.setitem(os.environ, "GAUNTLET_MODELS", str(tmp_path))
    bag = DagBag(str(ROOT / "dags" / "batch_score.py"))
    assert not bag.import_errors
    assert set(bag.dags) == {"scored__batch_score"}
    dag = bag.dags["scored__batch_score"]
    assert dag.timetable.expression == "15 5 * * *"
    assert dag.get_task("batch_score").upstream_task_ids == {"open_run"}
