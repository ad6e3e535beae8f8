"""When nothing may be deployed. Training goes on all the same; what is ready waits."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Weekly(Section):
    """Hours of some weekdays, in local time; ``until`` is not part of it, 00:00 is midnight after."""

    days: tuple[Day, ...] = DAYS
    since: time = time(0)
    until: time = time(0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.until not in {time(0), self.since} and self.until < self.since:
            raise ValueError(f"until {self.until:%H:%M} is before since {self.since:%H:%M}: write two windows")
        return self

    def holds(self, moment: datetime) -> bool:
        """Whether a local time lies in the window."""
        clock = moment.time()
        return (
            DAYS[moment.weekday()] in self.days
            and self.since <= clock
            and (self.until == time(0) or clock < self.until)
        )


class Dates(Section):
    """Days on which nothing is deployed, both included."""

    first: date
    last: date
    reason: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last {self.last} is before first {self.first}")
        return self


class FreezeSection(Section):
    """The freeze calendar. While it holds, no rollout begins, no weight rises and nothing becomes champion.

    A running canary keeps its weight. Rolling back is always allowed.
    """

    weekdays: tuple[Day, ...] = ("fri",)
    """Days without a deployment."""
    windows: tuple[Weekly, ...] = ()
    """Deployment windows: a rollout begins only in one of them, and goes on outside. None: at any hour."""
    dates: tuple[Dates, ...] = ()
    calendar: str | None = None
    """An iCalendar file: its events are frozen. Relative to the folder of the specs."""
    timezone: str | None = None
    """IANA name; without one ``schedule.timezone``."""
    override: Duration = Field(default="4h", validate_default=True)
    """How long an emergency override by two people lasts."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            return value if value is None else ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is no IANA time zone; write one as Europe/Berlin") from None
