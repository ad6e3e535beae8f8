"""Labels and predictions: who belongs to whom, and from when a label counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.live.join import NOBODY, key_text, match_entities, match_requests, with_labels, without_labels

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def journal(*rows: tuple[str, str | None, float], row: int = 0) -> pa.Table:
    return pa.table({
        "request_id": [one[0] for one in rows],
        "entity": pa.array([one[1] for one in rows], pa.string()),
        "at": pa.array([after(one[2]) for one in rows], pa.timestamp("us", tz="UTC")),
        "row": [row] * len(rows),
    }).replace_schema_metadata({"incomplete": "a hole"})


def test_requests_are_matched_by_their_own_key() -> None:
    table = journal(("a", None, 0), ("b", None, 0))
    assert match_requests(table, ["b", None, "z"]).tolist() == [NOBODY, 0]
    assert match_requests(journal(("b", None, 0), row=1), ["b"]).tolist() == [NOBODY]


def test_entities_are_matched_to_their_nearest_row_in_time() -> None:
    table = journal(("a", "x", 100), ("b", "x", 5), ("c", "y", 5), ("d", None, 5), ("e", "x", 1000))
    matches = match_entities(table, ["x", "x", None], [after(0), after(90), after(5)], timedelta(seconds=30))
    assert matches.tolist() == [1, 0, NOBODY, NOBODY, NOBODY]


@given(
    times=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    at=st.integers(0, 200),
    within=st.integers(0, 50),
)
def test_nearest_is_nearest(times: list[int], at: int, within: int) -> None:
    found = match_entities(
        journal(("a", "x", at)), ["x"] * len(times), [after(t) for t in times], timedelta(seconds=within)
    )[0]
    least = min(abs(t - at) for t in times)
    assert (found == NOBODY) == (least > within)
    if found != NOBODY:
        assert abs(times[found] - at) == least


def test_a_label_counts_when_its_request_is_mature_and_it_was_known_in_time() -> None:
    table = journal(("early", "e", 0), ("late label", "l", 0), ("young", "y", 50), ("unknown", "u", 0))
    joined = with_labels(
        table,
        np.array([0, 1, 2, 3]),
        [1.0, 1.0, 0.0, None],
        [after(10), after(70), after(51), None],
        maturity=timedelta(seconds=60),
        now=after(80),
        extra={"price": [3, 4, 5, 6]},
    )
    assert joined.column("mature").to_pylist() == [True, True, False, True]
    assert np.isfinite(joined.column("label").to_numpy()).tolist() == [True, False, False, False]
    assert joined.column("price").to_pylist() == [3, 4, 5, 6]
    assert joined.schema.metadata[b"incomplete"] == b"a hole"


def test_without_labels_the_journal_says_why_and_stays_incomplete() -> None:
    told = without_labels(journal(("a", "x", 0)), "no table")
    assert np.isnan(told.column("label").to_numpy()).all()
    assert told.schema.metadata == {b"incomplete": b"a hole", b"labels": b"no table"}


def test_keys_are_written_as_the_server_writes_them() -> None:
    assert [key_text(value) for value in (7, 7.0, "7", None)] == ["7", "7", "7", None]
    assert len(key_text("x", hashed=True) or "") == 16
