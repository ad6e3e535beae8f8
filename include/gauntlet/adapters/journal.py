"""The prediction journal as Arrow tables, from the segments of all workers and the Parquet made of old ones.

A window is *complete* when every worker that wrote in it vouches for all of it. What breaks that is said
in the table's schema metadata under ``incomplete``: one sentence per cause, empty when there is none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import IntegrityError
from gauntlet.core.journal import COLUMNS, INCOMPLETE, Frame, Kind, Segment, decode_columns, scan
from gauntlet.core.ports import CompactedJournal

if TYPE_CHECKING:
    import pyarrow as pa

SEGMENTS = "*/*.seg"
COMPACTED = "compacted"
GRACE_US = 250_000
"""A row is journaled up to this long after its request came."""
WAIT_S = 2.0
"""How long a reader waits for live workers to vouch for a window that ends now."""
WAIT_STEP_S = 0.05
MARKS = b"marks"


@dataclass
class _Part:
    """What one segment or file gives to a window."""

    tables: list[pa.Table] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    behind: bool = False


class JournalFiles:
    """Implements :class:`~gauntlet.core.ports.JournalReader` over the journal's folder."""

    def __init__(self, folder: Path) -> None:
        """``folder``: as the server's ``journal``: one folder per model, one per worker in it."""
        self.folder = folder

    def read(self, model: str, since: datetime, until: datetime, rollout: str | None = None) -> pa.Table:
        """Rows with ``since <= at <= until``, in order of arrival, all of :data:`gauntlet.core.journal.COLUMNS`.

        ``at`` is a UTC timestamp, ``decision`` null where there is none. Where the window ends about now, waits
        up to two seconds for the workers' next flush.
        """
        import pyarrow as pa

        window = (_microseconds(since), _microseconds(until))
        deadline = time.monotonic() + WAIT_S
        while True:
            parts = self._parts(model, window)
            if not any(part.behind for part in parts) or time.monotonic() > deadline:
                break
            time.sleep(WAIT_STEP_S)
        table = pa.concat_tables([_empty(), *(table for part in parts for table in part.tables)])
        if rollout is not None:
            import pyarrow.compute as pc

            table = table.filter(pc.equal(table.column("rollout"), rollout))
        causes = [cause for part in parts for cause in part.causes]
        return table.sort_by("at").replace_schema_metadata({INCOMPLETE: "; ".join(causes).encode()})

    def ended_before(self, model: str, before: datetime) -> list[tuple[str, str]]:
        """Name and SHA-256 of the files whose newest row is older than a time.

        A segment counts once its worker has closed it; one that is damaged throughout never does.
        """
        root, edge = self.folder / model, _microseconds(before)
        found = [path for path in sorted(root.glob(SEGMENTS)) if _ended_by(_scan(path), edge)]
        found += [path for path in sorted((root / COMPACTED).glob("*/*.parquet")) if _span(path)[1] < edge]
        return [(path.relative_to(root).as_posix(), sha256_file(path)) for path in found]

    def remove(self, model: str, name: str) -> None:
        """Delete such a file, and its day's folder when that is empty then."""
        root = self.folder / model
        path = root / name
        if ".." in path.parts:
            raise IntegrityError(f"{name!r} is no file of the journal")
        path.unlink(missing_ok=True)
        if path.parent.parent.name == COMPACTED and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def compact(self, model: str, before: datetime) -> CompactedJournal:
        """Turn segments that ended before a time into Parquet, one file each, partitioned by day.

        A segment goes only after its Parquet is durable and has been read back equal; what it said about lost rows
        goes along. Safe to repeat and to be killed: an interrupted run leaves the segment, and its Parquet is
        written again. A segment that is damaged in the middle stays as it is.
        """
        files, rows, refused = [], 0, []
        for path in sorted((self.folder / model).glob(SEGMENTS)):
            segment = _scan(path)
            if segment is None or not _ended_by(segment, _microseconds(before)):
                continue
            if segment.corrupt:
                refused.append(f"{path.parent.name}/{path.name}: damaged in the middle; kept as it is")
                continue
            try:
                made = _write_compacted(self.folder / model, path, segment)
            except IntegrityError as error:
                refused.append(str(error))
                continue
            path.unlink()
            files.append(made.relative_to(self.folder / model).as_posix())
            rows += sum(frame.rows for frame in segment.frames)
        return CompactedJournal(tuple(files), rows, tuple(refused))

    def _parts(self, model: str, window: tuple[int, int]) -> list[_Part]:
        root = self.folder / model
        segments = {path: _read_segment(path, window) for path in _overlapping(root.glob(SEGMENTS), window)}
        # What was read as a segment is not read again as the Parquet that a compaction makes of it meanwhile.
        seen = {path for path, part in segments.items() if part is not None}
        compacted = [_read_compacted(path, window, seen) for path in sorted((root / COMPACTED).glob("*/*.parquet"))]
        return [part for part in (*segments.values(), *compacted) if part is not None]


