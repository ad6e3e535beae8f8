# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""One DuckDB session: bounded in memory, sandboxed, always in UTC, and checked expressions for computed columns."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import SpecError
from gauntlet.core.registry import did_you_mean

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ALLOWED_NODES = frozenset({
    "BETWEEN",
    "CASE",
    "CAST",
    "COLLATE",
    "COLUMN_REF",
    "COMPARISON",
    "CONJUNCTION",
    "CONSTANT",
    "FUNCTION",
    "OPERATOR",
})
"""What a computed column may consist of: one row in, one value out."""


@contextmanager
def session(scratch: Path, memory_mb: int, threads: int = 0) -> Generator[DuckDBPyConnection]:
    """An in-memory database that spills to ``scratch`` beyond ``memory_mb`` megabytes. ``threads`` 0: all cores."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch, prefix="duckdb-") as spill:
        config: dict[str, Any] = {"memory_limit": f"{memory_mb}MB", "temp_directory": spill}
        if threads:
            config["threads"] = threads
        connection = duckdb.connect(":memory:", config=config)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET preserve_insertion_order = false")
            connection.execute("SET autoinstall_known_extensions = false")
            yield connection
        finally:
            connection.close()


def confine(connection: DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Let the session read these files and nothing else from now on; cannot be undone."""
    listed = ", ".join(literal(path) for path in paths)
    connection.execute(f"SET allowed_paths = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def one(connection: DuckDBPyConnection, statement: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The first row of a result, read to its end: an unfinished result blocks the connection."""
    return tuple(connection.execute(statement, list(parameters)).fetchall()[0])


def identifier(name: str) -> str:
    """A column name, quoted.

    >>> identifier('capital-gain')
    '"capital-gain"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string, quoted.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def column_types(connection: DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column name to DuckDB type of anything that can stand after FROM."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


def check_expression(connection: DuckDBPyConnection, key: str, expression: str, columns: Mapping[str, str]) -> None:
    """Refuse an expression that is not a deterministic function of one row of ``columns``.

    Raises:
        SpecError: naming ``key`` and what is not allowed.
    """
    tree = json.loads(one(connection, "SELECT json_serialize_sql(?)", [f"SELECT {expression}"])[0])
    if tree["error"]:
        raise SpecError(f"{key}: {expression!r} is no SQL expression: {tree.get('error_message', 'unreadable')}")
    item = _only_item(tree)
    if item is None:
        raise SpecError(f"{key}: {expression!r} must be one expression, without FROM, WHERE, AS or a second statement")
    scalar = _deterministic_functions(connection)
    for node in _nodes(item):
        _check_node(key, node, columns, scalar)


def _only_item(tree: Mapping[str, Any]) -> dict[str, Any] | None:
    if len(tree["statements"]) != 1:
        return None
    node = tree["statements"][0]["node"]
    bare = node["type"] == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY" and not node["modifiers"]
    clauses = (node["where_clause"], node["having"], node["qualify"], node["group_expressions"], node["cte_map"]["map"])
    items = node["select_list"]
    if not bare or any(clauses) or len(items) != 1 or items[0]["alias"]:
        return None
    return dict(items[0])


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "class" in value:
            yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _check_node(key: str, node: Mapping[str, Any], columns: Mapping[str, str], scalar: frozenset[str]) -> None:
    kind = node["class"]
    if kind not in ALLOWED_NODES:
        raise SpecError(f"{key}: a computed column cannot hold a {kind.lower().replace('_', ' ')}")
    if kind == "COLUMN_REF":
        name = ".".join(node["column_names"])
        if name not in columns:
            raise SpecError(f"{key}: the source has no column {name!r}: {did_you_mean(name, columns)}")
    if kind == "FUNCTION" and node["function_name"].lower() not in scalar:
        raise SpecError(
            f"{key}: function {node['function_name']!r} is not allowed: only functions of one row that always"
            " give the same value (no aggregate, clock, random number or file)"
        )


def _deterministic_functions(connection: DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute(
        "SELECT lower(function_name) FROM duckdb_functions() GROUP BY 1"
        " HAVING bool_and(function_type = 'scalar' AND stability = 'CONSISTENT')"
    ).fetchall()
    return frozenset(row[0] for row in rows)
