"""From a raw score to a calibrated probability: knots, so that it travels as JSON and needs no library.

Both methods end as a monotone piecewise-linear map, clamped outside its knots. ``isotonic``: the knots
of scikit-learn's ``IsotonicRegression``. ``sigmoid``: Platt's curve over the score's log-odds,
tabulated finely enough that the table is within 1e-5 of the curve.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import exp, log
from typing import TYPE_CHECKING

from gauntlet.core.errors import TrainingFailed
from gauntlet.core.records.model import Calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MINIMUM_ROWS = 50
MINIMUM_PER_CLASS = 10
LOGIT_LIMIT = 14.0
SIGMOID_KNOTS = 1025


# ---- applying --------------------------------------------------------------------------------------


def compile_calibration(calibration: Calibration) -> Callable[[float], float]:
    """The map for one score. Bit-identical to :func:`calibrate`; NaN stays NaN."""
    xs, ys = list(calibration.x), list(calibration.y)
    slopes = _slopes(xs, ys)
    last = len(xs) - 1

    def calibrated(score: float) -> float:
        place = bisect_right(xs, score) - 1
        if place < 0:
            return ys[0]
        if place >= last:
            return ys[last] if score == score else score
        return slopes[place] * (score - xs[place]) + ys[place]

    return calibrated


def calibrate(calibration: Calibration, scores: Floats) -> Floats:
    """The map for many scores.

    Written out instead of ``numpy.interp``: that one may fuse multiplication and addition on some
    processors, and then differs in the last bit from what one row gets.
    """
    import numpy as np

    xs, ys = np.array(calibration.x), np.array(calibration.y)
    slopes = np.array([*_slopes(list(calibration.x), list(calibration.y)), 0.0])
    last = len(xs) - 1
    place = np.clip(np.searchsorted(xs, scores, side="right") - 1, 0, last)
    inside = slopes[place] * (scores - xs[place])
    inside += ys[place]
    inside = np.where(scores < xs[0], ys[0], inside)
    return np.asarray(np.where(scores >= xs[last], ys[last], inside))


def _slopes(xs: list[float], ys: list[float]) -> list[float]:
    return [(y1 - y0) / (x1 - x0) for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:], strict=False)]


# ---- fitting ---------------------------------------------------------------------------------------


def fit_calibration(method: str, scores: Floats, labels: Floats, weights: Floats | None = None) -> Calibration:
    """Fit ``isotonic`` or ``sigmoid`` on held-out scores in [0, 1] and 0/1 labels.

    Raises:
        TrainingFailed: fewer than 50 rows, or fewer than 10 of a class.
    """
    import numpy as np

    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if len(labels) < MINIMUM_ROWS or min(positives, negatives) < MINIMUM_PER_CLASS:
        raise TrainingFailed(
            f"calibration needs {MINIMUM_ROWS} rows with {MINIMUM_PER_CLASS} of each class; its part has {len(labels)} "
            f"rows, {positives} positive: raise split.calibration, or set training.calibration: none"
        )
    if weights is None:
        weights = np.ones(len(labels))
    if method == "isotonic":
        return fit_isotonic(scores, labels, weights)
    return fit_sigmoid(scores, labels, weights)


def fit_isotonic(scores: Floats, labels: Floats, weights: Floats) -> Calibration:
    """Least-squares monotone fit by pool-adjacent-violators, with scikit-learn's knots.

    Rows with the same score are averaged first; of a run of equal fitted values only the two ends are
    kept as knots. Values are kept ``1 / (rows + 2)`` away from 0 and 1 (scikit-learn's ``y_min`` and
    ``y_max``): no number of rows proves that something cannot happen, and one such row would cost all.
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    positive = weights > 0
    order = np.lexsort((labels[positive], scores[positive]))
    x, y, w = scores[positive][order], labels[positive][order], weights[positive][order]
    x, y, w = _average_ties(x, y, w)
    least = 1 / (len(labels) + 2)
    fitted = np.clip(isotonic_regression(y, weights=w, increasing=True).x, least, 1 - least)
    keep = np.ones(len(x), bool)
    keep[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return Calibration(method="isotonic", x=tuple(x[keep].tolist()), y=tuple(fitted[keep].tolist()))


def _average_ties(x: Floats, y: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
    import numpy as np

    starts = np.flatnonzero(np.r_[True, np.diff(x) >= np.finfo(np.float64).resolution])
    total = np.add.reduceat(w, starts)
    return x[starts], np.add.reduceat(w * y, starts) / total, total


def fit_sigmoid(scores: Floats, labels: Floats, weights: Floats) -> Calibration:
    """Platt scaling, ``1 / (1 + exp(-(a·logit(score) + b)))``, with Platt's smoothed targets.

    Source: J. Platt, "Probabilistic outputs for support vector machines" (1999); fitted by Newton
    steps on the weighted log-loss. :class:`TrainingFailed` when the scores rank the wrong way round.
    """
    import numpy as np

    z = np.log(np.clip(scores, 1e-12, 1 - 1e-12) / (1 - np.clip(scores, 1e-12, 1 - 1e-12)))
    positives = float(weights[labels == 1].sum())
    negatives = float(weights[labels != 1].sum())
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = _newton(z, target, weights)
    if slope <= 0:
        raise TrainingFailed(
            f"sigmoid calibration has slope {slope:.3g}: on its part higher scores mean fewer positives; "
            "the model has learned nothing that holds there"
        )
    return _tabulate(slope, intercept)


def _newton(z: Floats, target: Floats, weights: Floats) -> tuple[float, float]:
    import numpy as np

    design = np.stack([z, np.ones_like(z)], axis=1)
    beta = np.array([1.0, 0.0])
    loss = _log_loss(design @ beta, target, weights)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -700, 700)))
        gradient = design.T @ (weights * (p - target))
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        scale = 1.0
        while (tried := _log_loss(design @ (beta - scale * step), target, weights)) > loss and scale > 1e-8:
            scale /= 2
        beta, gained, loss = beta - scale * step, loss - tried, min(tried, loss)
        if gained <= 1e-12 * abs(loss):
            break
    return float(beta[0]), float(beta[1])


def _log_loss(margin: Floats, target: Floats, weights: Floats) -> float:
    import numpy as np

    return float((weights * (np.logaddexp(0, margin) - target * margin)).sum())


def _tabulate(slope: float, intercept: float) -> Calibration:
    """Knots equally spaced in log-odds of the *result*, where the curve bends, plus the ends 0 and 1."""
    xs, ys = [0.0], [0.0]
    for step in range(SIGMOID_KNOTS):
        margin = LOGIT_LIMIT * (2 * step / (SIGMOID_KNOTS - 1) - 1)
        x, y = _sigmoid((margin - intercept) / slope), _sigmoid(margin)
        if x > xs[-1] and x < 1.0 and y > ys[-1]:
            xs.append(x)
            ys.append(y)
    xs.append(1.0)
    ys.append(1.0)
    return Calibration(method="sigmoid", x=tuple(xs), y=tuple(ys))


def _sigmoid(margin: float) -> float:
    if margin >= 0:
        return 1 / (1 + exp(-margin))
    grown = exp(margin) if margin > -700 else 0.0
    return grown / (1 + grown)


def sigmoid_at(slope: float, intercept: float, score: float) -> float:
    """Platt's curve itself, of which :func:`fit_sigmoid` stores a table."""
    return _sigmoid(slope * log(score / (1 - score)) + intercept)
