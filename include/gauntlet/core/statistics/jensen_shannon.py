"""Jensen-Shannon distance."""

from __future__ import annotations

import math

import numpy as np

from gauntlet.core.axis import Floats
from gauntlet.core.statistics.base import BOTH, Effect, Pair, Relevance, Statistic, chi_squared_test


def jensen_shannon(reference: Floats, current: Floats) -> float:
    """Square root of the Jensen-Shannon divergence in bits: 0 for equal shares, 1 for disjoint ones (Lin 1991).

    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    """
    middle = 0.5 * (reference + current)
    return math.sqrt(max(0.5 * (_relative_entropy(reference, middle) + _relative_entropy(current, middle)), 0.0))


def _relative_entropy(shares: Floats, base: Floats) -> float:
    some = shares > 0
    return float((shares[some] * np.log2(shares[some] / base[some])).sum())


def _measure(pair: Pair) -> Effect:
    reference, current = pair.cells.reference, pair.cells.current
    return Effect(jensen_shannon(reference / max(reference.sum(), 1), current / max(current.sum(), 1)))


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """The divergence in nats is about an eighth of the chi-squared distance."""
    squared = Effect((effect.value or 0.0) ** 2)
    return chi_squared_test(8 * math.log(2))(pair, squared, limit**2)


JENSEN_SHANNON = Statistic("jensen_shannon", "Jensen-Shannon distance", "", BOTH, "drift", _measure, _test)
