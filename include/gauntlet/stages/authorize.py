"""May this person do this? A refusal is kept in the audit log before it is raised."""

from __future__ import annotations

from collections.abc import Iterable

from gauntlet.core.errors import NotPermitted
from gauntlet.core.ports import Services
from gauntlet.core.roles import POLICY, Action, Policy, permitted, with_overrides

REFUSED = "refused"


def authorize(
    services: Services, action: Action, model: str, *, actor: str, roles: Iterable[str], policy: Policy = POLICY
) -> None:
    """Raise :class:`NotPermitted` when no role of ``actor`` may do ``action``; ``policy`` replaces single actions."""
    decision = permitted(action, roles, with_overrides(policy))
    if decision.permitted:
        return
    services.audit.append(actor, REFUSED, model, str(action), {"reason": decision.reason})
    raise NotPermitted(f"{model}: {actor} may not {action}: {decision.reason}")
