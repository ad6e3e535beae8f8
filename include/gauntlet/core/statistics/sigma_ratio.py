"""Ratio of the standard deviations."""

from __future__ import annotations

import math

from gauntlet.core.profile import Numbers
from gauntlet.core.statistics.base import (
    NUMERIC,
    POWER,
    Effect,
    Pair,
    Relevance,
    Statistic,
    distance_to_limit,
    normal_test,
    rows_for_spread,
)


def _measure(pair: Pair) -> Effect:
    """The factor by which the spread changed, at least 1 whether it grew or shrank."""
    reference, current = (column.moments.sigma for column in pair.numbers)
    if not (reference > 0 and current > 0 and math.isfinite(reference) and math.isfinite(current)):
        return Effect(None, note="a window has no spread")
    ratio = current / reference
    return Effect(max(ratio, 1 / ratio), note="up" if ratio > 1 else "down")


def kurtosis(column: Numbers) -> float:
    """Fourth standardised moment, from the middles of pieces; at least 1."""
    sigma = column.moments.sigma
    ends = column.axis.piece_ends(column.minimum, column.maximum)
    middle = 0.5 * (ends[:-1] + ends[1:])
    return max(float((column.pieces * ((middle - column.moments.mean) / sigma) ** 4).sum()) / column.valid, 1.0)


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """On logarithms; the error of a log standard deviation is ``sqrt((kurtosis - 1) / 4n)``.

    A window whose kurtosis is of the order of its rows owes its spread to single rows: its error is large, so one
    outlier is not a change of the distribution.
    """
    reference, current = pair.numbers
    parts = [max(kurtosis(column) - 1, 2.0) / 4 for column in (reference, current)]
    error = math.sqrt(parts[0] / reference.valid + parts[1] / current.valid)
    value = math.log(effect.value or 1.0)
    more, less = normal_test(value, value, error, math.log(limit))

    def rows(alpha: float) -> int | None:
        from scipy.special import ndtri

        distance = float(ndtri(1 - alpha) + ndtri(0.5 + POWER / 2))
        apart = distance_to_limit(value, 0.8 * error, math.log(limit))
        return rows_for_spread((apart / distance) ** 2 / max(parts), reference.valid)

    return Relevance(more, less, rows)


SIGMA_RATIO = Statistic("sigma_ratio", "ratio of standard deviations", "×", NUMERIC, "drift", _measure, _test)
