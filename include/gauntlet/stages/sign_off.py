"""Record a person's word."""

from __future__ import annotations

from gauntlet.core.errors import SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.account import Account
from gauntlet.core.records.signoff import SignOff, Topic
from gauntlet.core.roles import signed


def sign_off(
    services: Services, model: str, topic: Topic, *, by: str, reason: str, account: Account | None = None
) -> SignOff:
    """Keep who said what about a model; a second word of another person does not replace the first.

    Raises:
        SpecError: no name or no reason.
    """
    if not by.strip() or len(reason.strip()) < 5:
        raise SpecError(f"{topic}: needs a name and a reason of at least five characters; both go into the audit log")
    spec = services.specs.get(model)
    word = SignOff(
        model=model,
        topic=topic,
        by=by,
        reason=reason.strip(),
        at=services.clock.now(),
        spec_digest=spec.digest,
        account=account,
    )
    services.records.put(f"{model}/sign-off", word, f"{topic}/{by.strip().casefold()}", actor=signed(by, account))
    return word


def words(services: Services, model: str, topic: Topic) -> list[SignOff]:
    """What people have said on a topic, the newest first, each person once."""
    every = services.records.named(f"{model}/sign-off", SignOff).values()
    return sorted((word for word in every if word.topic is topic), key=lambda word: word.at, reverse=True)
