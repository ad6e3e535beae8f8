"""Randomness by the hour: every (seed, stream, hour) has its own generator.

Any range of hours is therefore drawn independently of every other, and always identically. Raw
draws of many hours are laid end to end, so that all that follows is vectorised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNIFORMS = 24
NORMALS = 14
MAX_PER_HOUR = 1_000_000
_HOURLY = np.array([2, 1, 1, 1, 1, 2, 4, 8, 12, 15, 16, 15, 14, 14, 14, 14, 15, 16, 17, 18, 16, 12, 8, 4], dtype=float)
_WEEKLY = np.array([1.12, 1.08, 1.05, 1.03, 1.02, 0.88, 0.82])


class Stream(IntEnum):
    """Independent flows of applications."""

    OWN = 0
    PARTNER = 1
    LIVE_OWN = 2
    LIVE_PARTNER = 3


@dataclass(frozen=True)
class Draws:
    """Raw draws of n applications: ``hour`` (n,), ``number`` within it (n,), uniforms (n, 24), normals (n, 14)."""

    hour: Ints
    number: Ints
    uniform: Floats
    normal: Floats


def hourly_rate(hour: int, per_day: float) -> float:
    """Expected applications in an hour (counted from the epoch): a daily and a weekly rhythm."""
    weekday = (hour // 24 + 3) % 7
    return float(per_day * _HOURLY[hour % 24] / _HOURLY.sum() * _WEEKLY[weekday] / _WEEKLY.mean())


def draw(seed: int, stream: Stream, first: int, last: int, per_day: float) -> Draws:
    """Draws of the hours ``first`` to ``last`` (exclusive), hours counted from the epoch."""
    hours, counts, uniforms, normals = [], [], [np.empty((0, UNIFORMS))], [np.empty((0, NORMALS))]
    for hour in range(first, last):
        rng = np.random.default_rng([seed, int(stream), hour])
        count = min(int(rng.poisson(hourly_rate(hour, per_day))), MAX_PER_HOUR - 1)
        hours.append(hour)
        counts.append(count)
        uniforms.append(rng.random((count, UNIFORMS)))
        normals.append(rng.standard_normal((count, NORMALS)))
    repeats = np.array(counts, dtype=np.int64)
    starts = np.repeat(np.cumsum(repeats) - repeats, repeats)
    return Draws(
        hour=np.repeat(np.array(hours, dtype=np.int64), repeats),
        number=np.arange(int(repeats.sum()), dtype=np.int64) - starts,
        uniform=np.concatenate(uniforms),
        normal=np.concatenate(normals),
    )


def hashed_uniform(identity: Ints, salt: int) -> Floats:
    """A fixed uniform number per identity: what stays the same about a customer.

    The finaliser is SplitMix64's (Steele, Lea, Flood 2014).

    >>> bool((hashed_uniform(np.array([7, 7]), 1) == hashed_uniform(np.array([7]), 1)).all())
    True
    """
    state = identity.astype(np.uint64) + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
