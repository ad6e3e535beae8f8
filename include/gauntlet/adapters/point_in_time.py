# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""Which rows and labels count: the window, what was known at the as-of time, and label maturity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gauntlet.adapters.duck import identifier, literal, one
from gauntlet.adapters.pull import Pull
from gauntlet.core.errors import DataRejected

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def _instant(value: datetime) -> str:
    return f"TIMESTAMPTZ {literal(value.astimezone(UTC).strftime('%Y-%m-%d %H:%M:%S.%f+00'))}"


def _in_window(pull: Pull) -> list[str]:
    time = pull.spec.source.columns.event_time
    if time is None:
        return []
    bounds = [f"{identifier(time)} <= {_instant(pull.until)}"]
    if pull.since is not None:
        bounds.insert(0, f"{identifier(time)} > {_instant(pull.since)}")
    return bounds


def _known(pull: Pull) -> list[str]:
    known_at = pull.spec.source.columns.known_at
    return [f"{identifier(known_at)} <= {_instant(pull.until)}"] if known_at else []


def mature(pull: Pull) -> list[str]:
    """The conditions for a row's label to be known at the as-of time."""
    source = pull.spec.source
    rules = []
    if source.label_delay and source.columns.event_time:
        limit = pull.until - source.label_delay
        rules.append(f"{identifier(source.columns.event_time)} <= {_instant(limit)}")
    if source.columns.label_known_at:
        rules.append(f"{identifier(source.columns.label_known_at)} <= {_instant(pull.until)}")
    return rules


def predicates(pull: Pull) -> list[str]:
    """The conditions, over the view ``typed``, that a row must meet to be pulled."""
    rules = [*_in_window(pull), *_known(pull)]
    if pull.labelled:
        rules += [*mature(pull), f"{identifier(pull.spec.source.columns.label)} IS NOT NULL"]
    return rules


def check_values(connection: DuckDBPyConnection, pull: Pull, relation: str, typed: Mapping[str, str]) -> int:
    """Count the rows of ``relation``, and refuse values that are not what their role needs.

    ``typed`` maps the columns that are cast (times, weight, a regression's label) to the cast.
    """
    counts = ["count(*)"]
    for name, cast in typed.items():
        raw = identifier(name)
        counts.append(
            f"count(*) FILTER ({raw} IS NOT NULL AND lower(CAST({raw} AS VARCHAR)) <> 'nan' AND ({cast}) IS NULL)"
        )
    rows, *broken = one(connection, f"SELECT {', '.join(counts)} FROM {relation}")
    if not rows:
        raise DataRejected(f"{pull.name}: the table is empty")
    for name, count in zip(typed, broken, strict=True):
        if count:
            wanted = "a time" if name in times(pull) else "a number"
            raise DataRejected(f"{pull.name}: column {name!r}: {count} of {rows} values cannot be read as {wanted}")
    return int(rows)


def times(pull: Pull) -> tuple[str, ...]:
    """The columns that hold times by their role."""
    columns = pull.spec.source.columns
    return tuple(name for name in (columns.event_time, columns.known_at, columns.label_known_at) if name)


def check_rows(connection: DuckDBPyConnection, pull: Pull, rows: int) -> None:
    """Refuse rows without an event time, and say which rule left no row, on the view ``typed``."""
    columns = pull.spec.source.columns
    time = identifier(columns.event_time) if columns.event_time else "NULL::TIMESTAMPTZ"
    steps = _steps(pull)
    counts = [f"count(*) FILTER ({time} IS NULL)", f"epoch_us(min({time}))", f"epoch_us(max({time}))"]
    rules: list[str] = []
    for added, _ in steps:
        rules += added
        counts.append(f"count(*) FILTER ({' AND '.join(rules) or 'true'})")
    timeless, low, high, *left = one(connection, f"SELECT {', '.join(counts)} FROM typed")
    if columns.event_time and timeless:
        raise DataRejected(
            f"{pull.name}: column {columns.event_time!r} (source.columns.event_time) is null in {timeless} of {rows}"
            " rows; a row without a time belongs to no window"
        )
    texts = [text for _, text in steps]
    _explain_empty(pull, rows, from_epoch(low), from_epoch(high), list(zip(left, texts, strict=True)))


def _steps(pull: Pull) -> list[tuple[list[str], str]]:
    columns = pull.spec.source.columns
    steps = [
        (_in_window(pull), "lie in the window"),
        (_known(pull), f"were known at the as-of time (source.columns.known_at: {columns.known_at})"),
    ]
    if pull.labelled:
        steps.append((mature(pull), "have a mature label (source.label_delay, source.columns.label_known_at)"))
        steps.append(([f"{identifier(columns.label)} IS NOT NULL"], f"have a label: {columns.label!r} is null"))
    return steps


def _explain_empty(
    pull: Pull, rows: int, first: datetime | None, last: datetime | None, left: list[tuple[int, str]]
) -> None:
    if left[-1][0]:
        return
    if first is not None and first > pull.until:
        raise DataRejected(
            f"{pull.name}: the as-of time {pull.until.isoformat()} lies before the first row, {first.isoformat()}"
        )
    since = f"({pull.since.isoformat()}, " if pull.since else "(-, "
    span = f"; rows go from {first.isoformat()} to {last.isoformat()}" if first and last else ""
    count, text = next((n, text) for n, text in left if not n)
    before = next((n for n, _ in reversed(left) if n), rows)
    raise DataRejected(
        f"{pull.name}: {count} of {before} rows {text}; the window is {since}{pull.until.isoformat()}]{span}"
    )


def from_epoch(microseconds: int | None) -> datetime | None:
    """A UTC time from microseconds since 1970; exact, unlike a float timestamp."""
    if microseconds is None:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
