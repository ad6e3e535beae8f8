"""The input policy of serving on whole columns: the same verdict for a row as the server gives it alone.

Where the server answers a row with 422, the row is *rejected* here and must not get a score; where the policy counts
a deviation, the row is scored as the server scores it: a missing, unseen or unusable value as null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from gauntlet.core.encoding import encode_column
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.core.specs.serving import InputPolicy

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


@dataclass
class CheckedRows:
    """Rows under a policy. ``table`` has the model's features and nothing else, as they are to be scored."""

    table: pa.Table
    rejected: NDArray[Any]
    """Shape (rows,): the first reason as ``feature kind``, or ``None``."""
    deviations: Counter[str] = field(default_factory=Counter)
    """Rows by ``feature kind``."""


def check_rows(
    features: Sequence[Feature], policy: InputPolicy, batch: pa.RecordBatch, ignored: frozenset[str] = frozenset()
) -> CheckedRows:
    """Apply a policy to a batch of raw rows; ``ignored``: columns that are no features and are no deviation."""
    import numpy as np
    import pyarrow as pa

    rejected = np.full(batch.num_rows, None, object)
    deviations: Counter[str] = Counter()

    def remark(name: str, kind: str, rows: Mask) -> None:
        if not rows.any():
            return
        deviations[f"{name} {kind}"] += int(rows.sum())
        if getattr(policy, kind) == "reject":
            rejected[rows & (rejected == None)] = f"{name} {kind}"  # noqa: E711  element by element

    everything = np.ones(batch.num_rows, bool)
    if policy.extra != "ignore":
        for name in sorted(set(batch.schema.names) - {feature.name for feature in features} - ignored):
            remark(name, "extra", everything)
    columns = {}
    for feature in features:
        if feature.name in batch.schema.names:
            columns[feature.name] = _column(feature, batch.column(feature.name), remark)
        else:
            remark(feature.name, "missing", everything)
            columns[feature.name] = _nulls(feature, batch.num_rows)
    return CheckedRows(pa.table(columns), rejected, deviations)


Remark = Callable[[str, str, "Mask"], None]


def _column(feature: Feature, column: pa.Array, remark: Remark) -> pa.Array:
    import numpy as np

    null = np.asarray(column.is_null().to_numpy(zero_copy_only=False), bool)
    if not feature.nullable:
        remark(feature.name, "null", null)
    if not _has_type(feature, column.type):
        remark(feature.name, "wrong_type", ~null)
        return _nulls(feature, len(column))
    if feature.kind is FeatureKind.CATEGORICAL:
        remark(feature.name, "unseen_category", np.isnan(encode_column(feature, column)) & ~null)
        return column
    return _numbers(feature, column, null, remark)


def _numbers(feature: Feature, column: pa.Array, null: Mask, remark: Remark) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    # As a plain number first: what is neither true nor false is a deviation here, not an error.
    values = encode_column(feature.model_copy(update={"kind": FeatureKind.NUMERIC}), column)
    wrong = np.zeros(len(values), bool)
    if feature.kind is FeatureKind.BOOLEAN:
        wrong = ~np.isin(values, (0.0, 1.0)) & ~null
        remark(feature.name, "wrong_type", wrong)
    else:
        infinite = ~np.isfinite(values)
        remark(feature.name, "nan", infinite & ~null)
        low = -inf if feature.minimum is None else feature.minimum
        high = inf if feature.maximum is None else feature.maximum
        remark(feature.name, "out_of_range", ((values < low) | (values > high)) & ~infinite)
    return pa.array(values, pa.float64(), mask=null | wrong | np.isnan(values))


def _has_type(feature: Feature, kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if feature.kind is FeatureKind.CATEGORICAL:
        return not types.is_nested(kind)
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _nulls(feature: Feature, rows: int) -> pa.Array:
    import pyarrow as pa

    return pa.nulls(rows, pa.string() if feature.kind is FeatureKind.CATEGORICAL else pa.float64())
