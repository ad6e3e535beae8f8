"""The live metrics of a canary: each takes a window and a case, and returns one or more verdicts.

A metric fails when the canary's change is beyond its limit *and* an anytime-valid test at the metric's share of
``alpha`` says it is no accident. Beyond the limit without that it is inconclusive while the data lean towards harm.
Without data it is inconclusive: never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from gauntlet.core import sequential
from gauntlet.core.live_window import Window, distinct, first_of_unit
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import ExpectedShift, MetricVerdict
from gauntlet.core.specs.rollout import LiveChecks

if TYPE_CHECKING:
    from gauntlet.core.live_window import Floats, Mask

LATENCY_GRID_MS: tuple[float, ...] = tuple(0.25 * 2 ** (step / 2) for step in range(28))
"""Fixed before any data: latencies from 0.25 ms to 3 s whose exceedances are compared between arms."""
QUANTILES: tuple[tuple[str, float], ...] = (("latency_p50", 0.50), ("latency_p95", 0.95), ("latency_p99", 0.99))
BINS = 10
RHO = 0.25
"""Tunes the mean's confidence sequence to be tightest at a few hundred requests."""
LEAST_UNIQUE = 20
"""Different champion scores that make two or fewer challenger scores a collapse."""


@dataclass(frozen=True)
class Case:
    """What the evidence is judged against. ``alpha`` is one metric's share at one step."""

    checks: LiveChecks
    task: Task
    alpha: float
    look: int
    stable_threshold: float | None = None
    canary_threshold: float | None = None
    expected: ExpectedShift | None = None
    expect_labels: bool = False

    @property
    def needed(self) -> float:
        """The log e-value at which a metric fails."""
        return sequential.log_threshold(self.alpha)


Metric = Callable[[Window, Case], tuple[MetricVerdict, ...]]


