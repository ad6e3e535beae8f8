"""From a raw value to the float64 the trees see: the one place, in two ways with one result.

Column by column for Arrow tables (training, batch scoring), row by row for dicts (serving). Training
feeds LightGBM exactly these float64 values, never a float32 rounding of them, so that a threshold
learned between two values separates the same two values in production.

========== ==========================================================================
kind       value
========== ==========================================================================
numeric    the number as float64; null is NaN
boolean    1.0 or 0.0; null is NaN
categorical the index of its text in ``Feature.categories``; null and unseen are NaN
========== ==========================================================================

A category is its text: ``3``, ``3.0`` and ``"3"`` are one category, as are ``True`` and ``"true"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, isnan, nan
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import DataRejected
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.core.specs.source import FeatureColumns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Row = Mapping[str, Any]
EncodeValue = Callable[[Any], float]


def kinds(columns: FeatureColumns) -> dict[str, FeatureKind]:
    """Every feature of a spec with its kind, in model order."""
    groups = (
        (FeatureKind.NUMERIC, columns.numeric),
        (FeatureKind.BOOLEAN, columns.boolean),
        (FeatureKind.CATEGORICAL, columns.categorical),
    )
    return {name: kind for kind, names in groups for name in names}


# ---- one value -------------------------------------------------------------------------------------


def category_text(value: Any) -> str:
    """How a value names its category.

    >>> category_text(3.0), category_text("3"), category_text(True), category_text(0.5)
    ('3', '3', 'true', '0.5')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def encode_number(value: Any) -> float:
    """A numeric feature's value; :class:`TypeError` for text and other things that are no number."""
    if value is None:
        return nan
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{value!r} is text, not a number")
    return float(value)


def encode_boolean(value: Any) -> float:
    """A boolean feature's value; :class:`TypeError` for what is neither true nor false (0 and 1 are)."""
    if value is None:
        return nan
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{value!r} is text, not true or false")
    number = float(value)
    if number in (0.0, 1.0):
        return number
    if isnan(number):
        return nan
    raise TypeError(f"{value!r} is neither true nor false")


def encode_category(codes: Mapping[str, float]) -> EncodeValue:
    """The encoder of a categorical feature with these codes."""
    get = codes.get

    def encode(value: Any) -> float:
        if value.__class__ is str:
            return get(value, nan)
        return nan if _missing(value) else get(category_text(value), nan)

    return encode


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


def category_codes(feature: Feature) -> dict[str, float]:
    """Code by category."""
    return {category: float(code) for code, category in enumerate(feature.categories or ())}


def value_encoder(feature: Feature) -> EncodeValue:
    """The function from one raw value of a feature to its float."""
    if feature.kind is FeatureKind.CATEGORICAL:
        return encode_category(category_codes(feature))
    return encode_number if feature.kind is FeatureKind.NUMERIC else encode_boolean


# ---- one row ---------------------------------------------------------------------------------------


def compile_row(features: Sequence[Feature]) -> Callable[[Row], list[float]]:
    """A function from a row by name to the vector in model order.

    It imports nothing and allocates one list. It raises :class:`DataRejected` naming the feature when
    one is missing from the row or has a value of the wrong kind; extra columns are ignored.
    """
    steps = [(feature.name, value_encoder(feature)) for feature in features]

    def encode(row: Row) -> list[float]:
        try:
            return [step(row[name]) for name, step in steps]
        except (KeyError, TypeError, ValueError, OverflowError):
            return _encode_naming(row, steps)

    return encode


def _encode_naming(row: Row, steps: Sequence[tuple[str, EncodeValue]]) -> list[float]:
    vector = []
    for name, step in steps:
        if name not in row:
            raise DataRejected(f"feature {name!r} is missing from the row")
        try:
            vector.append(step(row[name]))
        except (TypeError, ValueError, OverflowError) as error:
            raise DataRejected(f"feature {name!r}: {error}") from None
    return vector


# ---- one column ------------------------------------------------------------------------------------


