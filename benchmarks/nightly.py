"""What one nightly retrain costs under a real Airflow, stage by stage, beside the bare cost of training.

Starts the local stack (Airflow, MLflow, model server) for each size, lets the scheduler run one
retrain and the canary it starts, and reads from Airflow when each task began and ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from report import Aim, arguments, at_most, print_table, write_json

from gauntlet.bootstrap import build
from gauntlet.core.ports import Services
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import TrainedModel
from gauntlet.demo.airflow_api import Airflow, DagRun
from gauntlet.demo.airflow_env import load_secrets
from gauntlet.demo.components import components
from gauntlet.demo.layout import DATA_VARIABLE, MODEL, USUAL_PORTS, Layout
from gauntlet.demo.overlay import write_spec
from gauntlet.demo.ports import choose
from gauntlet.demo.stack import Stack
from gauntlet.simulation.events import NIGHT_ONE, Scenario
from gauntlet.simulation.world import World

DAYS = 60
LIMIT_S = 30.0
SIZES = {"100k": 100_000, "1M": 1_000_000}
PARTS = {
    "open, drift, decide": ("open_run", "check_drift", "decide", "retrain_wanted"),
    "pull": ("pull_data",),
    "contract": ("check_contract",),
    "split, leakage": ("split_data", "check_leakage"),
    "train": ("train",),
    "evaluate, probe": ("evaluate", "probe"),
    "gates": ("gates.",),
    "registry": ("register_challenger", "announce"),
}
IMPORTS = "import pandas, scipy.stats, lightgbm, mlflow, great_expectations, duckdb, pyarrow"


def main() -> None:
    """Measure all sizes and judge the aim at 100k rows."""
    options = arguments(__doc__ or "").parse_args()
    sizes = {"100k": SIZES["100k"]} if options.quick else SIZES
    aims: list[Aim] = []
    for name, rows in sizes.items():
        with tempfile.TemporaryDirectory(prefix="gauntlet-nightly-") as folder:
            shares, overhead = measure(Path(folder), rows)
        print_table(f"one nightly retrain of {name} rows under Airflow", shares)
        if name == "100k":
            text = "seconds a night of 100k rows takes beyond training and canary hold, 2 cores, real Airflow"
            aims.append(at_most(text, LIMIT_S, overhead))
    write_json(aims, options.json)


def measure(home: Path, rows: int) -> tuple[list[dict[str, object]], float]:
    """Shares of one night, and its seconds beyond training and canary hold."""
    ports, _ = choose(USUAL_PORTS)
    layout = Layout(home, ports)
    for path in (layout.logs, home / "mlflow", layout.settings.home):
        path.mkdir(parents=True)
    write_spec(layout.root / "include/models" / f"{MODEL}.yaml", layout.models / f"{MODEL}.yaml")
    begin = (NIGHT_ONE - timedelta(days=DAYS + 4)).date()
    World(layout.world, Scenario(per_day=rows / (DAYS - 3), begin=begin)).advance(NIGHT_ONE)
    os.environ[DATA_VARIABLE] = str(layout.world)
    keys = load_secrets(layout.airflow.home)
    stack = Stack(home, ports, lambda text: print(f"  {text}", file=sys.stderr))
    parts = [part for part in components(layout) if part.name != "traffic"]
    try:
        stack.start(parts, layout.environment(keys), layout.logs)
        airflow = Airflow(layout.url("airflow"), keys.password)
        retrain, canary = play(airflow)
        tasks = times(airflow, retrain)
        after = times(airflow, canary)
        services = build(layout.settings)
        return shares(services, retrain, tasks, after)
    finally:
        stack.stop()


def play(airflow: Airflow) -> tuple[DagRun, DagRun]:
    """One retrain and the canary that its asset starts; both must succeed."""
    deadline = time.monotonic() + 120
    while f"{MODEL}__retrain" not in airflow.dags():
        if time.monotonic() > deadline:
            sys.exit(f"Airflow has not read the DAGs: {airflow.import_errors()}")
        time.sleep(0.5)
    started = airflow.trigger(
        f"{MODEL}__retrain", NIGHT_ONE, {"reason": "benchmark of one night", "force_retrain": True}
    )
    retrain = wait(airflow, started)
    deadline = time.monotonic() + 60
    while not (runs := airflow.runs(f"{MODEL}__canary")):
        if time.monotonic() > deadline:
            sys.exit("the asset has started no canary")
        time.sleep(0.2)
    return retrain, wait(airflow, runs[0])


def wait(airflow: Airflow, run: DagRun) -> DagRun:
    """The run once it is over; anything but success ends the benchmark."""
    while not run.over:
        time.sleep(0.3)
        run = airflow.run(run.dag_id, run.run_id)
    if run.state != "success":
        failed = [task for task, state in airflow.tasks(run.dag_id, run.run_id).items() if state == "failed"]
        sys.exit(f"{run.dag_id} ended as {run.state}; failed: {', '.join(failed)}")
    return run


def times(airflow: Airflow, run: DagRun) -> dict[str, tuple[float, float]]:
    """Begin and end of each task that ran, in seconds of the clock."""
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
    found = airflow._call("GET", path, params={"limit": 100})["task_instances"]
    ran = [task for task in found if task["start_date"] and task["end_date"] and task["state"] == "success"]
    return {task["task_id"]: (moment(task["start_date"]), moment(task["end_date"])) for task in ran}


def moment(text: str) -> float:
    """Seconds of the clock."""
    return datetime.fromisoformat(text).timestamp()


def covered(spans: list[tuple[float, float]]) -> float:
    """Seconds in which at least one of the spans was under way."""
    total, end = 0.0, float("-inf")
    for begin, stop in sorted(spans):
        total += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return total


def shares(
    services: Services, retrain: DagRun, tasks: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]
) -> tuple[list[dict[str, object]], float]:
    """Seconds per part, next to the bare training; and what the night took beyond training."""
    key = f"{MODEL}/{retrain.run_id}"
    trained = services.records.get(key, TrainedModel)
    wall = covered_wall(tasks)
    canary_wall = covered_wall(after)
    seconds = {
        name: covered([tasks[task] for task in tasks if task.startswith(starts)]) for name, starts in PARTS.items()
    }
    seconds["orchestration (no task under way)"] = wall - covered(list(tasks.values()))
    seconds["canary (bootstrap, no hold)"] = canary_wall
    whole = wall + canary_wall
    bare = bare_training(services, key)
    rows: list[dict[str, object]] = [
        {"part": name, "seconds": f"{value:.2f}", "share": f"{value / whole:.0%}"} for name, value in seconds.items()
    ]
    rows += [
        {"part": "whole night", "seconds": f"{whole:.2f}", "share": "100%"},
        {"part": "of train: in the training process", "seconds": f"{trained.seconds:.2f}", "share": ""},
        {"part": "bare lightgbm.train, same rows and rounds", "seconds": f"{bare:.2f}", "share": ""},
        {"part": "imports, once in the scheduler", "seconds": f"{imports():.2f}", "share": ""},
        {"part": f"rows: {services.records.get(key, DatasetRef).rows:,}", "seconds": "", "share": ""},
    ]
    return rows, whole - trained.seconds


def covered_wall(tasks: dict[str, tuple[float, float]]) -> float:
    """From the first task's begin to the last one's end."""
    return max(end for _, end in tasks.values()) - min(begin for begin, _ in tasks.values())


def bare_training(services: Services, key: str) -> float:
    """Seconds of ``lightgbm.train`` alone on the same training rows as a ready float32 matrix."""
    import lightgbm as lgb
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    spec = services.specs.get(MODEL)
    dataset, split = services.records.get(key, DatasetRef), services.records.get(key, SplitManifest)
    trained = services.records.get(key, TrainedModel)
    table = pq.read_table(services.blobs.fetch(dataset.uri, dataset.sha256))
    part = pq.read_table(services.blobs.fetch(split.uri, split.sha256)).column("part")
    table = table.filter(pc.equal(part.cast("string"), "train"))
    features = spec.source.features
    matrix = np.empty((table.num_rows, len(features.all)), dtype=np.float32, order="F")
    for index, name in enumerate(features.all):
        column: Any = table.column(name)
        if name in features.categorical:
            column = pc.rank(column, tiebreaker="dense")
        matrix[:, index] = column.cast("float32").fill_null(float("nan")).to_numpy()
    label = table.column(spec.source.columns.label).to_numpy()
    categorical = [features.all.index(name) for name in features.categorical]
    params = {
        **spec.training.params,
        "objective": "binary",
        "num_threads": spec.training.threads or os.cpu_count(),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    rounds = min(trained.iterations_cap, trained.best_iteration + spec.training.early_stopping)
    started = time.perf_counter()
    lgb.train(params, lgb.Dataset(matrix, label, categorical_feature=categorical), rounds)
    return time.perf_counter() - started


def imports() -> float:
    """Seconds to import the heavy libraries in a fresh process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTS], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
