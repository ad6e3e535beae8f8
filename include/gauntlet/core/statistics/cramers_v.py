"""Cramér's V between "which window" and "which cell"."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.statistics.base import CATEGORICAL, Effect, Pair, Relevance, Statistic, chi_squared_test
from gauntlet.core.statistics.chi_squared import chi_squared


def cramers_v(reference: NDArray[np.int64], current: NDArray[np.int64]) -> float:
    """``sqrt(chi^2 / N)`` of the 2 x K table (Cramér 1946), as textbooks have it.

    >>> round(cramers_v(np.array([10, 20]), np.array([20, 10])), 6)
    0.333333
    """
    rows = int(reference.sum() + current.sum())
    return math.sqrt(chi_squared(reference, current) / rows) if rows else 0.0


def balanced_v(reference: Floats, current: Floats) -> float:
    """Cramér's V as if both windows had equally many rows: from shares, so a window's size does not change it."""
    some = (reference + current) > 0
    p, q = reference[some], current[some]
    return math.sqrt(0.5 * float(((p - q) ** 2 / (p + q)).sum()))


def _measure(pair: Pair) -> Effect:
    reference, current = pair.cells.reference, pair.cells.current
    return Effect(balanced_v(reference / max(reference.sum(), 1), current / max(current.sum(), 1)))


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """``4 V^2`` is the chi-squared distance of the shares from their mean."""
    return chi_squared_test(4.0)(pair, Effect((effect.value or 0.0) ** 2), limit**2)


CRAMERS_V = Statistic("cramers_v", "Cramér's V", "", CATEGORICAL, "drift", _measure, _test)
