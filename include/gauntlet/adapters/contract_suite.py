"""The contract section of a spec as Great Expectations expectations, each with a sentence for people.

Schema expectations come first: a column that is missing or of another type is reported once, and
nothing else is asked of it. Beyond what the section says, some things always hold: there are rows,
labels and features are not all null, keys are unique, weights are not negative.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gauntlet.core.duration import format_duration
from gauntlet.core.errors import SpecError
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.model import Task
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.contract import ColumnContract, Relation

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

INTEGERS = ("SMALLINT", "INTEGER", "BIGINT")
TYPES: dict[str, tuple[str, ...]] = {
    "integer": INTEGERS,
    "number": (*INTEGERS, "FLOAT", "DOUBLE"),
    "string": ("VARCHAR",),
    "boolean": ("BOOLEAN",),
    "flag": ("BOOLEAN", *INTEGERS),
    "timestamp": ("TIMESTAMP",),
    "date": ("DATE", "TIMESTAMP"),
}
SOME = 1e-9
"""Least share of values in a column that may be mostly null: above none at all."""


@dataclass(frozen=True)
class Check:
    """One expectation, what it says, and the columns it looks at."""

    expectation: Expectation
    sentence: str
    columns: tuple[str, ...]
    schema: bool = False
    on_source: bool = False
    """Whether it is asked of the source's columns rather than of the snapshot."""
    masked: bool = False
    """Whether observed values are withheld."""

    @property
    def column(self) -> str | None:
        """The column, when there is exactly one."""
        return self.columns[0] if len(self.columns) == 1 else None


def build_checks(spec: ModelSpec, dataset: DatasetRef) -> list[Check]:
    """Every expectation of a spec on one snapshot, schema first.

    Raises:
        SpecError: the section asks for what cannot be expected of this source.
    """
    contracts = _implied(spec) | spec.contract.columns
    checks = [*_table(spec, dataset)]
    for name, column in contracts.items():
        checks += _schema(spec, name, column)
    for name, column in contracts.items():
        checks += _values(spec, name, column)
    checks += _together(spec)
    withheld = {*spec.contract.pii, *spec.source.columns.protected}
    return [_mask(check, withheld) for check in checks]


def _expect(kind: str, **arguments: Any) -> Expectation:
    """The expectation class ``Expect<kind>`` of Great Expectations with these arguments."""
    import great_expectations.expectations

    expectation: Expectation = getattr(great_expectations.expectations, f"Expect{kind}")(**arguments)
    return expectation


def _implied(spec: ModelSpec) -> dict[str, ColumnContract]:
    """What always holds of columns the section does not mention."""
    columns, features = spec.source.columns, spec.source.features
    anything = ColumnContract(max_null=1.0)
    implied = dict.fromkeys((*features.numeric, *features.boolean, *features.categorical), anything)
    implied |= dict.fromkeys((*columns.protected, *columns.extra), anything)
    implied[columns.label] = ColumnContract()
    if columns.weight:
        implied[columns.weight] = ColumnContract(minimum=0)
    return implied


def _mask(check: Check, withheld: set[str]) -> Check:
    if withheld.isdisjoint(check.columns):
        return check
    return Check(check.expectation, check.sentence, check.columns, check.schema, check.on_source, masked=True)


# ---- the table -------------------------------------------------------------------------------------


def _table(spec: ModelSpec, dataset: DatasetRef) -> Iterator[Check]:
    least, most = spec.contract.rows
    span = f"at least {least}" if most is None else f"between {least} and {most}"
    yield Check(
        _expect("TableRowCountToBeBetween", min_value=least, max_value=most),
        f"the table has {span} rows",
        (),
        schema=True,
    )
    if spec.contract.exact_columns:
        known = sorted({*dataset.columns, *spec.contract.columns, *_derived_from(spec, dataset)} - {"row_key"})
        yield Check(
            _expect("TableColumnsToMatchSet", column_set=known, exact_match=True),
            "the source has no columns beyond those the spec names",
            (),
            schema=True,
            on_source=True,
        )
    if spec.contract.freshness is not None:
        yield _freshness(spec, dataset)


def _derived_from(spec: ModelSpec, dataset: DatasetRef) -> set[str]:
    """Source columns that a computed column mentions."""
    words = {word for expression in spec.source.derive.values() for word in re.findall(r"\w+", expression)}
    return words.intersection(dataset.source_columns)


def _freshness(spec: ModelSpec, dataset: DatasetRef) -> Check:
    time = spec.source.columns.event_time
    if time is None or spec.contract.freshness is None:
        raise SpecError(f"{spec.model}: contract.freshness needs source.columns.event_time")
    newest = dataset.as_of - spec.source.label_delay if spec.source.label_delay else dataset.as_of
    limit = (newest - spec.contract.freshness).astimezone(UTC).replace(tzinfo=None)
    return Check(
        _expect("ColumnMaxToBeBetween", column=time, min_value=limit),
        f"the newest {time} is at most {format_duration(spec.contract.freshness)} older than it could be,"
        f" not before {limit.isoformat()}",
        (time,),
    )


def _together(spec: ModelSpec) -> Iterator[Check]:
    key = spec.source.columns.key
    if key and not (spec.contract.columns.get(key) or ColumnContract()).unique:
        yield Check(_expect("ColumnValuesToBeUnique", column=key), f"{key} is unique", (key,))
    for group in spec.contract.unique_together:
        expectation = _expect("CompoundColumnsToBeUnique", column_list=list(group))
        yield Check(expectation, f"{', '.join(group)} are unique together", group)
    for relation in spec.contract.relations:
        sentence = f"{relation.left} {relation.op} {relation.right} where both are present"
        yield Check(_relation(relation), sentence, (relation.left, relation.right))


