"""One part of a snapshot for training: its labels and weights checked, its rows fed to LightGBM batch by batch.

Training sees exactly the float64 values that serving encodes. To hold one million rows of them would cost
twice the float32 size of the data; instead LightGBM is fed in batches straight from the snapshot
(``lightgbm.Sequence``) and keeps only its own bins, one byte per value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from gauntlet.adapters.snapshot_rows import SnapshotRows
from gauntlet.adapters.training_job import Job
from gauntlet.core.errors import TrainingFailed
from gauntlet.core.model_text import text_name
from gauntlet.core.records.model import Feature, FeatureKind, Task

Floats = NDArray[np.float64]
NONNEGATIVE = {"poisson", "tweedie"}
POSITIVE = {"gamma"}


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
    part: Part, features: Sequence[Feature], params: dict[str, Any], weights: Mapping[float, float] | None
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
