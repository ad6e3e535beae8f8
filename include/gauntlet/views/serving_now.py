"""What serves now, who waits, and what this person may do about it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gauntlet.core.errors import GauntletError, InfrastructureError
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.gates import Approval, GateReceipt
from gauntlet.core.records.ledger import CandidateState, Transition
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.core.records.rollout import Quarantine, RolloutState, ServedVersion
from gauntlet.core.roles import permitted, with_overrides
from gauntlet.stages.command_rollout import rollout_under_way
from gauntlet.stages.releases import quarantines
from gauntlet.views.actions import ACTIONS, Person
from gauntlet.views.links import Link, Places, grafana, mlflow_run, runbook_link
from gauntlet.views.run_page import APPROVAL

WAITING = frozenset({
    CandidateState.REGISTERED,
    CandidateState.VALIDATED,
    CandidateState.APPROVED,
    CandidateState.SHADOW,
    CandidateState.CANARY,
    CandidateState.PROMOTING,
})
VERSIONS = 500


class Models(Record):
    """The models this person may read."""

    models: tuple[str, ...]
    person: str
    roles: tuple[str, ...]


class Holder(Record):
    """A version in a role. ``state`` is the ledger's word."""

    role: str
    version: int | None
    version_id: str | None
    digest: str | None
    state: str | None
    since: Instant | None
    age_seconds: float | None
    reason: str
    links: tuple[Link, ...]


class Withdrawn(Record):
    """A quarantined release."""

    digest: str
    version: int
    version_id: str
    reason: str
    at: Instant


class Allowed(Record):
    """Whether this person may do one thing, and why or why not."""

    action: str
    permitted: bool
    reason: str


class Registry(Record):
    """What the registry's aliases say; ``silence`` is why it could not be asked. It may be slow or down."""

    model: str
    aliases: dict[str, int] | None
    disagreements: tuple[str, ...]
    silence: str | None


class Serving(Record):
    """The head of the page."""

    model: str
    description: str
    team: str
    email: str
    champion: Holder
    challenger: Holder
    previous: Holder
    weight_ppm: int
    routing_epoch: int
    lease_until: Instant | None
    rollout: RolloutState | None
    quarantined: tuple[Withdrawn, ...]
    approvals_wanted: tuple[str, ...]
    """Runs whose promotion waits for a person, or whose approval gate has not been satisfied yet, newest first."""
    allowed: tuple[Allowed, ...]
    links: tuple[Link, ...]
    now: Instant
    empty: str | None


def models(services: Services, who: Person) -> Models:
    """The models this person may read, in order."""
    return Models(models=tuple(who.readable(services.specs.names())), person=who.name, roles=who.roles)


def serving(services: Services, places: Places, model: str, who: Person) -> Serving:
    """Champion, challenger and previous of a model, with the rollout under way and what waits for a person."""
    spec, routing, now = services.specs.get(model), services.routing.read(model), services.clock.now()
    events = services.ledger.events(model)
    versions = services.records.newest(model, RegisteredVersion, limit=VERSIONS)
    mlflow = {version.release.digest: version.mlflow_run_id for version in versions}

    def holder(role: str, version: ServedVersion | None, missing: str) -> Holder:
        return _holder(role, version, missing, events, mlflow, places, now)

    rollout = rollout_under_way(services, model)
    return Serving(
        model=model,
        description=spec.description,
        team=spec.owner.team,
        email=spec.owner.email,
        champion=holder("champion", routing.stable, "no version has been promoted yet"),
        challenger=holder("challenger", _challenger(events, routing.canary), "no candidate waits or is in traffic"),
        previous=holder("previous", routing.previous, "no earlier champion to return to"),
        weight_ppm=routing.weight_ppm if routing.canary else 0,
        routing_epoch=routing.epoch,
        lease_until=routing.lease_until,
        rollout=rollout,
        quarantined=quarantined(services, model),
        approvals_wanted=(*_promotion_wanted(services, rollout), *_approvals_wanted(services, model)),
        allowed=_allowed(who),
        links=(*grafana(places, model), runbook_link(services, model)),
        now=now,
        empty=None if routing.stable else f"Nothing serves yet. The first version comes in by {model}__retrain.",
    )


