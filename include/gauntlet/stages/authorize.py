"""May this person do this? A refusal is kept in the audit log before it is raised."""

from __future__ import annotations

from collections.abc import Iterable

from gauntlet.core.errors import NotPermitted
from gauntlet.core.ports import Services
from gauntlet.core.records.account import Account
from gauntlet.core.roles import (
    BY_NAME,
    POLICY,
    Action,
    Decision,
    Policy,
    permitted,
    person,
    same_person,
    signed,
    with_overrides,
)

REFUSED = "refused"


def authorize(
    services: Services,
    action: Action,
    model: str,
    *,
    actor: str,
    roles: Iterable[str],
    policy: Policy = POLICY,
    account: Account | None = None,
) -> None:
    """Raise :class:`NotPermitted` when no role of ``actor`` may do ``action``; ``policy`` replaces single actions.

    ``account``: the account at the command line; what takes the word of a certain person is refused to a name that was
    only typed there, whatever the roles.
    """
    decision = permitted(action, roles, with_overrides(policy))
    said_by = person(actor, account)
    if decision.permitted and action in BY_NAME and not same_person(said_by, actor):
        reason = (
            f"{action} takes the word of {actor} themselves, and that name was only typed, by account {said_by}; "
            f"{actor} logs in, here or at the page, or GAUNTLET_SHARED_ACCOUNT says that people share this account"
        )
        decision = Decision(permitted=False, reason=reason)
    if decision.permitted:
        return
    services.audit.append(signed(actor, account), REFUSED, model, str(action), {"reason": decision.reason})
    raise NotPermitted(f"{model}: {actor} may not {action}: {decision.reason}")
