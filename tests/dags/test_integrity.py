"""Every spec becomes the DAGs it should: gates are tasks, failures are red, parsing is cheap."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gauntlet.core.spec import load_specs

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "include" / "models"
SPECS = load_specs(MODELS)
KINDS = (
    "drift_check",
    "retrain",
    "recalibrate",
    "set_threshold",
    "canary",
    "housekeeping",
    "rollback",
    "rollback_drill",
    "reconcile",
    "rollout_command",
    "monitor",
)
MAKERS = ("retrain", "recalibrate", "set_threshold")
"""The DAGs that make a version."""
HEAVY = ("pandas", "scipy", "lightgbm", "mlflow", "great_expectations", "duckdb", "pyarrow", "optuna", "sklearn")


def bag(models: Path = MODELS):
    from airflow.dag_processing.dagbag import DagBag

    before = os.environ.get("GAUNTLET_MODELS")
    os.environ["GAUNTLET_MODELS"] = str(models)
    try:
        return DagBag(str(ROOT / "dags"))
    finally:
        os.environ.pop("GAUNTLET_MODELS") if before is None else os.environ.__setitem__("GAUNTLET_MODELS", before)


@pytest.fixture(scope="module")
def dags():
    found = bag()
    assert not found.import_errors
    return found.dags


def test_every_spec_has_every_dag(dags) -> None:
    assert set(dags) == {f"{model}__{kind}" for model in SPECS for kind in KINDS}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("model", SPECS)
def test_every_wanted_gate_is_a_task_between_evaluation_and_registration(dags, model: str, kind: str) -> None:
    dag = dags[f"{model}__{kind}"]
    gates = {task_id for task_id in dag.task_ids if task_id.startswith("gates.")}
    assert gates == {f"gates.{name}" for name in SPECS[model].gates.names}
    for gate in gates:
        task = dag.get_task(gate)
        assert task.upstream_task_ids >= {"evaluate", "probe"}
        assert "register_challenger" in task.downstream_task_ids


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("model", SPECS)
def test_a_failed_gate_leaves_a_failed_run(dags, model: str, kind: str) -> None:
    """The run's state is that of its leaves: nothing after a gate may run when the gate failed."""
    dag = dags[f"{model}__{kind}"]
    rules = {task.task_id: str(getattr(task.trigger_rule, "value", task.trigger_rule)) for task in dag.tasks}
    assert set(rules.values()) == {"all_success"}
    assert [task.task_id for task in dag.leaves] == ["announce"]


@pytest.mark.parametrize("model", SPECS)
def test_only_infrastructure_errors_retry(dags, model: str) -> None:
    from airflow.sdk import RetryAction

    from gauntlet.core.errors import GateFailed, InfrastructureError

    task = dags[f"{model}__retrain"].get_task(f"gates.{SPECS[model].gates.names[0]}")
    assert task.retries == SPECS[model].schedule.retries
    assert task.retry_policy.evaluate(GateFailed("no"), 1, 3).action is RetryAction.FAIL
    assert task.retry_policy.evaluate(InfrastructureError("down"), 1, 3).action is not RetryAction.FAIL


@pytest.mark.parametrize("model", SPECS)
def test_the_canary_has_one_task_per_step_and_a_teardown(dags, model: str) -> None:
    dag = dags[f"{model}__canary"]
    steps = [task_id for task_id in dag.task_ids if task_id.startswith("step_")]
    assert len(steps) == len(SPECS[model].rollout.steps)
    assert ("shadow" in dag.task_ids) == (SPECS[model].rollout.shadow is not None)
    close = dag.get_task("close_rollout")
    assert close.is_teardown
    assert not close.on_failure_fail_dagrun
    assert {task.task_id for task in close.upstream_list if task.is_setup} == {"open_rollout"}


@pytest.mark.parametrize("model", SPECS)
def test_the_nightly_has_all_three_ways_in(dags, model: str) -> None:
    from airflow.serialization.encoders import encode_timetable

    dag = dags[f"{model}__retrain"]
    assert f"{model}__retrain_wanted" in str(encode_timetable(dag.timetable))
    assert dags[f"{model}__drift_check"].get_task("announce").outlets[0].name == f"{model}__retrain_wanted"
    form = dag.params
    assert form.get_param("reason").schema["type"] == "string"
    assert form.get_param("as_of").schema["format"] == "date-time"
    assert form.get_param("force_retrain").schema["type"] == "boolean"
    assert not dag.catchup
    assert dag.max_active_runs == 1


def test_the_nightly_comes_once_a_day_at_its_own_time_zone(dags) -> None:
    """02:00 in Berlin is 01:00 UTC in winter and 00:00 in summer; the night without a 02:00 is not left out."""
    import pendulum
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    timetable = coerce_to_core_timetable(dags["credit_default__retrain"].timetable)
    since = TimeRestriction(pendulum.datetime(2026, 3, 28), None, True)
    due, last = [], None
    for _ in range(4):
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=since)
        last = info.data_interval
        due.append(info.run_after.in_timezone("UTC").format("MM-DD HH:mm"))
    assert due == ["03-28 01:00", "03-29 01:00", "03-30 00:00", "03-31 00:00"]


def test_a_broken_spec_says_so_and_harms_no_other(tmp_path: Path) -> None:
    for path in MODELS.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.yaml").write_text("model: broken\nnonsense: 1\n")
    found = bag(tmp_path)
    assert not found.import_errors
    assert set(found.dags) >= {f"{model}__{kind}" for model in SPECS for kind in KINDS}
    broken = found.dags["broken__retrain__broken_spec"]
    assert "broken.yaml:2: nonsense: unknown key" in broken.doc_md


def test_parsing_imports_nothing_heavy_and_takes_under_a_second() -> None:
    """Each file in a fresh process, on top of what ``import airflow.sdk`` itself costs: the first one pays for all."""
    code = f"""
import sys, time
import airflow.sdk, airflow.sdk.bases.sensor
before = set(sys.modules)
import runpy
seconds = 0
for name in {KINDS!r}:
    started = time.process_time()
    runpy.run_path({str(ROOT / "dags")!r} + "/" + name + ".py")
    seconds = max(seconds, time.process_time() - started)
heavy = [name for name in {HEAVY!r} if name in sys.modules and name not in before]
assert not heavy, heavy
assert seconds < 1, seconds
"""
    environment = {**os.environ, "GAUNTLET_MODELS": str(MODELS), "PYTHONPATH": str(ROOT / "include")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("model", SPECS)
def test_housekeeping_settles_before_it_deletes(dags, model: str) -> None:
    dag = dags[f"{model}__housekeeping"]
    assert dag.get_task("reconcile").downstream_task_ids == {"tidy"}
    assert "apply_retention" in dag.get_task("tidy").downstream_task_ids
    assert {"check_audit", "compact_journal", "audit_slices", "sum_up_rollout"} <= set(dag.task_ids)
    assert dag.timetable is not None
