"""Idempotent teardown: whatever happened, traffic is with the champion unless the rollout succeeded."""

from __future__ import annotations

from contextlib import suppress

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.ports import Services
from gauntlet.core.reconcile import CHALLENGER
from gauntlet.core.records.rollout import RolloutPhase, RolloutState
from gauntlet.core.records.run import RunContext
from gauntlet.core.rollout import finish
from gauntlet.stages.carry_out import ACTOR, rolled_back, withdraw


def close_rollout(services: Services, run: RunContext) -> RolloutState | None:
    """Bring a rollout to its end; ``None`` when this run never opened one.

    A candidate that is champion by now was promoted. Any other leaves the routing, on every server, before the state
    says so; a server that does not answer makes this raise, and trying again does the rest.
    """
    state = services.records.find(run.key, RolloutState)
    if state is None:
        return None
    if state.phase is RolloutPhase.PROMOTED or _is_champion(services, state):
        return _promoted(services, run, state)
    now = services.clock.now()
    withdraw(services, state, state.reason)
    if state.over:
        _drop_alias(services, state)
        return state
    if state.decided_at is None:
        where = state.phase.value.replace("_", " ")
        state = state.model_copy(
            update={"decided_at": now, "reason": f"the run ended in phase {where}: {state.reason}"}
        )
    final = rolled_back(services, state, at=run.key)
    services.records.put(run.key, final, actor=ACTOR)
    _drop_alias(services, state)
    return final


def _drop_alias(services: Services, state: RolloutState) -> None:
    """Who was taken out is no challenger any more.

    Traffic is safe by now: a registry that is down is no reason to fail, the reconciler repairs aliases.
    """
    with suppress(InfrastructureError):
        if services.registry.aliases(state.model).get(CHALLENGER) == state.candidate.version:
            services.registry.delete_alias(state.model, CHALLENGER)


def _is_champion(services: Services, state: RolloutState) -> bool:
    stable = services.routing.read(state.model).stable
    return stable is not None and stable.release_digest == state.candidate.release_digest


def _promoted(services: Services, run: RunContext, state: RolloutState) -> RolloutState:
    if state.phase is RolloutPhase.PROMOTED:
        return state
    done = finish(state, RolloutPhase.PROMOTED, services.clock.now(), f"version {state.candidate.version} is champion")
    services.records.put(run.key, done, actor=ACTOR)
    return done
