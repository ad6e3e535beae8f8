"""Take the newest challenger into a rollout; one rollout per model at a time."""

from __future__ import annotations

from datetime import datetime

from gauntlet.core.digest import sha256_json
from gauntlet.core.errors import Conflict
from gauntlet.core.ports import Services
from gauntlet.core.records.rollout import RolloutPhase, RolloutState, Routing
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.rollout import finish
from gauntlet.core.specs.rollout import RolloutSection
from gauntlet.stages.carry_out import ACTOR, withdraw
from gauntlet.stages.challengers import LOOK_BACK, newest_challenger, overtaken_by
from gauntlet.stages.releases import served


def open_rollout(services: Services, run: RunContext) -> RolloutState:
    """The rollout of this run, opened on the first call.

    The newest candidate that passed its gates and has not been rolled out yet is taken; older ones are overtaken.
    An asset event is only a signal, so the store is asked and not the event. What happens to one that comes while
    another is under way is for ``rollout.on_new`` to say.

    Raises:
        RolloutAborted: there is no challenger to roll out.
        Conflict: another rollout of the model is under way; this one waits its turn.
    """
    known = services.records.find(run.key, RolloutState)
    if known is not None:
        return known
    now = services.clock.now()
    routing = services.routing.read(run.model)
    plan = services.specs.get(run.model).rollout
    _one_at_a_time(services, run, routing, now, plan)
    by_hand = run.kind is TriggerKind.MANUAL
    decision, registered = newest_challenger(services, run.model, routing, plan, by_hand=by_hand)
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


def _one_at_a_time(services: Services, run: RunContext, routing: Routing, now: datetime, plan: RolloutSection) -> None:
    for other in services.records.newest(run.model, RolloutState, LOOK_BACK):
        if other.over or other.run == run.run:
            continue
        leased = routing.lease_until is not None and routing.lease_until > now
        reason = overtaken_by(services, plan, other, routing)
        if routing.rollout == other.rollout and leased and reason is None:
            raise Conflict(
                f"{run.model}: rollout {other.rollout} of run {other.run} is under way ({other.phase.value}, "
                f"{other.weight_ppm / 10_000:g} %); wait for it to end, or abort it"
            )
        # Else its run died without its teardown: nobody holds the lease any more.
        reason = reason or f"left behind without a lease; rollout of run {run.run} takes its place"
        withdraw(services, other, reason)
        ended = finish(other, RolloutPhase.SUPERSEDED, now, reason)
        services.records.put(f"{other.model}/{other.run}", ended, actor=ACTOR)
