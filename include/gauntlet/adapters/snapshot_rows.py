"""Reading a snapshot for training and scoring: by part, by column, in batches, never whole."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gauntlet.core.encoding import encode_table
from gauntlet.core.errors import DataRejected, IntegrityError
from gauntlet.core.records.model import Feature, FeatureKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyarrow.parquet import ParquetFile

BUFFER_BYTES = 1 << 18
"""Read ahead per column, instead of its whole chunk of a row group."""
BATCH_ROWS = 16_384
"""Rows encoded at once: 6 MB of float64 with 47 features."""


def open_parquet(path: Path, categorical: Sequence[str] = ()) -> ParquetFile:
    """A Parquet file whose pages are verified as they are read; ``categorical`` columns come as dictionaries."""
    import pyarrow.parquet as pq

    with undamaged(path):
        return pq.ParquetFile(
            path, read_dictionary=list(categorical), page_checksum_verification=True, buffer_size=BUFFER_BYTES
        )


@contextmanager
def undamaged(path: Path) -> Generator[None]:
    """A page that does not match its checksum, as the error it is."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{path}: damaged: {error}") from None


def read_parts(path: Path, rows: int) -> NDArray[np.str_]:
    """The part of every snapshot row, shape (rows,)."""
    import numpy as np

    column = open_parquet(path, ["part"]).read(columns=["part"]).column("part")
    if len(column) != rows:
        raise IntegrityError(f"{path} has {len(column)} rows, its snapshot {rows}: they do not belong together")
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype="U11")


class SnapshotRows:
    """The rows of one part of a snapshot, in snapshot order."""

    def __init__(self, path: Path, mask: NDArray[np.bool_], categorical: Sequence[str] = ()) -> None:
        """``mask``: which rows of the file belong to the part."""
        self._path, self._mask, self._categorical = path, mask, tuple(categorical)
        # Opened anew for every pass: a reader keeps a page of every column it has read, some 50 MB.
        file = open_parquet(path)
        if file.metadata.num_rows != len(mask):
            raise IntegrityError(f"{path} has {file.metadata.num_rows} rows, expected {len(mask)}")
        self._rows = int(mask.sum())

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of the part."""
        import pyarrow as pa

        file = open_parquet(self._path, self._categorical)
        if name not in file.schema_arrow.names:
            raise DataRejected(f"{self._path}: no column {name!r}")
        with undamaged(self._path):
            return file.read(columns=[name]).column(name).filter(pa.array(self._mask))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The part's rows in batches of at most :data:`BATCH_ROWS`; row groups without any are not read."""
        with undamaged(self._path):
            yield from self._batches(columns)

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        file = open_parquet(self._path, self._categorical)
        first = 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if self._mask[first : first + rows].any():
                place = first
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns)):
                    kept = self._mask[place : place + batch.num_rows]
                    place += batch.num_rows
                    if kept.all():
                        yield batch
                    elif kept.any():
                        yield batch.filter(pa.array(kept))
            first += rows

    def encoded(self, features: Sequence[Feature]) -> Iterator[NDArray[np.float64]]:
        """Encoded batches, shape (rows, features), in order."""
        for batch in self.batches([feature.name for feature in features]):
            yield encode_table(features, batch)

    def some(self, count: int) -> SnapshotRows:
        """At most ``count`` rows, evenly spaced over this part."""
        import numpy as np

        if len(self) <= count:
            return self
        places = np.flatnonzero(self._mask)[np.linspace(0, len(self) - 1, count).astype(np.int64)]
        mask = np.zeros_like(self._mask)
        mask[places] = True
        return SnapshotRows(self._path, mask, self._categorical)


def categorical_names(features: Sequence[Feature]) -> list[str]:
    """The names of the categorical features."""
    return [feature.name for feature in features if feature.kind is FeatureKind.CATEGORICAL]
