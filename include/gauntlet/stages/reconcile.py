"""Registry, routing and servers: do they agree, and if not, make them.

One direction: the ledger's routing row is right; registry aliases and servers are changed to match it, never the
row. What is under way is finished first.
"""

from __future__ import annotations

from time import perf_counter

from gauntlet.core.errors import Conflict, InfrastructureError, Rejection
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.reconcile import REGISTRY, alias_differences, server_differences
from gauntlet.core.records.ledger import Difference, Intent, IntentKind, ReconcileReport
from gauntlet.stages.aliases import aliases_wanted, moved_by_hand, project_aliases
from gauntlet.stages.promote import finish_promotion
from gauntlet.stages.rollback import finish_rollback
from gauntlet.stages.tell import send_to_all

APPLY_TIMEOUT_S = 15.0
ACTOR = "reconciler"
SERVERS = "servers"
LEFT = "the settings leave it to a person (GAUNTLET_REVERT_ALIASES is off): gauntlet reconcile --repair"


def reconcile(services: Services, model: str, *, repair: bool, revert: bool = True) -> ReconcileReport:
    """Compare the registry's aliases and what each server process serves with the ledger; repair when asked.

    ``revert``: whether aliases that somebody moved by hand are moved back too. Those that only lag behind always are.

    The report is stored when it says something new, and a difference is sent to people. A place that does not
    answer is named in ``unreachable`` and makes the outcome ``error``: not asked is not agreed.
    """
    resumed, trouble = _resume(services, model) if repair else (None, None)
    places: tuple[list[Difference], list[str]] = ([], [trouble] if trouble else [])
    _registry(services, model, repair, revert, *places)
    _servers(services, model, repair, *places)
    open_intent = services.ledger.intent(model)
    report = _report(services, model, tuple(places[0]), tuple(places[1]), resumed, open_intent)
    _store(services, report)
    return report


def _resume(services: Services, model: str) -> tuple[str | None, str | None]:
    """Finish what was begun and left; what was finished, or why it could not be."""
    intent = services.ledger.intent(model)
    if intent is None:
        return None, None
    what = f"{intent.kind} {intent.key}"
    try:
        if intent.kind is IntentKind.PROMOTION:
            finish_promotion(services, intent)
        else:
            finish_rollback(services, intent, started=perf_counter())
    except Rejection as error:
        return f"{what}, by giving it up: {error}", None
    except (InfrastructureError, Conflict) as error:
        return None, f"{what}: {error}"
    return what, None


def _registry(
    services: Services, model: str, repair: bool, revert: bool, differences: list[Difference], unreachable: list[str]
) -> None:
    try:
        wanted = aliases_wanted(services, model)
        by_hand = moved_by_hand(services, model)
        found = [
            item.model_copy(update={"by_hand": by_hand})
            for item in alias_differences(wanted, services.registry.aliases(model))
        ]
        if found and repair and by_hand and not revert:
            found = [item.model_copy(update={"error": LEFT}) for item in found]
        elif found and repair:
            project_aliases(services, model)
            left = {item.what for item in alias_differences(wanted, services.registry.aliases(model))}
            found = [item.model_copy(update={"repaired": item.what not in left}) for item in found]
    except InfrastructureError as error:
        unreachable.append(f"{REGISTRY}: {error}")
        return
    differences += found


def _servers(
    services: Services, model: str, repair: bool, differences: list[Difference], unreachable: list[str]
) -> None:
    routing = services.routing.read(model)
    if routing.stable is None and routing.canary is None:
        return
    try:
        reports = services.server.reports(model)
        found = server_differences(routing, reports)
        if (found or not reports) and repair:
            reports = services.server.apply(routing, APPLY_TIMEOUT_S)
            left = {(item.place, item.what) for item in server_differences(routing, reports)}
            found = [item.model_copy(update={"repaired": (item.place, item.what) not in left}) for item in found]
    except InfrastructureError as error:
        unreachable.append(f"{SERVERS}: {error}")
        return
    if not reports:
        unreachable.append(f"{SERVERS}: no server process reports")
    differences += found


def _report(
    services: Services,
    model: str,
    differences: tuple[Difference, ...],
    unreachable: tuple[str, ...],
    resumed: str | None,
    intent: Intent | None,
) -> ReconcileReport:
    left = [difference for difference in differences if not difference.repaired]
    told = [*(item.sentence for item in differences), *(f"not known: {place}" for place in unreachable)]
    if intent is not None:
        told.append(f"a {intent.kind} to {intent.target.version_id} is under way since {intent.opened_at:%H:%M:%S}")
    if resumed:
        told.insert(0, f"finished the {resumed}")
    outcome = Outcome.FAILED if left else Outcome.ERROR if unreachable else Outcome.PASSED
    return ReconcileReport(
        model=model,
        outcome=outcome,
        reason="; ".join(told) or "registry, routing and servers agree",
        differences=differences,
        unreachable=unreachable,
        resumed=resumed,
        at=services.clock.now(),
    )


def _store(services: Services, report: ReconcileReport) -> None:
    key = f"{report.model}/reconcile"
    known = services.records.find(key, ReconcileReport)
    if known is not None and known.model_copy(update={"at": report.at}) == report:
        return
    services.records.put(key, report, actor=ACTOR)
    if report.differences:
        unsent = send_to_all(
            services.notifiers,
            f"{report.model}: registry, routing and servers differed",
            report.reason,
            severity="info" if report.agreed else "critical",
            labels={"model": report.model},
        )
        if unsent:
            raise InfrastructureError(f"{report.model}: {report.reason}; not everybody was told: {'; '.join(unsent)}")
