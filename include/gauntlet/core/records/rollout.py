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


class PauseCause(StrEnum):
    """Why a rollout waits. All but ``manual`` end by themselves when the cause is gone."""

    MANUAL = "manual"
    INCONCLUSIVE = "inconclusive"
    NO_TRAFFIC = "no_traffic"
    INCOMPLETE = "incomplete"
    FREEZE = "freeze"


class MetricVerdict(Record):
    """One live metric of both arms over the same period, compared.

    ``evidence`` is the natural logarithm of the e-value against "the canary does no harm" where the metric has
    one; ``needed`` is the value at which it fails. ``interval`` belongs to the canary's change.
    """

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
    needed: float | None = None
    interval: tuple[float, float] | None = None


class CanaryAnalysis(Record):
    """What the judge said at one look. ``complete`` is false when the journal lost rows of the window."""

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
    stable_requests: int = 0
    paired: int = 0
    labels: int = 0
    explored: int = 0
    """Requests that the exploration reserve has decided: no evidence about decisions and what they are worth."""
    complete: bool = True
    seconds_to_verdict: float | None = None
    """At the traffic seen, how long until the step's least counts are there."""

    @property
    def critical(self) -> bool:
        """Whether a critical metric failed: the rollout ends at once."""
        return any(metric.critical and metric.outcome is Outcome.FAILED for metric in self.metrics)


class RolloutState(Record):
    """A rollout after one tick.

    ``step`` is the stage the rollout is in: -1 in the shadow, then the steps from 0, and the number of steps in phase
    ``bake``, when all have passed.
    ``step_started_at`` is when the window of evidence began that is judged, ``looks`` counts the looks at it.
    ``step_epoch`` is the first routing epoch of this step.
    """

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
    source_run: str = ""
    """The run that trained and registered the candidate."""
    salt: str = ""
    step_epoch: int = 0
    looks: int = 0
    pause: PauseCause | None = None
    hold_until: Instant | None = None
    extended_until: Instant | None = None
    """A person's word that the stage may wait this long for evidence, whatever its longest hold."""
    restarts: int = 0
    """How often this step has begun again because its journal was incomplete."""
    windows: int = 1
    """How many windows of evidence this stage has begun: one, and one more for whatever made it start again."""
    commands: tuple[str, ...] = ()
    """Ids of the commands that have been carried out."""
    decided_at: Instant | None = None
    withdrawn_at: Instant | None = None
    harmful: bool = False
    """Whether it ended because of what the candidate did: its release is quarantined."""

    def step_done(self, step: int) -> bool:
        """Whether the rollout has passed stage ``step``."""
        begun = self.phase not in (RolloutPhase.PENDING, RolloutPhase.PREFLIGHT)
        return (begun and self.step > step) or self.ready

    @property
    def ready(self) -> bool:
        """Whether nothing but promotion is left, or even that is done."""
        return self.phase in (RolloutPhase.BAKE, RolloutPhase.PROMOTED)

    @property
    def over(self) -> bool:
        """Whether the rollout has ended, well or not."""
        return self.phase in OVER

    @property
    def withdraw_seconds(self) -> float | None:
        """From the decision to roll back to the last server without the challenger."""
        if self.decided_at is None or self.withdrawn_at is None:
            return None
        return (self.withdrawn_at - self.decided_at).total_seconds()


OVER = frozenset({
    RolloutPhase.PROMOTED,
    RolloutPhase.ROLLED_BACK,
    RolloutPhase.SUPERSEDED,
    RolloutPhase.EXPIRED,
})
"""Phases without a way out."""


class CommandKind(StrEnum):
    """What a person can ask of a rollout. ``abort`` beats everything."""

    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE_STEP = "promote_step"
    PROMOTE = "promote"
    EXTEND = "extend"
    HOLD_UNTIL = "hold_until"


class RolloutCommand(Record):
    """A person's word to a rollout, carried out by the next tick.

    ``until``: with ``hold_until`` the stage does not pass before, with ``extend`` its longest hold is not over before.
    """

    command: str
    rollout: str
    kind: CommandKind
    by: str
    reason: str
    at: Instant
    until: Instant | None = None


class ExpectedShift(Record):
    """How much the candidate differed from the champion on the holdout the gates have judged.

    A difference that was seen and accepted offline is no news live; only what goes beyond is.
    """

    rows: int
    score_psi: float
    score_shift: float
    decision_rate_change: float | None


class PreflightCheck(Record):
    """One thing the live server was asked to do with the candidate before any traffic."""

    check: str
    outcome: Outcome
    sentence: str
    observed: float | None = None
    limit: float | None = None


class PreflightReport(Record):
    """Whether the real server can serve the candidate, found before any user meets it."""

    rollout: str
    model: str
    candidate: str
    outcome: Outcome
    reason: str
    checks: tuple[PreflightCheck, ...]
    measured: dict[str, float]
    expected: ExpectedShift | None
    candidate_threshold: float | None
    stable_threshold: float | None
    golden_rows: int
    at: Instant


class Quarantine(Record):
    """A release that has done harm and must not be registered or rolled out again; stored under its digest."""

    model: str
    release_digest: str
    version_id: str
    version: int
    rollout: str | None
    reason: str
    at: Instant
