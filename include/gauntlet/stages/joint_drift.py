"""The rows behind the test of everything together: how alike columns are, and what goes with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gauntlet.stages.arrow_columns import Kind, dtype_of, label, numeric
from gauntlet.stages.windows import Window

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.moments import Moved
    from gauntlet.core.profile import Profile
    from gauntlet.core.rank_base import RankBase

CODED = 20_000
"""Rows from which the dependence of columns is measured."""
RANKED = 100_000
"""Rows of either window whose ranks are taken."""
CODES = 10


def dependence(window: Window, names: Sequence[str]) -> NDArray[np.float64]:
    """Pearson's phi squared of every pair of columns by deciles or categories; 0 for a column that is not there."""
    import numpy as np

    from gauntlet.core.joint_parts import contingencies

    columns = [_codes(_values(window, name, CODED)) for name in names]
    if not columns:
        return np.empty((0, 0))
    return contingencies(np.column_stack(columns), [CODES + 1] * len(columns))


def rank_base(reference: Window, profile: Profile) -> RankBase | None:
    """Levels, spreads and pairs of the heaviest features of the reference's rows, on ranks that its profile knows."""
    from gauntlet.core.joint_parts import HELD
    from gauntlet.core.moments import MOST_FEATURES
    from gauntlet.core.rank_base import RankBase

    weights = profile.weights()
    ordered = sorted((name for name in weights if weights[name] > 0), key=lambda name: (-weights[name], name))
    held, used = 0.0, []
    for name in ordered[:MOST_FEATURES]:
        if held >= HELD:
            break
        held += weights[name]
        used.append(name)
    ranked = [_ranks(reference, name, profile) for name in used]
    return RankBase.of(used, [weights[name] for name in used], ranked)


def pairs_moved(profile: Profile, current: Window) -> Moved | None:
    """How levels, spreads and pairs have moved; ``None`` for a profile without them, or a window without a feature."""
    present = set(current.open([]).schema_arrow.names)
    if profile.pairs is None or not present.issuperset(profile.pairs.features):
        return None
    return profile.pairs.moved([_ranks(current, name, profile) for name in profile.pairs.features])


def _ranks(window: Window, name: str, profile: Profile) -> NDArray[np.float64]:
    """Ranks of a sample of a column among the reference's rows."""
    from gauntlet.core.profile import Numbers
    from gauntlet.core.rank_base import ranks_of_labels, ranks_of_numbers

    column, data = profile.columns[name], _values(window, name, RANKED)
    if isinstance(column, Numbers):
        return ranks_of_numbers(column, _floats(data))
    return ranks_of_labels(column.trimmed(), *_texts(data, "boolean" if column.dtype == "boolean" else "categorical"))


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


def _texts(data: pa.ChunkedArray, kind: Kind) -> tuple[NDArray[np.int64], list[str | None]]:
    """Codes (-1: missing) and the categories that they stand for."""
    import numpy as np
    import pyarrow.types as of

    whole = data.combine_chunks()
    encoded = whole if of.is_dictionary(whole.type) else whole.dictionary_encode()
    names = [label(value, kind) for value in encoded.dictionary.to_pylist()]
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64), names


def _codes(data: pa.ChunkedArray) -> NDArray[np.int64]:
    """Decile or category of every row; the last code is "no value"."""
    import numpy as np

    if _is_number(data):
        values = _floats(data)
        known = _sorted(values)
        marks = np.unique(np.quantile(known, np.arange(1, CODES) / CODES)) if len(known) else np.empty(0)
        return np.where(np.isnan(values), CODES, np.searchsorted(marks, values, "right"))
    codes, names = _texts(data, "boolean" if dtype_of(data.type) == "boolean" else "categorical")
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    rank = np.full(len(names) + 1, CODES)
    rank[:-1][np.argsort(-counts, kind="stable")] = np.minimum(np.arange(len(names)), CODES - 1)
    return rank[codes]
