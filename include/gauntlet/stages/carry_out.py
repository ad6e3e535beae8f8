"""Carry out what a rollout's transition asks for: routing first, then the servers, then the record of it."""

from __future__ import annotations

from collections.abc import Iterable

from gauntlet.core.errors import Conflict
from gauntlet.core.ledger import Change
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import CandidateState
from gauntlet.core.records.ledger import Transition as LedgerEvent
from gauntlet.core.records.rollout import Quarantine, RolloutPhase, RolloutState, Routing
from gauntlet.core.rollout import Action, Alert, Route, Transition, Withdraw, finish, lease_renewal_due
from gauntlet.core.specs.rollout import RolloutSection
from gauntlet.stages.tell import send_to_all

APPLY_TIMEOUT_S = 15.0
ACTOR = "rollout"


def carry_out(
    services: Services, transition: Transition, plan: RolloutSection, *, at: str, epoch: int | None = None
) -> RolloutState:
    """Act, then store the state under run key ``at``.

    ``epoch`` is the routing's when the transition was decided. Traffic is given only while it is still that: whoever
    has changed the routing since, an abort above all, is not overruled by what was seen before.

    Killed anywhere, the next call with the same transition does the rest: the routing is compared before it is
    swapped, servers are asked again until they report its epoch, and the state is stored last. Only a roll back
    stores its decision first, so that nothing can talk it out of it.
    """
    state = transition.state
    if state.phase is RolloutPhase.ROLLING_BACK:
        services.records.put(at, state, actor=ACTOR)
    routing = _act(services, state, transition, plan, epoch)
    if routing is not None and transition.event in ("entered", "restarted", "passed"):
        state = state.model_copy(update={"step_epoch": routing.epoch})
    if state.phase is RolloutPhase.ROLLING_BACK:
        state = rolled_back(services, state, at=at)
    services.records.put(at, state, actor=ACTOR)
    notify(services, state, transition.actions)
    return state


def rolled_back(services: Services, state: RolloutState, *, at: str) -> RolloutState:
    """The final state once no server has the challenger any more; its release is quarantined if it did harm."""
    now = services.clock.now()
    ended = finish(state, RolloutPhase.ROLLED_BACK, now, state.reason)
    ended = ended.model_copy(update={"withdrawn_at": state.withdrawn_at or now})
    if ended.harmful:
        _quarantine(services, ended, at=at)
    return ended


def _quarantine(services: Services, state: RolloutState, *, at: str) -> None:
    """The release must not come back by itself: quarantine, ledger event and audit are one transaction."""
    candidate = state.candidate
    quarantine = Quarantine(
        model=state.model,
        release_digest=candidate.release_digest,
        version_id=candidate.version_id,
        version=candidate.version,
        rollout=state.rollout,
        reason=state.reason,
        at=state.decided_at or state.updated_at,
    )
    standing = services.ledger.standing(state.model, candidate.release_digest)
    events: tuple[LedgerEvent, ...] = ()
    if standing is not None and standing.state is not CandidateState.QUARANTINED:
        events = (
            LedgerEvent(
                model=state.model,
                candidate=candidate.release_digest,
                version=candidate,
                before=standing.state,
                after=CandidateState.QUARANTINED,
                reason=state.reason,
                actor=ACTOR,
                run=state.run,
            ),
        )
    services.ledger.commit(
        Change(
            model=state.model,
            actor=ACTOR,
            action="rollout.quarantined",
            reason=state.reason,
            transitions=events,
            records=((at, quarantine, candidate.release_digest),),
            run=state.run,
        )
    )


def withdraw(services: Services, state: RolloutState, reason: str) -> None:
    """Traffic is back on the champion, on every server; nothing happens where the routing is not this rollout's."""
    routing = services.routing.read(state.model)
    if routing.rollout == state.rollout:
        gone = routing.model_copy(
            update={"canary": None, "weight_ppm": 0, "rollout": None, "lease_until": None},
        )
        routing = services.routing.swap(
            gone, expected_epoch=routing.epoch, actor=ACTOR, action="rollout.withdrawn", reason=reason
        )
    _apply(services, routing)


def notify(services: Services, state: RolloutState, actions: Iterable[Action]) -> None:
    """Tell people what the transition wants them to know.

    A message that cannot be sent is kept in the audit log: it is no reason for a rollout to stand still.
    """
    for action in actions:
        if not isinstance(action, Alert):
            continue
        subject = f"{state.model}: {action.text.splitlines()[0][:120]}"
        labels = {"model": state.model, "rollout": state.rollout, "version": str(state.candidate.version)}
        for error in send_to_all(services.notifiers, subject, action.text, severity=action.severity, labels=labels):
            detail = {"text": action.text, "severity": action.severity, "error": error}
            services.audit.append(ACTOR, "rollout.alert_not_sent", state.model, state.rollout, detail)


def _act(
    services: Services, state: RolloutState, transition: Transition, plan: RolloutSection, epoch: int | None
) -> Routing | None:
    routing = None
    for action in transition.actions:
        if isinstance(action, Route):
            routing = _route(services, state, action, plan, transition.event, epoch)
        elif isinstance(action, Withdraw):
            withdraw(services, state, state.reason)
    return routing


def _route(
    services: Services, state: RolloutState, action: Route, plan: RolloutSection, event: str, epoch: int | None
) -> Routing:
    now = services.clock.now()
    routing = services.routing.read(state.model)
    if epoch is not None and routing.epoch != epoch:
        raise Conflict(
            f"{state.rollout}: the routing has changed from epoch {epoch} to {routing.epoch} while this tick looked; "
            "the next one looks again"
        )
    wanted = {
        "canary": state.candidate,
        "weight_ppm": action.weight_ppm,
        "salt": state.salt,
        "rollout": state.rollout,
    }
    same = all(getattr(routing, name) == value for name, value in wanted.items())
    if not same or event == "restarted" or lease_renewal_due(routing.lease_until, plan, now):
        routing = services.routing.swap(
            routing.model_copy(update={**wanted, "lease_until": action.lease_until}),
            expected_epoch=routing.epoch,
            actor=ACTOR,
            action="rollout.renewed" if same else f"rollout.{event}",
            reason=state.reason,
        )
    _apply(services, routing)
    return routing


def _apply(services: Services, routing: Routing) -> None:
    """Ask the servers until each reports the epoch, and has what it routes to."""
    wanted = {version.version_id for version in (routing.stable, routing.canary) if version is not None}
    reports = services.server.reports(routing.model)
    if not reports or any(report.epoch < routing.epoch or not wanted <= set(report.loaded) for report in reports):
        services.server.apply(routing, APPLY_TIMEOUT_S)
