"""Facts about candidates and champions: states, transitions, intents, and what promotion and rollback did."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.rollout import Routing, ServedVersion


class CandidateState(StrEnum):
    """Where a candidate stands. A candidate is a release, known by its content digest."""

    REGISTERED = "registered"
    VALIDATED = "validated"
    APPROVED = "approved"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTING = "promoting"
    CHAMPION = "champion"
    RETIRED = "retired"
    ROLLED_BACK = "rolled_back"
    QUARANTINED = "quarantined"


class Transition(Record):
    """One event of the ledger: a candidate moved from one state to another.

    ``before`` is ``None`` for a candidate the ledger meets for the first time. ``weight_ppm`` belongs to
    ``canary``. ``sequence`` and ``at`` are given by the store; ``at`` never runs backwards.
    """

    model: str
    candidate: str
    version: ServedVersion
    before: CandidateState | None
    after: CandidateState
    reason: str
    actor: str
    run: str | None = None
    weight_ppm: int | None = None
    sequence: int = 0
    at: Instant | None = None


class Champion(Record):
    """Who is champion of a model. ``epoch`` rises by one with every change; 0: there never was one."""

    model: str
    epoch: int = Field(ge=0)
    version: ServedVersion | None
    since: Instant | None


class RoutingChange(Record):
    """A routing row and when, by whom and why it came into force."""

    routing: Routing
    at: Instant
    actor: str
    action: str
    reason: str


class IntentKind(StrEnum):
    """What is under way."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


class IntentStage(StrEnum):
    """How far it is. ``opened``: nothing has changed yet; ``routed``: traffic is moved, projections may lag."""

    OPENED = "opened"
    ROUTED = "routed"
    DONE = "done"
    ABANDONED = "abandoned"

    @property
    def open(self) -> bool:
        """Whether somebody has to finish it."""
        return self in (IntentStage.OPENED, IntentStage.ROUTED)


class Intent(Record):
    """Written ahead of a promotion or rollback, so that whoever comes next can finish it.

    A model has at most one open intent. ``key`` is what asked for it (a run, a request); asking again
    with the same key resumes it. ``champion_epoch`` is the epoch it was decided at.
    """

    model: str
    kind: IntentKind
    key: str
    stage: IntentStage
    target: ServedVersion
    replaced: ServedVersion | None
    champion_epoch: int
    actor: str
    reason: str
    opened_at: Instant
    run: str | None = None
    rollout: str | None = None


class PromotionRecord(Record):
    """A finished promotion: who replaced whom, when, why, and what each step measured."""

    model: str
    run: str
    rollout: str | None
    candidate: ServedVersion
    replaced: ServedVersion | None
    champion_epoch: int
    routing_epoch: int
    reason: str
    actor: str
    opened_at: Instant
    promoted_at: Instant
    seconds: float
    checks: dict[str, float | str | bool | None] = {}


class RollbackConfirmed(Record):
    """Every server process has the routing of a rollback; ``seconds`` after it was asked for."""

    model: str
    key: str
    routing_epoch: int
    at: Instant
    seconds: float
    servers: int


class RollbackReport(Record):
    """A rollback: away from ``offender``, towards the recorded previous champion.

    ``seconds`` is from the decision until every server process had the new routing; ``registry`` says
    whether the aliases followed or are left to the reconciler. ``skipped`` are earlier champions that
    could not be returned to, with the reason.
    """

    model: str
    key: str
    offender: ServedVersion
    restored: ServedVersion
    champion_epoch: int
    routing_epoch: int
    reason: str
    actor: str
    decided_at: Instant
    applied_at: Instant
    seconds: float
    servers: int
    registry: str
    skipped: tuple[str, ...] = ()
    last_served_at: Instant | None = None
    """When the offender last answered, by the journal; ``None`` when it did not after the decision, or is unread."""

    @property
    def exposed_seconds(self) -> float | None:
        """From the decision to the last answer by the offender, where the journal has one."""
        return None if self.last_served_at is None else (self.last_served_at - self.decided_at).total_seconds()

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        return (
            f"{self.model}: version {self.restored.version} serves again instead of {self.offender.version}, on "
            f"{self.servers} server processes {self.seconds:.3f} s after the decision; {self.registry}; "
            f"version {self.offender.version} is quarantined: {self.reason}"
        )


class ChampionGuard(Record):
    """Whether the champion does harm that its predecessor did not; ``failed``: it was rolled back for it."""

    model: str
    run: str
    outcome: Outcome
    reason: str
    champion: ServedVersion | None
    champion_epoch: int
    at: Instant


class GuardNotice(Record):
    """That people must be told of a rollback nobody asked for, and who has been; stored under the guard's run.

    ``rollback`` is the key of its report; empty while it is not known to be done.
    """

    model: str
    run: str
    rollback: str
    told: tuple[str, ...]
    """The notifiers that have taken the message, by place and kind."""
    done: bool = False
    """Everybody there was has taken it: a notifier that comes later is not told what is long over."""
    at: Instant


class DrillReport(Record):
    """A rehearsed rollback: the whole way back but for who serves.

    The version to return to was looked up, loaded, verified and asked; a routing row that changes nothing but its
    epoch was written, and every server process has confirmed it ``seconds`` after the drill began. ``golden`` is the
    largest difference of the golden answers. What was not measured is ``None``.
    """

    model: str
    key: str
    outcome: Outcome
    reason: str
    champion: ServedVersion | None
    target: ServedVersion | None
    seconds: float | None
    golden: float | None
    servers: int
    routing_epoch: int | None
    at: Instant


class AliasesSet(Record):
    """What the registry's aliases were last made to say: what differs from it since was moved by somebody else."""

    model: str
    aliases: dict[str, int]
    at: Instant


class Difference(Record):
    """Two places that should agree and do not. The ledger is right; the other side is repaired.

    ``by_hand``: it had been right, and somebody changed it past the ledger.
    """

    place: str
    what: str
    expected: str
    observed: str
    repaired: bool = False
    error: str | None = None
    by_hand: bool = False

    @property
    def sentence(self) -> str:
        """The difference in words."""
        end = "; repaired" if self.repaired else f"; not repaired: {self.error}" if self.error else ""
        whose = ", moved by hand" if self.by_hand else ""
        return f"{self.place}: {self.what} is {self.observed}{whose}, should be {self.expected}{end}"


class ReconcileReport(Record):
    """Whether registry, routing and servers agree, and what was repaired.

    ``unreachable`` are places that could not be asked: agreement is then not known, never assumed.
    """

    model: str
    outcome: Outcome
    reason: str
    differences: tuple[Difference, ...]
    unreachable: tuple[str, ...]
    resumed: str | None
    at: Instant

    @property
    def agreed(self) -> bool:
        """Whether everything was asked and everything agreed, if need be after repair."""
        return self.outcome.satisfied


class QuarantineCleared(Record):
    """A person has looked at a quarantined release and lets it come back; stored under its digest."""

    model: str
    release_digest: str
    by: str
    reason: str
    at: Instant


class Reign(Record):
    """From when until when a version answered, and with which share of traffic; ``until`` is ``None``: still."""

    since: Instant
    until: Instant | None
    role: str
    version: int
    version_id: str
    weight_ppm: int
    reason: str
    actor: str


class TraceStep(Record):
    """One thing on the way from a prediction to the data behind it, and on to what became of it."""

    kind: str
    subject: str
    text: str
