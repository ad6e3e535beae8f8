"""A/B tests: how much traffic a change takes to be seen, and what the data say about it."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from gauntlet.core.records.ab import ABPlan, ABReport
from gauntlet.core.sequential import mean_interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

MOST_PAIRS = 4_000_000
"""Above this many pairs the Hodges-Lehmann estimate is taken from evenly spaced order statistics."""
LEAST_VALUES = 2.0
"""Per arm, below which there is no variance."""
Z = NormalDist()


def proportions_n(p1: float, p2: float, *, power: float = 0.8, alpha: float = 0.05, ratio: float = 1.0) -> float:
    """Requests the canary arm needs to see a rate go from ``p1`` to ``p2``; two-sided, normal approximation.

    ``ratio``: stable requests per canary request. At 1 this is R's ``power.prop.test`` (``strict = FALSE``).

    >>> round(proportions_n(0.01, 0.012), 2)
    42692.8
    """
    if not (0 < p1 < 1 and 0 < p2 < 1) or p1 == p2:
        raise ValueError(f"rates must differ and lie between 0 and 1, got {p1:g} and {p2:g}")
    pooled = (p2 + ratio * p1) / (1 + ratio)
    null = math.sqrt(pooled * (1 - pooled) * (1 + 1 / ratio))
    true = math.sqrt(p2 * (1 - p2) + p1 * (1 - p1) / ratio)
    return ((Z.inv_cdf(1 - alpha / 2) * null + Z.inv_cdf(power) * true) / (p2 - p1)) ** 2


def means_n(delta: float, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Values per arm to see two means differ by ``delta``; two-sided t-test, as R's ``power.t.test``.

    >>> round(means_n(0.1, 1.0), 3)
    1570.737
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if delta == 0 or not sd > 0 or not math.isfinite(delta / sd):
        raise ValueError(f"the difference must not be 0 and the standard deviation positive, got {delta:g}, {sd:g}")

    def lacking(n: float) -> float:
        freedom = 2 * (n - 1)
        reached = nct.sf(t.ppf(1 - alpha / 2, freedom), freedom, math.sqrt(n / 2) * abs(delta) / sd)
        return float(reached - power)

    if lacking(LEAST_VALUES) >= 0:
        return LEAST_VALUES
    rough = 2 * ((Z.inv_cdf(1 - alpha / 2) + Z.inv_cdf(power)) * sd / delta) ** 2
    return float(brentq(lacking, LEAST_VALUES, 2 * rough + 100))


def horizon(
    baseline: float,
    change: float,
    *,
    sd: float | None = None,
    share: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """Canary requests an A/B test needs: of a rate, or of a mean where ``sd`` is given. Imports nothing heavy.

    A mean's is the normal approximation and ``z^2 / 4``, which is within one value of :func:`means_n` (Guenther,
    "Sample size formulas for normal theory t tests", The American Statistician 35, 1981).

    >>> horizon(0.01, 0.002), horizon(0.0, 0.1, sd=1.0)
    (42693, 1571)
    """
    _check_share(share)
    ratio = (1 - share) / share
    if sd is None:
        return math.ceil(proportions_n(baseline, baseline + change, power=power, alpha=alpha, ratio=ratio))
    if change == 0:
        raise ValueError("the change to be seen must not be 0")
    reach = Z.inv_cdf(1 - alpha / 2)
    each = 2 * ((reach + Z.inv_cdf(power)) * sd / change) ** 2 + reach**2 / 4
    return math.ceil(each / (2 * (1 - share)))


def proportions_power(n: float, p1: float, p2: float, *, alpha: float = 0.05) -> float:
    """Power of ``n`` requests per arm to see a rate go from ``p1`` to ``p2``; the inverse of :func:`proportions_n`."""
    pooled = (p1 + p2) / 2
    null = Z.inv_cdf(1 - alpha / 2) * math.sqrt(2 * pooled * (1 - pooled))
    return Z.cdf((math.sqrt(n) * abs(p2 - p1) - null) / math.sqrt(p1 * (1 - p1) + p2 * (1 - p2)))


def plan_proportions(
    baseline: float,
    change: float,
    *,
    share: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
    per_second: float | None = None,
) -> ABPlan:
    """What it takes to see a rate move from ``baseline`` by ``change`` with ``share`` of traffic in the canary."""
    _check_share(share)
    _check_levels(power, alpha)
    n = proportions_n(baseline, baseline + change, power=power, alpha=alpha, ratio=(1 - share) / share)
    return _plan("rate", baseline, change, n, share=share, power=power, alpha=alpha, per_second=per_second)


def plan_means(
    delta: float,
    sd: float,
    *,
    baseline: float = 0.0,
    share: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
    per_second: float | None = None,
) -> ABPlan:
    """What it takes to see a mean move by ``delta`` at standard deviation ``sd``."""
    _check_share(share)
    _check_levels(power, alpha)
    # Unequal arms: the variance of the difference is that of equal arms of the harmonic mean's size.
    n = means_n(delta, sd, power=power, alpha=alpha) / (2 * (1 - share))
    return _plan("mean", baseline, delta, n, share=share, power=power, alpha=alpha, per_second=per_second)


def detectable_change(
    baseline: float, canary_n: int, *, share: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The smallest increase of a rate that a step with this many canary requests can see; 1 - baseline if none."""
    _check_share(share)
    low, high = 1e-9, 1 - baseline - 1e-9
    ratio = (1 - share) / share
    if proportions_n(baseline, baseline + high, power=power, alpha=alpha, ratio=ratio) > canary_n:
        return 1 - baseline
    for _ in range(60):
        middle = (low + high) / 2
        seen = proportions_n(baseline, baseline + middle, power=power, alpha=alpha, ratio=ratio) <= canary_n
        low, high = (low, middle) if seen else (middle, high)
    return high


