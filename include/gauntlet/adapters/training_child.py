"""The training process, started as ``python -m gauntlet.adapters.training_main JOB.json``.

It may die of its input (LightGBM aborts on some of it), so that the task that started it does not. What
it has to say it writes to files: ``result.json``, or ``rejected.json`` with a reason.

Training sees exactly the float64 values that serving encodes. To hold one million rows of them would cost
twice the float32 size of the data; instead LightGBM is fed in batches straight from the snapshot
(``lightgbm.Sequence``) and keeps only its own bins, one byte per value.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from gauntlet.adapters.snapshot_rows import SnapshotRows, read_parts
from gauntlet.core.calibration import calibrate, fit_calibration
from gauntlet.core.digest import sha256_bytes
from gauntlet.core.encoding import compile_row, kinds, learn_feature
from gauntlet.core.errors import DataRejected, Rejection, TrainingFailed
from gauntlet.core.golden import Row, choose_golden, make_golden, plain_row
from gauntlet.core.metrics import Sample
from gauntlet.core.model_text import text_name, tree_digest, validate_model_text
from gauntlet.core.part_metrics import part_metrics
from gauntlet.core.records.model import (
    Calibration,
    Feature,
    FeatureImportance,
    FeatureKind,
    GoldenSet,
    ModelSidecar,
    SearchTrial,
    Task,
    TrainingSummary,
)
from gauntlet.core.release import GOLDEN, MODEL_TEXT, SIDECAR
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.training import Parameter, is_range, profit_of
from gauntlet.core.thresholds import choose_threshold

if TYPE_CHECKING:
    from collections.abc import Iterable

Floats = NDArray[np.float64]
Params = dict[str, Any]

FITTED_PARTS = ("train", "validation", "calibration")
SCORED_ROWS = 100_000
"""Rows of each part that metrics are measured on."""
EXPLAINED_ROWS = 2_000
"""Training rows on which contributions are measured: their mean is within a few per cent from so many."""
GOLDEN_CANDIDATES = 2_000
BIN_SAMPLE = 50_000
"""Rows on which bin borders are found. LightGBM's own 200 000, copied thrice, would be most of the memory."""
NONNEGATIVE = {"poisson", "tweedie"}
POSITIVE = {"gamma"}
_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """What to do, read from the job file."""

    spec: ModelSpec
    snapshot: Path
    split: Path
    folder: Path
    stamp: datetime
    trained_through: datetime | None
    classes: tuple[str, ...] | None
    threads: int

    @staticmethod
    def read(path: Path) -> Job:
        """Read a job file."""
        job = json.loads(path.read_bytes())
        through = job["trained_through"]
        return Job(
            spec=ModelSpec.model_validate(job["spec"]),
            snapshot=Path(job["snapshot"]),
            split=Path(job["split"]),
            folder=Path(job["folder"]),
            stamp=datetime.fromisoformat(job["stamp"]),
            trained_through=datetime.fromisoformat(through) if through else None,
            classes=tuple(job["classes"]) if job["classes"] else None,
            threads=job["threads"],
        )


# ---- labels and weights ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One part's rows with their checked labels and weights."""

    name: str
    rows: SnapshotRows
    label: Floats
    weight: Floats | None

    def some(self, count: int) -> Part:
        """At most ``count`` rows, evenly spaced."""
        if len(self.label) <= count:
            return self
        places = np.linspace(0, len(self.label) - 1, count).astype(np.int64)
        weight = None if self.weight is None else self.weight[places]
        return Part(self.name, self.rows.some(count), self.label[places], weight)


def read_part(job: Job, name: str, parts: NDArray[np.str_]) -> Part:
    """A part with its labels and weights, refused unless every value is one that training understands."""
    columns = job.spec.source.columns
    rows = SnapshotRows(job.snapshot, parts == name, job.spec.source.features.categorical)
    label = _numbers(rows, columns.label, f"{name} label")
    if len(rows):
        _check_labels(job, name, label)
    weight = None
    if columns.weight:
        weight = _numbers(rows, columns.weight, f"{name} weight")
        _check_weights(name, columns.weight, weight)
    return Part(name, rows, label, weight)


