"""Intervals of shares and means of rows that were looked at once; what is looked at again and again has its own.

For sequences of looks see :mod:`gauntlet.core.sequential`.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def wilson(positives: int, n: int, alpha: float = 0.05) -> tuple[float, float] | None:
    """Wilson's two-sided interval of a share (JASA 22, 1927); ``None`` of nothing.

    >>> [round(end, 4) for end in wilson(30, 1000)]
    [0.0211, 0.0425]
    """
    if not n:
        return None
    z = NormalDist().inv_cdf(1 - alpha / 2)
    share = positives / n
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - reach) / (1 + z * z / n), (centre + reach) / (1 + z * z / n)


def mean_interval(values: NDArray[np.float64], alpha: float = 0.05) -> tuple[float, float] | None:
    """Two-sided normal interval of a mean; ``None`` below two values."""
    if values.size < 2:
        return None
    reach = NormalDist().inv_cdf(1 - alpha / 2) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return float(values.mean()) - reach, float(values.mean()) + reach
