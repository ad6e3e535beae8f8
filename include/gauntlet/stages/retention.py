"""Delete what nothing needs any more; a tombstone stays.

For each item: tombstone first, in the transaction that refuses when a routing row, an intent or a rollout points at
it; then the registry's entry, then the bytes; then the tombstone says that it is done. Killed anywhere, the next
run finishes what has a tombstone before it looks for more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from gauntlet.core.errors import Conflict, MissingRecord, Rejection, SpecError
from gauntlet.core.ledger import Change
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.reconcile import CHALLENGER, wanted_aliases
from gauntlet.core.records.base import Record
from gauntlet.core.records.data import ContractReport, DatasetRef, SplitManifest
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.ledger import CandidateState, Transition
from gauntlet.core.records.model import RegisteredVersion, ReleaseDossier, TrainedModel
from gauntlet.core.records.retention import (
    DoomedItem,
    ItemKind,
    Pin,
    RetentionPlan,
    RetentionReport,
    Tombstone,
    retention_key,
)
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext
from gauntlet.core.retention import Holding, Item, Policy, divide, pointed_at, served_since
from gauntlet.core.standing import Standing
from gauntlet.stages.aliases import standings_of
from gauntlet.stages.recorded import version_called
from gauntlet.stages.releases import ALL, tombstone_of

ACTOR = "retention"
K, S = ItemKind, CandidateState
WAITING = frozenset({S.REGISTERED, S.VALIDATED, S.APPROVED})
ORDER = (K.RELEASE, K.DOSSIER, K.REGISTRY_RUN, K.EVALUATION, K.SPLIT, K.SNAPSHOT, K.PAGE, K.JOURNAL)
"""What refers to something goes before it."""


FACTS = (DatasetRef, SplitManifest, EvaluationRef, ContractReport, DriftReport, ReleaseDossier)
"""The records of a run that refer to files."""


# ---- what would go ---------------------------------------------------------------------------------


def plan_retention(services: Services, model: str) -> RetentionPlan:
    """What is kept and why, and what may go.

    Raises:
        InfrastructureError: the registry does not answer. Without its aliases nobody knows what they point at, so
            nothing is deleted.
    """
    section, now = services.specs.get(model).retention, services.clock.now()
    policy = Policy(section.versions, section.referenced)
    holdings = _holdings(services, model)
    kept, doomed = divide(holdings, _wanted(services, model, now - policy.referenced), policy, now)
    journal = _old_journal(services, model, now - policy.referenced)
    stones = _stones(services, model)
    there = tuple(item for item in (*doomed, *journal) if _there(item, stones))
    return RetentionPlan(model=model, kept=kept, doomed=there, at=now)


def _there(item: DoomedItem, stones: dict[str, Tombstone]) -> bool:
    """Whether it was never deleted, or a later run made the same content again."""
    stone = stones.get(f"{item.kind.value}:{item.digest}")
    if stone is None:
        return True
    return stone.deleted_at is not None and item.last is not None and item.last > stone.decided_at


def _holdings(services: Services, model: str) -> list[Holding]:
    """Every run of a model with all it refers to; a handful of queries, however many runs there are."""
    runs = services.records.newest(model, RunContext, limit=ALL)
    keys = [run.key for run in runs]

    def one(kind: type[Record]) -> dict[str, Record]:
        return {key: named[""] for key, named in services.records.of_runs(keys, kind).items() if "" in named}

    trained, registered = one(TrainedModel), one(RegisteredVersion)
    pointers = [(kind, one(kind)) for kind in FACTS]
    return [
        _holding(run, trained.get(run.key), registered.get(run.key), [found.get(run.key) for _, found in pointers])
        for run in runs
    ]


def _holding(
    run: RunContext, trained: Record | None, registered: Record | None, facts: Sequence[Record | None]
) -> Holding:
    items = [Item(K.REGISTRY_RUN, run.key, ""), *(item for fact in facts for item in _items(fact))]
    release = trained.release.digest if isinstance(trained, TrainedModel) else None
    if isinstance(trained, TrainedModel):
        items.append(Item(K.RELEASE, trained.release.digest, trained.release.uri))
    version = registered.version if isinstance(registered, RegisteredVersion) else None
    return Holding(run.key, run.opened_at, tuple(items), release, version)


def _items(fact: Record | None) -> Iterator[Item]:
    """The files a record refers to."""
    match fact:
        case DatasetRef():
            yield Item(K.SNAPSHOT, fact.sha256, fact.uri)
            yield Item(K.SNAPSHOT, f"{fact.sha256}.json", f"{fact.uri.removesuffix('.parquet')}.json")
        case SplitManifest():
            yield Item(K.SPLIT, fact.sha256, fact.uri)
        case EvaluationRef():
            yield Item(K.EVALUATION, fact.sha256, fact.uri)
        case ReleaseDossier():
            yield Item(K.DOSSIER, fact.digest, fact.uri)
        case ContractReport():
            if fact.page_uri:
                yield _page(fact.page_uri)
        case DriftReport():
            for uri in (fact.page_uri, fact.data_uri):
                if uri:
                    yield _page(uri)


def _page(uri: str) -> Item:
    """A page is stored under its digest, in the file's or its folder's name."""
    return Item(K.PAGE, "/".join(uri.rsplit("/", 2)[-2:]), uri)


def _wanted(services: Services, model: str, cutoff: datetime) -> dict[str, str]:
    """The releases that stay whatever their age, each with the strongest reason."""
    routing, standings = services.routing.read(model), standings_of(services, model)
    wanted = served_since(services.ledger.routings(model), cutoff)
    wanted |= {pin.release_digest: f"pinned by {pin.by}: {pin.reason}" for pin in _pins(services, model) if pin.pinned}
    wanted |= _under_way(services, model, standings, cutoff)
    releases = {version.version: version.release.digest for version in _registered(services, model)}
    numbers = {**services.registry.aliases(model), CHALLENGER: wanted_aliases(routing, standings)[CHALLENGER]}
    wanted |= {releases[number]: f"alias {alias}" for alias, number in numbers.items() if number in releases}
    return wanted | pointed_at(routing)


def _rollouts(services: Services, model: str, cutoff: datetime) -> list[RolloutState]:
    """Rollouts under way; one that nobody has ticked since ``cutoff`` was left, and holds nothing any more."""
    states = services.records.newest(model, RolloutState, limit=ALL)
    return [state for state in states if not state.over and state.updated_at >= cutoff]


def _under_way(services: Services, model: str, standings: dict[str, Standing], cutoff: datetime) -> dict[str, str]:
    found = {
        digest: f"its state is {standing.state}"
        for digest, standing in standings.items()
        if standing.state in (S.SHADOW, S.CANARY, S.PROMOTING, S.CHAMPION)
    }
    for state in _rollouts(services, model, cutoff):
        found[state.candidate.release_digest] = f"in rollout {state.rollout}"
    intent = services.ledger.intent(model)
    if intent is not None:
        found[intent.target.release_digest] = f"a {intent.kind} is under way"
    return found


def _registered(services: Services, model: str) -> list[RegisteredVersion]:
    return services.records.newest(model, RegisteredVersion, limit=ALL)


def _pins(services: Services, model: str) -> list[Pin]:
    return services.records.newest(model, Pin, limit=ALL)


def _old_journal(services: Services, model: str, cutoff: datetime) -> list[DoomedItem]:
    """Journal files that are older than everything: a rollout under way still reads its own."""
    edge = min([cutoff, *(state.started_at for state in _rollouts(services, model, cutoff))])
    return [
        DoomedItem(kind=K.JOURNAL, digest=digest, uri=name, reason=f"its newest row is older than {edge:%Y-%m-%d}")
        for name, digest in services.journal.ended_before(model, edge)
    ]


def _stones(services: Services, model: str) -> dict[str, Tombstone]:
    """The tombstones in force, by name."""
    stones = services.records.newest(model, Tombstone, limit=ALL)
    return {stone.name: stone for stone in stones if stone.restored_at is None}


# ---- letting it go ---------------------------------------------------------------------------------


def apply_retention(services: Services, model: str) -> RetentionReport:
    """Delete what the plan dooms, and finish what an earlier run began. Safe to repeat, and to be killed anywhere.

    Raises:
        InfrastructureError: the registry or the blob store does not answer; what is done stays done.
    """
    begun = [stone for stone in _stones(services, model).values() if stone.deleted_at is None]
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
    for registered in _registered(services, stone.model):
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


# ---- keeping ---------------------------------------------------------------------------------------


def pin_version(services: Services, model: str, version: str, *, by: str, reason: str, pinned: bool = True) -> Pin:
    """Keep a version whatever its age, or let it age again. ``version``: ``7``, ``v7`` or a version id."""
    if not reason.strip():
        raise SpecError("a pin needs a reason: it is what the next person asks")
    found = find_version(services, model, version)
    pin = Pin(
        model=model,
        release_digest=found.release.digest,
        version=found.version,
        pinned=pinned,
        by=by,
        reason=reason,
        at=services.clock.now(),
    )
    services.records.put(retention_key(model), pin, pin.release_digest, actor=by)
    return pin


def find_version(services: Services, model: str, version: str) -> RegisteredVersion:
    """A registered version by its number (``7``, ``v7``), its id, or the start of its release digest."""
    found = version_called(services, model, version)
    if found is None:
        raise MissingRecord(
            f"{model} has no version {version!r}: give its number (7, v7) or its id; see gauntlet history"
        )
    return found


def restored(services: Services, model: str, digest: str) -> tuple[tuple[str, Tombstone, str], ...]:
    """For a release that was made again after it had been deleted: what takes its tombstone out of force."""
    stone = tombstone_of(services, model, digest)
    if stone is None:
        return ()
    return ((retention_key(model), stone.model_copy(update={"restored_at": services.clock.now()}), stone.name),)
