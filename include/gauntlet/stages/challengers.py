"""Which candidate is to be rolled out next, and what stands in the way of each."""

from __future__ import annotations

from gauntlet.core.errors import RolloutAborted
from gauntlet.core.ports import Services
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.core.records.rollout import RolloutState, Routing
from gauntlet.core.specs.rollout import RolloutSection
from gauntlet.stages.releases import quarantine_of

LOOK_BACK = 50
"""How many decisions back a challenger may lie; older ones were overtaken long ago."""


def newest_challenger(
    services: Services, model: str, routing: Routing, plan: RolloutSection, *, by_hand: bool = False
) -> tuple[PromotionDecision, RegisteredVersion]:
    """The newest candidate that passed its gates and has not been rolled out yet; older ones are overtaken.

    ``by_hand``: a person asks, who may take a candidate that came while another was under way under ``reject``.

    Raises:
        RolloutAborted: there is none; says what stands in the way of those there are.
    """
    rollouts = services.records.newest(model, RolloutState, LOOK_BACK)
    tried = {state.candidate.release_digest for state in rollouts}
    seen = []
    for decision in services.records.newest(model, PromotionDecision, LOOK_BACK):
        if not decision.outcome.satisfied:
            continue
        registered = services.records.find(f"{model}/{decision.run}", RegisteredVersion)
        if registered is None:
            continue
        obstacle = _obstacle(services, registered, routing, tried)
        if obstacle is None and plan.on_new == "reject" and not by_hand:
            obstacle = _came_during(decision, rollouts)
        if obstacle is None:
            return decision, registered
        seen.append(f"version {registered.version} {obstacle}")
        if registered.release.digest in tried:
            break
    what = "; ".join(seen) or "no candidate has passed its gates and been registered"
    raise RolloutAborted(f"{model}: nothing to roll out: {what}")


def overtaken_by(services: Services, plan: RolloutSection, state: RolloutState, routing: Routing) -> str | None:
    """What takes the place of a rollout under way, where the plan lets a newer candidate do so."""
    if plan.on_new != "supersede":
        return None
    try:
        decision, registered = newest_challenger(services, state.model, routing, plan)
    except RolloutAborted:
        return None
    if decision.decided_at <= state.started_at:
        return None
    return (
        f"version {registered.version} of run {decision.run} is newer and takes its place (rollout.on_new: supersede)"
    )


def _came_during(decision: PromotionDecision, rollouts: list[RolloutState]) -> str | None:
    for other in rollouts:
        if other.started_at < decision.decided_at and (not other.over or decision.decided_at <= other.updated_at):
            return f"came while {other.rollout} was under way (rollout.on_new: reject); a person can still start it"
    return None


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
