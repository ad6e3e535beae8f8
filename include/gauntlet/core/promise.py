"""What scores promise and labels keep: concept drift seen with fewer labels than a fall of the ROC AUC takes.

Scores that are chances announce a ROC AUC of their own. Both, the announced and the measured one, change alike when
other rows arrive; what the labels alone bring is their difference. It is taken on the same rows, so most of the
noise of a ROC AUC is not in it: a change of meaning stands out of a half to two thirds of the labels.
"""

from __future__ import annotations

import math

import numpy as np

from gauntlet.core.outcome import Outcome
from gauntlet.core.performance import Quality, Scored, auc
from gauntlet.core.records.drift import PerformanceDrift
from gauntlet.core.specs.drift import PerformanceSection

PROMISED = 0.1
"""Share of a check's alpha, beside that of the fall itself."""


def shortfall(sample: Scored) -> Quality | None:
    """Announced less measured ROC AUC of one sample, with the standard error of the difference.

    The announced one takes every row as a positive with chance ``p`` and as a negative with ``1 - p``. The error is
    that of the mean of what each row adds to both (first-order, as DeLong's). ``None`` without two rows of each class.

    >>> rng = np.random.default_rng(1)
    >>> p = rng.random(20_000)
    >>> found = shortfall(Scored((rng.random(20_000) < p).astype(float), p))
    >>> abs(found.value) < 3 * found.error < 0.01
    True
    """
    measured = auc(sample)
    p = np.clip(sample.scores, 0.0, 1.0)
    if measured is None or not 0 < p.mean() < 1:
        return None
    announced, told = _area(p, p)
    _, kept = _area(sample.labels, sample.scores)
    error = float((told - kept).std(ddof=1)) / math.sqrt(len(p))
    return Quality(announced - measured.value, error, len(sample))


def _area(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """ROC AUC with rows that are positive by these shares, and what each row adds to it; both shape ``(rows,)``."""
    _, place = np.unique(scores, return_inverse=True)
    negative = 1 - positive
    shares = positive.mean(), negative.mean()
    counts = [np.bincount(place, weights) / len(scores) for weights in (positive, negative)]
    below = (np.cumsum(counts[1]) - 0.5 * counts[1])[place] / shares[1]
    above = (shares[0] - np.cumsum(counts[0]) + 0.5 * counts[0])[place] / shares[0]
    area = float((positive * below).mean() / shares[0])
    adds: np.ndarray = positive * (below - area) / shares[0] + negative * (above - area) / shares[1]
    return area, adds


def against_promise(
    found: PerformanceDrift,
    baseline: Scored,
    current: Scored,
    section: PerformanceSection,
    alpha: float,
    before: PerformanceDrift | None = None,
) -> PerformanceDrift:
    """The finding on a binary champion, failed too where labels keep less than they kept of what scores promise.

    ``before``: the finding of the window before, if it does not overlap; both are asked together, where both fall
    short.
    """
    from scipy.special import ndtr

    then, now = shortfall(baseline), shortfall(current)
    if (found.outcome is Outcome.INCONCLUSIVE and found.baseline is None) or then is None or now is None:
        return found
    update: dict[str, object] = {"shortfall": now.value - then.value, "shortfall_error": now.error}
    pooled = _pooled(Quality(now.value - then.value, now.error, now.rows), before)
    p = float(ndtr((section.drop - pooled.value) / max(math.hypot(pooled.error, then.error), 1e-12)))
    if p <= alpha and found.outcome is not Outcome.FAILED:
        told = f"labels keep less than scores promise: roc_auc is {pooled.value:.3f} further short of what scores"
        told += f" announce than at its evaluation (limit {section.drop:g}, p {p:.2g}) on {pooled.rows} labelled rows"
        update |= {"outcome": Outcome.FAILED, "judged": True, "required_rows": None}
        update |= {"sentence": f"{told}; {found.sentence}"}
    return found.model_copy(update=update)


def _pooled(now: Quality, before: PerformanceDrift | None) -> Quality:
    """Both windows by their precision."""
    if before is None or before.shortfall is None or not before.shortfall_error or not now.error:
        return now
    if min(now.value, before.shortfall) <= 0:
        return now
    weights = 1 / now.error**2, 1 / before.shortfall_error**2
    value = (weights[0] * now.value + weights[1] * before.shortfall) / sum(weights)
    return Quality(value, 1 / math.sqrt(sum(weights)), now.rows + before.rows)
