"""The audit log of a model, newest first."""

from __future__ import annotations

from gauntlet.core.ports import AuditEntry, Services
from gauntlet.core.records.base import Instant, Record

PAGE = 100
MACHINES = (
    *("pipeline", "rollout", "promotion", "monitor", "airflow", "scheduler", "recovery", "history", "reconciler"),
    *("registry", "janitor", "retention", "reproduce", "drill", "slice audit"),
)
"""Whose records are routine: all else they do is a change, and what anybody else records is somebody's word."""


class AuditLine(Record):
    """One entry of the hash-chained log."""

    sequence: int
    at: Instant
    actor: str
    action: str
    subject: str
    text: str
    digest: str


class Trail(Record):
    """A page of the log. ``before`` asks for the page after it; ``None``: this is the last."""

    model: str
    entries: tuple[AuditLine, ...]
    before: int | None
    empty: str | None


def trail(services: Services, model: str, limit: int = PAGE, before: int | None = None, *, every: bool = True) -> Trail:
    """The newest entries, or those before a sequence number; without ``every`` no records that the pipeline made."""
    services.specs.get(model)
    found = services.audit.newest(model, limit + 1, before, unrecorded_by=() if every else MACHINES)
    shown = found[:limit]
    return Trail(
        model=model,
        entries=tuple(_line(entry) for entry in shown),
        before=shown[-1].sequence if len(found) > limit else None,
        empty=None if found else "Nothing has happened yet.",
    )


def _line(entry: AuditEntry) -> AuditLine:
    reason = entry.detail.get("reason")
    details = ", ".join(f"{name} {value}" for name, value in entry.detail.items() if name != "reason")
    return AuditLine(
        sequence=entry.sequence,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        text=str(reason) if reason else details,
        digest=entry.digest,
    )
