"""A person lets one unsatisfied gate of one run pass, for a while; the gate has to be asked again to see it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gauntlet.core.errors import Rejection
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.waiver import refusal
from gauntlet.core.records.account import Account
from gauntlet.core.records.gates import Waiver
from gauntlet.core.records.run import RunContext
from gauntlet.core.registry import lookup
from gauntlet.core.roles import signed

if TYPE_CHECKING:
    from gauntlet.core.ports import Services


def waive(
    services: Services,
    model: str,
    run: str,
    gate: str,
    *,
    reason: str,
    approver: str,
    lasts: timedelta,
    account: Account | None = None,
) -> Waiver:
    """Record a waiver, with its audit entry; it counts from now on when the gate is asked again.

    ``account``: the account at the command line; ``None`` where a login has proved the name.

    Raises:
        Rejection: it would not count: the approver has asked for the run, the reason is too short, the gate is one
            that is never waived.
        SpecError: there is no such gate.
        MissingRecord: there is no such run.
    """
    lookup(GATES, gate, "gate")
    context, now = services.records.get(f"{model}/{run}", RunContext), services.clock.now()
    waiver = Waiver(
        model=model,
        run=run,
        gate=gate,
        reason=reason.strip(),
        approver=approver,
        at=now,
        expires_at=now + lasts,
        account=account,
    )
    problem = refusal(waiver, context, now)
    if problem is not None:
        raise Rejection(f"{model}/{run}: no waiver of {gate}: {problem}")
    services.records.put(context.key, waiver, gate, actor=signed(approver, account))
    return waiver
