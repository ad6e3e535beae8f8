"""Rehearse a rollback: everything but the change of who serves, measured."""

from __future__ import annotations

from time import perf_counter

from gauntlet.core.errors import Conflict, DrillFailed, Rejection, RollbackRefused
from gauntlet.core.ledger import named
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import DrillReport
from gauntlet.core.records.model import GoldenSet
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.stages.preflight import largest_difference
from gauntlet.stages.release_folder import read_golden
from gauntlet.stages.rollback import APPLY_TIMEOUT_S, ATTEMPTS, way_back

ACTOR = "drill"
DRILLED = "drill.routing"


def drill(services: Services, model: str, *, request: str) -> DrillReport:
    """Go the way of a rollback as far as one can without sending anybody to another version.

    The same path: find the recorded way back, see that every server has it and that its bytes are right, write a
    routing row by compare-and-swap, wait until each server process serves it. The row differs in its epoch alone.
    The same ``request`` twice is one drill.

    Raises:
        DrillFailed: a rollback would be refused, answer wrongly, or take longer than ``recovery.within``. Stored first.
        InfrastructureError: a service did not answer; nothing was measured, try again.
    """
    key = f"{model}/{request}"
    report = services.records.find(key, DrillReport) or _rehearse(services, model, request)
    services.records.put(key, report, actor=ACTOR)
    if report.outcome is Outcome.FAILED:
        raise DrillFailed(f"{model}: {report.reason}")
    return report


def _rehearse(services: Services, model: str, request: str) -> DrillReport:
    plan = services.specs.get(model).recovery
    champion = services.routing.read(model).stable
    if champion is None:
        return _report(services, model, request, Outcome.INCONCLUSIVE, "there is no champion to roll back from")
    if services.routing.read(model).previous is None:
        reason = f"{named(champion)} is the first champion: there is nothing to return to yet"
        return _report(services, model, request, Outcome.INCONCLUSIVE, reason, champion=champion)
    started = perf_counter()
    try:
        target = way_back(services, model, champion)
    except RollbackRefused as error:
        return _report(services, model, request, Outcome.FAILED, str(error), champion=champion)
    routing = _touch(services, model)
    servers = len(services.server.apply(routing, APPLY_TIMEOUT_S))
    seconds = perf_counter() - started
    limit, kept = plan.within.total_seconds(), read_golden(services, target)
    golden = _difference(services, model, target, kept, plan.golden_rows)
    slow, wrong = seconds > limit, golden > kept.tolerance
    reason = (
        f"back to {named(target)} on {servers} server processes in {seconds:.3f} s {'>' if slow else '≤'} {limit:g} s; "
        f"golden answers differ by {golden:.3g} {'>' if wrong else '≤'} {kept.tolerance:g}"
    )
    return _report(
        services,
        model,
        request,
        Outcome.FAILED if slow or wrong else Outcome.PASSED,
        reason,
        champion=champion,
        target=target,
        seconds=seconds,
        golden=golden,
        servers=servers,
        routing_epoch=routing.epoch,
    )


def _touch(services: Services, model: str) -> Routing:
    """The routing row once more, with the next epoch."""
    for _ in range(ATTEMPTS):
        routing = services.routing.read(model)
        try:
            return services.routing.swap(
                routing,
                expected_epoch=routing.epoch,
                actor=ACTOR,
                action=DRILLED,
                reason="rollback drill: nothing changes but the epoch",
            )
        except Conflict:
            if services.routing.read(model).epoch == routing.epoch:
                raise
    raise Conflict(f"{model}: the routing changed {ATTEMPTS} times during the drill; try again")


def _difference(services: Services, model: str, target: ServedVersion, golden: GoldenSet, rows: int) -> float:
    """The largest difference of the target's golden answers, by the live server; infinite when it refuses them."""
    try:
        scores = services.server.predict(model, golden.rows[:rows], version_id=target.version_id)
    except Rejection:
        return float("inf")
    return largest_difference(scores, golden.scores[:rows])


def _report(
    services: Services,
    model: str,
    request: str,
    outcome: Outcome,
    reason: str,
    *,
    champion: ServedVersion | None = None,
    target: ServedVersion | None = None,
    seconds: float | None = None,
    golden: float | None = None,
    servers: int = 0,
    routing_epoch: int | None = None,
) -> DrillReport:
    return DrillReport(
        model=model,
        key=request,
        outcome=outcome,
        reason=reason,
        champion=champion,
        target=target,
        seconds=seconds,
        golden=golden,
        servers=servers,
        routing_epoch=routing_epoch,
        at=services.clock.now(),
    )
