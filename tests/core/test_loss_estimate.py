"""Losses estimated from scores alone: right where the model's errors stay what they were, and honest about it."""

from __future__ import annotations

import numpy as np
import pytest

from gauntlet.core.loss_estimate import direct_loss, estimated_loss
from gauntlet.core.outcome import Outcome
from gauntlet.core.performance import Scored, checked_against, compare_performance
from gauntlet.core.records.model import Task
from gauntlet.core.specs.drift import PerformanceSection

SECTION = PerformanceSection(drop=0.1)


def demand(rows: int, seed: int, mean: float = 100.0, noise: float = 0.1) -> Scored:
    """A regression whose error grows with its score, and optionally for another reason."""
    rng = np.random.default_rng(seed)
    scores = mean * rng.lognormal(0, 0.4, rows)
    return Scored(scores + rng.normal(0, noise, rows) * scores, scores)


def error_of(sample: Scored) -> float:
    return float(np.abs(sample.scores - sample.labels).mean())


def test_the_error_at_every_level_gives_the_loss_of_another_mix() -> None:
    baseline, busy = demand(8000, 1), demand(5000, 2, mean=140.0)
    found = direct_loss(baseline, busy.scores)
    assert found is not None
    assert found.loss.value == pytest.approx(error_of(busy), rel=0.06)
    assert found.outside > 0


def test_its_interval_holds_the_loss_that_labels_show_later() -> None:
    section, inside = PerformanceSection(drop=0.2), 0
    for seed in range(60):
        later = demand(2000, 1000 + seed, mean=110.0)
        found = estimated_loss(Task.REGRESSION, demand(6000, seed), later.scores, section, 0.025)
        assert found.estimate
        assert found.interval is not None
        truth = error_of(later)
        spread = truth / np.sqrt(2000)  # what the sampling of the later labels adds
        inside += found.interval[0] - spread <= truth <= found.interval[1] + spread
    assert inside >= 54


def test_an_unchanged_mix_passes_and_a_harder_one_fails() -> None:
    baseline = demand(8000, 1)
    assert estimated_loss(Task.REGRESSION, baseline, demand(8000, 2).scores, SECTION, 0.01).outcome is Outcome.PASSED
    found = estimated_loss(Task.REGRESSION, baseline, demand(8000, 2, mean=130.0).scores, SECTION, 0.01)
    assert found.outcome is Outcome.FAILED
    assert "no label used" in found.sentence


def test_it_is_blind_to_errors_that_grow_for_another_reason_and_labels_tell() -> None:
    baseline, worse = demand(8000, 1), demand(8000, 3, noise=0.2)
    blind = estimated_loss(Task.REGRESSION, baseline, worse.scores, SECTION, 0.01)
    assert blind.outcome is Outcome.PASSED
    seen = compare_performance(Task.REGRESSION, baseline, worse, SECTION, 0.01)
    assert seen.outcome is Outcome.FAILED
    assert "outside its interval" in checked_against(blind, blind, seen)


@pytest.mark.parametrize(("rows", "now"), [(40, 500), (500, 1)])
def test_too_few_rows_give_no_estimate(rows: int, now: int) -> None:
    found = estimated_loss(Task.REGRESSION, demand(rows, 1), demand(now, 2).scores, SECTION, 0.01)
    assert (found.outcome, found.estimate, found.current) == (Outcome.INCONCLUSIVE, True, None)


def announced(rows: int, seed: int, sharpness: float) -> Scored:
    """Calibrated scores of three classes."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(3, 1 / sharpness), rows)
    labels = (rng.random((rows, 1)) > scores.cumsum(axis=1)).sum(axis=1)
    return Scored(np.minimum(labels, 2).astype(float), scores)


def test_unsure_scores_of_many_classes_announce_a_higher_loss() -> None:
    baseline, unsure = announced(9000, 1, 4.0), announced(9000, 2, 1.5)
    found = estimated_loss(Task.MULTICLASS, baseline, unsure.scores, SECTION, 0.01)
    truth = compare_performance(Task.MULTICLASS, baseline, unsure, SECTION, 0.01)
    assert (found.metric, found.outcome, truth.outcome) == ("log_loss", Outcome.FAILED, Outcome.FAILED)
    assert found.current == pytest.approx(truth.current, rel=0.05)
    calm = estimated_loss(Task.MULTICLASS, baseline, announced(9000, 3, 4.0).scores, SECTION, 0.01)
    assert calm.outcome is Outcome.PASSED
