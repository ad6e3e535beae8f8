"""The bytes of the prediction journal: framed, checksummed, columnar; a torn tail is found and cut.

A *segment* is one file of one worker for one model: a header with the schema, then *frames*. A frame
holds the rows of one flush, column by column, because that is what costs least on both sides: about a
microsecond per row to write, and a few array copies to read. Each frame carries the CRC-32 of its
header and payload, a sequence number, the time span it covers and how many rows were lost in it.

A reader walks the frames. Bytes after the last good frame are a *torn tail* when no good frame
follows (a crash in the middle of a write) and *corruption* when one does. A segment is *closed* by a
frame that says so; one without it ended with its process, and up to a flush interval of rows with it.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from gauntlet.core.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"GJSEG01\n"
FRAME = b"GJF1"
_HEAD = struct.Struct("<8sII")
"""Magic, length and CRC-32 of the schema."""
_FRAME = struct.Struct("<4sIIIIIIqq")
"""Magic, CRC-32 of all that follows, payload length, sequence, kind, rows, lost, first and last microsecond."""
_BLOCK = struct.Struct("<I")
_NULL = 0xFFFF_FFFF


INCOMPLETE = b"incomplete"
"""Under this key of its schema's metadata a window of the journal says what it lacks."""


def lacking(table: pa.Table) -> str:
    """What a window of the journal lacks, in words; empty when its writers vouch for all of it."""
    return str((table.schema.metadata or {}).get(INCOMPLETE, b"").decode())


class Kind:
    """What a frame says."""

    ROWS = 0
    """Rows, or with none of them: nothing happened up to ``last_us``."""
    CLOSED = 1
    """The worker closed this segment; nothing of it is missing."""
    REPAIRED = 2
    """The worker died; this was appended on the next start. Rows up to a flush interval may be missing."""


COLUMNS: tuple[tuple[str, str], ...] = (
    ("request_id", "text"),
    ("at", "int"),
    ("row", "int"),
    ("epoch", "int"),
    ("rollout", "word"),
    ("version_id", "word"),
    ("arm", "word"),
    ("entity", "text"),
    ("bucket", "int"),
    ("basis", "word"),
    ("weight_ppm", "int"),
    ("score", "float"),
    ("other_version_id", "word"),
    ("other_score", "float"),
    ("decision", "int"),
    ("latency_us", "int"),
    ("model_us", "float"),
    ("status", "word"),
    ("error", "word"),
    ("features", "bytes"),
    ("explored", "int"),
    ("propensity", "float"),
)
"""Columns of a prediction, in the order of a row tuple; see :class:`Prediction` for their meaning."""

SCHEMA = json.dumps(COLUMNS, separators=(",", ":")).encode()


class Prediction(NamedTuple):
    """One answered row."""

    request_id: str
    at: int
    """Microseconds since 1970, when the request came."""
    row: int
    """Index in its request."""
    epoch: int
    rollout: str | None
    version_id: str
    """The version of the row's *arm*: the one the outcome counts for."""
    arm: str
    entity: str | None
    bucket: int
    basis: str
    """``hash``, ``request`` or ``listed``: only the first two are random draws."""
    weight_ppm: int
    score: float
    """What the client was answered; with status ``fallback`` that is the other version's score."""
    other_version_id: str | None
    other_score: float
    """The score of the version that did not answer; NaN where it was not scored or not valid."""
    decision: int
    """As it was given. Binary: 0 or 1; multiclass: class code; -1: none."""
    latency_us: int
    model_us: float
    """Time in the arm's own model, NaN where it was not measured."""
    status: str
    error: str | None
    """Why a row is not ``ok``; of a good row: ``slow``, or what kept the challenger from scoring it as well."""
    features: bytes | None
    explored: int = 0
    """1: the decision was drawn by the exploration reserve, not taken by the model; the score is the model's."""
    propensity: float = 1.0
    """The probability with which this decision is given to this row; 1 without a reserve."""


class Status:
    """How a row ended for its arm. Everything but ``ok`` is an error of ``version_id``."""

    OK = "ok"
    FALLBACK = "fallback"
    """The challenger failed and the champion answered; the client saw no error."""
    ERROR = "error"
    """The champion failed; the client saw it."""


SHADOW_FAILED = "other: "
"""The ``error`` of a good row whose other version, the challenger, failed to score it begins with this."""


