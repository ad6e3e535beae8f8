"""What scores announce against what labels keep: unbiased, with an honest error, and sharper than the fall itself."""

from __future__ import annotations

import numpy as np
import pytest

from gauntlet.core.outcome import Outcome
from gauntlet.core.performance import Scored, compare_performance
from gauntlet.core.promise import against_promise, shortfall
from gauntlet.core.records.drift import PerformanceDrift
from gauntlet.core.records.model import Task
from gauntlet.core.specs.drift import PerformanceSection

SECTION = PerformanceSection(drop=0.002)


def drawn(seed: int, rows: int, meaning: float = 1.0, low: float = -9.0, high: float = 9.0) -> Scored:
    """Calibrated scores of two inputs; with ``meaning`` below 1 the first one means less than the model thinks."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * rows, 2)) * [1.6, 0.8]
    x = x[(x.sum(axis=1) > low) & (x.sum(axis=1) < high)][:rows]
    scores, true = (1 / (1 + np.exp(2 - x @ weights)) for weights in ([1.0, 1.0], [meaning, 1.0]))
    return Scored((rng.random(len(x)) < true).astype(float), scores)


def judged(baseline: Scored, current: Scored, before: PerformanceDrift | None = None) -> PerformanceDrift:
    found = compare_performance(Task.BINARY, baseline, current, SECTION, 0.004)
    return against_promise(found, baseline, current, SECTION, 0.001, before)


def test_what_scores_announce_is_every_pair_weighed_by_its_chance() -> None:
    sample = drawn(1, 60)
    p, y = sample.scores, sample.labels
    wins = (p[:, None] > p) + 0.5 * (p[:, None] == p)
    announced = (np.outer(p, 1 - p) * wins).sum() / np.outer(p, 1 - p).sum()
    measured = (np.outer(y, 1 - y) * wins).sum() / np.outer(y, 1 - y).sum()
    found = shortfall(sample)
    assert found is not None
    # A row is no pair with itself: of the announced area that is a share of one in so many rows.
    assert found.value == pytest.approx(announced - measured, abs=2 / len(p))


def test_the_error_is_what_it_wanders_by() -> None:
    found = [one for seed in range(150) if (one := shortfall(drawn(seed, 800))) is not None]
    values, errors = np.array([one.value for one in found]), np.array([one.error for one in found])
    assert values.std() == pytest.approx(errors.mean(), rel=0.2)
    assert abs(values.mean()) < 3 * errors.mean() / np.sqrt(len(values))


def test_a_change_of_meaning_is_seen_before_the_fall_can_be() -> None:
    baseline = drawn(1, 100_000)
    seen, fallen = 0, 0
    for seed in range(10):
        first, second = (drawn(100 * seed + night, 30_000, meaning=0.91) for night in (3, 4))
        found = judged(baseline, second, judged(baseline, first))
        seen += found.outcome is Outcome.FAILED
        fallen += compare_performance(Task.BINARY, baseline, second, SECTION, 0.004).outcome is Outcome.FAILED
    assert seen >= 9 > fallen
    assert "labels keep less than scores promise" in found.sentence


def test_unchanged_windows_are_quiet_and_another_mix_of_rows_is_not_blamed() -> None:
    baseline = drawn(1, 50_000)
    for seed in range(12):
        assert judged(baseline, drawn(200 + seed, 5000)).outcome is not Outcome.FAILED
    narrow = judged(baseline, drawn(7, 20_000, low=-1.0, high=1.5))
    assert narrow.current is not None
    assert narrow.baseline is not None
    assert narrow.current < narrow.baseline - 0.05
    assert abs(narrow.shortfall or 0.0) < 4 * (narrow.shortfall_error or 0.0)


def test_two_windows_are_asked_together_only_where_both_fall_short() -> None:
    baseline, current = drawn(1, 100_000), drawn(5, 20_000, meaning=0.9)
    alone = judged(baseline, current)
    better = alone.model_copy(update={"shortfall": -0.01})
    assert judged(baseline, current, better) == alone
    twice = judged(baseline, current, alone)
    assert (twice.shortfall, twice.shortfall_error) == (alone.shortfall, alone.shortfall_error)


def test_too_few_labels_stay_too_few() -> None:
    baseline = drawn(1, 5000)
    few = judged(baseline, drawn(2, 50))
    assert (few.outcome, few.shortfall) == (Outcome.INCONCLUSIVE, None)
    assert shortfall(Scored(np.zeros(9), np.full(9, 0.1))) is None
