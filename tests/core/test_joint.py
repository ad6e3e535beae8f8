"""Everything the model uses, tested together: as quiet as promised, whatever the weights and however alike."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.core.test_drift_action import START, feature, report

from gauntlet.core.joint import (
    ALL_TOGETHER,
    CAP,
    STATISTIC,
    Combined,
    Part,
    Past,
    Question,
    combine,
    contingencies,
    heaviest,
    joint_drift,
    usual_change,
    with_score_change,
)
from gauntlet.core.joint_past import Usual
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import FeatureDrift, StatisticResult
from gauntlet.core.specs.drift import DriftSection
from gauntlet.core.statistics.base import Cells

SECTION = DriftSection(window="1d", minimum_rows=30)
M = 20_000
WEIGHTS = np.array([1.0, 0.6, 0.3, 0.2, 0.1, 0.05])
TENTHS = np.full(10, 0.1)


def cells(before: Any, after: Any) -> Cells:
    before, after = np.asarray(before, np.int64), np.asarray(after, np.int64)
    return Cells(tuple(f"c{i}" for i in range(len(before))), before, after)


def drawn(rng: np.random.Generator, n: int, shares: np.ndarray = TENTHS, weights: np.ndarray = WEIGHTS) -> list[Part]:
    return [
        Part(f"x{i}", float(weight), cells(rng.multinomial(M, TENTHS), rng.multinomial(n, shares)))
        for i, weight in enumerate(weights)
    ]


def tilted(by: float) -> np.ndarray:
    """Deciles of a normal that has moved so that its PSI is about ``by``."""
    slope = np.linspace(-1, 1, 10)
    return TENTHS * (1 + slope * np.sqrt(by / float((slope**2).mean())))


@pytest.mark.parametrize("n", [50, 1000, 100_000])
@pytest.mark.parametrize("weights", [WEIGHTS, np.array([1.0]), np.ones(40)])
def test_unchanged_windows_keep_to_the_level_for_any_weights(n: int, weights: np.ndarray) -> None:
    rng = np.random.default_rng(n)
    p = [found.beyond(0.0)[0] for _ in range(400) if (found := combine(drawn(rng, n, weights=weights))) is not None]
    assert len(p) == 400
    assert np.mean(np.array(p) <= 0.05) <= 0.085  # 400 draws: 5 % and 3 sigma
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.12)


def alike(rng: np.random.Generator, n: int, columns: int) -> np.ndarray:
    """Deciles of columns that are nearly the same."""
    common = rng.normal(size=n)
    values = np.column_stack([common + 0.1 * rng.normal(size=n) for _ in range(columns)])
    edges = np.sqrt(1.01) * np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0, 0.2533, 0.5244, 0.8416, 1.2816])
    return np.searchsorted(edges, values)


def test_features_that_are_alike_count_once_when_their_dependence_is_known() -> None:
    rng = np.random.default_rng(5)
    wrong, right = 0, 0
    dependence = contingencies(alike(rng, 1000, 8), [10] * 8)
    for _ in range(300):
        before, after = alike(rng, 4000, 8), alike(rng, 1000, 8)
        parts = [
            Part(f"x{i}", 1.0, cells(np.bincount(before[:, i], minlength=10), np.bincount(after[:, i], minlength=10)))
            for i in range(8)
        ]
        known, unknown = combine(parts, dependence), combine(parts)
        assert known is not None
        assert unknown is not None
        right += known.beyond(0.0)[0] <= 0.05
        wrong += unknown.beyond(0.0)[0] <= 0.05
    assert right / 300 <= 0.09
    assert wrong > right


def test_contingency_is_nothing_for_independent_columns_and_all_for_the_same() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 10, (20_000, 2))
    codes = np.column_stack((codes, codes[:, 0]))
    phi = contingencies(codes, [10, 10, 10])
    assert phi[0, 2] == pytest.approx(9, abs=0.05)
    assert phi[0, 1] == pytest.approx(0, abs=0.01)
    assert not contingencies(np.empty((0, 2), np.int64), [3, 3]).any()


def test_a_small_change_of_everything_is_found_and_its_carriers_named() -> None:
    rng = np.random.default_rng(2)
    weights = np.array([0.1, 1.0, 0.6])
    parts = drawn(rng, 8000, weights=weights)
    parts[1] = Part("x1", 1.0, cells(parts[1].cells.reference, rng.multinomial(8000, tilted(0.02))))
    found = joint_drift(parts, SECTION)
    assert found is not None
    assert found.outcome is Outcome.FAILED
    assert "mostly x1" in found.sentence


def test_a_change_below_the_limit_does_not_matter_however_many_rows() -> None:
    rng = np.random.default_rng(3)
    found = joint_drift(drawn(rng, 3_000_000, tilted(0.0005)), SECTION)
    assert found is not None
    assert found.outcome is Outcome.PASSED


def test_what_the_model_does_not_use_does_not_count() -> None:
    rng = np.random.default_rng(4)
    parts = drawn(rng, 20_000)
    moved = Part("unused", 0.0, cells(parts[0].cells.reference, rng.multinomial(20_000, tilted(0.3))))
    found = joint_drift([*parts, moved], SECTION)
    assert found is not None
    assert found.outcome is not Outcome.FAILED
    assert combine([moved]) is None
    assert joint_drift([moved], SECTION) is None
    assert joint_drift(parts, SECTION.model_copy(update={"joint": None})) is None


def test_too_few_rows_say_how_many_would_do_and_they_do() -> None:
    rng = np.random.default_rng(6)
    found = joint_drift(drawn(rng, 400), SECTION)
    assert found is not None
    assert found.outcome is Outcome.INCONCLUSIVE
    needed = found.required_rows
    assert needed is not None
    again = [joint_drift(drawn(rng, needed), SECTION) for _ in range(40)]
    assert sum(one is not None and one.outcome is Outcome.PASSED for one in again) >= 30


def test_whether_a_window_can_be_judged_depends_on_its_rows_alone_and_is_never_a_pass() -> None:
    rng = np.random.default_rng(16)
    small = [joint_drift(drawn(rng, 1700), SECTION) for _ in range(40)]
    (needed,) = {one.required_rows for one in small if one is not None}
    assert {(one.outcome, one.judged) for one in small if one is not None} == {(Outcome.INCONCLUSIVE, False)}
    assert all(f"about {needed} would do" in one.sentence for one in small if one is not None)
    assert needed is not None
    enough = [joint_drift(drawn(rng, needed), SECTION) for _ in range(40)]
    assert all(one is not None and (one.judged or one.outcome is Outcome.PASSED) for one in enough)


@pytest.mark.parametrize("n", [1700, 8000, 100_000])
def test_what_is_said_to_be_found_at_this_size_is_found(n: int) -> None:
    rng = np.random.default_rng(17)
    found_from = combined(n).found_from(SECTION.joint or 0.0, SECTION.alpha * ALL_TOGETHER)
    moved = [joint_drift(drawn(rng, n, tilted(found_from)), SECTION) for _ in range(60)]
    assert sum(one is not None and one.outcome is Outcome.FAILED for one in moved) >= 48


def test_a_window_below_the_minimum_is_inconclusive_and_not_merely_small() -> None:
    found = joint_drift(drawn(np.random.default_rng(18), 25), SECTION)
    assert found is not None
    assert (found.outcome, found.judged) == (Outcome.INCONCLUSIVE, True)


def test_heaviest_keeps_what_holds_the_weight() -> None:
    parts = drawn(np.random.default_rng(0), 100, weights=np.array([0.001, 5.0, 3.0, 0.002]))
    assert [part.name for part in heaviest(parts)] == ["x1", "x2"]


# ---- what is usual ---------------------------------------------------------------------------------


def combined(n: int = 1700) -> Combined:
    found = combine(drawn(np.random.default_rng(9), n))
    assert found is not None
    return found


ASKED = Question(STATISTIC, "small changes are", "it changed by", 0.002, CAP, 0.001)


def earlier(change: float, outcome: Outcome = Outcome.PASSED) -> FeatureDrift:
    """A finding of an earlier check, in limits."""
    result = StatisticResult(
        statistic=STATISTIC, outcome=outcome, value=change * 0.002, limit=0.002, p_value=0.5, sentence=""
    )
    return feature("all features", outcome, effect=change, reference_rows=M, statistics=(result,))


def test_what_quiet_windows_always_had_is_usual_up_to_a_cap() -> None:
    now = combined()
    assert usual_change([earlier(3.0)] * 4, now, ASKED) == Usual(0.0, 1.0)
    assert usual_change([earlier(3.0)] * 5, now, ASKED) == Usual(pytest.approx(3.0), pytest.approx(3.0))
    assert usual_change([earlier(0.1)] * 9, now, ASKED) == Usual(pytest.approx(0.1), 1.0)
    assert usual_change([earlier(50.0)] * 9, now, ASKED).most == CAP
    assert usual_change([earlier(3.0, Outcome.FAILED)] * 9 + [None], now, ASKED) == Usual()


def test_windows_that_overlap_do_not_say_what_is_usual() -> None:
    hours = [report(0, as_of=START - timedelta(hours=h), window_end=START - timedelta(hours=h)) for h in range(1, 80)]
    past = Past(hours, START - timedelta(days=1), timedelta(days=1))
    assert [one.window_end for one in past.apart()] == [START - timedelta(days=d) for d in (1, 2, 3)]


def test_a_season_becomes_usual_and_a_jump_does_not() -> None:
    rng = np.random.default_rng(8)
    quiet = tuple(report(d, joint=earlier(2.5)) for d in range(1, 12))
    past = Past(quiet, START - timedelta(days=1), timedelta(days=1))
    season = joint_drift(drawn(rng, 8000, tilted(0.005)), SECTION, past)
    jump = joint_drift(drawn(rng, 8000, tilted(0.025)), SECTION, past)
    assert season is not None
    assert jump is not None
    assert (season.outcome is Outcome.FAILED, jump.outcome) == (False, Outcome.FAILED)
    assert "usual of this champion's windows" in season.sentence


def test_an_open_finding_is_closed_only_when_it_is_likely_over() -> None:
    rng = np.random.default_rng(12)
    parts = next(
        found
        for _ in range(200)
        if (now := combine(found := drawn(rng, 1700))) is not None and 0.01 < now.beyond(0.002)[0] < 0.19
    )
    alone = joint_drift(parts, SECTION)
    after = joint_drift(parts, SECTION, Past((report(1, joint=earlier(4.0, Outcome.FAILED)),)))
    assert alone is not None
    assert after is not None
    assert (alone.outcome is Outcome.FAILED, after.outcome) == (False, Outcome.FAILED)
    assert "not yet over" in after.sentence


def test_scores_are_asked_the_same_question() -> None:
    rng = np.random.default_rng(7)
    calm = feature("score", Outcome.PASSED, reference_rows=M)
    moved = with_score_change(calm, cells(rng.multinomial(M, TENTHS), rng.multinomial(9000, tilted(0.02))), SECTION)
    same = with_score_change(calm, cells(rng.multinomial(M, TENTHS), rng.multinomial(200_000, TENTHS)), SECTION)
    assert (moved.outcome, same.outcome) == (Outcome.FAILED, Outcome.PASSED)
    assert "distribution of scores changed" in moved.sentence
    error = feature("score", Outcome.ERROR)
    assert with_score_change(error, cells([5, 5], [9, 1]), SECTION) is error