def sample_ratio(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Whether units met the arms in the shares they were drawn with; without that no comparison holds."""
    canary, stable = distinct(window.unit[window.arm]), distinct(window.unit[~window.arm])
    n = canary + stable
    if n == 0:
        return (_verdict("sample_ratio", Outcome.INCONCLUSIVE, "no requests yet", critical=True),)
    if window.share >= 1:
        outcome = Outcome.FAILED if stable else Outcome.PASSED
        sentence = f"{stable} of {n} units met the champion at 100 % for the canary"
        return (_verdict("sample_ratio", outcome, sentence, critical=True, counts=(stable, canary)),)
    log_e = sequential.srm_log_e((canary, stable), (window.share, 1 - window.share))
    outcome = Outcome.FAILED if log_e >= case.needed else Outcome.PASSED
    sentence = (
        f"{canary} of {n} units met the canary, {_percent(canary / n)} for a share of {_percent(window.share)}"
        f"{_evidence(log_e, case.needed)}"
    )
    if outcome is Outcome.FAILED:
        sentence += ": requests of one arm are lost or misassigned, no comparison can be trusted"
    return (
        _verdict(
            "sample_ratio",
            outcome,
            sentence,
            critical=True,
            values=(1 - window.share, canary / n),
            limit=window.share,
            counts=(stable, canary),
            evidence=(log_e, case.needed),
        ),
    )


def error_rate(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Requests that the arm's own version did not answer, for whatever reason."""
    return (_rate("error_rate", window, window.failed, case.checks.error_rate_increase, case),)


def fallback_rate(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Requests of the canary that the champion had to answer."""
    return (_rate("fallback_rate", window, window.fell_back, case.checks.fallback_rate_increase, case),)


def invalid_outputs(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Scores that were not finite or out of range: no statistics, a sound model has none."""
    n = int(window.arm.sum())
    if n == 0:
        return (_verdict("invalid_outputs", Outcome.INCONCLUSIVE, "no canary requests yet", critical=True),)
    count, limit = int((window.invalid & window.arm).sum()), case.checks.invalid_outputs
    outcome = Outcome.FAILED if count > limit else Outcome.PASSED
    stable = int((window.invalid & ~window.arm).sum())
    sentence = f"{count} invalid scores in {n} canary requests, limit {limit}"
    return (
        _verdict(
            "invalid_outputs",
            outcome,
            sentence,
            critical=True,
            values=(stable, count),
            limit=limit,
            counts=(window.arm.size - n, n),
        ),
    )


def latency(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Quantiles of the latency; one e-value says whether the arm makes requests slower at all.

    It averages arm tests of the exceedances of fixed latencies, so a slow minute of the host, which meets both arms
    in their shares, is no evidence against the canary.
    """
    canary = window.latency_ms[window.arm & window.settled]
    stable = window.latency_ms[~window.arm & window.settled]
    if canary.size == 0 or (stable.size == 0 and window.share < 1):
        return tuple(
            _verdict(name, Outcome.INCONCLUSIVE, "no requests of both arms yet", counts=(stable.size, canary.size))
            for name, _ in QUANTILES
        )
    log_e = _latency_log_e(canary, stable, window.share, case.checks.latency_p99_ms)
    return tuple(_latency_quantile(name, level, canary, stable, log_e, case) for name, level in QUANTILES)


def score_spread(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Collapse: the challenger gives everybody the same few scores."""
    stable, canary, pairs = _score_samples(window, case)
    n = min(stable.size, canary.size)
    if n < case.checks.scores:
        return (_too_few("score_spread", stable, canary, case, critical=True),)
    wide, narrow = float(stable.std()), float(canary.std())
    uniques = _different(canary)
    ratio = narrow / wide if wide > 0 else 1.0
    few = uniques <= 2 and _different(stable) >= LEAST_UNIQUE
    outcome = Outcome.FAILED if ratio < case.checks.score_spread or few else Outcome.PASSED
    sentence = (
        f"standard deviation {narrow:.4g} against {wide:.4g} of the champion on {_sample(stable, canary, pairs)}, "
        f"ratio {ratio:.2f} ≥ {case.checks.score_spread:g} wanted; {uniques} different scores"
    )
    return (
        _verdict(
            "score_spread",
            outcome,
            sentence,
            critical=True,
            values=(wide, narrow),
            limit=case.checks.score_spread,
            counts=(stable.size, canary.size),
        ),
    )


def score_psi(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Population stability index between both versions' scores.

    Fails when a limit-sized shift cannot explain it: PSI times the effective size exceeds the upper quantile of a
    non-central chi-squared with the limit as non-centrality (Yurdakul & Naranjo, J. Risk Model Validation 14, 2020,
    for the null distribution), the level spent over the looks. Scores of both versions on the same requests vary
    less between versions than independent samples do, so the test errs on the quiet side.
    """
    stable, canary, pairs = _score_samples(window, case)
    if min(stable.size, canary.size) < case.checks.scores:
        return (_too_few("score_psi", stable, canary, case),)
    limit = case.checks.score_psi + (case.expected.score_psi if case.expected else 0.0)
    psi, bins = psi_by_deciles(stable, canary)
    size = 1 / (1 / stable.size + 1 / canary.size)
    level = sequential.spent_alpha(case.alpha, case.look)
    threshold = noncentral_chi2_quantile(1 - level, max(1, bins - 1), limit * size) / size
    likely = psi - (bins - 1) / size
    outcome = _judge(harm=likely > limit, significant=psi > threshold, leaning=True)
    sentence = (
        f"PSI {psi:.3f} on {_sample(stable, canary, pairs)}, limit {limit:.3f}"
        f"{' with the holdout' if case.expected else ''}; beyond chance above {threshold:.3f}"
    )
    return (
        _verdict(
            "score_psi",
            outcome,
            sentence,
            values=(None, psi),
            limit=limit,
            counts=(stable.size, canary.size),
            evidence=(psi, threshold),
        ),
    )


def score_shift(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Mean difference of both versions' scores, in standard deviations of the champion's, beyond the holdout's."""
    stable, canary, pairs = _score_samples(window, case)
    if min(stable.size, canary.size) < case.checks.scores:
        return (_too_few("score_shift", stable, canary, case),)
    unit = float(stable.std(ddof=1)) or float(abs(stable.mean())) or 1.0
    expected = case.expected.score_shift if case.expected else 0.0
    limit = case.checks.score_shift
    change = (float(canary.mean()) - float(stable.mean())) / unit - expected
    low, high = _shift_interval(stable / unit, canary / unit, pairs, case.alpha)
    low, high = low - expected, high - expected
    outcome = _judge(harm=abs(change) > limit, significant=low > limit or high < -limit, leaning=True)
    sentence = (
        f"mean score {canary.mean():.4g} against {stable.mean():.4g} on {_sample(stable, canary, pairs)}: "
        f"{change:+.3f} standard deviations{' beyond the holdout' if case.expected else ''} "
        f"[{low:+.3f}, {high:+.3f}], limit ±{limit:g}"
    )
    return (
        _verdict(
            "score_shift",
            outcome,
            sentence,
            values=(float(stable.mean()), float(canary.mean())),
            limit=limit,
            counts=(stable.size, canary.size),
            interval=(low, high),
        ),
    )


def decision_rate(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Share of positive decisions, each version at its own threshold, beyond the holdout's difference."""
    if case.stable_threshold is None or case.canary_threshold is None:
        return ()
    stable, canary, pairs = _score_samples(window, case)
    if min(stable.size, canary.size) < case.checks.scores:
        return (_too_few("decision_rate", stable, canary, case),)
    yes_stable, yes_canary = stable >= case.stable_threshold, canary >= case.canary_threshold
    expected = (case.expected.decision_rate_change or 0.0) if case.expected else 0.0
    limit = case.checks.decision_rate_change
    change = float(yes_canary.mean()) - float(yes_stable.mean()) - expected
    log_e = _decision_log_e(yes_stable, yes_canary, pairs, expected, limit, case.alpha)
    outcome = _judge(harm=abs(change) > limit, significant=log_e >= case.needed, leaning=True)
    sentence = (
        f"{_percent(float(yes_canary.mean()))} positive decisions against {_percent(float(yes_stable.mean()))} on "
        f"{_sample(stable, canary, pairs)}: {change * 100:+.1f} points"
        f"{' beyond the holdout' if case.expected else ''}, limit ±{limit * 100:g}{_evidence(log_e, case.needed)}"
    )
    return (
        _verdict(
            "decision_rate",
            outcome,
            sentence,
            values=(float(yes_stable.mean()), float(yes_canary.mean())),
            limit=limit,
            counts=(stable.size, canary.size),
            evidence=(log_e, case.needed),
        ),
    )


METRICS: Mapping[str, Metric] = {
    "sample_ratio": sample_ratio,
    "error_rate": error_rate,
    "fallback_rate": fallback_rate,
    "invalid_outputs": invalid_outputs,
    "latency": latency,
    "score_spread": score_spread,
    "score_psi": score_psi,
    "score_shift": score_shift,
    "decision_rate": decision_rate,
}
"""In the order in which they are judged: the sample ratio first, because all others rest on it."""

WITHOUT_TEST = frozenset({"invalid_outputs", "score_spread"})
"""Metrics that take no share of ``alpha``: a sound challenger does not come near their limits."""


def _rate(name: str, window: Window, events: Mask, increase: float, case: Case) -> MetricVerdict:
    n = int(window.arm.sum())
    others = window.arm.size - n
    if n == 0 or (others == 0 and window.share < 1):
        return _verdict(name, Outcome.INCONCLUSIVE, "no requests of both arms yet", critical=True, counts=(others, n))
    canary = float(events[window.arm].mean())
    stable = float(events[~window.arm].mean()) if others else 0.0
    log_e = _arm_or_limit(window, events, increase)
    outcome = _judge(harm=canary - stable > increase, significant=log_e >= case.needed, leaning=log_e > 0)
    sentence = (
        f"{_percent(canary)} of {n} canary requests against {_percent(stable)} of {others}: "
        f"{(canary - stable) * 100:+.2f} points, limit +{increase * 100:g}{_evidence(log_e, case.needed)}"
    )
    return _verdict(
        name,
        outcome,
        sentence,
        critical=True,
        values=(stable, canary),
        limit=increase,
        counts=(others, n),
        evidence=(log_e, case.needed),
        interval=sequential.rate_interval(int(events[window.arm].sum()), n, case.alpha),
    )


def _arm_or_limit(window: Window, events: Mask, limit: float) -> float:
    hit = distinct(window.unit[events & window.arm])
    if window.share >= 1:
        return sequential.rate_log_e(hit, distinct(window.unit[window.arm]), limit)
    return sequential.arm_log_e(hit, hit + distinct(window.unit[events & ~window.arm]), window.share)


def _latency_log_e(canary: Floats, stable: Floats, share: float, limit_ms: float) -> float:
    if share >= 1:
        return sequential.rate_log_e(int((canary > limit_ms).sum()), int(canary.size), 0.01)
    terms = []
    for edge in LATENCY_GRID_MS:
        slow = int((canary > edge).sum())
        terms.append(sequential.arm_log_e(slow, slow + int((stable > edge).sum()), share))
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms) / len(terms))


def _latency_quantile(
    name: str, level: float, canary: Floats, stable: Floats, log_e: float, case: Case
) -> MetricVerdict:
    import numpy as np

    checks = case.checks
    ours = float(np.quantile(canary, level))
    theirs = float(np.quantile(stable, level)) if stable.size else None
    limit = max(theirs * (1 + checks.latency_increase), theirs + checks.latency_floor_ms) if theirs else math.inf
    if name == "latency_p99":
        # The absolute limit counts only where the champion keeps it: a slow host is not the challenger's fault.
        absolute = checks.latency_p99_ms
        limit = min(limit, absolute) if theirs is None or theirs <= absolute else limit
    outcome = _judge(harm=ours > limit, significant=log_e >= case.needed, leaning=log_e > 0)
    against = f" against {theirs:.2f} ms of {stable.size}" if theirs is not None else ""
    bound = f", limit {limit:.2f} ms" if math.isfinite(limit) else ""
    sentence = f"{ours:.2f} ms of {canary.size} canary requests{against}{bound}{_evidence(log_e, case.needed)}"
    return _verdict(
        name,
        outcome,
        sentence,
        values=(theirs, ours),
        limit=limit if math.isfinite(limit) else None,
        counts=(stable.size, canary.size),
        evidence=(log_e, case.needed),
    )


def psi_by_deciles(stable: Floats, canary: Floats, bins: int = BINS) -> tuple[float, int]:
    """PSI over bins that hold equal parts of ``stable``, and how many bins there are; half a count added to each."""
    import numpy as np

    edges = np.unique(np.quantile(stable, np.linspace(0, 1, bins + 1)[1:-1]))
    cells = edges.size + 1
    parts = []
    for values in (stable, canary):
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=cells) + 0.5
        parts.append(counts / counts.sum())
    first, second = parts
    return float(((second - first) * np.log(second / first)).sum()), cells


def noncentral_chi2_quantile(level: float, freedom: int, noncentrality: float) -> float:
    """Quantile of the non-central chi-squared distribution, within about one percent in the upper tail.

    Source: Sankaran, "Approximations to the non-central chi-square distribution", Biometrika 50 (1963), third form.
    """
    k, lam = float(freedom), noncentrality
    h = 1 - 2 * (k + lam) * (k + 3 * lam) / (3 * (k + 2 * lam) ** 2)
    p = (k + 2 * lam) / (k + lam) ** 2
    m = (h - 1) * (1 - 3 * h)
    mean = 1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p)
    deviation = h * math.sqrt(2 * p * (1 + 0.5 * m * p))
    z = NormalDist().inv_cdf(min(level, 1 - 1e-15))
    return float((k + lam) * max(0.0, mean + z * deviation) ** (1 / h))


def _different(scores: Floats) -> int:
    import numpy as np

    return int(np.unique(scores).size)


def _score_samples(window: Window, case: Case) -> tuple[Floats, Floats, bool]:
    """Both versions' scores on the same requests where there are enough, else of each arm's own requests."""
    import numpy as np

    pairs = window.paired
    if int(pairs.sum()) >= case.checks.scores or not window.arm.any():
        return window.stable[pairs], window.canary[pairs], True
    theirs = first_of_unit(window.unit, window.settled & ~window.arm & np.isfinite(window.stable))
    ours = first_of_unit(window.unit, window.settled & window.arm & np.isfinite(window.canary))
    return window.stable[theirs], window.canary[ours], False


def _shift_interval(stable: Floats, canary: Floats, pairs: bool, alpha: float) -> tuple[float, float]:
    if pairs:
        return sequential.mean_interval(canary - stable, alpha, RHO)
    ours, theirs = (sequential.mean_interval(values, alpha / 2, RHO) for values in (canary, stable))
    return ours[0] - theirs[1], ours[1] - theirs[0]


def _decision_log_e(stable: Mask, canary: Mask, pairs: bool, expected: float, limit: float, alpha: float) -> float:
    """Log e-value against "the decision rates differ by at most the limit"; two-sided, so half of each side."""
    import numpy as np

    if pairs:
        change = canary.astype(np.float64) - stable.astype(np.float64)
        up = sequential.bounded_mean_log_e(change, expected + limit, -1.0, 1.0)
        down = sequential.bounded_mean_log_e(-change, limit - expected, -1.0, 1.0)
        return max(up, down) - math.log(2)
    ours = sequential.rate_interval(int(canary.sum()), int(canary.size), alpha / 2)
    theirs = sequential.rate_interval(int(stable.sum()), int(stable.size), alpha / 2)
    beyond = ours[0] - theirs[1] - expected > limit or ours[1] - theirs[0] - expected < -limit
    return sequential.log_threshold(alpha) if beyond else 0.0


def _judge(*, harm: bool, significant: bool, leaning: bool) -> Outcome:
    if not harm:
        return Outcome.PASSED
    if significant:
        return Outcome.FAILED
    return Outcome.INCONCLUSIVE if leaning else Outcome.PASSED


def _too_few(name: str, stable: Floats, canary: Floats, case: Case, *, critical: bool = False) -> MetricVerdict:
    n = min(stable.size, canary.size)
    sentence = f"{n} scored requests of {case.checks.scores} needed"
    return _verdict(name, Outcome.INCONCLUSIVE, sentence, critical=critical, counts=(stable.size, canary.size))


def _verdict(
    metric: str,
    outcome: Outcome,
    sentence: str,
    *,
    critical: bool = False,
    values: tuple[float | None, float | None] = (None, None),
    limit: float | None = None,
    counts: tuple[int, int] = (0, 0),
    evidence: tuple[float, float] | None = None,
    interval: tuple[float, float] | None = None,
) -> MetricVerdict:
    finite = interval is not None and all(math.isfinite(bound) for bound in interval)
    return MetricVerdict(
        metric=metric,
        outcome=outcome,
        critical=critical,
        sentence=f"{metric}: {sentence}",
        stable=values[0],
        canary=values[1],
        limit=limit,
        stable_n=int(counts[0]),
        canary_n=int(counts[1]),
        evidence=evidence[0] if evidence else None,
        needed=evidence[1] if evidence else None,
        interval=interval if finite else None,
    )


def _evidence(log_e: float, needed: float) -> str:
    return f"; log e-value {log_e:+.1f} of {needed:.1f}"


def _percent(value: float) -> str:
    return f"{value * 100:.2f} %"


def _sample(stable: Floats, canary: Floats, pairs: bool) -> str:
    if pairs:
        return f"{canary.size} requests scored by both"
    return f"{canary.size} canary and {stable.size} other requests"
