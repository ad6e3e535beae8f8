"""Settle once what a run is about: the as-of time, who asked, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gauntlet.core.errors import DataRejected, SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, TriggerKind

MINIMUM_REASON = 5
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(minutes=5)
"""The clocks of hosts differ a little."""
SCHEDULED, MANUAL, BY_ASSET = "scheduled", "manual", "asset_triggered"


def open_run(
    services: Services,
    model: str,
    run: str,
    *,
    run_type: str,
    logical_date: datetime | None,
    run_after: datetime,
    params: Mapping[str, Any],
    requested_by: str,
    dag: str = "",
    ahead: timedelta = AHEAD,
) -> RunContext:
    """Record the run's context, once: a cleared task gets the same context back.

    The as-of time is the one asked for; else, for a run started by an asset, that of the fact the
    asset announced (an event is only a signal); else the run's logical date; else when it became due.

    Raises:
        DataRejected: a person gives no reason.
        SpecError: a person asks for an as-of time that is none, or for one that lies more than ``ahead`` in the future:
            nobody knows yet what will be known then.
    """
    if (known := services.records.find(f"{model}/{run}", RunContext)) is not None:
        return known
    spec = services.specs.get(model)
    asked = _asked_as_of(params)
    latest = services.clock.now() + ahead
    if asked is not None:
        _check_past("as_of", asked, latest)
    elif run_type == MANUAL and logical_date is not None:
        _check_past("the logical date", logical_date, latest)
    announced = _announced(services, model) if run_type == BY_ASSET else None
    context = RunContext(
        model=model,
        run=run,
        as_of=asked or (announced and announced[0]) or logical_date or run_after,
        kind=_kind(run_type, announced),
        reason=_reason(run_type, params, announced),
        requested_by=requested_by,
        force_retrain=bool(params.get("force_retrain")),
        spec_digest=spec.digest,
        opened_at=services.clock.now(),
        dag=dag,
    )
    services.records.put(context.key, context, actor=requested_by)
    return context


def _asked_as_of(params: Mapping[str, Any]) -> datetime | None:
    text = params.get("as_of")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise SpecError(f"as_of: {str(text)!r} is no ISO 8601 time; write it as 2026-03-01T02:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment < EARLIEST:
        raise SpecError(f"as_of: {text} lies before {EARLIEST:%Y-%m-%d}; write it as 2026-03-01T02:00:00Z")
    return moment


def _check_past(what: str, moment: datetime, latest: datetime) -> None:
    if moment > latest:
        raise SpecError(
            f"{what}: {moment.isoformat()} lies in the future, the latest is {latest:%Y-%m-%d %H:%M %Z}: nobody knows "
            "yet what will be known then; name a time that is past, or none for now"
        )


def _announced(services: Services, model: str) -> tuple[datetime, TriggerKind, str] | None:
    """The newest fact an asset of this model may have announced: a wanted retrain or a registered challenger."""
    facts: list[tuple[datetime, datetime, TriggerKind, str]] = []
    for decision in services.records.newest(model, TriggerDecision, limit=20):
        if decision.action is TriggerAction.RETRAIN:
            facts.append((decision.decided_at, decision.as_of, decision.kind, decision.reason))
            break
    for registered in services.records.newest(model, PromotionDecision, limit=20):
        if registered.outcome.satisfied:
            night = services.records.get(f"{model}/{registered.run}", RunContext)
            facts.append((registered.decided_at, night.as_of, TriggerKind.CHALLENGER, registered.reason))
            break
    return max(facts)[1:] if facts else None


def _kind(run_type: str, announced: tuple[datetime, TriggerKind, str] | None) -> TriggerKind:
    if run_type == BY_ASSET:
        return announced[1] if announced else TriggerKind.DRIFT
    return TriggerKind.MANUAL if run_type == MANUAL else TriggerKind.SCHEDULE


def _reason(run_type: str, params: Mapping[str, Any], announced: tuple[datetime, TriggerKind, str] | None) -> str:
    reason = str(params.get("reason") or "").strip()
    if run_type == MANUAL and len(reason) < MINIMUM_REASON:
        raise DataRejected(
            f"reason: a run started by hand needs one of at least {MINIMUM_REASON} characters (got {reason!r}); "
            "start it again and say why"
        )
    if reason:
        return reason
    return announced[2] if announced else "on schedule"
