"""Are the scores possible, varied, and near enough to the champion's?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from gauntlet.core.gates.config import Bounds, GateConfig, Share
from gauntlet.core.gates.evidence import Evidence, Frame, rows_of
from gauntlet.core.gates.verdict import check, conclude
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

NAME = "prediction_sanity"
SUM_TOLERANCE = 1e-6


class PredictionSanityConfig(GateConfig):
    """What holds of any model's output."""

    range: Bounds | None = None
    """Default for probabilities: 0 to 1. A regression should say what is possible."""
    distinct: int = Field(ge=2, default=10)
    """Fewer different scores are a constant output."""
    most_frequent: Share = 0.5
    """Largest share of rows with the very same score."""
    shift: float | None = Field(gt=0, default=0.3)
    """Largest Wasserstein distance between both models' scores, in standard deviations of the champion's; ``None``
    does not compare. (Not PSI: calibrated scores come in steps, and steps that move a little fill other bins.)"""
    minimum_rows: int = Field(ge=2, default=100)


def evaluate(evidence: Evidence, config: PredictionSanityConfig) -> GateVerdict:
    """Finite, in range, not constant, not far from the champion."""
    import numpy as np

    frame, _ = rows_of(evidence)
    n = len(frame)
    bad = int((~np.isfinite(frame.candidate)).sum())
    found = [check("rows", n, "≥", config.minimum_rows), check("scores_not_finite", bad, "≤", 0, n=n)]
    if bad == 0:
        found += [*_range(evidence, frame, config), *_variety(frame, config), *_drift(evidence, frame, config)]
    return conclude(NAME, found)


def _range(evidence: Evidence, frame: Frame, config: PredictionSanityConfig) -> Iterator[Measurement]:
    import numpy as np

    probability = evidence.spec.task is not Task.REGRESSION
    bounds = config.range or (Bounds(minimum=0.0, maximum=1.0) if probability else None)
    if bounds is not None and bounds.minimum is not None:
        yield check("lowest_score", float(frame.candidate.min()), "≥", bounds.minimum, n=len(frame))
    if bounds is not None and bounds.maximum is not None:
        yield check("highest_score", float(frame.candidate.max()), "≤", bounds.maximum, n=len(frame))
    if frame.candidate.ndim == 2:
        off = float(np.abs(frame.candidate.sum(axis=1) - 1).max())
        yield check("class_scores_sum_off_1", off, "≤", SUM_TOLERANCE, n=len(frame))


def _variety(frame: Frame, config: PredictionSanityConfig) -> Iterator[Measurement]:
    import numpy as np

    columns = frame.candidate if frame.candidate.ndim == 2 else frame.candidate[:, None]
    for code, scores in enumerate(columns.T):
        counts = np.unique(scores, return_counts=True)[1]
        where = f"class {code}" if frame.candidate.ndim == 2 else None
        yield check("distinct_scores", len(counts), "≥", config.distinct, n=len(frame), where=where)
        yield check(
            "share_of_most_frequent_score",
            counts.max() / len(frame),
            "≤",
            config.most_frequent,
            n=len(frame),
            where=where,
        )


def _drift(evidence: Evidence, frame: Frame, config: PredictionSanityConfig) -> Iterator[Measurement]:
    if config.shift is None or evidence.champion is None:
        return
    if frame.champion is None or frame.champion.shape != frame.candidate.shape:
        yield check("score_shift", None, "≤", config.shift, n=len(frame))
        return
    for code, (candidate, champion) in enumerate(zip(_columns(frame.candidate), _columns(frame.champion), strict=True)):
        where = f"class {code}" if frame.candidate.ndim == 2 else None
        yield check("score_shift", score_shift(champion, candidate), "≤", config.shift, n=len(frame), where=where)


def _columns(scores: Floats) -> Floats:
    return scores.T if scores.ndim == 2 else scores[None, :]


def score_shift(reference: Floats, current: Floats) -> float:
    """Wasserstein-1 distance of two score distributions over the same rows, in standard deviations of the first.

    With equally many rows it is the mean distance of the sorted scores. NaN when a score is not finite or the
    reference has no spread.
    """
    import numpy as np

    if not (np.isfinite(reference).all() and np.isfinite(current).all()) or reference.std() == 0:
        return float("nan")
    return float(np.abs(np.sort(reference) - np.sort(current)).mean() / reference.std())
