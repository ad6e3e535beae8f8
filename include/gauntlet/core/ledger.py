"""The ledger's rules, pure: what one change does to a model's rows.

A stage builds a :class:`Change`; a store loads the :class:`Ground` it touches, asks :func:`effects`, and
writes what comes back in one transaction. Both stores, in memory and SQL, share these rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gauntlet.core.errors import Conflict
from gauntlet.core.records.base import Record
from gauntlet.core.records.ledger import CandidateState, Champion, Intent, IntentKind, IntentStage, Transition
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.core.standing import IN_ROLLOUT, Standing, check_transition, standing_of

S = CandidateState


@dataclass(frozen=True)
class Change:
    """What shall happen to one model in one transaction.

    ``routing`` is compared-and-swapped on ``routing_epoch``; when it changes who is stable,
    ``champion_epoch`` must be given and current. ``transitions`` are the ones a stage states itself;
    those that follow from the routing are added. ``intent`` is opened, moved on or closed. ``records``
    are (run key, record, name), stored like :meth:`RecordStore.put` does. ``deletes`` are digests of releases
    that are going to be deleted: refused for one that anything points at.
    """

    model: str
    actor: str
    action: str
    reason: str
    routing: Routing | None = None
    routing_epoch: int | None = None
    champion_epoch: int | None = None
    transitions: tuple[Transition, ...] = ()
    intent: Intent | None = None
    records: tuple[tuple[str, Record, str], ...] = ()
    run: str | None = None
    deletes: frozenset[str] = frozenset()

    @property
    def routed(self) -> frozenset[str]:
        """The release digests that the new routing names."""
        row = self.routing
        versions = (row.stable, row.canary, row.previous) if row else ()
        return frozenset(version.release_digest for version in versions if version is not None)


@dataclass(frozen=True)
class Ground:
    """A model's rows as they are when a change is checked. ``intent`` is the open one.

    ``deleted``: which of the releases that the change routes to have been deleted.
    """

    routing: Routing
    champion: Champion
    standings: Mapping[str, Standing]
    intent: Intent | None
    deleted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Note:
    """An audit entry to be written."""

    action: str
    subject: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Effects:
    """What to write for a change. ``None`` means untouched."""

    routing: Routing | None = None
    champion: Champion | None = None
    transitions: tuple[Transition, ...] = ()
    intents: tuple[Intent, ...] = ()
    notes: tuple[Note, ...] = field(default=())


def no_routing(model: str) -> Routing:
    """The row of a model that never had one: epoch 0, nobody served."""
    return Routing(
        model=model,
        epoch=0,
        stable=None,
        canary=None,
        previous=None,
        weight_ppm=0,
        salt="",
        rollout=None,
        lease_until=None,
    )


def no_champion(model: str) -> Champion:
    """The row of a model that never had a champion."""
    return Champion(model=model, epoch=0, version=None, since=None)


def effects(change: Change, ground: Ground) -> Effects:
    """Everything that one change writes, or a :class:`Conflict` that says what was in the way."""
    _refuse_to_delete(change, ground)
    routing = _next_routing(change, ground)
    champion = _next_champion(change, ground, routing)
    transitions = _transitions(change, ground, routing)
    intents = _intents(change, ground, routing)
    notes = [
        *([_routing_note(change, ground.routing, routing)] if routing else []),
        *(_transition_note(event) for event in transitions),
        *(_intent_note(intent) for intent in intents),
    ]
    return Effects(routing, champion, transitions, intents, tuple(notes))


def _next_routing(change: Change, ground: Ground) -> Routing | None:
    if change.routing is None:
        return None
    current = ground.routing.epoch
    if change.routing_epoch != current:
        raise Conflict(
            f"{change.model}: routing is at epoch {current}, not {change.routing_epoch}: "
            "somebody changed it first; read it again"
        )
    for version in (change.routing.stable, change.routing.canary):
        if version is not None and version.release_digest in ground.deleted:
            raise Conflict(f"{change.model}: {named(version)} has been deleted by retention; it cannot be served")
    gone = change.routing.previous is not None and change.routing.previous.release_digest in ground.deleted
    # What is deleted is no way back; a rollback must not fail because of it.
    return change.routing.model_copy(update={"epoch": current + 1, **({"previous": None} if gone else {})})


def _refuse_to_delete(change: Change, ground: Ground) -> None:
    """Raise :class:`Conflict` when something still points at a release that shall go."""
    row, intent = ground.routing, ground.intent
    pointing = [("the routing", version) for version in (row.stable, row.canary, row.previous)]
    pointing += (
        [(f"a {intent.kind} under way", version) for version in (intent.target, intent.replaced)] if intent else []
    )
    pointing += [
        (f"its state, {standing.state},", standing.version)
        for standing in ground.standings.values()
        if standing.state in IN_ROLLOUT or standing.state is S.CHAMPION
    ]
    for what, version in pointing:
        if version is not None and version.release_digest in change.deletes:
            raise Conflict(f"{change.model}: {what} points at {named(version)}: it is not deleted")


def _next_champion(change: Change, ground: Ground, routing: Routing | None) -> Champion | None:
    expected = change.champion_epoch
    current = ground.champion
    if expected is not None and expected != current.epoch:
        raise Conflict(
            f"{change.model}: champion is at epoch {current.epoch} ({named(current.version)}), not {expected}: "
            "it has changed since this was decided"
        )
    if routing is None or routing.stable == current.version:
        return None
    if routing.stable is None:
        raise Conflict(f"{change.model}: the champion can be replaced, never just removed")
    if expected is None and current.version is not None:
        raise Conflict(
            f"{change.model}: only a promotion or a rollback, with the champion's epoch, replaces "
            f"{named(current.version)}"
        )
    return Champion(model=change.model, epoch=current.epoch + 1, version=routing.stable, since=None)


def _transitions(change: Change, ground: Ground, routing: Routing | None) -> tuple[Transition, ...]:
    stated = {event.candidate for event in change.transitions}
    implied = implied_by(change, ground, routing) if routing else ()
    events = (*change.transitions, *(event for event in implied if event.candidate not in stated))
    standings = dict(ground.standings)
    for event in events:
        check_transition(event, standings.get(event.candidate))
        standings[event.candidate] = standing_of(event)
    return events


def implied_by(change: Change, ground: Ground, routing: Routing) -> tuple[Transition, ...]:
    """The transitions that follow from a new routing row: who entered, left or replaced whom."""
    before = ground.routing
    events = [
        *_left_canary(change, ground, before.canary, routing),
        *_entered_canary(change, ground, before, routing),
        *_replaced(change, ground, before.stable, routing.stable),
    ]
    return tuple(events)


def _left_canary(change: Change, ground: Ground, left: ServedVersion | None, after: Routing) -> list[Transition]:
    if left is None or left in (after.canary, after.stable):
        return []
    standing = ground.standings.get(left.release_digest)
    if standing is None or standing.state not in IN_ROLLOUT:
        return []
    return [transition(change, ground, left, S.ROLLED_BACK)]


def _entered_canary(change: Change, ground: Ground, before: Routing, after: Routing) -> list[Transition]:
    if after.canary is None:
        return []
    moved = after.canary != before.canary
    standing = ground.standings.get(after.canary.release_digest)
    if after.weight_ppm == 0 and moved and (standing is None or standing.state not in IN_ROLLOUT):
        return [transition(change, ground, after.canary, S.SHADOW)]
    weighed = after.weight_ppm > 0 if moved else after.weight_ppm != before.weight_ppm
    if not weighed or (standing and standing.state is S.PROMOTING):
        return []
    return [transition(change, ground, after.canary, S.CANARY, weight_ppm=after.weight_ppm)]


def _replaced(change: Change, ground: Ground, old: ServedVersion | None, new: ServedVersion | None) -> list[Transition]:
    if new is None or new == old:
        return []
    events = [transition(change, ground, new, S.CHAMPION)]
    if old is not None:
        events.append(transition(change, ground, old, S.RETIRED))
    return events


def transition(
    change: Change, ground: Ground, version: ServedVersion, after: CandidateState, *, weight_ppm: int | None = None
) -> Transition:
    """A transition of ``version`` from where it stands."""
    standing = ground.standings.get(version.release_digest)
    adopted = standing is None and after is S.RETIRED
    return Transition(
        model=change.model,
        candidate=version.release_digest,
        version=version,
        before=S.CHAMPION if adopted else standing.state if standing else None,
        after=after,
        reason=change.reason,
        actor=change.actor,
        run=change.run,
        weight_ppm=weight_ppm,
    )


def _intents(change: Change, ground: Ground, routing: Routing | None) -> tuple[Intent, ...]:
    now = ground.intent
    asked = change.intent
    if asked is None:
        return (_abandoned(now),) if now and routing and _undone(now, ground.routing, routing) else ()
    if now is None:
        if not _opens(asked):
            raise Conflict(f"{change.model}: the {asked.kind} {asked.key} is not under way any more: somebody ended it")
        return (asked,)
    if (now.kind, now.key) == (asked.kind, asked.key):
        return (asked,) if now != asked else ()
    # A rollback must never wait for a promotion that is stuck: it takes its place.
    if asked.kind is IntentKind.ROLLBACK and now.kind is IntentKind.PROMOTION:
        return (_abandoned(now), asked)
    raise Conflict(
        f"{change.model}: a {now.kind} to {now.target.version_id} ({now.key}) is under way; "
        "finish it with: gauntlet doctor --repair"
    )


def _opens(intent: Intent) -> bool:
    """A promotion is announced before traffic moves; a rollback moves traffic in its first transaction."""
    first = IntentStage.OPENED if intent.kind is IntentKind.PROMOTION else IntentStage.ROUTED
    return intent.stage in (IntentStage.OPENED, first)


def _undone(intent: Intent, before: Routing, after: Routing) -> bool:
    """Whether the candidate of a promotion that has not been routed was taken out of traffic."""
    return intent.stage is IntentStage.OPENED and before.canary == intent.target and after.canary != intent.target


def _abandoned(intent: Intent) -> Intent:
    return intent.model_copy(update={"stage": IntentStage.ABANDONED})


def _routing_note(change: Change, before: Routing, after: Routing) -> Note:
    return Note(
        action=change.action,
        subject=f"epoch {after.epoch}",
        detail={
            "reason": change.reason,
            "stable": named(after.stable),
            "canary": named(after.canary),
            "previous": named(after.previous),
            "weight_ppm": after.weight_ppm,
            "rollout": after.rollout,
            "was": {
                "stable": named(before.stable),
                "canary": named(before.canary),
                "weight_ppm": before.weight_ppm,
            },
        },
    )


def _transition_note(event: Transition) -> Note:
    return Note(
        action=f"candidate.{event.after}",
        subject=event.candidate,
        detail={
            "version": event.version.version,
            "version_id": event.version.version_id,
            "before": event.before,
            "weight_ppm": event.weight_ppm,
            "run": event.run,
            "reason": event.reason,
        },
    )


def _intent_note(intent: Intent) -> Note:
    return Note(
        action=f"{intent.kind}.{intent.stage}",
        subject=intent.key,
        detail={
            "target": named(intent.target),
            "replaced": named(intent.replaced),
            "champion_epoch": intent.champion_epoch,
            "reason": intent.reason,
        },
    )


def named(version: ServedVersion | None) -> str:
    """A version in words: ``v7 (a1b2c3)`` or ``nobody``."""
    return f"v{version.version} ({version.version_id})" if version else "nobody"
