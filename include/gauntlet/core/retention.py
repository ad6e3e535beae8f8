"""What to keep and what may go, pure.

The unit is the run: it refers to a snapshot, a split, an evaluation, pages, a registry run and perhaps a release.
A run is kept while it is young or its release is wanted; an item is kept while any kept run refers to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest

from gauntlet.core.duration import format_duration
from gauntlet.core.records.ledger import RoutingChange
from gauntlet.core.records.retention import DoomedItem, ItemKind, KeptItem
from gauntlet.core.records.rollout import Routing


@dataclass(frozen=True)
class Item:
    """Something with bytes or rows of its own. ``digest`` identifies it among its kind."""

    kind: ItemKind
    digest: str
    uri: str


@dataclass(frozen=True)
class Holding:
    """A run and all that it refers to. ``release``: its digest; ``version``: the registry's number, if registered."""

    run: str
    at: datetime
    items: tuple[Item, ...]
    release: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Policy:
    """The spec's retention section."""

    versions: int
    referenced: timedelta


Reasons = Mapping[str, str]
"""Release digest to why it must stay."""


def newest_versions(holdings: Iterable[Holding], count: int) -> dict[str, str]:
    """The releases of the newest registered versions; a release registered twice counts once."""
    ordered = sorted((one for one in holdings if one.version is not None), key=lambda one: -(one.version or 0))
    digests = list(dict.fromkeys(one.release for one in ordered if one.release is not None))
    return dict.fromkeys(digests[:count], f"one of the last {count} versions")


def pointed_at(routing: Routing) -> dict[str, str]:
    """The releases a routing row names."""
    roles = (("previous", routing.previous), ("challenger", routing.canary), ("champion", routing.stable))
    return {version.release_digest: role for role, version in roles if version is not None}


def served_since(changes: Sequence[RoutingChange], cutoff: datetime) -> dict[str, str]:
    """The releases that could answer at any time since ``cutoff``: predictions of then refer to them.

    ``changes`` oldest first: a row counts from its time until the next one's.
    """
    return {
        version.release_digest: f"served after {cutoff:%Y-%m-%d}"
        for change, end in zip_longest(changes, [change.at for change in changes[1:]])
        if end is None or end >= cutoff
        for version in (change.routing.canary, change.routing.stable)
        if version is not None
    }


def divide(
    holdings: Sequence[Holding], wanted: Reasons, policy: Policy, now: datetime
) -> tuple[tuple[KeptItem, ...], tuple[DoomedItem, ...]]:
    """All items of all runs, each kept or doomed; ``wanted`` are releases that stay whatever their age."""
    reasons = {**newest_versions(holdings, policy.versions), **wanted}
    kept: dict[Item, str] = {}
    for holding in holdings:
        reason = _why(holding, reasons, policy, now)
        for item in holding.items if reason else ():
            kept.setdefault(item, reason or "")
    age = format_duration(policy.referenced)
    oldest_first = sorted(holdings, key=lambda holding: holding.at)
    last = {item: holding for holding in oldest_first for item in holding.items if item not in kept}
    doomed = [
        DoomedItem(
            kind=item.kind,
            digest=item.digest,
            uri=item.uri,
            reason=f"no version that is kept and no run of the last {age} refers to it (last run {holding.run})",
            last=holding.at,
        )
        for item, holding in last.items()
    ]
    return (
        tuple(KeptItem(kind=item.kind, digest=item.digest, reason=reason) for item, reason in kept.items()),
        tuple(doomed),
    )


def _why(holding: Holding, reasons: Reasons, policy: Policy, now: datetime) -> str | None:
    """Why a run is kept: its release, else its age; ``None`` when neither."""
    if holding.release is not None and holding.release in reasons:
        return f"{reasons[holding.release]} (run {holding.run})"
    if now - holding.at <= policy.referenced:
        return f"run {holding.run} is younger than {format_duration(policy.referenced)}"
    return None
