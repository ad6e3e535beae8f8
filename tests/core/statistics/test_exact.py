"""Exact statistics equal SciPy's, on every kind of column that hypothesis thinks of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from gauntlet.core.profile import blank, numbers
from gauntlet.core.statistics import ks, wasserstein
from gauntlet.core.statistics.base import Pair
from gauntlet.core.statistics.chi_squared import chi_squared
from gauntlet.core.statistics.registry import STATISTICS

ANY = st.floats(allow_nan=False, allow_infinity=True, allow_subnormal=True)
TIED = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0, 2.5, 1e9])
TAME = st.floats(-1e6, 1e6)


def columns(values: st.SearchStrategy[float], most: int = 60) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, most).flatmap(lambda n: arrays(np.float64, n, elements=values)).map(np.sort)


@given(columns(ANY | TIED), columns(ANY | TIED))
@example(np.array([0.0]), np.array([-0.0]))
@example(np.array([-np.inf, np.inf]), np.array([np.inf]))
def test_ks_is_the_same_integer_as_scipys(one: np.ndarray, other: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        theirs = scipy.stats.ks_2samp(one, other, method="asymp").statistic
    assert ks.ks_numerator(one, other) == round(theirs * len(one) * len(other))


@given(columns(TAME | TIED), columns(TAME | TIED))
def test_wasserstein_is_scipys(one: np.ndarray, other: np.ndarray) -> None:
    theirs = scipy.stats.wasserstein_distance(one, other)
    scale = max(abs(one).max(), abs(other).max(), 1.0)
    assert_allclose(wasserstein.wasserstein(one, other), theirs, rtol=1e-12, atol=1e-12 * scale)


@given(columns(TAME | TIED), columns(TAME | TIED))
def test_what_one_row_at_either_end_makes_of_the_distance_is_what_clipping_it_takes_away(
    one: np.ndarray, other: np.ndarray
) -> None:
    if min(len(one), len(other)) < 3:
        assert wasserstein.lone_rows(one, other) == pytest.approx(0.0)
        return
    span = min(one[1], other[1]), max(one[-2], other[-2])
    inner = scipy.stats.wasserstein_distance(one.clip(*span), other.clip(*span))
    scale = max(abs(one).max(), abs(other).max(), 1.0)
    whole = scipy.stats.wasserstein_distance(one, other)
    assert_allclose(wasserstein.lone_rows(one, other), whole - inner, rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("rows", [300, 3000, 40_000])
@pytest.mark.parametrize("far", [1e12, -1e300, 60.0])
@pytest.mark.parametrize("exact", [False, True])
def test_one_row_never_carries_a_verdict(rows: int, far: float, exact: bool) -> None:
    rng = np.random.default_rng(rows)
    before, after = rng.normal(size=rows), np.append(rng.normal(size=rows - 1), far)
    reference = numbers(before, "float").counted(before)
    columns = (np.sort(before), np.sort(after)) if exact else None
    pair = Pair(reference, blank(reference).counted(after), columns)
    for statistic, limit in ((STATISTICS["wasserstein"], 0.3), (STATISTICS["sigma_ratio"], 2.0)):
        effect = statistic.measure(pair)
        if effect.value is not None:
            assert statistic.test(pair, effect, limit).more > 0.5, statistic.name


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=30))
def test_chi_squared_is_scipys(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs).T
    filled = table[:, table.sum(axis=0) > 0]
    if filled.shape[1] < 2 or (filled.sum(axis=1) == 0).any():
        assert math.isclose(chi_squared(*table), 0.0, abs_tol=1e-9)
        return
    theirs = scipy.stats.chi2_contingency(filled, correction=False).statistic
    assert_allclose(chi_squared(*table), theirs, rtol=1e-12, atol=1e-9)


LARGE = {
    "normal": lambda rng, n: rng.normal(size=n),
    "shifted": lambda rng, n: rng.normal(0.02, 1, n),
    "far": lambda rng, n: rng.normal(40, 1, n),
    "ties": lambda rng, n: rng.integers(0, 30, n).astype(float),
    "zero_inflated": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.lognormal(size=n)),
    "heavy": lambda rng, n: rng.standard_cauchy(n),
    "constant": lambda rng, n: np.full(n, 3.0),
}


@pytest.mark.parametrize("first", LARGE)
@pytest.mark.parametrize("second", LARGE)
@pytest.mark.parametrize("sizes", [(9000, 9000), (16_001, 5123)])
def test_by_blocks_nothing_changes(first: str, second: str, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    one, other = np.sort(LARGE[first](rng, sizes[0])), np.sort(LARGE[second](rng, sizes[1]))
    theirs = scipy.stats.ks_2samp(one, other, method="asymp").statistic
    assert ks.ks_numerator(one, other) == round(theirs * len(one) * len(other))
    expected = scipy.stats.wasserstein_distance(one, other)
    assert_allclose(wasserstein.wasserstein(one, other), expected, rtol=1e-11, atol=1e-13 * np.abs(one).max())


@pytest.mark.parametrize("n", [10, 40, 200, 5000])
@pytest.mark.parametrize("distance", [0.05, 0.1, 0.2, 0.4])
def test_the_tail_of_the_ks_distance_is_scipys_to_a_percent_where_it_matters(n: int, distance: float) -> None:
    theirs = scipy.stats.kstwo.sf(distance, n)
    ours = ks.ks_tail(distance, 1 / n)
    if theirs > 1e-4:
        assert math.isclose(ours, theirs, rel_tol=0.05, abs_tol=0.005)