def report(
    metric: str,
    stable: Floats,
    canary: Floats,
    *,
    alpha: float = 0.05,
    before: tuple[Floats, Floats] | None = None,
) -> ABReport:
    """All about one metric: shape (n,) per arm, in order of arrival; ``before`` is the same units' pre-period."""
    import numpy as np
    from scipy import stats

    if min(stable.size, canary.size) < 2:
        raise ValueError(f"{metric}: at least two values per arm are needed, got {stable.size} and {canary.size}")
    lift = float(canary.mean() - stable.mean())
    base = float(stable.mean())
    p_value, inside = _welch(stable, canary, alpha)
    shift, low, high = hodges_lehmann(canary, stable, alpha)
    binary = bool(np.isin(np.concatenate((stable, canary)), (0.0, 1.0)).all())
    better, loss = _posterior(stable, canary) if binary else (None, None)
    interval = _lift_interval(stable, canary, alpha)
    cuped = _cuped(stable, canary, before, alpha) if before else (None, None, None)
    return ABReport(
        metric=metric,
        stable_n=int(stable.size),
        canary_n=int(canary.size),
        stable_mean=base,
        canary_mean=float(canary.mean()),
        lift=lift,
        relative_lift=lift / base if base else None,
        interval=interval,
        t_p_value=p_value,
        t_interval=inside,
        mann_whitney_p=float(stats.mannwhitneyu(canary, stable).pvalue),
        shift=shift,
        shift_interval=(low, high),
        cohens_d=_cohens_d(stable, canary),
        better=better,
        expected_loss=loss,
        cuped_lift=cuped[0],
        cuped_interval=cuped[1],
        variance_removed=cuped[2],
        sentence=_sentence(metric, lift, interval, alpha),
    )


def hodges_lehmann(first: Floats, second: Floats, alpha: float = 0.05) -> tuple[float, float, float]:
    """Estimate and confidence interval of the location shift ``first - second``: the median of all differences.

    Exact ranks up to 50 values per arm without ties, else the normal approximation: R's
    ``wilcox.test(conf.int = TRUE)``, for the interval to within one order statistic where the normal is used.
    """
    import numpy as np

    first, second = _thinned(first), _thinned(second)
    differences = np.sort(np.subtract.outer(first, second).ravel())
    m, n = first.size, second.size
    ties = np.unique(np.concatenate((first, second))).size < m + n
    rank = _exact_rank(m, n, alpha) if max(m, n) < 50 and not ties else _normal_rank(m, n, alpha)
    rank = min(max(rank, 1), differences.size)
    return float(np.median(differences)), float(differences[rank - 1]), float(differences[-rank])


def _thinned(values: Floats) -> Floats:
    import numpy as np

    most = math.isqrt(MOST_PAIRS)
    if values.size <= most:
        return values
    return np.quantile(values, (np.arange(most) + 0.5) / most)


def _exact_rank(m: int, n: int, alpha: float) -> int:
    """The qwilcox(alpha / 2, m, n) of R: from the exact null distribution of the Mann-Whitney statistic."""
    import numpy as np

    counts = np.zeros(m * n + 1)
    counts[0] = 1.0
    # Gaussian binomial coefficient: multiply by (1 - q^(n+i)) and divide by (1 - q^i), for i = 1..m.
    for i in range(1, m + 1):
        for place in range(m * n, n + i - 1, -1):
            counts[place] -= counts[place - n - i]
        for place in range(i, m * n + 1):
            counts[place] += counts[place - i]
    reached = np.cumsum(counts) / counts.sum()
    quantile = int(np.searchsorted(reached, alpha / 2 * (1 - 1e-12)))
    return max(quantile, 1)


def _normal_rank(m: int, n: int, alpha: float) -> int:
    centre, deviation = m * n / 2, math.sqrt(m * n * (m + n + 1) / 12)
    return math.floor(centre - Z.inv_cdf(1 - alpha / 2) * deviation)


