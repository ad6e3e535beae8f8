"""Levels, spreads and pairs of ranks: bounded, quiet when nothing changed, and named when something has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.test_joint import drawn

from gauntlet.core.joint import joint_drift
from gauntlet.core.moments import Base, Components, components, ranks
from gauntlet.core.outcome import Outcome
from gauntlet.core.specs.drift import DriftSection

NAMES = ("income", "amount", "age")
WEIGHTS = [0.6, 0.3, 0.1]
SECTION = DriftSection(window="1d", minimum_rows=30)


def population(rng: np.random.Generator, rows: int, alike: float = 0.0) -> list[np.ndarray]:
    common = rng.normal(size=rows)
    return [np.exp(np.sqrt(alike) * common + np.sqrt(1 - alike) * rng.normal(size=rows)) for _ in NAMES]


def told(columns: list[np.ndarray], like: list[np.ndarray]) -> Components:
    return components(NAMES, WEIGHTS, [ranks(one, np.sort(other)) for one, other in zip(columns, like, strict=True)])


def base_of(columns: list[np.ndarray]) -> Base:
    base = Base.of(told(columns, columns))
    assert base is not None
    return base


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=40))
def test_ranks_are_bounded_whatever_the_values(values: list[float]) -> None:
    found = ranks(np.array(values), np.array([-1.0, 0.0, 0.0, 5.0]))
    assert np.all(np.abs(found) <= np.sqrt(3) + 1e-12)
    assert not found[np.isnan(values)].any()


def test_components_of_uniform_ranks_have_mean_zero_and_variance_one() -> None:
    rng = np.random.default_rng(1)
    columns = population(rng, 40_000)
    found = told(columns, columns)
    assert found.values.mean(axis=0) == pytest.approx(np.zeros(9), abs=0.03)
    assert found.values.std(axis=0) == pytest.approx(np.ones(9), abs=0.03)
    assert found.weights.sum() == pytest.approx(1)
    assert found.names[:4] == ("level of income", "level of amount", "level of age", "spread of income")


@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_unchanged_windows_keep_to_the_level(alike: float) -> None:
    rng = np.random.default_rng(2)
    before = population(rng, 10_000, alike)
    base, alarms = base_of(before), 0
    for _ in range(300):
        found = base.moved(told(population(rng, 300, alike), before))
        assert found is not None
        alarms += found.together.beyond(0.0)[0] <= 0.05
    assert alarms / 300 <= 0.09


def test_what_went_with_what_is_named_although_no_column_has_changed() -> None:
    rng = np.random.default_rng(3)
    before, after = population(rng, 20_000, 0.5), population(rng, 5000, 0.5)
    after[1] = rng.permutation(after[1])
    found = base_of(before).moved(told(after, before))
    assert found is not None
    assert found.largest(0.02)[1] in {"income with amount", "amount with age"}
    finding = joint_drift(drawn(rng, 5000), SECTION, pairs=found)
    assert finding is not None
    assert finding.outcome is Outcome.FAILED
    assert "income with amount" in finding.sentence


def test_two_windows_pooled_are_one_of_both() -> None:
    rng = np.random.default_rng(4)
    before = population(rng, 9000)
    base = base_of(before)
    halves = population(rng, 3000), population(rng, 1000)
    one, other = (base.moved(told(half, before)) for half in halves)
    both = base.moved(told([np.concatenate(pair) for pair in zip(*halves, strict=True)], before))
    assert one is not None
    assert other is not None
    assert both is not None
    pooled = one.pooled(other.means, other.together.rows)
    assert pooled is not None
    assert pooled.together.value == pytest.approx(both.together.value, rel=1e-3)
    assert (pooled.together.rows, pooled.together.spread) == (4000, both.together.spread)
    assert one.pooled({"level of income": 0.1}, 1000) is None
    assert one.pooled(other.means, 0) is None


def test_constant_columns_and_empty_windows_have_no_answer() -> None:
    constant = [np.full(50, 3.0)] * 3
    assert Base.of(told(constant, constant)) is None
    assert Base.of(Components(("x",), np.ones(1), np.empty((0, 1)))) is None
    base = base_of(population(np.random.default_rng(5), 500))
    empty = [np.empty(0)] * 3
    assert base.moved(told(empty, empty)) is None


def window(base: Base, before: list[np.ndarray], rng: np.random.Generator, by: float) -> tuple[dict[str, float], int]:
    """What a report keeps of a quiet window in which the first feature is off by some sigma."""
    columns = population(rng, 2000)
    columns[0] = columns[0] * np.exp(by)
    found = base.moved(told(columns, before))
    assert found is not None
    return found.means, found.together.rows


def test_where_quiet_windows_are_and_how_they_wander_is_usual_and_a_jump_is_not() -> None:
    rng = np.random.default_rng(6)
    before = population(rng, 20_000)
    base = base_of(before)
    week = [window(base, before, rng, 0.08 + 0.1 * (day % 7 >= 5)) for day in range(14)]
    for by, alarms in ((0.08, False), (0.18, False), (0.5, True)):
        columns = population(rng, 2000)
        columns[0] = columns[0] * np.exp(by)
        found = base.moved(told(columns, before))
        assert found is not None
        left = found.beyond_usual(week)
        assert left.together.value < found.together.value
        assert (min(left.together.beyond(1e-4)[0], left.largest(0.02)[0]) < 1e-4) is alarms


def test_four_windows_say_nothing_of_what_is_usual_and_a_large_change_is_never() -> None:
    rng = np.random.default_rng(7)
    before = population(rng, 20_000)
    base = base_of(before)
    drifted = [window(base, before, rng, 1.0) for _ in range(9)]
    columns = population(rng, 2000)
    columns[0] = columns[0] * np.exp(1.0)
    found = base.moved(told(columns, before))
    assert found is not None
    assert found.beyond_usual(drifted[:4]) is found
    assert found.beyond_usual(drifted).largest(0.02)[0] < 1e-9
