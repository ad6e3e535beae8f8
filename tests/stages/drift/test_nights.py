"""The nightly check and decision, from a window of rows to a recorded answer."""

from __future__ import annotations

import pytest
from tests.stages.drift.conftest import START, Bench, portfolio

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction, DriftPattern, DriftReport
from gauntlet.core.records.run import TriggerAction, TriggerDecision, TriggerKind
from gauntlet.stages.check_drift import check_drift
from gauntlet.stages.decide import decide


def test_without_champion_the_check_says_so_and_the_decision_is_to_bootstrap(bench: Bench) -> None:
    run = bench.run(START)
    report = check_drift(bench.services, run)
    assert report.champion is None
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "no champion" in report.reason
    decision = decide(bench.services, run)
    assert (decision.action, decision.kind) == (TriggerAction.RETRAIN, TriggerKind.BOOTSTRAP)


@pytest.mark.usefixtures("champion")
def test_a_calm_night_is_skipped_and_recorded(bench: Bench) -> None:
    bench.source.table = portfolio(5000, 2)
    run = bench.run(START)
    report = check_drift(bench.services, run)
    assert report.action is DriftAction.NONE, report.reason
    assert report.outcome is Outcome.PASSED
    assert report.rows == 5000
    decision = decide(bench.services, run)
    assert decision.action is TriggerAction.SKIP
    assert "no relevant drift" in decision.reason
    assert bench.services.records.get(run.key, TriggerDecision) == decision
    assert bench.services.records.get(run.key, DriftReport) == report


@pytest.mark.usefixtures("champion")
def test_a_covariate_shift_asks_for_a_retrain_and_names_what_carries_it(bench: Bench) -> None:
    bench.source.table = portfolio(5000, 3, income=0.8, regions=(0.15, 0.55, 0.2, 0.1))
    run = bench.run(START)
    report = check_drift(bench.services, run)
    assert report.action is DriftAction.RETRAIN, report.reason
    assert report.pattern is DriftPattern.SUDDEN
    assert set(report.carried_by) == {"income", "region"}
    assert report.score == pytest.approx(0.6)
    assert "income" in report.reason
    decision = decide(bench.services, run)
    assert (decision.action, decision.kind) == (TriggerAction.RETRAIN, TriggerKind.DRIFT)
