"""The small form of a drift report: what is shown of many nights, and the bars of one."""

from __future__ import annotations

import pytest
from tests.stages.drift.conftest import START, Bench, portfolio

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftShares, DriftSummary
from gauntlet.stages.check_drift import check_drift


@pytest.mark.usefixtures("champion")
def test_a_check_leaves_a_line_per_feature_that_agrees_with_its_report(bench: Bench) -> None:
    bench.source.table = portfolio(5000, 3, income=0.8)
    run = bench.run(START)
    report = check_drift(bench.services, run)
    small = bench.services.records.get(run.key, DriftSummary)
    whole = [one for one in report.features if one.segment is None]
    assert small.features == tuple(one.feature for one in whole)
    assert small.outcomes == tuple(one.outcome for one in whole)
    assert small.effects == pytest.approx([one.effect for one in whole], abs=0.001)
    assert (small.action, small.outcome, small.score) == (report.action, report.outcome, report.score)
    assert small.outcomes[small.features.index("income")] is Outcome.FAILED


@pytest.mark.usefixtures("champion")
def test_the_bars_of_both_windows_are_shares_of_the_same_cells(bench: Bench) -> None:
    bench.source.table = portfolio(5000, 3, income=0.8)
    run = bench.run(START)
    check_drift(bench.services, run)
    small = bench.services.records.get(run.key, DriftSummary)
    assert small.shares_uri is not None
    assert small.shares_sha256 is not None
    path = bench.services.blobs.fetch(small.shares_uri, small.shares_sha256)
    kept = DriftShares.model_validate_json(path.read_bytes())
    bars = {one.feature: one for one in kept.features}
    assert set(bars) == {"income", "amount", "open_loans", "employed", "region"}
    for one in kept.features:
        assert len(one.cells) == len(one.reference) == len(one.current)
        assert sum(one.reference) == pytest.approx(1, abs=1e-3)
        assert sum(one.current) == pytest.approx(1, abs=1e-3)
    apart = {
        name: sum(abs(a - b) for a, b in zip(one.reference, one.current, strict=True)) for name, one in bars.items()
    }
    assert max(apart, key=lambda name: apart[name]) == "income"


def test_without_champion_there_is_a_summary_and_nothing_to_draw(bench: Bench) -> None:
    run = bench.run(START)
    check_drift(bench.services, run)
    small = bench.services.records.get(run.key, DriftSummary)
    assert (small.champion, small.features, small.shares_uri) == (None, (), None)
