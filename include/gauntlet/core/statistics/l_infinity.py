"""Largest change of a single cell's share."""

from __future__ import annotations

import math

import numpy as np

from gauntlet.core.axis import Floats
from gauntlet.core.statistics.base import (
    BOTH,
    POWER,
    Effect,
    Pair,
    Relevance,
    Statistic,
    distance_to_limit,
    normal_test,
    rows_for_spread,
)


def l_infinity(reference: Floats, current: Floats) -> float:
    """``max |q - p|`` over the cells' shares.

    >>> round(l_infinity(np.array([0.5, 0.5]), np.array([0.4, 0.6])), 3)
    0.1
    """
    return float(np.abs(reference - current).max(initial=0.0))


def _measure(pair: Pair) -> Effect:
    reference, current = pair.cells.reference, pair.cells.current
    return Effect(l_infinity(reference / max(reference.sum(), 1), current / max(current.sum(), 1)))


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """Normal error of the worst share, corrected for the number of cells (Bonferroni)."""
    cells = pair.cells
    if cells.freedom < 1:
        return Relevance(1.0, 0.0)
    share = (cells.reference + cells.current) / max((cells.reference + cells.current).sum(), 1)
    error = math.sqrt(float((share * (1 - share)).max()) * cells.spread)
    more, less = normal_test(*effect.bounds, error, limit)

    def rows(alpha: float) -> int | None:
        from scipy.special import ndtri

        distance = float(ndtri(1 - alpha) + ndtri(1 - (1 - POWER) / (2 * len(share))))
        apart = distance_to_limit(effect.value or 0.0, 0.8 * error, limit)
        return rows_for_spread(4 * (apart / distance) ** 2, int(cells.reference.sum()))

    return Relevance(min(1.0, more * len(share)), less, rows)


L_INFINITY = Statistic("l_infinity", "largest change of a share", "", BOTH, "drift", _measure, _test)
