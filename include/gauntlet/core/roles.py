"""Who may do what: a pure function of an action, the roles somebody has, and the installation's policy.

Roles have the names of Airflow's own (``viewer``, ``user``, ``op``, ``admin``), so that one table answers for its UI
and for the command line. What the pipeline does by itself (a scheduled run, a lost lease) asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gauntlet.core.records.account import Account


class Action(StrEnum):
    """What only some may do."""

    PROMOTE = "promote"
    """Move a rollout forward by hand, or copy a release into this environment."""
    APPROVE = "approve"
    ROLL_BACK = "roll_back"
    WAIVE = "waive"
    PAUSE = "pause"
    """Hold, resume or abort a rollout."""
    CLEAR_QUARANTINE = "clear_quarantine"
    STOP_LINE = "stop_line"
    """Stop the line, and let it run again."""
    OVERRIDE_FREEZE = "override_freeze"
    REPAIR = "repair"
    """Make registry and servers follow the ledger."""


VIEWER, USER, OP, ADMIN = "viewer", "user", "op", "admin"
ROLES = (VIEWER, USER, OP, ADMIN)
Policy = Mapping[str, Iterable[str]]
"""Action to the roles that may; an action that is not in it is for nobody."""

POLICY: Policy = {
    Action.PROMOTE: (OP, ADMIN),
    Action.APPROVE: (OP, ADMIN),
    Action.ROLL_BACK: (USER, OP, ADMIN),
    Action.WAIVE: (ADMIN,),
    Action.PAUSE: (USER, OP, ADMIN),
    Action.CLEAR_QUARANTINE: (ADMIN,),
    Action.STOP_LINE: (USER, OP, ADMIN),
    Action.OVERRIDE_FREEZE: (OP, ADMIN),
    Action.REPAIR: (OP, ADMIN),
}
"""What holds where the settings say nothing else: towards safety is for many, towards production for few."""


@dataclass(frozen=True)
class Decision:
    """Whether an action is permitted, and in words why or why not."""

    permitted: bool
    reason: str


def permitted(action: str, roles: Iterable[str], policy: Policy = POLICY) -> Decision:
    """Whether somebody with these roles may do this. Role names are compared without regard to case.

    >>> permitted("waive", ["Op"]).reason
    'waive is for admin; the roles here are op'
    """
    may = sorted({role.casefold() for role in policy.get(action, ())})
    have = sorted({role.casefold() for role in roles})
    if not may:
        return Decision(permitted=False, reason=f"{action} is for nobody: the policy does not name it")
    by = [role for role in have if role in may]
    if by:
        return Decision(permitted=True, reason=f"{action} is for {', '.join(may)}: {by[0]}")
    return Decision(
        permitted=False, reason=f"{action} is for {', '.join(may)}; the roles here are {', '.join(have) or 'none'}"
    )


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's: case and blanks around them make nobody somebody else.

    >>> same_person("Ann ", "ann"), same_person("ann", "bob")
    (True, False)
    """
    return one.strip().casefold() == other.strip().casefold()


BY_NAME = (Action.APPROVE, Action.WAIVE, Action.OVERRIDE_FREEZE)
"""What takes the word of a certain person, or of two different ones: a name that was only typed is nobody's."""


def is_claimed(name: str, account: Account | None) -> bool:
    """Whether a name was only typed: by an account of the operating system that has another one.

    ``account``: ``None`` where a login has proved the name, as Airflow's does.
    """
    return account is not None and not same_person(name, account.name)


def person(name: str, account: Account | None) -> str:
    """As whom somebody counts where people are told apart: as the account, whatever name was typed there.

    Where several people share the account, the typed name is all there is.

    >>> person("ann", Account(name="eve")), person("ann", Account(name="ops", shared=True)), person("ann", None)
    ('eve', 'ann', 'ann')
    """
    return name if account is None or account.shared or not is_claimed(name, account) else account.name


def signed(name: str, account: Account | None) -> str:
    """A name for the audit log, marked where it is a claim.

    >>> signed("ann", Account(name="eve")), signed("ann", Account(name="ann")), signed("ann", None)
    ('ann (claimed; account eve)', 'ann', 'ann')
    """
    return f"{name} (claimed; account {account.name})" if account and is_claimed(name, account) else name


def with_overrides(changes: Policy, policy: Policy = POLICY) -> dict[str, tuple[str, ...]]:
    """The policy with the given actions replaced; ``ValueError`` names an action there is not.

    >>> with_overrides({"waive": ["op"]})["waive"]
    ('op',)
    """
    unknown = sorted(set(changes) - set(Action))
    if unknown:
        raise ValueError(f"no action is called {', '.join(unknown)}; valid: {', '.join(sorted(Action))}")
    return {str(action): tuple(roles) for action, roles in {**policy, **changes}.items()}
