"""Take the newest challenger into a rollout; one rollout per model at a time."""

from __future__ import annotations

from datetime import datetime

from gauntlet.core.digest import sha256_json
from gauntlet.core.errors import Conflict, RolloutAborted
from gauntlet.core.ports import Services
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.core.records.rollout import (
    RolloutPhase,
    RolloutState,
    Routing,
)
from gauntlet.core.records.run import RunContext
from gauntlet.core.rollout import finish
from gauntlet.stages.carry_out import ACTOR, withdraw
from gauntlet.stages.releases import quarantine_of, served

LOOK_BACK = 50
"""How many decisions back a challenger may lie; older ones were overtaken long ago."""


def open_rollout(services: Services, run: RunContext) -> RolloutState:
    """The rollout of this run, opened on the first call.

    The newest candidate that passed its gates and has not been rolled out yet is taken; older ones are overtaken.
    An asset event is only a signal, so the store is asked and not the event.

    Raises:
        RolloutAborted: there is no challenger to roll out.
        Conflict: another rollout of the model is under way; this one waits its turn.
    """
    known = services.records.find(run.key, RolloutState)
    if known is not None:
        return known
    now = services.clock.now()
    routing = services.routing.read(run.model)
    _one_at_a_time(services, run, routing, now)
    decision, registered = _newest_challenger(services, run, routing)
    rollout = f"{run.model}-v{registered.version}-{sha256_json([run.key, registered.release.digest])[:8]}"
    state = RolloutState(
        rollout=rollout,
        model=run.model,
        run=run.run,
        phase=RolloutPhase.PENDING,
        step=0,
        weight_ppm=0,
        candidate=served(registered),
        stable=routing.stable,
        reason=f"version {registered.version} of run {decision.run} is to be rolled out",
        started_at=now,
        step_started_at=now,
        updated_at=now,
        source_run=decision.run,
        # Another rollout, another salt: it is not always the same users who meet a new version first.
        salt=sha256_json(["salt", rollout])[:32],
    )
    services.records.put(run.key, state, actor=ACTOR)
    return state


def _one_at_a_time(services: Services, run: RunContext, routing: Routing, now: datetime) -> None:
    for other in services.records.newest(run.model, RolloutState, LOOK_BACK):
        if other.over or other.run == run.run:
            continue
        leased = routing.lease_until is not None and routing.lease_until > now
        if routing.rollout == other.rollout and leased:
            raise Conflict(
                f"{run.model}: rollout {other.rollout} of run {other.run} is under way ({other.phase.value}, "
                f"{other.weight_ppm / 10_000:g} %); wait for it to end, or abort it"
            )
        # Its run died without its teardown: nobody holds the lease any more.
        reason = f"left behind without a lease; rollout of run {run.run} takes its place"
        withdraw(services, other, reason)
        ended = finish(other, RolloutPhase.SUPERSEDED, now, reason)
        services.records.put(f"{other.model}/{other.run}", ended, actor=ACTOR)


def _newest_challenger(
    services: Services, run: RunContext, routing: Routing
) -> tuple[PromotionDecision, RegisteredVersion]:
    tried = {state.candidate.release_digest for state in services.records.newest(run.model, RolloutState, LOOK_BACK)}
    seen = []
    for decision in services.records.newest(run.model, PromotionDecision, LOOK_BACK):
        if not decision.outcome.satisfied:
            continue
        registered = services.records.find(f"{run.model}/{decision.run}", RegisteredVersion)
        if registered is None:
            continue
        obstacle = _obstacle(services, registered, routing, tried)
        if obstacle is None:
            return decision, registered
        seen.append(f"version {registered.version} {obstacle}")
        if registered.release.digest in tried:
            break
    what = "; ".join(seen) or "no candidate has passed its gates and been registered"
    raise RolloutAborted(f"{run.model}: nothing to roll out: {what}")


def _obstacle(services: Services, registered: RegisteredVersion, routing: Routing, tried: set[str]) -> str | None:
    digest = registered.release.digest
    if routing.stable is not None and routing.stable.release_digest == digest:
        return "is champion already"
    quarantine = quarantine_of(services, registered.model, digest, registered.release.tree_digest)
    if quarantine is not None:
        return f"is quarantined: {quarantine.reason}"
    if digest in tried:
        return "has been rolled out before"
    return None
