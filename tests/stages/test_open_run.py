"""What a run is about is settled once, from whatever started it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.errors import DataRejected, SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, TriggerKind
from gauntlet.stages.open_run import open_run

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
NIGHT = datetime(2026, 3, 9, 2, tzinfo=UTC)


@pytest.fixture
def services() -> SimpleNamespace:
    clock = SimpleNamespace(now=lambda: NOW)
    specs = SimpleNamespace(get=lambda model: SimpleNamespace(digest="d" * 64))
    return SimpleNamespace(clock=clock, specs=specs, records=MemoryStore(clock).records)


def opened(services, run: str = "r", **changes) -> RunContext:
    facts = {"run_type": "scheduled", "logical_date": NIGHT, "run_after": NOW, "params": {}, "requested_by": "airflow"}
    return open_run(services, "m", run, **{**facts, **changes})


def test_a_scheduled_run_is_as_of_its_logical_date(services) -> None:
    run = opened(services)
    assert (run.as_of, run.kind, run.reason) == (NIGHT, TriggerKind.SCHEDULE, "on schedule")
    assert services.records.get("m/r", RunContext) == run


def test_a_run_without_logical_date_is_as_of_when_it_became_due(services) -> None:
    assert opened(services, logical_date=None).as_of == NOW


@pytest.mark.parametrize("reason", [None, "", "   ", "why"])
def test_a_manual_run_wants_a_reason(services, reason) -> None:
    with pytest.raises(DataRejected, match="reason: a run started by hand needs one"):
        opened(services, run_type="manual", params={"reason": reason})
    assert services.records.find("m/r", RunContext) is None


def test_a_manual_run_keeps_who_why_when_and_force(services) -> None:
    params = {"reason": "new bureau feature", "as_of": "2026-03-01T04:00:00+02:00", "force_retrain": True}
    run = opened(services, run_type="manual", params=params, requested_by="ada")
    assert run.as_of == datetime(2026, 3, 1, 2, tzinfo=UTC)
    assert (run.kind, run.reason, run.requested_by, run.force_retrain) == (
        TriggerKind.MANUAL,
        "new bureau feature",
        "ada",
        True,
    )


def test_an_as_of_time_that_is_none_is_refused_by_name(services) -> None:
    with pytest.raises(SpecError, match="as_of: 'yesterday' is no ISO 8601 time"):
        opened(services, params={"as_of": "yesterday"})


def test_a_cleared_task_gets_the_same_context_back(services) -> None:
    first = opened(services)
    assert opened(services, logical_date=NIGHT + timedelta(days=1), params={"force_retrain": True}) == first


def decision(action: TriggerAction, at: datetime, as_of: datetime) -> TriggerDecision:
    return TriggerDecision(
        model="m",
        run=f"drift-{at.isoformat()}",
        as_of=as_of,
        action=action,
        kind=TriggerKind.DRIFT,
        reason=f"income has moved by {at.hour}",
        evidence={},
        decision_id="i",
        decided_at=at,
    )


def test_a_run_started_by_drift_is_about_the_newest_decision_to_retrain(services) -> None:
    """Airflow may fold several events into one run: the event is a signal, the store has the facts."""
    for hour, action in ((1, TriggerAction.RETRAIN), (2, TriggerAction.RETRAIN), (3, TriggerAction.SKIP)):
        made = decision(action, NIGHT + timedelta(hours=hour), NIGHT + timedelta(minutes=hour))
        services.records.put(f"m/{made.run}", made)
    run = opened(services, run_type="asset_triggered", logical_date=None)
    assert run.kind is TriggerKind.DRIFT
    assert run.as_of == NIGHT + timedelta(minutes=2)
    assert run.reason == "income has moved by 4"


def test_a_run_started_by_a_challenger_is_as_of_the_night_that_made_it(services) -> None:
    night = opened(services, "night")
    services.records.put(
        night.key,
        PromotionDecision(
            model="m",
            run="night",
            outcome=Outcome.PASSED,
            reason="all gates passed",
            candidate="c",
            champion=None,
            holdout="h",
            spec_digest="d" * 64,
            receipts={},
            version=1,
            decided_at=NOW,
        ),
    )
    run = opened(services, "canary", run_type="asset_triggered", logical_date=None)
    assert (run.kind, run.as_of, run.reason) == (TriggerKind.CHALLENGER, NIGHT, "all gates passed")


@pytest.mark.parametrize("text", ["yesterday", "0001-01-01", "1969-12-31T23:59:59Z"])
def test_an_as_of_time_that_no_data_can_have_is_refused(services, text: str) -> None:
    with pytest.raises(SpecError, match="as_of: "):
        opened(services, run_type="manual", params={"reason": "a look back", "as_of": text})
    assert services.records.find("m/r", RunContext) is None


@pytest.mark.parametrize("run_type", ["manual", "scheduled", "asset_triggered"])
@pytest.mark.parametrize("text", ["2026-03-09T08:06:00Z", "2026-03-10", "9999-12-31T23:59:59+00:00"])
def test_an_as_of_time_in_the_future_is_refused_whoever_asks(services, text: str, run_type: str) -> None:
    with pytest.raises(SpecError, match=r"as_of: .* lies in the future, the latest is 2026-03-09 08:0"):
        opened(services, run_type=run_type, params={"reason": "a look ahead", "as_of": text})
    assert services.records.find("m/r", RunContext) is None


def test_a_logical_date_in_the_future_is_no_way_round(services) -> None:
    with pytest.raises(SpecError, match=r"the logical date: .* lies in the future"):
        opened(services, run_type="manual", logical_date=NOW + timedelta(days=1), params={"reason": "a look ahead"})
    assert services.records.find("m/r", RunContext) is None


@pytest.mark.parametrize("ahead", [timedelta(minutes=-1), timedelta(0), timedelta(minutes=4)])
def test_now_is_no_future_though_clocks_differ_a_little(services, ahead: timedelta) -> None:
    params = {"reason": "as of now", "as_of": (NOW + ahead).isoformat()}
    assert opened(services, run_type="manual", params=params).as_of == NOW + ahead


def test_a_simulated_world_has_a_time_of_its_own(services) -> None:
    params = {"reason": "a later night", "as_of": "2026-06-01"}
    assert opened(services, params=params, ahead=timedelta(days=365)).as_of.month == 6
