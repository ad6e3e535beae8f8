"""The as-of time of Airflow's form, and of its API: a time that is past, or nothing at all is done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gauntlet import bootstrap
from gauntlet.core.records.run import RunContext
from gauntlet.settings import settings

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("airflow_database"),
]

ROOT = Path(__file__).parents[2]
MODEL = "credit_default"


@pytest.fixture
def drift_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The real DAG over an installation in which nothing has run; nothing but its first task does anything."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("GAUNTLET_MODELS", str(ROOT / "include" / "models"))
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path))
    settings.cache_clear()
    bootstrap.services.cache_clear()
    yield DagBag(str(ROOT / "dags" / "drift_check.py")).dags[f"{MODEL}__drift_check"]
    settings.cache_clear()
    bootstrap.services.cache_clear()


def opened(dag: Any, as_of: str, *, only: str = "") -> tuple[str, list[RunContext]]:
    conf = {"reason": "a look from the form", "as_of": as_of}
    done = dag.test(logical_date=None, run_conf=conf, **({"mark_success_pattern": only} if only else {}))
    states = {ti.task_id: str(ti.state) for ti in done.get_task_instances()}
    return states["open_run"], bootstrap.services().records.newest(MODEL, RunContext, 9)


def test_a_time_in_the_future_is_red_at_the_first_task(drift_check: Any) -> None:
    assert opened(drift_check, "2999-01-01T00:00:00Z") == ("failed", [])


def test_what_is_no_time_is_not_even_triggered(drift_check: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=r"as_of|date-time"):
        opened(drift_check, "yesterday")


def test_a_past_time_is_what_the_run_is_as_of(drift_check: Any) -> None:
    asked = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    state, (run,) = opened(drift_check, asked.isoformat(), only=r"(?!open_run$).*")
    assert (state, run.as_of) == ("success", asked)
