"""Arrow columns as numbers and labels: what a profile calls types, and how values are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Kind = Literal["numeric", "boolean", "categorical"]


@cache
def dtype_of(kind: pa.DataType) -> str:
    """The family of an Arrow type: what a profile calls a column's type."""
    import pyarrow.types as of

    if of.is_dictionary(kind):
        return dtype_of(kind.value_type)
    families: dict[str, Callable[[Any], bool]] = {
        "null": of.is_null,
        "boolean": of.is_boolean,
        "integer": of.is_integer,
        "float": of.is_floating,
        "decimal": of.is_decimal,
        "string": lambda one: of.is_string(one) or of.is_large_string(one) or of.is_string_view(one),
        "time": of.is_temporal,
    }
    return next((name for name, check in families.items() if check(kind)), str(kind))


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """How columns are compared when no spec says so; columns of nested or binary types are left out."""
    of: dict[str, Kind] = {
        "null": "numeric",
        "boolean": "boolean",
        "integer": "numeric",
        "float": "numeric",
        "decimal": "numeric",
        "time": "numeric",
        "string": "categorical",
    }
    return {field.name: of[dtype] for field in schema if (dtype := dtype_of(field.type)) in of}


def numeric(data: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.float64], int]:
    """A column as float64 (times as seconds since 1970) and how many rows have no value.

    What is no number has no value here: the change of type is a finding of its own.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    dtype = dtype_of(data.type)
    if dtype not in {"integer", "float", "decimal", "time", "boolean"}:
        return np.empty(0), len(data)
    if dtype == "time":
        data, unit = _ticks(data)
    missing = data.null_count
    if missing:
        data = data.drop_null()
    if dtype == "boolean":
        data = pc.cast(data, pa.int8())
    floats = data if data.type == pa.float64() else pc.cast(data, pa.float64(), safe=False)
    values: NDArray[np.float64] = np.asarray(floats, dtype=np.float64)
    return (values / unit if dtype == "time" else values), missing


def _ticks(data: Any) -> tuple[Any, float]:
    """A time column as integers, and how many of them make a second."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as of

    if of.is_date(data.type):
        return pc.cast(pc.cast(data, pa.timestamp("s")), pa.int64()), 1.0
    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[data.type.unit]
    narrow = pa.int32() if of.is_time32(data.type) else pa.int64()
    return pc.cast(pc.cast(data, narrow), pa.int64()), per_second


def label(value: Any, kind: Kind) -> str | None:
    """The one text form of a category; truth values have two, however they are written."""
    if value is None or value != value:
        return None
    if kind == "boolean" and value in (0, 1):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)
