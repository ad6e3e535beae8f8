"""The arithmetic of metrics, written once for both a point value and a bootstrap.

A kernel looks at the rows (sorts, bins, losses) and returns a function from row weights, shape (b, n), to
values, shape (b,). The point value is that function at the rows' own weights; a bootstrap replicate is the same
function at resampled counts, so the two cannot disagree, and sorting is paid once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gauntlet.core import rank_kernels as ranks
from gauntlet.core.metrics import METRICS, MetricError, Sample
from gauntlet.core.rank_kernels import EPSILON, Counts, Floats, Weighted

__all__ = ["KERNELS", "Weighted", "prepare", "profit_rows", "row_losses", "value_of"]


def value_of(name: str, sample: Sample) -> float:
    """One metric on one sample."""
    weights = np.ones(len(sample)) if sample.weight is None else sample.weight
    value = float(prepare(name, sample)(weights[None, :])[0])
    if not np.isfinite(value):
        raise MetricError(f"{name} is {value} on {len(sample)} rows")
    return value


def prepare(name: str, sample: Sample) -> Weighted:
    """The metric as a function of row weights; raises :class:`MetricError` for rows it is not defined on."""
    _check(name, sample)
    with np.errstate(all="ignore"):
        return _quiet(KERNELS[name](sample))


def _quiet(weighted: Weighted) -> Weighted:
    def apply(counts: Counts) -> Floats:
        with np.errstate(all="ignore"):
            return weighted(counts)

    return apply


def _check(name: str, sample: Sample) -> None:
    if len(sample) == 0:
        raise MetricError(f"{name}: no rows")
    if len(sample.score) != len(sample.label):
        raise MetricError(f"{name}: {len(sample.label)} labels but {len(sample.score)} scores")
    for what, values in (("label", sample.label), ("score", sample.score), ("weight", sample.weight)):
        if values is not None and not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise MetricError(f"{name}: {bad} of {values.size} {what} values are NaN or infinite")
    if sample.weight is not None and (sample.weight.min() < 0 or sample.weight.sum() <= 0):
        raise MetricError(f"{name}: weights must be at least 0 and not all 0")
    _check_shape(name, sample)


def _check_shape(name: str, sample: Sample) -> None:
    metric, matrix = METRICS[name], sample.score.ndim == 2
    if metric.needs_threshold and not matrix and sample.threshold is None and not _is_free(name, sample):
        raise MetricError(f"{name}: the model has no decision threshold; set training.threshold")
    if matrix or name in ("rmse", "mae", "wape", "mape", "r2", "profit") or name.startswith("pinball"):
        return
    if not np.isin(sample.label, (0.0, 1.0)).all():
        raise MetricError(f"{name}: labels other than 0 and 1")
    if name != "accuracy" and not 0 < sample.label.mean() < 1:
        raise MetricError(f"{name}: all {len(sample)} rows have label {int(sample.label[0])}")


def _is_free(name: str, sample: Sample) -> bool:
    return name == "profit" and sample.profit is not None and sample.profit.function is not None


# ---- sums ------------------------------------------------------------------------------------------


def _sums(counts: Counts, values: Floats) -> Floats:
    """counts (b, n) times values (n,) or (n, k).

    Not a product by BLAS: that adds up in another order with another number of threads, and a verdict must have the
    same bytes everywhere; its threads also stand in the way of those that draw the replicates.
    """
    if values.ndim == 1:
        return np.asarray(np.einsum("bn,n->b", counts, values))
    return np.column_stack([np.einsum("bn,n->b", counts, np.ascontiguousarray(column)) for column in values.T])


def _total(counts: Counts) -> Floats:
    return np.asarray(counts.sum(axis=1, dtype=np.float64))


def _mean(values: Floats) -> Weighted:
    return lambda counts: _sums(counts, values) / _total(counts)


def _log_loss(sample: Sample) -> Weighted:
    return _mean(row_losses("log_loss", sample))


def row_losses(name: str, sample: Sample) -> Floats:
    """The loss of each row, for metrics that are a mean over rows; shape (n,)."""
    label, score = sample.label, sample.score
    if name == "log_loss" and score.ndim == 2:
        shares = score / score.sum(axis=1, keepdims=True)
        chosen = shares[np.arange(len(label)), _codes(sample)]
        return np.asarray(-np.log(np.clip(chosen, EPSILON, 1)))
    if name == "log_loss":
        chance = np.clip(np.where(label == 1, score, 1 - score), EPSILON, 1)
        return np.asarray(-np.log(chance))
    if name == "brier":
        return np.asarray((label - score) ** 2)
    return np.asarray(np.abs(label - score))


def _codes(sample: Sample) -> npt.NDArray[np.intp]:
    codes = sample.label.astype(np.intp)
    if (codes != sample.label).any() or codes.min() < 0 or codes.max() >= sample.score.shape[1]:
        raise MetricError(f"labels must be class codes 0 to {sample.score.shape[1] - 1}")
    return codes


def _brier(sample: Sample) -> Weighted:
    return _mean(row_losses("brier", sample))


def _mae(sample: Sample) -> Weighted:
    return _mean(row_losses("mae", sample))


def _rmse(sample: Sample) -> Weighted:
    mean = _mean((sample.label - sample.score) ** 2)
    return lambda counts: np.sqrt(mean(counts))


def _wape(sample: Sample) -> Weighted:
    errors, sizes = np.abs(sample.label - sample.score), np.abs(sample.label)
    return lambda counts: _sums(counts, errors) / _sums(counts, sizes)


def _mape(sample: Sample) -> Weighted:
    size = np.abs(sample.label)
    return _mean(np.abs(sample.label - sample.score) / np.maximum(size, size.mean()))


def _r2(sample: Sample) -> Weighted:
    centred = sample.label - sample.label.mean()
    table = np.column_stack([(sample.label - sample.score) ** 2, centred, centred**2])

    def weighted(counts: Counts) -> Floats:
        errors, first, second = (_sums(counts, table) / _total(counts)[:, None]).T
        return np.asarray(1 - errors / (second - first**2))

    return weighted


def _pinball(quantile: float) -> Callable[[Sample], Weighted]:
    def kernel(sample: Sample) -> Weighted:
        miss = sample.label - sample.score
        return _mean(np.maximum(quantile * miss, (quantile - 1) * miss))

    return kernel


# ---- decisions -------------------------------------------------------------------------------------


def _decisions(sample: Sample) -> npt.NDArray[np.intp]:
    if sample.score.ndim == 2:
        return np.asarray(sample.score.argmax(axis=1))
    return np.asarray((sample.score >= _threshold(sample)).astype(np.intp))


def _threshold(sample: Sample) -> float:
    if sample.threshold is None:
        raise MetricError("the model has no decision threshold; set training.threshold")
    return sample.threshold


def _accuracy(sample: Sample) -> Weighted:
    return _mean((_decisions(sample) == sample.label).astype(np.float64))


def _class_table(sample: Sample, wanted: int) -> Floats:
    """Per row: right decision for, decision for, and membership of, one class; shape (n, 3)."""
    decided, member = _decisions(sample) == wanted, sample.label == wanted
    return np.column_stack([decided & member, decided, member]).astype(np.float64)


def _per_class(kind: str, wanted: int) -> Callable[[Sample], Weighted]:
    def kernel(sample: Sample) -> Weighted:
        table = _class_table(sample, wanted)

        def weighted(counts: Counts) -> Floats:
            hits, decided, members = _sums(counts, table).T
            # A class that is never decided for has precision and F1 0: that is what its users get.
            below = {"f1": (decided + members) / 2, "precision": np.maximum(decided, EPSILON), "recall": members}[kind]
            return np.asarray(hits / below)

        return weighted

    return kernel


def _macro_f1(sample: Sample) -> Weighted:
    classes = range(sample.score.shape[1]) if sample.score.ndim == 2 else (0, 1)
    absent = [code for code in classes if not (sample.label == code).any()]
    if absent:
        raise MetricError(f"macro_f1: no row of class {absent[0]}")
    kernels = [_per_class("f1", code)(sample) for code in classes]
    return lambda counts: np.asarray(np.mean([kernel(counts) for kernel in kernels], axis=0))


# ---- business --------------------------------------------------------------------------------------


def profit_rows(sample: Sample) -> Floats:
    """The value of each row's decision, shape (n,)."""
    profit = sample.profit
    if profit is None:
        raise MetricError("profit: the spec does not say what a decision is worth")
    absent = [name for name in profit.reads if name not in sample.columns]
    if absent:
        raise MetricError(f"profit: no column {absent[0]!r} among the evaluated rows")
    if profit.function is not None:
        values = _user_function(profit.function)(sample.label, sample.score, sample.threshold, sample.columns)
    else:
        acted = (sample.score < _threshold(sample)) == (profit.act == "below")
        good = sample.label == profit.good
        values = np.where(acted, np.where(good, _amount(sample, profit.gain), -_amount(sample, profit.loss)), 0.0)
    rows = np.asarray(values, dtype=np.float64)
    if rows.shape != sample.label.shape:
        raise MetricError(f"profit: {rows.shape} values for {sample.label.shape} rows")
    if not np.isfinite(rows).all():
        raise MetricError(f"profit: {int((~np.isfinite(rows)).sum())} row values are NaN or infinite")
    return rows


