"""Whether both versions score and decide alike, beyond what the holdout has shown."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from gauntlet.core import sequential
from gauntlet.core.live.case import Case, evidence_words, outcome_of, percent, too_few, verdict
from gauntlet.core.live.window import Window, first_of_unit
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import MetricVerdict

if TYPE_CHECKING:
    from gauntlet.core.live.window import Floats, Mask

BINS = 10
BLUR = 0.2
"""Standard deviations; two seeds of one calibrated model then differ by a PSI of 0.02-0.08 instead of more than 1."""
RHO = 0.25
"""Tunes the mean's confidence sequence to be tightest at a few hundred requests."""
LEAN = 0.84
"""Once patience is over, a PSI beyond this quantile of a limit-sized shift (one standard error) still leans to harm."""
LEAST_UNIQUE = 20
"""Different champion scores that make two or fewer challenger scores a collapse."""


def score_spread(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Collapse: the challenger gives everybody the same few scores."""
    stable, canary, pairs = _score_samples(window, case)
    n = min(stable.size, canary.size)
    if n < case.checks.scores:
        return (too_few("score_spread", stable, canary, case, critical=True),)
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
        verdict(
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
    """Population stability index between both versions' scores, see :func:`blurred_psi`.

    Fails when a limit-sized shift cannot explain it: PSI times the effective size exceeds the upper quantile of a
    non-central chi-squared with the limit as non-centrality (Yurdakul & Naranjo, J. Risk Model Validation 14, 2020,
    for the null distribution), the level spent over the looks. Scores of both versions on the same requests vary
    less between versions than independent samples do, so the test errs on the quiet side.
    """
    stable, canary, pairs = _score_samples(window, case)
    if min(stable.size, canary.size) < case.checks.scores:
        return (too_few("score_psi", stable, canary, case),)
    limit = case.checks.score_psi + (case.expected.score_psi if case.expected else 0.0)
    psi, bins = blurred_psi(stable, canary)
    size = 1 / (1 / stable.size + 1 / canary.size)
    level = sequential.spent_alpha(case.alpha, case.look)
    threshold = noncentral_chi2_quantile(1 - level, max(1, bins - 1), limit * size) / size
    likely = psi - (bins - 1) / size
    lean = noncentral_chi2_quantile(LEAN, max(1, bins - 1), limit * size) / size
    outcome = outcome_of(harm=likely > limit, significant=psi > threshold, leaning=case.patient or psi > lean)
    sentence = (
        f"PSI {psi:.3f} on {_sample(stable, canary, pairs)}, limit {limit:.3f}"
        f"{case.beyond}; beyond chance above {threshold:.3f}"
    )
    return (
        verdict(
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
        return (too_few("score_shift", stable, canary, case),)
    unit = float(stable.std(ddof=1)) or float(abs(stable.mean())) or 1.0
    expected = case.expected.score_shift if case.expected else 0.0
    limit = case.checks.score_shift
    change = (float(canary.mean()) - float(stable.mean())) / unit - expected
    low, high = _shift_interval(stable / unit, canary / unit, pairs, case.alpha)
    low, high = low - expected, high - expected
    outcome = outcome_of(
        harm=abs(change) > limit,
        significant=low > limit or high < -limit,
        leaning=case.leans(abs(change) - limit, _standard_error(stable / unit, canary / unit, pairs)),
    )
    sentence = (
        f"mean score {canary.mean():.4g} against {stable.mean():.4g} on {_sample(stable, canary, pairs)}: "
        f"{change:+.3f} standard deviations{case.beyond} "
        f"[{low:+.3f}, {high:+.3f}], limit ±{limit:g}"
    )
    return (
        verdict(
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
    """Share of positive decisions, each version at its own threshold, beyond the holdout's difference.

    Without the requests whose decision the exploration reserve has drawn: nobody was given either version's.
    """
    if case.stable_threshold is None or case.canary_threshold is None:
        return ()
    stable, canary, pairs = _score_samples(window.undrawn, case)
    if min(stable.size, canary.size) < case.checks.scores:
        return (too_few("decision_rate", stable, canary, case),)
    yes_stable, yes_canary = stable >= case.stable_threshold, canary >= case.canary_threshold
    expected = (case.expected.decision_rate_change or 0.0) if case.expected else 0.0
    limit = case.checks.decision_rate_change
    change = float(yes_canary.mean()) - float(yes_stable.mean()) - expected
    log_e = _decision_log_e(yes_stable, yes_canary, pairs, expected, limit, case.alpha)
    outcome = outcome_of(
        harm=abs(change) > limit,
        significant=log_e >= case.needed,
        leaning=case.leans(abs(change) - limit, _standard_error(yes_stable, yes_canary, pairs)),
    )
    sentence = (
        f"{percent(float(yes_canary.mean()))} positive decisions against {percent(float(yes_stable.mean()))} on "
        f"{_sample(stable, canary, pairs)}: {change * 100:+.1f} points"
        f"{case.beyond}, limit ±{limit * 100:g}{evidence_words(log_e, case.needed)}"
    )
    return (
        verdict(
            "decision_rate",
            outcome,
            sentence,
            values=(float(yes_stable.mean()), float(yes_canary.mean())),
            limit=limit,
            counts=(stable.size, canary.size),
            evidence=(log_e, case.needed),
        ),
    )


def blurred_psi(stable: Floats, canary: Floats, bins: int = BINS, blur: float = BLUR) -> tuple[float, int]:
    """PSI over bins that hold equal parts of ``stable``, and how many bins there are.

    Every score counts for the bins around it by a normal kernel of ``blur`` standard deviations of ``stable``, and
    half a count is added to each bin. Isotonic calibration puts the scores of two good models on plateaus a hair
    apart; a plateau that lies across a sharp edge would count as a shift of everybody on it.
    """
    import numpy as np

    edges = np.unique(np.quantile(stable, np.linspace(0, 1, bins + 1)[1:-1]))
    width = blur * float(stable.std())
    parts = []
    for values in (stable, canary):
        counts = np.diff(_below(values, edges, width), prepend=0.0, append=1.0) * values.size + 0.5
        parts.append(counts / counts.sum())
    first, second = parts
    return float(((second - first) * np.log(second / first)).sum()), int(edges.size) + 1


def _below(values: Floats, edges: Floats, width: float) -> Floats:
    import numpy as np

    if width <= 0:
        return np.searchsorted(np.sort(values), edges, side="left") / values.size
    from scipy.special import ndtr

    return np.array([float(ndtr((edge - values) / width).mean()) for edge in edges])


def noncentral_chi2_quantile(level: float, freedom: int, noncentrality: float) -> float:
    """Quantile of the non-central chi-squared distribution, in the upper tail within 4 %, and never below it by 1 %.

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
    """Both versions' scores on the same requests where there are enough, else of each arm's own; of each unit one."""
    import numpy as np

    pairs = first_of_unit(window.unit, window.paired)
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


def _standard_error(stable: Floats | Mask, canary: Floats | Mask, pairs: bool) -> float:
    import numpy as np

    if pairs:
        return float((canary.astype(np.float64) - stable).std()) / math.sqrt(canary.size)
    return math.sqrt(float(canary.var()) / canary.size + float(stable.var()) / stable.size)


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


def _sample(stable: Floats, canary: Floats, pairs: bool) -> str:
    if pairs:
        return f"{canary.size} requests scored by both"
    return f"{canary.size} canary and {stable.size} other requests"
