"""The stop-the-line flag: of one model, or of the whole installation."""

from __future__ import annotations

from gauntlet.core.errors import SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.account import Account
from gauntlet.core.records.freeze import LineStop
from gauntlet.core.roles import signed

EVERY = "*"
"""In place of a model: all of them."""


def set_line(
    services: Services, model: str, *, stopped: bool, by: str, reason: str, account: Account | None = None
) -> LineStop:
    """Stop a line, or let it run again; saying what is so already changes nothing.

    Raises:
        SpecError: nobody's name, no reason, or a model there is not.
    """
    if not by.strip() or not reason.strip():
        raise SpecError("stop-the-line: say who you are and why; both go into the audit log")
    if model != EVERY:
        services.specs.get(model)
    known = _newest(services, model)
    if known is not None and known.stopped == stopped:
        return known
    at = services.clock.now()
    word = LineStop(model=model, stopped=stopped, by=by, reason=reason.strip(), at=at, account=account)
    services.records.put(f"{model}/line", word, actor=signed(by, account))
    return word


def stopped(services: Services, model: str) -> str | None:
    """Who has stopped this model's line, or every line, and why; ``None`` when it runs."""
    for subject in (model, EVERY):
        word = _newest(services, subject)
        if word is not None and word.stopped:
            return f"{word.by}: {word.reason}"
    return None


def _newest(services: Services, model: str) -> LineStop | None:
    return services.records.find(f"{model}/line", LineStop)
