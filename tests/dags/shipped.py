"""One of the shipped model's DAGs, fresh for every test: a run of one leaves its parameters behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MODEL = "credit_default"


def dag(kind: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The DAG of a kind, as Airflow reads it from its file."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("GAUNTLET_MODELS", str(ROOT / "include" / "models"))
    found = DagBag(str(ROOT / "dags" / f"{kind}.py"))
    assert not found.import_errors
    return found.dags[f"{MODEL}__{kind}"]