# ---- segments --------------------------------------------------------------------------------------


def _overlapping(paths: Iterable[Path], window: tuple[int, int]) -> list[Path]:
    """Segments that may hold rows of the window: a worker's next segment begins where its last one ended."""
    chosen = []
    by_worker: dict[Path, list[Path]] = {}
    for path in sorted(paths):
        by_worker.setdefault(path.parent, []).append(path)
    for files in by_worker.values():
        ends = [int(after.stem) for _, after in pairwise(files)] + [None]
        for path, end in zip(files, ends, strict=True):
            if int(path.stem) - GRACE_US <= window[1] and (end is None or end >= window[0]):
                chosen.append(path)
    return chosen


def _scan(path: Path) -> Segment | None:
    try:
        return scan(path.read_bytes())
    except (IntegrityError, FileNotFoundError):
        return None


def _ended_by(segment: Segment | None, edge: int) -> bool:
    return segment is not None and _ended(segment) and segment.frames[-1].last_us < edge


def _span(path: Path) -> tuple[int, int]:
    """First and last microsecond that a compacted file speaks for."""
    import pyarrow.parquet as pq

    first, last = json.loads(pq.read_schema(path).metadata[MARKS])["span"]
    return int(first), int(last)


def _ended(segment: Segment) -> bool:
    return bool(segment.frames) and segment.frames[-1].kind in (Kind.CLOSED, Kind.REPAIRED)


def _read_segment(path: Path, window: tuple[int, int]) -> _Part | None:
    try:
        segment = scan(path.read_bytes())
    except FileNotFoundError:
        return None  # Compacted meanwhile; the Parquet has it.
    except IntegrityError as error:
        return _Part(causes=[f"{path}: {error}"])
    frames = [frame for frame in segment.frames if frame.rows and _overlap(frame.first_us, frame.last_us, window)]
    tables = [_within(_table(frames, segment.columns), window)] if frames else []
    part = _Part(tables, [f"{path.parent.name}: {text}" for text in _causes(_marks(segment), window)])
    reached = segment.frames[-1].last_us if segment.frames else int(path.stem)
    if not _ended(segment) and reached < window[1] + GRACE_US:
        since = datetime.fromtimestamp(reached / 1e6, UTC)
        part.behind = True
        part.causes.append(f"{path.parent.name}: written up to {since:%H:%M:%S.%f} only")
    return part


def _marks(segment: Segment) -> list[tuple[int, int, str]]:
    """(first, last microsecond, what) of each thing that is missing."""
    marks = [(f.first_us, f.last_us, f"{f.lost} rows shed") for f in segment.frames if f.lost]
    marks += [
        (f.first_us, f.last_us, "ended without closing: up to a flush interval of rows may be missing")
        for f in segment.frames
        if f.kind == Kind.REPAIRED
    ]
    if segment.corrupt and segment.frames:
        marks.append((segment.frames[0].first_us, segment.frames[-1].last_us, "damaged in the middle"))
    return marks


def _causes(marks: Sequence[Sequence[Any]], window: tuple[int, int]) -> list[str]:
    return [str(what) for first, last, what in marks if _overlap(int(first), int(last), window)]


def _overlap(first: int, last: int, window: tuple[int, int]) -> bool:
    return first <= window[1] and last >= window[0]


# ---- tables ----------------------------------------------------------------------------------------


def _types() -> dict[str, Any]:
    import pyarrow as pa

    kinds = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "word": pa.string(), "bytes": pa.binary()}
    return {name: kinds[kind] for name, kind in COLUMNS} | {"at": pa.timestamp("us", "UTC")}


def _empty() -> pa.Table:
    import pyarrow as pa

    return pa.schema(list(_types().items())).empty_table()


