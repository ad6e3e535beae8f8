# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""Great Expectations on DuckDB: an execution engine that reads a snapshot where it lies.

GX computes all simple metrics of a suite in one query per domain; on DuckDB that query is one
parallel scan of the Parquet file. Three things GX does not know about DuckDB are told here: results
must be read before the connection goes on, what the column types are, and how to match a regex.
Importing this module imports Great Expectations (seconds): do it inside a function.
"""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from sqlalchemy.pool import StaticPool

from gauntlet.adapters.duck import identifier, literal


def _end_quietly() -> None:
    """Let the process end without pages of DuckDB's complaints about references that GX keeps for good.

    They come from native code after Python is gone, and nobody can act on them.
    """
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


atexit.register(_end_quietly)

SNAPSHOT = "snapshot"
SOURCE = "source"
SQL_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "TINYINT": sa.SMALLINT,
    "SMALLINT": sa.SMALLINT,
    "INTEGER": sa.INTEGER,
    "BIGINT": sa.BIGINT,
    "UTINYINT": sa.SMALLINT,
    "USMALLINT": sa.INTEGER,
    "UINTEGER": sa.BIGINT,
    "UBIGINT": sa.BIGINT,
    "FLOAT": sa.FLOAT,
    "DOUBLE": sa.DOUBLE,
    "BOOLEAN": sa.BOOLEAN,
    "VARCHAR": sa.VARCHAR,
    "DATE": sa.DATE,
    "TIMESTAMP": sa.TIMESTAMP,
}


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """GX's SQL engine over one in-memory DuckDB connection."""

    def execute_query(self, query: Any) -> Any:
        """Run a query and read its result at once: DuckDB drops it when the transaction ends."""
        with self.get_connection() as connection:
            return self._execute_query_with_recovery(connection, query).freeze()()

    def execute_query_in_transaction(self, query: Any) -> Any:
        """Run a query; nothing here writes, so there is nothing to commit."""
        return self.execute_query(query)


class DuckDBColumnTypes(TableMetricProvider):
    """Column names and types as DuckDB describes them."""

    metric_name = "table.column_types"
    value_keys = ("include_nested",)
    default_kwarg_values = {"include_nested": True}

    @metric_value(engine=DuckDBExecutionEngine)
    def _duckdb(cls, execution_engine: DuckDBExecutionEngine, **_: Any) -> Any:  # ruff: ignore[invalid-first-argument-name-for-method]
        data: Any = execution_engine.batch_manager.active_batch_data
        rows = execution_engine.execute_query(sa.text(f"DESCRIBE {identifier(data.selectable.name)}")).fetchall()
        return [{"name": row[0], "type": SQL_TYPES.get(row[1].split("(")[0], sa.types.NullType)()} for row in rows]


class DuckDBMatchRegex(ColumnMapMetricProvider):
    """A regular expression is found in the value (RE2 syntax)."""

    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, regex: str, **_: Any) -> Any:  # ruff: ignore[invalid-first-argument-name-for-method]
        return sa.func.regexp_matches(column, regex)


def open_engine(path: Path, source_columns: tuple[str, ...], memory_mb: int, threads: int) -> DuckDBExecutionEngine:
    """An engine with two tables: the snapshot, and an empty one with every column the source has."""
    engine = sa.create_engine(
        "duckdb:///:memory:",
        poolclass=StaticPool,
        connect_args={"config": {"memory_limit": f"{memory_mb}MB", **({"threads": threads} if threads else {})}},
    )
    with engine.connect() as connection:
        run = connection.exec_driver_sql
        # SQLAlchemy takes DuckDB for PostgreSQL and leaves words alone that DuckDB reserves, such as "at".
        preparer = engine.dialect.identifier_preparer
        words = {row[0] for row in run("SELECT keyword_name FROM duckdb_keywords()").fetchall()}
        preparer.reserved_words = preparer.reserved_words | words
        run("SET TimeZone = 'UTC'")
        run(f"CREATE VIEW {SNAPSHOT} AS SELECT {_items(run, path)} FROM read_parquet({literal(str(path))})")
        listed = ", ".join(f"NULL::INTEGER AS {identifier(name)}" for name in source_columns or ("no_columns",))
        run(f"CREATE VIEW {SOURCE} AS SELECT {listed} WHERE false")
        run(f"SET allowed_paths = [{literal(str(path))}]")
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")
        connection.commit()
    return DuckDBExecutionEngine(engine=engine)


def _items(run: Any, path: Path) -> str:
    """Every column; times without zone, which the driver hands over without further packages."""
    described = run(f"DESCRIBE SELECT * FROM read_parquet({literal(str(path))})").fetchall()
    return ", ".join(
        f"{identifier(name)} AT TIME ZONE 'UTC' AS {identifier(name)}"
        if kind == "TIMESTAMP WITH TIME ZONE"
        else identifier(name)
        for name, kind, *_ in described
    )
