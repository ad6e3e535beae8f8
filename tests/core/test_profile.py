"""Profiles: kilobytes that bound the exact statistics, and add up."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gauntlet.core.axis import CELLS, from_order_key, order_key, pack, unpack
from gauntlet.core.axis_choice import choose_axis
from gauntlet.core.profile import Labels, Moments, Numbers, Profile, blank, numbers
from gauntlet.core.statistics.ks import ks_interval, ks_numerator
from gauntlet.core.statistics.wasserstein import wasserstein, wasserstein_interval

FINITE = st.floats(-1e9, 1e9) | st.sampled_from([0.0, -0.0, 1.0, 2.0])
ANY = FINITE | st.sampled_from([math.inf, -math.inf, 1e308, -1e308, 5e-324])


def columns(values: st.SearchStrategy[float], least: int = 1, most: int = 80) -> st.SearchStrategy[np.ndarray]:
    return st.integers(least, most).flatmap(lambda n: arrays(np.float64, n, elements=values))


KINDS = {
    "normal": lambda rng, n: rng.normal(50, 3, n),
    "lognormal": lambda rng, n: rng.lognormal(0, 2.5, n),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "integers": lambda rng, n: rng.integers(-5, 60, n).astype(float),
    "two_decimals": lambda rng, n: np.round(rng.normal(size=n), 2),
    "zero_inflated": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.lognormal(size=n)),
    "times": lambda rng, n: 1.7e9 + rng.random(n) * 86_400 * 30,
    "one_outlier": lambda rng, n: np.append(rng.normal(size=n - 1), 1e12),
}


@given(columns(ANY))
def test_order_keys_keep_the_order(values: np.ndarray) -> None:
    ordered = np.sort(values)
    assert (np.diff(order_key(ordered)) >= 0).all()
    tame = ordered[np.isfinite(ordered)]
    np.testing.assert_allclose(from_order_key(order_key(tame)), tame, rtol=1e-12, atol=1e-300)


@given(columns(FINITE), columns(ANY, least=0))
def test_every_axis_is_monotone_over_any_later_value(sample: np.ndarray, later: np.ndarray) -> None:
    axis = choose_axis(sample)
    cells = axis.cells(np.sort(np.concatenate((sample, later))))
    assert (np.diff(cells) >= 0).all()
    assert cells.min() >= 0
    assert cells.max() < CELLS
    assert (np.diff(axis.edges) > 0).all()


@given(columns(FINITE), columns(ANY, least=0))
def test_counting_loses_no_row(sample: np.ndarray, later: np.ndarray) -> None:
    column = numbers(sample, "float").counted(later, missing=3)
    assert column.counts.sum() == len(later) == column.valid
    assert column.missing == 3
    assert column.infinite == np.isinf(later).sum()


@given(columns(ANY), columns(ANY))
def test_the_certified_interval_contains_the_exact_ks_distance(one: np.ndarray, other: np.ndarray) -> None:
    reference = numbers(one, "float").counted(one)
    current = Numbers.blank(reference.axis, "float").counted(other)
    low, high = ks_interval(reference, current)
    exact = ks_numerator(np.sort(one), np.sort(other)) / (len(one) * len(other))
    assert low <= exact <= high


TWO_SCALES = st.floats(0, 1e-6) | st.floats(1000, 1000 + 1e-6)
WIDE = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)
NARROW = 2.5e-4


@given(columns(WIDE | TWO_SCALES), columns(ANY | TWO_SCALES))
def test_no_certified_interval_is_wider_than_promised(one: np.ndarray, other: np.ndarray) -> None:
    """Of a finite reference; infinities are a finding of their own."""
    reference = numbers(one, "float").counted(one)
    low, high = ks_interval(reference, Numbers.blank(reference.axis, "float").counted(other))
    assert high - low <= NARROW


HARD = {
    "two_scales": lambda rng, n: np.where(rng.random(n) < 0.5, 1000 + 1e-6 * rng.random(n), 1e-6 * rng.random(n)),
    "many_scales": lambda rng, n: np.array([0.0, 1.0, 1e3, 1e9])[rng.integers(0, 4, n)] + 1e-5 * rng.random(n),
    "normal": lambda rng, n: rng.normal(size=n),
    "signed_powers": lambda rng, n: rng.choice([-1.0, 1.0], n) * np.exp(rng.uniform(-700, 700, n)),
}


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("rows", [4_999, 5_000, 20_000, 70_000, 300_000])
def test_intervals_are_narrow_at_every_size_of_the_reference(kind: str, rows: int) -> None:
    rng = np.random.default_rng(rows)
    one, other = HARD[kind](rng, rows), HARD[kind](rng, 30_000) * 1.0001
    reference = numbers(one, "float").counted(one)
    low, high = ks_interval(reference, Numbers.blank(reference.axis, "float").counted(other))
    exact = ks_numerator(np.sort(one), np.sort(other)) / (rows * 30_000)
    assert low <= exact <= high <= low + NARROW


@given(columns(FINITE, least=2), columns(FINITE, least=2))
def test_the_certified_interval_contains_the_exact_wasserstein_distance(one: np.ndarray, other: np.ndarray) -> None:
    reference = numbers(one, "float").counted(one)
    current = Numbers.blank(reference.axis, "float").counted(other)
    low, high = wasserstein_interval(reference, current)
    exact = wasserstein(np.sort(one), np.sort(other))
    slack = 1e-9 * max(1.0, np.abs(one).max(), np.abs(other).max())
    assert low - slack <= exact <= high + slack


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["none", "shift", "scale"])
def test_intervals_are_narrow_on_every_shape(kind: str, change: str) -> None:
    rng = np.random.default_rng(7)
    one, other = KINDS[kind](rng, 200_000), KINDS[kind](rng, 60_000)
    if change == "shift":
        other = other + 0.2 * (np.quantile(one, 0.75) - np.quantile(one, 0.25))
    if change == "scale":
        other = other * 1.1
    reference = numbers(one[::2], "float").counted(one)
    current = Numbers.blank(reference.axis, "float").counted(other)
    low, high = ks_interval(reference, current)
    exact = scipy.stats.ks_2samp(one, other, method="asymp").statistic
    assert low - 1e-12 <= exact <= high + 1e-12
    assert high - low <= 2.5e-4
    bounds = wasserstein_interval(reference, current)
    distance = scipy.stats.wasserstein_distance(one, other)
    assert bounds[0] - 1e-6 * abs(distance) <= distance <= bounds[1] + 1e-6 * abs(distance) + 1e-9
    assert len(json.dumps(reference.to_json())) < 60_000


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_are_close(kind: str) -> None:
    values = KINDS[kind](np.random.default_rng(3), 50_000)
    column = numbers(values, "float").counted(values)
    for share in (0.05, 0.25, 0.5, 0.9):
        found = (values < column.quantile(share)).mean(), (values <= column.quantile(share)).mean()
        assert found[0] - 0.001 <= share <= found[1] + 0.001


@given(columns(ANY, least=0), columns(ANY, least=0), columns(FINITE))
def test_profiles_of_parts_add_up_to_the_profile_of_the_whole(
    one: np.ndarray, other: np.ndarray, sample: np.ndarray
) -> None:
    empty = numbers(sample, "float")
    parts = empty.counted(one, 1) + empty.counted(other, 2)
    whole = empty.counted(np.concatenate((one, other)), 3)
    assert (parts.rows, parts.missing, parts.infinite, parts.minimum, parts.maximum) == (
        whole.rows,
        whole.missing,
        whole.infinite,
        whole.minimum,
        whole.maximum,
    )
    np.testing.assert_array_equal(parts.counts, whole.counts)
    np.testing.assert_array_equal(parts.equal, whole.equal)


@given(columns(st.floats(-1e6, 1e6)), columns(st.floats(-1e6, 1e6)))
def test_moments_add_up(one: np.ndarray, other: np.ndarray) -> None:
    both = np.concatenate((one, other))
    joined = Moments.of(one) + Moments.of(other)
    assert joined.mean == pytest.approx(both.mean(), rel=1e-9, abs=1e-6)
    assert joined.sigma == pytest.approx(both.std(), rel=1e-6, abs=1e-6)


def test_profiles_on_different_axes_do_not_add_up() -> None:
    with pytest.raises(ValueError, match=r"same axes: use Profile\.blank"):
        _ = numbers(np.arange(9.0), "float") + numbers(np.arange(90.0) / 7, "float")


def test_a_column_cannot_change_its_kind_between_parts() -> None:
    one = Profile({"x": Labels.blank("string")}, 0, {}, {}, {})
    other = Profile({"x": numbers(np.arange(3.0), "float")}, 0, {}, {}, {})
    with pytest.raises(ValueError, match="'x' is numeric in one profile"):
        _ = one + other
    with pytest.raises(ValueError, match="same columns"):
        _ = one + Profile({}, 0, {}, {}, {})


def test_categories_are_counted_whatever_their_codes() -> None:
    first = Labels.blank("string").counted(np.array([0, 1, 1, -1]), ["a", "b"])
    both = first.counted(np.array([1, 0, 0], dtype=np.int8), ["c", "b"], missing=2)
    assert both.counts == {"a": 1, "b": 3, "c": 2}
    assert (both.rows, both.missing, both.valid) == (9, 3, 6)
    assert both.rare == 1


def test_a_long_tail_keeps_its_size_and_its_singletons() -> None:
    names = [f"id{i}" for i in range(5000)]
    codes = np.concatenate((np.arange(5000), np.zeros(100, int), np.arange(1000, 2000)))
    column = Labels.blank("string").counted(codes, names).trimmed(10, least=1)
    assert len(column.counts) == 10
    assert column.counts["id0"] == 101
    assert column.tail_categories == 4990
    assert column.tail_rows + sum(column.counts.values()) == len(codes) == column.valid
    assert column.rare == 4000 - 1 + 0


def test_what_is_stored_names_nobody() -> None:
    names = [f"person {i}" for i in range(3000)] + ["north", "south", "rare"]
    codes = np.concatenate((np.arange(3000), np.repeat([3000, 3001, 3002], [500, 5, 4])))
    numeric = numbers(np.arange(9.0), "float")
    column = Labels.blank("string").counted(codes, names)
    profile = Profile(
        {"who": column, "x": numeric}, column.rows, {}, {"who": {"north": Profile({}, 0, {}, {}, {})}}, {}
    )
    content = profile.to_bytes()
    assert b"person" not in content
    assert b"rare" not in content
    stored = Profile.from_bytes(content).columns["who"]
    assert isinstance(stored, Labels)
    assert stored.counts == {"north": 500, "south": 5}
    assert (stored.tail_rows, stored.tail_categories, stored.rare, stored.valid) == (3004, 3001, 3000, 3509)


def test_truth_values_are_named_however_rare() -> None:
    column = Labels.blank("boolean").counted(np.array([0] * 9 + [1]), ["false", "true"])
    assert column.trimmed().counts == {"false": 9, "true": 1}


HOUR = columns(ANY | st.just(math.nan), least=0)


@given(columns(FINITE), st.lists(HOUR, min_size=1, max_size=6))
def test_hours_add_up_to_a_day_within_the_bounds_of_either(sample: np.ndarray, hours: list[np.ndarray]) -> None:
    """Counts add up exactly, through the stored form too; so does every bound that is taken from them."""
    reference = numbers(sample, "float").counted(sample)
    profiles = [Profile({"x": blank(reference).counted(hour)}, len(hour), {}, {}, {}) for hour in hours]
    restored = [Profile.from_bytes(profile.to_bytes()) for profile in profiles]
    day = restored[0]
    for profile in restored[1:]:
        day = day + profile
    merged = day.columns["x"]
    everything = np.concatenate(hours)
    whole = blank(reference).counted(everything)
    assert isinstance(merged, Numbers)
    assert isinstance(whole, Numbers)
    for mine, theirs in ((merged.counts, whole.counts), (merged.equal, whole.equal), (merged.under, whole.under)):
        np.testing.assert_array_equal(mine, theirs)
    assert (merged.rows, merged.missing, merged.infinite) == (whole.rows, whole.missing, whole.infinite)
    known = np.sort(everything[~np.isnan(everything)])
    if len(known):
        low, high = ks_interval(reference, merged)
        exact = ks_numerator(np.sort(sample), known) / (len(sample) * len(known))
        assert low <= exact <= high <= low + NARROW


@given(st.lists(st.lists(st.integers(0, 30), max_size=60), min_size=1, max_size=5))
def test_categories_of_hours_add_up_within_what_is_not_named(hours: list[list[int]]) -> None:
    names = [f"c{i}" for i in range(31)]
    parts = [Labels.blank("string").counted(np.array(hour, dtype=np.int64), names) for hour in hours]
    day, stored = parts[0], parts[0].trimmed()
    for part in parts[1:]:
        day, stored = day + part, stored + part.trimmed()
    assert (stored.rows, stored.missing, stored.valid) == (day.rows, day.missing, day.valid)
    assert sum(stored.counts.values()) + stored.tail_rows == day.valid
    for name, rows in day.counts.items():
        assert rows - 4 * len(hours) <= stored.counts.get(name, 0) <= rows


@given(arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 2**40)))
def test_packing_integers_is_lossless(array: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack(pack(array)), array)


@given(columns(ANY, least=0))
def test_packing_floats_is_lossless(array: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack(pack(array)), array)


def whole_profile() -> Profile:
    rng = np.random.default_rng(1)
    column = numbers(rng.normal(size=500), "float").counted(rng.normal(size=500))
    labels = Labels.blank("string").counted(rng.integers(0, 3, 500), ["a", "b", "c"])
    part = Profile({"x": column}, 500, {}, {}, {})
    return Profile({"x": column, "c": labels}, 500, {"x": 3.0, "c": 1.0}, {"c": {"a": part}}, {"model": "m"})


def test_a_profile_survives_its_bytes() -> None:
    profile = whole_profile()
    content = profile.to_bytes()
    back = Profile.from_bytes(content)
    assert back.to_bytes() == content
    assert back.weights() == {"x": 0.75, "c": 0.25}
    assert back.segments["c"]["a"].rows == 500
    assert (back + back.blank()).rows == 500


def test_a_damaged_profile_is_refused() -> None:
    content = whole_profile().to_bytes()
    with pytest.raises(ValueError, match="profile"):
        Profile.from_bytes(content.replace(b'"f8:', b'"f8:AAAA', 1))


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"format": 99}', b"not json"])
def test_bytes_that_are_no_profile_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        Profile.from_bytes(content)


def test_unknown_importances_are_equal_shares() -> None:
    profile = whole_profile()
    assert Profile(profile.columns, 500, {}, {}, {}).weights() == {"x": 0.5, "c": 0.5}


def test_rows_outside_the_references_range_are_counted() -> None:
    reference = numbers(np.arange(10.0), "float").counted(np.arange(10.0))
    current = blank(reference).counted(np.array([-1.0, 0.0, 9.0, 9.5, math.inf, math.nan]))
    assert isinstance(current, Numbers)
    assert current.outside == 3
    assert current.missing == 1
