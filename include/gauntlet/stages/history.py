"""Which version answered when, from the routing rows: each is kept with its time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import Reign, RoutingChange
from gauntlet.core.records.rollout import PPM, ServedVersion

CHAMPION, CANARY = "champion", "canary"


def history(services: Services, model: str, at: datetime | None = None) -> list[Reign]:
    """Who was champion from when until when, oldest first; at a moment: who answered then, a canary included.

    By the ledger: servers follow within the seconds a routing takes to reach them. What a single request met is
    in the journal.
    """
    changes = services.ledger.routings(model)
    if at is None:
        return list(_reigns(changes))
    # Several rows may carry the same time: the last of them was in force.
    past = [change for change in changes if change.at <= at]
    following = changes[len(past)].at if len(past) < len(changes) else None
    return list(_answering(past[-1], at, following)) if past else []


def _reigns(changes: list[RoutingChange]) -> Iterator[Reign]:
    crowned = [
        change
        for before, change in pairwise([None, *changes])
        if change and change.routing.stable and (before is None or before.routing.stable != change.routing.stable)
    ]
    for change, after in pairwise([*crowned, None]):
        if change and change.routing.stable:
            yield _reign(change, change.routing.stable, CHAMPION, PPM, after.at if after else None)


def _answering(change: RoutingChange, at: datetime, until: datetime | None) -> Iterator[Reign]:
    routing = change.routing
    # A canary whose lease has run out is out of traffic, whatever the row says.
    leased = routing.lease_until is not None and at < routing.lease_until
    weight = routing.weight_ppm if routing.canary and leased else 0
    if routing.stable and weight < PPM:
        yield _reign(change, routing.stable, CHAMPION, PPM - weight, until)
    if routing.canary and routing.lease_until and weight:
        yield _reign(change, routing.canary, CANARY, weight, min(until or routing.lease_until, routing.lease_until))


def _reign(change: RoutingChange, version: ServedVersion, role: str, weight_ppm: int, until: datetime | None) -> Reign:
    return Reign(
        since=change.at,
        until=until,
        role=role,
        version=version.version,
        version_id=version.version_id,
        weight_ppm=weight_ppm,
        reason=change.reason,
        actor=change.actor,
    )
