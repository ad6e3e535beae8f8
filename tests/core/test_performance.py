"""The champion now against the champion then."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gauntlet.core.outcome import Outcome
from gauntlet.core.performance import Scored, auc, checked_against, compare_performance, estimate_auc, estimated
from gauntlet.core.records.model import Task
from gauntlet.core.specs.drift import PerformanceSection

SECTION = PerformanceSection(drop=0.03)


def scored(rows: int, seed: int, sharpness: float = 1.5, offset: float = 0.0, meaning: float = 1.0) -> Scored:
    """Calibrated scores, unless ``offset`` lifts them or ``meaning`` weakens what they say."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, sharpness, rows)
    score = 1 / (1 + np.exp(-logit))
    true = 1 / (1 + np.exp(-(meaning * (logit + 1) - 1)))
    return Scored((rng.random(rows) < true).astype(float), np.clip(score + offset, 0, 1))


def test_auc_is_scikit_learns_with_ties() -> None:
    sample = scored(500, 1)
    tied = Scored(sample.labels, np.round(sample.scores, 1))
    found = auc(tied)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(tied.labels, tied.scores), abs=1e-12)


def test_its_error_is_the_spread_over_samples() -> None:
    found = [auc(scored(600, seed)) for seed in range(200)]
    values = [one.value for one in found if one]
    errors = [one.error for one in found if one]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_unchanged_performance_passes_and_a_fall_fails() -> None:
    baseline = scored(20_000, 1)
    assert compare_performance(Task.BINARY, baseline, scored(20_000, 2), SECTION, 0.01).outcome is Outcome.PASSED
    fallen = compare_performance(Task.BINARY, baseline, scored(5000, 3, meaning=0.3), SECTION, 0.01)
    assert fallen.outcome is Outcome.FAILED
    assert "roc_auc" in fallen.sentence
    assert not fallen.estimate


def test_too_few_labels_are_inconclusive_and_say_how_many_would_do() -> None:
    few = compare_performance(Task.BINARY, scored(9000, 1), scored(150, 2), SECTION, 0.01)
    assert (few.outcome, few.required_rows) == (Outcome.INCONCLUSIVE, SECTION.minimum_rows)
    unsure = compare_performance(Task.BINARY, scored(90_000, 1), scored(400, 4), SECTION, 0.01)
    assert unsure.outcome is Outcome.INCONCLUSIVE
    assert unsure.required_rows is not None
    assert unsure.required_rows > 400
    # Four hundred labels never show that nothing has changed, whatever they say: that is known beforehand, and told.
    assert not unsure.judged
    assert f"not judged at this size, about {unsure.required_rows} would do" in unsure.sentence
    enough = compare_performance(Task.BINARY, scored(90_000, 1), scored(unsure.required_rows, 5), SECTION, 0.01)
    assert enough.judged
    assert (few.judged, few.estimate) == (True, False)


def test_one_class_only_is_no_pass() -> None:
    current = Scored(np.zeros(500), np.linspace(0, 1, 500))
    found = compare_performance(Task.BINARY, scored(900, 1), current, SECTION, 0.01)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "one class" in found.sentence


def test_scores_off_in_level_only_ask_for_calibration() -> None:
    few = compare_performance(Task.BINARY, scored(20_000, 1), scored(900, 2, offset=0.12), SECTION, 0.01)
    assert (few.metric, few.outcome, few.judged) == ("calibration", Outcome.FAILED, True)
    found = compare_performance(Task.BINARY, scored(20_000, 1), scored(20_000, 2, offset=0.12), SECTION, 0.01)
    assert (found.metric, found.outcome) == ("calibration", Outcome.FAILED)
    assert found.calibration_error == pytest.approx(0.12, abs=0.02)


def test_regression_compares_relative_losses() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(100, 10, 8000)
    baseline = Scored(truth, truth + rng.normal(0, 2, 8000))
    worse = Scored(truth, truth + rng.normal(0, 2.4, 8000))
    section = PerformanceSection(drop=0.1)
    assert compare_performance(Task.REGRESSION, baseline, baseline, section, 0.01).outcome is Outcome.PASSED
    found = compare_performance(Task.REGRESSION, baseline, worse, section, 0.01)
    assert found.outcome is Outcome.FAILED
    assert found.current == pytest.approx(2.4 * (2 / np.pi) ** 0.5, rel=0.05)


def test_multiclass_compares_log_losses() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 6000).astype(float)
    good = np.full((6000, 3), 0.1)
    good[np.arange(6000), labels.astype(int)] = 0.8
    flat = np.full((6000, 3), 1 / 3)
    section = PerformanceSection(drop=0.1)
    shuffled = good[rng.permutation(6000)]
    baseline = Scored(labels, 0.5 * good + 0.5 * shuffled)
    assert compare_performance(Task.MULTICLASS, baseline, Scored(labels, flat), section, 0.01).metric == "log_loss"
    assert compare_performance(Task.MULTICLASS, baseline, baseline, section, 0.01).outcome is Outcome.PASSED


def test_calibrated_scores_announce_their_own_auc() -> None:
    sample = scored(20_000, 5)
    announced, known = estimate_auc(sample.scores), auc(sample)
    assert announced is not None
    assert known is not None
    assert announced.value == pytest.approx(known.value, abs=0.01)


def test_the_estimate_sees_duller_scores_but_not_a_change_of_meaning() -> None:
    baseline = scored(20_000, 1)
    duller, betrayed = scored(8000, 2, sharpness=0.6), scored(8000, 3, meaning=0.2)
    assert estimated(baseline, duller.scores, SECTION, 0.01).outcome is Outcome.FAILED
    blind = estimated(baseline, betrayed.scores, SECTION, 0.01)
    assert blind.outcome is not Outcome.FAILED
    assert blind.estimate
    assert "no label used" in blind.sentence
    seen = compare_performance(Task.BINARY, baseline, betrayed, SECTION, 0.01)
    assert seen.outcome is Outcome.FAILED
    assert "labels say" in checked_against(blind, blind, seen)
