"""Chi-squared test of homogeneity of two samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.statistics.base import BOTH, Effect, Pair, Relevance, Statistic, chi_squared_test


def chi_squared(reference: NDArray[np.int64], current: NDArray[np.int64]) -> float:
    """Pearson's statistic of the 2 x K table of counts, without continuity correction.

    Of homogeneity, not of goodness of fit: the reference is a sample too, and treating it as the truth
    alarms on unchanged data.

    >>> chi_squared(np.array([10, 20]), np.array([20, 10]))
    6.666666666666667
    """
    some = (reference + current) > 0
    one, other = reference[some].astype(float), current[some].astype(float)
    m, n = one.sum(), other.sum()
    if not m or not n:
        return 0.0
    share = (one + other) / (m + n)
    return float(((one - m * share) ** 2 / (m * share)).sum() + ((other - n * share) ** 2 / (n * share)).sum())


def _measure(pair: Pair) -> Effect:
    return Effect(chi_squared(pair.cells.reference, pair.cells.current))


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """With limit 0 the classical test; any other limit is in units of the statistic per ``1 / (1/n + 1/m)``."""
    spread = pair.cells.spread
    return chi_squared_test(1.0)(pair, Effect((effect.value or 0.0) * spread), limit)


CHI_SQUARED = Statistic("chi_squared", "chi-squared of homogeneity", "", BOTH, "drift", _measure, _test)
