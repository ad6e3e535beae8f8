"""Compaction as a task: what it made is recorded, what it could not make is an error, a second run does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gauntlet.adapters.journal import JournalFiles
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.journal import Kind, encode_frame, segment_head
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.batch import JournalCompaction
from gauntlet.stages.compact_journal import compact_journal

MODEL = "loans"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    at: datetime

    def now(self) -> datetime:
        return self.at


def segment(folder: Path, worker: str, minute: int, rows: int = 4) -> Path:
    first = int((START + timedelta(minutes=minute)).timestamp() * 1e6)
    frames = [encode_frame([row(first + i)], i, first_us=first + i, last_us=first + i) for i in range(rows)]
    frames.append(encode_frame([], rows, first_us=first + rows, last_us=first + rows, kind=Kind.CLOSED))
    path = folder / MODEL / worker / f"{first:016d}.seg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(segment_head() + b"".join(frames))
    return path


def row(at: int) -> tuple[Any, ...]:
    head = (f"r{at}", at, 0, 1, None, "v", "stable", "e", 5, "hash", 0, 0.5, None, float("nan"))
    return (*head, 1, 9, 1.0, "ok", None, b"12345678", 0, 1.0)


def services(folder: Path, now: datetime) -> Any:
    clock = Clock(now)
    return cast("Any", SimpleNamespace(clock=clock, records=MemoryStore(clock).records, journal=JournalFiles(folder)))


def test_segments_that_ended_more_than_an_hour_ago_become_parquet(tmp_path: Path) -> None:
    segment(tmp_path, "w0", 0)
    segment(tmp_path, "w1", 1)
    young = segment(tmp_path, "w0", 90)
    around = services(tmp_path, START + timedelta(hours=2))
    before = around.journal.read(MODEL, START, START + timedelta(minutes=2)).to_pylist()
    record = compact_journal(around, MODEL)
    assert (record.rows, len(record.files), record.outcome) == (8, 2, Outcome.PASSED)
    assert [path for path in tmp_path.rglob("*.seg")] == [young]
    assert str(around.journal.read(MODEL, START, START + timedelta(minutes=2)).to_pylist()) == str(before)
    assert around.records.get(f"{MODEL}/journal", JournalCompaction) == record
    assert compact_journal(around, MODEL).files == ()


def test_what_could_not_be_compacted_stays_and_is_an_error(tmp_path: Path) -> None:
    damaged = segment(tmp_path, "w0", 0)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    segment(tmp_path, "w1", 0)
    around = services(tmp_path, START + timedelta(hours=2))
    with pytest.raises(InfrastructureError, match="damaged in the middle"):
        compact_journal(around, MODEL)
    assert damaged.exists()
    stored = around.records.get(f"{MODEL}/journal", JournalCompaction)
    assert (stored.outcome, stored.rows, len(stored.refused)) == (Outcome.ERROR, 4, 1)
