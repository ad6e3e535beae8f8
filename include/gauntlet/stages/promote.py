"""Make the challenger champion: routing, servers, aliases and audit, or none of them.

The ledger's transaction is the commit point. Before it: a write-ahead intent, and every server has loaded
the candidate. After it: servers and aliases follow, each step safe to repeat, until the intent is closed.
"""

from __future__ import annotations

from gauntlet.core.errors import Conflict, DeploymentHeld, PromotionRefused, Rejection
from gauntlet.core.ledger import Change, named
from gauntlet.core.ports import Services
from gauntlet.core.promotion import judge_receipts, traffic_obstacles
from gauntlet.core.reconcile import champion_disagreements
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.gates import Approval, GateReceipt, PromotionDecision
from gauntlet.core.records.ledger import (
    CandidateState,
    Intent,
    IntentKind,
    IntentStage,
    PromotionRecord,
    RoutingChange,
    Transition,
)
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.rollout import PreflightReport, RolloutPhase, RolloutState, Routing, ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.roles import person, same_person
from gauntlet.core.rollout import is_paused_at_the_end
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.aliases import project_aliases
from gauntlet.stages.hold import check_open
from gauntlet.stages.keep import keep
from gauntlet.stages.register import claim_of
from gauntlet.stages.releases import quarantine_of, release_of

APPLY_TIMEOUT_S = 15.0
ATTEMPTS = 5
"""How often a swap is tried against others that only renew a lease."""
ACTOR = "promotion"
SWAPPED = "promotion.routing"
S = CandidateState


def promote(services: Services, run: RunContext) -> PromotionRecord:
    """Promote the candidate of this run's rollout; called again, it finishes what was begun, or says it is done.

    Raises:
        PromotionRefused: receipts, preflight or champion are not what a promotion needs, or a person said no; nothing
            changed.
        RolloutAborted: it has failed a live check while it waited; it is out of traffic.
        DeploymentHeld: the freeze calendar, a stopped line, or nobody has approved yet where the spec wants a person
            to: nothing changed, try again later.
        Conflict: another promotion or a rollback is under way, or it is not plain who is champion.
        InfrastructureError: a service did not answer; what is done stays done, trying again does the rest.
    """
    known = services.records.find(run.key, PromotionRecord)
    if known is not None:
        return known
    intent = services.ledger.intent(run.model)
    if intent is None or (intent.kind, intent.key) != (IntentKind.PROMOTION, run.run):
        intent = _open(services, run)
    return finish_promotion(services, intent)


def finish_promotion(services: Services, intent: Intent) -> PromotionRecord:
    """Bring an open promotion to its end, from wherever it stopped."""
    checks: dict[str, float | str | bool | None] = {}
    if intent.stage is IntentStage.OPENED:
        checks = _prepare(services, intent)
        intent = _move_traffic(services, intent)
    routing = services.routing.read(intent.model)
    services.server.apply(routing, APPLY_TIMEOUT_S)
    project_aliases(services, intent.model)
    _tag(services, intent)
    return _close(services, intent, checks)


# ---- before ----------------------------------------------------------------------------------------


def _open(services: Services, run: RunContext) -> Intent:
    """Check everything, then write down what is going to happen."""
    # First of all: what is checked below is acted on only while the champion is still this one.
    champion_epoch = services.ledger.champion(run.model).epoch
    state = services.records.get(run.key, RolloutState)
    _check_resumed(services, state)
    obstacles = _obstacles(services, run, state)
    if obstacles:
        raise PromotionRefused(f"{run.model}: version {state.candidate.version} stays out: {'; '.join(obstacles)}")
    _check_approved(services, state)
    # A first model has no ramp: its promotion is what the deployment windows are for.
    check_open(services, run.model, starting=state.stable is None)
    _settled(services, run.model)
    state = _last_look(services, run, state)
    intent = Intent(
        model=run.model,
        kind=IntentKind.PROMOTION,
        key=run.run,
        stage=IntentStage.OPENED,
        target=state.candidate,
        replaced=state.stable,
        champion_epoch=champion_epoch,
        actor=run.requested_by,
        reason=state.reason,
        opened_at=services.clock.now(),
        run=run.run,
        rollout=state.rollout,
    )
    standing = services.ledger.standing(run.model, state.candidate.release_digest)
    before = standing.state if standing else None
    events: tuple[Transition, ...] = (_event(intent, before, S.PROMOTING),)
    if before is S.VALIDATED and (word := _approved(services, state)) is not None:
        approved = _event(intent, before, S.APPROVED, word.reason).model_copy(update={"actor": word.approver})
        events = (approved, _event(intent, S.APPROVED, S.PROMOTING))
    services.ledger.commit(
        Change(
            model=run.model,
            actor=ACTOR,
            action="promotion",
            reason=state.reason,
            champion_epoch=intent.champion_epoch,
            transitions=events,
            intent=intent,
            run=run.run,
        )
    )
    return intent


