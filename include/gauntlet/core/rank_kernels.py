"""Metrics of how scores rank rows, as functions of row weights; see :mod:`gauntlet.core.kernels`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gauntlet.core.metrics import Sample

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[Any]
Weighted = Callable[[Counts], Floats]
EPSILON = 1e-15
BINS = 10
TOP = 0.10


def roc_auc(sample: Sample) -> Weighted:
    """Wilcoxon's statistic: sum over positives of the negatives below, ties counted half."""
    positive = np.flatnonzero(sample.label == 1)
    negative = np.flatnonzero(sample.label == 0)
    negative = negative[np.argsort(sample.score[negative], kind="stable")]
    # Positives in score order too: the look-ups below then walk through memory.
    positive = positive[np.argsort(sample.score[positive], kind="stable")]
    ordered = sample.score[negative]
    below = np.searchsorted(ordered, sample.score[positive], side="left")
    upto = np.searchsorted(ordered, sample.score[positive], side="right")
    tied = bool((below != upto).any())

    def weighted(counts: Counts) -> Floats:
        kind = np.float64 if counts.dtype.kind == "f" else np.int32
        running = np.zeros((len(counts), len(negative) + 1), dtype=kind)
        np.cumsum(counts[:, negative], axis=1, out=running[:, 1:])
        under = running[:, below].astype(np.float64)
        if tied:
            under = (under + running[:, upto]) / 2
        own = counts[:, positive].astype(np.float64, copy=False)
        return np.asarray(np.einsum("bp,bp->b", own, under) / (own.sum(axis=1) * running[:, -1]))

    return weighted


def _curve(sample: Sample) -> Callable[[Counts], tuple[Floats, Floats]]:
    """Running weights of positives and of all rows, from the highest score down, at the end of each tie group."""
    order = np.argsort(-sample.score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(sample.score[order]) != 0, True))
    label = sample.label[order]

    def weighted(counts: Counts) -> tuple[Floats, Floats]:
        rows = counts[:, order].astype(np.float64)
        everything = np.cumsum(rows, axis=1)[:, ends]
        rows *= label
        return np.cumsum(rows, axis=1)[:, ends], everything

    return weighted


def pr_auc(sample: Sample) -> Weighted:
    """Mean over the positives of the precision from the highest score down to each one's, its ties included."""
    order = np.argsort(-sample.score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(sample.score[order]) != 0, True))
    places = np.flatnonzero(sample.label[order] == 1)
    positive = order[places]
    # For each positive: the last row, and the last positive, of its tie group.
    until = ends[np.searchsorted(ends, places)]
    last = np.searchsorted(places, until, side="right") - 1

    def weighted(counts: Counts) -> Floats:
        kind = np.float64 if counts.dtype.kind == "f" else np.int32
        rows = np.cumsum(counts[:, order], axis=1, dtype=kind)[:, until]
        own = counts[:, positive].astype(np.float64)
        hits = np.cumsum(own, axis=1)
        precision = hits[:, last] / np.maximum(rows, EPSILON)
        return np.asarray(np.einsum("bp,bp->b", own, precision) / hits[:, -1])

    return weighted


def ks(sample: Sample) -> Weighted:
    """The largest gap between the score distributions of both classes."""
    curve = _curve(sample)

    def weighted(counts: Counts) -> Floats:
        hits, rows = curve(counts)
        misses = rows - hits
        return np.asarray(np.abs(hits / hits[:, -1:] - misses / misses[:, -1:]).max(axis=1))

    return weighted


def lift(sample: Sample) -> Weighted:
    """Rate of positives in the highest-scored tenth over the rate in all rows; a tie at the edge counts in part."""
    curve = _curve(sample)

    def weighted(counts: Counts) -> Floats:
        hits, rows = curve(counts)
        found = [np.interp(TOP * r[-1], np.append(0, r), np.append(0, h)) for h, r in zip(hits, rows, strict=True)]
        return np.asarray(found) / (TOP * hits[:, -1])

    return weighted


def ece(sample: Sample) -> Weighted:
    """Weighted mean of |mean label - mean score| over bins of equal mass (Naeini et al. 2015, adaptive bins)."""
    bins = equal_mass_bins(sample.score, BINS)
    order = np.argsort(bins, kind="stable")
    starts = np.flatnonzero(np.diff(bins[order], prepend=-1))
    gap = (sample.label - sample.score)[order]

    def weighted(counts: Counts) -> Floats:
        rows = counts[:, order].astype(np.float64)
        return np.asarray(np.abs(np.add.reduceat(rows * gap, starts, axis=1)).sum(axis=1) / rows.sum(axis=1))

    return weighted


def equal_mass_bins(score: Floats, bins: int) -> npt.NDArray[np.intp]:
    """The bin of each score, shape (n,); equal scores share a bin."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.asarray(np.searchsorted(edges, score, side="right"))
