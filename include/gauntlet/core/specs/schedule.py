"""When the pipeline runs, and who answers for the model."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section


class Owner(Section):
    """Who is asked when something is wrong."""

    team: str
    email: str
    runbook: str = "docs/runbook.md"


class ScheduleSection(Section):
    """Cron expressions in one time zone. ``None`` means only by hand or by asset."""

    nightly: str | None = "0 2 * * *"
    drift_check: str | None = "30 * * * *"
    housekeeping: str | None = "0 4 * * *"
    """Reconcile, settle what killed tasks left, delete what retention lets go, verify the audit log."""
    reconcile: str | None = "*/15 * * * *"
    """How often registry, routing and servers are compared, and brought in line."""
    rollback_drill: str | None = "0 5 * * 1"
    """How often a rollback is rehearsed. No user meets another version."""
    deadline: Duration | None = Field(default="6h", validate_default=True)
    """The owner is told when a nightly run is not done this long after it was queued; null: nobody is."""
    timezone: str = "UTC"
    retries: int = Field(ge=0, le=10, default=2)
    """Further tries after an infrastructure error; a rejection is final at the first."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is no IANA time zone; write one as Europe/Berlin") from None
        return value
