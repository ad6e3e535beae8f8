"""What counts on one axis say about the difference of two distribution functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.column_numbers import Numbers


@dataclass(frozen=True)
class Gaps:
    """The absolute difference of both distribution functions times ``whole``; in integers where they are large enough.

    ``ends``: at the ends of pieces, where it is known. ``least`` and ``most``: its bounds inside each piece.
    """

    ends: NDArray[Any]
    least: NDArray[Any]
    most: NDArray[Any]
    whole: int

    def area(self, ends: Floats) -> tuple[float, float]:
        """Bounds of the integral over pieces that end here; shape ``(pieces + 1,)``."""
        width = np.diff(ends)
        return float(self.least @ width) / self.whole, float(self.most @ width) / self.whole


def gaps(reference: Numbers, current: Numbers) -> Gaps:
    """Inside a piece each distribution function lies between its two ends. Both columns must have values."""
    m, n = reference.valid, current.valid
    whole = m * n
    if whole < 1 << 62:
        # In integers, as the exact distance is: where both know as much, both are the same number.
        above: NDArray[Any] = reference.below * n
        below: NDArray[Any] = current.below * m
    else:
        above, below, whole = reference.below / m, current.below / n, 1
    lowest, highest = above[:-1] - below[1:], above[1:] - below[:-1]
    least, most = np.maximum(lowest, -highest), np.maximum(highest, -lowest)
    np.maximum(least, 0, out=least)
    return Gaps(np.abs(above - below), least, most, whole)


def inner_ends(reference: Numbers, current: Numbers, ends: Floats) -> Floats:
    """Of where pieces end (:func:`whole_ends`), with no width where at most one row of either window lies further out.

    One row, however far, is no change of a distribution; rows outside the reference's range are counted elsewhere.
    """
    m, n = reference.valid, current.valid
    if min(m, n) < 3:
        return ends
    first = min(np.searchsorted(reference.below, 1, "right"), np.searchsorted(current.below, 1, "right")) - 1
    last = max(np.searchsorted(reference.below, m - 1), np.searchsorted(current.below, n - 1))
    low, high = ends[first], ends[last]
    return ends.clip(low, high) if low <= high else ends


def whole_ends(reference: Numbers, current: Numbers) -> Floats:
    """Where pieces end in the range of both windows."""
    lowest, highest = min(reference.minimum, current.minimum), max(reference.maximum, current.maximum)
    return reference.axis.piece_ends(lowest, highest)
