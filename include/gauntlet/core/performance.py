"""Concept drift: how well the champion predicts now, against how well it did when it was evaluated.

With matured labels this is measured; while labels are pending it is estimated from the scores alone, and
marked so: an estimate from scores cannot see that the meaning of the inputs has changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import PerformanceDrift
from gauntlet.core.records.model import Task
from gauntlet.core.specs.drift import PerformanceSection

Floats = NDArray[np.float64]
LEVEL, ESTIMATED = 0.4, 0.02
"""Shares of a check's alpha for labels, and for the estimate without any; the rest is for inputs and scores."""
USUALLY = 1.28
"""Standard errors to spare: what is there is seen in nine windows of ten."""
DRAWS = 200
MOST = 20_000
"""Rows on which an estimate is drawn."""
SEED = 20_260_101


@dataclass(frozen=True)
class Scored:
    """Rows with the champion's score and the label; multiclass scores have shape ``(rows, classes)``."""

    labels: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Quality:
    """A metric with its standard error; ``rows`` behind it."""

    value: float
    error: float
    rows: int


def auc(sample: Scored) -> Quality | None:
    """Area under the ROC curve with the standard error of DeLong, DeLong, Clarke-Pearson (1988); ties count half.

    ``None`` when a class has fewer than two rows.

    >>> auc(Scored(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]))).value
    0.75
    """
    positive, negative = np.sort(sample.scores[sample.labels > 0.5]), np.sort(sample.scores[sample.labels <= 0.5])
    if len(positive) < 2 or len(negative) < 2:
        return None
    beaten = _places(negative, positive)
    losing = 1 - _places(positive, negative)
    variance = beaten.var(ddof=1) / len(positive) + losing.var(ddof=1) / len(negative)
    return Quality(float(beaten.mean()), math.sqrt(float(variance)), len(sample))


def _places(ordered: Floats, values: Floats) -> Floats:
    """Share of ``ordered`` below each value, ties half."""
    low, high = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    places: Floats = (low + high) / (2 * len(ordered))
    return places


def mean_loss(task: Task, sample: Scored) -> Quality | None:
    """Mean absolute error of a regression, mean log loss of a multiclass model; ``None`` below two rows."""
    if len(sample) < 2:
        return None
    if task is Task.REGRESSION:
        losses = np.abs(sample.scores - sample.labels)
    else:
        chosen = sample.scores[np.arange(len(sample)), sample.labels.astype(np.int64)]
        losses = -np.log(np.maximum(chosen, 1e-15))
    return Quality(float(losses.mean()), float(losses.std(ddof=1)) / math.sqrt(len(losses)), len(losses))


def compare_performance(
    task: Task, baseline: Scored, current: Scored, section: PerformanceSection, alpha: float
) -> PerformanceDrift:
    """Has the champion become worse by more than the practical limit, given the rows of both samples?"""
    if len(current) < section.minimum_rows:
        return _too_few(task, len(current), section)
    if task is not Task.BINARY:
        return _compare_losses(task, baseline, current, section, alpha)
    before, now = auc(baseline), auc(current)
    if before is None or now is None:
        return unknown("roc_auc", len(current), "one class only: a ROC AUC is not defined")
    found = _judged("roc_auc", before, now, before.value - now.value, section.drop, alpha)
    return _with_calibration(found, current, section, alpha)


def _compare_losses(
    task: Task, baseline: Scored, current: Scored, section: PerformanceSection, alpha: float
) -> PerformanceDrift:
    name = "mean_absolute_error" if task is Task.REGRESSION else "log_loss"
    before, now = mean_loss(task, baseline), mean_loss(task, current)
    if before is None or now is None or not before.value > 0 or not math.isfinite(now.value):
        return unknown(name, len(current), "the loss is not defined")
    return compare_losses(name, before, now, section, alpha)


def compare_losses(
    name: str, before: Quality, now: Quality, section: PerformanceSection, alpha: float
) -> PerformanceDrift:
    """Has a mean loss risen by more than its limit, relative to what it was?"""
    relative = Quality(1.0, before.error / before.value, before.rows)
    scaled = Quality(now.value / before.value, now.error / before.value, now.rows)
    found = _judged(name, relative, scaled, scaled.value - 1, section.drop, alpha)
    interval = found.interval and (found.interval[0] * before.value, found.interval[1] * before.value)
    rise = f"{name} {before.value:.4g} → {now.value:.4g} ({scaled.value - 1:+.1%}, limit {section.drop:+.1%})"
    return found.model_copy(
        update={
            "baseline": before.value,
            "current": now.value,
            "interval": interval,
            "sentence": f"{rise} on {now.rows} labelled rows{_at_this_size(found.judged, found.required_rows)}",
        }
    )


def _judged(name: str, before: Quality, now: Quality, worse: float, limit: float, alpha: float) -> PerformanceDrift:
    from scipy.special import ndtr, ndtri

    error = math.hypot(before.error, now.error)
    reach = float(ndtri(1 - alpha))
    more, less = (
        (float(ndtr((limit - worse) / error)), float(ndtr((worse - limit) / error)))
        if error
        else (
            float(worse <= limit),
            float(worse > limit),
        )
    )
    outcome = Outcome.FAILED if more <= alpha else Outcome.PASSED if less <= alpha else Outcome.INCONCLUSIVE
    unsure = outcome is Outcome.INCONCLUSIVE
    # Whether so many labels can show that nothing has changed is known before anybody looks at them.
    judged = not unsure or limit >= (reach + USUALLY) * error
    needed = _needed(before, now, abs(worse - limit) if judged else limit, reach) if unsure else None
    return PerformanceDrift(
        metric=name,
        outcome=outcome,
        judged=judged,
        estimate=False,
        baseline=before.value,
        current=now.value,
        interval=(now.value - reach * now.error, now.value + reach * now.error),
        limit=limit,
        rows=now.rows,
        required_rows=needed,
        sentence=f"{name} {before.value:.3f} → {now.value:.3f} ± {reach * now.error:.3f}"
        f" (fall {worse:+.3f}, limit {limit:g}) on {now.rows} labelled rows{_at_this_size(judged, needed)}",
    )


