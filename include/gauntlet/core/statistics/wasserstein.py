"""Wasserstein distance of order 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.column_numbers import Numbers
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
from gauntlet.core.statistics.gaps import gaps, whole_ends

BLOCK = 64
SMALL = 1 << 14
DRAWS = 400
GROUPS = 64
FAR = 10.0
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
    return gaps(reference, current).area(whole_ends(reference, current))


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
        value = wasserstein(*pair.exact) / sigma
        inner = max(value - lone_rows(*pair.exact) / sigma, 0.0)
        return Effect(value, note=_lone_row(value, inner), inner=(inner, inner), span=_span(*pair.exact))
    low, high = (bound / sigma for bound in pair.gaps.area(pair.ends))
    least, most = (bound / sigma for bound in pair.gaps.area(pair.inner_ends))
    return Effect(0.5 * (low + high), low, high, _lone_row(0.5 * (low + high), most), (least, most))


def _lone_row(value: float, inner: float) -> str:
    """What to say when a single row makes most of the distance."""
    return f"without the farthest row at most {inner:.4g}" if value > 2 * inner else ""


def _span(one: Floats, other: Floats) -> tuple[float, float]:
    if min(len(one), len(other)) < 3:
        return -math.inf, math.inf
    return float(min(one[1], other[1])), float(max(one[-2], other[-2]))


def lone_rows(one: Floats, other: Floats) -> float:
    """The part of the distance of two sorted samples that lies beyond all rows but one of either, at both ends.

    >>> lone_rows(np.array([0.0, 0.0, 2.0, 2.0]), np.array([0.0, 0.0, 2.0, 12.0]))
    2.5
    """
    low, high = _span(one, other)
    return 0.0 if math.isinf(low) else _beyond(one, other, high, -1) + _beyond(one, other, low, 0)


def _beyond(one: Floats, other: Floats, edge: float, place: int) -> float:
    apart = [max((values[place] - edge) * (-1 if place == 0 else 1), 0.0) for values in (one, other)]
    mass = [1 / len(one), 1 / len(other)]
    near = min(apart)
    farther = 0 if apart[0] > apart[1] else 1
    return float(near * abs(mass[0] - mass[1]) + (max(apart) - near) * mass[farther])


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """A resampled null: what both windows' sampling alone does to the distance, from the pooled counts.

    The limit is of all rows, as for the Kolmogorov-Smirnov distance. What a single row at either end makes of the
    distance is left out.
    """
    reference, current = pair.numbers
    limit /= max(pair.valid_share, 1e-9)
    low, high = effect.inner or effect.bounds
    ends = pair.inner_ends.clip(*effect.span) if math.isfinite(effect.span[0]) else pair.inner_ends
    noise = _noise(reference, current, ends) / reference.moments.sigma
    if not low - FAR * noise <= limit <= high + FAR * noise:
        return Relevance(float(high < limit), float(low > limit))
    with np.errstate(over="ignore", invalid="ignore"):
        null = _null(reference, current, ends) / reference.moments.sigma
        mean, sigma = float(null.mean()), float(null.std())
    if not math.isfinite(sigma):
        return Relevance(1.0, 1.0)

    def rows(alpha: float) -> int | None:
        noise = _gamma_point(mean, sigma, alpha) + _gamma_point(mean, sigma, 1 - POWER)
        if not noise:
            return None
        distance = distance_to_limit(low, mean, limit)
        needed = rows_for_spread(pair.valid_spread * (distance / noise) ** 2, reference.valid)
        return needed and math.ceil(needed / max(pair.valid_share, 1e-9))

    return Relevance(_gamma_tail(mean, sigma, low - limit), _gamma_tail(mean, sigma, limit - high), rows)


def _noise(reference: Numbers, current: Numbers, ends: Floats) -> float:
    """About the mean distance of two windows drawn from the pooled distribution."""
    share = (reference.below + current.below) / (reference.valid + current.valid)
    width = np.diff(ends)
    spread = 1 / reference.valid + 1 / current.valid
    return float((np.sqrt(2 / math.pi * spread * share * (1 - share))[1:] * width).sum())


def _null(reference: Numbers, current: Numbers, ends: Floats) -> Floats:
    """Distances of pairs of windows drawn from the pooled distribution, on a coarse grid; shape ``(DRAWS,)``."""
    together = reference.pieces + current.pieces
    total = int(together.sum())
    cuts = np.unique(np.searchsorted(np.cumsum(together), np.arange(1, GROUPS) / GROUPS * total) + 1)
    cuts = cuts[cuts < len(together)]
    starts = np.concatenate(([0], cuts)).astype(np.int64)
    share = np.add.reduceat(together, starts) / total
    marks = ends[np.append(starts, len(together))]
    middle = 0.5 * (marks[:-1] + marks[1:])
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
