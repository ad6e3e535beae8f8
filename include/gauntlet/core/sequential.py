"""Tests that may be looked at as often as one likes.

Every function here is anytime-valid: under its null hypothesis the chance that an e-value *ever* reaches
``1/alpha``, or that a confidence sequence *ever* misses its parameter, is at most ``alpha`` (Ville's inequality).
E-values are returned as natural logarithms; a test rejects when ``log_e >= log(1/alpha)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

RATE_RATIOS: tuple[float, ...] = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""Alternatives an arm test bets on, in equal parts: how many times likelier an event is in the canary."""


def log_threshold(alpha: float) -> float:
    """The log e-value that rejects at level ``alpha``."""
    return -math.log(alpha)


def srm_log_e(counts: Sequence[int], shares: Sequence[float], concentration: float = 100.0) -> float:
    """Log Bayes factor against "units were assigned in these shares" (sequential sample-ratio mismatch).

    The alternative is a Dirichlet centred on the shares. Source: Lindon & Malek, "Anytime-valid inference for
    multinomial count data", NeurIPS 2022, eq. 6.

    >>> round(srm_log_e([821588, 815482], [0.5, 0.5]), 6)
    6.532368
    """
    n = sum(counts)
    log_e = math.lgamma(concentration) - math.lgamma(concentration + n)
    for count, share in zip(counts, shares, strict=True):
        prior = concentration * share
        log_e += math.lgamma(prior + count) - math.lgamma(prior) - (count * math.log(share) if count else 0.0)
    return log_e


def arm_log_e(canary: int, total: int, share: float, ratios: Sequence[float] = RATE_RATIOS) -> float:
    """Log e-value against "events come from the canary no more often than its share of traffic".

    Conditionally on the events, and because assignment is random, each is the canary's with probability
    ``share`` if the arm makes no difference: exact however the event rate moves over time. The alternative says
    the canary's rate is ``r`` times the champion's, so an event is the canary's with probability
    ``r*share / (r*share + 1 - share)``; the e-value is the mean likelihood ratio over ``ratios``. It is one-sided:
    for every smaller share the process is a supermartingale. Source: Lindon & Malek, NeurIPS 2022, section 4
    (conditional Bernoulli form), with a mixture over rate ratios instead of a Beta prior.

    >>> arm_log_e(4, 4, 0.01) > log_threshold(1e-3)
    True
    >>> arm_log_e(0, 40, 0.5) < 0
    True
    """
    if not 0 < share < 1:
        return 0.0
    terms = []
    for ratio in ratios:
        odds = ratio * share
        likely = odds / (odds + 1 - share)
        terms.append(canary * math.log(likely / share) + (total - canary) * math.log((1 - likely) / (1 - share)))
    return log_mean_exp(terms)


def rate_log_e(events: int, n: int, limit: float, ratios: Sequence[float] = RATE_RATIOS) -> float:
    """Log e-value against "the event rate is at most ``limit``", for one arm without another to compare with.

    Mean likelihood ratio of rates whose odds are ``ratios`` times those of the limit. Source: Robbins, "Statistical
    methods related to the law of the iterated logarithm", Ann. Math. Stat. 41 (1970), mixture form.
    """
    if not 0 < limit < 1:
        return 0.0
    return arm_log_e(events, n, limit, ratios)


def rate_interval(events: int, n: int, alpha: float) -> tuple[float, float]:
    """Confidence sequence of a rate: the rates that a uniform-prior mixture does not reject.

    ``{p : B(s+1, n-s+1) / (p^s (1-p)^(n-s)) < 1/alpha}``. Source: Robbins 1970; as in Howard et al., "Time-uniform,
    nonparametric, nonasymptotic confidence sequences", Ann. Stat. 49 (2021), prop. 7.

    >>> low, high = rate_interval(0, 0, 0.05)
    >>> (low, high)
    (0.0, 1.0)
    """
    if n == 0:
        return 0.0, 1.0
    mixture = math.lgamma(events + 1) + math.lgamma(n - events + 1) - math.lgamma(n + 2)

    def rejected(rate: float) -> bool:
        return mixture - _log_likelihood(events, n, rate) >= log_threshold(alpha)

    centre = events / n
    return _edge(rejected, centre, 0.0), _edge(rejected, centre, 1.0)


def bounded_mean_log_e(values: Floats, limit: float, low: float, high: float) -> float:
    """Log e-value against "the mean of values in [low, high] is at most ``limit``", by betting.

    Capital of a gambler who stakes on each value being above the limit; stakes are a mixture of constant fractions,
    so nothing is tuned on the data. Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by
    betting", JRSS-B 86 (2024), section 4 (constant bets, averaged).

    Args:
        values: shape (n,), in order of arrival, each in [low, high].
        limit: strictly between low and high.
        low: least possible value.
        high: greatest possible value.
    """
    import numpy as np

    if values.size == 0 or not low < limit < high:
        return 0.0
    scaled = (np.clip(values, low, high) - limit) / (limit - low)
    stakes = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
    return log_mean_exp([float(np.log1p(stake * scaled).sum()) for stake in stakes])


