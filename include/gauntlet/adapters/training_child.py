"""The training process, started as ``python -m gauntlet.adapters.training_main JOB.json``.

It may die of its input (LightGBM aborts on some of it), so that the task that started it does not. What
it has to say it writes to files: ``result.json``, or ``rejected.json`` with a reason.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from gauntlet.adapters.snapshot_rows import SnapshotRows, read_parts
from gauntlet.adapters.training_boost import Fit, Params, base_params, boost, say, search
from gauntlet.adapters.training_job import Job
from gauntlet.adapters.training_rows import Part, class_weights, dataset, read_part
from gauntlet.core.calibration import calibrate, fit_calibration
from gauntlet.core.digest import sha256_bytes
from gauntlet.core.encoding import compile_row, kinds, learn_feature
from gauntlet.core.errors import DataRejected, Rejection, TrainingFailed
from gauntlet.core.golden import Row, choose_golden, make_golden, plain_row
from gauntlet.core.metrics import Sample
from gauntlet.core.model_text import tree_digest, validate_model_text
from gauntlet.core.part_metrics import part_metrics
from gauntlet.core.records.model import (
    Calibration,
    Feature,
    FeatureImportance,
    GoldenSet,
    ModelSidecar,
    TrainingSummary,
)
from gauntlet.core.release import GOLDEN, MODEL_TEXT, SIDECAR
from gauntlet.core.specs.training import profit_of
from gauntlet.core.thresholds import choose_threshold

if TYPE_CHECKING:
    from collections.abc import Iterable

Floats = NDArray[np.float64]

FITTED_PARTS = ("train", "validation", "calibration")
SCORED_ROWS = 100_000
"""Rows of each part that metrics are measured on."""
EXPLAINED_ROWS = 2_000
"""Training rows on which contributions are measured: their mean is within a few per cent from so many."""
GOLDEN_CANDIDATES = 2_000
_PDEATHSIG = 1


# ---- the model -------------------------------------------------------------------------------------


@dataclass
class Model:
    """The trees with what turns their output into final scores."""

    fit: Fit
    features: tuple[Feature, ...]
    calibration: Calibration | None = None

    @cached_property
    def text(self) -> bytes:
        """The native text, with the number of threads taken out: it is no property of the model."""
        text = str(self.fit.booster.model_to_string(num_iteration=self.fit.iterations))
        lines = ["[num_threads: 0]" if line.startswith("[num_threads:") else line for line in text.split("\n")]
        return "\n".join(lines).encode("ascii")

    def raw(self, matrix: Floats) -> Floats:
        """Uncalibrated scores."""
        return np.asarray(self.fit.booster.predict(matrix, num_iteration=self.fit.iterations))

    def final(self, matrix: Floats) -> Floats:
        """Final scores."""
        raw = self.raw(matrix)
        return raw if self.calibration is None else calibrate(self.calibration, raw)

    def score_part(self, part: Part, *, raw: bool = False) -> Floats:
        """Scores of a part, batch by batch."""
        score = self.raw if raw else self.final
        return np.concatenate([score(matrix) for matrix in part.rows.encoded(self.features)])


def learn_features(job: Job, train: Part) -> tuple[Feature, ...]:
    """Categories, ranges and nullability from the training part only."""
    section = job.spec.training
    try:
        return tuple(
            learn_feature(name, kind, train.rows.column(name), section.min_category_rows)
            for name, kind in kinds(job.spec.source.features).items()
        )
    except DataRejected as error:
        raise TrainingFailed(str(error)) from None


def golden_set(job: Job, model: Model, train: Part) -> GoldenSet:
    """Golden rows with the scores of the trees in this process's memory, checked against the text that is kept."""
    names = [feature.name for feature in model.features]
    tables = [batch.to_pylist() for batch in train.rows.some(GOLDEN_CANDIDATES).batches(names)]
    rows = choose_golden(
        [plain_row(row, model.features) for table in tables for row in table], model.features, job.spec.training.seed
    )
    encode = compile_row(model.features)
    reloaded = lgb.Booster(model_str=model.text.decode("ascii"))

    def score(rows: Sequence[Row]) -> list[list[float]]:
        matrix = np.array([encode(row) for row in rows])
        if not np.array_equal(reloaded.predict(matrix), model.raw(matrix)):
            raise TrainingFailed("the text of the model scores golden rows otherwise than the model in memory")
        scores: list[list[float]] = model.final(matrix).reshape(len(rows), -1).tolist()
        return scores

    return make_golden(rows, score)


