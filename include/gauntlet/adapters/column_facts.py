# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""What the columns of CSV or Parquet files look like, read once with DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gauntlet.adapters.duck import column_types, identifier, one, session
from gauntlet.adapters.source_files import find_files, told
from gauntlet.core.draft import FEW, ColumnFacts, Kind
from gauntlet.core.errors import DataRejected

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_MB = 1024
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


def facts_of(address: str, scratch: Path) -> list[ColumnFacts]:
    """Facts of each column of all files behind an address, in the files' order.

    Raises:
        DataRejected: no file, no row, or a damaged file.
        InfrastructureError: the storage did not answer.
    """
    files = find_files(address, address)
    with session(scratch, MEMORY_MB) as connection, told(address):
        files.admit(connection, None)
        connection.execute(f"CREATE VIEW raw AS SELECT * FROM {files.reader}")
        found = [_facts(connection, name, _kind(kind)) for name, kind in column_types(connection, "raw").items()]
    if not found or not found[0].rows:
        raise DataRejected(f"{address}: there is no row to draft from")
    return found


def _facts(connection: DuckDBPyConnection, name: str, kind: Kind) -> ColumnFacts:
    column = identifier(name)
    numeric = kind in ("integer", "number", "boolean")
    number = f"CASE WHEN isfinite({column}::DOUBLE) THEN {column}::DOUBLE END" if numeric else "NULL::DOUBLE"
    distinct = f"count(DISTINCT {column})" if kind != "other" else "0"
    rows, present, different, least, mean, deviation = one(
        connection,
        f"SELECT count(*), count({column}), {distinct}, min({number}), avg({number}), stddev_pop({number}) FROM raw",
    )
    values: tuple[object, ...] = ()
    if kind in ("integer", "number", "string", "boolean") and different <= FEW:
        query = f"SELECT DISTINCT {column} FROM raw WHERE {column} IS NOT NULL ORDER BY 1"
        values = tuple(row[0] for row in connection.execute(query).fetchall())
    return ColumnFacts(name, kind, rows, rows - present, different, least, mean, deviation, values)


def _kind(duck: str) -> Kind:
    """DuckDB's type as a contract names it."""
    if duck.removeprefix("U") in WHOLE:
        return "integer"
    if duck in ("FLOAT", "DOUBLE") or duck.startswith("DECIMAL"):
        return "number"
    if duck == "VARCHAR" or duck.startswith("ENUM"):
        return "string"
    if duck == "BOOLEAN":
        return "boolean"
    if duck == "DATE":
        return "date"
    return "timestamp" if duck.startswith("TIMESTAMP") else "other"
