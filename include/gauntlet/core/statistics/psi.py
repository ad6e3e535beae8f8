"""Population stability index."""

from __future__ import annotations

import numpy as np

from gauntlet.core.axis import Floats
from gauntlet.core.statistics.base import BOTH, Effect, Pair, Statistic, chi_squared_test


def psi(reference: Floats, current: Floats) -> float:
    """``sum((q - p) ln(q / p))`` over shares p of the reference and q of the current window.

    Without any change it is about ``(1/n + 1/m)`` times chi-squared (Yurdakul 2018), so a bare cut-off alarms
    on every small window.

    >>> round(psi(np.array([0.5, 0.5]), np.array([0.4, 0.6])), 5)
    0.04055
    """
    return float(((current - reference) * np.log(current / reference)).sum())


def _measure(pair: Pair) -> Effect:
    return Effect(psi(*pair.cells.shares))


PSI = Statistic("psi", "population stability index", "", BOTH, "drift", _measure, chi_squared_test(1.0))
