"""The metrics a gate may use: which way is better, for which task, and one way to measure.

This module is light: specs check their metric names with it. The arithmetic is in
:mod:`gauntlet.core.kernels`, loaded at the first measurement. A metric that is not defined on the rows
it was given (none, one class, NaN) raises :class:`MetricError`; it never yields a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gauntlet.core.records.model import Task
from gauntlet.core.registry import did_you_mean
from gauntlet.core.specs.profit import ProfitSection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

BINARY, REGRESSION, MULTICLASS = (Task.BINARY,), (Task.REGRESSION,), (Task.MULTICLASS,)


class MetricError(ValueError):
    """A metric is not defined on these rows."""


@dataclass(frozen=True)
class Metric:
    """What is known of a metric without data."""

    title: str
    higher_is_better: bool
    tasks: tuple[Task, ...]
    needs_threshold: bool = False
    minority: bool = False
    """Whether it looks at one class alone: what a good average hides."""

    @property
    def sign(self) -> int:
        """+1 where higher is better, else -1."""
        return 1 if self.higher_is_better else -1


METRICS: Mapping[str, Metric] = {
    "roc_auc": Metric("area under the ROC curve", True, BINARY),
    "pr_auc": Metric("average precision", True, BINARY, minority=True),
    "log_loss": Metric("logarithmic loss", False, BINARY + MULTICLASS),
    "brier": Metric("Brier score", False, BINARY),
    "ks": Metric("Kolmogorov-Smirnov distance of the classes' scores", True, BINARY),
    "ece": Metric("expected calibration error, ten bins of equal mass", False, BINARY),
    "lift": Metric("lift of the highest-scored tenth", True, BINARY, minority=True),
    "accuracy": Metric("accuracy", True, BINARY + MULTICLASS, needs_threshold=True),
    "f1": Metric("F1 of the positive class", True, BINARY, needs_threshold=True, minority=True),
    "precision": Metric("precision of the positive class", True, BINARY, needs_threshold=True, minority=True),
    "recall": Metric("recall of the positive class", True, BINARY, needs_threshold=True, minority=True),
    "f1_negative": Metric("F1 of the negative class", True, BINARY, needs_threshold=True, minority=True),
    "precision_negative": Metric("precision of the negative class", True, BINARY, needs_threshold=True, minority=True),
    "recall_negative": Metric("recall of the negative class", True, BINARY, needs_threshold=True, minority=True),
    "macro_f1": Metric("mean F1 over the classes", True, BINARY + MULTICLASS, needs_threshold=True),
    "profit": Metric("profit per decision", True, BINARY + REGRESSION, needs_threshold=True),
    "rmse": Metric("root mean squared error", False, REGRESSION),
    "mae": Metric("mean absolute error", False, REGRESSION),
    "wape": Metric("sum of absolute errors over sum of absolute labels", False, REGRESSION),
    "mape": Metric("mean absolute percentage error, labels near zero counted as their mean size", False, REGRESSION),
    "r2": Metric("share of variance explained", True, REGRESSION),
    "pinball_10": Metric("pinball loss of the 10 % quantile", False, REGRESSION),
    "pinball_50": Metric("pinball loss of the median", False, REGRESSION),
    "pinball_90": Metric("pinball loss of the 90 % quantile", False, REGRESSION),
}
"""Every metric by the name a spec uses."""

PRIMARY: Mapping[Task, str] = {Task.BINARY: "roc_auc", Task.REGRESSION: "rmse", Task.MULTICLASS: "log_loss"}
"""The metric that a gate compares by when the spec names none."""


@dataclass(frozen=True)
class Sample:
    """Rows to measure on: ``label`` (n,), ``score`` (n,) or, multiclass, (n, classes); ``weight`` (n,) or None."""

    label: Floats
    score: Floats
    weight: Floats | None = None
    threshold: float | None = None
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    profit: ProfitSection | None = None

    def __len__(self) -> int:
        return len(self.label)


def metric_of(name: str, task: Task) -> Metric:
    """The metric called ``name``; ValueError when there is none or it does not fit the task."""
    metric = METRICS.get(name)
    fitting = [key for key, value in METRICS.items() if task in value.tasks]
    if metric is None or task not in metric.tasks:
        what = "unknown metric" if metric is None else f"not a metric of a {task} model:"
        raise ValueError(f"{what} {name!r}: {did_you_mean(name, fitting)}")
    return metric


def measure(name: str, sample: Sample) -> float:
    """The metric's value on a sample, weighted where weights are given; MetricError where it is not defined."""
    from gauntlet.core.kernels import value_of

    return value_of(name, sample)
