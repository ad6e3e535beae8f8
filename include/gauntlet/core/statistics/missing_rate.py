"""Change of the share of missing values."""

from __future__ import annotations

import math

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


def _rates(pair: Pair) -> tuple[float, float] | None:
    reference, current = pair.reference, pair.current
    if not reference.rows or not current.rows:
        return None
    return reference.missing / reference.rows, current.missing / current.rows


def _measure(pair: Pair) -> Effect:
    rates = _rates(pair)
    if rates is None:
        return Effect(None, note="no rows")
    return Effect(abs(rates[1] - rates[0]), note="up" if rates[1] > rates[0] else "down")


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """Normal error with both rates shrunk by half a row, so that a rate of 0 has an error too."""
    m, n = pair.reference.rows, pair.current.rows
    shrunk = [(column.missing + 0.5) / (column.rows + 1) for column in (pair.reference, pair.current)]
    error = math.sqrt(shrunk[0] * (1 - shrunk[0]) / m + max(rate * (1 - rate) for rate in shrunk) / n)
    more, less = normal_test(*effect.bounds, error, limit)

    def rows(alpha: float) -> int | None:
        from scipy.special import ndtri

        distance = float(ndtri(1 - alpha) + ndtri(0.5 + POWER / 2))
        variance = max(max(rate * (1 - rate) for rate in shrunk), limit * (1 - limit) if limit < 1 else 0.25)
        apart = distance_to_limit(effect.value or 0.0, 0.8 * error, limit)
        return rows_for_spread((apart / distance) ** 2 / variance, m)

    return Relevance(more, less, rows)


MISSING_RATE = Statistic("missing_rate", "change of the missing rate", "", BOTH, "drift", _measure, _test)