def _numbers(rows: SnapshotRows, column: str, what: str) -> Floats:
    values = rows.column(column)
    if not any(str(values.type).startswith(kind) for kind in ("int", "uint", "float", "double", "bool", "half")):
        raise TrainingFailed(f"{what} column {column!r} has type {values.type}; the snapshot must hold numbers")
    if str(values.type) == "bool":
        values = values.cast("int8")
    array = np.asarray(values.cast("float64").fill_null(np.nan).to_numpy(), np.float64)
    if (wrong := ~np.isfinite(array)).any():
        row = int(np.flatnonzero(wrong)[0])
        raise TrainingFailed(
            f"{what} column {column!r}: {int(wrong.sum())} of {len(array)} values are null, NaN or infinite, "
            f"the first at row {row} of its part"
        )
    return array


def _check_labels(job: Job, name: str, label: Floats) -> None:
    column, task = job.spec.source.columns.label, job.spec.task
    if task is Task.REGRESSION:
        _check_targets(job, name, label)
        return
    allowed = np.arange(len(job.classes or ())) if task is Task.MULTICLASS else np.array([0.0, 1.0])
    wrong = label[~np.isin(label, allowed)]
    if len(wrong):
        raise TrainingFailed(
            f"{name} label column {column!r}: {len(wrong)} values are no class, the first {wrong[0]:g}; "
            f"classes are {', '.join(f'{value:g}' for value in allowed)}"
        )
    seen = np.unique(label)
    if name in ("train", "validation") and len(seen) < len(allowed):
        absent = sorted(set(allowed.tolist()) - set(seen.tolist()))
        raise TrainingFailed(
            f"{name} label column {column!r}: {'one class only' if len(seen) == 1 else 'a class is absent'}: no row of "
            f"class {', '.join(f'{value:g}' for value in absent)} in {len(label)} rows"
        )


def _check_targets(job: Job, name: str, label: Floats) -> None:
    objective, column = job.spec.training.objective(job.spec.task), job.spec.source.columns.label
    if (objective in NONNEGATIVE and label.min() < 0) or (objective in POSITIVE and label.min() <= 0):
        raise TrainingFailed(f"{name} label column {column!r}: {label.min():g} is not for objective {objective!r}")
    if np.abs(label).max() > np.finfo(np.float32).max:
        raise TrainingFailed(f"{name} label column {column!r}: values beyond float32, in which LightGBM keeps labels")
    if name == "train" and label.min() == label.max():
        raise TrainingFailed(f"{name} label column {column!r}: every value is {label[0]:g}; there is nothing to learn")


def _check_weights(name: str, column: str, weight: Floats) -> None:
    if len(weight) and (weight.min() < 0 or weight.sum() <= 0):
        raise TrainingFailed(
            f"{name} weight column {column!r}: {int((weight < 0).sum())} values are negative, their sum is "
            f"{weight.sum():g}; weights must be at least 0 and not all 0"
        )


def class_weights(label: Floats) -> dict[float, float]:
    """Weight by class so that all classes weigh the same: rows / (classes x rows of the class)."""
    classes, counts = np.unique(label, return_counts=True)
    return {float(c): len(label) / (len(classes) * int(n)) for c, n in zip(classes, counts, strict=True)}


# ---- data for LightGBM -----------------------------------------------------------------------------


class EncodedRows(lgb.Sequence):
    """A part's encoded rows, produced batch by batch.

    LightGBM reads forward: twice for training (to find bins, to fill them), once for validation.
    """

    batch_size = 16_384

    def __init__(self, rows: SnapshotRows, features: Sequence[Feature]) -> None:
        self._rows, self._features = rows, features
        self._batches: Iterator[Floats]
        self._release()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int | slice | list[int]) -> Floats:
        if isinstance(place, slice):
            start, stop, _ = place.indices(len(self))
            return self._range(start, stop)
        if isinstance(place, list):
            return np.stack([self[index] for index in place])
        self._seek(place)
        row: Floats = self._block[place - self._first]
        return row

    def _restart(self) -> None:
        self._release()
        self._batches = self._rows.encoded(self._features)

    def _release(self) -> None:
        """Hold no batch and no open reader: LightGBM keeps this object as long as its data set."""
        self._batches = iter(())
        self._first, self._block = 0, np.empty((0, len(self._features)))

    def _seek(self, place: int) -> None:
        if place < self._first or (not self._first and not len(self._block)):
            self._restart()
        while place >= self._first + len(self._block):
            self._first += len(self._block)
            self._block = next(self._batches)

    def _range(self, start: int, stop: int) -> Floats:
        pieces = []
        while start < stop:
            self._seek(start)
            piece = self._block[start - self._first : stop - self._first]
            pieces.append(piece)
            start += len(piece)
        whole = np.ascontiguousarray(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))
        if stop == len(self):
            self._release()
        return whole


