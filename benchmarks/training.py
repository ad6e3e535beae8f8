"""What training costs beside bare LightGBM, and what registering a version costs.

Bare: ``lightgbm.train`` on a ready float32 matrix of the same rows, in a process of its own, which is given the
matrix for nothing. Ours: the training process of the pipeline, from the Parquet snapshot to the release's files:
label checks, categories, exact float64 values, early stopping, metrics, golden rows. Run in turn, same
parameters, same rounds, same threads.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from report import Aim, arguments, at_most, print_table, write_json

NUMERIC, BOOLEAN, CATEGORICAL = 37, 4, 6
FEATURES = NUMERIC + BOOLEAN + CATEGORICAL
SHARES = (("train", 0.70), ("validation", 0.85), ("calibration", 0.90), ("holdout", 1.01))
ROUNDS = 100
CHUNK = 100_000
PARAMS = {"num_leaves": 31, "learning_rate": 0.1, "min_data_in_leaf": 20}
REGISTRATIONS = 7

BARE = """
import json, resource, sys
import numpy as np, lightgbm as lgb
folder, rounds, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
params = {**json.loads(sys.argv[4]), "objective": "binary", "metric": "binary_logloss", "seed": 7,
          "deterministic": True, "force_row_wise": True, "num_threads": threads, "verbosity": -1}
parts = {name: (np.load(f"{folder}/{name}.npy"), np.load(f"{folder}/{name}_label.npy"))
         for name in ("train", "validation")}
categorical = json.loads(sys.argv[5])
import time
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
cpu, wall = used(), time.perf_counter()
train = lgb.Dataset(*parts["train"], categorical_feature=categorical, params=params)
lgb.train(params, train, rounds, valid_sets=[train.create_valid(*parts["validation"])],
          callbacks=[lgb.early_stopping(rounds, verbose=False)])
peak = next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"cpu": used() - cpu, "wall": time.perf_counter() - wall, "peak": peak}))
"""


@dataclass(frozen=True)
class Cost:
    """What one training cost."""

    cpu: float
    wall: float
    peak_mb: float


def columns_of(rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """One chunk of a snapshot: heavy-tailed numbers, nulls, flags, categories of 4 to 400 values."""
    columns: dict[str, Any] = {"row_key": rng.integers(0, 2**63, rows, dtype=np.uint64)}
    signal = np.zeros(rows)
    for place in range(NUMERIC):
        values = rng.lognormal(0, 0.6, rows) if place % 2 else rng.normal(size=rows)
        signal += 0.25 * np.sin(place) * values
        nulls = rng.random(rows) < (0.05 if place % 5 == 0 else 0.0)
        columns[f"n{place}"] = pa.array(values, mask=nulls)
    for place in range(BOOLEAN):
        flags = rng.random(rows) < 0.3
        signal += 0.2 * flags
        columns[f"b{place}"] = flags
    for place in range(CATEGORICAL):
        size = (4, 8, 20, 50, 120, 400)[place]
        codes = rng.integers(0, size, rows)
        signal += 0.3 * (codes % 3 == 0)
        words = pa.array([f"c{code:03d}" for code in range(size)])
        columns[f"c{place}"] = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), words).cast(pa.string())
    columns["y"] = (rng.random(rows) < 1 / (1 + np.exp(1.5 - signal))).astype(np.int8)
    return columns


def write_world(folder: Path, rows: int) -> None:
    """Snapshot and split as the pipeline writes them."""
    rng = np.random.default_rng(0)
    writer = None
    for first in range(0, rows, CHUNK):
        table = pa.table(columns_of(min(CHUNK, rows - first), rng))
        writer = writer or pq.ParquetWriter(
            folder / "snapshot.parquet", table.schema, compression="zstd", write_page_checksum=True
        )
        writer.write_table(table)
    assert writer is not None
    writer.close()
    codes = np.searchsorted([upto for _, upto in SHARES], np.arange(rows) / rows, side="right")
    parts = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array([name for name, _ in SHARES]))
    pq.write_table(pa.table({"part": parts}), folder / "split.parquet")


def write_matrices(folder: Path, rows: int) -> None:
    """The float32 matrices that bare LightGBM is given, encoded as training encodes."""
    from gauntlet.core.encoding import encode_table, kinds, learn_feature

    table = pq.read_table(folder / "snapshot.parquet")
    train = table.slice(0, int(np.ceil(SHARES[0][1] * rows)))
    features = [
        learn_feature(name, kind, train.column(name), 20) for name, kind in kinds(spec().source.features).items()
    ]
    bounds = [0, *(min(int(np.ceil(share * rows)), rows) for _, share in SHARES)]
    for place, name in enumerate(("train", "validation")):
        part = table.slice(bounds[place], bounds[place + 1] - bounds[place])
        np.save(folder / f"{name}.npy", encode_table(features, part).astype(np.float32))
        np.save(folder / f"{name}_label.npy", part.column("y").to_numpy())


def spec() -> Any:
    """The spec of the benchmark's model."""
    from gauntlet.core.gates.catalogue import GATES
    from gauntlet.core.spec import ModelSpec

    return ModelSpec.model_validate({
        "model": "benchmark",
        "task": "binary",
        "owner": {"team": "t", "email": "t@example.com"},
        "schedule": {"nightly": "0 2 * * *", "drift_check": "30 * * * *", "timezone": "UTC"},
        "source": {
            "kind": "files",
            "uri": "unused",
            "columns": {"label": "y"},
            "features": {
                "numeric": [f"n{place}" for place in range(NUMERIC)],
                "boolean": [f"b{place}" for place in range(BOOLEAN)],
                "categorical": [f"c{place}" for place in range(CATEGORICAL)],
            },
        },
        "contract": {"rows": [1, 10_000_000], "columns": {}},
        "split": {"kind": "random"},
        "training": {"params": PARAMS, "rounds": ROUNDS, "early_stopping": ROUNDS},
        "drift": {"window": "1d"},
        "gates": dict.fromkeys(GATES, "off: not what is measured here"),
        "rollout": {"steps": [{"weight": 100, "hold": "1s", "requests": 1}]},
    })


