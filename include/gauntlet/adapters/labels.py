# ruff: file-ignore[hardcoded-sql-expression] - names and values in SQL are quoted by duck.identifier and duck.literal
"""The label as a number: 0/1, a class code, or the value of a regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.adapters.duck import identifier, literal, one
from gauntlet.adapters.point_in_time import mature
from gauntlet.adapters.pull import Pull
from gauntlet.core.errors import DataRejected
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_CLASSES = 1_000


def numeric_label(
    connection: DuckDBPyConnection, pull: Pull, columns: tuple[str, ...]
) -> tuple[str, tuple[str, ...] | None]:
    """The SELECT item of the numeric label, and the classes of a multiclass one.

    Without ``labelled`` a label that is not mature at ``until`` is null: it was not known then.
    """
    name = pull.spec.source.columns.label
    if name not in columns:
        return identifier(name), pull.spec.source.classes
    code, classes = _label_code(connection, pull, name)
    if not pull.labelled and (rules := mature(pull)):
        code = f"CASE WHEN {' AND '.join(rules)} THEN {code} END"
    return f"{code} AS {identifier(name)}", classes


def _label_code(connection: DuckDBPyConnection, pull: Pull, name: str) -> tuple[str, tuple[str, ...] | None]:
    quoted = identifier(name)
    if pull.spec.task is Task.REGRESSION:
        low, high = one(connection, f"SELECT min({quoted}), max({quoted}) FROM kept")
        if pull.labelled and low == high:
            raise DataRejected(f"{pull.name}: label {name!r} is {low} in every row; there is nothing to learn")
        return quoted, None
    found = connection.execute(
        f"SELECT CAST({quoted} AS VARCHAR), count(*) FROM kept WHERE {quoted} IS NOT NULL GROUP BY 1 ORDER BY 1"
        f" LIMIT {MAX_CLASSES + 1}"
    ).fetchall()
    values = [str(row[0]) for row in found]
    if pull.labelled and len(values) == 1:
        raise DataRejected(f"{pull.name}: label {name!r} has one class only, {values[0]!r}, in {found[0][1]} rows")
    if pull.spec.task is Task.BINARY:
        return _binary(pull, quoted, values), None
    return _multiclass(pull, quoted, values)


def _binary(pull: Pull, quoted: str, values: list[str]) -> str:
    positive = pull.spec.source.positive
    shown = ", ".join(repr(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
    if positive is None:
        if not set(values) <= {"0", "1", "0.0", "1.0", "true", "false"}:
            raise DataRejected(
                f"{pull.name}: label {quoted} is not 0/1 but {shown}; say which value is the positive class with"
                " source.positive"
            )
        return (
            f"CAST(CAST({quoted} AS DOUBLE) AS TINYINT)"
            if "true" not in values and "false" not in values
            else (f"CAST(CAST({quoted} AS BOOLEAN) AS TINYINT)")
        )
    if len(values) > 2:
        raise DataRejected(f"{pull.name}: a binary label has two values, but {quoted} has {shown}")
    if pull.labelled and positive not in values:
        raise DataRejected(f"{pull.name}: source.positive {positive!r} is no value of {quoted}: {shown}")
    return f"CAST(CAST({quoted} AS VARCHAR) = {literal(positive)} AS TINYINT)"


def _multiclass(pull: Pull, quoted: str, values: list[str]) -> tuple[str, tuple[str, ...]]:
    declared = pull.spec.source.classes
    classes = tuple(sorted(declared or values))
    if unknown := sorted(set(values) - set(classes)):
        raise DataRejected(f"{pull.name}: label {quoted} has values that source.classes does not name: {unknown[:5]}")
    if len(classes) > MAX_CLASSES:
        raise DataRejected(f"{pull.name}: label {quoted} has more than {MAX_CLASSES} classes; is this a regression?")
    listed = ", ".join(literal(value) for value in classes)
    return f"CAST(list_position([{listed}], CAST({quoted} AS VARCHAR)) - 1 AS SMALLINT)", classes
