"""What a person may do from the page: each action asks who they are, wants a reason, and calls one stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from gauntlet.core.errors import SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.rollout import CommandKind
from gauntlet.core.roles import Action, Policy

LEAST_REASON = 5
ACTIONS: Mapping[str, Action] = {
    "rollback": Action.ROLL_BACK,
    "pause": Action.PAUSE,
    "resume": Action.PAUSE,
    "abort": Action.PAUSE,
    "approve": Action.APPROVE,
    "refuse": Action.APPROVE,
    "clear_quarantine": Action.CLEAR_QUARANTINE,
}
"""What the page offers, and which permission it takes."""
COMMANDS = {"pause": CommandKind.PAUSE, "resume": CommandKind.RESUME, "abort": CommandKind.ABORT}


def _all(names: Iterable[str]) -> list[str]:
    return list(names)


@dataclass(frozen=True)
class Person:
    """Who asks: the name Airflow knows them by, their roles, and which models they may read."""

    name: str
    roles: tuple[str, ...]
    readable: Callable[[Iterable[str]], Iterable[str]] = _all
    policy: Policy = field(default_factory=dict)


class Order(Record):
    """What a person asks for. ``run`` belongs to an approval, ``digest`` to a cleared quarantine."""

    action: Literal["rollback", "pause", "resume", "abort", "approve", "refuse", "clear_quarantine"]
    reason: str = Field(min_length=LEAST_REASON, max_length=2000)
    run: str | None = Field(default=None, max_length=250)
    digest: str | None = Field(default=None, max_length=128)


class Done(Record):
    """What came of it, in a sentence."""

    action: str
    by: str
    sentence: str
    at: Instant


def act(services: Services, model: str, order: Order, who: Person) -> Done:
    """Do what is asked, in the person's name.

    Raises:
        NotPermitted: no role of theirs may; the attempt is in the audit log.
        Rejection, MissingRecord, Conflict: there is nothing to do it to; nothing changed.
    """
    from gauntlet.stages.authorize import authorize

    services.specs.get(model)
    authorize(services, ACTIONS[order.action], model, actor=who.name, roles=who.roles, policy=who.policy)
    if not order.reason.strip():
        raise SpecError(f"{order.action}: say why; it goes into the audit log")
    sentence = _carry_out(services, model, order, who.name)
    return Done(action=order.action, by=who.name, sentence=sentence, at=services.clock.now())


def _carry_out(services: Services, model: str, order: Order, name: str) -> str:
    if order.action == "rollback":
        from gauntlet.stages.rollback import rollback

        return rollback(services, model, reason=order.reason, actor=name).sentence
    if order.action in COMMANDS:
        return _command(services, model, COMMANDS[order.action], order, name)
    if order.action == "clear_quarantine":
        from gauntlet.stages.releases import clear_quarantine

        digest = _needed(order.digest, "clear_quarantine: say which release (digest)")
        clear_quarantine(services, model, digest, by=name, reason=order.reason)
        return f"release {digest[:12]} is no longer in quarantine; it still needs fresh receipts"
    return _answer(services, model, order, name)


def _command(services: Services, model: str, kind: CommandKind, order: Order, name: str) -> str:
    from gauntlet.stages.command_rollout import command_rollout

    command = command_rollout(services, model, kind, by=name, reason=order.reason)
    when = "is out of traffic now" if kind is CommandKind.ABORT else "will hear it at its next look"
    return f"{kind.value}: rollout {command.rollout} {when}"


def _answer(services: Services, model: str, order: Order, name: str) -> str:
    from gauntlet.stages.answer_approval import answer_approval

    run = _needed(order.run, f"{order.action}: say which run")
    yes = order.action == "approve"
    answer_approval(services, model, run, approver=name, approved=yes, reason=order.reason)
    return f"{name} said {'yes' if yes else 'no'} to {run}; clear its approval task to ask the gate again"


def _needed(value: str | None, complaint: str) -> str:
    if not value:
        raise SpecError(complaint)
    return value
