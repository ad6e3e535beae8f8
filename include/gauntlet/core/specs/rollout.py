"""How a challenger meets live traffic."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section


class StepSection(Section):
    """One weight of the ramp: passes when time *and* requests *and* entities *and* all checks are there."""

    weight: float = Field(gt=0, le=100)
    """Percent of traffic."""
    hold: Duration
    requests: int = Field(ge=1)
    """Least canary requests for a verdict."""
    entities: int = Field(ge=0, default=0)
    max_hold: Duration | None = None
    """Longest wait for evidence; then ``on_max_hold``."""
    warm_up: Duration = Field(default="0s", validate_default=True)
    """Time after the weight has changed that is not judged."""
    labels: int = Field(ge=0, default=0)
    """Least canary requests with a mature label; 0 asks for none."""

    @property
    def weight_ppm(self) -> int:
        """The weight in parts per million."""
        return round(self.weight * 10_000)


class LiveChecks(Section):
    """Limits of the live metrics; each is compared between arms over the same period.

    A limit is the largest change that is tolerated. A metric fails when the change is larger *and* is no accident.
    Changes of score and decision are counted on top of what the candidate already showed on the holdout, where the
    gates have judged it: a model that was trained to differ may differ.
    """

    error_rate_increase: float = Field(gt=0, default=0.01)
    fallback_rate_increase: float = Field(gt=0, default=0.01)
    invalid_outputs: int = Field(ge=0, default=0)
    """Scores of the challenger that were not finite or out of range; more end the rollout at once."""
    latency_p99_ms: float = Field(gt=0, default=50.0)
    latency_increase: float = Field(gt=0, default=1.0)
    """Relative: at 1.0 the canary's p50, p95 and p99 may be twice the champion's."""
    latency_floor_ms: float = Field(ge=0, default=2.0)
    """Quantiles that differ by less than this never count as slower."""
    score_psi: float = Field(gt=0, default=0.25)
    """Population stability index between both versions' scores; above 0.25 is a major shift by convention."""
    score_shift: float = Field(gt=0, default=0.5)
    """Mean difference of both versions' scores on the same request, in standard deviations of the champion's."""
    score_spread: float = Field(gt=0, lt=1, default=0.1)
    """Collapse: least ratio of the canary's spread, and of its unique scores, to the champion's."""
    scores: int = Field(ge=10, default=30)
    """Least scored requests for a verdict on scores."""
    decision_rate_change: float = Field(gt=0, le=1, default=0.10)
    log_loss_increase: float = Field(gt=0, default=0.05)
    """On requests with mature labels, mean over the same requests scored by both versions."""
    calibration_change: float = Field(gt=0, le=1, default=0.10)
    """On mature labels: how much farther the canary's mean score may be from the label rate than the champion's."""
    alpha: float = Field(gt=0, lt=0.5, default=0.01)
    """Chance that a whole rollout rolls back a *good* challenger, over all looks and metrics."""


class RolloutSection(Section):
    """The plan. ``bootstrap`` says how a first model, with nothing to compare, becomes champion."""

    steps: tuple[StepSection, ...] = Field(min_length=1)
    checks: LiveChecks = LiveChecks()
    tick: Duration = Field(default="30s", validate_default=True)
    lease: Duration = Field(default="5m", validate_default=True)
    """Without a tick for this long, the canary's weight falls to 0 by itself."""
    on_max_hold: Literal["extend", "pause", "roll_back"] = "roll_back"
    bootstrap: Literal["automatic", "approval"] = "approval"
    approval: bool = False
    """Whether a person approves before traffic moves."""
    deadline: Duration = Field(default="14d", validate_default=True)
    """A rollout older than this expires and its traffic returns."""
    golden_ms: float = Field(gt=0, default=50.0)
    """Preflight: the longest that one more golden row may take the live server."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError(f"steps: weights must rise, got {weights}")
        if self.lease <= self.tick * 2:
            raise ValueError("lease: must be more than two ticks, or every late tick ends the canary")
        return self
