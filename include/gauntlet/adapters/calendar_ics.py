"""Freeze calendars in iCalendar files (RFC 5545): single, recurring, all-day and cancelled events."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.freeze import Closed

CANCELLED = "CANCELLED"


class IcsCalendars:
    """Implements :class:`~gauntlet.core.ports.Calendars` on files; relative ones are looked for in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def closed(self, calendar: str, zone: ZoneInfo, since: datetime, until: datetime) -> tuple[Closed, ...]:
        """The events between two moments. A day without a clock, or a time without a zone, is one in ``zone``.

        Raises :class:`InfrastructureError` when the file is not there or is no calendar.
        """
        import recurring_ical_events
        from icalendar import Calendar

        path = self._folder / calendar
        try:
            # A file of several calendars, and one cut short, are no calendar to go by.
            read = Calendar.from_ical(path.read_bytes())
            if not isinstance(read, Calendar):
                raise ValueError(f"it begins with {getattr(read, 'name', type(read).__name__)}, not VCALENDAR")
            events = recurring_ical_events.of(read).between(since.astimezone(zone), until.astimezone(zone))
            found = [_closed(event, zone) for event in events if str(event.get("STATUS", "")).upper() != CANCELLED]
        except OSError as error:
            raise InfrastructureError(f"calendar {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InfrastructureError(f"calendar {path} cannot be read: {error}") from error
        return tuple(sorted(found, key=lambda event: (event.since, event.until)))


def _closed(event: Any, zone: ZoneInfo) -> Closed:
    start, end = event.start, event.end
    if not isinstance(start, datetime) and end <= start:
        end = start + timedelta(days=1)
    return Closed(_moment(start, zone), _moment(end, zone), str(event.get("SUMMARY", "") or "frozen"))


def _moment(value: date, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime):
        return datetime.combine(value, time(0), zone)
    return value if value.tzinfo else value.replace(tzinfo=zone)