def hashed_entity(entity: str) -> str:
    """An entity as the journal keeps it with ``entity: hash``: 64 bits of BLAKE2b."""
    return blake2b(entity.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Frame:
    """One frame's header and payload."""

    sequence: int
    kind: int
    rows: int
    lost: int
    first_us: int
    last_us: int
    payload: memoryview


@dataclass(frozen=True)
class Segment:
    """What a scan found: good frames, how far the file is good, and what is wrong with the rest."""

    columns: tuple[tuple[str, str], ...]
    frames: tuple[Frame, ...]
    valid_bytes: int
    torn_bytes: int
    corrupt: bool

    @property
    def closed(self) -> bool:
        """Whether the worker said that this was all."""
        return bool(self.frames) and self.frames[-1].kind == Kind.CLOSED

    @property
    def lost(self) -> int:
        """Rows that the worker knows it dropped."""
        return sum(frame.lost for frame in self.frames)


def segment_head() -> bytes:
    """The first bytes of a segment."""
    return _HEAD.pack(MAGIC, len(SCHEMA), zlib.crc32(SCHEMA)) + SCHEMA


def encode_frame(
    rows: Sequence[tuple[Any, ...]],
    sequence: int,
    *,
    first_us: int,
    last_us: int,
    lost: int = 0,
    kind: int = Kind.ROWS,
) -> bytes:
    """One frame of rows in :data:`COLUMNS` order, covering the given span of time."""
    payload = b""
    if rows:
        blocks = [_ENCODERS[form](values) for (_, form), values in zip(COLUMNS, zip(*rows, strict=True), strict=True)]
        payload = b"".join(part for block in blocks for part in (_BLOCK.pack(len(block)), block))
    head = _FRAME.pack(FRAME, 0, len(payload), sequence, kind, len(rows), lost, first_us, last_us)
    checksum = zlib.crc32(payload, zlib.crc32(head[8:]))
    return b"".join((FRAME, _BLOCK.pack(checksum), head[8:], payload))


def scan(content: bytes) -> Segment:
    """Walk a segment's frames; :class:`IntegrityError` only when not even its head is readable."""
    columns, position = _read_head(content)
    view = memoryview(content)
    frames: list[Frame] = []
    corrupt = False
    end = position
    while position < len(content):
        found = _frame_at(view, position)
        if found is None:
            resume = _next_frame(content, position + 1)
            if resume is None:
                break
            corrupt, position = True, resume
            continue
        frame, position = found
        corrupt = corrupt or frame.sequence != len(frames)
        frames.append(frame)
        end = position
    return Segment(columns, tuple(frames), end, len(content) - end, corrupt)


def decode_columns(frame: Frame, columns: Sequence[tuple[str, str]]) -> dict[str, list[Any] | array[Any]]:
    """A frame's rows by column: arrays for numbers, lists with ``None`` for the rest."""
    decoded: dict[str, list[Any] | array[Any]] = {}
    position = 0
    for name, kind in columns:
        (length,) = _BLOCK.unpack_from(frame.payload, position)
        position += _BLOCK.size
        decoded[name] = _DECODERS[kind](frame.payload[position : position + length], frame.rows)
        position += length
    return decoded


def _read_head(content: bytes) -> tuple[tuple[tuple[str, str], ...], int]:
    if len(content) < _HEAD.size:
        raise IntegrityError("journal segment is shorter than its head")
    magic, length, checksum = _HEAD.unpack_from(content)
    schema = content[_HEAD.size : _HEAD.size + length]
    if magic != MAGIC or zlib.crc32(schema) != checksum or len(schema) != length:
        raise IntegrityError("journal segment has a damaged head")
    return tuple((name, kind) for name, kind in json.loads(schema)), _HEAD.size + length


def _frame_at(view: memoryview, position: int) -> tuple[Frame, int] | None:
    start = position + _FRAME.size
    if start > len(view):
        return None
    magic, checksum, length, sequence, kind, rows, lost, first, last = _FRAME.unpack_from(view, position)
    end = start + length
    if magic != FRAME or end > len(view):
        return None
    if zlib.crc32(view[position + 8 : end]) != checksum:
        return None
    return Frame(sequence, kind, rows, lost, first, last, view[start:end]), end


def _next_frame(content: bytes, position: int) -> int | None:
    view = memoryview(content)
    while (position := content.find(FRAME, position)) >= 0:
        if _frame_at(view, position) is not None:
            return position
        position += 1
    return None


def _little(values: array[Any]) -> bytes:
    if sys.byteorder != "little":  # pragma: no cover
        values.byteswap()
    return values.tobytes()


def _ints(values: Sequence[int]) -> bytes:
    return _little(array("q", values))


def _floats(values: Sequence[float]) -> bytes:
    return _little(array("d", values))


def _bytes(values: Sequence[bytes | None]) -> bytes:
    lengths = array("I", [_NULL if value is None else len(value) for value in values])
    return b"".join((_little(lengths), *[value for value in values if value]))


def _texts(values: Sequence[str | None]) -> bytes:
    return _bytes([None if value is None else value.encode("utf-8", "surrogatepass") for value in values])


def _words(values: Sequence[str | None]) -> bytes:
    distinct = dict.fromkeys(values)
    words = _texts(list(distinct))
    head = _BLOCK.pack(len(distinct)) + _BLOCK.pack(len(words)) + words
    if len(distinct) == 1:
        return head
    codes = {value: code for code, value in enumerate(distinct)}
    return head + _little(array("I", [codes[value] for value in values]))


def _array(code: str, block: memoryview) -> array[Any]:
    values: array[Any] = array(code)
    values.frombytes(block)
    if sys.byteorder != "little":  # pragma: no cover
        values.byteswap()
    return values


def _split(block: memoryview, rows: int) -> Iterator[bytes | None]:
    lengths = _array("I", block[: 4 * rows])
    position = 4 * rows
    for length in lengths:
        if length == _NULL:
            yield None
        else:
            yield bytes(block[position : position + length])
            position += length


def _read_texts(block: memoryview, rows: int) -> list[str | None]:
    return [None if value is None else value.decode("utf-8", "surrogatepass") for value in _split(block, rows)]


def _read_words(block: memoryview, rows: int) -> list[str | None]:
    (count,) = _BLOCK.unpack_from(block)
    (length,) = _BLOCK.unpack_from(block, 4)
    words = _read_texts(block[8 : 8 + length], count)
    if count == 1:
        return words * rows
    return [words[code] for code in _array("I", block[8 + length :])]


_ENCODERS: dict[str, Any] = {"int": _ints, "float": _floats, "text": _texts, "bytes": _bytes, "word": _words}
_DECODERS: dict[str, Any] = {
    "int": lambda block, _: _array("q", block),
    "float": lambda block, _: _array("d", block),
    "text": _read_texts,
    "bytes": lambda block, rows: list(_split(block, rows)),
    "word": _read_words,
}
