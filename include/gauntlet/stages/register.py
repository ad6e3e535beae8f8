"""Register the candidate, if the exact set of receipts lets it."""

from __future__ import annotations

from collections.abc import Mapping

from gauntlet.core.errors import PromotionRefused
from gauntlet.core.ledger import Change
from gauntlet.core.ports import Services
from gauntlet.core.promotion import Claim, answer, judge_evaluation, judge_receipts
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.ledger import CandidateState, Transition
from gauntlet.core.records.model import RegisteredVersion, ReleaseDossier, TrainedModel
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.core.stored import stored_json
from gauntlet.stages.aliases import project_aliases
from gauntlet.stages.dossier import keep_dossier
from gauntlet.stages.releases import quarantine_of, served
from gauntlet.stages.retention import restored

ACTOR = "promotion"
S = CandidateState
ONWARD: Mapping[CandidateState | None, CandidateState] = {
    None: S.REGISTERED,
    S.REGISTERED: S.VALIDATED,
    S.RETIRED: S.VALIDATED,
    S.ROLLED_BACK: S.VALIDATED,
}
"""The way of a candidate with complete receipts; one that comes back needs fresh ones, as it has here."""


def register_challenger(services: Services, run: RunContext) -> PromotionDecision:
    """Decide from the stored receipts, and give the candidate its one version in the registry.

    One version per content: a retried, cleared or killed task finds the version that is there. The decision,
    the version and the ledger's events are one transaction; alias and tags follow and are repeated if lost.

    Raises:
        PromotionRefused: a receipt is missing, unsatisfied or of something else; the champion has changed;
            the release is quarantined, or is the champion already. The decision is stored first.
    """
    known = services.records.find(run.key, PromotionDecision)
    trained = services.records.get(run.key, TrainedModel)
    receipts = services.records.named(run.key, GateReceipt)
    if known is None or not _still_good(known, trained, receipts):
        known = _first_said(known, _decide(services, run, trained, receipts))
    if not known.outcome.satisfied:
        services.records.put(run.key, known, actor=ACTOR)
        raise PromotionRefused(f"{run.key}: {known.reason}")
    registered = _register(services, run, trained, known)
    decision = known.model_copy(update={"version": registered.version})
    dossier = keep_dossier(services, run, trained, decision, receipts)
    _enter_ledger(services, run, registered, decision, dossier)
    project_aliases(services, run.model)
    return decision


def _still_good(known: PromotionDecision, trained: TrainedModel, receipts: Mapping[str, GateReceipt]) -> bool:
    """Whether the stored decision let this very candidate through on these very receipts."""
    return (
        known.outcome.satisfied
        and known.version is not None
        and known.candidate == trained.release.digest
        and known.receipts == _digests(receipts)
    )


def _first_said(known: PromotionDecision | None, decided: PromotionDecision) -> PromotionDecision:
    """The stored decision when the new one says nothing else: deciding again is no news."""
    if known is not None and known.model_copy(update={"decided_at": decided.decided_at}) == decided:
        return known
    return decided


def _digests(receipts: Mapping[str, GateReceipt]) -> dict[str, str]:
    return {gate: stored_json(receipt)[1] for gate, receipt in sorted(receipts.items())}


def _decide(
    services: Services, run: RunContext, trained: TrainedModel, receipts: Mapping[str, GateReceipt]
) -> PromotionDecision:
    spec = services.specs.get(run.model)
    evaluation = services.records.get(run.key, EvaluationRef)
    claim = claim_of(services, run, spec, trained, evaluation)
    judged = judge_receipts(claim, receipts)
    obstacles = [
        *_identity_obstacles(services, run, spec, trained),
        *judge_evaluation(claim, evaluation),
        *judged.obstacles,
    ]
    result = answer(obstacles, [judged.outcome])
    return PromotionDecision(
        model=run.model,
        run=run.run,
        outcome=result.outcome,
        reason=result.reason,
        candidate=claim.candidate,
        champion=claim.champion,
        holdout=claim.holdout,
        spec_digest=claim.spec_digest,
        receipts=_digests(receipts),
        version=None,
        decided_at=services.clock.now(),
    )


