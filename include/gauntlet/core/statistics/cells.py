"""The few cells of a feature that PSI, chi-squared and their kin are taken on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.column_labels import Labels
from gauntlet.core.column_numbers import Numbers

BINS = 10
LEAST_EXPECTED = 5.0
ROOM = 1.2
"""Quantiles are made of whole bins: one that expects so many times the least rows does not fall below them."""
LARGE = 20
"""Rows that a cell in which hardly any are expected never has by chance."""
RARE = "rare or unseen"


@dataclass(frozen=True)
class Cells:
    """Both windows counted in the same few cells, missing rows and unseen categories as cells of their own."""

    names: tuple[str, ...]
    reference: NDArray[np.int64]
    current: NDArray[np.int64]

    @cached_property
    def shares(self) -> tuple[Floats, Floats]:
        """Shares of both windows; an empty cell counts as half a row or FLOOR, so that logarithms stay finite."""
        return _shares(self.reference), _shares(self.current)

    @cached_property
    def freedom(self) -> int:
        """Degrees of freedom of a comparison of both."""
        return int(np.count_nonzero(self.reference + self.current)) - 1

    @cached_property
    def spread(self) -> float:
        """``1/n + 1/m``: the sampling variance of a share's change in units of the share."""
        n, m = int(self.current.sum()), int(self.reference.sum())
        return 1 / n + 1 / m if n and m else math.inf


FLOOR = 1e-4
EPOCH = datetime(1970, 1, 1)
YEAR_9999 = 6e10
"""Seconds; beyond it, or as long before 1970, there is no date."""


def _shares(counts: NDArray[np.int64]) -> Floats:
    total = max(float(counts.sum()), 1.0)
    return np.where(counts == 0, max(0.5 / total, FLOOR), counts / total)


def quantile_cells(reference: Numbers, current: Numbers) -> Cells:
    """Deciles of the reference, made of whole bins; a value with more mass than a decile is a cell of its own.

    Wider cells where either window is so small that a decile would expect fewer rows than a chi-squared bears.
    """
    fit = int(min(reference.valid, current.valid) / (ROOM * LEAST_EXPECTED))
    bins = min(BINS, max(fit, 2))
    ends = np.cumsum(reference.counts)
    marks = np.arange(1, bins) / bins * reference.valid
    cuts = np.unique(np.concatenate((np.searchsorted(ends, marks, side="left") + 1, _around_heavy(reference))))
    cuts = cuts[(cuts > 0) & (cuts < reference.axis.bins)]
    starts = np.concatenate(([0], cuts)).astype(np.int64)
    counted = [np.add.reduceat(column.counts, starts) for column in (reference, current)]
    keep = (counted[0] > 0) | (counted[1] > 0)
    edges = reference.axis.bounds[starts[1:] - 1] if len(starts) > 1 else np.empty(0)
    names = _interval_names(edges, reference.dtype)
    return Cells(
        (*(name for name, kept in zip(names, keep, strict=True) if kept), "missing"),
        np.append(counted[0][keep], reference.missing),
        np.append(counted[1][keep], current.missing),
    )


def _around_heavy(column: Numbers) -> NDArray[np.int64]:
    heavy = np.flatnonzero(column.counts >= column.valid / BINS) if column.valid else np.empty(0, np.int64)
    return np.concatenate((heavy, heavy + 1))


def shown(value: float, dtype: str, digits: int = 4) -> str:
    """A value of a numeric column for people; times are seconds since 1970.

    >>> shown(1767225600.0, "time"), shown(0.123456, "float")
    ('2026-01-01 00:00', '0.1235')
    """
    if dtype != "time" or not abs(value) < YEAR_9999:
        return f"{value:.{digits}g}"
    return (EPOCH + timedelta(seconds=value)).strftime("%Y-%m-%d %H:%M")


def _interval_names(edges: Floats, dtype: str) -> list[str]:
    marks = [shown(edge, dtype) for edge in edges.tolist()]
    return [
        f"[{low}, {high})" if low and high else f"< {high}" if high else f">= {low}" if low else "all"
        for low, high in zip(["", *marks], [*marks, ""], strict=True)
    ]


def category_cells(reference: Labels, current: Labels) -> Cells:
    """Every category of the reference, most frequent first, and what is large in the current window."""
    names = sorted(reference.counts, key=lambda name: (-reference.counts[name], name))
    # A category that is new and large is a cell, as a number with much mass is: one value for all must not look calm.
    large = max(current.valid / BINS, LEAST_EXPECTED)
    names += [name for name, rows in sorted(current.counts.items()) if name not in reference.counts and rows >= large]
    known = [current.counts.get(name, 0) for name in names]
    unseen = current.valid - sum(known)
    return Cells(
        (*names, RARE, "missing"),
        np.array(
            [*(reference.counts.get(name, 0) for name in names), reference.tail_rows, reference.missing], np.int64
        ),
        np.array([*known, unseen, current.missing], np.int64),
    )


def pooled(cells: Cells) -> Cells:
    """Cells too small for a chi-squared distribution are pooled; cells empty in both windows are dropped.

    Which ones is decided by the reference alone: to pool what happens to have few rows now would put all shortfalls
    in one cell, and make a change of chance. Only what is far too large for chance keeps its own.
    """
    n, m = float(cells.current.sum()), float(cells.reference.sum())
    together = cells.reference + cells.current
    if not n or not m:
        return cells
    large = cells.current >= max(LARGE, n / BINS)
    small = (cells.reference * min(n, m) / m < LEAST_EXPECTED) & (together > 0) & ~large
    small |= np.array([name == RARE for name in cells.names]) & (together > 0)
    own = (together > 0) & ~small
    names = [name for name, kept in zip(cells.names, own, strict=True) if kept]
    reference, current = cells.reference[own], cells.current[own]
    if small.any():
        names.append(RARE)
        reference = np.append(reference, cells.reference[small].sum())
        current = np.append(current, cells.current[small].sum())
    return Cells(tuple(names), reference, current)