def train_bare(folder: Path) -> Cost:
    """Bare LightGBM, in a process of its own."""
    categorical = json.dumps(list(range(NUMERIC + BOOLEAN, FEATURES)))
    command = [sys.executable, "-c", BARE, str(folder), str(ROUNDS), str(cores()), json.dumps(PARAMS), categorical]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
    return Cost(found["cpu"], found["wall"], found["peak"])


def train_ours(folder: Path) -> tuple[Cost, Path]:
    """The pipeline's training, whole: also the start of its process and its imports."""
    from gauntlet.adapters.trainer_lightgbm import LightGBMTrainer
    from gauntlet.core.ports import TrainingJob

    job = TrainingJob(folder / "snapshot.parquet", folder / "split.parquet", datetime(2026, 3, 1, tzinfo=UTC), None)
    before, started = children_cpu(), time.perf_counter()
    summary = LightGBMTrainer().train(spec(), job, folder / "release")
    return Cost(children_cpu() - before, time.perf_counter() - started, summary.peak_rss_mb), folder / "release"


def children_cpu() -> float:
    """CPU seconds of ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def measure(rows: int, work: Path) -> tuple[list[dict[str, object]], list[Aim], Path]:
    """Both trainings at one size."""
    folder = work / str(rows)
    folder.mkdir()
    write_world(folder, rows)
    write_matrices(folder, rows)
    bare = train_bare(folder)
    ours, release = train_ours(folder)
    size = f"{rows:,} x {FEATURES}".replace(",", " ")
    float32_mb = rows * SHARES[1][1] * FEATURES * 4 / 1e6
    table: list[dict[str, object]] = [
        {
            "rows": size,
            "training": name,
            "CPU s": f"{cost.cpu:.2f}",
            "wall s": f"{cost.wall:.2f}",
            "peak RSS MB": f"{cost.peak_mb:.0f}",
        }
        for name, cost in (("lightgbm.train on a ready float32 matrix", bare), ("ours, snapshot to release", ours))
    ]
    aims = [
        at_most(f"{size}: CPU beyond bare lightgbm.train, s", 4 + 6 * rows / 1e6, ours.cpu - bare.cpu),
        at_most(
            f"{size}: peak memory, MB (the data as float32: {float32_mb:.0f}, bare lightgbm.train: {bare.peak_mb:.0f})",
            620 if rows >= 1e6 else 350,
            ours.peak_mb,
        ),
    ]
    return table, aims, release


# ---- registration ----------------------------------------------------------------------------------


def registration(release: Path, work: Path) -> tuple[list[dict[str, object]], list[Aim]]:
    """Seconds to log and register a version on a real MLflow server; the first also meets cold caches."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{work / 'mlflow.db'}", "--artifacts-destination", str(work / "artifacts")),
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (work / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(url, server)
            times = register_all(url, release, work)
        finally:
            os.killpg(server.pid, 15)
            server.wait(20)
    text = ", ".join(f"{seconds:.2f}" for seconds in times)
    table: list[dict[str, object]] = [
        {"step": "log and register a version", "seconds": text, "median": f"{median(times[1:]):.3f}"}
    ]
    return table, [
        at_most("log and register a version on a real MLflow server, median s", 1.0, median(times[1:])),
        at_most("log and register the first version, s", 1.0, times[0]),
    ]


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    sys.exit("the MLflow server did not start")


def register_all(url: str, release: Path, work: Path) -> list[float]:
    """Register the release several times as different content."""
    from gauntlet.adapters.registry_mlflow import MLflowRegistry
    from gauntlet.core.digest import sha256_file
    from gauntlet.core.records.model import ReleaseRef

    registry = MLflowRegistry(url)
    run = registry.open_run("benchmark", "benchmark/1", {})
    times = []
    for number in range(REGISTRATIONS):
        folder = Path(shutil.copytree(release, work / f"release{number}"))
        files = {path.name: sha256_file(path) for path in folder.iterdir()}
        (folder / "manifest.json").write_text(json.dumps({"files": files, "number": number}))
        digest = sha256_file(folder / "manifest.json")
        reference = ReleaseRef(uri=f"file://{folder}", digest=digest, version_id="v", tree_digest="t", size_bytes=1)
        started = time.perf_counter()
        registry.register("benchmark", run, reference, folder, {"gauntlet.dataset": "d"})
        times.append(time.perf_counter() - started)
    return times


def main() -> None:
    """Run all."""
    options = arguments(__doc__ or "").parse_args()
    sizes = (20_000,) if options.quick else (100_000, 1_000_000)
    aims: list[Aim] = []
    rows: list[dict[str, object]] = []
    with TemporaryDirectory(prefix="gauntlet-benchmark-") as name:
        work = Path(name)
        for size in sizes:
            table, found, release = measure(size, work)
            rows += table
            aims += found
        print_table(f"Training, {ROUNDS} rounds, {cores()} threads", rows)
        table, found = registration(release, work)
        print_table("Registration", table)
    write_json([*aims, *found], options.json)


if __name__ == "__main__":
    main()
