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

from gauntlet.core.statistics import ks, wasserstein
from gauntlet.core.statistics.chi_squared import chi_squared

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
