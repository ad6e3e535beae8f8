"""Keep a canary where it is while its promotion has to wait."""

from __future__ import annotations

from gauntlet.core.errors import RolloutAborted
from gauntlet.core.ports import Services
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext
from gauntlet.core.rollout import advance
from gauntlet.stages.carry_out import carry_out
from gauntlet.stages.tick import observe


def keep(services: Services, run: RunContext) -> RolloutState:
    """Renew the lease of a rollout that has passed all its steps; an abort, a breaker or a deadline still end it.

    Raises:
        RolloutAborted: it has ended; every server has the champion.
    """
    state = services.records.get(run.key, RolloutState)
    if state.stable is None or not state.ready:
        return state
    plan = services.specs.get(run.model).rollout
    seen = observe(services, run, services.specs.get(run.model), state, services.clock.now())
    state = carry_out(services, advance(state, plan, seen, services.clock.now()), plan, at=run.key)
    if state.over and not state.ready:
        raise RolloutAborted(f"{run.model}: version {state.candidate.version} was taken out: {state.reason}")
    return state
