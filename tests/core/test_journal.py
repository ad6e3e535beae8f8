"""The journal's bytes: what goes in comes out, and every damage is noticed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauntlet.core.errors import IntegrityError
from gauntlet.core.journal import (
    COLUMNS,
    Kind,
    Prediction,
    Status,
    decode_columns,
    encode_frame,
    scan,
    segment_head,
)

BIG = st.integers(-(2**63), 2**63 - 1)
WORD = st.one_of(st.none(), st.text(max_size=12))
ROWS = st.lists(
    st.builds(
        Prediction,
        request_id=st.text(max_size=20),
        at=BIG,
        row=BIG,
        epoch=BIG,
        rollout=WORD,
        version_id=st.sampled_from(["a", "b"]),
        arm=st.sampled_from(["stable", "canary"]),
        entity=st.one_of(st.none(), st.text(max_size=20)),
        bucket=BIG,
        basis=st.text(max_size=3),
        weight_ppm=BIG,
        score=st.floats(allow_nan=False),
        other_version_id=WORD,
        other_score=st.floats(),
        decision=st.integers(-1, 9),
        latency_us=BIG,
        model_us=st.floats(),
        status=st.sampled_from([Status.OK, Status.FALLBACK, Status.ERROR]),
        error=WORD,
        features=st.one_of(st.none(), st.binary(max_size=40)),
        explored=st.integers(0, 1),
        propensity=st.floats(),
    ),
    max_size=20,
)


def a_row(number: int) -> tuple[Any, ...]:
    return Prediction(
        request_id=f"request-{number}",
        at=1_000_000 + number,
        row=0,
        epoch=3,
        rollout="r",
        version_id="v",
        arm="stable",
        entity="é",
        bucket=17,
        basis="hash",
        weight_ppm=10_000,
        score=0.25,
        other_version_id=None,
        other_score=math.nan,
        decision=0,
        latency_us=40,
        model_us=4.0,
        status="ok",
        error=None,
        features=b"\0" * 16,
    )


def a_segment(frames: int = 3, rows: int = 4) -> bytes:
    parts = [segment_head()]
    for sequence in range(frames):
        content = [a_row(sequence * rows + i) for i in range(rows)]
        parts.append(encode_frame(content, sequence, first_us=sequence, last_us=sequence + 1))
    return b"".join(parts)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_rows_come_back_as_they_were(rows: list[Prediction]) -> None:
    segment = scan(segment_head() + encode_frame(rows, 0, first_us=1, last_us=2, lost=7))
    (frame,) = segment.frames
    assert (frame.rows, frame.lost, frame.first_us, frame.last_us) == (len(rows), 7, 1, 2)
    assert segment.lost == 7
    if rows:
        columns = decode_columns(frame, segment.columns)
        for i, row in enumerate(rows):
            for name, _ in COLUMNS:
                assert same(columns[name][i], getattr(row, name))


def test_the_schema_is_the_row() -> None:
    assert tuple(name for name, _ in COLUMNS) == Prediction._fields


def test_a_segment_is_closed_only_when_it_says_so() -> None:
    content = a_segment(2)
    assert not scan(content).closed
    assert scan(content + encode_frame([], 2, first_us=2, last_us=2, kind=Kind.CLOSED)).closed


def test_every_torn_tail_is_found_and_no_whole_frame_is_lost() -> None:
    content, whole = a_segment(3), a_segment(2)
    for cut in range(len(whole), len(content)):
        segment = scan(content[:cut])
        assert len(segment.frames) == 2
        assert segment.valid_bytes == len(whole)
        assert segment.torn_bytes == cut - len(whole)
        assert not segment.corrupt


def test_every_flipped_bit_of_a_frame_is_noticed() -> None:
    content = a_segment(3, rows=1)
    head = len(segment_head())
    middle = (len(content) - head) // 3
    for place in range(head, head + 2 * middle):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        segment = scan(bytes(damaged))
        assert segment.corrupt, f"byte {place}"
        assert len(segment.frames) < 3


def test_a_frame_left_out_is_noticed() -> None:
    one, two = (encode_frame([a_row(i)], i, first_us=i, last_us=i) for i in (0, 2))
    assert scan(segment_head() + one + two).corrupt


def test_frames_after_a_repair_are_read() -> None:
    frames = a_segment(2) + encode_frame([], 2, first_us=5, last_us=9, kind=Kind.REPAIRED)
    segment = scan(frames)
    assert [frame.kind for frame in segment.frames] == [Kind.ROWS, Kind.ROWS, Kind.REPAIRED]
    assert not segment.corrupt


@pytest.mark.parametrize("content", [b"", b"GJSEG01\n", b"x" * 200, segment_head()[:-3], b"\0" + segment_head()[1:]])
def test_a_damaged_head_is_an_error(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        scan(content)


def test_the_codec_stays_cheap() -> None:
    rows = [a_row(i) for i in range(1000)]
    assert len(encode_frame(rows, 0, first_us=0, last_us=1)) / len(rows) < 200