def _table(frames: Sequence[Frame], columns: Sequence[tuple[str, str]]) -> pa.Table:
    """All rows of some frames; one table per frame costs several times as much when frames have few rows."""
    import numpy as np
    import pyarrow as pa

    decoded = _joined([decode_columns(frame, columns) for frame in frames])
    rows = sum(frame.rows for frame in frames)
    arrays = {}
    for name, kind in _types().items():
        values = decoded.get(name)
        if values is None:
            arrays[name] = pa.nulls(rows, kind)
        elif isinstance(values, list):
            arrays[name] = pa.array(values, kind)
        else:
            plain = np.frombuffer(values, dtype="<i8" if values.typecode == "q" else "<f8")
            mask = plain < 0 if name == "decision" else None
            arrays[name] = pa.array(plain.astype("datetime64[us]") if name == "at" else plain, mask=mask).cast(kind)
    return pa.table(arrays)


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Columns of several frames end to end; they come from one segment and so have the same columns."""
    whole = parts[0]
    for part in parts[1:]:
        for name, values in whole.items():
            values.extend(part[name])
    return whole


def _within(table: pa.Table, window: tuple[int, int]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    at = table.column("at")
    first, last = (pa.scalar(edge, at.type) for edge in window)
    return table.filter(pc.and_(pc.greater_equal(at, first), pc.less_equal(at, last)))


# ---- compacted -------------------------------------------------------------------------------------


def _write_compacted(root: Path, path: Path, segment: Segment) -> Path:
    import os

    import pyarrow as pa
    import pyarrow.parquet as pq

    first = int(path.stem)
    day = datetime.fromtimestamp(first / 1e6, UTC)
    target = root / COMPACTED / f"day={day:%Y-%m-%d}" / f"{path.parent.name}-{path.stem}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    frames = [frame for frame in segment.frames if frame.rows]
    table = pa.concat_tables([_empty(), *([_table(frames, segment.columns)] if frames else [])])
    span = [min(frame.first_us for frame in segment.frames), segment.frames[-1].last_us]
    marks = {"span": span, "marks": _marks(segment), "worker": path.parent.name}
    temporary = target.with_suffix(".tmp")
    table = table.replace_schema_metadata({MARKS: json.dumps(marks).encode()})
    pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    if not _same(table, pq.read_table(temporary, page_checksum_verification=True)):
        temporary.unlink()
        raise IntegrityError(f"{path.parent.name}/{path.name}: its Parquet does not read back as it was written")
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return target


def _same(table: pa.Table, other: pa.Table) -> bool:
    """Equal in schema, metadata and every bit of every column; NaN equals NaN."""
    import pyarrow.types as types

    if not table.schema.equals(other.schema, check_metadata=True) or table.num_rows != other.num_rows:
        return False
    for name, column in zip(table.schema.names, table.columns, strict=True):
        mine, theirs = column.combine_chunks(), other.column(name).combine_chunks()
        if types.is_float64(mine.type):
            mine, theirs = mine.view("int64"), theirs.view("int64")
        if not mine.equals(theirs):
            return False
    return True


def _read_compacted(path: Path, window: tuple[int, int], seen: Set[Path]) -> _Part | None:
    import pyarrow.parquet as pq

    day = datetime.strptime(path.parent.name, "day=%Y-%m-%d").replace(tzinfo=UTC)
    if _microseconds(day) > window[1] or _microseconds(day + timedelta(days=2)) < window[0]:
        return None
    segment = path.parents[2] / path.stem.rpartition("-")[0] / f"{path.stem.rpartition('-')[2]}.seg"
    if segment in seen or segment.exists():
        return None  # An interrupted compaction: the segment still counts.
    told = json.loads(pq.read_schema(path).metadata[MARKS])
    first, last = told["span"]
    if not _overlap(first, last, window):
        return None
    table = _as_now(pq.read_table(path, page_checksum_verification=True).replace_schema_metadata(None))
    causes = [f"{told['worker']}: {text}" for text in _causes(told["marks"], window)]
    return _Part([_within(table, window)], causes)


def _as_now(table: pa.Table) -> pa.Table:
    """With the columns of today, in their order: null where a file is older than one of them."""
    import pyarrow as pa

    held = set(table.column_names)
    return pa.table({
        name: table.column(name) if name in held else pa.nulls(table.num_rows, kind) for name, kind in _types().items()
    })


def _microseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