def asymptotic_radius(variance: float, n: int, alpha: float, rho: float = 0.1) -> float:
    """Half-width of a confidence sequence for a mean, for any distribution with a variance.

    ``sqrt(variance) * sqrt(2 (n rho^2 + 1) / (n^2 rho^2) * log(sqrt(n rho^2 + 1) / alpha))``; two-sided. Tightest
    near ``n = (-2 log(alpha) + log(-2 log(alpha) + 1)) / rho^2``. Source: Waudby-Smith, Arbour, Sinha, Kennedy &
    Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Ann. Stat. 52 (2024), eq. 6.
    """
    if n == 0:
        return math.inf
    scale = n * rho * rho + 1
    return math.sqrt(variance * 2 * scale / (n * n * rho * rho) * math.log(math.sqrt(scale) / alpha))


def mean_interval(values: Floats, alpha: float, rho: float = 0.1) -> tuple[float, float]:
    """Asymptotic confidence sequence of a mean; see :func:`asymptotic_radius`. Unbounded below two values."""
    if values.size < 2:
        return -math.inf, math.inf
    centre = float(values.mean())
    radius = asymptotic_radius(float(values.var(ddof=1)), int(values.size), alpha, rho)
    return centre - radius, centre + radius


def empirical_bernstein_interval(values: Floats, alpha: float) -> tuple[float, float]:
    """Confidence sequence, valid at every n, of the mean of values in [0, 1] in order of arrival.

    Predictable plug-in empirical Bernstein. Source: Waudby-Smith & Ramdas, JRSS-B 86 (2024), theorem 2 with the
    stakes of eq. 15 (c = 1/2).
    """
    import numpy as np

    n = int(values.size)
    if n == 0:
        return 0.0, 1.0
    t = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(values)) / (t + 1)
    before = np.concatenate(([0.5], means[:-1]))
    spread = (0.25 + np.cumsum((values - means) ** 2)) / (t + 1)
    last = np.concatenate(([0.25], spread[:-1]))
    stakes = np.minimum(np.sqrt(2 * math.log(2 / alpha) / (last * t * np.log(1 + t))), 0.5)
    penalty = (values - before) ** 2 * (-np.log1p(-stakes) - stakes)
    total = float(stakes.sum())
    centre = float((stakes * values).sum()) / total
    radius = (math.log(2 / alpha) + float(penalty.sum())) / total
    return max(0.0, centre - radius), min(1.0, centre + radius)


def quantile_interval(ordered: Floats, level: float, alpha: float) -> tuple[float, float]:
    """Confidence sequence of a quantile from sorted values.

    The sample quantiles at ``level -/+ 1.5 sqrt(level (1 - level) l) + 0.8 l`` with
    ``l = (1.4 log log(2.1 n) + log(10 / alpha)) / n``; unbounded where that leaves [0, 1]. Source: Howard & Ramdas,
    "Sequential estimation of quantiles with applications to A/B testing and best-arm identification", Bernoulli 28
    (2022), eq. 3.
    """
    n = int(ordered.size)
    if n == 0:
        return -math.inf, math.inf
    rate = (1.4 * math.log(max(1.0, math.log(2.1 * n))) + math.log(10 / alpha)) / n
    radius = 1.5 * math.sqrt(level * (1 - level) * rate) + 0.8 * rate
    low, high = level - radius, level + radius
    below = float(ordered[max(0, math.floor(low * n) - 1)]) if low * n >= 1 else -math.inf
    above = float(ordered[min(n - 1, math.ceil(high * n) - 1)]) if high < 1 else math.inf
    return below, above


def msprt_log_e(mean_difference: float, variance: float, n: int, tau: float) -> float:
    """Log e-value against "two means are equal" from n pairs of normal values, one from each arm.

    ``sqrt(V / (V + n tau^2)) exp(n^2 tau^2 d^2 / (2 V (V + n tau^2)))`` with ``V = 2 variance``. Source: Johari,
    Koomen, Pekelis & Walsh, "Always valid inference", Operations Research 70 (2022), eq. 10.
    """
    if n == 0 or variance <= 0:
        return 0.0
    both = 2 * variance
    wide = both + n * tau * tau
    return 0.5 * math.log(both / wide) + (n * tau * mean_difference) ** 2 / (2 * both * wide)


def spent_alpha(alpha: float, look: int) -> float:
    """The share of ``alpha`` that the ``look``-th look (from 1) may use; all looks together use ``alpha``.

    For tests with no e-value of their own: the union bound with weights ``6 / (pi^2 look^2)``.
    """
    return alpha * 6 / (math.pi * math.pi * look * look)


FIRST_WINDOW = 0.9
"""The part of a stage's ``alpha`` that its first window of evidence has; the rest is for windows after a restart."""


def window_alpha(alpha: float, window: int) -> float:
    """The level of a stage's ``window``-th window (from 1); however often it starts again, all together use ``alpha``.

    Evidence that is thrown away and gathered anew is another chance to be wrong: a union bound over the windows.

    >>> round(window_alpha(0.01, 1), 6), round(window_alpha(0.01, 2), 6)
    (0.009, 0.000608)
    """
    if window <= 1:
        return FIRST_WINDOW * alpha
    return spent_alpha((1 - FIRST_WINDOW) * alpha, window - 1)


def log_mean_exp(terms: Sequence[float]) -> float:
    """Logarithm of the mean of exponentials: how e-values that bet on different alternatives are averaged."""
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms) / len(terms))


def _log_likelihood(events: int, n: int, rate: float) -> float:
    total = 0.0
    for count, probability in ((events, rate), (n - events, 1 - rate)):
        if count:
            total += count * math.log(probability) if probability > 0 else -math.inf
    return total


def _edge(rejected: Callable[[float], bool], inside: float, outside: float) -> float:
    if not rejected(outside):
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return inside
