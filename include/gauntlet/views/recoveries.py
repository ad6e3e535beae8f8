"""How long it took to have the old version back: in earnest, and in drills."""

from __future__ import annotations

from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.ledger import DrillReport, RollbackReport

ROLLBACK, DRILL = "rollback", "drill"


class Recovery(Record):
    """One rollback or drill.

    ``seconds``: from the decision to the last server process that confirmed. ``exposed_seconds``: from the decision
    to the last answer by the bad version, by the journal.
    """

    kind: str
    at: Instant
    seconds: float | None
    exposed_seconds: float | None
    servers: int
    outcome: Outcome
    text: str


def recoveries(services: Services, model: str, limit: int = 50) -> tuple[Recovery, ...]:
    """The newest rollbacks and drills of a model, newest first."""
    found = [
        *(_rollback(one) for one in services.records.newest(model, RollbackReport, limit)),
        *(_drill(one) for one in services.records.newest(model, DrillReport, limit)),
    ]
    return tuple(sorted(found, key=lambda one: one.at, reverse=True)[:limit])


def _rollback(report: RollbackReport) -> Recovery:
    return Recovery(
        kind=ROLLBACK,
        at=report.decided_at,
        seconds=report.seconds,
        exposed_seconds=report.exposed_seconds,
        servers=report.servers,
        outcome=Outcome.PASSED,
        text=f"{report.offender.version_id} → {report.restored.version_id}: {report.reason}",
    )


def _drill(report: DrillReport) -> Recovery:
    return Recovery(
        kind=DRILL,
        at=report.at,
        seconds=report.seconds,
        exposed_seconds=None,
        servers=report.servers,
        outcome=report.outcome,
        text=report.reason,
    )