def _at_this_size(judged: bool, needed: int | None) -> str:
    """How many labels could say more."""
    would = f"about {needed} would do" if needed else "the evaluation has too few rows too"
    return "" if judged else f"; not judged at this size, {would}"


def _needed(before: Quality, now: Quality, distance: float, reach: float) -> int | None:
    """Rows of the current sample with which this distance to the limit would be beyond doubt."""
    room = (distance / (reach + USUALLY)) ** 2 - before.error**2
    return math.ceil(now.error**2 * now.rows / room) if room > 0 else None


def _with_calibration(
    found: PerformanceDrift, current: Scored, section: PerformanceSection, alpha: float
) -> PerformanceDrift:
    """Adds the error in level; a model that ranks as before but is off in level needs calibration, not training."""
    from scipy.special import ndtri

    apart = current.scores - current.labels
    gap, error = float(apart.mean()), float(apart.std(ddof=1)) / math.sqrt(len(apart))
    reach = float(ndtri(1 - alpha)) * error
    update: dict[str, object] = {"calibration_error": gap, "calibration_interval": (gap - reach, gap + reach)}
    if found.outcome is not Outcome.FAILED and abs(gap) - reach > section.calibration:
        update |= {
            "metric": "calibration",
            "outcome": Outcome.FAILED,
            "judged": True,
            "required_rows": None,
            "limit": section.calibration,
            "sentence": f"mean score {current.scores.mean():.3f}, observed rate {current.labels.mean():.3f} "
            f"(limit {section.calibration:g} apart) on {len(current)} labelled rows; {found.sentence}",
        }
    return found.model_copy(update=update)


def _too_few(task: Task, rows: int, section: PerformanceSection) -> PerformanceDrift:
    name = {Task.BINARY: "roc_auc", Task.REGRESSION: "mean_absolute_error"}.get(task, "log_loss")
    told = f"{rows} labelled rows in the window; {section.minimum_rows} are needed"
    return unknown(name, rows, told).model_copy(update={"required_rows": section.minimum_rows})


def unknown(name: str, rows: int, sentence: str) -> PerformanceDrift:
    """Nothing can be said of a metric, and why."""
    return PerformanceDrift(
        metric=name,
        outcome=Outcome.INCONCLUSIVE,
        estimate=False,
        baseline=None,
        current=None,
        interval=None,
        limit=None,
        rows=rows,
        sentence=sentence,
    )


def estimate_auc(scores: Floats) -> Quality | None:
    """The ROC AUC that calibrated scores announce for themselves: labels drawn from the scores.

    Confidence-based estimation; its error holds only as long as the scores stay calibrated.
    """
    if len(scores) < 2:
        return None
    rng = np.random.default_rng(SEED)
    chosen = np.sort(rng.choice(scores, MOST, replace=False) if len(scores) > MOST else scores)
    distinct, index = np.unique(chosen, return_inverse=True)
    drawn = []
    for _ in range(DRAWS):
        weights = rng.multinomial(len(chosen), np.full(len(chosen), 1 / len(chosen)))
        positive = rng.binomial(weights, np.clip(chosen, 0, 1))
        per_value = np.bincount(index, positive, len(distinct)), np.bincount(index, weights - positive, len(distinct))
        below = np.cumsum(per_value[1]) - 0.5 * per_value[1]
        total = per_value[0].sum() * per_value[1].sum()
        if total:
            drawn.append(float((per_value[0] * below).sum() / total))
    if len(drawn) < DRAWS / 2:
        return None
    return Quality(float(np.mean(drawn)), float(np.std(drawn)), len(scores))


def estimated(baseline: Scored, scores: Floats, section: PerformanceSection, alpha: float) -> PerformanceDrift:
    """The label-free estimate of a binary champion's ROC AUC; never more than a hint, and marked as one.

    The estimate's own bias is taken from the baseline, where the labels are known.
    """
    from scipy.special import ndtri

    known, announced, now = auc(baseline), estimate_auc(baseline.scores), estimate_auc(scores)
    if known is None or announced is None or now is None:
        return unknown("roc_auc", len(scores), "too few rows or one class only").model_copy(update={"estimate": True})
    corrected = Quality(now.value + known.value - announced.value, math.hypot(now.error, known.error), now.rows)
    found = _judged("roc_auc", known, corrected, known.value - corrected.value, section.drop, alpha)
    reach = float(ndtri(1 - alpha)) * corrected.error
    return found.model_copy(
        update={
            "estimate": True,
            "sentence": f"estimated from scores, no label used: roc_auc {known.value:.3f} → {corrected.value:.3f}"
            f" ± {reach:.3f} on {now.rows} rows; blind to a change of what the inputs mean",
        }
    )


def checked_against(estimate: PerformanceDrift, earlier: PerformanceDrift, measured: PerformanceDrift) -> str:
    """What an earlier estimate said of rows whose labels have come since."""
    if earlier.current is None or measured.current is None:
        return estimate.sentence
    told = f"an earlier estimate said {earlier.current:.4g} where labels say {measured.current:.4g}"
    low, high = earlier.interval or (-math.inf, math.inf)
    held = low <= measured.current <= high
    return f"{estimate.sentence}; {told}, {'within' if held else 'outside'} its interval"
