"""Return to the recorded previous champion, and keep the offender from coming back.

The mirror image of a promotion with one difference: it must work when little else does. It needs the control
database and the model server; the registry's aliases follow when the registry answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from time import perf_counter
from typing import cast

from gauntlet.core.errors import (
    Conflict,
    GauntletError,
    InfrastructureError,
    Rejection,
    RollbackRefused,
    SpecError,
)
from gauntlet.core.ledger import Change, named
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import (
    CandidateState,
    Intent,
    IntentKind,
    IntentStage,
    RollbackConfirmed,
    RollbackReport,
    RoutingChange,
    Transition,
)
from gauntlet.core.records.rollout import Quarantine, Routing, ServedVersion
from gauntlet.core.standing import earlier_champions
from gauntlet.stages.aliases import project_aliases
from gauntlet.stages.releases import quarantine_of, quarantines, release_of, tombstone_of

APPLY_TIMEOUT_S = 5.0
ATTEMPTS = 8
SWAPPED = "rollback.routing"
S = CandidateState


def rollback(services: Services, model: str, *, reason: str, actor: str, request: str = "") -> RollbackReport:
    """Move all traffic from the champion to the champion before it, and quarantine the offender's content.

    Allowed at any time; takes a canary out of traffic too, for what it was compared with is gone, and the place
    of a promotion that is under way. The way back is recorded, never "version − 1"; an earlier champion that is
    quarantined, or whose release is damaged, is passed over for the one before. A rollback that was cut short is
    finished, not repeated. ``request``: the same request twice is one rollback.

    Raises:
        SpecError: nobody's name, or no reason.
        RollbackRefused: there is no champion, or no earlier one that can be served; nothing changed.
        InfrastructureError: the decision stands and is recorded, but a server has not confirmed it; try again.
    """
    started = perf_counter()
    if request and (known := services.records.find(_key(model, request), RollbackReport)) is not None:
        return known
    return finish_rollback(services, _begin(services, model, reason, actor, request), started=started)


def begin_rollback(
    services: Services, model: str, *, reason: str, actor: str, request: str
) -> RollbackConfirmed | RollbackReport:
    """The part that cannot wait: traffic is moved and every server process has confirmed it.

    What follows (aliases, the report) is for :func:`rollback` with the same ``request``, in whatever process.
    Raises as :func:`rollback` does.
    """
    started = perf_counter()
    known = services.records.find(_key(model, request), RollbackReport)
    return known or _confirm(services, _begin(services, model, reason, actor, request), started)


def _begin(services: Services, model: str, reason: str, actor: str, request: str) -> Intent:
    """The rollback that is under way, or a new one."""
    if not reason.strip() or not actor.strip():
        raise SpecError(f"{model}: a rollback needs a name and a reason; both go into the audit log")
    intent = services.ledger.intent(model)
    if intent is not None and intent.kind is IntentKind.ROLLBACK:
        return intent
    return _move_traffic(services, model, reason, actor, request)


def _key(model: str, name: str) -> str:
    return f"{model}/{name}"


# ---- the change ------------------------------------------------------------------------------------


def _move_traffic(services: Services, model: str, reason: str, actor: str, request: str) -> Intent:
    """The commit point: routing, champion, quarantine, ledger and audit in one transaction."""
    offender = services.routing.read(model).stable
    if offender is None:
        raise RollbackRefused(f"{model}: there is no champion, so nothing to roll back")
    target = way_back(services, model, offender)
    for _ in range(ATTEMPTS):
        routing = services.routing.read(model)
        if routing.stable != offender:
            raise Conflict(f"{model}: {named(routing.stable)} has replaced {named(offender)} meanwhile; look again")
        change = _change(services, routing, target, reason, actor, request)
        try:
            services.ledger.commit(change)
        except Conflict:
            if services.routing.read(model).epoch == routing.epoch:
                raise
        else:
            assert change.intent is not None
            return change.intent
    raise Conflict(f"{model}: the routing changed {ATTEMPTS} times while it was to be swapped; try again")


def way_back(services: Services, model: str, offender: ServedVersion) -> ServedVersion:
    """The latest earlier champion that may be served and whose release every server has loaded and checked.

    Raises :class:`RollbackRefused` with what stands in the way of each when there is none.
    """
    skipped = []
    for version in earlier_champions(services.ledger.events(model), offender):
        obstacle = _obstacle(services, model, version)
        if obstacle is None:
            return version
        skipped.append(f"{named(version)}: {obstacle}")
    why = "; ".join(skipped) or f"{named(offender)} is the first champion"
    raise RollbackRefused(f"{model}: nothing to return to: {why}; traffic is unchanged")


def _obstacle(services: Services, model: str, version: ServedVersion) -> str | None:
    if tombstone_of(services, model, version.release_digest) is not None:
        return "deleted by retention"
    release = release_of(services, model, version)
    quarantine = quarantine_of(services, model, release.digest, release.tree_digest)
    if quarantine is not None:
        return f"quarantined: {quarantine.reason}"
    try:
        if _warm(services, model, version):
            return _damage(services, version)
        services.server.prepare(model, release)
    except Rejection as error:
        return str(error)
    except InfrastructureError:
        return _damage(services, version)
    return None


def _warm(services: Services, model: str, version: ServedVersion) -> bool:
    """Whether every server process has it loaded still: it was checked then, and doing so again costs seconds."""
    reports = services.server.reports(model)
    return bool(reports) and all(version.version_id in report.loaded for report in reports)


def _damage(services: Services, version: ServedVersion) -> str | None:
    """Its bytes must be what was recorded: a worker that starts later has to load them."""
    try:
        services.blobs.fetch_folder(version.release_uri, version.release_digest)
    except Rejection as error:
        return str(error)
    return None


def _change(
    services: Services, routing: Routing, target: ServedVersion, reason: str, actor: str, request: str
) -> Change:
    model, offender, now = routing.model, routing.stable, services.clock.now()
    assert offender is not None
    champion = services.ledger.champion(model)
    key = request or f"rollback-{champion.epoch + 1}"
    intent = Intent(
        model=model,
        kind=IntentKind.ROLLBACK,
        key=key,
        stage=IntentStage.ROUTED,
        target=target,
        replaced=offender,
        champion_epoch=champion.epoch,
        actor=actor,
        reason=reason,
        opened_at=now,
        rollout=routing.rollout,
    )
    quarantine = Quarantine(
        model=model,
        release_digest=offender.release_digest,
        version_id=offender.version_id,
        version=offender.version,
        rollout=None,
        reason=reason,
        at=now,
    )
    return Change(
        model=model,
        actor=actor,
        action=SWAPPED,
        reason=reason,
        routing=_restored(services, routing, target, offender),
        routing_epoch=routing.epoch,
        champion_epoch=champion.epoch,
        transitions=tuple(_events(services, intent, offender)),
        intent=intent,
        records=((_key(model, key), quarantine, offender.release_digest),),
    )


def _restored(services: Services, routing: Routing, target: ServedVersion, offender: ServedVersion) -> Routing:
    """The routing with the target stable; ``previous`` is the champion before the target, the next way back."""
    back = earlier_champions(services.ledger.events(routing.model), target)
    held = {one.release_digest for one in quarantines(services, routing.model)}
    left = [version for version in back if version != offender and version.release_digest not in held]
    return routing.model_copy(
        update={
            "stable": target,
            "previous": left[0] if left else None,
            "canary": None,
            "weight_ppm": 0,
            "rollout": None,
            "lease_until": None,
        }
    )


def _events(services: Services, intent: Intent, offender: ServedVersion) -> Iterator[Transition]:
    """The offender's quarantine, and the end of a promotion that is under way; the rest follows from the routing."""
    yield _event(intent, offender, S.CHAMPION, S.QUARANTINED)
    promotion = services.ledger.intent(intent.model)
    if promotion is not None and promotion.kind is IntentKind.PROMOTION and promotion.stage is IntentStage.OPENED:
        yield _event(intent, promotion.target, S.PROMOTING, S.ROLLED_BACK)