def _relation(relation: Relation) -> Expectation:
    ignore = "either_value_is_missing"
    if relation.op == "==":
        return _expect(
            "ColumnPairValuesToBeEqual", column_A=relation.left, column_B=relation.right, ignore_row_if=ignore
        )
    larger, smaller = (relation.left, relation.right) if relation.op in (">", ">=") else (relation.right, relation.left)
    return _expect(
        "ColumnPairValuesAToBeGreaterThanB",
        column_A=larger,
        column_B=smaller,
        or_equal=relation.op.endswith("="),
        ignore_row_if=ignore,
    )


# ---- one column ------------------------------------------------------------------------------------


def _schema(spec: ModelSpec, name: str, column: ColumnContract) -> Iterator[Check]:
    yield Check(_expect("ColumnToExist", column=name), f"there is a column {name}", (name,), schema=True)
    for kind in dict.fromkeys(_kinds(spec, name, column)):
        article = "an" if kind == "integer" else "a"
        text = "a boolean or 0/1" if kind == "flag" else f"{article} {kind}"
        expectation = _expect("ColumnValuesToBeInTypeList", column=name, type_list=list(TYPES[kind]))
        yield Check(expectation, f"{name} is {text}", (name,), schema=True)


def _kinds(spec: ModelSpec, name: str, column: ColumnContract) -> Iterator[str]:
    """The types a column must have, by what is said of it and by its role."""
    columns, features = spec.source.columns, spec.source.features
    if column.type:
        cast = name in (columns.label, columns.weight)
        yield "number" if column.type == "integer" and cast else column.type
    elif kind := _kind_of_values(column):
        timed = name in (columns.event_time, columns.known_at, columns.label_known_at)
        yield "timestamp" if timed else kind
    if name in features.numeric:
        yield "number"
    elif name in features.boolean:
        yield "flag"


def _kind_of_values(column: ColumnContract) -> str | None:
    said: list[Any] = [*(column.values or ()), column.minimum, column.maximum]
    if column.mean is not None:
        return "number"
    if column.regex is not None or any(isinstance(value, str) for value in said):
        return "string"
    if column.values and all(isinstance(value, bool) for value in column.values):
        return "boolean"
    flags = column.values and set(column.values) <= {0, 1}
    return "flag" if flags else "number" if any(value is not None for value in said) else None


def _values(spec: ModelSpec, name: str, column: ColumnContract) -> Iterator[Check]:
    at_least = max(1 - column.max_null, SOME)
    nulls = f"null in at most {column.max_null:.4g} of the rows" if 0 < column.max_null < 1 else "never null"
    yield Check(
        _expect("ColumnValuesToNotBeNull", column=name, mostly=at_least),
        f"{name} is {'not null in every row' if column.max_null == 1 else nulls}",
        (name,),
    )
    mostly = "" if column.mostly == 1 else f" in at least {column.mostly:.4g} of the rows"
    if (span := _span(spec, name, column)) is not None:
        low, high = span
        between = _expect("ColumnValuesToBeBetween", column=name, min_value=low, max_value=high, mostly=column.mostly)
        yield Check(between, f"{name} lies {_between(low, high)}{mostly}", (name,))
    if column.values is not None:
        allowed = _expect("ColumnValuesToBeInSet", column=name, value_set=list(column.values), mostly=column.mostly)
        yield Check(allowed, f"{name} is one of {_listed(column.values)}{mostly}", (name,))
    yield from _shape(spec, name, column, mostly)


def _shape(spec: ModelSpec, name: str, column: ColumnContract, mostly: str) -> Iterator[Check]:
    if column.regex is not None:
        matches = _expect("ColumnValuesToMatchRegex", column=name, regex=column.regex, mostly=column.mostly)
        yield Check(matches, f"{name} matches {column.regex}{mostly}", (name,))
    if column.unique:
        yield Check(_expect("ColumnValuesToBeUnique", column=name), f"{name} is unique", (name,))
    if column.mean is not None:
        low, high = column.mean
        mean = _expect("ColumnMeanToBeBetween", column=name, min_value=low, max_value=high)
        yield Check(mean, f"the mean of {name} lies {_between(low, high)}", (name,))
    if name == spec.source.columns.label and spec.task is Task.BINARY:
        yield Check(_expect("ColumnValuesToBeInSet", column=name, value_set=[0, 1]), f"{name} is 0 or 1", (name,))


def _span(spec: ModelSpec, name: str, column: ColumnContract) -> tuple[Any, Any] | None:
    if column.minimum is None and column.maximum is None:
        return None
    timed = column.type in ("timestamp", "date") or name in (
        spec.source.columns.event_time,
        spec.source.columns.known_at,
        spec.source.columns.label_known_at,
    )
    return tuple(_bound(spec, name, value, timed) for value in (column.minimum, column.maximum))


def _bound(spec: ModelSpec, name: str, value: float | str | None, timed: bool) -> Any:
    if not timed or value is None:
        return value
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise SpecError(
            f"{spec.model}: contract.columns.{name}: {value!r} is no time; write one as 2026-03-01T00:00:00Z"
        ) from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _between(low: Any, high: Any) -> str:
    if low is None:
        return f"at or below {high}"
    return f"at or above {low}" if high is None else f"between {low} and {high}"


def _listed(values: Iterable[Any]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
