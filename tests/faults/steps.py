"""The steps that are interrupted, and what must hold after each was run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.world import MODEL, World

from gauntlet.adapters.store_mirror import read_mirror
from gauntlet.core.audit import verify
from gauntlet.core.errors import Conflict, PromotionRefused
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import CandidateState, PromotionRecord, RollbackReport
from gauntlet.stages.close_rollout import close_rollout
from gauntlet.stages.promote import promote
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.rollback import rollback

S = CandidateState


@dataclass(frozen=True)
class Step:
    """Something that writes in several places. ``prepare`` leaves the world right before it."""

    name: str
    prepare: Callable[[World], None]
    act: Callable[[World, Services], Any]


def _two_champions(world: World) -> None:
    world.champion("a")
    world.champion("b")


def _before_registration(world: World) -> None:
    _two_champions(world)
    world.trained("night-c", "c")


def _before_first_registration(world: World) -> None:
    world.trained("night-c", "c")


def _ramped(world: World) -> None:
    _before_registration(world)
    register_challenger(world.services, world.run("night-c"))
    world.ramped("canary-c", world.run("night-c"))


def _first_ramped(world: World) -> None:
    _before_first_registration(world)
    register_challenger(world.services, world.run("night-c"))
    world.ramped("canary-c", world.run("night-c"))


def _register(world: World, services: Services) -> Any:
    return register_challenger(services, world.run("night-c"))


def _promote(world: World, services: Services) -> Any:
    return promote(services, world.run("canary-c"))


def _close(world: World, services: Services) -> Any:
    return close_rollout(services, world.run("canary-c"))


def _roll_back(world: World, services: Services) -> Any:
    return rollback(services, MODEL, reason="complaints", actor="ann", request="manual__1")


STEPS = {
    step.name: step
    for step in (
        Step("first registration", _before_first_registration, _register),
        Step("registration", _before_registration, _register),
        Step("first promotion", _first_ramped, _promote),
        Step("promotion", _ramped, _promote),
        Step("canary withdrawn", _ramped, _close),
        Step("rollback", _two_champions, _roll_back),
        Step("rollback with a canary in traffic", _ramped, _roll_back),
    )
}


def outcome(world: World) -> dict[str, Any]:
    """All that a step leaves behind, without times: to be the same however often it was interrupted."""
    services = world.services
    routing = services.routing.read(MODEL)
    runs = ("night-c", "canary-c", "manual__1")
    return {
        "routing": [item.version_id if item else None for item in (routing.stable, routing.canary, routing.previous)],
        "weight": routing.weight_ppm,
        "epoch": routing.epoch,
        "champion": services.ledger.champion(MODEL).epoch,
        "aliases": world.registry.aliases(MODEL),
        "versions": [version.version for version in world.registry.versions(MODEL)],
        "servers": [(report.stable, report.canary, report.epoch) for report in world.server.reports(MODEL)],
        "states": [(event.version.version, event.before, event.after) for event in services.ledger.events(MODEL)],
        "promotions": [services.records.find(f"{MODEL}/{run}", PromotionRecord) is not None for run in runs],
        "rollbacks": [services.records.find(f"{MODEL}/{run}", RollbackReport) is not None for run in runs],
        "intent": services.ledger.intent(MODEL),
    }


def safe_now(world: World) -> list[str]:
    """What must hold at *every* moment, also right after a crash: violations in words."""
    services = world.services
    routing, champion = services.routing.read(MODEL), services.ledger.champion(MODEL)
    wrong = []
    if routing.stable != champion.version:
        wrong.append(f"routing says {routing.stable}, champion row {champion.version}")
    folded = {event.candidate: event for event in services.ledger.events(MODEL)}
    crowned = [event.version for event in folded.values() if event.after is S.CHAMPION]
    if crowned != ([champion.version] if champion.version else []):
        wrong.append(f"champions by the ledger: {crowned}")
    known = {event.version.version_id for event in folded.values() if event.before or event.after is not S.REGISTERED}
    for report in world.server.reports(MODEL):
        if report.stable is not None and report.stable not in known:
            wrong.append(f"{report.worker} serves {report.stable}, which was never validated")
    wrong += [finding.sentence for finding in verify(services.audit.entries())]
    return wrong


def settled(world: World) -> list[str]:
    """What must hold once the step was run again and the reconciler has looked."""
    wrong = safe_now(world)
    found = reconcile(world.services, MODEL, repair=True)
    again = reconcile(world.services, MODEL, repair=False)
    if not (found.agreed and again.agreed) or again.differences:
        wrong.append(f"registry, routing and servers do not agree: {found.reason}; {again.reason}")
    wrong += _once(world)
    mirror = getattr(getattr(world.store, "database", None), "mirror", None)
    if mirror is not None:
        world.store.database.catch_up()
        if read_mirror(mirror.path) != world.services.audit.entries():
            wrong.append("the mirror file is not the audit log")
    return wrong


def _once(world: World) -> list[str]:
    """One audit entry per transition, per routing row, per intent stage."""
    entries = Counter(
        entry.action for entry in world.services.audit.entries(MODEL) if entry.action.startswith("candidate.")
    )
    events = Counter(f"candidate.{event.after}" for event in world.services.ledger.events(MODEL))
    wrong = [] if entries == events else [f"audit has {entries}, ledger {events}"]
    stages = Counter(
        (entry.action, entry.subject)
        for entry in world.services.audit.entries(MODEL)
        if entry.action.startswith(("promotion.", "rollback.")) and not entry.action.endswith(".routing")
    )
    return wrong + [f"{action} of {subject} {count} times" for (action, subject), count in stages.items() if count > 1]


def again(world: World, step: Step) -> str | None:
    """Run a step once more, without faults; why it would not, if so."""
    try:
        step.act(world, world.services)
    except (PromotionRefused, Conflict) as error:
        return str(error)
    return None
