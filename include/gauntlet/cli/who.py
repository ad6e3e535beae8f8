"""Who sits at this command line, and whether they may."""

from __future__ import annotations

import getpass

from gauntlet.core.errors import SpecError
from gauntlet.core.roles import Action


def authorized(action: Action, model: str, name: str = "") -> str:
    """The name under which ``action`` is recorded; raises NotPermitted, audited, when the settings do not let them."""
    from gauntlet.bootstrap import services
    from gauntlet.settings import settings
    from gauntlet.stages.authorize import authorize

    actor = name or getpass.getuser()
    if not actor.strip():
        raise SpecError(f"{action}: say who you are")
    current = settings()
    authorize(services(), action, model, actor=actor, roles=current.roles_of(actor), policy=current.policy)
    return actor