def _amount(sample: Sample, source: str | float | None) -> Floats:
    value = sample.columns[source] if isinstance(source, str) else source
    return np.broadcast_to(np.asarray(value, dtype=np.float64), sample.label.shape)


def _user_function(dotted: str) -> Callable[..., Any]:
    module, _, name = dotted.partition(":")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise MetricError(f"profit: function {dotted!r} cannot be loaded: {error}") from None


def _profit(sample: Sample) -> Weighted:
    values = profit_rows(sample)
    if sample.profit is None or sample.profit.aggregate == "mean":
        return _mean(values)
    table = np.column_stack([values, values**2])

    def sharpe(counts: Counts) -> Floats:
        first, second = (_sums(counts, table) / _total(counts)[:, None]).T
        return np.asarray(first / np.sqrt(second - first**2))

    return sharpe


KERNELS: Mapping[str, Callable[[Sample], Weighted]] = {
    "roc_auc": ranks.roc_auc,
    "pr_auc": ranks.pr_auc,
    "log_loss": _log_loss,
    "brier": _brier,
    "ks": ranks.ks,
    "ece": ranks.ece,
    "lift": ranks.lift,
    "accuracy": _accuracy,
    "f1": _per_class("f1", 1),
    "precision": _per_class("precision", 1),
    "recall": _per_class("recall", 1),
    "f1_negative": _per_class("f1", 0),
    "precision_negative": _per_class("precision", 0),
    "recall_negative": _per_class("recall", 0),
    "macro_f1": _macro_f1,
    "profit": _profit,
    "rmse": _rmse,
    "mae": _mae,
    "wape": _wape,
    "mape": _mape,
    "r2": _r2,
    "pinball_10": _pinball(0.1),
    "pinball_50": _pinball(0.5),
    "pinball_90": _pinball(0.9),
}
"""One kernel per metric of :data:`gauntlet.core.metrics.METRICS`."""
