"""Facts about a model in production: what each layer found, and the alerts that are open because of it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record


class Layer(StrEnum):
    """Where a symptom shows; the order is that of causes: what is wrong below explains what is wrong above."""

    SERVICE = "service"
    DATA = "data"
    MODEL = "model"
    PRODUCT = "product"
    BUSINESS = "business"


class Severity(StrEnum):
    """Whether somebody is woken."""

    WARNING = "warning"
    PAGE = "page"


class Symptom(Record):
    """Something that is not as it should be, or could not be looked at.

    ``key`` is stable: the same thing wrong tomorrow has the same key. ``beyond`` is how far, in units of the limit.
    """

    key: str
    layer: Layer
    severity: Severity
    outcome: Outcome
    sentence: str
    observed: float | None = None
    limit: float | None = None
    n: int | None = None
    beyond: float | None = None
    estimate: bool = False
    """Whether no label was used."""


class LayerReport(Record):
    """What one layer found in one look. ``values`` are its numbers, the past that later looks are judged by."""

    model: str
    run: str
    layer: Layer
    outcome: Outcome
    reason: str
    symptoms: tuple[Symptom, ...]
    values: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    """What could not be looked at and why, where that is nobody's fault."""
    unjudged: tuple[str, ...] = ()
    """Symptoms, and the beginnings of their keys, that too little evidence neither shows nor rules out."""
    since: Instant | None
    until: Instant
    at: Instant

    @property
    def failing(self) -> tuple[Symptom, ...]:
        """What is wrong."""
        return tuple(symptom for symptom in self.symptoms if symptom.outcome is Outcome.FAILED)


class Alert(Record):
    """One symptom from when it was first seen until it is resolved; stored under its key."""

    model: str
    key: str
    layer: Layer
    severity: Severity
    sentence: str
    since: Instant
    seen_at: Instant
    looks: int = Field(ge=1)
    beyond: float | None = None
    sent_at: Instant | None = None
    """When people were told last; ``None``: not yet, because it is quiet or something below explains it."""
    sent_severity: Severity | None = None
    sent_beyond: float | None = None
    cause: str | None = None
    """Key of the open alert below that explains this one."""
    clean: int = Field(ge=0, default=0)
    """Looks in a row without the symptom."""
    resolved_at: Instant | None = None

    @property
    def open(self) -> bool:
        """Whether it still stands."""
        return self.resolved_at is None


class MessageKind(StrEnum):
    """Why people are told."""

    RAISED = "raised"
    WORSE = "worse"
    RESOLVED = "resolved"


class Message(Record):
    """What people are told in one go: all symptoms of one layer with the same news."""

    model: str
    kind: MessageKind
    layer: Layer
    severity: Severity
    subject: str
    body: str
    keys: tuple[str, ...]
    at: Instant


class AlertRound(Record):
    """What one look did to the alerts: which are open after it, and what was sent to whom."""

    model: str
    run: str
    outcome: Outcome
    reason: str
    open: tuple[str, ...]
    sent: tuple[Message, ...]
    unsent: tuple[str, ...] = ()
    """Notifiers that did not take a message, and why."""
    owed: tuple[Message, ...] = ()
    """Messages that nobody has taken yet; every later look tries them again."""
    at: Instant
