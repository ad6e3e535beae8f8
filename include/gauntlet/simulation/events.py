"""What happens to the lending world, as declared values: the story is data, not code.

Times are those at which the *warehouse* changes. A world at time ``t`` shows every event whose time
has come, and none that has not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

NIGHT = timedelta(days=1)


@dataclass(frozen=True)
class Takeover:
    """Another lender's applications join: its history is loaded at ``at``, new ones flow from then on.

    Its customers earn less, borrow through brokers and mostly live in two regions (a shift of the
    inputs), and their stated income and bureau score say less about default (a change of the concept).
    """

    at: datetime
    volume: float = 0.7
    """Applications per day relative to the own portfolio."""


@dataclass(frozen=True)
class BrokenFeed:
    """From ``at`` until ``until`` the nightly load writes income in cents, drops amounts and repeats rows.

    A load touches the newest day and the day whose labels it brings; the repair rewrites both.
    """

    at: datetime
    until: datetime
    nulls: float = 0.04
    """Share of amounts lost."""
    repeats: float = 0.03
    """Share of rows written twice."""


@dataclass(frozen=True)
class ShuffledLabels:
    """From ``at`` until ``until`` outcomes are joined to the wrong applications of the same day."""

    at: datetime
    until: datetime


@dataclass(frozen=True)
class Backfill:
    """At ``at`` a vendor fills ``device_risk`` for the whole history; requests never carry its values.

    Before, and in every live request, the column holds the placeholder of the old integration.
    """

    at: datetime


Event = Takeover | BrokenFeed | ShuffledLabels | Backfill


@dataclass(frozen=True)
class Scenario:
    """A world: the same scenario gives the same rows, whichever hours are asked for."""

    seed: int = 20_260_301
    per_day: float = 1_700.0
    """Applications per day of the own portfolio, on average."""
    begin: date = date(2025, 12, 1)
    """The first day in the warehouse."""
    events: tuple[Event, ...] = field(default=())


NIGHT_ONE = datetime(2026, 3, 2, 1, tzinfo=UTC)
"""As-of time of the story's first night: 2 o'clock in Berlin, when the shipped spec's nightly run is due."""


def story(night_one: datetime = NIGHT_ONE, per_day: float = 1_700.0) -> Scenario:
    """The six nights of the demo; ``night_one`` is the as-of time of the first.

    >>> [type(event).__name__ for event in story().events]
    ['Takeover', 'BrokenFeed', 'ShuffledLabels', 'Backfill']
    """
    before = timedelta(hours=1)

    def load(night: int) -> datetime:
        return night_one + (night - 1) * NIGHT - before

    return Scenario(
        per_day=per_day,
        begin=(night_one - timedelta(days=64)).date(),
        events=(
            Takeover(at=load(3)),
            BrokenFeed(at=load(4), until=load(5)),
            ShuffledLabels(at=load(5), until=load(6)),
            Backfill(at=load(6)),
        ),
    )
