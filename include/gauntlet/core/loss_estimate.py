"""What a champion's loss is likely to be while labels are pending: estimated from its scores, and marked as such.

Regression: direct loss estimation. The baseline, where labels are known, says how large the error is at every level
of the score; the window's scores say how often each level occurs now. Multiclass: the log loss that calibrated
scores announce for themselves, their mean entropy, less what it was wrong by on the baseline. Either is blind to a
change of what the inputs mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gauntlet.core.performance import Floats, Quality, Scored, compare_losses, mean_loss, unknown
from gauntlet.core.records.drift import PerformanceDrift
from gauntlet.core.records.model import Task
from gauntlet.core.specs.drift import PerformanceSection

LEVELS = 20
LEAST = 30
"""Baseline rows per level of the score."""


@dataclass(frozen=True)
class Estimate:
    """An estimated mean loss with its own error, and the error of its change since the baseline, which is smaller."""

    loss: Quality
    change_error: float
    outside: float
    """Share of scores beyond those of the baseline, where nothing is known of the error."""


def direct_loss(baseline: Scored, scores: Floats) -> Estimate | None:
    """The mean absolute error of a regression, from the error at each level of the score; ``None``: too few rows."""
    levels = min(LEVELS, len(baseline) // LEAST)
    if levels < 2 or len(scores) < 2:
        return None
    edges = np.unique(np.quantile(baseline.scores, np.arange(1, levels) / levels))
    before, after = (np.searchsorted(edges, values, "right") for values in (baseline.scores, scores))
    count = np.bincount(before, minlength=len(edges) + 1).astype(float)
    losses = np.abs(baseline.scores - baseline.labels)
    full = np.maximum(count, 1.0)
    mean = np.bincount(before, losses, len(count)) / full
    variance = np.bincount(before, np.square(losses - mean[before]), len(count)) / np.maximum(count - 1, 1.0) / full
    share = np.bincount(after, minlength=len(count)) / len(scores)
    moved = share - count / len(baseline)
    value = float(share @ mean)
    between = float(share @ np.square(mean - value))
    own = float(np.square(share) @ variance) + between / len(scores)
    change = float(np.square(moved) @ variance) + between * (1 / len(scores) + 1 / len(baseline))
    outside = float(np.mean((scores < baseline.scores.min()) | (scores > baseline.scores.max())))
    return Estimate(Quality(value, math.sqrt(own), len(scores)), math.sqrt(change), outside)


def announced_loss(baseline: Scored, scores: Floats) -> Estimate | None:
    """The log loss of a multiclass model that its scores announce, corrected by the baseline's own bias."""
    known = mean_loss(Task.MULTICLASS, baseline)
    if known is None or len(scores) < 2:
        return None
    then, now = (-(p * np.log(np.maximum(p, 1e-15))).sum(axis=1) for p in (baseline.scores, scores))
    value = float(now.mean()) + known.value - float(then.mean())
    change = math.hypot(float(now.std(ddof=1)) / math.sqrt(len(now)), float(then.std(ddof=1)) / math.sqrt(len(then)))
    return Estimate(Quality(value, math.hypot(change, known.error), len(scores)), change, 0.0)


def estimated_loss(
    task: Task, baseline: Scored, scores: Floats, section: PerformanceSection, alpha: float
) -> PerformanceDrift:
    """The label-free estimate for a regression or a multiclass model; never more than a hint."""
    from scipy.special import ndtri

    name = "mean_absolute_error" if task is Task.REGRESSION else "log_loss"
    known = mean_loss(task, baseline)
    found = direct_loss(baseline, scores) if task is Task.REGRESSION else announced_loss(baseline, scores)
    if known is None or found is None or not known.value > 0:
        return unknown(name, len(scores), "too few rows to estimate the loss").model_copy(update={"estimate": True})
    change = Quality(found.loss.value, found.change_error, found.loss.rows)
    judged = compare_losses(name, Quality(known.value, 0.0, known.rows), change, section, alpha)
    reach = float(ndtri(1 - alpha)) * found.loss.error
    value = found.loss.value
    beyond = f"; {found.outside:.1%} of the scores lie beyond the baseline's" if found.outside > 0.01 else ""
    return judged.model_copy(
        update={
            "estimate": True,
            "interval": (value - reach, value + reach),
            "sentence": f"estimated from scores, no label used: {name} {known.value:.4g} → {value:.4g} ± {reach:.2g}"
            f" on {len(scores)} rows{beyond}; blind to a change of what the inputs mean",
        }
    )
