"""Facts about traffic: the routing row, a rollout's state, what the judge said."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record

PPM = 1_000_000
"""Weights are integers in parts per million of traffic."""


class Arm(StrEnum):
    """Which of the two versions answered."""

    STABLE = "stable"
    CANARY = "canary"


class ServedVersion(Record):
    """A version as the server knows it."""

    version: int
    version_id: str
    release_uri: str
    release_digest: str


class Routing(Record):
    """The truth for traffic: one row per model, changed only by compare-and-swap on ``epoch``."""

    model: str
    epoch: int = Field(ge=0)
    stable: ServedVersion | None
    canary: ServedVersion | None
    previous: ServedVersion | None
    weight_ppm: int = Field(ge=0, le=PPM)
    salt: str
    rollout: str | None
    lease_until: Instant | None


class RolloutPhase(StrEnum):
    """Where a rollout stands."""

    PENDING = "pending"
    PREFLIGHT = "preflight"
    SHADOW = "shadow"
    STEP = "step"
    BAKE = "bake"
    PROMOTED = "promoted"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class MetricVerdict(Record):
    """One live metric of both arms over the same period, compared."""

    metric: str
    outcome: Outcome
    critical: bool
    sentence: str
    stable: float | None
    canary: float | None
    limit: float | None
    stable_n: int
    canary_n: int
    evidence: float | None = None


class CanaryAnalysis(Record):
    """What the judge said at one look."""

    rollout: str
    step: int
    weight_ppm: int
    outcome: Outcome
    reason: str
    metrics: tuple[MetricVerdict, ...]
    since: Instant
    until: Instant
    requests: int
    entities: int


class RolloutState(Record):
    """A rollout after one tick."""

    rollout: str
    model: str
    run: str
    phase: RolloutPhase
    step: int
    weight_ppm: int
    candidate: ServedVersion
    stable: ServedVersion | None
    reason: str
    started_at: Instant
    step_started_at: Instant
    updated_at: Instant
    analysis: CanaryAnalysis | None = None
