"""The split: uniform, monotone in weight, independent between salts, fail-safe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.records.rollout import PPM, Arm, Routing, ServedVersion
from gauntlet.core.routing import Basis, Splitter, control_slice, in_control, weight_in_force

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEIGHTS = st.integers(0, PPM)


def version(name: str) -> ServedVersion:
    return ServedVersion(version=1, version_id=name, release_uri="file:///x", release_digest="0" * 64)


def routing(**changes: object) -> Routing:
    row: dict[str, object] = {
        "model": "m",
        "epoch": 3,
        "stable": version("a"),
        "canary": version("b"),
        "previous": None,
        "weight_ppm": 50_000,
        "salt": "s",
        "rollout": "r",
        "lease_until": NOW + timedelta(seconds=30),
    }
    return Routing.model_validate(row | changes)


@given(st.text(), st.text(max_size=100), WEIGHTS, WEIGHTS)
def test_raising_the_weight_moves_entities_one_way_only(salt: str, entity: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    split = Splitter(salt)
    if split.assign(entity, low).canary:
        assert split.assign(entity, high).canary


@given(st.text(), st.text(max_size=100), WEIGHTS)
def test_assignment_is_stable_over_restarts(salt: str, entity: str, weight: int) -> None:
    assert Splitter(salt).assign(entity, weight) == Splitter(salt).assign(entity, weight)


@given(st.text(), st.text(max_size=100))
def test_nobody_at_zero_everybody_at_full_weight(salt: str, entity: str) -> None:
    split = Splitter(salt)
    assert not split.assign(entity, 0).canary
    assert split.assign(entity, PPM).canary


def test_known_bucket_never_changes() -> None:
    # BLAKE2b is specified (RFC 7693): these must be the same on every machine and release, or a
    # restart in the middle of a rollout would move its users.
    assert Splitter("salt").bucket("entity-1") == 181_165
    assert Splitter("x" * 100).bucket("entity-1") == 195_532


@pytest.mark.parametrize("weight", [10_000, 50_000, 100_000, 500_000])
def test_share_is_the_weight_within_four_standard_errors(weight: int) -> None:
    n = 40_000
    split = Splitter("uniform")
    canary = sum(split.assign(f"customer-{i}", weight).canary for i in range(n))
    share = weight / PPM
    assert abs(canary / n - share) < 4 * sqrt(share * (1 - share) / n)


def test_buckets_are_uniform() -> None:
    n, cells = 50_000, 50
    counts = [0] * cells
    split = Splitter("chi")
    for i in range(n):
        counts[split.bucket(str(i)) * cells // PPM] += 1
    chi_squared = sum((count - n / cells) ** 2 / (n / cells) for count in counts)
    assert chi_squared < 94.0  # 99.99 % quantile of chi-squared with 49 degrees of freedom


def test_another_salt_draws_other_guinea_pigs() -> None:
    entities = [f"customer-{i}" for i in range(20_000)]
    first = {entity for entity in entities if Splitter("one").assign(entity, 100_000).canary}
    second = {entity for entity in entities if Splitter("two").assign(entity, 100_000).canary}
    overlap = len(first & second) / len(first)
    assert 0.07 < overlap < 0.13


@given(WEIGHTS)
def test_control_slice_is_as_large_as_the_canary_and_apart_from_it(weight: int) -> None:
    start, end = control_slice(weight)
    assert end == PPM
    assert start >= weight
    assert end - start == min(weight, PPM - weight)
    assert not in_control(weight - 1, weight)


def test_lists_win_over_the_hash_and_are_marked() -> None:
    split = Splitter("s", allow=frozenset({"vip", "both"}), deny=frozenset({"bank", "both"}))
    assert split.assign("vip", 1).canary
    assert not split.assign("vip", 0).canary
    assert not split.assign("bank", PPM).canary
    assert not split.assign("both", PPM).canary
    assert {split.assign(name, 1).basis for name in ("vip", "bank", "both")} == {Basis.LISTED}


def test_a_request_without_entity_is_not_sticky() -> None:
    drawn = Splitter("s").assign_request("request-1", PPM // 2)
    assert not drawn.sticky
    assert drawn.basis == Basis.REQUEST
    assert drawn.arm in (Arm.STABLE, Arm.CANARY)


def test_weight_holds_while_the_lease_does() -> None:
    assert weight_in_force(routing(), NOW).ppm == 50_000
    assert weight_in_force(routing(), NOW + timedelta(seconds=30)).ppm == 0


@pytest.mark.parametrize(
    ("row", "flags", "reason"),
    [
        (routing(canary=None), {}, "no canary"),
        (routing(lease_until=None), {}, "canary without lease"),
        (routing(lease_until=NOW - timedelta(days=1)), {}, "lease expired"),
        (routing(), {"tripped": True}, "breaker tripped"),
        (routing(), {"loaded": False}, "canary is not loaded"),
    ],
)
def test_weight_falls_to_zero_and_says_why(row: Routing, flags: dict[str, bool], reason: str) -> None:
    weight = weight_in_force(row, NOW, **flags)
    assert (weight.ppm, weight.reason) == (0, reason)