def encode_column(feature: Feature, column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """A whole column, shape (rows,): the same floats as row by row. :class:`DataRejected` for a wrong type."""
    if feature.kind is FeatureKind.CATEGORICAL:
        return _encode_categories(column, category_codes(feature))
    values = _floats(feature.name, column)
    if feature.kind is FeatureKind.BOOLEAN:
        _check_boolean(feature.name, values)
    return values


def encode_table(features: Sequence[Feature], table: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
    """All features of a table, shape (rows, features), C order; columns are found by name, extra ones ignored."""
    import numpy as np

    matrix = np.empty((table.num_rows, len(features)), np.float64)
    present = set(table.schema.names)
    for place, feature in enumerate(features):
        if feature.name not in present:
            raise DataRejected(f"feature {feature.name!r} is missing from the table")
        matrix[:, place] = encode_column(feature, table.column(feature.name))
    return matrix


def _floats(name: str, column: Any) -> NDArray[np.float64]:
    import numpy as np

    kind = str(column.type)
    if kind.startswith(("string", "large_string", "dictionary", "binary", "date", "time", "list", "struct")):
        raise DataRejected(
            f"feature {name!r} has type {kind}, which is no number; declare it categorical, or convert it"
        )
    if kind.startswith("decimal"):
        # Through text, because that is how Python converts a Decimal: rounded once, correctly.
        column = column.cast("string")
    elif kind == "bool":
        column = column.cast("int8")
    values = column.cast("float64", safe=False)
    if values.null_count:
        values = values.fill_null(nan)
    return np.asarray(values.to_numpy(), np.float64)


def _check_boolean(name: str, values: NDArray[np.float64]) -> None:
    import numpy as np

    wrong = ~(np.isin(values, (0.0, 1.0)) | np.isnan(values))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataRejected(f"boolean feature {name!r}: row {row} is {values[row]!r}, neither true nor false")


def _dictionary(column: Any) -> list[tuple[Any, list[Any]]]:
    """(indices, values) per chunk; the indices are an Arrow array with nulls."""
    encoded = column if str(column.type).startswith("dictionary") else column.dictionary_encode()
    chunks = encoded.chunks if hasattr(encoded, "chunks") else [encoded]
    return [(chunk.indices, chunk.dictionary.to_pylist()) for chunk in chunks]


def _encode_categories(column: Any, codes: Mapping[str, float]) -> NDArray[np.float64]:
    import numpy as np

    parts = []
    encode = encode_category(codes)
    for indices, values in _dictionary(column):
        table = np.array([*(encode(value) for value in values), nan])
        places = indices.fill_null(len(values)) if indices.null_count else indices
        parts.append(table[np.asarray(places.to_numpy(zero_copy_only=False), np.int64)])
    return np.concatenate(parts) if parts else np.empty(0)


# ---- learning --------------------------------------------------------------------------------------


def learn_feature(name: str, kind: FeatureKind, column: pa.ChunkedArray, min_category_rows: int) -> Feature:
    """What the training part says about a feature: its categories or range, and whether it is ever null.

    A category with fewer than ``min_category_rows`` rows is left out, so that it is treated in
    training as it will be in serving: as one never seen. :class:`DataRejected` when nothing is left.
    """
    if kind is FeatureKind.CATEGORICAL:
        return _learn_categories(name, column, min_category_rows)
    feature = Feature(name=name, kind=kind, nullable=False)
    return _learn_range(feature, encode_column(feature, column))


def _learn_range(feature: Feature, values: NDArray[np.float64]) -> Feature:
    import numpy as np

    nulls = bool(np.isnan(values).any())
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise DataRejected(
            f"feature {feature.name!r} has no value in the {len(values)} training rows; drop it or repair it"
        )
    low, high = float(finite.min()), float(finite.max())
    return feature.model_copy(update={"nullable": nulls, "minimum": low, "maximum": high})


def _learn_categories(name: str, column: Any, min_rows: int) -> Feature:
    counts, nulls = count_categories(column)
    kept = tuple(sorted(text for text, count in counts.items() if count >= min_rows))
    if not kept:
        raise DataRejected(
            f"feature {name!r}: none of its {len(counts)} categories has {min_rows} training rows "
            "(training.min_category_rows); lower that, merge categories, or drop the feature"
        )
    return Feature(name=name, kind=FeatureKind.CATEGORICAL, nullable=nulls > 0, categories=kept)


def count_categories(column: pa.ChunkedArray | pa.Array) -> tuple[dict[str, int], int]:
    """Rows per category text, and the number of nulls."""
    import numpy as np

    counts: dict[str, int] = {}
    nulls = 0
    for indices, values in _dictionary(column):
        nulls += indices.null_count
        places = np.asarray(indices.drop_null().to_numpy(zero_copy_only=False), np.int64)
        for value, count in zip(values, np.bincount(places, minlength=len(values)).tolist(), strict=True):
            if count and _missing(value):
                nulls += count
            elif count:
                text = category_text(value)
                counts[text] = counts.get(text, 0) + count
    return counts, nulls


def in_range(feature: Feature, value: float) -> bool:
    """Whether an encoded value lies in the range training saw; NaN and features without range do."""
    if not isfinite(value) or feature.minimum is None or feature.maximum is None:
        return isnan(value) or feature.minimum is None
    return feature.minimum <= value <= feature.maximum