def importances(model: Model, explained: Part | None = None) -> tuple[FeatureImportance, ...]:
    """Gain and splits per feature, in model order; contributions too where there are rows to explain."""
    gain = model.fit.booster.feature_importance("gain", iteration=model.fit.iterations)
    splits = model.fit.booster.feature_importance("split", iteration=model.fit.iterations)
    shap = contributions(model, explained) if explained is not None else [None] * len(model.features)
    return tuple(
        FeatureImportance(feature=feature.name, gain=float(g), splits=int(s), shap=c)
        for feature, g, s, c in zip(model.features, gain, splits, shap, strict=True)
    )


def contributions(model: Model, part: Part) -> list[float]:
    """Mean |contribution| of every feature to the raw score, over classes too (TreeSHAP: Lundberg et al. 2020)."""
    features = len(model.features)
    total, rows = np.zeros(features), 0
    for matrix in part.some(EXPLAINED_ROWS).rows.encoded(model.features):
        told = model.fit.booster.predict(matrix, num_iteration=model.fit.iterations, pred_contrib=True)
        # Per class one column for every feature and one for what all rows share.
        parts = np.abs(np.asarray(told).reshape(len(matrix), -1, features + 1)[:, :, :features])
        total += parts.mean(axis=1).sum(axis=0)
        rows += len(matrix)
    return [float(value) for value in total / max(rows, 1)]


# ---- the whole -------------------------------------------------------------------------------------


def train(job: Job) -> TrainingSummary:
    """Train, write the model's files, and say what was done."""
    started = time.monotonic()
    parts = _read_parts(job)
    features = learn_features(job, parts["train"])
    params = base_params(job, features)
    weights = class_weights(parts["train"].label) if job.spec.training.class_weight == "balanced" else None
    train_set = dataset(parts["train"], features, params, weights).construct()
    validation_set = dataset(parts["validation"], features, params, weights).set_reference(train_set).construct()
    found, trials = search(job, params, train_set, validation_set)
    model = Model(boost(job, params | found, train_set, validation_set), features)
    _check_learned(model)
    _calibrate(job, model, parts["calibration"])
    judged = parts["calibration"] if len(parts["calibration"].label) else parts["validation"]
    threshold, basis = _threshold(job, model, judged)
    sidecar = _sidecar(job, model, threshold)
    validate_model_text(model.text, sidecar)
    _write_files(job, model, sidecar, golden_set(job, model, parts["train"]))
    return TrainingSummary(
        sidecar=sidecar,
        params=_shown(model.fit.params, job),
        metrics=_metrics(job, model, parts.values(), threshold),
        metric=params["metric"],
        curve=tuple(model.fit.curve),
        importances=importances(model, parts["train"] if job.spec.drift.importance == "shap" else None),
        trials=tuple(trials),
        rows={name: len(part.label) for name, part in parts.items()},
        iterations_cap=job.spec.training.rounds,
        threshold_basis=basis,
        seconds=time.monotonic() - started,
        peak_rss_mb=peak_rss_mb(),
        scores=_score_column(model, judged),
    )


def _read_parts(job: Job) -> dict[str, Part]:
    from gauntlet.adapters.snapshot_rows import open_parquet

    names = read_parts(job.split, open_parquet(job.snapshot).metadata.num_rows)
    parts = {name: read_part(job, name, names) for name in FITTED_PARTS}
    for name in ("train", "validation"):
        if not len(parts[name].label):
            raise TrainingFailed(f"the {name} part has no rows; give it some in the split section")
    return parts


def _check_learned(model: Model) -> None:
    if not model.fit.booster.feature_importance("split", iteration=model.fit.iterations).any():
        raise TrainingFailed(
            "no split was found: every tree is one leaf; too few rows for min_data_in_leaf, or features say nothing"
        )


