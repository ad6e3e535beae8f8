"""Does a score mean what it says: 0.2 is one in five?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from gauntlet.core.gates.absolute_performance import bounded, enough
from gauntlet.core.gates.config import Bounds, GateConfig, Range
from gauntlet.core.gates.evidence import Evidence, candidate_sample, positives_of, rows_of
from gauntlet.core.gates.verdict import check, conclude
from gauntlet.core.metrics import Sample
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gauntlet.core.specs.source import SourceSection

    Floats = npt.NDArray[np.float64]

NAME = "calibration"
CLIP = 1e-12
STEPS, SMALL = 50, 1e-10


class CalibrationConfig(GateConfig):
    """Binary: of probabilities. Regression: slope and intercept of the label on the prediction."""

    ece: float | None = Field(gt=0, lt=1, default=None)
    """Binary: largest expected calibration error."""
    slope: Range = (0.8, 1.25)
    """Binary: of the label on the score's log-odds; below 1 means too sure of itself."""
    intercept: Range | None = None
    """Binary: in log-odds, at slope 1: the score's overall error. Regression: mean error in units of the label's sd."""
    own_slice: bool = True
    """A calibrated model was calibrated on rows that neither training nor the holdout has."""
    minimum_rows: int = Field(ge=2, default=1000)
    minimum_positives: int = Field(ge=1, default=100)

    def complaints(self, task: Task, source: SourceSection) -> Iterator[str]:
        """Tasks that have no such thing."""
        yield from super().complaints(task, source)
        if task is Task.MULTICLASS:
            yield 'a multiclass model has no single calibration curve; write "off: multiclass, log_loss is bounded"'
        if task is Task.REGRESSION and self.ece is not None:
            yield "ece: only a binary model has one"
        if task is Task.BINARY and self.ece is None:
            yield "ece: a binary model needs this limit"


def evaluate(evidence: Evidence, config: CalibrationConfig) -> GateVerdict:
    """Error, slope and intercept of the calibration curve on the holdout."""
    frame, _ = rows_of(evidence)
    positives = positives_of(evidence, frame)
    if few := enough(len(frame), positives, config.minimum_rows, config.minimum_positives):
        return conclude(NAME, few)
    sample = candidate_sample(evidence, frame)
    return conclude(NAME, [*_curve(evidence, config, sample, positives), *_own_slice(evidence, config)])


def _curve(
    evidence: Evidence, config: CalibrationConfig, sample: Sample, positives: int | None
) -> Iterator[Measurement]:
    if evidence.spec.task is Task.BINARY:
        yield from bounded("ece", Bounds(maximum=config.ece), sample, positives)
        slope, intercept = logistic_curve(sample)
    else:
        slope, intercept = linear_curve(sample)
    yield from _within("calibration_slope", slope, config.slope, len(sample), positives)
    if config.intercept is not None:
        yield from _within("calibration_intercept", intercept, config.intercept, len(sample), positives)


def _within(metric: str, value: float, limits: Range, n: int, positives: int | None) -> Iterator[Measurement]:
    yield check(metric, value, "≥", limits[0], n=n, positives=positives)
    yield check(metric, value, "≤", limits[1], n=n, positives=positives)


def _own_slice(evidence: Evidence, config: CalibrationConfig) -> Iterator[Measurement]:
    if not config.own_slice or evidence.sidecar is None or evidence.sidecar.calibration is None:
        return
    parts = {part.name: part.rows for part in evidence.split.parts} if evidence.split else {}
    yield check("calibration_rows", parts.get("calibration", 0), ">", 0)


def logistic_curve(sample: Sample) -> tuple[float, float]:
    """Slope of the label on the log-odds of the score, and the intercept at slope 1 (Cox 1958).

    NaN when the fit does not exist: scores without spread, or classes that the score separates.
    """
    import numpy as np

    score = np.clip(sample.score, CLIP, 1 - CLIP)
    odds = np.log(score / (1 - score))
    weight = np.ones_like(odds) if sample.weight is None else sample.weight
    both = _newton(np.column_stack([np.ones_like(odds), odds]), np.zeros_like(odds), sample.label, weight)
    level = _newton(np.ones((len(odds), 1)), odds, sample.label, weight)
    return float(both[1]) if both is not None else float("nan"), float(level[0]) if level is not None else float("nan")


def _newton(design: Floats, offset: Floats, label: Floats, weight: Floats) -> Floats | None:
    """Maximum likelihood of a logistic regression by Newton's method; None when it does not converge."""
    import numpy as np

    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta + offset, -500, 500)))
        gradient = design.T @ (weight * (label - chance))
        curvature = (design * (weight * chance * (1 - chance))[:, None]).T @ design
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            return None
        beta += step
        if not np.isfinite(beta).all():
            return None
        if np.abs(step).max() < SMALL:
            return beta
    return None


def linear_curve(sample: Sample) -> tuple[float, float]:
    """Least-squares slope of the label on the prediction, and the mean error in units of the label's sd."""
    import numpy as np

    weight = np.ones_like(sample.label) if sample.weight is None else sample.weight
    label = sample.label - np.average(sample.label, weights=weight)
    score = sample.score - np.average(sample.score, weights=weight)
    spread, size = np.average(score**2, weights=weight), np.sqrt(np.average(label**2, weights=weight))
    if spread == 0 or size == 0:
        return float("nan"), float("nan")
    slope = np.average(label * score, weights=weight) / spread
    return float(slope), float(np.average(sample.label - sample.score, weights=weight) / size)
