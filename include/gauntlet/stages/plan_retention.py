"""What nothing needs any more: every run's holdings against what is pointed at, pinned, under way or young enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from gauntlet.core.ports import Services
from gauntlet.core.reconcile import CHALLENGER, wanted_aliases
from gauntlet.core.records.base import Record
from gauntlet.core.records.data import ContractReport, DatasetRef, SplitManifest
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.ledger import CandidateState
from gauntlet.core.records.model import RegisteredVersion, ReleaseDossier, TrainedModel
from gauntlet.core.records.retention import DoomedItem, ItemKind, RetentionPlan, Tombstone
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext
from gauntlet.core.retention import Holding, Item, Policy, divide, pointed_at, served_since
from gauntlet.core.standing import Standing
from gauntlet.stages.aliases import standings_of
from gauntlet.stages.pins import pinned_releases
from gauntlet.stages.releases import ALL, versions_of

K, S = ItemKind, CandidateState
FACTS = (DatasetRef, SplitManifest, EvaluationRef, ContractReport, DriftReport, ReleaseDossier)
"""The records of a run that refer to files."""


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
    stones = stones_of(services, model)
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
    wanted |= pinned_releases(services, model)
    wanted |= _under_way(services, model, standings, cutoff)
    releases = {version.version: version.release.digest for version in versions_of(services, model)}
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


def _old_journal(services: Services, model: str, cutoff: datetime) -> list[DoomedItem]:
    """Journal files that are older than everything: a rollout under way still reads its own."""
    edge = min([cutoff, *(state.started_at for state in _rollouts(services, model, cutoff))])
    return [
        DoomedItem(kind=K.JOURNAL, digest=digest, uri=name, reason=f"its newest row is older than {edge:%Y-%m-%d}")
        for name, digest in services.journal.ended_before(model, edge)
    ]


def stones_of(services: Services, model: str) -> dict[str, Tombstone]:
    """The tombstones in force, by name."""
    stones = services.records.newest(model, Tombstone, limit=ALL)
    return {stone.name: stone for stone in stones if stone.restored_at is None}
