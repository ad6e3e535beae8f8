"""What the gates cost on a holdout of 100 000 rows, beside one prediction pass per model and the bootstrap alone.

python benchmarks/gates.py [--json FILE] [--quick]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import Aim, arguments, at_most, print_table, write_json

from gauntlet.core.comparison import compare, delong, poisson_counts
from gauntlet.core.errors import GateFailed
from gauntlet.core.metrics import Sample

ROWS = 100_000
BOOTSTRAPPED = ("absolute_performance", "beats_naive", "versus_champion", "slices")
REPLICATES, BOOTSTRAP_LIMIT_S, TIMES_PREDICTION = 2000, 5.0, 3.0
REPEATS = 3


def best(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    """The least wall time of a few calls, and the result."""
    least, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        least = min(least, time.perf_counter() - start)
    return least, result


def scores(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two models' probabilities."""
    random = np.random.default_rng(seed)
    signal = 1.5 * random.standard_normal(n)
    label = (random.random(n) < 1 / (1 + np.exp(1.8 - signal))).astype(np.float64)
    one, two = (1 / (1 + np.exp(1.8 - signal - width * random.standard_normal(n))) for width in (0.15, 0.25))
    return label, one, two


def bootstrap(n: int, replicates: int) -> tuple[list[dict[str, object]], float]:
    """The paired AUC bootstrap beside its floors."""
    label, one, two = scores(n)
    samples = Sample(label, one), Sample(label, two)
    spent, result = best(lambda: compare(["roc_auc"], *samples, seed=1, alpha=0.005, replicates=replicates))
    block = max(1, (1 << 21) // n)
    drawn, counts = best(lambda: poisson_counts(1, 0, block, n))
    negatives = np.flatnonzero(label == 0)[np.argsort(one[label == 0])]
    passes, _ = best(lambda: np.cumsum(counts[:, negatives], axis=1, dtype=np.int32))
    sorting, _ = best(lambda: (np.sort(one), np.sort(two)))
    exact, found = best(lambda: delong(label, one, two))
    cores = os.cpu_count() or 1
    scale = replicates / block / cores
    floor = sorting + (drawn + 2 * passes) * scale
    rows: list[dict[str, object]] = [
        {"what": f"bootstrap, {replicates} replicates, both models", "seconds": f"{spent:.3f}"},
        {"what": "floor: two sorts", "seconds": f"{sorting:.3f}"},
        {"what": f"floor: drawing {replicates} x {n} counts on {cores} cores", "seconds": f"{drawn * scale:.3f}"},
        {"what": "floor: one gather and running sum per model and replicate", "seconds": f"{2 * passes * scale:.3f}"},
        {"what": "floor together", "seconds": f"{floor:.3f}"},
        {"what": "times the floor", "seconds": f"{spent / floor:.2f}"},
        {"what": "DeLong's standard error instead", "seconds": f"{exact:.3f}"},
        {"what": f"standard errors: {result['roc_auc'].se:.2e} and {found.se:.2e}", "seconds": ""},
    ]
    return rows, spent


@dataclass(frozen=True)
class Night:
    """What one night's gates took, and what a prediction pass takes on the same rows."""

    holdout: int
    prediction_s: float
    tasks: dict[str, float]
    refused: dict[str, str]


def night(rows: int) -> Night:
    """Wall time of every gate task of the lending model: reading, measuring, judging, storing, logging."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.stages.gates.nights import lending

    from gauntlet.core.records.evaluation import EvaluationRef
    from gauntlet.core.records.model import TrainedModel
    from gauntlet.stages.gate_evidence import subject
    from gauntlet.stages.gate_measurements import holdout_rows
    from gauntlet.stages.run_gate import run_gate

    with tempfile.TemporaryDirectory() as folder:
        model = lending(Path(folder), rows=rows, split={"validation": 0.1, "calibration": 0.1, "holdout": 0.5})
        model.crown(model.night("night-1", days_ago=3))
        run = model.night("night-2")
        release = model.services.records.get(run.key, TrainedModel).release
        scorer = model.services.scorers.load(model.services.blobs.fetch_folder(release.uri, release.digest))
        table = holdout_rows(model.services, subject(model.services, run), rows)
        once, _ = best(lambda: scorer.score_table(table))
        spent, refused = {}, {}
        for name in model.specs.spec.gates.names:
            start = time.perf_counter()
            try:
                run_gate(model.services, run, name)
            except GateFailed as error:
                refused[name] = str(error)
            spent[name] = time.perf_counter() - start
        return Night(model.services.records.get(run.key, EvaluationRef).rows, once, spent, refused)


def by_time(seen: Night) -> list[tuple[str, float]]:
    """The slowest gates first."""
    return sorted(seen.tasks.items(), key=lambda item: -item[1])


def main() -> None:
    """Run, print, write."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    n, replicates = (20_000, 400) if options.quick else (ROWS, REPLICATES)
    rows, spent = bootstrap(n, replicates)
    print_table(f"The paired bootstrap of AUC on {n} rows, {os.cpu_count()} cores", rows)
    seen = night(30_000 if options.quick else 230_000)
    print_table(
        f"Gate tasks of the lending model, {seen.holdout} holdout rows",
        [
            {"gate": name, "seconds": f"{took:.3f}", "refused": seen.refused.get(name, "")}
            for name, took in by_time(seen)
        ],
    )
    with_bootstrap = sum(seen.tasks[name] for name in BOOTSTRAPPED)
    rest = sum(seen.tasks.values()) - with_bootstrap
    print(f"\n  one prediction pass over the holdout: {seen.prediction_s:.3f} s per model")
    print(f"  {', '.join(BOOTSTRAPPED)}: {with_bootstrap:.3f} s; all others together: {rest:.3f} s")
    limit = f"gates without a bootstrap, {seen.holdout} rows, in prediction passes of both models"
    found: list[Aim] = [
        at_most(f"paired bootstrap of AUC, {replicates} replicates, {n} rows: seconds", BOOTSTRAP_LIMIT_S, spent),
        at_most(limit, TIMES_PREDICTION, rest / (2 * seen.prediction_s)),
    ]
    write_json(found, options.json)


if __name__ == "__main__":
    main()