def _event(intent: Intent, version: ServedVersion, before: CandidateState, after: CandidateState) -> Transition:
    return Transition(
        model=intent.model,
        candidate=version.release_digest,
        version=version,
        before=before,
        after=after,
        reason=intent.reason,
        actor=intent.actor,
    )


# ---- after -----------------------------------------------------------------------------------------


def finish_rollback(services: Services, intent: Intent, *, started: float) -> RollbackReport:
    """Bring the servers, then the registry, to where the ledger is; ``started`` is a ``perf_counter`` reading."""
    confirmed = _confirm(services, intent, started)
    swap = _swap_of(services, intent)
    assert intent.replaced is not None
    report = RollbackReport(
        model=intent.model,
        key=intent.key,
        offender=intent.replaced,
        restored=intent.target,
        champion_epoch=intent.champion_epoch + 1,
        routing_epoch=swap.routing.epoch,
        reason=intent.reason,
        actor=intent.actor,
        decided_at=intent.opened_at,
        applied_at=max(confirmed.at, intent.opened_at),
        seconds=confirmed.seconds,
        servers=confirmed.servers,
        registry=_follow(services, intent),
        last_served_at=_last_served(services, intent, intent.replaced),
    )
    return _close(services, intent, report)


def _confirm(services: Services, intent: Intent, started: float) -> RollbackConfirmed:
    """Every server process serves the routing; measured once, however often it is asked for."""
    routing = services.routing.read(intent.model)
    reports = services.server.apply(routing, APPLY_TIMEOUT_S)
    key = _key(intent.model, intent.key)
    known = services.records.find(key, RollbackConfirmed)
    if known is not None:
        return known
    confirmed = RollbackConfirmed(
        model=intent.model,
        key=intent.key,
        routing_epoch=routing.epoch,
        at=services.clock.now(),
        seconds=perf_counter() - started,
        servers=len(reports),
    )
    services.records.put(key, confirmed, actor=intent.actor)
    return confirmed


