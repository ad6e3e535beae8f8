"""Finish or remove what a killed task has left half done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gauntlet.core.errors import GauntletError, InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services, Unfinished
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.model import RegisteredVersion, TrainedModel
from gauntlet.core.records.retention import JanitorReport
from gauntlet.core.records.run import RunContext
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.releases import ALL

ACTOR = "janitor"
PATIENCE = timedelta(hours=24)
"""No task lasts so long: what is older and half done has nobody who works on it."""
INTENT_PATIENCE = timedelta(minutes=10)
"""A promotion or rollback takes seconds."""


def tidy(services: Services, model: str) -> JanitorReport:
    """Intents that wait, runs nobody closed, versions and logged models half made, stale scratch folders.

    Each is finished where the records say how it ends, else removed. What cannot be done is named and tried again
    the next time. The report is stored when there was anything to do.
    """
    done: list[str] = []
    left: list[str] = []
    for sentence, problem in [*_intents(services, model), *_registry(services, model), *_scratch(services)]:
        (left if problem else done).append(f"{sentence}: {problem}" if problem else sentence)
    report = JanitorReport(
        model=model,
        outcome=Outcome.ERROR if left else Outcome.PASSED,
        reason="; ".join([*left, *done]) or "nothing was left half done",
        done=tuple(done),
        left=tuple(left),
        at=services.clock.now(),
    )
    if done or left:
        services.records.put(f"{model}/janitor", report, actor=ACTOR)
    return report


Told = tuple[str, str]
"""What it was and what became of it; why it could not be done, or nothing."""


def _intents(services: Services, model: str) -> Iterator[Told]:
    intent = services.ledger.intent(model)
    if intent is None or services.clock.now() - intent.opened_at < INTENT_PATIENCE:
        return
    what = f"{intent.kind} {intent.key}, begun {intent.opened_at:%Y-%m-%d %H:%M} and left"
    report = reconcile(services, model, repair=True)
    yield (what, report.reason) if services.ledger.intent(model) else (f"{what}: finished", "")


# ---- the registry ----------------------------------------------------------------------------------


def _registry(services: Services, model: str) -> Iterator[Told]:
    try:
        found = services.registry.unfinished(model, services.clock.now() - PATIENCE)
    except InfrastructureError as error:
        yield "the registry", str(error)
        return
    for item in found:
        what = f"{item.kind} {item.subject} in the registry, begun {item.started:%Y-%m-%d %H:%M}"
        try:
            yield f"{what}: {_settle(services, model, item)}", ""
        except GauntletError as error:
            yield what, str(error)


def _settle(services: Services, model: str, item: Unfinished) -> str:
    if item.kind == "run":
        return _close_run(services, item)
    run = _deserving(services, model, item.release)
    if run is not None:
        try:
            decision = register_challenger(services, run)
        except GauntletError as error:
            services.registry.discard(model, item)
            return f"removed, for its run cannot register any more: {error}"
        return f"finished as version {decision.version}"
    services.registry.discard(model, item)
    return "removed: no decision lets it be a version"


def _close_run(services: Services, item: Unfinished) -> str:
    """A training that was cut short has failed; a drift check alone has nothing more to come."""
    trained = services.records.find(item.run_key, TrainedModel) is not None
    began = services.records.find(item.run_key, DatasetRef) is not None
    checked = services.records.find(item.run_key, DriftReport) is not None
    failed = not trained and (began or not checked)
    why = "its task was cut short" if failed else "its work was done and nobody closed it"
    services.registry.log(item.subject, tags={"gauntlet.janitor": why})
    services.registry.finish_run(item.subject, failed=failed)
    return f"closed as {'failed' if failed else 'finished'}: {why}"


def _deserving(services: Services, model: str, release: str) -> RunContext | None:
    """The run that may register this release and has not done so."""
    for decision in services.records.newest(model, PromotionDecision, limit=ALL):
        if decision.candidate != release or not decision.outcome.satisfied:
            continue
        key = f"{model}/{decision.run}"
        if services.records.find(key, RegisteredVersion) is None:
            return services.records.find(key, RunContext)
    return None


# ---- scratch ---------------------------------------------------------------------------------------


def _scratch(services: Services) -> Iterator[Told]:
    """Folders and files in the making whose maker is gone: nothing ever refers to them."""
    edge = (services.clock.now() - PATIENCE).timestamp()
    for path in sorted(services.scratch.glob("*")):
        modified = path.stat().st_mtime
        if modified >= edge:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        what = f"{path.name} in the scratch folder, last touched {datetime.fromtimestamp(modified, UTC):%Y-%m-%d %H:%M}"
        yield (what, "could not be removed") if path.exists() else (f"{what}: removed", "")
