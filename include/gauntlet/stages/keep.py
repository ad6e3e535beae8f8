"""Keep a canary where it is while its promotion has to wait, and judge it all the while."""

from __future__ import annotations

from gauntlet.core.errors import RolloutAborted
from gauntlet.core.ports import Services
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext
from gauntlet.core.rollout import is_paused_at_the_end
from gauntlet.stages.tick import look_once


def keep(services: Services, run: RunContext) -> RolloutState:
    """One look at a rollout that has passed all its steps: renew its lease, and judge it as in its last stage.

    A guardrail that fails while it waits rolls it back as in any step; an abort, a breaker or a deadline end it too.

    Raises:
        RolloutAborted: it has ended; every server has the champion.
        Conflict: somebody has moved the routing during the look; the next one sees what they did.
    """
    state = services.records.get(run.key, RolloutState)
    spec = services.specs.get(run.model)
    if state.stable is None or state.over or not (state.ready or is_paused_at_the_end(spec.rollout, state)):
        return state
    state = look_once(services, run, spec, state)
    if state.over and not state.ready:
        raise RolloutAborted(f"{run.model}: version {state.candidate.version} was taken out: {state.reason}")
    return state
