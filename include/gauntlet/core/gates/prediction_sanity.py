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
BINS = 10
SUM_TOLERANCE = 1e-6


class PredictionSanityConfig(GateConfig):
    """What holds of any model's output."""

    range: Bounds | None = None
    """Default for probabilities: 0 to 1. A regression should say what is possible."""
    distinct: int = Field(ge=2, default=10)
    """Fewer different scores are a constant output."""
    most_frequent: Share = 0.5
    """Largest share of rows with the very same score."""
    psi: float | None = Field(gt=0, default=0.25)
    """Largest population stability index of the candidate's scores to the champion's; ``None`` does not compare."""
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
    if config.psi is None or evidence.champion is None:
        return
    if frame.champion is None:
        yield check("score_psi", None, "≤", config.psi, n=len(frame))
        return
    pairs = zip(_columns(frame.candidate), _columns(frame.champion), strict=True)
    for code, (candidate, champion) in enumerate(pairs):
        where = f"class {code}" if frame.candidate.ndim == 2 else None
        yield check("score_psi", score_psi(champion, candidate), "≤", config.psi, n=len(frame), where=where)


def _columns(scores: Floats) -> Floats:
    return scores.T if scores.ndim == 2 else scores[None, :]


def score_psi(reference: Floats, current: Floats) -> float:
    """Population stability index over the reference's deciles; NaN when a score is not finite.

    Half a row is added to each bin, so that an empty one counts as rare and not as impossible.
    """
    import numpy as np

    if not (np.isfinite(reference).all() and np.isfinite(current).all()):
        return float("nan")
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for scores in (reference, current):
        counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
