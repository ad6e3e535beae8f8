# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""Rows from a database through SQLAlchemy: streamed in chunks, with bound parameters, in a read-only transaction.

The database cuts the window roughly (with a day's slack for time zones and text times); the exact
point-in-time rules are the ones all sources share, applied when the snapshot is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.duck import confine, identifier, literal, session
from gauntlet.adapters.pull import Pull, needed_columns
from gauntlet.adapters.read_only import address_of, kept_from_writing, plain, reading
from gauntlet.adapters.snapshot import write_snapshot
from gauntlet.core.errors import DataRejected
from gauntlet.core.ports import PulledData
from gauntlet.core.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Select

CHUNK = 50_000
SLACK = timedelta(days=1)


@dataclass(frozen=True)
class SqlSource:
    """Point-in-time reads of one SELECT. ``connection_url`` turns an Airflow connection id into a URL."""

    scratch: Path
    memory_mb: int = 1024
    threads: int = 0
    connection_url: Callable[[str], str] | None = None

    def pull(self, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool, to: Path) -> PulledData:
        """See :class:`gauntlet.core.ports.Source`.

        Raises:
            SpecError: the address cannot be used.
            DataRejected: the query is refused by the database, or its rows cannot be used.
            InfrastructureError: the database does not answer.
        """
        import duckdb

        pull = Pull(spec, since, until, labelled)
        self.scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.scratch, prefix="sql-") as folder:
            names, files = self._stage(pull, Path(folder))
            with session(self.scratch, self.memory_mb, self.threads) as connection:
                try:
                    confine(connection, files)
                    connection.execute(f"CREATE VIEW source AS {_staged(names, files)}")
                    return write_snapshot(connection, pull, "source", to)
                except duckdb.Error as error:
                    raise DataRejected(f"{pull.name}: cannot be used: {error}") from None

    def _stage(self, pull: Pull, folder: Path) -> tuple[dict[str, str | None], list[str]]:
        """Stream the rows into Parquet files; the column names of the query, and the files."""
        address = address_of(pull.spec.model, pull.spec.source.uri, pull.name, self.connection_url)
        refuses = f"{pull.name}: the database refuses source.query"
        with reading(address, key=f"{pull.name}: source.uri", who=pull.name, refuses=refuses) as connection:
            return _stream(kept_from_writing(connection), pull, folder)


def _stream(connection: Connection, pull: Pull, folder: Path) -> tuple[dict[str, str | None], list[str]]:
    import pyarrow.parquet as pq

    names = _column_names(connection, pull)
    wanted = needed_columns(pull, names)
    result = connection.execution_options(stream_results=True, yield_per=CHUNK).execute(
        _select(pull, names, wanted), _parameters(connection, pull)
    )
    files: list[str] = []
    kinds: dict[str, str | None] = dict.fromkeys(names)
    for rows in result.partitions(CHUNK):
        table = _arrow(wanted, rows)
        path = folder / f"{len(files):06d}.parquet"
        pq.write_table(table, path, compression="none")
        files.append(str(path))
        kinds |= {field.name: str(field.type) for field in table.schema}
    if not files:
        _explain_empty(connection, pull, names)
    return kinds, files


def _column_names(connection: Connection, pull: Pull) -> list[str]:
    import sqlalchemy as sa

    inner = _inner(pull)
    empty = connection.execute(sa.text(f"SELECT * FROM ({inner}) AS q WHERE 1 = 0"), _parameters(connection, pull))
    return list(empty.keys())


def _inner(pull: Pull) -> str:
    return (pull.spec.source.query or "").strip().rstrip(";")


def _parameters(connection: Connection, pull: Pull) -> dict[str, Any]:
    """``:since`` and ``:until`` are bound when the query uses them; SQLite has no times, only their text."""
    query = _inner(pull)
    values: dict[str, Any] = {"since": pull.since, "until": pull.until}
    if connection.dialect.name == "sqlite":
        values = {name: value and value.isoformat(" ") for name, value in values.items()}
    return {name: value for name, value in values.items() if f":{name}" in query}


def _select(pull: Pull, names: Sequence[str], wanted: Sequence[str]) -> Select[Any]:
    import sqlalchemy as sa

    columns: list[Any] = [sa.column(name) for name in names]
    inner = sa.text(_inner(pull)).columns(*columns).subquery("q")
    statement = sa.select(*[inner.c[name] for name in wanted])
    time = pull.spec.source.columns.event_time
    if time is not None:
        column = sa.type_coerce(inner.c[time], sa.DateTime(timezone=True))
        statement = statement.where(column <= pull.until + SLACK)
        if pull.since is not None:
            statement = statement.where(column > pull.since - SLACK)
    return statement


def _arrow(names: Sequence[str], rows: Sequence[Any]) -> pa.Table:
    """One chunk as Arrow; a column of nulls only is left out, because it has no type yet."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for index, name in enumerate(names):
        array = pa.array([plain(row[index]) for row in rows])
        if not pa.types.is_null(array.type):
            columns[name] = array
    if not columns:
        columns = {"__rows": pa.array([0] * len(rows), pa.int8())}
    return pa.table(columns)


def _staged(names: Mapping[str, str | None], files: Sequence[str]) -> str:
    listed = ", ".join(literal(path) for path in files)
    items = [identifier(name) if kind else f"NULL::VARCHAR AS {identifier(name)}" for name, kind in names.items()]
    return f"SELECT {', '.join(items)} FROM read_parquet([{listed}], union_by_name = true)"


def _explain_empty(connection: Connection, pull: Pull, names: Sequence[str]) -> None:
    import sqlalchemy as sa

    time = pull.spec.source.columns.event_time
    columns: list[Any] = [sa.column(name) for name in names]
    inner = sa.text(_inner(pull)).columns(*columns).subquery("q")
    counted: list[Any] = [sa.func.count()]
    if time:
        counted += [sa.func.min(inner.c[time]), sa.func.max(inner.c[time])]
    rows, *span = connection.execute(sa.select(*counted).select_from(inner), _parameters(connection, pull)).one()
    if not rows:
        raise DataRejected(f"{pull.name}: the query yields no row")
    raise DataRejected(
        f"{pull.name}: none of {rows} rows lies in the window up to the as-of time {pull.until.isoformat()};"
        f" they go from {span[0]} to {span[1]}"
    )
