"""Decide whether this run retrains, and record the decision whatever it is."""

from __future__ import annotations

import logging
from datetime import datetime

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.ports import Services
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision
from gauntlet.core.spec import ModelSpec
from gauntlet.core.triggers import TriggerEvidence, decide_trigger
from gauntlet.stages.line import stopped

LOOK_BACK = 100
log = logging.getLogger(__name__)


def decide(services: Services, run: RunContext) -> TriggerDecision:
    """The decision of this run; asked again with the same evidence, the recorded one."""
    spec = services.specs.get(run.model)
    decision = decide_trigger(run, _evidence(services, run, spec), spec.drift, services.clock.now())
    earlier = services.records.find(run.key, TriggerDecision)
    if earlier is not None and earlier.decision_id == decision.decision_id:
        return earlier
    services.records.put(run.key, decision)
    if decision.action is TriggerAction.SKIP:
        _close(services, run, decision)
    return decision


def _close(services: Services, run: RunContext, decision: TriggerDecision) -> None:
    """Nothing follows: the registry run that holds the drift report ends here."""
    try:
        run_id = services.registry.open_run(run.model, run.key, {"gauntlet.trigger": decision.reason[:500]})
        services.registry.finish_run(run_id, failed=False)
    except InfrastructureError as error:
        log.warning("registry run of %s stays open: %s", run.key, error)


def _evidence(services: Services, run: RunContext, spec: ModelSpec) -> TriggerEvidence:
    champion = services.routing.read(run.model).stable
    digest = champion.release_digest if champion else None
    report = newest_report(services, run, digest)
    since = _champion_as_of(services, run, digest, report)
    return TriggerEvidence(
        champion=digest,
        champion_as_of=since,
        report=report,
        earlier=_earlier(services, run),
        stopped=stopped(services, run.model),
        new_rows=_new_rows(services, run, spec, _consumed_until(services, run, since)),
    )


def newest_report(services: Services, run: RunContext, champion: str | None) -> DriftReport | None:
    """The newest report on this champion that is not newer than the run and not older than its window."""
    if champion is None:
        return None
    window = services.specs.get(run.model).drift.window
    reports = [
        report
        for report in services.records.newest(run.model, DriftReport, limit=LOOK_BACK)
        if report.champion == champion and run.as_of - window < report.as_of <= run.as_of
    ]
    return max(reports, key=lambda report: (report.as_of, report.run == run.run), default=None)


def _champion_as_of(
    services: Services, run: RunContext, champion: str | None, report: DriftReport | None
) -> datetime | None:
    if champion is None:
        return None
    if report is not None:
        return report.profile_as_of
    from gauntlet.stages.drift_window import read_profile

    served = services.routing.read(run.model).stable
    text = read_profile(services, served)[0].about.get("as_of") if served else None
    return datetime.fromisoformat(text) if text else None


def _earlier(services: Services, run: RunContext) -> list[TriggerDecision]:
    found = [
        one
        for one in services.records.newest(run.model, TriggerDecision, limit=LOOK_BACK)
        if one.action is TriggerAction.RETRAIN and one.run != run.run and one.as_of <= run.as_of
    ]
    return sorted(found, key=lambda one: one.as_of, reverse=True)


def _consumed_until(services: Services, run: RunContext, since: datetime | None) -> datetime | None:
    """As-of time of the newest data that a cycle has judged to its end, whatever the verdict.

    A cycle that was cut off has consumed nothing: its rows count as new until another one has ended.
    """
    if since is None:
        return None
    ended = (one.as_of for one in _earlier(services, run) if one.as_of > since and _ended(services, one))
    return max(ended, default=since)


def _ended(services: Services, decision: TriggerDecision) -> bool:
    """Whether the run that a decision asked for came to a verdict: a promotion decision, or a gate that refused."""
    key = f"{decision.model}/{decision.run}"
    if services.records.find(key, PromotionDecision) is not None:
        return True
    return any(not receipt.satisfied for receipt in services.records.named(key, GateReceipt).values())


def _new_rows(services: Services, run: RunContext, spec: ModelSpec, since: datetime | None) -> int | None:
    """Rows whose labels matured after the last consumed data were read; pulled only where the spec asks."""
    if since is None or not (spec.drift.volume or spec.drift.minimum_new_rows) or not spec.source.columns.event_time:
        return None
    start = since - spec.source.label_delay if spec.source.label_delay else since
    services.scratch.mkdir(parents=True, exist_ok=True)
    to = services.scratch / f"volume-{run.model}-{run.record_digest[:12]}.parquet"
    pulled = services.sources[spec.source.kind].pull(spec, start, run.as_of, labelled=True, to=to)
    pulled.path.unlink(missing_ok=True)
    return pulled.rows
