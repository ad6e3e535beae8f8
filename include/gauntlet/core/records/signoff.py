"""A person's word on something that no machine can check: a back-up was restored, a load was tried, go live."""

from __future__ import annotations

from enum import StrEnum

from gauntlet.core.records.account import Account
from gauntlet.core.records.base import Instant, Record


class Topic(StrEnum):
    """What is signed."""

    BACKUP = "backup"
    """A back-up was taken (``deploy/backup.sh`` says so by itself)."""
    RESTORE = "restore"
    """A back-up was restored somewhere and looked at."""
    ALERTS = "alerts"
    """A test message has reached the people on call."""
    RUNBOOK = "runbook"
    """The people on call have read the runbook and tried its commands."""
    GO_LIVE = "go-live"
    """The model may serve."""


class SignOff(Record):
    """Who said so, when and why; stored per model and topic, the newest counts."""

    model: str
    topic: Topic
    by: str
    reason: str
    at: Instant
    spec_digest: str
    """Of the spec that was signed: another spec wants another word to go live."""
    account: Account | None = None
