"""The paired bootstrap and DeLong: against each other, against brute force, and in what they conclude."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from gauntlet.core.comparison import (
    POISSON,
    Comparison,
    compare,
    delong,
    interval_of,
    judge,
    poisson_counts,
    required_rows,
)
from gauntlet.core.metrics import MetricError, Sample, measure
from gauntlet.core.outcome import Outcome

ALPHA = 0.005


def models(seed: int = 0, n: int = 3000, noise: tuple[float, float] = (0.1, 0.3)) -> tuple[Sample, Sample]:
    random = np.random.default_rng(seed)
    signal = 1.5 * random.standard_normal(n)
    label = (random.random(n) < 1 / (1 + np.exp(1.5 - signal))).astype(float)
    scores = [1 / (1 + np.exp(1.5 - signal - width * random.standard_normal(n))) for width in noise]
    return Sample(label, scores[0], threshold=0.3), Sample(label, scores[1], threshold=0.3)


def test_another_level_of_the_same_comparison_draws_nothing_again():
    candidate, other = models(n=800)
    wide = compare(["roc_auc"], candidate, other, seed=3, alpha=0.05)["roc_auc"]
    narrow = compare(["roc_auc"], candidate, other, seed=3, alpha=0.005)["roc_auc"]
    assert narrow.at(0.05) == wide
    assert narrow.at(0.05).low > narrow.low
    with pytest.raises(ValueError, match="no replicates"):
        replace(wide, deltas=None).at(0.01)


def test_counts_are_poisson():
    counts = poisson_counts(1, 0, 200, 5000)
    observed = np.bincount(counts.ravel(), minlength=9)[:7] / counts.size
    assert observed == pytest.approx(stats.poisson.pmf(range(7), 1), abs=2e-3)
    assert np.bincount(POISSON, minlength=9)[:9] / 65536 == pytest.approx(stats.poisson.pmf(range(9), 1), abs=2e-5)


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc", "log_loss", "ece", "f1", "ks", "brier"])
def test_a_replicate_is_the_metric_on_resampled_rows(name):
    """The vectorised bootstrap against rows really drawn again and again."""
    one, two = models(n=400)
    found = compare([name], one, two, seed=9, alpha=0.05, replicates=300)[name]
    counts = poisson_counts(9, 0, 300, 400)
    sign = 1 if name in ("roc_auc", "pr_auc", "f1", "ks") else -1
    # ECE's bins stay those of the whole sample, so of that only the size is compared.
    tolerance = 0.3 if name == "ece" else 1e-9
    deltas = []
    for row in counts:
        rows = np.repeat(np.arange(400), row)
        pair = [Sample(s.label[rows], s.score[rows], threshold=0.3) for s in (one, two)]
        deltas.append(sign * (measure(name, pair[0]) - measure(name, pair[1])))
    assert found.se == pytest.approx(np.std(deltas, ddof=1), rel=tolerance)


def test_bootstrap_and_delong_agree():
    for seed in range(4):
        one, two = models(seed)
        found = compare(["roc_auc"], one, two, seed=seed, alpha=ALPHA)["roc_auc"]
        assert found.delong_se == pytest.approx(found.se, rel=0.1)
        assert found.low < found.delta < found.high


def test_delong_is_the_structural_components_formula():
    one, two = models(n=200)
    positive, negative = one.label == 1, one.label == 0

    def placements(score):
        wins = (score[positive][:, None] > score[negative]) + 0.5 * (score[positive][:, None] == score[negative])
        return wins.mean(axis=1), wins.mean(axis=0)

    (v1, w1), (v2, w2) = placements(one.score), placements(two.score)
    expected = (v1 - v2).var(ddof=1) / positive.sum() + (w1 - w2).var(ddof=1) / negative.sum()
    found = delong(one.label, one.score, two.score)
    assert found.se == pytest.approx(np.sqrt(expected))
    assert found.candidate == pytest.approx(measure("roc_auc", one))
    assert found.other == pytest.approx(measure("roc_auc", two))


def test_delong_with_ties_and_too_few_rows():
    label, score = np.array([1.0, 1, 0, 0, 0]), np.array([0.5, 0.5, 0.5, 0.5, 0.1])
    assert delong(label, score, score).candidate == pytest.approx((2 * 0.5 * 2 + 2) / 6)
    with pytest.raises(MetricError, match="two rows of each class"):
        delong(label[1:], score[1:], score[1:])


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    one, two = models()
    first = compare(["roc_auc"], one, two, seed=5, alpha=ALPHA)
    assert compare(["roc_auc"], one, two, seed=5, alpha=ALPHA) == first
    assert compare(["roc_auc"], one, two, seed=6, alpha=ALPHA) != first


def test_swapping_the_models_turns_the_sign():
    one, two = models()
    for name in ("roc_auc", "log_loss"):
        there = compare([name], one, two, seed=5, alpha=ALPHA)[name]
        back = compare([name], two, one, seed=5, alpha=ALPHA)[name]
        assert (back.delta, back.low, back.high) == pytest.approx((-there.delta, -there.high, -there.low))


def test_better_is_positive_whichever_way_the_metric_runs():
    one, two = models()
    found = compare(["roc_auc", "log_loss", "brier"], one, two, seed=1, alpha=ALPHA)
    assert all(item.delta > 0 for item in found.values())


def test_weights_count():
    one, two = models(n=500)
    weight = np.where(one.label == 1, 3.0, 1.0)
    weighted = [replace(sample, weight=weight) for sample in (one, two)]
    found = compare(["log_loss"], *weighted, seed=1, alpha=ALPHA)["log_loss"]
    assert found.candidate == pytest.approx(measure("log_loss", weighted[0]))
    assert found.candidate != pytest.approx(measure("log_loss", one))


def test_other_rows_or_weights_are_refused():
    one, two = models(n=300)
    with pytest.raises(MetricError, match="not the same rows"):
        compare(["roc_auc"], one, Sample(two.label[:-1], two.score[:-1]), seed=1, alpha=ALPHA)
    with pytest.raises(MetricError, match="not the same rows"):
        compare(["roc_auc"], one, Sample(1 - two.label, two.score), seed=1, alpha=ALPHA)
    with pytest.raises(MetricError, match="not the same weights"):
        compare(["roc_auc"], one, replace(two, weight=np.ones(300)), seed=1, alpha=ALPHA)


def test_a_metric_undefined_in_many_replicates_is_refused():
    label = np.zeros(100)
    label[0] = 1
    sample = Sample(label, np.linspace(0, 1, 100))
    with pytest.raises(MetricError, match="not defined in"):
        compare(["roc_auc"], sample, sample, seed=1, alpha=ALPHA)


def test_the_interval_covers():
    """90 % intervals of the difference hold the true value about nine times in ten."""
    one, two = models(99, n=400_000)
    truth = measure("roc_auc", one) - measure("roc_auc", two)
    hits = 0
    for seed in range(120):
        pair = models(seed, n=800)
        found = compare(["roc_auc"], *pair, seed=seed, alpha=0.05, replicates=400)["roc_auc"]
        hits += found.low <= truth <= found.high
    assert 0.83 <= hits / 120 <= 0.96


def test_interval_of_one_model_holds_its_value():
    one, _ = models()
    low, high = interval_of("pr_auc", one, seed=3, alpha=0.01, replicates=400)
    assert low < measure("pr_auc", one) < high


def result(delta: float, se: float, n: int = 1000) -> Comparison:
    half = 2.5758 * se
    return Comparison("roc_auc", 0.8 + delta, 0.8, delta, delta - half, delta + half, se, n, ALPHA, 2000)


@pytest.mark.parametrize(
    ("mode", "delta", "se", "outcome"),
    [
        ("non_inferiority", 0.0, 0.001, "passed"),
        ("non_inferiority", -0.009, 0.0001, "passed"),
        ("non_inferiority", -0.011, 0.0001, "failed"),
        ("non_inferiority", -0.03, 0.001, "failed"),
        ("non_inferiority", 0.0, 0.01, "inconclusive"),
        ("superiority", 0.03, 0.001, "passed"),
        ("superiority", 0.011, 0.001, "failed"),
        ("superiority", 0.011, 0.01, "inconclusive"),
        ("superiority", -0.01, 0.001, "failed"),
        ("superiority", 0.0, 0.0, "failed"),
        ("equivalence", 0.0, 0.001, "passed"),
        ("equivalence", 0.012, 0.0001, "failed"),
        ("equivalence", 0.0, 0.01, "inconclusive"),
        ("non_inferiority", float("nan"), 0.001, "error"),
    ],
)
def test_what_is_concluded(mode, delta, se, outcome):
    found = judge(result(delta, se), mode, 0.01)
    assert found.outcome == outcome
    if outcome == "inconclusive":
        assert found.required_n is not None
        assert found.required_n > 1000


def test_enough_rows_without_proof_is_failed_and_not_inconclusive():
    """The margin is beyond reach, not the evidence: more rows are not asked for."""
    found = judge(result(-0.006, 0.002, n=50_000), "non_inferiority", 0.01)
    assert found.outcome is Outcome.FAILED


def test_required_rows_are_what_the_formula_says():
    """(z_0.995 + z_0.95)^2 (se / margin)^2 n: 17.81 for a standard error of one margin at n = 1."""
    assert required_rows(result(0.0, 0.01, n=100), 0.01, 0.95) == int(np.ceil(100 * (2.575829 + 1.644854) ** 2))
    assert required_rows(result(0.0, 0.0), 0.01, 0.95) is None


@pytest.mark.parametrize("mode", ["non_inferiority", "equivalence"])
def test_at_the_required_rows_an_equal_model_passes_with_the_power(mode):
    """Both ends of an equivalence have to hold at once, so that it takes more rows than one end."""
    power, margin, se, n = 0.95, 0.01, 0.01, 1000
    needed = judge(result(0.0, se, n), mode, margin, power=power).required_n
    then = NormalDist(0.0, se * np.sqrt(n / needed))
    most = margin - 2.5758 * then.stdev
    passing = then.cdf(most) - (then.cdf(-most) if mode == "equivalence" else 0.0)
    assert passing == pytest.approx(power, abs=0.002)


def test_a_wider_margin_never_turns_a_pass_into_a_refusal():
    for delta in np.linspace(-0.03, 0.03, 13):
        passed = [
            judge(result(delta, 0.004), "non_inferiority", margin).outcome.satisfied for margin in (0.005, 0.01, 0.05)
        ]
        assert passed == sorted(passed)
