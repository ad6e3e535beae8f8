"""Words of people on whether anything may be deployed."""

from __future__ import annotations

from gauntlet.core.records.account import Account
from gauntlet.core.records.base import Instant, Record


class LineStop(Record):
    """Somebody stops the line of a model, or of all (``model`` is ``*``), or lets it run again."""

    model: str
    stopped: bool
    by: str
    reason: str
    at: Instant
    account: Account | None = None


class FreezeOverride(Record):
    """One person's word that a freeze does not count for a while; two different people are needed."""

    model: str
    by: str
    reason: str
    at: Instant
    expires_at: Instant
    account: Account | None = None
