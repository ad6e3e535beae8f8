"""All statistics by name."""

from __future__ import annotations

from gauntlet.core.statistics.base import Statistic
from gauntlet.core.statistics.categories import CATEGORIES, VANISHED
from gauntlet.core.statistics.chi_squared import CHI_SQUARED
from gauntlet.core.statistics.cramers_v import CRAMERS_V
from gauntlet.core.statistics.dtype import DTYPE
from gauntlet.core.statistics.hellinger import HELLINGER
from gauntlet.core.statistics.jensen_shannon import JENSEN_SHANNON
from gauntlet.core.statistics.ks import KS
from gauntlet.core.statistics.l_infinity import L_INFINITY
from gauntlet.core.statistics.mean_shift import MEAN_SHIFT, MEAN_SHIFT_SE
from gauntlet.core.statistics.missing_rate import MISSING_RATE
from gauntlet.core.statistics.psi import PSI
from gauntlet.core.statistics.range import RANGE
from gauntlet.core.statistics.sigma_ratio import SIGMA_RATIO
from gauntlet.core.statistics.wasserstein import WASSERSTEIN

STATISTICS: dict[str, Statistic] = {
    "ks": KS,
    "wasserstein": WASSERSTEIN,
    "psi": PSI,
    "jensen_shannon": JENSEN_SHANNON,
    "hellinger": HELLINGER,
    "chi_squared": CHI_SQUARED,
    "cramers_v": CRAMERS_V,
    "l_infinity": L_INFINITY,
    "mean_shift": MEAN_SHIFT,
    "mean_shift_se": MEAN_SHIFT_SE,
    "sigma_ratio": SIGMA_RATIO,
    "missing_rate": MISSING_RATE,
    "categories": CATEGORIES,
    "vanished": VANISHED,
    "range": RANGE,
    "dtype": DTYPE,
}
"""Name to statistic; a new one is a file, a line here, a limit in the spec and a test."""
