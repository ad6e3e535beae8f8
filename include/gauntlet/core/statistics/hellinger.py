"""Hellinger distance."""

from __future__ import annotations

import math

import numpy as np

from gauntlet.core.axis import Floats
from gauntlet.core.statistics.base import BOTH, Effect, Pair, Relevance, Statistic, chi_squared_test


def hellinger(reference: Floats, current: Floats) -> float:
    """``sqrt(1 - sum(sqrt(p q)))``: 0 for equal shares, 1 for disjoint ones.

    >>> hellinger(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    """
    apart = np.sqrt(reference) - np.sqrt(current)
    return math.sqrt(0.5 * float(apart @ apart))


def _measure(pair: Pair) -> Effect:
    reference, current = pair.cells.reference, pair.cells.current
    return Effect(hellinger(reference / max(reference.sum(), 1), current / max(current.sum(), 1)))


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """The squared distance is about an eighth of the chi-squared distance."""
    return chi_squared_test(8.0)(pair, Effect((effect.value or 0.0) ** 2), limit**2)


HELLINGER = Statistic("hellinger", "Hellinger distance", "", BOTH, "drift", _measure, _test)