def _lift_interval(stable: Floats, canary: Floats, alpha: float) -> tuple[float, float]:
    ours, theirs = mean_interval(canary, alpha / 2), mean_interval(stable, alpha / 2)
    return ours[0] - theirs[1], ours[1] - theirs[0]


def _welch(stable: Floats, canary: Floats, alpha: float) -> tuple[float, tuple[float, float]]:
    """P-value and interval of Welch's t-test; two constants are equal or they are not."""
    from scipy import stats

    lift = float(canary.mean() - stable.mean())
    if stable.max() == stable.min() and canary.max() == canary.min():
        return float(lift == 0), (lift, lift)
    welch = stats.ttest_ind(canary, stable, equal_var=False)
    inside = welch.confidence_interval(1 - alpha)
    return float(welch.pvalue), (float(inside.low), float(inside.high))


def _cohens_d(stable: Floats, canary: Floats) -> float | None:
    m, n = stable.size, canary.size
    pooled = ((m - 1) * stable.var(ddof=1) + (n - 1) * canary.var(ddof=1)) / (m + n - 2)
    return float((canary.mean() - stable.mean()) / math.sqrt(pooled)) if pooled > 0 else None


def _posterior(stable: Floats, canary: Floats) -> tuple[float, float]:
    """P(canary's rate is higher) and the expected loss of choosing it, uniform priors, by quadrature.

    Source: Stucchio, "Bayesian A/B testing at VWO", 2015, for the loss.
    """
    import numpy as np
    from scipy.stats import beta

    ours = beta(1 + canary.sum(), 1 + canary.size - canary.sum())
    theirs = beta(1 + stable.sum(), 1 + stable.size - stable.sum())
    low, high = min(ours.ppf(1e-12), theirs.ppf(1e-12)), max(ours.ppf(1 - 1e-12), theirs.ppf(1 - 1e-12))
    grid = np.linspace(low, high, 4001)
    higher = np.trapezoid(ours.pdf(grid) * theirs.cdf(grid), grid)
    # E[max(theirs - ours, 0)] is the integral of P(ours <= x < theirs) over x.
    loss = np.trapezoid(ours.cdf(grid) * theirs.sf(grid), grid)
    return float(higher), float(loss)


def _cuped(
    stable: Floats, canary: Floats, before: tuple[Floats, Floats], alpha: float
) -> tuple[float, tuple[float, float], float]:
    """The lift with the pre-period's part taken out: Deng, Xu, Kohavi & Walker, WSDM 2013, eq. 4."""
    import numpy as np

    values, earlier = np.concatenate((stable, canary)), np.concatenate(before)
    if values.shape != earlier.shape:
        raise ValueError(f"the pre-period has {earlier.size} values for {values.size} units")
    variance = float(earlier.var(ddof=1))
    theta = float(np.cov(values, earlier)[0, 1]) / variance if variance > 0 else 0.0
    left = values - theta * (earlier - earlier.mean())
    ours, theirs = left[stable.size :], left[: stable.size]
    spread = float(values.var(ddof=1))
    removed = 1 - float(left.var(ddof=1)) / spread if spread > 0 else 0.0
    return float(ours.mean() - theirs.mean()), _lift_interval(theirs, ours, alpha), removed


def _check_levels(power: float, alpha: float) -> None:
    for name, value in (("power", power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise ValueError(f"{name}: between 0 and 1, got {value:g}")


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"share: between 0 and 1, got {share:g}; with all traffic on one arm nothing is compared")


def _plan(
    metric: str,
    baseline: float,
    change: float,
    n: float,
    *,
    share: float,
    power: float,
    alpha: float,
    per_second: float | None,
) -> ABPlan:
    canary_n = math.ceil(n)
    requests = math.ceil(n / share)
    seconds = requests / per_second if per_second else None
    wait = f", {seconds / 3600:.1f} h at {per_second:g} requests per second" if seconds else ""
    return ABPlan(
        metric=metric,
        baseline=baseline,
        change=change,
        power=power,
        alpha=alpha,
        share=share,
        canary_n=canary_n,
        requests=requests,
        seconds=seconds,
        sentence=f"a {metric} of {baseline:g} that changes by {change:+g} is seen with a chance of {power:.0%} after "
        f"{canary_n:,} canary requests, {requests:,} in all at {share:.0%}{wait}",
    )


def _sentence(metric: str, lift: float, interval: tuple[float, float], alpha: float) -> str:
    low, high = interval
    word = "higher" if low > 0 else "lower" if high < 0 else "not yet told apart"
    return f"{metric}: {lift:+.4g} [{low:+.4g}, {high:+.4g}] at {1 - alpha:.0%} at any time: the canary is {word}"
