"""Look at an incident in the order that finds causes: infrastructure, drift, golden parity, timeline, advice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from gauntlet.core.errors import GauntletError, InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import AuditEntry, Services
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.incident import Event, Step, Triage
from gauntlet.core.records.monitoring import Layer, LayerReport
from gauntlet.core.records.rollout import RolloutState, Routing
from gauntlet.core.records.run import RunContext
from gauntlet.core.triage import Facts, advise, beside
from gauntlet.stages.preflight import largest_difference
from gauntlet.stages.raise_alerts import open_alerts
from gauntlet.stages.release_folder import read_golden

BACK = timedelta(hours=48)
"""How long before the first symptom the timeline begins."""
GOLDEN_ROWS = 200
DIGEST, SHORT = 64, 12
"""Hexadecimal digits of a digest, and how many of them people read."""
MOST_EVENTS = 2000
ROUTINE = ("record", "rollout.renewed", "rollout.tick", "served", "started")
"""Audit actions that begin so happen all the time and explain nothing."""
CHANGES = ("promot", "rollback", "rollout", "routing", "waive", "approv", "line", "freeze", "quarantine")


def triage(services: Services, model: str) -> Triage:
    """Everything that can be looked at, also when half of it does not answer. Changes nothing."""
    services.specs.get(model)
    alerts = tuple(open_alerts(services, model))
    start = alerts[0].since if alerts else None
    golden = _golden(services, model)
    steps = (
        _step("Does the service answer, and do its processes agree?", lambda: _infrastructure(services, model)),
        _step("Are the inputs what the champion knows?", lambda: _drift(services, model)),
        _step("Does the live server give the golden scores?", lambda: golden),
    )
    now = services.clock.now()
    return Triage(
        model=model,
        at=now,
        since=start,
        alerts=alerts,
        steps=steps,
        timeline=beside(events_since(services, model, (start or now) - BACK), start),
        advice=advise(_facts(services, model, steps[0], steps[-1])),
    )


def _step(question: str, look: Callable[[], tuple[Outcome, str]]) -> Step:
    try:
        outcome, answer = look()
    except (GauntletError, OSError) as error:
        outcome, answer = Outcome.ERROR, f"could not be looked at: {error}"
    return Step(question=question, outcome=outcome, answer=answer)


def _infrastructure(services: Services, model: str) -> tuple[Outcome, str]:
    routing = services.routing.read(model)
    reports = services.server.reports(model)
    behind = [report.worker for report in reports if report.epoch != routing.epoch]
    if not reports or behind:
        return Outcome.FAILED, f"{len(reports)} processes report; behind the routing row: {', '.join(behind) or 'all'}"
    newest = services.records.newest(model, LayerReport, name=Layer.SERVICE.value)
    said = f"{len(reports)} processes agree on epoch {routing.epoch}"
    if not newest:
        return Outcome.INCONCLUSIVE, f"{said}; the monitor has not looked yet"
    return newest[0].outcome, f"{said}; {newest[0].until:%H:%M} UTC: {newest[0].reason}"


def _drift(services: Services, model: str) -> tuple[Outcome, str]:
    reports = services.records.newest(model, DriftReport)
    if not reports:
        return Outcome.INCONCLUSIVE, "there is no drift check"
    report = reports[0]
    carried = f"; carried by {', '.join(report.carried_by)}" if report.carried_by else ""
    return report.outcome, f"{report.as_of:%Y-%m-%d %H:%M} UTC: {report.action}: {report.reason}{carried}"


def _golden(services: Services, model: str) -> tuple[Outcome, str]:
    stable = services.routing.read(model).stable
    if stable is None:
        return Outcome.INCONCLUSIVE, "there is no champion"
    try:
        golden = read_golden(services, stable)
    except GauntletError as error:
        # What cannot be compared with says nothing about what the server answers.
        return Outcome.ERROR, f"there is nothing to compare with: {error}"
    rows = golden.rows[:GOLDEN_ROWS]
    try:
        scores = services.server.predict(model, rows, version_id=stable.version_id)
    except InfrastructureError as error:
        return Outcome.ERROR, f"could not be asked: {error}"
    except GauntletError as error:
        return Outcome.FAILED, str(error)
    apart = largest_difference(scores, golden.scores[: len(rows)])
    outcome = Outcome.PASSED if apart <= golden.tolerance else Outcome.FAILED
    return outcome, f"{len(rows)} rows, largest difference {apart:.3g} (tolerance {golden.tolerance:g})"


def _facts(services: Services, model: str, service: Step, golden: Step) -> Facts:
    routing = services.routing.read(model)
    champion = services.ledger.champion(model)
    known = {Outcome.PASSED: True, Outcome.FAILED: False}
    down = service.outcome in (Outcome.FAILED, Outcome.ERROR) and champion.version is not None
    return Facts(
        model=model,
        alerts=tuple(open_alerts(services, model)),
        champion_since=champion.since,
        previous=routing.previous is not None,
        canary=routing.canary is not None and routing.weight_ppm > 0,
        canary_since=_canary_since(services, routing),
        golden=known.get(golden.outcome),
        service=service.answer if down else None,
        band=services.specs.get(model).training.threshold_band,
    )


def _canary_since(services: Services, routing: Routing) -> datetime | None:
    if routing.rollout is None:
        return None
    states = [
        state for state in services.records.newest(routing.model, RolloutState) if state.rollout == routing.rollout
    ]
    return states[0].started_at if states else None


def events_since(services: Services, model: str, since: datetime) -> list[Event]:
    """Deploys, decisions of people, config and upstream changes since a time."""
    return [
        *(
            _audited(entry)
            for entry in services.audit.newest(model, MOST_EVENTS)
            if entry.at >= since and _telling(entry)
        ),
        *_spec_changes(services, model, since),
        *_upstream_changes(services, model, since),
    ]


def _telling(entry: AuditEntry) -> bool:
    return not entry.action.startswith(ROUTINE)


def _audited(entry: AuditEntry) -> Event:
    reason = str(entry.detail.get("reason", ""))
    subject = entry.subject[:SHORT] if len(entry.subject) == DIGEST else entry.subject
    what = f"{entry.action.replace('_', ' ')} of {subject}" + (f": {reason}" if reason else "")
    return Event(at=entry.at, what=what, who=entry.actor, change=entry.action.startswith(CHANGES))


def _spec_changes(services: Services, model: str, since: datetime) -> Iterator[Event]:
    runs = sorted(services.records.newest(model, RunContext, limit=MOST_EVENTS), key=lambda run: run.opened_at)
    for before, after in pairwise(runs):
        if before.spec_digest != after.spec_digest and after.opened_at >= since:
            what = f"the spec changed from {before.spec_digest[:12]} to {after.spec_digest[:12]}, first in {after.run}"
            yield Event(at=after.opened_at, what=what, who=after.requested_by, change=True)


def _upstream_changes(services: Services, model: str, since: datetime) -> Iterator[Event]:
    """Columns that came or went between two snapshots."""
    data = sorted(services.records.newest(model, DatasetRef, limit=200), key=lambda one: one.as_of)
    for before, after in pairwise(data):
        had, has = set(before.source_columns), set(after.source_columns)
        gone, new = had - has, has - had
        if (gone or new) and after.as_of >= since:
            told = [f"{word} {', '.join(sorted(names))}" for word, names in (("lost", gone), ("got", new)) if names]
            yield Event(at=after.as_of, what=f"the source {' and '.join(told)}", who="upstream", change=True)
