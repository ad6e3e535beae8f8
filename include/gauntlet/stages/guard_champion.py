"""Take a new champion back by itself, where the spec says so and the monitor has seen what it did."""

from __future__ import annotations

from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import ChampionGuard, RollbackReport
from gauntlet.core.records.monitoring import LayerReport
from gauntlet.core.records.run import RunContext
from gauntlet.core.recovery import harm_since
from gauntlet.stages.rollback import rollback

ACTOR = "monitor"
LOOKS = 200


def guard_champion(services: Services, run: RunContext) -> ChampionGuard:
    """Judge the champion by the looks up to this run's; roll back when it does harm that its predecessor did not.

    Once per run: asked again, it is finished where it stopped, never repeated.

    Raises:
        RollbackRefused: it does harm, and there is nothing to return to.
        InfrastructureError: the rollback is decided and recorded, but a server has not confirmed it; try again.
    """
    known = services.records.find(run.key, ChampionGuard)
    if known is None:
        known = _judged(services, run)
        services.records.put(run.key, known, actor=ACTOR)
    if known.outcome is Outcome.FAILED and _to_do(services, run, known):
        _notify(services, rollback(services, run.model, reason=known.reason, actor=ACTOR, request=_request(run)))
    return known


def _to_do(services: Services, run: RunContext, guard: ChampionGuard) -> bool:
    """Whether it is this champion still, or its rollback is under way: another one is none of this run's business."""
    intent = services.ledger.intent(run.model)
    under_way = intent is not None and intent.key == _request(run)
    return under_way or services.ledger.champion(run.model).epoch == guard.champion_epoch


def _judged(services: Services, run: RunContext) -> ChampionGuard:
    plan = services.specs.get(run.model).recovery
    champion = services.ledger.champion(run.model)
    reports = {layer: services.records.newest(run.model, LayerReport, LOOKS, layer.value) for layer in plan.automatic}
    harm = None
    if champion.since is not None and champion.epoch > 1 and not _rolled_back(services, run.model, champion.epoch):
        harm = harm_since(plan, champion.since, reports, services.clock.now())
    return ChampionGuard(
        model=run.model,
        run=run.run,
        outcome=Outcome.FAILED if harm else Outcome.PASSED,
        reason=harm or _quiet(plan.automatic),
        champion=champion.version,
        champion_epoch=champion.epoch,
        at=services.clock.now(),
    )


def _rolled_back(services: Services, model: str, epoch: int) -> bool:
    """Whether this champion came by a rollback: going back from a way back would only go to and fro."""
    return any(report.champion_epoch == epoch for report in services.records.newest(model, RollbackReport, LOOKS))


def _quiet(layers: object) -> str:
    return "nothing that only this champion does" if layers else "the spec leaves rolling back to people"


def _request(run: RunContext) -> str:
    return f"guard__{run.run}"


def _notify(services: Services, report: RollbackReport) -> None:
    for notifier in services.notifiers:
        notifier.send(
            f"{report.model}: rolled back by itself",
            report.sentence,
            severity="critical",
            labels={"model": report.model, "version": str(report.offender.version)},
        )
