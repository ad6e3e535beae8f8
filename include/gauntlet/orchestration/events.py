"""What an asset event says: enough to know why without opening anything; the facts themselves are in the store."""

from __future__ import annotations

from typing import Any

from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.run import TriggerDecision


def payload(fact: Any, report: DriftReport | None = None) -> dict[str, Any]:
    """JSON for the event: the reason, the decision's identity, and the drift report it rests on.

    Several events while a run is active become one run with the first event: a consumer reads the newest facts from
    the store and takes this as a signal.
    """
    told: dict[str, Any] = {"reason": str(fact.reason), "run": fact.run}
    if isinstance(fact, TriggerDecision):
        told |= {
            "decision_id": fact.decision_id,
            "kind": fact.kind.value,
            "action": fact.action.value,
            "as_of": fact.as_of.isoformat(),
        }
    if report is not None:
        told["report"] = {
            "digest": report.record_digest,
            "run": report.run,
            "outcome": report.outcome.value,
            "action": report.action.value,
            "pattern": report.pattern.value,
            "score": report.score,
            "carried_by": list(report.carried_by),
            "reason": report.reason,
            "page_uri": report.page_uri,
            "data_uri": report.data_uri,
            "data_sha256": report.data_sha256,
        }
    return told
