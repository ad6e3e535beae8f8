"""A person's word to a running rollout: pause, resume, promote, extend, hold, abort."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gauntlet.core.digest import sha256_json
from gauntlet.core.duration import parse_duration
from gauntlet.core.errors import MissingRecord, SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.rollout import CommandKind, RolloutCommand, RolloutState
from gauntlet.core.registry import lookup
from gauntlet.stages.carry_out import withdraw
from gauntlet.stages.challengers import LOOK_BACK

TIMED = (CommandKind.EXTEND, CommandKind.HOLD_UNTIL)


def say(
    services: Services,
    model: str,
    command: str,
    *,
    by: str,
    reason: str,
    until: str | None = None,
    lasting: str | None = None,
    request: str = "",
) -> RolloutCommand:
    """:func:`command_rollout` as a form or a command line writes it.

    Raises:
        SpecError: no such command, time or length of time.
    """
    kind = lookup({kind.value: kind for kind in CommandKind}, command, "command")
    try:
        moment = _utc(datetime.fromisoformat(until)) if until else None
    except ValueError:
        raise SpecError(f"{until!r} is no ISO 8601 time; write it as 2026-03-01T02:00:00Z") from None
    try:
        length = parse_duration(lasting) if lasting else None
    except ValueError as error:
        raise SpecError(str(error)) from None
    return command_rollout(services, model, kind, by=by, reason=reason, until=moment, lasting=length, request=request)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def command_rollout(
    services: Services,
    model: str,
    kind: CommandKind,
    *,
    by: str,
    reason: str,
    until: datetime | None = None,
    lasting: timedelta | None = None,
    request: str = "",
) -> RolloutCommand:
    """Leave a command for the next tick; an abort takes the canary out of traffic here and now.

    ``extend`` and ``hold_until`` need a time: ``until``, or ``lasting`` from now. The same ``request`` twice is one
    command.

    Raises:
        MissingRecord: no rollout of the model is under way.
        SpecError: no reason or name, or ``until`` missing where the command needs it.
    """
    if not reason.strip() or not by.strip():
        raise SpecError(f"{kind.value}: say who you are and why; both go into the audit log")
    now = services.clock.now()
    until = now + lasting if until is None and lasting is not None else until
    if kind in TIMED and until is None:
        raise SpecError(f"{kind.value}: say until when")
    if until is not None and (until <= now or kind not in TIMED):
        raise SpecError(f"{kind.value}: {until.isoformat()} " + ("is past" if kind in TIMED else "is not asked for"))
    state = rollout_under_way(services, model)
    if state is None:
        raise MissingRecord(f"{model}: no rollout is under way")
    name = sha256_json([state.rollout, kind.value, by, reason, request or now.isoformat()])[:16]
    known = services.records.find(f"{model}/{state.run}", RolloutCommand, name)
    command = known or RolloutCommand(
        command=name,
        rollout=state.rollout,
        kind=kind,
        by=by,
        reason=reason,
        at=now,
        until=until,
    )
    services.records.put(f"{model}/{state.run}", command, command.command, actor=by)
    if kind is CommandKind.ABORT:
        withdraw(services, state, f"aborted by {by}: {reason}")
    return command


def rollout_under_way(services: Services, model: str) -> RolloutState | None:
    """The newest rollout of a model that has not ended."""
    return next((state for state in services.records.newest(model, RolloutState, LOOK_BACK) if not state.over), None)
