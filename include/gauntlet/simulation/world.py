"""A seeded consumer-lending portfolio, written to a folder of daily Parquet files, night by night.

``World(folder, story()).advance(to)`` makes the folder what a lender's warehouse would show at ``to``:
applications that have arrived, outcomes that are known, and whatever went wrong that night.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gauntlet.core.digest import sha256_bytes
from gauntlet.simulation.draws import Stream
from gauntlet.simulation.events import NIGHT, Scenario, Takeover
from gauntlet.simulation.feed import UNKNOWN, epoch_hour, event, flow, variant, warehouse_day
from gauntlet.simulation.population import Table
from gauntlet.simulation.repayment import placeholder_risk

if TYPE_CHECKING:
    import pyarrow as pa

STATE = "world.json"
NUMERIC = (
    "amount",
    "term_months",
    "interest_rate",
    "income",
    "debt_to_income",
    "employment_years",
    "bureau_score",
    "utilization",
    "open_loans",
    "inquiries_6m",
    "days_since_last_loan",
    "months_at_address",
    "device_risk",
)
BOOLEAN = ("new_customer", "has_coapplicant", "phone_verified", "direct_deposit")
CATEGORICAL = ("purpose", "region", "channel", "employment", "home")
FEATURES = NUMERIC + BOOLEAN + CATEGORICAL
"""What a model of the portfolio may use."""
TIMES = ("applied_at", "ingested_at", "label_known_at")
COLUMNS = (
    "application_id",
    "customer_id",
    "applied_at",
    "ingested_at",
    *FEATURES,
    "gender",
    "defaulted",
    "label_known_at",
    "profit_if_repaid",
    "loss_if_defaulted",
)
"""The columns of the warehouse, in file order."""


@dataclass(frozen=True)
class Advance:
    """What moving a world forward did: files written, and rows in the warehouse now."""

    to: datetime
    written: tuple[Path, ...]
    rows: int


class World:
    """A folder that shows a scenario at one time.

    Files are replaced one by one and atomically; ``world.json`` comes last and says what time it is.
    """

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.folder = folder
        self.scenario = scenario

    def advance(self, to: datetime) -> Advance:
        """Write what has changed between the folder's time and ``to``; ValueError when time would run backwards."""
        state = self._state()
        if state["now"] and datetime.fromisoformat(state["now"]) > to:
            raise ValueError(f"{self.folder}: the world is at {state['now']} and cannot go back to {to.isoformat()}")
        self.folder.mkdir(parents=True, exist_ok=True)
        files: dict[str, Any] = {}
        written = []
        for name, stream, day in self._days(to):
            shows = variant(self.scenario, day, to)
            files[name] = state["files"].get(name)
            if not files[name] or files[name]["shows"] != shows:
                table = warehouse_day(self.scenario, stream, day, to)
                files[name] = {"shows": shows, "rows": _write(table, self.folder / name)}
                written.append(self.folder / name)
        _replace(self.folder / STATE, _dump(state | {"now": to.isoformat(), "files": files}))
        return Advance(to, tuple(written), sum(file["rows"] for file in files.values()))

    def _state(self) -> dict[str, Any]:
        digest = sha256_bytes(repr(self.scenario).encode())
        path = self.folder / STATE
        if not path.exists():
            return {"scenario": digest, "now": None, "files": {}}
        state: dict[str, Any] = json.loads(path.read_text())
        if state["scenario"] != digest:
            raise ValueError(f"{self.folder}: holds another scenario; choose another folder or remove this one")
        return state

    def _days(self, to: datetime) -> Iterator[tuple[str, Stream, date]]:
        takeover = event(self.scenario, Takeover)
        streams = [Stream.OWN, Stream.PARTNER] if takeover and takeover.at <= to else [Stream.OWN]
        for stream in streams:
            day = self.scenario.begin
            while day <= to.astimezone(UTC).date():
                yield f"{stream.name.lower()}-{day.isoformat()}.parquet", stream, day
                day += timedelta(days=1)


def history(
    rows: int, *, days: int = 60, seed: int = 1, to: datetime = datetime(2026, 3, 2, 1, tzinfo=UTC)
) -> pa.Table:
    """About ``rows`` labelled applications over ``days`` days up to ``to``: for tests and benchmarks.

    The portfolio is calm: no event happens, and ``device_risk`` is the placeholder.
    """
    scenario = Scenario(seed=seed, per_day=rows / days, begin=(to - days * NIGHT).date())
    hour = epoch_hour(to)
    table, draws = flow(scenario, Stream.OWN, hour - days * 24, hour)
    return to_arrow(table | {"device_risk": placeholder_risk(draws)})


def live_rows(scenario: Scenario, at: datetime, count: int, page: int = 0) -> list[dict[str, Any]]:
    """``count`` applications as a live request carries them at ``at``: features and ``customer_id``.

    ``device_risk`` is always the placeholder, whatever the warehouse has been filled with.
    """
    takeover = event(scenario, Takeover)
    joined = takeover is not None and takeover.at <= at
    hour = epoch_hour(at) + 100_000 * page
    share = takeover.volume / (1.0 + takeover.volume) if takeover and joined else 0.0
    parts = [(Stream.LIVE_OWN, count - round(count * share)), (Stream.LIVE_PARTNER, round(count * share))]
    rows = [row for stream, part in parts if part for row in _requests(scenario, stream, hour, part)]
    order = np.random.default_rng([scenario.seed, hour]).permutation(len(rows))
    return [rows[index] for index in order]


def _requests(scenario: Scenario, stream: Stream, hour: int, count: int) -> list[dict[str, Any]]:
    volume = 40.0 * count / scenario.per_day
    last = hour + 1
    table, draws = flow(scenario, stream, hour, last, volume)
    while len(table["amount"]) < count:
        last += 12
        table, draws = flow(scenario, stream, hour, last, volume)
    table["device_risk"] = placeholder_risk(draws)
    names = ("customer_id", *FEATURES)
    return [dict(zip(names, values, strict=True)) for values in zip(*_plain(table, names, count), strict=True)]


def _plain(table: Table, names: tuple[str, ...], count: int) -> list[list[Any]]:
    """Columns as lists of JSON values; NaN is null."""
    columns = [table[name][:count].tolist() for name in names]
    return [[None if value != value else value for value in column] for column in columns]


def to_arrow(table: Table) -> pa.Table:
    """The table with the warehouse's column order and types; unknown is null, times are UTC."""
    import pyarrow as pa

    def column(name: str) -> Any:
        values = table[name]
        if name in TIMES:
            return pa.array(values, type=pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
        if name == "defaulted":
            return pa.array(values, type=pa.int8(), mask=values == UNKNOWN)
        if name in ("application_id", "customer_id", "gender", *CATEGORICAL):
            return pa.array(values.tolist(), type=pa.string())
        return pa.array(values, from_pandas=True)

    return pa.table({name: column(name) for name in COLUMNS})


def _write(table: Table, path: Path) -> int:
    import pyarrow.parquet as pq

    arrow = to_arrow(table).sort_by("applied_at")
    partial = path.with_suffix(".partial")
    pq.write_table(arrow, partial, compression="zstd")
    partial.replace(path)
    return int(arrow.num_rows)


def _dump(state: Mapping[str, Any]) -> bytes:
    return json.dumps(state, indent=1).encode()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
