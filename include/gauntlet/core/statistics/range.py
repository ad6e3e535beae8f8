"""Rows outside the reference's range."""

from __future__ import annotations

from gauntlet.core.statistics.base import (
    NUMERIC,
    Effect,
    Pair,
    Relevance,
    Statistic,
    binomial_rows,
    binomial_test,
)
from gauntlet.core.statistics.cells import shown


def _measure(pair: Pair) -> Effect:
    reference, current = pair.numbers
    if not reference.valid or not current.valid:
        return Effect(None, note="no values")
    low, high = (shown(bound, reference.dtype, 6) for bound in (reference.minimum, reference.maximum))
    return Effect(current.outside / current.valid, note=f"[{low}, {high}]")


def _test(pair: Pair, _effect: Effect, limit: float) -> Relevance:
    """A new row of an unchanged column is outside with chance ``2 / (m + 1)``; beyond that, a binomial tail.

    The limit is of all rows, as for the Kolmogorov-Smirnov distance.
    """
    reference, current = pair.numbers
    limit /= max(pair.valid_share, 1e-9)
    expected = 2 / (reference.valid + 1)
    more, less = binomial_test(current.outside, current.valid, limit, expected)
    return Relevance(more, less, binomial_rows(limit, expected))


RANGE = Statistic("range", "rows outside the reference's range", "", NUMERIC, "drift", _measure, _test)
