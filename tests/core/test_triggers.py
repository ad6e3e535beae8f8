"""The order in which reasons to wait and reasons to retrain are heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gauntlet.core.errors import DataRejected
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction, DriftPattern, DriftReport
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, TriggerKind
from gauntlet.core.specs.drift import BudgetSection, DriftSection
from gauntlet.core.triggers import TriggerEvidence, decide_trigger

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
SECTION = DriftSection(window="1d")


def run(kind: TriggerKind = TriggerKind.SCHEDULE, name: str = "tonight", **more: Any) -> RunContext:
    return RunContext(
        **{
            "model": "m",
            "run": name,
            "as_of": NOW,
            "kind": kind,
            "reason": "because",
            "requested_by": "ada",
            "force_retrain": False,
            "spec_digest": "s",
            "opened_at": NOW,
        }
        | more
    )


def report(action: DriftAction = DriftAction.NONE, **more: Any) -> DriftReport:
    return DriftReport(
        **{
            "model": "m",
            "run": "hourly",
            "as_of": NOW,
            "spec_digest": "s",
            "champion": "c",
            "profile": "p",
            "profile_as_of": NOW,
            "mode": "profile",
            "window_start": None,
            "window_end": NOW,
            "rows": 2000,
            "reference_rows": 9000,
            "outcome": Outcome.PASSED,
            "action": action,
            "pattern": DriftPattern.NONE,
            "reason": "psi of income 0.4",
            "score": 0.0,
            "carried_by": (),
            "blocked": False,
            "violated": False,
            "features": (),
            "prediction": None,
            "performance": None,
            "page_uri": None,
            "page_sha256": None,
            "data_uri": None,
            "data_sha256": None,
        }
        | more
    )


def evidence(**more: Any) -> TriggerEvidence:
    known = {
        "champion": "c",
        "champion_as_of": NOW - DAY,
        "report": report(),
        "earlier": (),
        "stopped": None,
        "new_rows": None,
    }
    return TriggerEvidence(**known | more)


def decide(
    context: RunContext | None = None, section: DriftSection = SECTION, at: datetime = NOW, **more: Any
) -> TriggerDecision:
    return decide_trigger(context or run(), evidence(**more), section, at)


def earlier(hours: float, kind: TriggerKind = TriggerKind.DRIFT, **more: Any) -> TriggerDecision:
    found = decide(run(name=f"{hours}h before"), report=report(DriftAction.RETRAIN))
    return found.model_copy(update={"as_of": NOW - timedelta(hours=hours), "kind": kind, "decision_id": "d"} | more)


WANTED = report(DriftAction.RETRAIN)
ALL = DriftSection(window="1d", budget=BudgetSection(retrains=1, within="7d"), cooldown="40h", minimum_new_rows=1000)
"""Everything that could hold a retrain back does, in this order."""
HOLDING: list[tuple[str, dict[str, Any]]] = [
    ("data quality", {"report": report(DriftAction.RETRAIN, blocked=True)}),
    ("stopped line", {"stopped": "ada: migration"}),
    ("budget", {"earlier": (earlier(30),)}),
    ("cooldown", {"earlier": (earlier(30),)}),
    ("minimum new rows", {"new_rows": 10}),
]


@pytest.mark.parametrize("first", range(len(HOLDING)))
def test_reasons_to_wait_are_heard_in_order(first: int) -> None:
    facts: dict[str, Any] = {"report": WANTED}
    for _, more in reversed(HOLDING[first:]):
        facts |= more
    section = ALL if HOLDING[first][0] != "cooldown" else ALL.model_copy(update={"budget": None})
    found = decide(section=section, **facts)
    assert found.action is TriggerAction.SKIP
    assert found.evidence["held_by"] == HOLDING[first][0]


def test_no_champion_is_a_bootstrap() -> None:
    found = decide(champion=None, champion_as_of=None, report=None)
    assert (found.action, found.kind) == (TriggerAction.RETRAIN, TriggerKind.BOOTSTRAP)


def test_nothing_to_do_is_recorded_with_the_report_it_rests_on() -> None:
    found = decide()
    assert (found.action, found.kind) == (TriggerAction.SKIP, TriggerKind.SCHEDULE)
    assert found.evidence["report"] == report().record_digest
    assert "psi of income" in found.reason


def test_no_report_does_not_count_as_a_calm_one() -> None:
    assert "no drift report" in decide(report=None).reason


@pytest.mark.parametrize("action", [DriftAction.RETRAIN, DriftAction.RECALIBRATE, DriftAction.ROLLBACK])
def test_the_reports_action_is_followed(action: DriftAction) -> None:
    found = decide(report=report(action))
    assert (found.action, found.kind) == (TriggerAction.RETRAIN, TriggerKind.DRIFT)


def test_investigating_is_not_retraining() -> None:
    assert decide(report=report(DriftAction.INVESTIGATE)).action is TriggerAction.SKIP


def test_the_same_report_acts_once_whoever_asks() -> None:
    first = decide(run(TriggerKind.DRIFT, "by asset"), report=WANTED)
    again = decide(run(name="nightly", as_of=NOW + 2 * DAY), report=WANTED, earlier=(first,))
    assert first.action is TriggerAction.RETRAIN
    assert (again.action, again.evidence["held_by"]) == (TriggerAction.SKIP, "duplicate")
    assert "by asset" in again.reason


def test_the_run_an_announced_decision_starts_carries_it_out_once() -> None:
    wanted = decide(run(name="drift check"), report=WANTED)
    started = run(wanted.kind, "by asset")
    carried = decide(started, report=WANTED, earlier=(wanted,))
    assert (carried.action, carried.kind) == (TriggerAction.RETRAIN, TriggerKind.DRIFT)
    assert "drift check has decided: psi of income 0.4" in carried.reason
    again = decide(run(wanted.kind, "second event"), report=WANTED, earlier=(carried, wanted))
    assert (again.action, again.evidence["held_by"]) == (TriggerAction.SKIP, "cooldown")


def test_an_announced_decision_of_another_night_is_not_carried_out() -> None:
    wanted = decide(run(name="drift check", as_of=NOW - DAY / 2), report=WANTED)
    assert decide(run(TriggerKind.DRIFT, "by asset"), report=WANTED, earlier=(wanted,)).action is TriggerAction.SKIP


def test_a_decision_and_the_run_that_carries_it_out_use_one_retrain_of_the_budget() -> None:
    section = DriftSection(window="1d", budget=BudgetSection(retrains=2, within="7d"))
    wanted = earlier(30)
    carried = wanted.model_copy(update={"run": "by asset", "evidence": {"carries_out": wanted.decision_id}})
    assert decide(section=section, report=WANTED, earlier=(carried, wanted)).action is TriggerAction.RETRAIN


def test_the_same_evidence_has_the_same_id_whichever_run_asks_and_whenever() -> None:
    one = decide(run(name="a"), report=WANTED)
    other = decide(run(TriggerKind.DRIFT, "b"), report=WANTED, at=NOW + DAY)
    assert one.decision_id == other.decision_id
    assert decide(report=report(DriftAction.RETRAIN, rows=7)).decision_id != one.decision_id


def test_cooldown_ends() -> None:
    assert decide(report=WANTED, earlier=(earlier(19),)).action is TriggerAction.SKIP
    assert decide(report=WANTED, earlier=(earlier(21),)).action is TriggerAction.RETRAIN


@pytest.mark.parametrize("kind", [TriggerKind.BOOTSTRAP, TriggerKind.MANUAL])
def test_what_people_and_the_first_night_did_needs_no_cooldown(kind: TriggerKind) -> None:
    assert decide(report=WANTED, earlier=(earlier(1, kind),)).action is TriggerAction.RETRAIN


def test_a_budget_is_per_period() -> None:
    section = DriftSection(window="1d", budget=BudgetSection(retrains=2, within="7d"))
    spent = (earlier(30), earlier(60))
    assert decide(section=section, report=WANTED, earlier=spent).evidence["held_by"] == "budget"
    past = (earlier(30), earlier(24 * 8))
    assert decide(section=section, report=WANTED, earlier=past).action is TriggerAction.RETRAIN


def test_age_and_volume_ask_for_a_retrain() -> None:
    old = decide(champion_as_of=NOW - 31 * DAY)
    assert (old.action, old.kind) == (TriggerAction.RETRAIN, TriggerKind.AGE)
    assert "31.0 days" in old.reason
    section = DriftSection(window="1d", volume=5000)
    many = decide(section=section, new_rows=5000)
    assert (many.action, many.kind) == (TriggerAction.RETRAIN, TriggerKind.VOLUME)
    assert decide(section=section, new_rows=4999).action is TriggerAction.SKIP


def test_asking_for_age_again_another_night_is_no_duplicate() -> None:
    first = decide(champion_as_of=NOW - 31 * DAY)
    later = decide(run(as_of=NOW + DAY), champion_as_of=NOW - 31 * DAY, earlier=(first,))
    assert later.decision_id != first.decision_id


def test_a_persons_request_passes_everything_but_a_stopped_line() -> None:
    facts: dict[str, Any] = {}
    for name, more in HOLDING:
        if name != "stopped line":
            facts |= more
    found = decide(run(TriggerKind.MANUAL, force_retrain=True), ALL, **facts)
    assert (found.action, found.kind) == (TriggerAction.RETRAIN, TriggerKind.MANUAL)
    assert "ada asked: because" in found.reason
    assert decide(run(TriggerKind.MANUAL, force_retrain=True), stopped="bob: incident").action is TriggerAction.SKIP
    assert decide(run(TriggerKind.MANUAL), ALL, **facts).action is TriggerAction.SKIP
    forced = decide(run(TriggerKind.SCHEDULE, force_retrain=True), ALL, **facts)
    assert forced.action is TriggerAction.RETRAIN


def test_a_request_needs_a_reason() -> None:
    with pytest.raises(DataRejected, match="without a reason"):
        decide(run(TriggerKind.MANUAL, reason="  "))
