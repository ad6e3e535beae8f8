"""Parquet files, streamed into profiles one column of one row group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import DataRejected
from gauntlet.stages.arrow_columns import Kind, dtype_of, label, numeric

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.axis import Scratch
    from gauntlet.core.profile import Column, Profile

SAMPLE = 250_000
"""Rows from which a reference's axes are chosen."""
BATCH = 1 << 17
"""Rows decoded at a time: what is decoded is counted while it is in the cache."""
Progress = Callable[[int, int, str], None]
"""Done, total and what is being read."""


def silent(_done: int, _total: int, _what: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Window:
    """A Parquet file, and which of its rows count (one flag per row; ``None``: all)."""

    path: Path
    chosen: NDArray[np.bool_] | None = None
    verified: bool = False
    """Whether the pages have checksums to verify."""

    def open(self, labels: Sequence[str]) -> Any:
        """The open file; ``labels`` are read as dictionaries."""
        import pyarrow.parquet as pq

        return pq.ParquetFile(
            self.path, read_dictionary=list(labels), page_checksum_verification=self.verified, pre_buffer=False
        )

    def groups(self, file: Any) -> Iterator[tuple[int, int]]:
        """Row groups: index and first row."""
        start = 0
        for group in range(file.metadata.num_row_groups):
            yield group, start
            start += file.metadata.row_group(group).num_rows

    def rows(self, start: int, count: int) -> NDArray[np.bool_] | None:
        """The flags of some rows."""
        return None if self.chosen is None else self.chosen[start : start + count]


def profile_of(
    window: Window,
    kinds: Mapping[str, Kind],
    segments: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = silent,
) -> Profile:
    """The profile of a reference window, on axes of its own."""
    from gauntlet.core.profile import Profile

    file = window.open(_labels(kinds))
    absent = sorted(set(kinds) - set(file.schema_arrow.names))
    if absent:
        raise DataRejected(f"{window.path.name}: no column {', '.join(absent)}")
    columns: dict[str, Column] = {name: _empty(window, file, name, kind) for name, kind in kinds.items()}
    blank = Profile(columns, 0, {}, {}, {})
    return counted(blank, window, kinds, segments, progress)


def counted(
    blank: Profile,
    window: Window,
    kinds: Mapping[str, Kind],
    segments: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = silent,
) -> Profile:
    """A window counted on given axes; ``segments`` are the columns and values that are counted on their own.

    Column by column in batches, so that memory does not grow with the rows.
    """
    from gauntlet.core.axis import Scratch
    from gauntlet.core.profile import Profile

    file = window.open(_labels(kinds) + [name for name in segments or {} if name not in kinds])
    present = [name for name in blank.columns if name in file.schema_arrow.names]
    parts = _segment_rows(window, file, segments or {})
    whole: dict[str, Column] = {}
    split: dict[str, dict[str, dict[str, Column]]] = {
        column: {value: {} for value in parts[column]} for column in parts
    }
    scratch = Scratch()
    for done, name in enumerate(present):
        progress(done, len(present), name)
        flags = [window.chosen, *(members for values in parts.values() for members in values.values())]
        found = iter(_read_column(file, blank.columns[name], name, kinds[name], flags, scratch))
        whole[name] = next(found)
        for column, values in parts.items():
            for value in values:
                split[column][value][name] = next(found)
    progress(len(present), len(present), "")
    rows = file.metadata.num_rows if window.chosen is None else int(window.chosen.sum())
    divided = {
        column: {value: Profile(one, int(parts[column][value].sum()), {}, {}, {}) for value, one in values.items()}
        for column, values in split.items()
    }
    return Profile(whole, rows, blank.importances, divided, blank.about)


def _read_column(
    file: Any,
    blank: Column,
    name: str,
    kind: Kind,
    chosen: Sequence[NDArray[np.bool_] | None],
    scratch: Scratch,
) -> list[Column]:
    """One pass over a column, counted once for every selection of rows."""
    tallies = [_ColumnTally(blank, kind, scratch) for _ in chosen]
    start = 0
    for batch in file.iter_batches(BATCH, columns=[name], use_threads=False):
        data = batch.column(0)
        for tally, flags in zip(tallies, chosen, strict=True):
            tally.add(data if flags is None else _kept(data, flags[start : start + len(data)]))
        start += len(data)
    return [tally.result() for tally in tallies]


class _ColumnTally:
    """Arrow arrays of one column, counted."""

    def __init__(self, blank: Column, kind: Kind, scratch: Scratch) -> None:
        from gauntlet.core.profile import Numbers, Tally

        self._kind = kind
        self._column = blank
        self._numbers = Tally(blank, scratch) if isinstance(blank, Numbers) else None
        self._dtype: str | None = None

    def add(self, data: pa.Array) -> None:
        self._dtype = dtype_of(data.type)
        if self._numbers is not None:
            self._numbers.add(*numeric(data))
        else:
            self._column = _added_labels(self._column, data, self._kind)

    def result(self) -> Column:
        column = self._column if self._numbers is None else self._numbers.result()
        if self._dtype is None or self._kind == "boolean":
            return column
        return replace(column, dtype=self._dtype)


def _labels(kinds: Mapping[str, Kind]) -> list[str]:
    return [name for name, kind in kinds.items() if kind == "categorical"]


def _empty(window: Window, file: Any, name: str, kind: Kind) -> Column:
    from gauntlet.core.profile import Labels, numbers

    dtype = dtype_of(file.schema_arrow.field(name).type)
    if kind == "boolean":
        return Labels.blank("boolean")
    if kind == "categorical":
        return Labels.blank(dtype)
    return numbers(_sample(window, file, name), dtype)


def _sample(window: Window, file: Any, name: str) -> NDArray[np.float64]:
    """About SAMPLE values, evenly over all row groups."""
    import numpy as np

    total = file.metadata.num_rows if window.chosen is None else int(window.chosen.sum())
    step = max(total // SAMPLE, 1)
    parts = []
    for group, start in window.groups(file):
        data = file.read_row_group(group, columns=[name], use_threads=False).column(0)
        parts.append(numeric(_kept(data, window.rows(start, len(data))))[0][::step])
    return np.concatenate(parts) if parts else np.empty(0)


def _kept(data: Any, flags: NDArray[np.bool_] | None) -> Any:
    import pyarrow as pa

    return data if flags is None else data.filter(pa.array(flags))


def _added_labels(column: Any, data: pa.Array, kind: Kind) -> Column:
    import pyarrow.types as of

    encoded = data if of.is_dictionary(data.type) else data.dictionary_encode()
    names = [label(value, kind) for value in encoded.dictionary.to_pylist()]
    result: Column = _added_codes(column, encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), names)
    return result


def _added_codes(column: Any, codes: NDArray[Any], names: list[str | None]) -> Any:
    """Count codes whose names may be missing or the same."""
    import numpy as np

    if None in names:
        absent = np.array([name is None for name in names] + [False])
        codes = np.where(absent[codes], -1, codes)
    return column.counted(codes, [name or "" for name in names])


def sorted_column(window: Window, name: str) -> NDArray[np.float64] | None:
    """A numeric column whole, sorted, without missing values; ``None`` for a column that is not there."""
    import numpy as np

    file = window.open([])
    if name not in file.schema_arrow.names:
        return None
    data = file.read(columns=[name], use_threads=False).column(0)
    if dtype_of(data.type) not in {"integer", "float", "decimal", "time"}:
        return None
    values = numeric(_kept(data, window.chosen))[0]
    del data
    if values.flags.writeable and values.base is None:
        values.sort()
    else:
        values = np.sort(values)
    return values[: int(np.searchsorted(values, np.nan))]


def _segment_rows(
    window: Window, file: Any, segments: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Per segment column and value the rows in it, among the chosen."""
    import numpy as np

    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for column, values in segments.items():
        if column not in file.schema_arrow.names:
            continue
        texts = _texts(file, column)
        flags = np.ones(len(texts), bool) if window.chosen is None else window.chosen
        found[column] = {value: (texts == value) & flags for value in values}
    return found


def _texts(file: Any, column: str) -> NDArray[Any]:
    import numpy as np

    data = file.read(columns=[column], use_threads=False).column(0)
    kind: Kind = "boolean" if dtype_of(data.type) == "boolean" else "categorical"
    parts = []
    for chunk in data.chunks:
        encoded = chunk.dictionary_encode() if dtype_of(chunk.type) == str(chunk.type) else _encoded(chunk)
        names = np.array([label(value, kind) for value in encoded.dictionary.to_pylist()] + [None], dtype=object)
        parts.append(names[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
    return np.concatenate(parts) if parts else np.empty(0, object)


def _encoded(chunk: Any) -> Any:
    import pyarrow.types as of

    return chunk if of.is_dictionary(chunk.type) else chunk.dictionary_encode()


def segment_of(window: Window, segment: str) -> Window:
    """The rows of one segment, written ``column=value``; none where the file has no such column."""
    import numpy as np

    column, value = segment.split("=", 1)
    file = window.open([])
    found = _segment_rows(window, file, {column: [value]})
    nothing = np.zeros(file.metadata.num_rows, bool)
    return replace(window, chosen=found[column][value] if column in found else nothing)


def frequent(window: Window, column: str, most: int) -> tuple[str, ...]:
    """The most frequent values of a column among the chosen rows, most frequent first."""
    import collections

    file = window.open([])
    if column not in file.schema_arrow.names:
        raise DataRejected(f"drift.segments: no column {column!r} in {window.path.name}")
    texts = _texts(file, column)
    kept = texts if window.chosen is None else texts[window.chosen]
    counts = collections.Counter(text for text in kept if text is not None)
    return tuple(sorted(counts, key=lambda text: (-counts[text], text))[:most])