def _check_resumed(services: Services, state: RolloutState) -> None:
    """A pause in the bake holds the promotion; it is no refusal."""
    if state.phase is RolloutPhase.PAUSED and is_paused_at_the_end(services.specs.get(state.model).rollout, state):
        raise DeploymentHeld(
            f"{state.model}: {state.reason}; to go on: gauntlet rollout {state.model} resume --reason …"
        )


def _last_look(services: Services, run: RunContext, state: RolloutState) -> RolloutState:
    """A candidate that had to wait is looked at once more: what it did since the last look counts too.

    Raises:
        RolloutAborted: it has failed; every server has the champion.
        DeploymentHeld: its lease had lapsed, so this look has judged nothing.
    """
    if state.phase is not RolloutPhase.BAKE or state.stable is None:
        return state
    judged = state.analysis.until if state.analysis else state.started_at
    waited = services.clock.now() - judged > 2 * services.specs.get(run.model).rollout.tick
    if not waited and (state.analysis is None or state.analysis.step != state.step):
        return state
    seen = keep(services, run)
    if seen.analysis == state.analysis:
        raise DeploymentHeld(f"{run.model}: the canary had no traffic, its lease had lapsed; the next look judges it")
    return seen


def _obstacles(services: Services, run: RunContext, state: RolloutState) -> list[str]:
    spec = services.specs.get(run.model)
    obstacles = []
    if not state.ready:
        obstacles.append(f"its rollout is in phase {state.phase.value.replace('_', ' ')}: {state.reason}")
    obstacles += traffic_obstacles(services.routing.read(run.model), state.candidate, state.stable)
    preflight = services.records.find(run.key, PreflightReport)
    if preflight is None or not preflight.outcome.satisfied or preflight.rollout != state.rollout:
        obstacles.append("its preflight has not passed")
    return [*obstacles, *_receipt_obstacles(services, spec, state), *_refused(services, state)]


def _receipt_obstacles(services: Services, spec: ModelSpec, state: RolloutState) -> list[str]:
    """The receipts once more, against the champion of this moment and the gates the spec names now."""
    key = f"{state.model}/{state.source_run}"
    source = services.records.get(key, RunContext)
    decision = services.records.get(key, PromotionDecision)
    trained = services.records.get(key, TrainedModel)
    claim = claim_of(services, source, spec, trained, services.records.get(key, EvaluationRef))
    obstacles = list(judge_receipts(claim, services.records.named(key, GateReceipt)).obstacles)
    if not decision.outcome.satisfied or decision.candidate != state.candidate.release_digest:
        obstacles.append(f"run {state.source_run} did not let this release through: {decision.reason}")
    if claim.candidate != state.candidate.release_digest:
        obstacles.append(f"run {state.source_run} has since trained another release")
    quarantine = quarantine_of(services, state.model, trained.release.digest, trained.release.tree_digest)
    if quarantine is not None:
        obstacles.append(f"it is quarantined: {quarantine.reason}")
    return obstacles


def awaits_approval(services: Services, state: RolloutState) -> bool:
    """Whether the spec wants a person's yes to this candidate, and nobody has said yes or no yet."""
    return _wants_approval(services, state) and not _refused(services, state) and _approved(services, state) is None


def _wants_approval(services: Services, state: RolloutState) -> bool:
    plan = services.specs.get(state.model).rollout
    return plan.approval or (state.stable is None and plan.bootstrap == "approval")


def _words(services: Services, state: RolloutState) -> list[Approval]:
    """What people have said of the candidate's run, the newest first; who asked for the run has no say."""
    key = f"{state.model}/{state.source_run}"
    asked_by = services.records.get(key, RunContext).requested_by
    said = services.records.named(key, Approval).values()
    words = [word for word in said if not same_person(person(word.approver, word.account), asked_by)]
    return sorted(words, key=lambda word: word.at, reverse=True)


def _refused(services: Services, state: RolloutState) -> list[str]:
    if not _wants_approval(services, state):
        return []
    return [f"{word.approver} refuses it: {word.reason}" for word in _words(services, state)[:1] if not word.approved]


def _approved(services: Services, state: RolloutState) -> Approval | None:
    return next((word for word in _words(services, state) if word.approved), None)


def _check_approved(services: Services, state: RolloutState) -> None:
    """Without a person's word nothing is refused: the promotion waits for it."""
    if awaits_approval(services, state):
        which = "every model" if services.specs.get(state.model).rollout.approval else "a first model"
        raise DeploymentHeld(
            f"{state.model}: the spec wants a person to approve {which}, another one than who asked for the run: "
            f'gauntlet approve {state.model} --run {state.source_run} --reason "…"'
        )


def _settled(services: Services, model: str) -> None:
    """Registry and servers must agree on who is champion before it is replaced."""
    routing = services.routing.read(model)
    told = champion_disagreements(routing, services.registry.aliases(model), services.server.reports(model))
    if told:
        raise Conflict(f"{model}: {'; '.join(told)}; settle it with: gauntlet reconcile {model} --repair")


# ---- the change ------------------------------------------------------------------------------------


