"""Two-sample Kolmogorov-Smirnov distance."""

from __future__ import annotations

import math

import numpy as np

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
from gauntlet.core.statistics.gaps import Gaps, gaps

BLOCK = 256
SMALL = 1 << 14


def ks_numerator(one: Floats, other: Floats) -> int:
    """``max |m i - n j|``, i and j being the rows of either sample up to a point; the distance times n m.

    Both sorted, without NaN, not empty. Every element of ``one`` is only looked at where the distance can still
    grow: with a few thousand block ends known, nearly all blocks are ruled out.

    >>> ks_numerator(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0, 5.0]))
    6
    """
    if len(one) + len(other) <= SMALL:
        return _largest(one, other, np.concatenate((one, other)), len(one), len(other))
    n, m = len(one), len(other)
    marks = np.unique(np.concatenate((one[::BLOCK], other[::BLOCK], one[-1:], other[-1:])))
    left = np.searchsorted(one, marks, "left") * m, np.searchsorted(other, marks, "left") * n
    right = np.searchsorted(one, marks, "right") * m, np.searchsorted(other, marks, "right") * n
    best = int(np.abs(right[0] - right[1]).max())
    upper = np.maximum(left[0][1:] - right[1][:-1], left[1][1:] - right[0][:-1])
    for block in np.argsort(-upper):
        if upper[block] <= best:
            break
        offset = int(right[0][block]), int(right[1][block])
        inside_one = one[offset[0] // m : int(left[0][block + 1]) // m]
        inside_other = other[offset[1] // n : int(left[1][block + 1]) // n]
        points = np.concatenate((inside_one, inside_other))
        best = max(best, _largest(inside_one, inside_other, points, n, m, offset))
    return best


def _largest(one: Floats, other: Floats, points: Floats, n: int, m: int, offset: tuple[int, int] = (0, 0)) -> int:
    above = np.searchsorted(one, points, "right") * m + offset[0]
    below = np.searchsorted(other, points, "right") * n + offset[1]
    return int(np.abs(above - below).max(initial=0))


def ks_interval(reference: Numbers, current: Numbers) -> tuple[float, float]:
    """Certain bounds of the distance from counts on one axis.

    At the ends of pieces both distribution functions are known. Inside one, each lies between its two ends; an
    atom has no inside.
    """
    return _bounds(reference, gaps(reference, current))


def _bounds(reference: Numbers, found: Gaps) -> tuple[float, float]:
    inside = found.most.copy()
    inside[reference.axis.atom_pieces] = 0
    low = found.ends.max()
    high = max(low, inside.max(initial=0))
    return low.item() / found.whole, high.item() / found.whole


def _measure(pair: Pair) -> Effect:
    reference, current = pair.numbers
    if not reference.valid or not current.valid:
        return Effect(None, note="no values")
    if pair.exact is not None:
        one, other = pair.exact
        return Effect(ks_numerator(one, other) / (len(one) * len(other)))
    low, high = _bounds(reference, pair.gaps)
    return Effect(low, low, high)


def ks_tail(distance: float, spread: float) -> float:
    """P(D >= distance) without change: Kolmogorov's limit with Stephens' (1970) small-sample correction."""
    from scipy.special import kolmogorov

    if distance <= 0:
        return 1.0
    root = math.sqrt(1 / spread)
    return float(kolmogorov(distance * (root + 0.12 + 0.11 / root)))


def _test(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """A margin: the sampling error of both windows must not explain what lies beyond the limit.

    To be beyond it by chance a distance has all points to choose from. To be within it by chance it must be small
    also where the true one is largest, which is one point, with a standard error of ``sqrt(1/n + 1/m) / 2`` at most.

    The limit is of all rows: where only a tenth has a value, ten times the distance is asked of that tenth.
    """
    from scipy.special import ndtr

    low, high = effect.bounds
    spread = pair.valid_spread
    limit /= max(pair.valid_share, 1e-9)

    def rows(alpha: float) -> int | None:
        from scipy.special import kolmogi, ndtri

        distance = distance_to_limit(low, 0.87 * math.sqrt(spread), limit)
        sure = float(kolmogi(alpha)) if low > limit else 0.5 * float(ndtri(1 - alpha))
        needed = rows_for_spread((distance / (float(kolmogi(1 - POWER)) + sure)) ** 2, pair.reference.valid)
        return needed and math.ceil(needed / max(pair.valid_share, 1e-9))

    return Relevance(ks_tail(low - limit, spread), float(ndtr((high - limit) / (0.5 * math.sqrt(spread)))), rows)


KS = Statistic("ks", "Kolmogorov-Smirnov distance", "", NUMERIC, "drift", _measure, _test, reads_rows=True)
