"""Anytime-valid tests: exact expectations where they can be summed, published values, coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from gauntlet.core import sequential as seq

SHARES = st.floats(0.005, 0.95)
FEW = st.integers(1, 40)


def expected_e(log_e: list[float], chances: np.ndarray) -> float:
    return float((np.exp(log_e) * chances).sum())


def test_sequential_srm_of_the_published_example() -> None:
    """821 588 against 815 482 units drawn 1:1, Dirichlet concentration 100: log Bayes factor 6.53236767.

    The counts are those of Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments",
    KDD 2019; the factor is that of the ssrm-test package, the reference code of Lindon & Malek 2022.
    """
    assert seq.srm_log_e([821588, 815482], [0.5, 0.5]) == pytest.approx(6.53236767, abs=1e-7)
    # The fixed-horizon test of the same counts, as in the same paper.
    assert stats.chisquare([821588, 815482]).pvalue == pytest.approx(1.821792873e-06, rel=1e-6)


@given(n=FEW, share=SHARES)
def test_srm_e_value_has_mean_one(n: int, share: float) -> None:
    counts = np.arange(n + 1)
    log_e = [seq.srm_log_e([k, n - k], [share, 1 - share]) for k in counts]
    assert expected_e(log_e, stats.binom.pmf(counts, n, share)) == pytest.approx(1, rel=1e-6)


@given(n=FEW, share=SHARES, less=st.floats(0.05, 1))
def test_arm_e_value_has_mean_one_and_less_for_a_better_canary(n: int, share: float, less: float) -> None:
    counts = np.arange(n + 1)
    log_e = [seq.arm_log_e(int(k), n, share) for k in counts]
    assert expected_e(log_e, stats.binom.pmf(counts, n, share)) == pytest.approx(1, rel=1e-6)
    assert expected_e(log_e, stats.binom.pmf(counts, n, share * less)) <= 1 + 1e-9


def test_total_failure_is_caught_after_four_canary_requests() -> None:
    """At 1 % weight and a level of 0.001, whatever else happens."""
    assert seq.arm_log_e(4, 4, 0.01) >= seq.log_threshold(1e-3)


def test_arm_test_says_nothing_without_a_second_arm() -> None:
    assert not seq.arm_log_e(50, 50, 1.0)


def test_arm_test_under_constant_looking() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        canary = np.cumsum(rng.random(300) < 0.05)
        alarms += any(seq.arm_log_e(int(canary[t]), t + 1, 0.05) >= seq.log_threshold(0.05) for t in range(300))
    assert alarms <= 25  # 15 expected at most; 25 is the 99.5 % point of Binomial(300, 0.05)


@given(n=FEW, limit=st.floats(0.005, 0.6))
def test_rate_e_value_has_mean_one_at_its_limit(n: int, limit: float) -> None:
    counts = np.arange(n + 1)
    log_e = [seq.rate_log_e(int(k), n, limit) for k in counts]
    assert expected_e(log_e, stats.binom.pmf(counts, n, limit)) == pytest.approx(1, rel=1e-6)


@given(n=st.integers(1, 3000), part=st.floats(0, 1), alpha=st.floats(1e-5, 0.2))
def test_rate_interval_holds_the_estimate_and_just_not_what_is_rejected(n: int, part: float, alpha: float) -> None:
    events = round(part * n)
    low, high = seq.rate_interval(events, n, alpha)
    assert 0 <= low <= events / n <= high <= 1
    for edge in (low, high):
        if 0 < edge < 1:
            ratio = (
                stats.beta(1, 1).mean()
                * 2
                * math.exp(
                    math.lgamma(events + 1)
                    + math.lgamma(n - events + 1)
                    - math.lgamma(n + 2)
                    - events * math.log(edge)
                    - (n - events) * math.log1p(-edge)
                )
            )
            assert ratio == pytest.approx(1 / alpha, rel=1e-4)


@given(limit=st.floats(-0.9, 0.9), n=st.integers(1, 12))
def test_bounded_mean_e_value_has_mean_one_at_its_limit(limit: float, n: int) -> None:
    """Of values -1 and 1 with mean ``limit``, in every order."""
    up = (1 + limit) / 2
    log_e = [seq.bounded_mean_log_e(np.array([1.0] * k + [-1.0] * (n - k)), limit, -1.0, 1.0) for k in range(n + 1)]
    assert expected_e(log_e, stats.binom.pmf(np.arange(n + 1), n, up)) == pytest.approx(1, rel=1e-6)


def test_bounded_mean_finds_a_mean_beyond_its_limit() -> None:
    rng = np.random.default_rng(3)
    values = (rng.random(600) < 0.3).astype(float)
    assert seq.bounded_mean_log_e(values, 0.1, -1.0, 1.0) > seq.log_threshold(1e-3)
    assert seq.bounded_mean_log_e(values, 0.3, -1.0, 1.0) < seq.log_threshold(0.05)


def test_asymptotic_radius_by_its_published_formula() -> None:
    """n = 1 000, variance 1, rho = 0.1, alpha = 0.05: sqrt(2 * 11 / 10^4 * ln(sqrt(11) / 0.05))."""
    assert seq.asymptotic_radius(1.0, 1000, 0.05, 0.1) == pytest.approx(0.0960640, abs=1e-7)


REFERENCE_RHO = 12.60056
"""Of a two-sided normal mixture that is tightest at intrinsic time 100 for alpha = 0.05."""


def test_confidence_sequence_of_a_mean_against_the_reference_implementation() -> None:
    """Two-sided normal mixture at time 100: boundary 30.35209 at alpha = 0.05.

    The values of the unit test TestTwoSidedNormalMixture of confseq (github.com/gostevehoward/confseq), the code of
    Howard, Ramdas, McAuliffe & Sekhon 2021, which "are from a reference implementation in R". Its rho is 1 / rho^2
    in the form of Waudby-Smith et al. 2024.
    """
    radius = seq.asymptotic_radius(1.0, 100, 0.05, REFERENCE_RHO**-0.5)
    assert 100 * radius == pytest.approx(30.35209, abs=1e-5)


def test_mixture_e_value_against_the_reference_implementation() -> None:
    """Log mixture supermartingale of a sum of 10 at time 100: -0.6510052; the same unit test of confseq."""
    assert seq.msprt_log_e(0.1, 0.5, 100, REFERENCE_RHO**-0.5) == pytest.approx(-0.6510052, abs=1e-6)


def test_asymptotic_radius_is_tightest_where_the_paper_says() -> None:
    rho, alpha = 0.1, 0.05
    best = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / rho**2
    scaled = {n: seq.asymptotic_radius(1.0, n, alpha, rho) * math.sqrt(n) for n in (best / 2, best, best * 2)}
    assert min(scaled, key=lambda n: scaled[n]) == best


@pytest.mark.parametrize(
    ("interval", "truth", "draw"),
    [
        (lambda x: seq.mean_interval(x, 0.05, 0.1), 1.0, lambda rng, n: rng.exponential(1.0, n)),
        (lambda x: seq.empirical_bernstein_interval(x, 0.05), 0.2, lambda rng, n: rng.beta(2, 8, n)),
        (lambda x: seq.quantile_interval(np.sort(x), 0.9, 0.05), math.log(10), lambda rng, n: rng.exponential(1.0, n)),
    ],
    ids=["asymptotic mean", "empirical Bernstein", "quantile"],
)
def test_confidence_sequences_hold_the_truth_at_every_look(interval, truth, draw) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(150):
        values = draw(rng, 1500)
        looks = [interval(values[:n]) for n in range(100, 1501, 100)]
        missed += not all(low <= truth <= high for low, high in looks)
    assert missed <= 15  # 7.5 expected at most
    low, high = interval(draw(rng, 20_000))
    assert high - low < 0.35


def test_quantile_radius_by_its_published_formula() -> None:
    """n = 1 000, level 0.5, alpha = 0.05: l = 0.0081469, radius 0.074218, ranks 426 and 575."""
    assert seq.quantile_interval(np.arange(1, 1001, dtype=float), 0.5, 0.05) == (425.0, 575.0)


def test_intervals_without_data_say_nothing() -> None:
    empty = np.empty(0)
    assert seq.mean_interval(empty, 0.05) == (-math.inf, math.inf)
    assert seq.quantile_interval(empty, 0.5, 0.05) == (-math.inf, math.inf)
    assert seq.empirical_bernstein_interval(empty, 0.05) == (0.0, 1.0)


def test_msprt_is_the_normal_mixture_of_likelihood_ratios() -> None:
    difference, variance, n, tau = 0.3, 1.7, 40, 0.5

    def ratio(effect: float) -> float:
        return float(
            np.exp(n * (difference * effect - effect**2 / 2) / (2 * variance)) * stats.norm.pdf(effect, 0, tau)
        )

    mixture, _ = integrate.quad(ratio, -5, 5)
    assert seq.msprt_log_e(difference, variance, n, tau) == pytest.approx(math.log(mixture), abs=1e-8)
    assert not seq.msprt_log_e(difference, 0.0, n, tau)


@settings(max_examples=20)
@given(alpha=st.floats(1e-6, 0.5))
def test_all_looks_together_spend_alpha(alpha: float) -> None:
    spent = sum(seq.spent_alpha(alpha, look) for look in range(1, 20_000))
    assert spent <= alpha
    assert spent > 0.999 * alpha


@settings(max_examples=20)
@given(alpha=st.floats(1e-6, 0.5))
def test_all_windows_together_spend_alpha(alpha: float) -> None:
    spent = sum(seq.window_alpha(alpha, window) for window in range(1, 20_000))
    assert 0.999 * alpha < spent <= alpha
