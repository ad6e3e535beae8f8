"""Reading a recorded snapshot and its split, verified: digest of the file first, page checksums while reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gauntlet.core.errors import IntegrityError
from gauntlet.core.splits import PARTS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.ports import Services
    from gauntlet.core.records.data import DatasetRef, SplitManifest


def read_snapshot(services: Services, dataset: DatasetRef, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a snapshot, all of them by default, in canonical row order.

    Raises:
        IntegrityError: the bytes are not those recorded.
    """
    return read_verified(services.blobs.fetch(dataset.uri, dataset.sha256), columns)


def read_parts(services: Services, split: SplitManifest) -> NDArray[np.int8]:
    """The part code of every snapshot row, see :data:`gauntlet.core.splits.PARTS`."""
    import numpy as np

    table = read_verified(services.blobs.fetch(split.uri, split.sha256), ["part"])
    column = table.column("part").combine_chunks().dictionary_encode()
    names = column.dictionary.to_pylist()
    code = np.array([PARTS.index(name) for name in names] or [0], dtype=np.int8)
    parts: NDArray[np.int8] = code[column.indices.to_numpy(zero_copy_only=False)]
    return parts


def read_verified(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file with its page checksums verified."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=list(columns) if columns else None, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{path}: damaged: {error}") from None
