"""Wasserstein distance of order 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.profile import Numbers
from gauntlet.core.statistics.base import (
    NUMERIC,
    POWER,
    Effect,
    Pair,
    Relevance,
    Statistic,
    distance_to_limit,
    rows_for_spread,
)

BLOCK = 64
SMALL = 1 << 14
DRAWS = 400
GROUPS = 64
FAR = 20.0
"""In mean noises: an effect so far from its limit needs no resampling."""


def wasserstein(one: Floats, other: Floats) -> float:
    """``integral |F - G|`` of two sorted samples of finite values.

    Blocks in which the distribution functions cannot cross need only their sums; the others are integrated
    element by element.

    >>> wasserstein(np.array([0.0, 1.0, 3.0]), np.array([5.0, 6.0, 8.0]))
    5.0
    """
    if len(one) == len(other):
        return float(np.abs(one - other).mean())
    if len(one) + len(other) <= SMALL:
        points = np.sort(np.concatenate((one, other)))
        return float((np.abs(_apart(one, other, points[:-1])) * np.diff(points)).sum())
    return _by_blocks(one, other)


def _apart(one: Floats, other: Floats, points: Floats) -> Floats:
    return np.searchsorted(one, points, "right") / len(one) - np.searchsorted(other, points, "right") / len(other)


def _by_blocks(one: Floats, other: Floats) -> float:
    marks = np.unique(np.concatenate((one[::BLOCK], other[::BLOCK], one[-1:], other[-1:])))
    width = np.diff(marks)
    left = [np.searchsorted(values, marks, "left") for values in (one, other)]
    right = [np.searchsorted(values, marks, "right") for values in (one, other)]
    sizes = len(one), len(other)
    lowest = right[0][:-1] / sizes[0] - left[1][1:] / sizes[1]
    highest = left[0][1:] / sizes[0] - right[1][:-1] / sizes[1]
    crossing = (lowest < 0) & (highest > 0)
    areas = [
        (left[side][1:] * width - _excess(values, right[side][:-1], left[side][1:], marks)) / sizes[side]
        for side, values in enumerate((one, other))
    ]
    plain = float(np.abs(areas[0] - areas[1])[~crossing].sum())
    return plain + _crossing(one, other, marks, crossing)


def _excess(values: Floats, begin: NDArray[np.int64], end: NDArray[np.int64], marks: Floats) -> Floats:
    """Sum of ``x - mark`` over each block's values."""
    sums = np.add.reduceat(np.append(values, 0.0), np.column_stack((begin, end)).ravel())[::2]
    return np.where(end > begin, sums - (end - begin) * marks[:-1], 0.0)


def _crossing(one: Floats, other: Floats, marks: Floats, crossing: NDArray[np.bool_]) -> float:
    if not crossing.any():
        return 0.0
    inside = [values[_chosen(values, marks, crossing)] for values in (one, other)]
    # Four sorted runs, which a stable sort only has to merge.
    points = np.sort(np.concatenate((*inside, marks[:-1][crossing], marks[1:][crossing])), kind="stable")
    block = np.searchsorted(marks, points[:-1], "right") - 1
    used = crossing[np.minimum(block, len(crossing) - 1)] & (block < len(crossing))
    return float((np.abs(_apart(one, other, points[:-1])) * np.diff(points))[used].sum())