def _prepare(services: Services, intent: Intent) -> dict[str, float | str | bool | None]:
    """Every server process has loaded and checked the candidate before any traffic moves."""
    release = release_of(services, intent.model, intent.target)
    try:
        measured = services.server.prepare(intent.model, release)
    except Rejection as error:
        _give_up(services, intent, f"a server refused the release: {error}")
        raise PromotionRefused(f"{intent.model}: {named(intent.target)}: a server refused it: {error}") from error
    return {
        name: value for name, value in measured.items() if value is None or isinstance(value, (bool, int, float, str))
    }


def _give_up(services: Services, intent: Intent, reason: str) -> None:
    services.ledger.commit(
        Change(
            model=intent.model,
            actor=ACTOR,
            action="promotion",
            reason=reason,
            transitions=(_event(intent, S.PROMOTING, S.ROLLED_BACK, reason),),
            intent=intent.model_copy(update={"stage": IntentStage.ABANDONED}),
            run=intent.run,
        )
    )


def _move_traffic(services: Services, intent: Intent) -> Intent:
    """The commit point: champion, routing, ledger and audit in one transaction."""
    routed = intent.model_copy(update={"stage": IntentStage.ROUTED})
    for _ in range(ATTEMPTS):
        routing = services.routing.read(intent.model)
        if routing.stable == intent.target:
            return routed
        obstacles = traffic_obstacles(routing, intent.target, intent.replaced)
        if obstacles:
            if services.ledger.intent(intent.model) == intent:
                _give_up(services, intent, "; ".join(obstacles))
            raise PromotionRefused(f"{intent.model}: {'; '.join(obstacles)}")
        try:
            services.ledger.commit(_change_of_champion(routed, routing))
        except Conflict:
            if services.ledger.champion(intent.model).epoch != intent.champion_epoch:
                continue
            if services.routing.read(intent.model).epoch == routing.epoch:
                raise
        else:
            return routed
    raise Conflict(f"{intent.model}: the routing changed {ATTEMPTS} times while it was to be swapped; try again")


def _change_of_champion(routed: Intent, routing: Routing) -> Change:
    return Change(
        model=routed.model,
        actor=ACTOR,
        action=SWAPPED,
        reason=routed.reason,
        routing=routing.model_copy(
            update={
                "stable": routed.target,
                "previous": routed.replaced,
                "canary": None,
                "weight_ppm": 0,
                "rollout": None,
                "lease_until": None,
            }
        ),
        routing_epoch=routing.epoch,
        champion_epoch=routed.champion_epoch,
        intent=routed,
        run=routed.run,
    )


def _event(intent: Intent, before: CandidateState | None, after: CandidateState, reason: str = "") -> Transition:
    return Transition(
        model=intent.model,
        candidate=intent.target.release_digest,
        version=intent.target,
        before=before,
        after=after,
        reason=reason or intent.reason,
        actor=ACTOR,
        run=intent.run,
    )


# ---- after -----------------------------------------------------------------------------------------


def _tag(services: Services, intent: Intent) -> None:
    """From, to, when, who and why, where people look for it: in the registry."""
    since = services.ledger.champion(intent.model).since
    services.registry.tag_version(
        intent.model,
        intent.target.version,
        {
            "gauntlet.promoted_at": since.isoformat() if since else "",
            "gauntlet.promoted_by": intent.actor,
            "gauntlet.promoted_over": named(intent.replaced),
            "gauntlet.promotion_reason": intent.reason,
            "gauntlet.rollout": intent.rollout or "",
        },
    )
    if intent.replaced is not None:
        _tag_replaced(services, intent, intent.replaced)


def _tag_replaced(services: Services, intent: Intent, replaced: ServedVersion) -> None:
    services.registry.tag_version(intent.model, replaced.version, {"gauntlet.replaced_by": named(intent.target)})


def _swap_of(services: Services, intent: Intent) -> RoutingChange:
    """The routing change that made the target champion."""
    return next(
        change
        for change in reversed(services.ledger.routings(intent.model))
        if change.routing.stable == intent.target
        and change.routing.previous == intent.replaced
        and change.action == SWAPPED
    )


def _close(services: Services, intent: Intent, checks: dict[str, float | str | bool | None]) -> PromotionRecord:
    now = services.clock.now()
    swap = _swap_of(services, intent)
    record = PromotionRecord(
        model=intent.model,
        run=intent.key,
        rollout=intent.rollout,
        candidate=intent.target,
        replaced=intent.replaced,
        champion_epoch=intent.champion_epoch + 1,
        routing_epoch=swap.routing.epoch,
        reason=intent.reason,
        actor=intent.actor,
        opened_at=intent.opened_at,
        promoted_at=swap.at,
        seconds=max((now - intent.opened_at).total_seconds(), 0.0),
        checks=checks,
    )
    key = f"{intent.model}/{intent.key}"
    try:
        services.ledger.commit(
            Change(
                model=intent.model,
                actor=ACTOR,
                action="promotion",
                reason=intent.reason,
                intent=intent.model_copy(update={"stage": IntentStage.DONE}),
                records=((key, record, ""),),
                run=intent.run,
            )
        )
    except Conflict:
        # Somebody else finished the same promotion: theirs is the record. Or a rollback has overtaken it.
        known = services.records.find(key, PromotionRecord)
        if known is None:
            raise
        return known
    return record
