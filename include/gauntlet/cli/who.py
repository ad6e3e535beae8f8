"""Who sits at this command line, and whether they may."""

from __future__ import annotations

from dataclasses import dataclass

from gauntlet.cli.account import account
from gauntlet.core.records.account import Account
from gauntlet.core.roles import Action, person, signed

BY = "Who says so; default: the account you are logged in with. Another name is recorded as a claim."


@dataclass(frozen=True)
class Caller:
    """Somebody at the command line: the name they go by, and the account that the command runs under."""

    name: str
    account: Account

    @property
    def signed(self) -> str:
        """The name for the audit log, marked where it was only typed."""
        return signed(self.name, self.account)


def caller(name: str = "") -> Caller:
    """Who runs this command; ``name``: what they say they are called, where they say so."""
    from gauntlet.settings import settings

    here = Account(name=account(), shared=settings().shared_account)
    return Caller(name.strip() or here.name, here)


def authorized(action: Action, model: str, name: str = "") -> Caller:
    """Who acts; raises NotPermitted, audited, when the settings do not let them.

    Roles are those of the account. A typed name has its own only where the settings call the account shared.
    """
    from gauntlet.bootstrap import services
    from gauntlet.settings import settings
    from gauntlet.stages.authorize import authorize

    who, current = caller(name), settings()
    roles = current.roles_of(person(who.name, who.account))
    authorize(services(), action, model, actor=who.name, roles=roles, policy=current.policy, account=who.account)
    return who
