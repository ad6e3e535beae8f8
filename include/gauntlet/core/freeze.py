"""May anything be deployed now? Pure: a calendar, a moment, and the words of people.

Time zones count: a frozen Friday is Friday where the team is, on days with a change of clocks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gauntlet.core.records.freeze import FreezeOverride
from gauntlet.core.roles import person
from gauntlet.core.specs.freeze import DAYS, FreezeSection

HORIZON = timedelta(days=35)
"""How far ahead the end of a freeze is looked for."""
NAMES = 2
"""How many different people an override takes."""
LEAST_REASON = 10


@dataclass(frozen=True)
class Closed:
    """An event of a calendar during which nothing is deployed; ``until`` is not part of it."""

    since: datetime
    until: datetime
    summary: str


@dataclass(frozen=True)
class Hold:
    """Nothing may be deployed, and why. ``until``: when that ends by the calendar, where it does.

    ``known``: false where it holds only because nobody could look.
    """

    reason: str
    until: datetime | None = None
    known: bool = True


def calendar_hold(
    freeze: FreezeSection, zone: ZoneInfo, now: datetime, closed: Sequence[Closed] = (), *, starting: bool = True
) -> Hold | None:
    """What the calendar has against deploying now; ``None``: nothing.

    ``closed`` are the events of the calendar file around ``now``. ``starting``: whether a rollout would begin, for
    which the deployment windows count too.
    """
    why = _obstacle(freeze, now.astimezone(zone), closed, starting)
    if why is None:
        return None
    ends = (
        moment
        for moment in sorted(_boundaries(freeze, zone, now, closed))
        if moment > now and _obstacle(freeze, moment.astimezone(zone), closed, starting) is None
    )
    return Hold(why, next(ends, None))


def _obstacle(freeze: FreezeSection, local: datetime, closed: Sequence[Closed], starting: bool) -> str | None:
    if DAYS[local.weekday()] in freeze.weekdays:
        return f"no deployments on {local:%A}s"
    for dates in freeze.dates:
        if dates.first <= local.date() <= dates.last:
            return f"{dates.reason} ({dates.first} to {dates.last})"
    for event in closed:
        if event.since <= local < event.until:
            return f"{event.summary} (calendar, until {event.until.astimezone(local.tzinfo):%Y-%m-%d %H:%M})"
    if starting and freeze.windows and not any(window.holds(local) for window in freeze.windows):
        hours = ", ".join(f"{window.since:%H:%M}-{window.until:%H:%M}" for window in freeze.windows)
        return f"outside the deployment window {hours}"
    return None


def _boundaries(freeze: FreezeSection, zone: ZoneInfo, now: datetime, closed: Sequence[Closed]) -> Iterator[datetime]:
    """Every moment at which the answer may change: local midnights, starts of windows, ends of events and dates."""
    today = now.astimezone(zone).date()
    clocks = {time(0), *(window.since for window in freeze.windows)}
    days = [today + timedelta(days=n) for n in range(HORIZON.days + 1)]
    days += [dates.last + timedelta(days=1) for dates in freeze.dates if dates.last < date.max]
    for day in days:
        yield from (datetime.combine(day, clock, zone) for clock in clocks)
    yield from (event.until for event in closed)


def override_in_force(words: Iterable[FreezeOverride], now: datetime) -> tuple[FreezeOverride, ...]:
    """The words of two different people that lift a freeze now; empty when there are fewer.

    Names are compared without regard to case and blanks around them: one person is one name, and one account of the
    operating system is one person whatever names are typed there, unless the installation calls it shared.
    """
    newest: dict[str, FreezeOverride] = {}
    for word in sorted(words, key=lambda item: item.at):
        if word.at <= now < word.expires_at and word.by.strip():
            newest[person(word.by, word.account).strip().casefold()] = word
    return tuple(newest.values()) if len(newest) >= NAMES else ()
