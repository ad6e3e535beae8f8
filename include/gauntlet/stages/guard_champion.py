"""Take a new champion back by itself, where the spec says so and the monitor has seen what it did."""

from __future__ import annotations

from gauntlet.core.errors import GauntletError, InfrastructureError, PartlyTold
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Notifier, Services
from gauntlet.core.records.ledger import ChampionGuard, GuardNotice, RollbackReport
from gauntlet.core.records.monitoring import LayerReport
from gauntlet.core.records.run import RunContext
from gauntlet.core.recovery import harm_since
from gauntlet.stages.rollback import rollback

ACTOR = "monitor"
LOOKS = 200


def guard_champion(services: Services, run: RunContext) -> ChampionGuard:
    """Judge the champion by the looks up to this run's; roll back when it does harm that its predecessor did not.

    Once per run: asked again, it is finished where it stopped, never repeated. Who could not be told of a rollback is
    told by the next call, of this run or a later one; who has been told is not told twice.

    Raises:
        RollbackRefused: it does harm, and there is nothing to return to.
        InfrastructureError: the rollback is decided and recorded, but a server has not confirmed it, or somebody could
            not be told of it; try again.
    """
    known = services.records.find(run.key, ChampionGuard)
    if known is None:
        known = _judged(services, run)
        services.records.put(run.key, known, actor=ACTOR)
    if known.outcome is Outcome.FAILED and _to_do(services, run, known):
        _roll_back(services, run, known)
    _tell(services, run.model)
    return known


def _roll_back(services: Services, run: RunContext, guard: ChampionGuard) -> None:
    """That people must be told is written down before there is anything to tell: a kill in between loses nothing."""
    notice = GuardNotice(model=run.model, run=run.run, rollback="", told=(), at=services.clock.now())
    notice = services.records.find(run.key, GuardNotice) or notice
    services.records.put(run.key, notice, actor=ACTOR)
    report = rollback(services, run.model, reason=guard.reason, actor=ACTOR, request=_request(run.run))
    services.records.put(run.key, notice.model_copy(update={"rollback": report.key}), actor=ACTOR)


def _to_do(services: Services, run: RunContext, guard: ChampionGuard) -> bool:
    """Whether it is this champion still, or its rollback is under way: another one is none of this run's business."""
    intent = services.ledger.intent(run.model)
    under_way = intent is not None and intent.key == _request(run.run)
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


def _request(run: str) -> str:
    return f"guard__{run}"


def _tell(services: Services, model: str) -> None:
    """Tell of every rollback that was done and that somebody does not know of yet, whichever run did it."""
    unsent: list[str] = []
    for notice in services.records.newest(model, GuardNotice, LOOKS):
        report = services.records.find(f"{model}/{notice.rollback or _request(notice.run)}", RollbackReport)
        if report is not None and not notice.done:
            unsent += _told(services, notice, report)
    if unsent:
        raise InfrastructureError(f"{model}: rolled back, but not everybody was told: {'; '.join(unsent)}")


def _told(services: Services, notice: GuardNotice, report: RollbackReport) -> list[str]:
    """Send to those who have not taken it yet, and keep who has after each; why the others have not."""
    unsent, missing = [], False
    for place, notifier in enumerate(services.notifiers):
        name = f"{place} {type(notifier).__name__}"
        if name in notice.told:
            continue
        try:
            _send(notifier, report)
        except PartlyTold as error:
            unsent.append(str(error))  # Sent again, it would come twice to those who have it.
        except GauntletError as error:
            unsent.append(str(error))
            missing = True
            continue
        notice = notice.model_copy(update={"told": (*notice.told, name)})
        services.records.put(f"{notice.model}/{notice.run}", notice, actor=ACTOR)
    if not missing:
        services.records.put(f"{notice.model}/{notice.run}", notice.model_copy(update={"done": True}), actor=ACTOR)
    return unsent


def _send(notifier: Notifier, report: RollbackReport) -> None:
    notifier.send(
        f"{report.model}: rolled back by itself",
        report.sentence,
        severity="critical",
        labels={"model": report.model, "version": str(report.offender.version)},
    )
