"""Shift of the mean, in standard deviations of the reference and in standard errors."""

from __future__ import annotations

import math

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


def _shift(pair: Pair) -> tuple[float, float] | None:
    """The shift and its standard error, both in reference standard deviations."""
    reference, current = (column.moments for column in pair.numbers)
    if not reference.n or not current.n or not reference.sigma > 0 or not math.isfinite(reference.sigma):
        return None
    spread = reference.sigma / math.sqrt(reference.n), max(current.sigma, reference.sigma) / math.sqrt(current.n)
    return (current.mean - reference.mean) / reference.sigma, math.hypot(*spread) / reference.sigma


def _measure(pair: Pair) -> Effect:
    shift = _shift(pair)
    if shift is None or not math.isfinite(shift[0]):
        return Effect(None, note="the mean or the spread is not defined")
    return Effect(abs(shift[0]), note="up" if shift[0] > 0 else "down")


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    shift = _shift(pair)
    error = shift[1] if shift else math.inf
    more, less = normal_test(*effect.bounds, error, limit)

    def rows(alpha: float) -> int | None:
        from scipy.special import ndtri

        distance = float(ndtri(1 - alpha) + ndtri(0.5 + POWER / 2))
        apart = distance_to_limit(effect.value or 0.0, 0.8 * error, limit)
        return rows_for_spread((apart / distance) ** 2, pair.reference.valid)

    return Relevance(more, less, rows)


def _measure_errors(pair: Pair) -> Effect:
    shift = _shift(pair)
    if shift is None or not math.isfinite(shift[0]) or not shift[1] > 0:
        return Effect(None, note="the mean or the spread is not defined")
    return Effect(abs(shift[0]) / shift[1])


def _test_errors(_pair: Pair, effect: Effect, limit: float) -> Relevance:
    more, less = normal_test(*effect.bounds, 1.0, limit)
    return Relevance(more, less)


MEAN_SHIFT = Statistic("mean_shift", "shift of the mean", "σ", NUMERIC, "drift", _measure, _test)
MEAN_SHIFT_SE = Statistic(
    "mean_shift_se", "shift of the mean", "standard errors", NUMERIC, "drift", _measure_errors, _test_errors
)
