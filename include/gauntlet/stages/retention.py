"""Delete what nothing needs any more; a tombstone stays.

For each item: tombstone first, in the transaction that refuses when a routing row, an intent or a rollout points at
it; then the registry's entry, then the bytes; then the tombstone says that it is done. Killed anywhere, the next
run finishes what has a tombstone before it looks for more.
"""

from __future__ import annotations

from collections.abc import Callable

from gauntlet.core.errors import Conflict, Rejection
from gauntlet.core.ledger import Change
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import CandidateState, Transition
from gauntlet.core.records.retention import DoomedItem, ItemKind, RetentionReport, Tombstone, retention_key
from gauntlet.stages.plan_retention import plan_retention, stones_of
from gauntlet.stages.releases import tombstone_of, versions_of

ACTOR = "retention"
K, S = ItemKind, CandidateState
WAITING = frozenset({S.REGISTERED, S.VALIDATED, S.APPROVED})
ORDER = (K.RELEASE, K.DOSSIER, K.REGISTRY_RUN, K.EVALUATION, K.SPLIT, K.SNAPSHOT, K.PAGE, K.JOURNAL)
"""What refers to something goes before it."""


# ---- letting it go ---------------------------------------------------------------------------------


def apply_retention(services: Services, model: str) -> RetentionReport:
    """Delete what the plan dooms, and finish what an earlier run began. Safe to repeat, and to be killed anywhere.

    Raises:
        InfrastructureError: the registry or the blob store does not answer; what is done stays done.
    """
    begun = [stone for stone in stones_of(services, model).values() if stone.deleted_at is None]
    plan = plan_retention(services, model)
    deleted, refused = [], []
    todo: list[Tombstone | DoomedItem] = [*sorted(begun, key=_rank), *sorted(plan.doomed, key=_rank)]
    for item in todo:
        try:
            stone = item if isinstance(item, Tombstone) else _condemn(services, model, item)
            deleted.append(_bury(services, stone))
        except (Conflict, Rejection) as error:
            refused.append(f"{item.kind} {item.digest[:12]}: {error}")
    report = RetentionReport(
        model=model,
        outcome=Outcome.FAILED if refused else Outcome.PASSED,
        reason=f"{len(deleted)} deleted, {len(plan.kept)} kept, {len(refused)} refused",
        kept=len(plan.kept),
        deleted=tuple(deleted),
        refused=tuple(refused),
        at=services.clock.now(),
    )
    if deleted or refused:
        services.records.put(retention_key(model), report, actor=ACTOR)
    return report


def _rank(item: DoomedItem | Tombstone) -> tuple[int, str]:
    return ORDER.index(item.kind), item.digest


def _condemn(services: Services, model: str, item: DoomedItem) -> Tombstone:
    """Write the tombstone, unless anything points at the release by now; a waiting candidate is retired by it."""
    stone = Tombstone(
        model=model,
        kind=item.kind,
        digest=item.digest,
        uri=item.uri,
        reason=item.reason,
        decided_at=services.clock.now(),
    )
    if item.kind is not K.RELEASE:
        services.records.put(retention_key(model), stone, stone.name, actor=ACTOR)
        return stone
    services.ledger.commit(
        Change(
            model=model,
            actor=ACTOR,
            action="retention",
            reason=item.reason,
            transitions=_retired(services, model, item),
            records=((retention_key(model), stone, stone.name),),
            deletes=frozenset({item.digest}),
        )
    )
    return stone


def _retired(services: Services, model: str, item: DoomedItem) -> tuple[Transition, ...]:
    standing = services.ledger.standing(model, item.digest)
    if standing is None or standing.state not in WAITING:
        return ()
    return (
        Transition(
            model=model,
            candidate=item.digest,
            version=standing.version,
            before=standing.state,
            after=S.RETIRED,
            reason=item.reason,
            actor=ACTOR,
        ),
    )


def _bury(services: Services, stone: Tombstone) -> str:
    """Remove it, and say so in its tombstone."""
    _REMOVALS[stone.kind](services, stone)
    done = stone.model_copy(update={"deleted_at": services.clock.now()})
    services.records.put(retention_key(stone.model), done, stone.name, actor=ACTOR)
    return stone.name


def _remove_blob(services: Services, stone: Tombstone) -> None:
    services.blobs.remove(stone.uri)


def _remove_release(services: Services, stone: Tombstone) -> None:
    """Its registry versions first: an alias that was set meanwhile keeps both."""
    for registered in versions_of(services, stone.model):
        if registered.release.digest == stone.digest:
            services.registry.delete_version(stone.model, registered.version)
    services.blobs.remove(stone.uri)


def _remove_registry_run(services: Services, stone: Tombstone) -> None:
    services.registry.delete_run(stone.model, stone.digest)


def _remove_journal(services: Services, stone: Tombstone) -> None:
    services.journal.remove(stone.model, stone.uri)


_REMOVALS: dict[ItemKind, Callable[[Services, Tombstone], None]] = {
    K.RELEASE: _remove_release,
    K.DOSSIER: _remove_blob,
    K.SNAPSHOT: _remove_blob,
    K.SPLIT: _remove_blob,
    K.EVALUATION: _remove_blob,
    K.PAGE: _remove_blob,
    K.REGISTRY_RUN: _remove_registry_run,
    K.JOURNAL: _remove_journal,
}


# ---- coming back ---------------------------------------------------------------------------------------


def restored(services: Services, model: str, digest: str) -> tuple[tuple[str, Tombstone, str], ...]:
    """For a release that was made again after it had been deleted: what takes its tombstone out of force."""
    stone = tombstone_of(services, model, digest)
    if stone is None:
        return ()
    return ((retention_key(model), stone.model_copy(update={"restored_at": services.clock.now()}), stone.name),)
