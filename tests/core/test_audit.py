"""The hash chain: every tampering is found, and named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.audit import GENESIS, Fault, chain, entry_digest, from_line, plain, to_line, verify

START = datetime(2026, 3, 1, tzinfo=UTC)


def log(length, detail=None):
    entries = []
    for number in range(length):
        entries.append(
            chain(
                entries[-1] if entries else None,
                at=START + timedelta(seconds=number),
                actor="ann",
                action="promote",
                model="m",
                subject=f"s{number}",
                detail=detail or {"n": number},
            )
        )
    return entries


def told(entries, **more):
    return [(finding.sequence, finding.fault) for finding in verify(entries, **more)]


def anchor(entries):
    return entries[-1].sequence, entries[-1].digest


@pytest.mark.parametrize("length", [0, 1, 2, 10])
def test_an_untouched_log_has_no_findings(length):
    entries = log(length)
    assert verify(entries, last=anchor(entries) if entries else None) == ()


def test_the_first_entry_has_no_digest_before_it():
    assert log(1)[0].previous == GENESIS


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "bob"},
        {"action": "other"},
        {"model": "n"},
        {"subject": "x"},
        {"detail": {"n": 7}},
        {"at": START - timedelta(days=1)},
        {"previous": "0" * 63 + "1"},
    ],
)
@pytest.mark.parametrize("index", [0, 3, 4])
def test_a_changed_entry_is_named(change, index):
    entries = log(5)
    entries[index] = replace(entries[index], **change)
    assert told(entries) == [(index + 1, Fault.CHANGED)]


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_change_with_a_fresh_digest_is_found_by_the_next_entry(index):
    entries = log(5)
    changed = replace(entries[index], actor="bob")
    entries[index] = replace(changed, digest=entry_digest(changed))
    assert told(entries) == [(index + 1, Fault.CHANGED)]


def test_a_rewritten_last_entry_is_found_only_with_an_anchor():
    entries = log(5)
    known = anchor(entries)
    changed = replace(entries[4], actor="bob")
    entries[4] = replace(changed, digest=entry_digest(changed))
    assert told(entries) == []
    assert told(entries, last=known) == [(5, Fault.CHANGED)]


@pytest.mark.parametrize("index", [0, 2])
def test_a_removed_entry_is_named(index):
    entries = log(5)
    del entries[index]
    assert told(entries) == [(index + 1, Fault.REMOVED)]


def test_a_cut_off_end_is_found_only_with_an_anchor():
    entries = log(5)
    known = anchor(entries)
    assert told(entries[:3]) == []
    assert told(entries[:3], last=known) == [(4, Fault.REMOVED), (5, Fault.REMOVED)]


def test_a_moved_entry_is_named():
    entries = log(5)
    entries[1], entries[3] = entries[3], entries[1]
    assert {sequence for sequence, fault in told(entries) if fault is Fault.REORDERED} == {2, 3}


def test_entries_that_swapped_numbers_were_re_ordered():
    entries = log(5)
    entries[1], entries[3] = replace(entries[3], sequence=2), replace(entries[1], sequence=4)
    assert told(entries) == [(2, Fault.REORDERED), (4, Fault.REORDERED)]
    assert "entry 2 was re-ordered: it was written as entry 4" in verify(entries)[0].sentence


def test_an_inserted_entry_is_named():
    entries = log(5)
    entries.insert(3, replace(entries[2], actor="bob"))
    assert (3, Fault.INSERTED) in told(entries)


@given(st.integers(2, 12), st.data())
def test_no_single_tampering_goes_unnoticed(length, data):
    entries = log(length)
    known = anchor(entries)
    index = data.draw(st.integers(0, length - 1))
    kind = data.draw(st.sampled_from(["remove", "actor", "rewrite", "swap", "duplicate"]))
    if kind == "remove":
        del entries[index]
    elif kind == "swap":
        other = (index + 1) % length
        entries[index], entries[other] = entries[other], entries[index]
    elif kind == "duplicate":
        entries.insert(index, entries[index])
    else:
        changed = replace(entries[index], actor="mallory")
        entries[index] = replace(changed, digest=entry_digest(changed)) if kind == "rewrite" else changed
    findings = verify(entries, last=known)
    assert findings
    if kind in {"remove", "actor", "rewrite"}:
        assert findings[0].sequence == index + 1


@given(st.lists(st.integers(-10_000, 10_000), max_size=20))
def test_time_never_runs_backwards(offsets):
    entries = []
    for offset in offsets:
        entries.append(
            chain(
                entries[-1] if entries else None,
                at=START + timedelta(seconds=offset),
                actor="a",
                action="b",
                model="m",
                subject="s",
                detail={},
            )
        )
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    assert verify(entries) == ()


VALUES = st.none() | st.booleans() | st.floats() | st.text() | st.integers() | st.lists(st.floats())


@given(st.dictionaries(st.text(), VALUES))
def test_any_detail_survives_a_line(detail):
    entry = log(1, detail)[0]
    line = to_line(entry)
    assert line.count("\n") == 1
    back = from_line(line)
    assert back == entry
    assert entry_digest(back) == back.digest


def test_a_detail_is_made_plain():
    assert plain({"a": float("nan"), 1: (1, {2}), "t": START}) == {"a": "nan", "1": [1, [2]], "t": str(START)}
