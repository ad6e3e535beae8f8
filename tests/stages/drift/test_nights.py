"""The nightly check and decision, from a window of rows to a recorded answer."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from tests.stages.drift.conftest import DAY, MODEL, START, Bench, portfolio

from gauntlet.core.errors import DataRejected, InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction, DriftPattern, DriftReport, StatisticResult
from gauntlet.core.records.gates import GateReceipt, GateVerdict, PromotionDecision
from gauntlet.core.records.run import TriggerAction, TriggerDecision, TriggerKind
from gauntlet.stages.check_drift import check_drift, consult_drift
from gauntlet.stages.decide import decide
from gauntlet.stages.line import set_line


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
    assert {one.outcome for one in report.features} == {Outcome.PASSED}
    assert report.joint is not None
    # What so few rows can answer is answered; what they cannot is named, and is no pass.
    assert report.outcome is Outcome.PASSED
    assert (report.joint.outcome, report.joint.judged) == (Outcome.INCONCLUSIVE, False)
    (beyond,) = report.not_judged
    assert beyond.startswith("small changes of all features together (from")
    assert f"not judged at this size: {beyond}" in report.reason
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


@pytest.mark.usefixtures("champion")
def test_the_check_again_changes_nothing(bench: Bench) -> None:
    bench.source.table = portfolio(3000, 2)
    run = bench.run(START)
    first = check_drift(bench.services, run), decide(bench.services, run)
    written = len(bench.services.audit.entries(run.model))
    bench.clock.moment += DAY
    assert (check_drift(bench.services, run), decide(bench.services, run)) == first
    assert len(bench.services.audit.entries(run.model)) == written
    assert not list(bench.services.scratch.iterdir())


@pytest.mark.usefixtures("champion")
def test_page_and_data_are_stored_and_attached(bench: Bench) -> None:
    bench.source.table = portfolio(3000, 2, income=0.7)
    run = bench.run(START)
    report = check_drift(bench.services, run)
    assert report.page_uri is not None
    assert report.page_sha256 is not None
    assert report.data_uri is not None
    assert report.data_sha256 is not None
    page = bench.services.blobs.fetch(report.page_uri, report.page_sha256).read_text()
    assert "income" in page
    assert "http" not in page.replace("http-equiv", "")
    stored = DriftReport.model_validate_json(
        bench.services.blobs.fetch(report.data_uri, report.data_sha256).read_bytes()
    )
    assert stored.features == report.features
    assert bench.registry.logged[run.key] == ["drift/drift.html", "drift/drift.json"]
    assert decide(bench.services, run).action is TriggerAction.RETRAIN
    assert not bench.registry.finished


@pytest.mark.usefixtures("champion")
def test_a_silent_registry_does_not_silence_the_check(bench: Bench) -> None:
    bench.registry.fault = InfrastructureError("registry: no answer in 5 s")
    bench.source.table = portfolio(3000, 2)
    run = bench.run(START)
    report = check_drift(bench.services, run)
    assert (report.action, {one.outcome for one in report.features}) == (DriftAction.NONE, {Outcome.PASSED})
    assert decide(bench.services, run).action is TriggerAction.SKIP


@pytest.mark.usefixtures("champion")
def test_a_window_without_rows_is_no_calm_night(bench: Bench) -> None:
    bench.source.fault = DataRejected("loans: no row between the two times")
    run = bench.run(START)
    report = check_drift(bench.services, run)
    assert (report.outcome, report.action, report.blocked) == (Outcome.ERROR, DriftAction.INVESTIGATE, True)
    decision = decide(bench.services, run)
    assert decision.action is TriggerAction.SKIP
    assert decision.evidence["held_by"] == "data quality"
    asked = bench.run(START, "by-hand", TriggerKind.MANUAL, reason="feed is repaired", force_retrain=True)
    forced = decide(bench.services, asked)
    assert forced.action is TriggerAction.RETRAIN


@pytest.mark.usefixtures("champion")
def test_an_empty_column_blocks_and_is_named(bench: Bench) -> None:
    table = portfolio(3000, 2)
    bench.source.table = table.set_column(
        table.column_names.index("income"), "income", pa.nulls(table.num_rows, pa.float64())
    )
    report = check_drift(bench.services, bench.run(START))
    assert report.blocked
    assert report.carried_by == ("income",)
    assert "all 3000 rows are missing" in report.reason


@pytest.mark.usefixtures("champion")
def test_few_rows_are_inconclusive(bench: Bench) -> None:
    bench.source.table = portfolio(80, 2, income=0.5)
    report = check_drift(bench.services, bench.run(START))
    assert (report.outcome, report.action) == (Outcome.INCONCLUSIVE, DriftAction.NONE)
    assert "500 are needed" in report.reason


@pytest.mark.usefixtures("champion")
def test_the_asset_and_the_nightly_act_once_on_the_same_report(bench: Bench) -> None:
    bench.set_drift(cooldown="1h")
    bench.source.table = portfolio(5000, 3, income=0.7)
    hourly = bench.run(START, "hourly", TriggerKind.DRIFT)
    check_drift(bench.services, hourly)
    assert decide(bench.services, hourly).action is TriggerAction.RETRAIN
    later = decide(bench.services, bench.run(START + DAY / 6, "nightly"))
    assert later.action is TriggerAction.SKIP
    assert later.evidence["held_by"] == "duplicate"


@pytest.mark.usefixtures("champion")
def test_a_report_on_an_earlier_champion_is_void(bench: Bench) -> None:
    bench.source.table = portfolio(5000, 3, income=0.7)
    check_drift(bench.services, bench.run(START, "hourly"))
    bench.train(START - DAY / 2, portfolio(9000, 8, START - DAY / 2, days=3, income=0.7))
    decision = decide(bench.services, bench.run(START + DAY / 6, "nightly"))
    assert decision.action is TriggerAction.SKIP
    assert "no drift report on the champion" in decision.reason


@pytest.mark.usefixtures("champion")
def test_a_stopped_line_holds_until_it_runs_again(bench: Bench) -> None:
    bench.source.table = portfolio(5000, 3, income=0.7)
    run = bench.run(START)
    check_drift(bench.services, run)
    set_line(bench.services, run.model, stopped=True, by="ada", reason="quarter end")
    assert "ada: quarter end" in decide(bench.services, run).reason
    set_line(bench.services, run.model, stopped=False, by="ada", reason="it has ended")
    assert decide(bench.services, run).action is TriggerAction.RETRAIN


@pytest.mark.usefixtures("champion")
def test_volume_is_counted_from_the_champions_data_on(bench: Bench) -> None:
    bench.set_drift(volume=1000)
    bench.source.table = portfolio(3000, 2)
    bench.source.labelled = portfolio(6000, 4, days=20)
    run = bench.run(START)
    check_drift(bench.services, run)
    decision = decide(bench.services, run)
    assert (decision.action, decision.kind) == (TriggerAction.RETRAIN, TriggerKind.VOLUME)
    assert bench.source.pulls[-1] == (START - 9 * DAY, START, True)


def verdict(run: str, outcome: Outcome) -> PromotionDecision:
    return PromotionDecision(
        model=MODEL,
        run=run,
        outcome=outcome,
        reason="told",
        candidate="a",
        champion="b",
        holdout="h",
        spec_digest="s",
        receipts={},
        version=None,
        decided_at=START,
    )


def receipt(run: str, outcome: Outcome) -> GateReceipt:
    return GateReceipt(
        verdict=GateVerdict(gate="smoke", outcome=outcome, reason="told", mode=None, measurements=()),
        model=MODEL,
        run=run,
        candidate="a",
        champion="b",
        holdout="h",
        spec_digest="s",
        code_digest="c",
        started_at=START,
        finished_at=START,
    )


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
def test_a_gate_that_refuses_ends_the_cycle_and_one_that_passes_does_not(bench: Bench, outcome: Outcome) -> None:
    bench.set_drift(volume=2500, cooldown="1h")
    bench.source.table = portfolio(3000, 2)
    bench.source.labelled = portfolio(6000, 4, days=20)
    first = bench.run(START)
    check_drift(bench.services, first)
    assert decide(bench.services, first).kind is TriggerKind.VOLUME
    bench.services.records.put(first.key, receipt(first.run, outcome), "smoke")
    again = decide(bench.services, bench.run(START + timedelta(hours=6)))
    assert (again.action is TriggerAction.SKIP) is (outcome is Outcome.FAILED), again.reason


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("outcome", [None, Outcome.FAILED, Outcome.PASSED])
def test_rows_are_consumed_when_a_cycle_ends_and_not_when_it_was_cut_off(bench: Bench, outcome: Outcome | None) -> None:
    bench.set_drift(volume=2500, cooldown="1h")
    bench.source.table = portfolio(3000, 2)
    bench.source.labelled = portfolio(6000, 4, days=20)
    first = bench.run(START)
    check_drift(bench.services, first)
    assert decide(bench.services, first).kind is TriggerKind.VOLUME
    if outcome is not None:
        bench.services.records.put(first.key, verdict(first.run, outcome))
    later = bench.run(START + timedelta(hours=6))
    decision = decide(bench.services, later)
    again = decision.action is TriggerAction.RETRAIN
    assert again is (outcome is None), decision.reason
    consumed = START - 2 * DAY if outcome is None else START
    assert bench.source.pulls[-1] == (consumed - 7 * DAY, later.as_of, True)


@pytest.mark.usefixtures("champion")
def test_an_old_champion_is_retrained_without_drift(bench: Bench) -> None:
    later = START + 40 * DAY
    bench.source.table = portfolio(3000, 2, later)
    run = bench.run(later)
    check_drift(bench.services, run)
    assert decide(bench.services, run).kind is TriggerKind.AGE


@pytest.mark.usefixtures("champion")
def test_segments_of_the_spec_are_checked_each(bench: Bench) -> None:
    bench.set_drift(segments=["region"])
    bench.train(START - DAY, portfolio(20_000, 1, START - DAY, days=30))
    table = portfolio(8000, 5)
    income, west = table["income"].to_numpy(), table["region"].to_numpy() == "west"
    moved = pa.array(np.where(west, income * 0.4, income), from_pandas=True)
    bench.source.table = table.set_column(table.column_names.index("income"), "income", moved)
    report = check_drift(bench.services, bench.run(START))
    failed = {(one.feature, one.segment) for one in report.features if one.outcome is Outcome.FAILED}
    assert failed == {("income", "region=west")}
    assert report.score == pytest.approx(0.4 * 0.1, rel=0.2)


def test_a_segment_of_few_rows_is_named_and_hides_no_verdict_on_the_rest(bench: Bench) -> None:
    bench.set_drift(segments=["region"])
    bench.train(START - DAY, portfolio(12_000, 3, START - DAY, days=30))
    bench.source.table = portfolio(3000, 5, regions=(0.5, 0.45, 0.04, 0.01))
    report = check_drift(bench.services, bench.run(START))
    small = [one for one in report.features if not one.judged]
    assert {one.segment for one in small} == {"region=east", "region=west"}
    assert {one.outcome for one in small} == {Outcome.INCONCLUSIVE}
    assert all(any(str(one.segment) in told for told in report.not_judged) for one in small)
    assert report.outcome is Outcome.FAILED  # the regions themselves changed


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("mode", ["profile", "exact"])
def test_exact_mode_says_the_same_without_intervals(bench: Bench, mode: str) -> None:
    bench.set_drift(mode=mode)
    bench.source.table = portfolio(3000, 2)
    report = check_drift(bench.services, bench.run(START))
    ks = {one.feature: result for one in report.features for result in one.statistics if result.statistic == "ks"}
    assert set(ks) == {"income", "amount", "open_loans"}
    assert all((one.low is None) == (mode == "exact") for one in ks.values())
    assert report.action is DriftAction.NONE


@pytest.mark.usefixtures("champion")
def test_what_was_so_a_week_ago_recurs(bench: Bench) -> None:
    bench.set_drift(recurring="7d")
    weekend, earlier = portfolio(4000, 3, income=0.7), portfolio(4000, 4, START - 7 * DAY, income=0.7)
    bench.source.table = pa.concat_tables([earlier, weekend])
    report = check_drift(bench.services, bench.run(START))
    assert (report.action, report.pattern) == (DriftAction.NONE, DriftPattern.RECURRING)
    bench.source.table = pa.concat_tables([portfolio(4000, 4, START - 7 * DAY), weekend])
    report = check_drift(bench.services, bench.run(START, "again"))
    assert report.action is DriftAction.RETRAIN


@pytest.mark.usefixtures("champion")
def test_persistence_waits_for_the_second_window(bench: Bench) -> None:
    bench.set_drift(persistence={"violations": 2, "windows": 3})
    for night in range(2):
        at = START + night * DAY
        bench.source.table = portfolio(4000, 3 + night, at, income=0.7)
        report = check_drift(bench.services, bench.run(at))
        assert report.action is (DriftAction.RETRAIN if night else DriftAction.INVESTIGATE)
    assert report.pattern is DriftPattern.LASTING


def test_thirty_nights_of_a_stationary_portfolio_are_quiet(bench: Bench) -> None:
    bench.train(START - 2 * DAY, portfolio(9000, 1, START - 2 * DAY, days=30))
    alarms = []
    for night in range(30):
        at = START + night * DAY / 24
        bench.source.table = portfolio(1200, 100 + night, at)
        report = check_drift(bench.services, bench.run(at))
        if report.action is not DriftAction.NONE:
            alarms.append(report.reason)
    assert not alarms


@pytest.mark.usefixtures("champion")
def test_an_interval_around_the_limit_is_refined_from_the_rows_themselves(bench: Bench) -> None:
    bench.source.table = portfolio(3000, 2, income=0.9)
    first = check_drift(bench.services, bench.run(START))
    bounds = next(one for one in _of(first, "income") if one.statistic == "ks")
    assert bounds.low is not None
    assert bounds.high is not None
    bench.set_drift(limits={"ks": 0.5 * (bounds.low + bounds.high)})
    refined = check_drift(bench.services, bench.run(START, "again"))
    exact = next(one for one in _of(refined, "income") if one.statistic == "ks")
    assert exact.low is None
    assert exact.value is not None
    assert bounds.low <= exact.value <= bounds.high
    untouched = next(one for one in _of(refined, "amount") if one.statistic == "ks")
    assert untouched.low is not None


def _of(report: DriftReport, feature: str) -> tuple[StatisticResult, ...]:
    return next(one.statistics for one in report.features if (one.feature, one.segment) == (feature, None))


@pytest.mark.usefixtures("champion")
def test_segments_are_read_whole_in_exact_mode(bench: Bench) -> None:
    bench.set_drift(segments=["region"], mode="exact")
    bench.train(START - DAY, portfolio(12_000, 3, START - DAY, days=30))
    bench.source.table = portfolio(6000, 5)
    report = check_drift(bench.services, bench.run(START))
    parts = [one for one in report.features if one.segment == "region=south" and one.kind == "numeric"]
    assert {one.feature for one in parts} == {"income", "amount", "open_loans"}
    for one in parts:
        values = {each.statistic: each for each in one.statistics}
        assert values["ks"].low is None
        assert values["wasserstein"].low is None
        assert one.outcome is not Outcome.FAILED
    south = bench.source.table.filter(pa.compute.equal(bench.source.table["region"], "south"))
    assert {one.current_rows for one in parts} == {south.num_rows}


@pytest.mark.usefixtures("champion")
def test_what_goes_with_what_is_looked_at_and_kept_for_the_next_window(bench: Bench) -> None:
    from tests.stages.drift.conftest import IMPORTANCES

    def night(seed: int, until: object, *, tied: bool) -> pa.Table:
        table = portfolio(6000, seed, until)  # type: ignore[arg-type]
        if not tied:
            return table
        loans = np.sort(table["open_loans"].to_numpy())[np.argsort(np.argsort(table["amount"].to_numpy()))]
        return table.set_column(table.column_names.index("open_loans"), "open_loans", pa.array(loans))

    assert IMPORTANCES["open_loans"] > 0
    bench.source.table = night(5, START, tied=False)
    calm = check_drift(bench.services, bench.run(START))
    assert calm.action is DriftAction.NONE, calm.reason
    assert calm.means_rows == 6000
    assert "amount with open_loans" in calm.means
    bench.source.table = night(6, START + DAY, tied=True)
    tied = check_drift(bench.services, bench.run(START + DAY))
    assert {one.outcome for one in tied.features} == {Outcome.PASSED}
    assert tied.action is DriftAction.INVESTIGATE
    assert "amount with open_loans" in tied.reason


def test_a_check_reads_no_row_of_the_past(bench: Bench) -> None:
    """What the champion was trained on is in its profile: an hourly check costs what its own window costs."""
    bench.train(START - 2 * DAY, portfolio(20_000, 1, START - 2 * DAY, days=30))
    rows = list((bench.folder / "blobs").rglob("train-*.parquet"))
    assert rows
    for path in rows:
        path.unlink()
    bench.source.table = portfolio(5000, 5)
    report = check_drift(bench.services, bench.run(START))
    assert report.outcome is Outcome.PASSED
    assert report.means_rows == 5000
    assert "amount with open_loans" in report.means
    assert len(bench.source.pulls) == 1


def test_a_profile_that_does_not_say_what_goes_with_what_leaves_it_open(bench: Bench) -> None:
    bench.set_drift(joint_pairs=None)
    bench.train(START - 2 * DAY, portfolio(9000, 1, START - 2 * DAY, days=30))
    bench.set_drift()
    bench.source.table = portfolio(5000, 5)
    report = check_drift(bench.services, bench.run(START))
    assert report.joint is not None
    assert report.joint.outcome is report.outcome is Outcome.INCONCLUSIVE
    assert "retrain to get it" in report.reason
    assert (report.means, report.means_rows) == ({}, 0)


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize(("later", "pulls"), [(timedelta(hours=1), 1), (timedelta(hours=3), 2)])
def test_the_nightly_takes_a_fresh_report_and_checks_itself_when_there_is_none(
    bench: Bench, later: timedelta, pulls: int
) -> None:
    bench.source.table = portfolio(3000, 2, START + timedelta(hours=3), income=0.7)
    first = bench.run(START)
    report = check_drift(bench.services, first)
    nightly = bench.run(START + later, name="nightly")
    found = consult_drift(bench.services, nightly)
    assert (found == report) is (pulls == 1)
    assert len(bench.source.pulls) == pulls
    assert consult_drift(bench.services, nightly) == found == bench.services.records.get(nightly.key, DriftReport)
    assert len(bench.source.pulls) == pulls
    assert decide(bench.services, nightly).action is TriggerAction.RETRAIN


@pytest.mark.usefixtures("champion")
def test_a_report_on_another_champion_or_by_another_spec_is_not_taken(bench: Bench) -> None:
    bench.source.table = portfolio(3000, 2)
    check_drift(bench.services, bench.run(START))
    bench.set_drift(psi=0.2)
    consult_drift(bench.services, bench.run(START, name="other-spec"))
    assert len(bench.source.pulls) == 2
    bench.train(START, portfolio(9000, 3, START, days=30))
    consult_drift(bench.services, bench.run(START, name="other-champion"))
    assert len(bench.source.pulls) == 3