def claim_of(
    services: Services, run: RunContext, spec: ModelSpec, trained: TrainedModel, evaluation: EvaluationRef
) -> Claim:
    """What the receipts of a run must prove, with the champion as it is now."""
    stable = services.routing.read(run.model).stable
    return Claim(
        model=run.model,
        run=run.run,
        candidate=trained.release.digest,
        champion=stable.release_digest if stable else None,
        holdout=evaluation.holdout,
        spec_digest=run.spec_digest,
        gates=tuple(spec.gates.names),
        at=services.clock.now(),
        within=spec.rollout.receipts_within,
    )


def _identity_obstacles(services: Services, run: RunContext, spec: ModelSpec, trained: TrainedModel) -> list[str]:
    release = trained.release
    stable = services.routing.read(run.model).stable
    obstacles = []
    if spec.digest != run.spec_digest:
        obstacles.append("the spec has changed since the run began; start a new run")
    if stable is not None and stable.release_digest == release.digest:
        obstacles.append(f"the candidate is the champion, version {stable.version}: byte for byte the same release")
    quarantine = quarantine_of(services, run.model, release.digest, release.tree_digest)
    if quarantine is not None:
        obstacles.append(
            f"the candidate's content is quarantined since {quarantine.at:%Y-%m-%d %H:%M} "
            f"(version {quarantine.version}): {quarantine.reason}"
        )
    return obstacles


def _register(
    services: Services, run: RunContext, trained: TrainedModel, decision: PromotionDecision
) -> RegisteredVersion:
    known = services.records.find(run.key, RegisteredVersion)
    if known is not None and known.release.digest == trained.release.digest:
        return known
    folder = services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
    return services.registry.register(
        run.model, trained.mlflow_run_id, trained.release, folder, _tags(run, trained, decision)
    )


def _tags(run: RunContext, trained: TrainedModel, decision: PromotionDecision) -> dict[str, str]:
    return {
        "gauntlet.run": run.run,
        "gauntlet.reason": run.reason,
        "gauntlet.dataset": trained.dataset,
        "gauntlet.split": trained.split,
        "gauntlet.holdout": decision.holdout,
        "gauntlet.spec": decision.spec_digest,
        "gauntlet.judged_against": decision.champion or "nobody",
        "gauntlet.gates": f"{decision.outcome}: {', '.join(decision.receipts)}",
    }


def _enter_ledger(
    services: Services,
    run: RunContext,
    registered: RegisteredVersion,
    decision: PromotionDecision,
    dossier: ReleaseDossier,
) -> None:
    """Version, decision and events in one transaction; nothing when they are there."""
    plan = services.specs.get(run.model).rollout
    person = plan.approval or (decision.champion is None and plan.bootstrap == "approval")
    approve = decision.outcome.satisfied and not person
    events = _events(services, run, registered, decision, approve=approve)
    services.ledger.commit(
        Change(
            model=run.model,
            actor=ACTOR,
            action="registration",
            reason=decision.reason,
            transitions=events,
            records=(
                (run.key, registered, ""),
                (run.key, decision, ""),
                (run.key, dossier, ""),
                *restored(services, run.model, registered.release.digest),
            ),
            run=run.run,
        )
    )


def _events(
    services: Services, run: RunContext, registered: RegisteredVersion, decision: PromotionDecision, *, approve: bool
) -> tuple[Transition, ...]:
    version = served(registered)
    standing = services.ledger.standing(run.model, version.release_digest)
    state = standing.state if standing else None
    if standing is not None and _entered(services, run, version.release_digest):
        return ()
    events = []
    onward: dict[CandidateState | None, CandidateState] = {**ONWARD}
    if approve:
        onward[S.VALIDATED] = S.APPROVED
    while (after := onward.get(state)) is not None:
        reason = "the spec asks for no approval" if after is S.APPROVED else decision.reason
        events.append(
            Transition(
                model=run.model,
                candidate=version.release_digest,
                version=version,
                before=state,
                after=after,
                reason=reason,
                actor=ACTOR,
                run=run.run,
            )
        )
        state = after
    return tuple(events)


def _entered(services: Services, run: RunContext, candidate: str) -> bool:
    """Whether this run has brought this candidate into the ledger before: a second time is no news."""
    return any(
        event.run == run.run and event.after is S.VALIDATED for event in services.ledger.events(run.model, candidate)
    )