def _calibrate(job: Job, model: Model, part: Part) -> None:
    method = job.spec.training.calibration
    if method != "none":
        raw = model.score_part(part, raw=True) if len(part.label) else np.empty(0)
        model.calibration = fit_calibration(method, raw, part.label, part.weight)


def _threshold(job: Job, model: Model, part: Part) -> tuple[float | None, str]:
    wanted = job.spec.training.threshold
    if wanted is None:
        return None, "none"
    if isinstance(wanted, float):
        return wanted, "given"
    sample = Sample(part.label, model.score_part(part), part.weight)
    if wanted == "profit":
        profit = profit_of(job.spec)
        sample = replace(sample, profit=profit, columns={name: _values(part.rows, name) for name in profit.reads})
    return choose_threshold(wanted, sample), f"{wanted} on {part.name}"


def _values(rows: SnapshotRows, name: str) -> Floats:
    return np.asarray(rows.column(name).cast("float64").fill_null(np.nan).to_numpy(), np.float64)


def _sidecar(job: Job, model: Model, threshold: float | None) -> ModelSidecar:
    digest = tree_digest(model.text)
    return ModelSidecar(
        model=job.spec.model,
        version_id=f"v_{job.stamp.astimezone(UTC):%Y%m%dT%H%M%SZ}_{digest[:8]}",
        task=job.spec.task,
        objective=str(model.fit.params["objective"]),
        features=model.features,
        classes=job.classes,
        threshold=threshold,
        calibration=model.calibration,
        best_iteration=model.fit.iterations,
        tree_digest=digest,
        model_sha256=sha256_bytes(model.text),
        trained_through=job.trained_through,
    )


def _write_files(job: Job, model: Model, sidecar: ModelSidecar, golden: GoldenSet) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / MODEL_TEXT).write_bytes(model.text)
    (job.folder / SIDECAR).write_text(sidecar.model_dump_json(indent=1) + "\n")
    (job.folder / GOLDEN).write_text(golden.model_dump_json() + "\n")


def _metrics(job: Job, model: Model, parts: Iterable[Part], threshold: float | None) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for part in parts:
        if len(part.label):
            some = part.some(SCORED_ROWS)
            sample = Sample(some.label, model.score_part(some), some.weight, threshold)
            found, undefined = part_metrics(job.spec.task, part.name, sample)
            metrics |= found
            for sentence in undefined:
                say(sentence)
    return metrics


def _score_column(model: Model, part: Part) -> dict[str, Any]:
    """What the drift check compares later scores with: counts, no score of a row."""
    from gauntlet.core.column_numbers import numbers

    scores = model.score_part(part.some(SCORED_ROWS))
    levels = scores if scores.ndim == 1 else scores.max(axis=1)
    return numbers(levels, "float").counted(levels).to_json()


def _shown(params: Params, job: Job) -> dict[str, bool | int | float | str]:
    """Parameters as logged: scalars, and nothing that is of the machine."""
    kept = {name: value for name, value in params.items() if isinstance(value, (bool, int, float, str))}
    kept |= {"monotone": json.dumps(job.spec.training.monotone)} if job.spec.training.monotone else {}
    return {name: value for name, value in kept.items() if name not in ("num_threads", "verbosity")}


def peak_rss_mb() -> float:
    """The most memory this process has held."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def die_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it ends, however it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit("the parent is gone")


def main(path: str) -> int:
    """Run one job; 0 when trained, 3 when refused."""
    die_with_parent()
    folder = Path(path).parent
    try:
        summary = train(Job.read(Path(path)))
    except Rejection as error:
        refused = {"kind": type(error).__name__, "reason": str(error)}
        (folder / "rejected.json").write_text(json.dumps(refused))
        return 3
    except lgb.basic.LightGBMError as error:
        (folder / "rejected.json").write_text(json.dumps({"kind": "TrainingFailed", "reason": f"LightGBM: {error}"}))
        return 3
    (folder / "result.json").write_text(summary.model_dump_json())
    return 0
