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


class LiveChecks(Section):
    """Limits of the live metrics; each is compared between arms over the same period."""

    error_rate_increase: float = Field(gt=0, default=0.01)
    fallback_rate_increase: float = Field(gt=0, default=0.01)
    latency_p99_ms: float = Field(gt=0, default=50.0)
    score_psi: float = Field(gt=0, default=0.25)
    decision_rate_change: float = Field(gt=0, default=0.10)
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError(f"steps: weights must rise, got {weights}")
        if self.lease <= self.tick * 2:
            raise ValueError("lease: must be more than two ticks, or every late tick ends the canary")
        return self
