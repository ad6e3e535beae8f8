"""Reading the journal: every row once, and every gap marked."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gauntlet.adapters.journal import INCOMPLETE, JournalFiles
from gauntlet.core.errors import IntegrityError
from gauntlet.core.journal import Kind, Prediction, encode_frame, scan, segment_head
from gauntlet.core.specs.serving import JournalPolicy
from gauntlet.serving.journal import JournalWriter, Stream, now_us, repair

MODEL = "loans"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
START_US = int(START.timestamp() * 1e6)


def a_row(at: int, **changes: Any) -> Prediction:
    row: dict[str, Any] = {
        "request_id": f"r{at}",
        "at": at,
        "row": 0,
        "epoch": 3,
        "rollout": "roll",
        "version_id": "v",
        "arm": "stable",
        "entity": "e",
        "bucket": 17,
        "basis": "hash",
        "weight_ppm": 10_000,
        "score": 0.25,
        "other_version_id": None,
        "other_score": math.nan,
        "decision": 1,
        "latency_us": 40,
        "model_us": 4.0,
        "status": "ok",
        "error": None,
        "features": None,
    }
    return Prediction(**(row | changes))


def write_segment(
    folder: Path, rows: list[Prediction], *, worker: str = "w0", lost: int = 0, end: int | None = Kind.CLOSED
) -> Path:
    """One segment from START, one frame per row, covering a second."""
    path = folder / MODEL / worker / f"{START_US:016d}.seg"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [encode_frame([row], i, first_us=row.at, last_us=row.at) for i, row in enumerate(rows)]
    if lost:
        at = START_US + 500_000
        frames.append(encode_frame([], len(frames), first_us=at, last_us=at + 1, lost=lost))
    if end is not None:
        until = START_US + 1_000_000
        frames.append(encode_frame([], len(frames), first_us=until - 1000, last_us=until, kind=end))
    path.write_bytes(segment_head() + b"".join(frames))
    return path


def seconds(value: float) -> datetime:
    return START + timedelta(seconds=value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_rows_of_all_workers_in_order_and_within_the_window(folder: Path) -> None:
    write_segment(folder, [a_row(START_US + t) for t in (100, 300, 900_000)], worker="w0")
    write_segment(folder, [a_row(START_US + t, rollout="other") for t in (200, 400)], worker="w1")
    journal = JournalFiles(folder)
    table = journal.read(MODEL, START, seconds(0.001))
    assert [at.microsecond for at in table.column("at").to_pylist()] == [100, 200, 300, 400]
    assert table.schema.metadata[INCOMPLETE] == b""
    assert journal.read(MODEL, START, seconds(0.001), "other").num_rows == 2
    assert journal.read(MODEL, seconds(5), seconds(6)).num_rows == 0
    assert journal.read("nobody", START, seconds(1)).num_rows == 0


def test_columns_have_their_types(folder: Path) -> None:
    write_segment(folder, [a_row(START_US), a_row(START_US + 1, decision=-1, features=b"ab")])
    table = JournalFiles(folder).read(MODEL, START, seconds(1))
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    assert table.column("decision").to_pylist() == [1, None]
    assert table.column("features").to_pylist() == [None, b"ab"]
    assert table.column("entity").to_pylist() == ["e", "e"]


def test_what_was_compacted_before_a_column_existed_is_still_read(folder: Path) -> None:
    write_segment(folder, [a_row(START_US), a_row(START_US + 1)])
    journal = JournalFiles(folder)
    (made,) = journal.compact(MODEL, START + timedelta(days=1)).files
    path = folder / MODEL / made
    pq.write_table(pq.read_table(path).drop_columns(["explored", "propensity"]), path)
    write_segment(folder, [a_row(START_US + 2, explored=1, propensity=0.01)], worker="w1")
    table = journal.read(MODEL, START, seconds(1))
    assert table.column("explored").to_pylist() == [None, None, 1]
    assert table.column("propensity").to_pylist() == [None, None, 0.01]
    assert table.column_names[-2:] == ["explored", "propensity"]


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda folder: write_segment(folder, [a_row(START_US)], lost=12), "12 rows shed"),
        (lambda folder: write_segment(folder, [a_row(START_US)], end=Kind.REPAIRED), "ended without closing"),
        (lambda folder: write_segment(folder, [a_row(START_US)], end=None), "written up to"),
    ],
)
def test_a_gap_marks_the_window(
    folder: Path, write: Callable[[Path], Path], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gauntlet.adapters.journal.WAIT_S", 0.0)
    write(folder)
    table = JournalFiles(folder).read(MODEL, START, seconds(1))
    assert table.num_rows == 1
    assert says in table.schema.metadata[INCOMPLETE].decode()


def test_a_gap_outside_the_window_does_not_mark_it(folder: Path) -> None:
    write_segment(folder, [a_row(START_US)], lost=12)
    table = JournalFiles(folder).read(MODEL, START, seconds(0.1))
    assert table.schema.metadata[INCOMPLETE] == b""


def test_damage_in_the_middle_marks_the_window(folder: Path) -> None:
    path = write_segment(folder, [a_row(START_US + t) for t in range(3)])
    content = bytearray(path.read_bytes())
    content[len(segment_head()) + 60] ^= 4
    path.write_bytes(content)
    table = JournalFiles(folder).read(MODEL, START, seconds(1))
    assert table.num_rows == 2
    assert b"damaged" in table.schema.metadata[INCOMPLETE]


def test_a_torn_tail_is_cut_and_marked_by_repair(folder: Path) -> None:
    path = write_segment(folder, [a_row(START_US + t) for t in range(3)], end=None)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(encode_frame([a_row(START_US + 9)], 3, first_us=0, last_us=1)[:-5])
    assert repair(path.parent) == [path]
    segment = scan(path.read_bytes())
    assert segment.torn_bytes == 0
    assert [frame.kind for frame in segment.frames] == [Kind.ROWS] * 3 + [Kind.REPAIRED]
    assert path.stat().st_size > whole
    assert repair(path.parent) == []
    table = JournalFiles(folder).read(MODEL, START, seconds(1))
    assert table.num_rows == 3
    assert b"ended without closing" in table.schema.metadata[INCOMPLETE]


def test_repair_sets_an_unreadable_segment_aside(folder: Path) -> None:
    path = write_segment(folder, [a_row(START_US)])
    path.write_bytes(b"nothing of the kind")
    assert repair(path.parent) == [path]
    assert not path.exists()
    assert path.with_suffix(".unreadable").exists()


def test_compaction_keeps_every_row_and_every_mark(folder: Path) -> None:
    write_segment(folder, [a_row(START_US + t) for t in range(5)], lost=3)
    write_segment(folder, [a_row(START_US + 7)], worker="w1", end=None)
    before = JournalFiles(folder).read(MODEL, START, seconds(0.7)).to_pylist()
    made = JournalFiles(folder).compact(MODEL, seconds(60))
    assert [Path(name).parts[:2] for name in made.files] == [("compacted", "day=2026-03-01")]
    assert made.rows == 5
    assert not list((folder / MODEL / "w0").glob("*.seg"))
    assert list((folder / MODEL / "w1").glob("*.seg")), "a segment that has not ended stays"
    table = JournalFiles(folder).read(MODEL, START, seconds(0.7))
    assert str(table.to_pylist()) == str(before)
    assert b"3 rows shed" in table.schema.metadata[INCOMPLETE]
    assert JournalFiles(folder).compact(MODEL, seconds(60)).files == ()


def test_an_interrupted_compaction_counts_no_row_twice(folder: Path) -> None:
    path = write_segment(folder, [a_row(START_US + t) for t in range(5)])
    content = path.read_bytes()
    JournalFiles(folder).compact(MODEL, seconds(60))
    path.write_bytes(content)
    assert JournalFiles(folder).read(MODEL, START, seconds(1)).num_rows == 5
    JournalFiles(folder).compact(MODEL, seconds(60))
    assert JournalFiles(folder).read(MODEL, START, seconds(1)).num_rows == 5


def test_a_segment_stays_until_its_parquet_has_been_read_back_equal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    path = write_segment(folder, [a_row(START_US + t) for t in range(5)])
    write = pyarrow.parquet.write_table

    def rotten(table: Any, where: Any, **options: Any) -> None:
        write(table.set_column(11, "score", table.column("other_score")), where, **options)

    monkeypatch.setattr("pyarrow.parquet.write_table", rotten)
    refused = JournalFiles(folder).compact(MODEL, seconds(60))
    assert (refused.files, refused.rows) == ((), 0)
    assert "does not read back" in refused.refused[0]
    assert path.exists()
    assert not list((folder / MODEL / "compacted").rglob("*.parquet"))
    monkeypatch.undo()
    assert JournalFiles(folder).compact(MODEL, seconds(60)).rows == 5


def test_a_segment_damaged_in_the_middle_is_kept_as_it_is(folder: Path) -> None:
    path = write_segment(folder, [a_row(START_US + t) for t in range(5)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused = JournalFiles(folder).compact(MODEL, seconds(60)).refused
    assert "damaged in the middle" in refused[0]
    assert path.read_bytes() == bytes(content)


def test_a_segment_compacted_while_it_is_read_counts_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gauntlet.adapters import journal

    write_segment(folder, [a_row(START_US + t) for t in range(5)])
    read = journal._read_segment

    def read_then_compact(path: Path, window: tuple[int, int]) -> Any:
        part = read(path, window)
        JournalFiles(folder).compact(MODEL, seconds(60))
        return part

    monkeypatch.setattr(journal, "_read_segment", read_then_compact)
    assert JournalFiles(folder).read(MODEL, START, seconds(1)).num_rows == 5
    monkeypatch.undo()
    assert JournalFiles(folder).read(MODEL, START, seconds(1)).num_rows == 5


# ---- with the real writer --------------------------------------------------------------------------


def writer_of(
    folder: Path, policy: JournalPolicy | None = None, **limits: Any
) -> tuple[Stream, JournalWriter, list[OSError]]:
    stream = Stream(folder / MODEL, "w0", policy or JournalPolicy(), limits.pop("capacity", 1000))
    errors: list[OSError] = []
    settings = {"interval_s": 0.02, "segment_bytes": 1 << 20, "segment_s": 60.0} | limits
    return stream, JournalWriter([stream], on_error=errors.append, **settings), errors


def test_the_writer_closes_what_it_wrote(folder: Path) -> None:
    stream, writer, errors = writer_of(folder)
    writer.start()
    since = datetime.now(UTC)
    stream.queue.extend(a_row(now_us()) for _ in range(500))
    writer.stop()
    table = JournalFiles(folder).read(MODEL, since - timedelta(seconds=1), datetime.now(UTC))
    assert table.num_rows == 500
    assert table.schema.metadata[INCOMPLETE] == b""
    assert errors == []


def test_a_reader_waits_for_a_live_worker_to_vouch_for_now(folder: Path) -> None:
    stream, writer, _ = writer_of(folder)
    writer.start()
    try:
        time.sleep(0.1)
        since = datetime.now(UTC)
        stream.queue.append(a_row(now_us()))
        table = JournalFiles(folder).read(MODEL, since, datetime.now(UTC))
        assert table.num_rows == 1
        assert table.schema.metadata[INCOMPLETE] == b""
    finally:
        writer.stop()


def test_segments_rotate_and_stay_complete(folder: Path) -> None:
    stream, writer, _ = writer_of(folder, segment_bytes=20_000)
    writer.start()
    since = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(10):
        stream.queue.extend(a_row(now_us()) for _ in range(100))
        time.sleep(0.03)
    writer.stop()
    assert len(list((folder / MODEL / "w0").glob("*.seg"))) > 1
    table = JournalFiles(folder).read(MODEL, since, datetime.now(UTC))
    assert (table.num_rows, table.schema.metadata[INCOMPLETE]) == (1000, b"")


def test_a_full_disk_loses_rows_but_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, writer, errors = writer_of(folder)
    real = os.write
    full = True

    def write(descriptor: int, content: Any) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return real(descriptor, content)

    monkeypatch.setattr("gauntlet.serving.journal.os.write", write)
    since = datetime.now(UTC) - timedelta(seconds=1)
    stream.queue.extend(a_row(now_us()) for _ in range(10))
    assert writer.flush() is False
    full = False
    stream.queue.extend(a_row(now_us()) for _ in range(5))
    assert writer.flush() is True
    stream.close()
    assert len(errors) == 1
    table = JournalFiles(folder).read(MODEL, since, datetime.now(UTC))
    assert table.num_rows == 5
    assert "10 rows shed" in table.schema.metadata[INCOMPLETE].decode()


def test_only_files_that_ended_before_are_offered_for_deletion(folder: Path) -> None:
    old = write_segment(folder, [a_row(START_US + 100)], worker="w0")
    write_segment(folder, [a_row(START_US + 100)], worker="w1", end=None)  # its worker still writes
    journal = JournalFiles(folder)
    assert journal.ended_before(MODEL, seconds(1)) == []
    assert [name for name, _ in journal.ended_before(MODEL, seconds(2))] == ["w0/" + old.name]
    journal.compact(MODEL, seconds(2))
    [(name, digest)] = journal.ended_before(MODEL, seconds(2))
    compacted = folder / MODEL / name
    assert compacted.suffix == ".parquet"
    assert len(digest) == 64
    journal.remove(MODEL, name)
    journal.remove(MODEL, name)
    assert journal.ended_before(MODEL, seconds(2)) == []
    assert not compacted.parent.exists()


def test_nothing_outside_the_journal_is_deleted(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    with pytest.raises(IntegrityError, match="no file of the journal"):
        JournalFiles(folder).remove(MODEL, "../../kept")
    assert kept.exists()
