"""What the warehouse shows of a day at a given time: labels that are known, and the damage of the night."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gauntlet.simulation.draws import Draws, Ints, Stream, draw
from gauntlet.simulation.events import NIGHT, Backfill, BrokenFeed, Event, Scenario, ShuffledLabels, Takeover
from gauntlet.simulation.population import OWN, PARTNER, Table, applications
from gauntlet.simulation.repayment import LABEL_DAYS, device_risk, outcomes, placeholder_risk

E = TypeVar("E", bound=Event)

BASES = {Stream.OWN: 0, Stream.PARTNER: 2 * 10**12, Stream.LIVE_OWN: 4 * 10**12, Stream.LIVE_PARTNER: 6 * 10**12}
PARTNERS = (Stream.PARTNER, Stream.LIVE_PARTNER)
SETTLED = timedelta(days=LABEL_DAYS + 1)
"""A day this long past has all its rows and labels."""
UNKNOWN = -1
"""A label that is not known yet; written as null."""


def instant(value: datetime) -> np.datetime64:
    """An aware time as NumPy's UTC microseconds."""
    return np.datetime64(value.astimezone(UTC).replace(tzinfo=None), "us")


def epoch_hour(value: datetime) -> int:
    """Hours from the epoch to the hour of ``value``."""
    return int(value.timestamp() // 3600)


def event(scenario: Scenario, kind: type[E]) -> E | None:
    """The scenario's event of a kind, if it has one."""
    return next((event for event in scenario.events if isinstance(event, kind)), None)


def flow(scenario: Scenario, stream: Stream, first: int, last: int, volume: float = 1.0) -> tuple[Table, Draws]:
    """All that is true of the applications in a range of hours, vendor's device risk included."""
    partner = stream in PARTNERS
    per_day = scenario.per_day * volume
    draws = draw(scenario.seed, stream, first, last, per_day)
    table, intent = applications(draws, PARTNER if partner else OWN, scenario.per_day, BASES[stream])
    table |= outcomes(table, intent, draws, partner)
    table["device_risk"] = device_risk(intent, draws)
    return table, draws


def warehouse_day(scenario: Scenario, stream: Stream, day: date, to: datetime) -> Table:
    """The rows of one day and flow as the warehouse shows them at ``to``; empty before a takeover."""
    first = epoch_hour(datetime(day.year, day.month, day.day, tzinfo=UTC))
    takeover = event(scenario, Takeover)
    volume = 1.0 if stream is Stream.OWN else takeover.volume if takeover and takeover.at <= to else 0.0
    table, draws = flow(scenario, stream, first, first + 24, volume)
    if stream is Stream.PARTNER and takeover:
        _arrive_at_once(table, takeover.at)
    table = _fill_device_risk(table, draws, scenario, to)
    table = _rows(table, np.flatnonzero(table["ingested_at"] <= instant(to)))
    table = _hide_unknown(table, to)
    table = _shuffle(table, scenario, day, to)
    return _break(table, scenario, day, to)


def variant(scenario: Scenario, day: date, to: datetime) -> str:
    """Names what a day's file shows at ``to``; while it stays the same, the file need not be written again."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if to < midnight + SETTLED:
        return f"open at {to.isoformat()}"
    names = ["settled"]
    for item in scenario.events:
        until = getattr(item, "until", None)
        if item.at <= to and (until is None or to < until):
            names.append(type(item).__name__)
    return " ".join(names)


def _arrive_at_once(table: Table, at: datetime) -> None:
    """A history that is taken over is known only from then on."""
    for column in ("ingested_at", "label_known_at"):
        table[column] = np.maximum(table[column], instant(at))


def _fill_device_risk(table: Table, draws: Draws, scenario: Scenario, to: datetime) -> Table:
    backfill = event(scenario, Backfill)
    if backfill and backfill.at <= to:
        return table
    return table | {"device_risk": placeholder_risk(draws)}


def _hide_unknown(table: Table, to: datetime) -> Table:
    known = table["label_known_at"] <= instant(to)
    return table | {
        "defaulted": np.where(known, table["defaulted"], UNKNOWN),
        "label_known_at": np.where(known, table["label_known_at"], np.datetime64("NaT")),
    }


def _shuffle(table: Table, scenario: Scenario, day: date, to: datetime) -> Table:
    shuffled = event(scenario, ShuffledLabels)
    if shuffled is None or not shuffled.at <= to < shuffled.until:
        return table
    known = np.flatnonzero(table["defaulted"] != UNKNOWN)
    labels = table["defaulted"].copy()
    labels[known] = labels[_rng(scenario, day, "labels").permutation(known)]
    return table | {"defaulted": labels}


def _break(table: Table, scenario: Scenario, day: date, to: datetime) -> Table:
    """Damage the rows this load wrote: those that arrived in the last night, or whose label did."""
    broken = event(scenario, BrokenFeed)
    if broken is None or not broken.at <= to < broken.until:
        return table
    touched = (table["ingested_at"] > instant(broken.at - NIGHT)) | (table["label_known_at"] > instant(broken.at))
    rng = _rng(scenario, day, "feed")
    lost = touched & (rng.random(len(touched)) < broken.nulls)
    repeated = np.flatnonzero(touched & (rng.random(len(touched)) < broken.repeats))
    table = table | {
        "income": np.where(touched, table["income"] * 100.0, table["income"]),
        "amount": np.where(lost, np.nan, table["amount"]),
    }
    return _rows(table, np.concatenate([np.arange(len(touched)), repeated]))


def _rng(scenario: Scenario, day: date, what: str) -> np.random.Generator:
    return np.random.default_rng([scenario.seed, day.toordinal(), *what.encode()])


def _rows(table: Table, rows: Ints | NDArray[Any]) -> Table:
    return {name: column[rows] for name, column in table.items()}
