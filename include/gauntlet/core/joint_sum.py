"""A weighted sum of squares: what it is when nothing changed, and how it is tested against a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gauntlet.core.statistics.base import POWER


@dataclass(frozen=True)
class Combined:
    """``T`` and what it is when nothing changed; ``reach`` bounds how much one change weighs in it."""

    value: float
    mean: float
    variance: float
    reach: float
    spread: float
    reference_rows: int
    rows: int
    shares: dict[str, float]
    """Features by what they add beyond their noise."""

    @property
    def change(self) -> float:
        """The weighted PSI without the noise that sampling adds; may be less than zero."""
        return (self.value - self.mean) * self.spread

    def moments(self, limit: float, spread: float) -> tuple[float, float, float]:
        """Mean, variance and third cumulant of ``T`` for a true change at a limit."""
        extra = limit / spread
        third = 4 * self.reach * self.variance + 24 * self.reach**2 * extra
        return self.mean + extra, self.variance + 4 * self.reach * extra, third

    def beyond(self, limit: float) -> tuple[float, float]:
        """P-values of "at most the limit" and "at least the limit": Pearson's type III with the right cumulants.

        Exact for a single feature without change, and for equal weights; conservative for uneven ones.
        """
        from scipy.special import gammainc, gammaincc

        mean, variance, third = self.moments(limit, self.spread)
        if not variance > 0:
            return 1.0, 0.0
        shape = 4 * variance**3 / third**2
        point = shape + (self.value - mean) / math.sqrt(variance) * math.sqrt(shape)
        if point <= 0:
            return 1.0, 0.0
        return float(gammaincc(shape, point)), float(gammainc(shape, point))

    def spread_to_decide(self, limit: float, alpha: float) -> float | None:
        """The ``1/n + 1/m`` at which a change like this one would be told from the limit; ``None``: it is at it."""
        return self._settled_from(max(self.change, 0.0), limit, alpha)

    def spread_to_judge(self, limit: float, alpha: float, usual: float = 0.0) -> float | None:
        """The ``1/n + 1/m`` at which a usual change would be shown to be within the limit; ``None``: it is at it.

        Known before anything is measured.
        """
        return self._settled_from(usual, limit, alpha) if usual < limit else None

    def found_from(self, limit: float, alpha: float) -> float:
        """The least true change that is found with :data:`POWER` at this ``1/n + 1/m``."""
        from scipy.special import gammainccinv, ndtri

        mean, variance, third = self.moments(limit, self.spread)
        shape = 4 * variance**3 / third**2
        critical = mean + (float(gammainccinv(shape, alpha)) - shape) * math.sqrt(variance / shape)
        # mean + true/spread - z sqrt(variance + 4 reach true/spread) = critical, a quadratic in the root.
        z, blank = float(ndtri(POWER)), self.moments(0.0, self.spread)
        slope = 4 * self.reach
        beyond = critical - blank[0]
        half = 0.5 * z * z * slope
        root = beyond + half + math.sqrt(half * half + z * z * (slope * beyond + blank[1]))
        return max(root * self.spread, limit)

    def _settled_from(self, true: float, limit: float, alpha: float) -> float | None:
        from scipy.special import ndtri

        sure, usual = float(ndtri(1 - alpha)), float(ndtri(POWER))

        def settled(spread: float) -> bool:
            at_limit, at_true = self.moments(limit, spread), self.moments(true, spread)
            apart = abs(at_limit[0] - at_true[0])
            return apart >= sure * math.sqrt(at_limit[1]) + usual * math.sqrt(at_true[1])

        narrow, wide = 1e-9, 1.0
        if not settled(narrow):
            return None
        for _ in range(50):
            middle = math.sqrt(narrow * wide)
            narrow, wide = (middle, wide) if settled(middle) else (narrow, middle)
        return narrow
