"""May a model be deployed now, by its freeze calendar and the stop-the-line flag? And the override by two people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gauntlet.core.errors import DeploymentHeld, GauntletError, SpecError
from gauntlet.core.freeze import HORIZON, LEAST_REASON, Closed, Hold, calendar_hold, override_in_force
from gauntlet.core.ports import Services
from gauntlet.core.records.account import Account
from gauntlet.core.records.freeze import FreezeOverride
from gauntlet.core.roles import signed
from gauntlet.stages.line import stopped

if TYPE_CHECKING:
    from gauntlet.core.spec import ModelSpec

BACK = timedelta(days=1)


def holding(services: Services, model: str, *, starting: bool = False) -> Hold | None:
    """What forbids to deploy a model now; ``starting``: whether a rollout would begin.

    A stopped line holds whatever the calendar says, and no override lifts it. A calendar file that cannot be read
    holds too: not known to be open is not open.
    """
    who = stopped(services, model)
    if who is not None:
        return Hold(f"the line is stopped by {who}")
    now = services.clock.now()
    hold = _calendar(services, services.specs.get(model), now, starting=starting)
    return None if hold is not None and overridden(services, model) else hold


def frozen(services: Services, model: str, *, starting: bool = False) -> str | None:
    """Why nothing may be deployed now, in words that say until when; ``None``: it may."""
    hold = holding(services, model, starting=starting)
    if hold is None:
        return None
    return f"{hold.reason}; until {hold.until:%Y-%m-%d %H:%M} UTC" if hold.until else hold.reason


def check_open(services: Services, model: str, *, starting: bool = False) -> None:
    """Raise :class:`DeploymentHeld` while nothing may be deployed."""
    why = frozen(services, model, starting=starting)
    if why is not None:
        raise DeploymentHeld(
            f"{model}: {why}; it waits. In an emergency two people say: gauntlet freeze override {model} --reason …"
        )


def _calendar(services: Services, spec: ModelSpec, now: datetime, *, starting: bool) -> Hold | None:
    zone = ZoneInfo(spec.freeze.timezone or spec.schedule.timezone)
    closed: tuple[Closed, ...] = ()
    if spec.freeze.calendar is not None:
        try:
            closed = services.calendars.closed(spec.freeze.calendar, zone, now - BACK, now + HORIZON)
        except GauntletError as error:
            return Hold(f"the freeze calendar cannot be read: {error}", known=False)
    hold = calendar_hold(spec.freeze, zone, now, closed, starting=starting)
    return None if hold is None else Hold(hold.reason, hold.until.astimezone(now.tzinfo) if hold.until else None)


def override_freeze(
    services: Services, model: str, *, by: str, reason: str, account: Account | None = None
) -> tuple[FreezeOverride, ...]:
    """One person's word that the calendar does not count for a while; the words in force, none before the second.

    ``account``: the account at the command line; two names from one account are one person, unless people share it.

    Raises:
        SpecError: nobody's name, or a reason too short to tell anybody anything.
    """
    if not by.strip() or len(reason.strip()) < LEAST_REASON:
        raise SpecError(f"freeze override: say who you are and why, in at least {LEAST_REASON} characters")
    now = services.clock.now()
    lasts = services.specs.get(model).freeze.override
    by = by.strip()
    word = FreezeOverride(model=model, by=by, reason=reason.strip(), at=now, expires_at=now + lasts, account=account)
    services.records.put(_key(model), word, by.casefold(), actor=signed(by, account))
    return overridden(services, model)


def overridden(services: Services, model: str) -> tuple[FreezeOverride, ...]:
    """The words of the two or more people that lift the freeze now."""
    words = services.records.named(_key(model), FreezeOverride)
    return override_in_force(words.values(), services.clock.now())


def _key(model: str) -> str:
    return f"{model}/freeze"
