"""Ratio of the standard deviations."""

from __future__ import annotations

import math

import numpy as np

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

ROUNDING = 1e-9
"""Share of a sum of squares below which what is left of it after a subtraction is noise."""


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
    squares = np.square((middle - column.moments.mean) / sigma)
    return max(float((column.pieces * squares * squares).sum()) / column.valid, 1.0)


def sigma_without_extremes(column: Numbers) -> float:
    """Standard deviation without the smallest and the largest row."""
    moments = column.moments
    n, mean, m2 = moments.n, moments.mean, moments.m2
    for value in (column.minimum, column.maximum):
        if n < 3 or not math.isfinite(value):
            return moments.sigma
        apart = value - mean
        m2 -= apart * apart * n / (n - 1)
        mean -= apart / (n - 1)
        n -= 1
    if m2 > ROUNDING * moments.m2:
        return math.sqrt(m2 / n)
    return _inner_sigma(column)


def _inner_sigma(column: Numbers) -> float:
    """From the middles of all pieces but the outermost: where the extremes are so far out that sums drown the rest."""
    ends = column.axis.piece_ends(column.minimum, column.maximum)
    middle, rows = 0.5 * (ends[1:-2] + ends[2:-1]), column.pieces[1:-1]
    if not rows.sum():
        return 0.0
    mean = np.average(middle, weights=rows)
    return math.sqrt(float(np.average(np.square(middle - mean), weights=rows)))


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """On logarithms; the error of a log standard deviation is ``sqrt((kurtosis - 1) / 4n)``.

    A change that the smallest and the largest row alone make is no change of the distribution: the smaller of the
    ratios with and without them is tested, with the lighter of the two tails: one far row makes one of them heavy,
    a heavy-tailed column both.
    """
    reference, current = pair.numbers
    parts = [max(kurtosis(column) - 1, 2.0) / 4 for column in (reference, current)]
    lighter = min(parts)
    # Few rows of a heavy tail rarely show it: if nothing has changed, the reference's tail is theirs too.
    parts[1] = max(parts)
    error = math.sqrt(parts[0] / reference.valid + parts[1] / current.valid)
    inner = [sigma_without_extremes(column) for column in (reference, current)]
    ratio = inner[1] / inner[0] if all(inner) else 1.0
    value = min(math.log(effect.value or 1.0), abs(math.log(ratio)))
    if value < math.log(effect.value or 1.0):
        parts = [lighter] * 2
        error = math.sqrt(parts[0] * pair.valid_spread)
    more, less = normal_test(value, value, error, math.log(limit))

    def rows(alpha: float) -> int | None:
        from scipy.special import ndtri

        distance = float(ndtri(1 - alpha) + ndtri(0.5 + POWER / 2))
        apart = distance_to_limit(value, 0.8 * error, math.log(limit))
        return rows_for_spread((apart / distance) ** 2 / max(parts), reference.valid)

    return Relevance(more, less, rows)


SIGMA_RATIO = Statistic("sigma_ratio", "ratio of standard deviations", "×", NUMERIC, "drift", _measure, _test)
