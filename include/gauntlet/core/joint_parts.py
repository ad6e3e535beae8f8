"""The parts of the test of everything together: each feature with its weight, in few cells, added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.joint_sum import Combined
from gauntlet.core.statistics.base import Cells
from gauntlet.core.statistics.chi_squared import chi_squared

HELD = 0.99
"""Share of the importance in the features that take part."""
MOST_PARTS = 60


@dataclass(frozen=True)
class Part:
    """One feature: its weight and both windows counted in the same few cells."""

    name: str
    weight: float
    cells: Cells


def heaviest(parts: Sequence[Part]) -> list[Part]:
    """The parts that hold nearly all of the weight, heaviest first: what they leave out cannot matter."""
    ranked = sorted(parts, key=lambda part: (-part.weight, part.name))
    total = sum(part.weight for part in ranked)
    held = np.cumsum([part.weight for part in ranked])
    enough = int(np.searchsorted(held, HELD * total)) + 1
    return ranked[: min(enough, MOST_PARTS)]


def combine(parts: Sequence[Part], dependence: NDArray[np.float64] | None = None) -> Combined | None:
    """The weighted sum; ``None`` when no feature that is used has two cells.

    ``dependence[j, k]`` is the mean-square contingency of two features' cells (Pearson's phi squared), which is
    half the covariance of their chi-squareds; its diagonal is ignored. ``None``: features are independent.
    """
    rows = max((int(part.cells.current.sum()) for part in parts), default=0)
    m = max((int(part.cells.reference.sum()) for part in parts), default=0)
    used = [place for place, part in enumerate(parts) if part.weight > 0 and part.cells.freedom >= 1]
    if not used or not rows or not m:
        return None
    weights = np.array([parts[place].weight for place in used])
    weights /= weights.sum()
    freedom = np.array([parts[place].cells.freedom for place in used], float)
    found = np.array([chi_squared(parts[place].cells.reference, parts[place].cells.current) for place in used])
    phi = np.zeros((len(used), len(used))) if dependence is None else dependence[np.ix_(used, used)].copy()
    bound = np.minimum.outer(freedom, freedom)
    phi = np.clip(phi, 0.0, bound)
    np.fill_diagonal(phi, freedom)
    alike = phi / np.sqrt(np.outer(freedom, freedom))
    added = weights * (found - freedom)
    return Combined(
        value=float(weights @ found),
        mean=float(weights @ freedom),
        variance=float(2 * weights @ phi @ weights),
        reach=float((alike @ weights).max()),
        spread=1 / rows + 1 / m,
        reference_rows=m,
        rows=rows,
        shares={parts[place].name: float(more) for place, more in zip(used, added, strict=True)},
    )


def contingencies(codes: NDArray[np.integer], cells: Sequence[int]) -> Floats:
    """Pearson's phi squared of every pair of columns, without its bias; shape ``(columns, columns)``.

    ``codes``: the cell of every row, shape ``(rows, columns)``; ``cells``: how many cells each column has.
    """
    rows = len(codes)
    if not rows:
        return np.zeros((len(cells), len(cells)))
    starts = np.concatenate(([0], np.cumsum(cells)))
    flags = np.zeros((rows, int(starts[-1])), np.float32)
    for place in range(codes.shape[1]):
        flags[np.arange(rows), starts[place] + codes[:, place]] = 1.0
    share = np.maximum(flags.mean(axis=0, dtype=np.float64), 1e-12)
    together = (flags.T @ flags).astype(np.float64) / max(rows, 1)
    apart = np.square(together - np.outer(share, share)) / np.outer(share, share)
    by_row = np.add.reduceat(apart, starts[:-1], axis=0)
    raw = np.add.reduceat(by_row, starts[:-1], axis=1)
    occupied = np.add.reduceat((share > 1e-9).astype(float), starts[:-1]) - 1
    phi: Floats = np.maximum(raw - np.outer(occupied, occupied) / max(rows, 1), 0.0)
    return phi
