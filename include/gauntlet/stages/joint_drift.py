"""The rows behind the test of everything together: how alike columns are, and what goes with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gauntlet.stages.arrow_columns import dtype_of, label, numeric
from gauntlet.stages.windows import Window

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.joint import Part
    from gauntlet.core.moments import Moved

CODED = 20_000
"""Rows from which the dependence of columns is measured."""
RANKED = 100_000
"""Rows of either window whose ranks are taken."""
CODES = 10


def dependence(window: Window, names: Sequence[str]) -> NDArray[np.float64]:
    """Pearson's phi squared of every pair of columns by deciles or categories; 0 for a column that is not there."""
    import numpy as np

    from gauntlet.core.joint import contingencies

    columns = [_codes(_values(window, name, CODED)) for name in names]
    if not columns:
        return np.empty((0, 0))
    return contingencies(np.column_stack(columns), [CODES + 1] * len(columns))


def pairs_moved(reference: Window, current: Window, parts: Sequence[Part]) -> Moved | None:
    """Levels, spreads and pairs of the heaviest features; ``None`` when neither window has rows of them.

    A category counts as its place among the reference's categories by frequency, an unseen one as the rarest.
    """
    from gauntlet.core.moments import MOST_FEATURES, Base, components, ranks

    present = set(reference.open([]).schema_arrow.names) & set(current.open([]).schema_arrow.names)
    used = [part for part in parts if part.name in present][:MOST_FEATURES]
    if not used:
        return None
    ranked: list[list[NDArray[np.float64]]] = [[], []]
    for part in used:
        before, after = _numbers(*(_values(window, part.name, RANKED) for window in (reference, current)))
        known = _sorted(before)
        for side, values in zip(ranked, (before, after), strict=True):
            side.append(ranks(values, known))
    names, weights = [part.name for part in used], [part.weight for part in used]
    base = Base.of(components(names, weights, ranked[0]))
    return base.moved(components(names, weights, ranked[1])) if base is not None else None


def _sorted(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.sort(values[~np.isnan(values)])


def _values(window: Window, name: str, most: int) -> Any:
    """An even sample of a column; all null where there is no such column."""
    import numpy as np
    import pyarrow as pa

    file = window.open([])
    places = np.arange(file.metadata.num_rows) if window.chosen is None else np.flatnonzero(window.chosen)
    places = places[:: max(-(-len(places) // most), 1)]
    if name not in file.schema_arrow.names:
        return pa.chunked_array([pa.nulls(len(places))])
    return file.read(columns=[name], use_threads=False).column(0).take(pa.array(places))


def _is_number(data: pa.ChunkedArray) -> bool:
    return dtype_of(data.type) in {"integer", "float", "decimal", "time"}


def _floats(data: pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers with NaN where there is none."""
    import numpy as np

    values = np.full(len(data), np.nan)
    if _is_number(data):
        values[np.asarray(data.is_valid())] = numeric(data)[0]
    return values


def _texts(data: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str | None]]:
    """Codes (-1: missing) and the categories that they stand for."""
    import numpy as np
    import pyarrow.types as of

    whole = data.combine_chunks()
    encoded = whole if of.is_dictionary(whole.type) else whole.dictionary_encode()
    kind: Any = "boolean" if dtype_of(data.type) == "boolean" else "categorical"
    names = [label(value, kind) for value in encoded.dictionary.to_pylist()]
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64), names


def _numbers(before: pa.ChunkedArray, after: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import numpy as np

    if _is_number(before):
        return _floats(before), _floats(after)
    codes, names = _texts(before)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    ordered = sorted(range(len(names)), key=lambda place: (-counts[place], str(names[place])))
    place_of = {names[place]: float(rank) for rank, place in enumerate(ordered)}
    found = []
    for column_codes, column_names in ((codes, names), _texts(after)):
        table = np.array([np.nan if n is None else place_of.get(n, len(names)) for n in column_names] + [np.nan])
        found.append(table[column_codes])
    return found[0], found[1]


def _codes(data: pa.ChunkedArray) -> NDArray[np.int64]:
    """Decile or category of every row; the last code is "no value"."""
    import numpy as np

    if _is_number(data):
        values = _floats(data)
        known = _sorted(values)
        marks = np.unique(np.quantile(known, np.arange(1, CODES) / CODES)) if len(known) else np.empty(0)
        return np.where(np.isnan(values), CODES, np.searchsorted(marks, values, "right"))
    codes, names = _texts(data)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    rank = np.full(len(names) + 1, CODES)
    rank[:-1][np.argsort(-counts, kind="stable")] = np.minimum(np.arange(len(names)), CODES - 1)
    return rank[codes]