def quarantined(services: Services, model: str) -> tuple[Withdrawn, ...]:
    """Releases in quarantine that nobody has cleared, newest first."""
    newest: dict[str, Quarantine] = {}
    for one in quarantines(services, model):
        newest.setdefault(one.release_digest, one)
    return tuple(
        Withdrawn(
            digest=one.release_digest, version=one.version, version_id=one.version_id, reason=one.reason, at=one.at
        )
        for one in newest.values()
    )


def registry(services: Services, model: str) -> Registry:
    """Whether the registry's aliases name the versions that serve."""
    services.specs.get(model)
    routing = services.routing.read(model)
    try:
        aliases = services.registry.aliases(model)
    except InfrastructureError as error:
        return Registry(model=model, aliases=None, disagreements=(), silence=str(error))
    wanted = {"champion": routing.stable, "previous": routing.previous}
    apart = tuple(
        f"{name} is {_version(aliases.get(name))}, should be {_version(served.version if served else None)}"
        for name, served in wanted.items()
        if aliases.get(name) != (served.version if served else None)
    )
    return Registry(model=model, aliases=aliases, disagreements=apart, silence=None)


def _version(number: int | None) -> str:
    return "nobody" if number is None else f"version {number}"


def _challenger(events: Iterable[Transition], canary: ServedVersion | None) -> ServedVersion | None:
    """Who is in traffic, else the newest candidate that still waits."""
    if canary is not None:
        return canary
    last = {event.candidate: event for event in events}
    waiting = [event for event in last.values() if event.after in WAITING]
    return max(waiting, key=lambda event: event.sequence).version if waiting else None


def _holder(
    role: str,
    version: ServedVersion | None,
    missing: str,
    events: list[Transition],
    mlflow: dict[str, str],
    places: Places,
    now: datetime,
) -> Holder:
    if version is None:
        return Holder(
            role=role,
            version=None,
            version_id=None,
            digest=None,
            state=None,
            since=None,
            age_seconds=None,
            reason=missing,
            links=(),
        )
    event = next((one for one in reversed(events) if one.candidate == version.release_digest), None)
    since = event.at if event else None
    return Holder(
        role=role,
        version=version.version,
        version_id=version.version_id,
        digest=version.release_digest,
        state=event.after if event else None,
        since=since,
        age_seconds=(now - since).total_seconds() if since else None,
        reason=event.reason if event else "adopted; the ledger has no event of it",
        links=mlflow_run(places, mlflow.get(version.release_digest)),
    )


def _promotion_wanted(services: Services, rollout: RolloutState | None) -> tuple[str, ...]:
    """The run whose candidate has come through its rollout and waits for a person to promote it."""
    from gauntlet.stages.promote import awaits_approval

    waits = rollout is not None and rollout.ready and awaits_approval(services, rollout)
    return (rollout.source_run,) if rollout is not None and waits else ()


def _approvals_wanted(services: Services, model: str) -> tuple[str, ...]:
    """Runs whose approval gate said no for want of a word; a run with a word is answered."""
    try:
        receipts = services.records.newest(model, GateReceipt, limit=5, name=APPROVAL)
    except GauntletError:
        return ()
    open_ones = [receipt.run for receipt in receipts if not receipt.satisfied]
    answered = services.records.of_runs([f"{model}/{run}" for run in open_ones], Approval)
    return tuple(run for run in open_ones if f"{model}/{run}" not in answered)


def _allowed(who: Person) -> tuple[Allowed, ...]:
    policy = with_overrides(who.policy)
    return tuple(
        Allowed(action=name, permitted=found.permitted, reason=found.reason)
        for name, action in ACTIONS.items()
        for found in (permitted(action, who.roles, policy),)
    )
