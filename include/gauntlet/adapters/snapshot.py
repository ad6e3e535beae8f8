# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""From any relation in DuckDB to the canonical snapshot file: what all sources have in common.

The snapshot holds every needed column under its own name, in a few plain types, plus ``row_key``.
The same rows give the same bytes, in whatever order or file layout the source had them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.duck import column_types, identifier, literal, one
from gauntlet.adapters.labels import numeric_label
from gauntlet.adapters.point_in_time import check_rows, check_values, from_epoch, predicates, times
from gauntlet.adapters.pull import ROW_KEY, Pull, needed_columns
from gauntlet.core.errors import DataRejected
from gauntlet.core.ports import PulledData
from gauntlet.core.records.model import Task
from gauntlet.core.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

ROW_GROUP = 131_072
WHOLE = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
FLOATS = frozenset({"FLOAT", "DOUBLE"})
TIMES = ("TIMESTAMP", "DATE", "VARCHAR")


def write_snapshot(
    connection: DuckDBPyConnection, pull: Pull, relation: str, to: Path, stage: Path | None = None
) -> PulledData:
    """Write the canonical snapshot of ``relation`` to the file ``to``.

    The relation is read several times, a few columns at a time. Where reading is dear (CSV), the needed
    columns are put into the Parquet file ``stage`` first.

    Raises:
        DataRejected: a column is missing or of the wrong type, the label cannot be used, or no row is left.
    """
    types = column_types(connection, relation)
    columns = needed_columns(pull, types)
    where = " AND ".join(predicates(pull)) or "true"
    if stage is not None:
        listed = ", ".join(map(identifier, columns))
        connection.execute(f"COPY (SELECT {listed} FROM {relation}) TO {literal(str(stage))} (FORMAT parquet)")
        relation = f"read_parquet({literal(str(stage))})"
    _keep(connection, pull, relation, {name: types[name] for name in columns}, where)
    label, classes = numeric_label(connection, pull, columns)
    listed = ", ".join(label if name == pull.spec.source.columns.label else identifier(name) for name in columns)
    order = ", ".join(_order(connection, pull.spec, columns))
    ordered = connection.sql(f"SELECT {ROW_KEY}, {listed} FROM keyed ORDER BY {order}")
    rows = write_parquet(ordered.to_arrow_reader(ROW_GROUP), to)
    first, last = _time_range(connection, pull.spec)
    return PulledData(
        path=to,
        rows=rows,
        columns=(ROW_KEY, *columns),
        first_event=first,
        last_event=last,
        query=f"SELECT {', '.join(map(identifier, columns))} FROM {pull.spec.source.uri} WHERE {where}",
        classes=classes,
        source_columns=tuple(types),
    )


def _keep(connection: DuckDBPyConnection, pull: Pull, relation: str, types: dict[str, str], where: str) -> None:
    """The view ``kept``: the pulled rows in plain types; the view ``keyed`` adds the row key."""
    expressions = {name: _expression(pull, name, kind) for name, kind in types.items()}
    items = [f"{expression} AS {identifier(name)}" for name, expression in expressions.items()]
    connection.execute(f"CREATE VIEW typed AS SELECT {', '.join(items)} FROM {relation}")
    cast = {name: expression for name, expression in expressions.items() if "TRY_CAST" in expression}
    check_rows(connection, pull, check_values(connection, pull, relation, cast))
    connection.execute(f"CREATE VIEW kept AS SELECT * FROM typed WHERE {where}")
    key = _row_key(pull.spec, tuple(types))
    connection.execute(f"CREATE VIEW keyed AS SELECT *, {key} AS {ROW_KEY} FROM kept")


# ---- types -----------------------------------------------------------------------------------------


def _expression(pull: Pull, name: str, kind: str) -> str:
    """The expression that gives a column the type its role needs."""
    quoted = identifier(name)
    columns = pull.spec.source.columns
    if name in times(pull):
        if not kind.startswith(TIMES):
            raise DataRejected(
                f"{pull.name}: column {name!r} is {kind}, not a time: compute one with source.derive,"
                f" as in {name}_at: to_timestamp({name})"
            )
        return f"TRY_CAST({quoted} AS TIMESTAMPTZ)"
    if name == columns.weight or (name == columns.label and pull.spec.task is Task.REGRESSION):
        return _without_nan(f"TRY_CAST({quoted} AS DOUBLE)")
    return _plain(pull, name, kind)


def _plain(pull: Pull, name: str, kind: str) -> str:
    """The expression that brings a column to one of the plain types of a snapshot."""
    quoted = identifier(name)
    base = kind.split("(")[0]
    if base in WHOLE or base in ("BOOLEAN", "VARCHAR", "DATE"):
        return quoted
    if base in FLOATS:
        return _without_nan(quoted)
    if base in ("DECIMAL", "UBIGINT", "HUGEINT", "UHUGEINT"):
        return f"CAST({quoted} AS DOUBLE)"
    if base.startswith("TIMESTAMP"):
        return f"CAST({quoted} AS TIMESTAMPTZ)"
    if base in ("ENUM", "UUID", "TIME"):
        return f"CAST({quoted} AS VARCHAR)"
    raise DataRejected(f"{pull.name}: column {name!r} has type {kind}, which no model input can have")


def _without_nan(expression: str) -> str:
    return f"CASE WHEN isnan({expression}) THEN NULL ELSE {expression} END"


# ---- order and bytes -------------------------------------------------------------------------------


def _row_key(spec: ModelSpec, columns: tuple[str, ...]) -> str:
    """64 bits of MD5 of the key, or of the whole row when there is no key."""
    if spec.source.columns.key:
        return f"md5_number_lower(COALESCE(CAST({identifier(spec.source.columns.key)} AS VARCHAR), ''))"
    parts = ", ".join(f"COALESCE(CAST({identifier(name)} AS VARCHAR), chr(30))" for name in columns)
    return f"md5_number_lower(concat_ws(chr(31), {parts}))"


def _order(connection: DuckDBPyConnection, spec: ModelSpec, columns: tuple[str, ...]) -> list[str]:
    """Event time, then row key; all columns too when a key comes twice, so that bytes stay the same."""
    time = spec.source.columns.event_time
    order = [identifier(time)] if time else []
    order.append(ROW_KEY)
    if spec.source.columns.key and one(connection, f"SELECT count(*) - count(DISTINCT {ROW_KEY}) FROM keyed")[0]:
        order += [identifier(name) for name in columns]
    return order


def write_parquet(batches: pa.RecordBatchReader, to: Path) -> int:
    """Write batches in row groups of equal size, whatever sizes they come in; returns the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    strings = [field.name for field in batches.schema if pa.types.is_string(field.type)]
    rows = 0
    with pq.ParquetWriter(
        to, batches.schema, compression="zstd", use_dictionary=strings, write_page_checksum=True
    ) as writer:
        for table in _regroup(batches):
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    return rows


def _regroup(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    import pyarrow as pa

    waiting: list[Any] = []
    held = 0
    for batch in batches:
        waiting.append(batch)
        held += batch.num_rows
        while held >= ROW_GROUP:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, ROW_GROUP).combine_chunks()
            rest = table.slice(ROW_GROUP)
            waiting, held = rest.to_batches(), rest.num_rows
    if held:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _time_range(connection: DuckDBPyConnection, spec: ModelSpec) -> tuple[datetime | None, datetime | None]:
    time = spec.source.columns.event_time
    if time is None:
        return None, None
    quoted = identifier(time)
    first, last = one(connection, f"SELECT epoch_us(min({quoted})), epoch_us(max({quoted})) FROM kept")
    return from_epoch(first), from_epoch(last)
