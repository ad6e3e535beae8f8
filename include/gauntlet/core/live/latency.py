"""Whether the canary answers more slowly than the champion, beyond what is tolerated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gauntlet.core import sequential
from gauntlet.core.live.case import Case, evidence_words, outcome_of, verdict
from gauntlet.core.live.window import Window
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import MetricVerdict
from gauntlet.core.specs.rollout import LiveChecks

if TYPE_CHECKING:
    from gauntlet.core.live.window import Floats, Mask

GRID_MS: tuple[float, ...] = tuple(0.25 * 2 ** (step / 2) for step in range(28))
"""Fixed before any data: latencies from 0.25 ms to 3 s whose exceedances are compared between arms."""
QUANTILES: tuple[tuple[str, float], ...] = (("latency_p50", 0.50), ("latency_p95", 0.95), ("latency_p99", 0.99))


def latency(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Quantiles of the latency, tested as a whole.

    The canary's latencies are first made as much faster as the spec lets them be slower; then one e-value averages
    arm tests of the exceedances of fixed latencies. Assignment is random, so a slow minute of the host, which meets
    both arms in their shares, is no evidence against the canary. The absolute limit of the 99th percentile counts
    where the champion keeps it: a slow host is not the challenger's fault.
    """
    canary = window.latency_ms[window.arm & window.settled]
    stable = window.latency_ms[~window.arm & window.settled]
    if canary.size == 0 or (stable.size == 0 and window.share < 1):
        counts = (stable.size, canary.size)
        return tuple(
            verdict(name, Outcome.INCONCLUSIVE, "no requests of both arms yet", counts=counts) for name, _ in QUANTILES
        )
    slowest, arm = slowest_of_unit(window)
    # Two tests share the metric's alpha, so each e-value counts half.
    relative = _relative_log_e(slowest[arm], slowest[~arm], window.share, case.checks) - math.log(2)
    absolute = _absolute_log_e(slowest[arm], slowest[~arm], window.share, case.checks.latency_p99_ms) - math.log(2)
    return tuple(_quantile(name, level, canary, stable, (relative, absolute), case) for name, level in QUANTILES)


def slowest_of_unit(window: Window) -> tuple[Floats, Mask]:
    """The slowest settled request of each unit, in ms, and whether the unit is in the canary arm."""
    import numpy as np

    rows = np.flatnonzero(window.settled)
    if rows.size == 0:
        return np.empty(0), np.empty(0, dtype=bool)
    rows = rows[np.argsort(window.unit[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(window.unit[rows], prepend=-1))
    return np.maximum.reduceat(window.latency_ms[rows], starts), window.arm[rows][starts]


def _relative_log_e(canary: Floats, stable: Floats, share: float, checks: LiveChecks) -> float:
    import numpy as np

    tolerated = np.minimum(canary / (1 + checks.latency_increase), canary - checks.latency_floor_ms)
    terms = []
    for edge in GRID_MS:
        slow = int((tolerated > edge).sum())
        terms.append(sequential.arm_log_e(slow, slow + int((stable > edge).sum()), share))
    return sequential.log_mean_exp(terms)


def _absolute_log_e(canary: Floats, stable: Floats, share: float, limit_ms: float) -> float:
    slow = int((canary > limit_ms).sum())
    alone = sequential.rate_log_e(slow, int(canary.size), 0.01)
    if share >= 1:
        return alone
    return min(alone, sequential.arm_log_e(slow, slow + int((stable > limit_ms).sum()), share))


def _quantile(
    name: str, level: float, canary: Floats, stable: Floats, log_e: tuple[float, float], case: Case
) -> MetricVerdict:
    import numpy as np

    ours = float(np.quantile(canary, level))
    theirs = float(np.quantile(stable, level)) if stable.size else None
    limit, against = _limit(name, theirs, case.checks)
    evidence = log_e[against]
    outcome = outcome_of(harm=ours > limit, significant=evidence >= case.needed, leaning=evidence > 0)
    compared = f" against {theirs:.2f} ms of {stable.size}" if theirs is not None else ""
    bound = f", limit {limit:.2f} ms" if math.isfinite(limit) else ""
    return verdict(
        name,
        outcome,
        f"{ours:.2f} ms of {canary.size} canary requests{compared}{bound}{evidence_words(evidence, case.needed)}",
        values=(theirs, ours),
        limit=limit if math.isfinite(limit) else None,
        counts=(stable.size, canary.size),
        evidence=(evidence, case.needed),
    )


def _limit(name: str, theirs: float | None, checks: LiveChecks) -> tuple[float, int]:
    """The limit in ms, and whether it is the relative (0) or the absolute one (1)."""
    relative = math.inf
    if theirs is not None:
        relative = max(theirs * (1 + checks.latency_increase), theirs + checks.latency_floor_ms)
    absolute = checks.latency_p99_ms
    if name == "latency_p99" and absolute < relative and (theirs is None or theirs <= absolute):
        return absolute, 1
    return relative, 0
