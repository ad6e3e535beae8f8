"""What a check comes to: weights, persistence, recurrence, and data, scores and performance kept apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gauntlet.core.drift_action import Evidence, suggest, weighted_score
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import (
    DriftAction,
    DriftPattern,
    DriftReport,
    FeatureDrift,
    PerformanceDrift,
    StatisticResult,
)
from gauntlet.core.specs.drift import DriftSection, PerformanceSection, PersistenceSection

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
SECTION = DriftSection(window="1d", minimum_rows=500)


def feature(name: str = "x", outcome: Outcome = Outcome.FAILED, **more: Any) -> FeatureDrift:
    return FeatureDrift(
        **{
            "feature": name,
            "segment": None,
            "kind": "numeric",
            "importance": 0.3,
            "outcome": outcome,
            "quality": False,
            "severe": False,
            "sentence": f"{name}: psi",
            "p_value": 1e-9 if outcome is Outcome.FAILED else 0.9,
            "adjusted_p": None,
            "effect": 2.0 if outcome is Outcome.FAILED else 0.1,
            "reference_rows": 9000,
            "current_rows": 2000,
            "required_rows": None,
            "statistics": (),
        }
        | more
    )


def performance(outcome: Outcome = Outcome.FAILED, metric: str = "roc_auc") -> PerformanceDrift:
    return PerformanceDrift(
        metric=metric,
        outcome=outcome,
        estimate=False,
        baseline=0.8,
        current=0.7,
        interval=(0.68, 0.72),
        limit=0.02,
        rows=900,
        sentence="roc_auc 0.800 → 0.700",
    )


def report(days: int, *features: FeatureDrift, violated: bool = False, **more: Any) -> DriftReport:
    moment = START - timedelta(days=days)
    return DriftReport(
        **{
            "model": "m",
            "run": f"r{days}",
            "as_of": moment,
            "spec_digest": "s",
            "champion": "c",
            "profile": "p",
            "profile_as_of": START,
            "mode": "profile",
            "window_start": None,
            "window_end": moment,
            "rows": 2000,
            "reference_rows": 9000,
            "outcome": Outcome.PASSED,
            "action": DriftAction.NONE,
            "pattern": DriftPattern.NONE,
            "reason": "",
            "score": 0.0,
            "carried_by": (),
            "blocked": False,
            "violated": violated,
            "features": features,
            "prediction": None,
            "performance": None,
            "page_uri": None,
            "page_sha256": None,
            "data_uri": None,
            "data_sha256": None,
        }
        | more
    )


CALM = feature("calm", Outcome.PASSED)


def test_nothing_evaluated_is_an_error_and_not_a_calm_window() -> None:
    found = suggest(Evidence(()), SECTION)
    assert found.outcome is Outcome.ERROR
    assert "nothing could be compared" in found.reason


def test_calm_is_none() -> None:
    found = suggest(Evidence((CALM,)), SECTION)
    assert (found.outcome, found.action, found.pattern) == (Outcome.PASSED, DriftAction.NONE, DriftPattern.NONE)


def test_important_drift_asks_for_a_retrain_and_names_at_most_three() -> None:
    drifted = [feature(f"x{i}", importance=0.2 - i / 100) for i in range(5)]
    found = suggest(Evidence((*drifted, CALM)), SECTION)
    assert found.action is DriftAction.RETRAIN
    assert found.carried_by == ("x0", "x1", "x2")
    assert "and 2 more" in found.reason
    assert found.score == pytest.approx(0.9)


def test_drift_the_model_hardly_uses_is_looked_at_only() -> None:
    found = suggest(Evidence((feature(importance=0.01), CALM)), SECTION)
    assert (found.action, found.violated) == (DriftAction.INVESTIGATE, False)
    assert "hardly uses" in found.reason


def test_likely_changes_count_once_another_is_certain() -> None:
    likely = feature("likely", Outcome.INCONCLUSIVE, p_value=0.1, effect=1.3)
    assert suggest(Evidence((likely,)), SECTION).action is DriftAction.NONE
    found = suggest(Evidence((likely, feature(importance=0.03))), SECTION)
    assert found.action is DriftAction.RETRAIN
    assert "probably likely too" in found.reason


def test_inconclusive_is_told_with_the_rows_that_would_decide() -> None:
    found = suggest(Evidence((feature("x", Outcome.INCONCLUSIVE, required_rows=4000),)), SECTION)
    assert (found.outcome, found.action) == (Outcome.INCONCLUSIVE, DriftAction.NONE)
    assert "4000 rows would decide" in found.reason


def test_data_quality_comes_before_everything() -> None:
    broken = feature("broken", quality=True, sentence="broken: the column is not there")
    found = suggest(Evidence((broken, feature()), performance=performance()), SECTION)
    assert (found.action, found.blocked) == (DriftAction.INVESTIGATE, True)
    assert found.reason.startswith("data quality: broken")


@pytest.mark.parametrize(
    ("history", "action"),
    [
        ((), DriftAction.INVESTIGATE),
        ((report(1, violated=True),), DriftAction.RETRAIN),
        ((report(1), report(2, violated=True)), DriftAction.RETRAIN),
        ((report(1), report(2), report(3, violated=True)), DriftAction.INVESTIGATE),
    ],
)
def test_persistence_wants_k_of_the_newest_n(history: tuple[DriftReport, ...], action: DriftAction) -> None:
    section = SECTION.model_copy(update={"persistence": PersistenceSection(violations=2, windows=3)})
    assert suggest(Evidence((feature(),), history=history), section).action is action


def test_the_newest_window_must_be_violated() -> None:
    section = SECTION.model_copy(update={"persistence": PersistenceSection(violations=1, windows=3)})
    assert suggest(Evidence((CALM,), history=(report(1, violated=True),)), section).action is DriftAction.NONE


def test_what_recurs_is_named_and_left_alone() -> None:
    section = SECTION.model_copy(update={"recurring": timedelta(days=7)})
    found = suggest(Evidence((feature(),), recurs=frozenset({"x"})), section)
    assert (found.action, found.pattern) == (DriftAction.NONE, DriftPattern.RECURRING)
    assert "1w earlier was the same" in found.reason


@pytest.mark.parametrize(
    ("effects", "pattern"),
    [
        ((), DriftPattern.SUDDEN),
        ((0.1, 0.1), DriftPattern.SUDDEN),
        ((0.9, 0.6, 0.3), DriftPattern.GRADUAL),
        ((2.0,), DriftPattern.LASTING),
    ],
)
def test_sudden_gradual_and_lasting(effects: tuple[float, ...], pattern: DriftPattern) -> None:
    history = tuple(
        report(day + 1, feature("x", Outcome.FAILED if effect > 1 else Outcome.PASSED, effect=effect))
        for day, effect in enumerate(effects)
    )
    assert suggest(Evidence((feature(),), history=history), SECTION).pattern is pattern


def test_performance_decides_between_retrain_rollback_and_recalibration() -> None:
    section = SECTION.model_copy(update={"performance": PerformanceSection()})
    assert suggest(Evidence((CALM,), performance=performance()), section).action is DriftAction.RETRAIN
    assert suggest(Evidence((CALM,), performance=performance(), young=True), section).action is DriftAction.ROLLBACK
    off = performance(metric="calibration")
    assert suggest(Evidence((CALM,), performance=off), section).action is DriftAction.RECALIBRATE


def test_performance_can_be_asked_to_persist() -> None:
    section = SECTION.model_copy(
        update={"performance": PerformanceSection(persistence=PersistenceSection(violations=2, windows=2))}
    )
    assert suggest(Evidence((CALM,), performance=performance()), section).action is DriftAction.INVESTIGATE
    history = (report(1, performance=performance()),)
    assert suggest(Evidence((CALM,), performance=performance(), history=history), section).action is DriftAction.RETRAIN


def test_scores_that_move_alone_are_looked_at() -> None:
    found = suggest(Evidence((CALM,), prediction=feature("score")), SECTION)
    assert found.action is DriftAction.INVESTIGATE
    assert found.outcome is Outcome.FAILED


def test_segments_count_by_their_rows_and_a_feature_only_once() -> None:
    north, south = (feature("x", segment=f"region={name}", importance=0.15) for name in ("north", "south"))
    assert weighted_score([north, south]) == pytest.approx(0.3)
    assert weighted_score([feature("x", importance=0.4), north, south]) == pytest.approx(0.4)


def test_what_the_model_does_not_use_is_reported_and_nobody_is_asked() -> None:
    found = suggest(Evidence((feature(importance=0.001), CALM)), SECTION)
    assert (found.action, found.carried_by) == (DriftAction.NONE, ("x",))
    assert "does not use" in found.reason


def test_a_small_change_of_everything_is_looked_at() -> None:
    joint = feature("all features", sentence="what the model uses changed")
    found = suggest(Evidence((CALM,), joint=joint), SECTION)
    assert (found.action, found.outcome) == (DriftAction.INVESTIGATE, Outcome.FAILED)
    assert "no feature beyond its own limit, but what the model uses changed" in found.reason


def test_what_few_rows_cannot_rule_out_is_told() -> None:
    joint = feature("all features", Outcome.INCONCLUSIVE, sentence="about 9000 would do")
    found = suggest(Evidence((CALM,), joint=joint), SECTION)
    assert (found.action, found.outcome) == (DriftAction.NONE, Outcome.INCONCLUSIVE)
    assert "about 9000 would do" in found.reason


def unjudged(rows: int | None) -> StatisticResult:
    return StatisticResult(
        statistic="weighted_change",
        outcome=Outcome.INCONCLUSIVE,
        judged=False,
        value=0.0,
        required_rows=rows,
        sentence="",
    )


def test_what_such_windows_are_too_small_for_is_named_and_leaves_the_verdict_on_the_rest() -> None:
    joint = feature("all features", Outcome.INCONCLUSIVE, judged=False, statistics=(unjudged(9000), unjudged(7000)))
    scores = feature("score", Outcome.PASSED, statistics=(unjudged(None),))
    labels = performance(Outcome.INCONCLUSIVE).model_copy(update={"judged": False, "required_rows": 800})
    found = suggest(Evidence((CALM,), joint=joint, prediction=scores, performance=labels), SECTION)
    assert (found.action, found.outcome) == (DriftAction.NONE, Outcome.PASSED)
    assert found.not_judged == (
        "small changes of all features together (from about 9000 rows)",
        "small changes of the scores (from more rows in both windows)",
        "performance (from about 800 labelled rows)",
    )
    assert all(name in found.reason for name in found.not_judged)
    assert suggest(Evidence((), joint=joint), SECTION).outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("labels", "action"),
    [
        (None, DriftAction.INVESTIGATE),
        (Outcome.INCONCLUSIVE, DriftAction.INVESTIGATE),
        (Outcome.PASSED, DriftAction.NONE),
    ],
)
def test_an_estimate_asks_for_a_look_until_labels_say_otherwise(labels: Outcome | None, action: DriftAction) -> None:
    section = SECTION.model_copy(update={"performance": PerformanceSection()})
    estimate = performance().model_copy(update={"estimate": True, "sentence": "estimated from scores"})
    known = performance(labels) if labels is not None else None
    assert suggest(Evidence((CALM,), performance=known, estimate=estimate), section).action is action


@pytest.mark.parametrize(
    ("earlier", "pattern"),
    [
        ((), DriftPattern.SUDDEN),
        ((0.1, 0.2), DriftPattern.SUDDEN),
        ((1.5, 0.8), DriftPattern.GRADUAL),
        ((None,), DriftPattern.LASTING),
    ],
)
def test_how_a_change_of_everything_came(earlier: tuple[float | None, ...], pattern: DriftPattern) -> None:
    past = tuple(
        report(days + 1, joint=feature("all", Outcome.FAILED if effect is None else Outcome.PASSED, effect=effect))
        for days, effect in enumerate(earlier)
    )
    assert suggest(Evidence((CALM,), joint=feature("all", effect=2.0), history=past), SECTION).pattern is pattern
