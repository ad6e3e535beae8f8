"""What a drift check's asset event carries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

from tests.core.test_drift_action import feature, report

from gauntlet.core.records.run import TriggerAction, TriggerDecision, TriggerKind
from gauntlet.orchestration.events import payload

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
DECISION = TriggerDecision(
    model="m",
    run="r1",
    as_of=NOW,
    action=TriggerAction.RETRAIN,
    kind=TriggerKind.DRIFT,
    reason="income has moved",
    evidence={"champion": "c"},
    decision_id="0123456789abcdef",
    decided_at=NOW,
)


def test_the_event_names_the_decision_and_the_report_it_rests_on() -> None:
    found = report(0, feature("income"), carried_by=("income",), page_uri="blobs/drift.html")
    told = payload(DECISION, found)
    assert json.loads(json.dumps(told)) == told
    assert (told["decision_id"], told["kind"], told["reason"]) == ("0123456789abcdef", "drift", "income has moved")
    assert told["report"]["digest"] == found.record_digest
    assert (told["report"]["carried_by"], told["report"]["page_uri"]) == (["income"], "blobs/drift.html")


def test_other_facts_say_why() -> None:
    assert payload(SimpleNamespace(reason="all gates passed", run="r2")) == {"reason": "all gates passed", "run": "r2"}


def test_the_task_attaches_the_event_to_its_asset(monkeypatch) -> None:
    from gauntlet.orchestration import tasks

    asset = object()
    events = {asset: SimpleNamespace(extra={})}
    monkeypatch.setattr(tasks, "get_current_context", lambda: {"outlet_events": events})
    monkeypatch.setattr(tasks, "task", lambda **_named: lambda function: function)
    assert tasks.announce(asset)(DECISION, report(0)) == "income has moved"
    assert events[asset].extra["report"]["action"] == "none"