def _chosen(values: Floats, marks: Floats, crossing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    ends = np.searchsorted(values, marks, "left")
    flags = np.concatenate(([False], crossing, [False]))
    return np.repeat(flags, np.diff(np.concatenate(([0], ends, [len(values)]))))


def wasserstein_interval(reference: Numbers, current: Numbers) -> tuple[float, float]:
    """Certain bounds of the distance from counts on one axis (finite values only).

    Inside a piece the difference of the distribution functions lies between its extremes; where one window has no
    rows there, that is exact up to the other's.
    """
    width = np.diff(_ends(reference, current))
    above, below = reference.below / reference.valid, current.below / current.valid
    lowest, highest = above[:-1] - below[1:], above[1:] - below[:-1]
    most, least = np.maximum(highest, -lowest), np.maximum(lowest, -highest)
    np.maximum(least, 0.0, out=least)
    return float(least @ width), float(most @ width)


def _ends(reference: Numbers, current: Numbers) -> Floats:
    lowest, highest = min(reference.minimum, current.minimum), max(reference.maximum, current.maximum)
    return reference.axis.piece_ends(lowest, highest)


def _measure(pair: Pair) -> Effect:
    reference, current = pair.numbers
    sigma = reference.moments.sigma
    if not reference.valid or not current.valid:
        return Effect(None, note="no values")
    if reference.infinite or current.infinite:
        return Effect(None, note="infinite values")
    if not sigma > 0 or not math.isfinite(sigma):
        return Effect(None, note="the reference has no spread")
    if pair.exact is not None:
        return Effect(wasserstein(*pair.exact) / sigma)
    low, high = (bound / sigma for bound in wasserstein_interval(reference, current))
    return Effect(0.5 * (low + high), low, high)


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """A resampled null: what both windows' sampling alone does to the distance, from the pooled counts.

    The limit is of all rows, as for the Kolmogorov-Smirnov distance.
    """
    reference, current = pair.numbers
    limit /= max(pair.valid_share, 1e-9)
    low, high = effect.bounds
    noise = _noise(reference, current) / reference.moments.sigma
    if not low - FAR * noise <= limit <= high + FAR * noise:
        return Relevance(float(high < limit), float(low > limit))
    null = _null(reference, current) / reference.moments.sigma
    mean, sigma = float(null.mean()), float(null.std())

    def rows(alpha: float) -> int | None:
        noise = _gamma_point(mean, sigma, alpha) + _gamma_point(mean, sigma, 1 - POWER)
        if not noise:
            return None
        distance = distance_to_limit(low, mean, limit)
        needed = rows_for_spread(pair.valid_spread * (distance / noise) ** 2, reference.valid)
        return needed and math.ceil(needed / max(pair.valid_share, 1e-9))

    return Relevance(_gamma_tail(mean, sigma, low - limit), _gamma_tail(mean, sigma, limit - high), rows)


def _noise(reference: Numbers, current: Numbers) -> float:
    """About the mean distance of two windows drawn from the pooled distribution."""
    share = (reference.below + current.below) / (reference.valid + current.valid)
    width = np.diff(_ends(reference, current))
    spread = 1 / reference.valid + 1 / current.valid
    return float((np.sqrt(2 / math.pi * spread * share * (1 - share))[1:] * width).sum())


def _null(reference: Numbers, current: Numbers) -> Floats:
    """Distances of pairs of windows drawn from the pooled distribution, on a coarse grid; shape ``(DRAWS,)``."""
    together = reference.pieces + current.pieces
    total = int(together.sum())
    cuts = np.unique(np.searchsorted(np.cumsum(together), np.arange(1, GROUPS) / GROUPS * total) + 1)
    cuts = cuts[cuts < len(together)]
    starts = np.concatenate(([0], cuts)).astype(np.int64)
    share = np.add.reduceat(together, starts) / total
    ends = _ends(reference, current)[np.append(starts, len(together))]
    middle = 0.5 * (ends[:-1] + ends[1:])
    rng = np.random.default_rng(20_260_101)
    drawn = [
        rng.multinomial(column.valid, share, DRAWS).cumsum(axis=1) / column.valid for column in (reference, current)
    ]
    distances: Floats = np.abs(drawn[0] - drawn[1])[:, :-1] @ np.diff(middle)
    return distances


def _gamma_tail(mean: float, sigma: float, value: float) -> float:
    """Upper tail of the gamma distribution with these moments: heavier than the null's own."""
    from scipy.special import gammaincc

    if value <= 0:
        return 1.0
    if not sigma > 0:
        return float(value <= mean)
    return float(gammaincc((mean / sigma) ** 2, value * mean / sigma**2))


def _gamma_point(mean: float, sigma: float, tail: float) -> float:
    from scipy.special import gammainccinv

    return float(gammainccinv((mean / sigma) ** 2, tail)) * sigma**2 / mean if sigma > 0 else mean


WASSERSTEIN = Statistic("wasserstein", "Wasserstein distance", "σ", NUMERIC, "drift", _measure, _test, reads_rows=True)
