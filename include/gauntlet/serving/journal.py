"""The journal's writer: one thread per worker; the request path only appends to a queue.

Every 50 ms the thread takes what is queued, writes it as one checksummed frame per model and fsyncs.
A power cut loses at most that interval; with ``durability: sync`` an answer waits for its fsync.
When the disk does not keep up, the model's overflow policy decides, and a shed row is counted in the
next frame, so that readers know the window is incomplete.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from gauntlet.core.errors import IntegrityError
from gauntlet.core.journal import Kind, encode_frame, scan, segment_head
from gauntlet.core.specs.serving import JournalPolicy

SUFFIX = ".seg"
HEARTBEAT_S = 0.25
"""With nothing to write, how often a segment says that nothing happened."""
CHUNK = 500
"""Rows per frame: more would keep the request path waiting for the interpreter lock."""
STEP_BACK_US = 1_000_000
"""When the machine's clock goes back by more than this, the segments go on in a folder of their own."""

Row = tuple[Any, ...]
_AT = itemgetter(1)


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Stream:
    """The queue and the open segment of one model."""

    def __init__(self, folder: Path, worker: str, policy: JournalPolicy, capacity: int) -> None:
        """Segments go to ``folder/<worker>/<first microsecond>.seg``."""
        self.folder = self._first = folder / worker
        self._turn = 0
        self.policy = policy
        self.queue: deque[Row] = deque()
        self.capacity = capacity
        self.lost = 0
        self.written = 0
        self.observe: Callable[[list[Row]], None] | None = None
        """Told what was written, in the writer's thread."""
        self._file: int | None = None
        self._opened = 0.0
        self._size = 0
        self._sequence = 0
        self._last_us = 0

    @property
    def full(self) -> bool:
        """Whether the overflow policy has to decide."""
        return len(self.queue) >= self.capacity

    def write(self, *, segment_bytes: int, segment_s: float) -> bool:
        """Write what is queued, or a heartbeat when it is time; whether anything has to be fsynced."""
        now = now_us()
        if now < self._last_us - STEP_BACK_US:
            self._start_over()
        rows = _take(self.queue, CHUNK)
        lost, self.lost = self.lost, 0
        if not rows and not lost and self._file is not None and now - self._last_us < HEARTBEAT_S * 1e6:
            return False
        try:
            self._append(rows, lost, now)
        except OSError:
            self.lost += lost + len(rows)
            self._abandon()
            raise
        self.written += len(rows)
        if self.observe is not None:
            self.observe(rows)
        if self._size >= segment_bytes or time.monotonic() - self._opened >= segment_s:
            self.close()
        return bool(rows or lost)

    def _append(self, rows: list[Row], lost: int, now: int) -> None:
        if self._file is None:
            self._open(now)
        first = min(min(map(_AT, rows)), self._last_us) if rows else self._last_us
        last = max(now, max(map(_AT, rows))) if rows else now
        frame = encode_frame(rows, self._sequence, first_us=first, last_us=last, lost=lost)
        self._put(frame)
        self._sequence += 1
        self._last_us = now

    def _start_over(self) -> None:
        """Readers rely on it that times only rise within a folder."""
        with suppress(OSError):
            self.close()
        self._abandon()
        self._turn += 1
        self.folder = self._first.with_name(f"{self._first.name}~{self._turn}")
        self._last_us = 0

    def _open(self, now: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{now:016d}{SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._opened, self._size, self._sequence = time.monotonic(), 0, 0
        self._last_us = self._last_us or now
        self._put(segment_head())
        _sync_folder(self.folder)

    def _put(self, content: bytes) -> None:
        assert self._file is not None
        view = memoryview(content)
        while view:
            view = view[os.write(self._file, view) :]
        self._size += len(content)

    def sync(self) -> None:
        """Fsync the open segment."""
        spilling = self.full and self.policy.overflow == "spill"
        if self._file is not None and not spilling:
            os.fdatasync(self._file)

    def close(self) -> None:
        """Say that this was all, fsync and close."""
        if self._file is None:
            return
        self._put(
            encode_frame(
                [], self._sequence, first_us=self._last_us, last_us=max(now_us(), self._last_us), kind=Kind.CLOSED
            )
        )
        os.fsync(self._file)
        os.close(self._file)
        self._file = None

    def _abandon(self) -> None:
        # After a failed write the file's end is unknown; the next frame goes to a new one.
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


def _take(queue: deque[Row], most: int) -> list[Row]:
    take = queue.popleft
    return [take() for _ in range(min(len(queue), most))]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settle(future: asyncio.Future[bool], synced: bool) -> None:
    if not future.done():
        future.set_result(synced)


class JournalWriter:
    """The writer thread over the streams of all models."""

    def __init__(
        self,
        streams: Iterable[Stream],
        *,
        interval_s: float,
        segment_bytes: int,
        segment_s: float,
        on_error: Callable[[OSError], None],
    ) -> None:
        """``on_error`` is called in the writer's thread; the writer goes on."""
        self.streams = tuple(streams)
        self._interval = interval_s
        self._segment_bytes, self._segment_s = segment_bytes, segment_s
        self._on_error = on_error
        self._wake = threading.Event()
        self._stop = False
        self._durable: deque[Callable[[bool], None]] = deque()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued, close the segments and end the thread."""
        self._stop = True
        self._wake.set()
        self._thread.join()

    def durable(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[bool]:
        """A future that is true once everything queued so far is fsynced, false when that failed."""
        future: asyncio.Future[bool] = loop.create_future()

        def done(synced: bool) -> None:
            loop.call_soon_threadsafe(_settle, future, synced)

        self._durable.append(done)
        self._wake.set()
        return future

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(self._interval)
            self._wake.clear()
            self.flush()
        while any(stream.queue for stream in self.streams):
            if not self.flush():
                break
        for stream in self.streams:
            with suppress(OSError):
                stream.close()

    def flush(self) -> bool:
        """Write and fsync what is queued now; whether that went well."""
        waiting = [self._durable.popleft() for _ in range(len(self._durable))]
        good = True
        for stream in self.streams:
            good = self._flush_stream(stream) and good
        for done in waiting:
            with suppress(RuntimeError):
                done(good)
        return good

    def _write(self, stream: Stream) -> bool:
        return stream.write(segment_bytes=self._segment_bytes, segment_s=self._segment_s)

    def _flush_stream(self, stream: Stream) -> bool:
        try:
            wrote = self._write(stream)
            while stream.queue and wrote:
                # Let the request path have the interpreter between frames.
                time.sleep(0)
                self._write(stream)
            if wrote:
                stream.sync()
        except OSError as error:
            self._on_error(error)
            return False
        return True


def repair(folder: Path) -> list[Path]:
    """Cut torn tails of segments that nobody writes any more and mark them; the ones it mended.

    Only for a worker that is known to be dead: its folder's segments without closing frame get one that
    says rows up to a flush interval may be missing.
    """
    mended = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        content = path.read_bytes()
        try:
            segment = scan(content)
        except IntegrityError:
            path.rename(path.with_suffix(".unreadable"))
            mended.append(path)
            continue
        ended = segment.frames and segment.frames[-1].kind in (Kind.CLOSED, Kind.REPAIRED)
        if ended and not segment.torn_bytes:
            continue
        last = segment.frames[-1].last_us if segment.frames else int(path.stem)
        until = max(last, int(path.stat().st_mtime * 1e6))
        end = encode_frame([], len(segment.frames), first_us=last, last_us=until, kind=Kind.REPAIRED)
        with path.open("r+b") as file:
            file.truncate(segment.valid_bytes)
            file.seek(segment.valid_bytes)
            file.write(end)
            file.flush()
            os.fsync(file.fileno())
        mended.append(path)
    return mended
