"""A/B planning and reports, against R and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauntlet.core import ab


@pytest.mark.parametrize(
    ("p1", "p2", "power", "n"),
    [(0.01, 0.012, 0.8, 42692.80), (0.1, 0.12, 0.8, 3840.85), (0.5, 0.75, 0.9, 76.706930)],
)
def test_sample_size_of_proportions_as_in_r(p1: float, p2: float, power: float, n: float) -> None:
    """R 4: power.prop.test(p1 = , p2 = , power = )."""
    assert ab.proportions_n(p1, p2, power=power) == pytest.approx(n, abs=0.005)
    assert ab.proportions_power(n, p1, p2) == pytest.approx(power, abs=1e-5)


def test_power_of_proportions_as_in_the_examples_of_r() -> None:
    """R's help page of power.prop.test: n = 50, p1 = .50, p2 = .75 gives power = 0.740, and n = 76.7 at power = .90;
    n = 50, p1 = .5, power = .90 gives p2 = 0.8026."""
    assert ab.proportions_power(50, 0.50, 0.75) == pytest.approx(0.740, abs=5e-4)
    assert ab.proportions_n(0.50, 0.75, power=0.90) == pytest.approx(76.7, abs=0.05)
    assert 0.5 + ab.detectable_change(0.5, 50, share=0.5, power=0.90) == pytest.approx(0.8026, abs=5e-5)


@pytest.mark.parametrize(
    ("delta", "power", "n"),
    [(0.1, 0.8, 1570.736888), (1.0, 0.90, 22.02110), (1.0, 0.8689528, 20.0)],
)
def test_sample_size_of_means_as_in_r(delta: float, power: float, n: float) -> None:
    """R 4: power.t.test(delta = 0.1, power = 0.8), and the examples of its help page: power.t.test(power = .90,
    delta = 1) gives n = 22.02110, power.t.test(n = 20, delta = 1) gives power = 0.8689528."""
    assert ab.means_n(delta, 1.0, power=power) == pytest.approx(n, rel=1e-6)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("delta", [0.05, 0.2, 0.5])
def test_the_horizon_of_a_plan_is_the_power_analysis(delta: float, power: float) -> None:
    assert abs(ab.horizon(0, delta, sd=1.0, power=power) - ab.means_n(delta, 1.0, power=power)) <= 1
    assert ab.horizon(0.2, delta, power=power) == ab.plan_proportions(0.2, delta, power=power).canary_n


def test_mann_whitney_interval_as_in_r() -> None:
    """wilcox.test(c(10, 20, 30, 40), c(1, 2, 3, 4), conf.int = TRUE): estimate 22.5, 95 % interval [6, 39].

    Also the example of the Mann-Whitney test of Spinnaker's Kayenta.
    """
    found = ab.hodges_lehmann(np.array([10.0, 20, 30, 40]), np.array([1.0, 2, 3, 4]), 0.05)
    assert found == pytest.approx((22.5, 6, 39))


def test_mann_whitney_interval_of_rs_own_example() -> None:
    """The two-sample example of R's wilcox.test (Hollander & Wolfe 1999, table 4.1, water transfer): with exact ranks
    p = 0.2544, estimate 0.305, 95 % interval [-0.15, 0.76]; as printed by R's coin package, wilcox_test(...,
    distribution = "exact", conf.int = TRUE), on R-help.
    """
    at_term = np.array([0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46])
    earlier = np.array([1.15, 0.88, 0.90, 0.74, 1.21])
    assert ab.hodges_lehmann(at_term, earlier, 0.05) == pytest.approx((0.305, -0.15, 0.76))
    assert ab.report("permeability", earlier, at_term).mann_whitney_p == pytest.approx(0.2544, abs=5e-5)


@settings(max_examples=25)
@given(m=st.integers(2, 7), n=st.integers(2, 7))
def test_exact_rank_is_the_quantile_of_the_exact_distribution(m: int, n: int) -> None:
    """P(U < rank) <= alpha / 2, and one more would be too many."""
    rank = ab._exact_rank(m, n, 0.1)
    below = _chance(m, n, rank - 1)
    assert below <= 0.05 or rank == 1
    assert _chance(m, n, rank) > 0.05 * (1 - 1e-9)


def _chance(m: int, n: int, statistic: int) -> float:
    """P(U <= statistic), by counting all choices of ranks."""
    from itertools import combinations

    totals = [sum(chosen) - m * (m - 1) // 2 for chosen in combinations(range(m + n), m)]
    return float(np.mean(np.array(totals) <= statistic))


def test_large_samples_are_thinned_and_still_right() -> None:
    rng = np.random.default_rng(0)
    shift, low, high = ab.hodges_lehmann(rng.normal(0.5, 1, 9000), rng.normal(0, 1, 9000))
    assert low < 0.5 < high
    assert shift == pytest.approx(0.5, abs=0.05)


def test_a_small_share_needs_much_traffic() -> None:
    """A 20 % change of a 1 % rate at 1 % weight: millions of requests."""
    plan = ab.plan_proportions(0.01, 0.002, share=0.01, per_second=100)
    assert 2_000_000 < plan.requests < 4_300_000
    assert plan.seconds == pytest.approx(plan.requests / 100)
    assert f"{plan.requests:,}" in plan.sentence
    even = ab.plan_proportions(0.01, 0.002)
    assert even.canary_n == 42_693
    assert even.requests == 85_386


def test_plan_of_means_for_unequal_arms() -> None:
    assert ab.plan_means(0.1, 1.0).canary_n == 1571
    assert ab.plan_means(0.1, 1.0, share=0.1).canary_n < 1571


@given(base=st.floats(0.005, 0.4), n=st.integers(200, 100_000), share=st.floats(0.02, 0.8))
def test_what_a_step_can_detect(base: float, n: int, share: float) -> None:
    change = ab.detectable_change(base, n, share=share)
    if change < 1 - base:
        needed = ab.proportions_n(base, base + change, ratio=(1 - share) / share)
        assert needed <= n * 1.001


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_arm_is_no_test(share: float) -> None:
    with pytest.raises(ValueError, match="nothing is compared"):
        ab.plan_proportions(0.1, 0.01, share=share)


def test_equal_rates_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="must differ"):
        ab.plan_proportions(0.1, 0.0)


def test_report_of_a_binary_metric() -> None:
    rng = np.random.default_rng(4)
    stable, canary = (rng.random(4000) < 0.10).astype(float), (rng.random(4000) < 0.16).astype(float)
    found = ab.report("default rate", stable, canary)
    assert found.interval[0] > 0
    assert "higher" in found.sentence
    assert found.t_p_value < 1e-6
    assert found.better == pytest.approx(1, abs=1e-6)
    assert found.expected_loss == pytest.approx(0, abs=1e-6)


def test_posterior_by_sampling() -> None:
    stable, canary = np.repeat([1.0, 0.0], [30, 170]), np.repeat([1.0, 0.0], [33, 167])
    found = ab.report("rate", stable, canary)
    rng = np.random.default_rng(1)
    ours, theirs = rng.beta(34, 168, 400_000), rng.beta(31, 171, 400_000)
    assert found.better == pytest.approx((ours > theirs).mean(), abs=0.004)
    assert found.expected_loss == pytest.approx(np.maximum(theirs - ours, 0).mean(), abs=2e-4)
    assert "not yet told apart" in found.sentence


def test_report_of_a_mean() -> None:
    stable, canary = np.array([1.0, 2, 3, 4, 5]), np.array([3.0, 4, 5, 6, 7])
    found = ab.report("profit", stable, canary)
    assert found.lift == pytest.approx(2)
    assert found.cohens_d == pytest.approx(2 / np.sqrt(2.5))
    assert found.better is None
    assert found.shift == pytest.approx(2)
    assert found.relative_lift == pytest.approx(2 / 3)


def test_a_pre_period_takes_variance_out() -> None:
    rng = np.random.default_rng(8)
    people = rng.normal(0, 5, 6000)
    after = people + rng.normal(0, 1, 6000) + np.repeat([0.0, 0.4], 3000)
    found = ab.report("profit", after[:3000], after[3000:], before=(people[:3000], people[3000:]))
    assert found.variance_removed == pytest.approx(0.96, abs=0.01)
    assert found.cuped_lift == pytest.approx(0.4, abs=0.08)
    plain = found.interval[1] - found.interval[0]
    assert found.cuped_interval[1] - found.cuped_interval[0] < plain / 4


@pytest.mark.parametrize(("value", "p"), [(1.0, 1.0), (0.0, 0.0)])
def test_two_constants_are_equal_or_they_are_not(value: float, p: float) -> None:
    found = ab.report("answered", np.ones(50), np.full(40, value))
    assert (found.t_p_value, found.t_interval) == (p, (value - 1, value - 1))
    assert found.cohens_d is None


def test_too_little_data_is_said() -> None:
    with pytest.raises(ValueError, match="at least two"):
        ab.report("m", np.array([1.0]), np.array([1.0, 2.0]))
