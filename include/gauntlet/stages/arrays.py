"""Snapshot columns as the NumPy arrays that core works on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gauntlet.core.errors import IntegrityError
from gauntlet.core.leakage_evidence import Column

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.spec import ModelSpec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Times as microseconds since 1970; a missing one is the smallest integer."""
    import pyarrow as pa

    plain = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us")).to_numpy()
    times: NDArray[np.int64] = plain.astype("datetime64[us]").astype("int64")
    return times


def instant(value: int) -> datetime:
    """A UTC time from microseconds since 1970."""
    return EPOCH + timedelta(microseconds=int(value))


def codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A code from 0 per distinct value, ascending with the value (numbers as numbers); -1 where missing."""
    import numpy as np
    import pyarrow.compute as pc

    encoded = column.combine_chunks().dictionary_encode()
    rank = np.empty(len(encoded.dictionary), dtype=np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(encoded.dictionary))
    indices = encoded.indices.fill_null(-1).to_numpy()
    return np.where(indices < 0, -1, rank[indices] if len(rank) else -1)


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Values as float64, missing ones as NaN."""
    import pyarrow as pa

    return column.cast(pa.float64()).to_numpy(zero_copy_only=False) if column.null_count == 0 else _with_nan(column)


def scores(table: pa.Table, name: str) -> NDArray[np.float64] | None:
    """A version's scores in an evaluation file, (n,) or, multiclass, (n, classes); ``None`` when it has none."""
    import numpy as np

    if name in table.column_names:
        return numbers(table.column(name))
    classes = [column for column in table.column_names if column.startswith(f"{name}_")]
    classes.sort(key=lambda column: int(column.rsplit("_", 1)[1]))
    return np.column_stack([numbers(table.column(column)) for column in classes]) if classes else None


def candidate_scores(table: pa.Table) -> NDArray[np.float64]:
    """The scores of the version that an evaluation is of; :class:`IntegrityError` when the file has none."""
    found = scores(table, "candidate_score")
    if found is None:
        raise IntegrityError("the evaluation file has no column candidate_score; evaluate again")
    return found


def feature_columns(spec: ModelSpec, table: pa.Table) -> dict[str, Column]:
    """Every feature for the leakage checks, in model order: numbers, or codes of categories."""
    features = spec.source.features
    return {name: _feature(table.column(name), name in features.numeric) for name in features.all}


def _feature(column: pa.ChunkedArray, numeric: bool) -> Column:
    import numpy as np
    import pyarrow as pa

    if numeric and not pa.types.is_string(column.type):
        return Column(numbers(column), categorical=False)
    found = codes(column)
    return Column(np.where(found < 0, np.nan, found.astype(np.float64)), categorical=True)


def _with_nan(column: pa.ChunkedArray) -> NDArray[np.float64]:
    import numpy as np
    import pyarrow as pa

    values: NDArray[np.float64] = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return values