def _last_served(services: Services, intent: Intent, offender: ServedVersion) -> datetime | None:
    """When the offender last answered after the decision, by what the journal has of it by now."""
    try:
        table = services.journal.read(intent.model, intent.opened_at, services.clock.now())
    except GauntletError:
        return None
    import pyarrow.compute as pc

    last = pc.max(table.filter(pc.equal(table["version_id"], offender.version_id))["at"]).as_py()
    return None if last is None else cast(datetime, last)


def _follow(services: Services, intent: Intent) -> str:
    """Aliases and tags, if the registry answers; the reconciler does it otherwise."""
    assert intent.replaced is not None
    try:
        project_aliases(services, intent.model)
        services.registry.tag_version(
            intent.model,
            intent.replaced.version,
            {"gauntlet.quarantined_at": intent.opened_at.isoformat(), "gauntlet.quarantine_reason": intent.reason},
        )
    except InfrastructureError as error:
        return f"aliases are left to the reconciler: {error}"
    return "aliases follow"


def _swap_of(services: Services, intent: Intent) -> RoutingChange:
    return next(
        change
        for change in reversed(services.ledger.routings(intent.model))
        if change.action == SWAPPED and change.routing.stable == intent.target
    )


def _close(services: Services, intent: Intent, report: RollbackReport) -> RollbackReport:
    key = _key(intent.model, intent.key)
    try:
        services.ledger.commit(
            Change(
                model=intent.model,
                actor=intent.actor,
                action="rollback",
                reason=intent.reason,
                intent=intent.model_copy(update={"stage": IntentStage.DONE}),
                records=((key, report, ""),),
            )
        )
    except Conflict:
        # Somebody else finished the same rollback: theirs is the record.
        known = services.records.find(key, RollbackReport)
        if known is None:
            raise
        return known
    return report
