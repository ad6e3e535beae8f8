"""A person's word to a running rollout: pause, resume, promote, extend, hold, abort."""

from __future__ import annotations

from datetime import datetime

from gauntlet.core.digest import sha256_json
from gauntlet.core.errors import MissingRecord, SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.rollout import CommandKind, RolloutCommand, RolloutState
from gauntlet.stages.carry_out import withdraw

TIMED = (CommandKind.EXTEND, CommandKind.HOLD_UNTIL)


def command_rollout(
    services: Services, model: str, kind: CommandKind, *, by: str, reason: str, until: datetime | None = None
) -> RolloutCommand:
    """Leave a command for the next tick; an abort takes the canary out of traffic here and now.

    Raises:
        MissingRecord: no rollout of the model is under way.
        SpecError: no reason or name, or ``until`` missing where the command needs it.
    """
    if not reason.strip() or not by.strip():
        raise SpecError(f"{kind.value}: say who you are and why; both go into the audit log")
    if kind in TIMED and until is None:
        raise SpecError(f"{kind.value}: say until when")
    state = current_rollout(services, model)
    now = services.clock.now()
    command = RolloutCommand(
        command=sha256_json([state.rollout, kind.value, by, reason, now.isoformat()])[:16],
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


def current_rollout(services: Services, model: str) -> RolloutState:
    """The rollout of a model that is under way."""
    for state in services.records.newest(model, RolloutState, 50):
        if not state.over:
            return state
    raise MissingRecord(f"{model}: no rollout is under way")
