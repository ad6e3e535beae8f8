"""Splits: nothing straddles, whatever the data looks like."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.splits import DROPPED, PARTS, at_random, by_time, content_groups, shares_of

SECOND = 1_000_000
SHARES = shares_of(0.2, 0.1, 0.2)
times = st.lists(st.integers(0, 500), min_size=1, max_size=300).map(lambda v: np.array(v, dtype=np.int64) * SECOND)
seconds = st.integers(0, 60).map(lambda s: timedelta(seconds=s))


def spans(at: Any, codes: Any) -> list[tuple[int, int]]:
    return [(at[codes == code].min(), at[codes == code].max()) for code in range(DROPPED) if (codes == code).any()]


def test_newest_rows_are_the_holdout() -> None:
    at = np.arange(1000, dtype=np.int64) * SECOND
    codes = by_time(at, SHARES).codes
    assert [int((codes == code).sum()) for code in range(4)] == [500, 200, 100, 200]
    assert (np.diff(codes) >= 0).all()


def test_a_part_without_share_is_empty() -> None:
    codes = by_time(np.arange(100, dtype=np.int64), shares_of(0.2, 0, 0.2)).codes
    assert {PARTS[code] for code in np.unique(codes)} == {"train", "validation", "holdout"}


@given(at=times, embargo=seconds, delay=seconds)
def test_parts_follow_one_another_with_all_gaps(at: Any, embargo: timedelta, delay: timedelta) -> None:
    division = by_time(at, SHARES, embargo=embargo, label_delay=delay)
    for (_, last), (first, _) in zip(spans(at, division.codes), spans(at, division.codes)[1:], strict=False):
        assert last < first
        assert first - last > 0
        assert first - last >= embargo // timedelta(microseconds=1)
        assert last + delay // timedelta(microseconds=1) <= first
    assert division.dropped == (division.codes == DROPPED).sum()


@given(at=times, seed=st.integers(0, 100), keep=st.sampled_from(["keep_latest", "keep_earliest"]))
def test_entities_never_straddle(at: Any, seed: int, keep: Any) -> None:
    entities = np.random.default_rng(seed).integers(-1, 8, len(at))
    codes = by_time(at, SHARES, entities=entities, straddle=keep).codes
    for entity in range(8):
        assert len(set(codes[(entities == entity) & (codes != DROPPED)])) <= 1
    free = by_time(at, SHARES).codes
    assert (codes[entities == -1] == free[entities == -1]).all(), "rows of no entity stay where they are"


def test_latest_keeps_the_holdout_whole_and_earliest_the_train() -> None:
    at = np.arange(100, dtype=np.int64)
    entities = np.arange(100) % 10
    latest = by_time(at, SHARES, entities=entities, straddle="keep_latest")
    assert (latest.codes[80:] == 3).all()
    assert (latest.codes[:80] == DROPPED).all()
    assert latest.straddling == 80
    earliest = by_time(at, SHARES, entities=entities, straddle="keep_earliest")
    assert (earliest.codes[:50] == 0).all()
    assert (by_time(at, SHARES, entities=entities, straddle="allow").codes != DROPPED).all()


@given(at=times, seed=st.integers(0, 100))
def test_the_order_of_rows_does_not_matter(at: Any, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(at))
    entities = (at // SECOND) % 7
    arguments: dict[str, Any] = {"embargo": timedelta(seconds=3), "label_delay": timedelta(seconds=5)}
    whole = by_time(at, SHARES, entities=entities, **arguments).codes
    assert (by_time(at[order], SHARES, entities=entities[order], **arguments).codes == whole[order]).all()


def test_reasons_are_counted() -> None:
    at = np.arange(1000, dtype=np.int64) * SECOND
    division = by_time(at, SHARES, embargo=timedelta(seconds=5), label_delay=timedelta(seconds=8))
    assert division.embargoed == 15
    assert division.purged == 3 * 2
    assert division.dropped_reason == "15 in an embargo; 6 purged: label window reaches into the next part"
    assert by_time(at, SHARES).dropped_reason == "none"


@given(groups=st.lists(st.integers(0, 40), min_size=1, max_size=300), seed=st.integers(0, 2**32))
def test_random_groups_never_straddle(groups: list[int], seed: int) -> None:
    codes = content_groups(np.array(groups, dtype=np.uint64))
    parts = at_random(codes, SHARES, seed).codes
    assert all(len(set(parts[codes == group])) == 1 for group in np.unique(codes))
    assert (at_random(codes, SHARES, seed).codes == parts).all()


def test_random_shares_are_met() -> None:
    codes = at_random(np.arange(10_000), SHARES, seed=1).codes
    assert np.bincount(codes) / 10_000 == pytest.approx(SHARES, abs=0.001)
    assert (at_random(np.arange(10_000), SHARES, seed=2).codes != codes).any()


@given(seed=st.integers(0, 100))
def test_random_does_not_depend_on_the_order_of_rows(seed: int) -> None:
    keys = np.random.default_rng(0).integers(0, 2**63, 200).astype(np.uint64)
    order = np.random.default_rng(seed).permutation(200)
    whole = at_random(content_groups(keys), SHARES, 5).codes
    assert (at_random(content_groups(keys[order]), SHARES, 5).codes == whole[order]).all()
