"""Facts about incidents: what was looked at in which order, and what to do."""

from __future__ import annotations

from enum import StrEnum

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.monitoring import Alert, Layer


class Remedy(StrEnum):
    """What can be done, the quickest first."""

    NOTHING = "nothing"
    ABORT = "abort the canary"
    ROLLBACK = "roll back"
    SERVICE = "mend the service"
    FEED = "mend the feed"
    THRESHOLD = "move the threshold"
    RECALIBRATE = "recalibrate"
    RETRAIN = "retrain"
    LOOK = "look closer"


class Advice(Record):
    """One thing to do, why, and the command or the manual DAG that does it."""

    remedy: Remedy
    reason: str
    command: str | None
    dag: str | None = None


class Event(Record):
    """Something that happened around a symptom. ``change``: somebody or something changed what is served or judged."""

    at: Instant
    what: str
    who: str
    change: bool
    seconds_to_symptom: float | None = None
    suspect: bool = False


class Step(Record):
    """One thing that was looked at."""

    question: str
    outcome: Outcome
    answer: str


class Triage(Record):
    """An incident looked at in order: infrastructure, drift, golden parity, timeline, advice."""

    model: str
    at: Instant
    since: Instant | None
    """When the first of the open alerts was seen; ``None``: none is open."""
    alerts: tuple[Alert, ...]
    steps: tuple[Step, ...]
    timeline: tuple[Event, ...]
    advice: tuple[Advice, ...]


class Impact(Record):
    """What users met in a time, from the journal."""

    requests: int
    failed: int
    by_version: dict[str, int]
    by_arm: dict[str, int]
    entities: int | None
    """Different people or things asked about; ``None``: the journal does not keep them."""
    decided: int | None
    """Positive decisions."""
    decisions: int
    score: float | None
    """Mean score."""
    p99_ms: float | None
    complete: bool

    @property
    def failure_rate(self) -> float | None:
        """Share of failed requests."""
        return self.failed / self.requests if self.requests else None

    @property
    def positive_rate(self) -> float | None:
        """Share of positive decisions."""
        return self.decided / self.decisions if self.decided is not None and self.decisions else None


class Moved(Record):
    """A number of the product or the business: what it was, and the farthest from that it went."""

    layer: Layer
    name: str
    before: float | None
    during: float
