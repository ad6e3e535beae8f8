"""One version's way from a float vector to a checked, calibrated score and a decision.

Bit-identical to ``Booster.predict`` followed by the calibration of training; never a frame, never a
scikit-learn wrapper (which returns labels).
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import msgspec

from gauntlet.core.calibration import compile_calibration
from gauntlet.core.records.model import ModelSidecar, Task
from gauntlet.native.lightgbm import Booster, RowScorer, ScoringError
from gauntlet.serving.inputs import Vector

NO_DECISION = -1
NOT_FINITE = "invalid: not finite"
NOT_IN_RANGE = "invalid: outside [0, 1]"
BAD_SUM = "invalid: class scores do not sum to 1"
SUM_TOLERANCE = 1e-6


class InvalidOutput(ScoringError):
    """A score that no model of this task may give. The message is one of a few fixed texts."""


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A version's answer for a row. ``score`` of a multiclass row is that of the class decided on."""

    score: float
    decision: int
    """Binary: 0 or 1 at the version's threshold; multiclass: class code; -1 where there is none to take."""
    scores: tuple[float, ...] | None = None


class Predictor:
    """Scores rows in one thread. Made by :meth:`gauntlet.serving.loader.LoadedVersion.predictor`."""

    __slots__ = ("_rows", "predict", "vector")

    predict: Callable[[Vector], Prediction]
    """A checked prediction; :class:`ScoringError` when the version cannot give one."""
    vector: Callable[[], bytes]
    """The bytes of the row scored last."""

    def __init__(self, booster: Booster, sidecar: ModelSidecar) -> None:
        """Prepare the path of this sidecar's task."""
        self._rows = RowScorer(booster)
        self.vector = self._rows.vector
        calibrate = compile_calibration(sidecar.calibration) if sidecar.calibration else None
        if sidecar.task is Task.BINARY:
            self.predict = _binary(self._rows.score, calibrate, sidecar.threshold)
        elif sidecar.task is Task.REGRESSION:
            self.predict = _regression(self._rows.score, calibrate)
        else:
            self.predict = _multiclass(self._rows.scores)

    def close(self) -> None:
        """Free what LightGBM holds for it."""
        self._rows.close()


def _binary(
    raw: Callable[[Vector], float], calibrate: Callable[[float], float] | None, threshold: float | None
) -> Callable[[Vector], Prediction]:
    def predict(vector: Vector) -> Prediction:
        score = raw(vector)
        if calibrate is not None:
            score = calibrate(score)
        if not 0.0 <= score <= 1.0:
            raise InvalidOutput(NOT_IN_RANGE if isfinite(score) else NOT_FINITE)
        return Prediction(score, NO_DECISION if threshold is None else int(score >= threshold))

    return predict


def _regression(
    raw: Callable[[Vector], float], calibrate: Callable[[float], float] | None
) -> Callable[[Vector], Prediction]:
    def predict(vector: Vector) -> Prediction:
        score = raw(vector)
        if calibrate is not None:
            score = calibrate(score)
        if not isfinite(score):
            raise InvalidOutput(NOT_FINITE)
        return Prediction(score, NO_DECISION)

    return predict


def _multiclass(raw: Callable[[Vector], tuple[float, ...]]) -> Callable[[Vector], Prediction]:
    def predict(vector: Vector) -> Prediction:
        scores = raw(vector)
        total = sum(scores)
        if not isfinite(total):
            raise InvalidOutput(NOT_FINITE)
        if abs(total - 1.0) > SUM_TOLERANCE or min(scores) < 0.0:
            raise InvalidOutput(BAD_SUM)
        best = max(scores)
        return Prediction(best, scores.index(best), scores)

    return predict