def dataset(
    part: Part, features: Sequence[Feature], params: Params, weights: Mapping[float, float] | None
) -> lgb.Dataset:
    """A part as LightGBM wants it, not binned yet."""
    weight = part.weight
    if weights is not None:
        by_class = np.vectorize(weights.__getitem__, otypes=[np.float64])(part.label)
        weight = by_class if weight is None else weight * by_class
    return lgb.Dataset(
        EncodedRows(part.rows, features),
        label=part.label,
        weight=weight,
        feature_name=[text_name(feature.name) for feature in features],
        categorical_feature=[i for i, feature in enumerate(features) if feature.kind is FeatureKind.CATEGORICAL],
        params=params,
    )


# ---- parameters and search -------------------------------------------------------------------------


def base_params(job: Job, features: Sequence[Feature]) -> Params:
    """The parameters every trial shares. The last group makes the trees a function of data and seed alone."""
    training, task = job.spec.training, job.spec.task
    params: Params = {**training.params, "objective": training.objective(task), "metric": training.metric(task)}
    params.pop("early_stopping_min_delta", None)
    params.setdefault("bin_construct_sample_cnt", BIN_SAMPLE)
    if task is Task.MULTICLASS:
        params["num_class"] = len(job.classes or ())
    if training.monotone:
        params["monotone_constraints"] = [training.monotone.get(feature.name, 0) for feature in features]
    return params | {
        "seed": training.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": job.threads,
        "feature_pre_filter": False,
        "verbosity": -1,
    }


@dataclass
class Fit:
    """One run of boosting: the trees, the curve of the early-stopping metric, and its best value."""

    booster: lgb.Booster
    curve: list[float]
    best: float
    params: Params

    @property
    def iterations(self) -> int:
        """Iterations kept."""
        return int(self.booster.best_iteration)


def boost(job: Job, params: Params, train: lgb.Dataset, validation: lgb.Dataset) -> Fit:
    """Boost with early stopping on the validation part."""
    training, curve = job.spec.training, dict[str, Any]()
    stop = lgb.early_stopping(
        training.early_stopping,
        first_metric_only=True,
        verbose=False,
        min_delta=float(training.params.get("early_stopping_min_delta", 0.0)),
    )
    booster = lgb.train(
        params,
        train,
        training.rounds,
        valid_sets=[validation],
        valid_names=["validation"],
        callbacks=[stop, lgb.record_evaluation(curve), _progress(training.rounds)],
    )
    values = next(iter(curve["validation"].values()))
    return Fit(booster, list(values), float(values[booster.best_iteration - 1]), params)


def _say(line: str) -> None:
    """A line in the training log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _progress(rounds: int) -> Callable[[Any], None]:
    def report(env: Any) -> None:
        if (env.iteration + 1) % 50 == 0 and env.evaluation_result_list:
            name, metric, value = env.evaluation_result_list[0][:3]
            _say(f"iteration {env.iteration + 1}/{rounds}: {name} {metric} {value:.6g}")

    return report


def search(job: Job, params: Params, train: lgb.Dataset, validation: lgb.Dataset) -> tuple[Params, list[SearchTrial]]:
    """The best parameters of a bounded, seeded search; the validation part judges, nothing else is seen."""
    import optuna

    section = job.spec.training.search
    if section is None:
        return {}, []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    greater_is_better = params["metric"] in ("auc", "average_precision")

    def objective(trial: optuna.Trial) -> float:
        chosen = {name: _suggest(trial, name, values) for name, values in section.space.items()}
        best = boost(job, {**params, **chosen}, train, validation).best
        _say(f"trial {trial.number}: {params['metric']} {best:.6g} with {chosen}")
        return best

    study = optuna.create_study(
        direction="maximize" if greater_is_better else "minimize",
        sampler=optuna.samplers.TPESampler(seed=job.spec.training.seed),
    )
    study.optimize(objective, n_trials=section.trials, timeout=section.timeout.total_seconds())
    trials = [SearchTrial(number=t.number, params=t.params, value=t.value) for t in study.trials]
    return dict(study.best_params), trials


def _suggest(trial: Any, name: str, values: tuple[Parameter, ...]) -> Parameter:
    if not is_range(values):
        chosen: Parameter = trial.suggest_categorical(name, list(values))
        return chosen
    low, high = (float(value) for value in values)
    if all(isinstance(value, int) for value in values):
        return int(trial.suggest_int(name, int(low), int(high), log=low >= 1 and high / low >= 10))
    return float(trial.suggest_float(name, low, high, log=low > 0 and high / low >= 100))


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
                _say(sentence)
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
