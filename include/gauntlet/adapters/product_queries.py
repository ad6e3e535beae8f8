"""A user's SQL for product metrics: one SELECT, bound parameters, and no way to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.duck import confine, session
from gauntlet.adapters.read_only import READ_ONLY, address_of, can_be_kept, kept_from_writing, plain, reading
from gauntlet.core.errors import DataRejected, SpecError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

MEMORY_MB = 512


@dataclass(frozen=True)
class ProductQueries:
    """Implements :class:`~gauntlet.core.ports.Queries`."""

    scratch: Path
    connection_url: Callable[[str], str] | None = None

    def on_requests(self, sql: str, parameters: Mapping[str, Any], requests: pa.Table) -> pa.Table:
        """The rows of a SELECT over the table ``requests``, in a sandbox that reaches no file and no network.

        Raises:
            DataRejected: it is no single SELECT, or cannot be run.
        """
        import duckdb
        import sqlalchemy as sa
        from sqlalchemy.engine.default import DefaultDialect

        compiled = sa.text(sql).compile(dialect=DefaultDialect(paramstyle="qmark"))
        bound = [parameters[name] for name in _names(compiled.positiontup or (), parameters)]
        with session(self.scratch, MEMORY_MB) as connection:
            connection.register("requests", requests)
            connection.execute("SET python_enable_replacements = false")
            confine(connection, [])
            try:
                statements = duckdb.extract_statements(str(compiled))
                if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                    raise DataRejected("sql: must be one SELECT")
                return connection.sql(str(compiled), params=bound).to_arrow_table()
            except duckdb.Error as error:
                raise DataRejected(f"sql: cannot be run on requests: {error}") from None

    def on_database(self, model: str, uri: str, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        """The rows of a SELECT in a database, in a read-only session.

        Raises:
            SpecError: the address cannot be used, or its database cannot be kept from writing.
            DataRejected: the database refuses the query.
            InfrastructureError: the database does not answer.
        """
        key = f"{model}: rollout.metrics"
        address = address_of(model, uri, key, self.connection_url)
        with reading(address, key=f"{key}: uri", who=model, refuses="sql: the database refuses it") as connection:
            return _select(_read_only(connection, model), sql, parameters)


def _names(wanted: Any, parameters: Mapping[str, Any]) -> list[str]:
    unknown = [name for name in wanted if name not in parameters]
    if unknown:
        raise DataRejected(f"sql: no parameter :{unknown[0]}; there are {', '.join(f':{name}' for name in parameters)}")
    return list(wanted)


def _read_only(connection: Connection, model: str) -> Connection:
    if not can_be_kept(connection):
        name, known = connection.dialect.name, ", ".join(READ_ONLY)
        raise SpecError(f"{model}: rollout.metrics: {name} cannot be kept from writing; use one of {known}")
    return kept_from_writing(connection)


def _select(connection: Connection, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa
    import sqlalchemy as sa

    statement = sa.text(sql.strip().rstrip(";"))
    names = _names(statement.compile().params, parameters)
    values = {name: parameters[name] for name in names}
    if connection.dialect.name == "sqlite":
        # SQLite has no times, only their text.
        values = {
            name: value.isoformat(" ") if hasattr(value, "isoformat") else value for name, value in values.items()
        }
    result = connection.execute(statement, values)
    if not result.returns_rows:
        raise DataRejected("sql: must be one SELECT")
    columns = list(result.keys())
    rows = result.all()
    return pa.table({name: [plain(row[place]) for row in rows] for place, name in enumerate(columns)})
