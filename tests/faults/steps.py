"""The steps that are interrupted, and what must hold after each was run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tests.faults.world import START, World

from gauntlet.adapters.store_mirror import read_mirror
from gauntlet.core.audit import verify
from gauntlet.core.errors import Conflict, IntegrityError, PromotionRefused
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import CandidateState, PromotionRecord, RollbackReport
from gauntlet.core.records.retention import Tombstone
from gauntlet.core.records.rollout import PPM, RolloutPhase, RolloutState
from gauntlet.core.routing import Splitter
from gauntlet.core.specs.rollout import RolloutSection, StepSection
from gauntlet.stages.close_rollout import close_rollout
from gauntlet.stages.promote import promote
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.retention import apply_retention
from gauntlet.stages.rollback import rollback
from gauntlet.stages.tick import tick

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
    return rollback(services, world.model, reason="complaints", actor="ann", request="manual__1")


RAMP = RolloutSection(
    steps=(
        StepSection(weight=50, hold="10s", requests=50),  # type: ignore[arg-type]
        StepSection(weight=100, hold="10s", requests=50),  # type: ignore[arg-type]
    ),
    bootstrap="automatic",
)
RAMP_REQUESTS = 400


def _in_first_step(world: World) -> None:
    """A canary with half of the traffic, and enough of it to pass."""
    _before_registration(world)
    world.specs.spec = replace(world.specs.spec, rollout=RAMP)
    register_challenger(world.services, world.run("night-c"))
    run = world.ramped("canary-c", world.run("night-c"), PPM // 2)
    state = world.services.records.get(run.key, RolloutState)
    routing = world.services.routing.read(world.model)
    world.services.records.put(
        run.key,
        state.model_copy(
            update={"phase": RolloutPhase.STEP, "step": 0, "salt": routing.salt, "step_epoch": routing.epoch}
        ),
    )


def _traffic(world: World) -> None:
    """What the server would have journaled: both versions answer alike."""
    routing, split = world.services.routing.read(world.model), Splitter("")
    world.clock.moment = max(world.clock.moment, START + timedelta(seconds=20))
    rows = []
    for number in range(RAMP_REQUESTS):
        drawn = split.assign(f"c{number}", PPM // 2)
        score = 0.1 + 0.8 * number / RAMP_REQUESTS
        rows.append({
            "request_id": f"q{number}",
            "at": START + timedelta(seconds=1 + 15 * number / RAMP_REQUESTS),
            "epoch": routing.epoch,
            "rollout": f"{world.model}-v3-canary-c",
            "arm": drawn.arm.value,
            "entity": f"c{number}",
            "bucket": drawn.bucket,
            "weight_ppm": PPM // 2,
            "score": score,
            "other_score": score,
            "latency_us": 900 + number % 7,
            "status": "ok",
        })
    world.journal.append(world.model, rows)


def _tick(world: World, services: Services) -> Any:
    world.specs.spec = replace(world.specs.spec, rollout=RAMP)
    if not world.journal.read(world.model, START, START + timedelta(days=1)).num_rows:
        _traffic(world)
    return tick(services, world.run("canary-c"), 0)


def _aged(world: World) -> None:
    """Four champions and a candidate that waited too long."""
    for content in "abcd":
        world.champion(content)
    register_challenger(world.services, world.trained("night-e", "e"))
    register_challenger(world.services, world.trained("night-f", "f"))


def _let_go(world: World, services: Services) -> Any:
    world.clock.moment = max(world.clock.moment, START + timedelta(days=60))
    return apply_retention(services, world.model)


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
        Step("ramp step", _in_first_step, _tick),
        Step("retention", _aged, _let_go),
    )
}


def outcome(world: World) -> dict[str, Any]:
    """All that a step leaves behind, without times: to be the same however often it was interrupted."""
    services = world.services
    routing = services.routing.read(world.model)
    runs = ("night-c", "canary-c", "manual__1")
    return {
        "routing": [item.version_id if item else None for item in (routing.stable, routing.canary, routing.previous)],
        "weight": routing.weight_ppm,
        "epoch": routing.epoch,
        "champion": services.ledger.champion(world.model).epoch,
        "aliases": world.registry.aliases(world.model),
        "versions": [version.version for version in world.registry.versions(world.model)],
        "servers": [(report.stable, report.canary, report.epoch) for report in world.server.reports(world.model)],
        "states": [(event.version.version, event.before, event.after) for event in services.ledger.events(world.model)],
        "promotions": [services.records.find(f"{world.model}/{run}", PromotionRecord) is not None for run in runs],
        "rollbacks": [services.records.find(f"{world.model}/{run}", RollbackReport) is not None for run in runs],
        "intent": services.ledger.intent(world.model),
        "releases": _there(world, "releases"),
        "evaluations": _there(world, "evaluations"),
        "dossiers": _there(world, f"dossiers/{world.model}"),
        "rollout": _ramp(world),
        "tombstones": sorted(
            (stone.name, stone.deleted_at is not None)
            for stone in services.records.newest(world.model, Tombstone, limit=99)
        ),
    }


def _there(world: World, kind: str) -> list[str]:
    """The names of what has bytes, half of it included."""
    root = world.blobs.store.root / kind
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def _ramp(world: World) -> tuple[str, int, int] | None:
    state = world.services.records.find(f"{world.model}/canary-c", RolloutState)
    return (state.phase.value, state.step, state.weight_ppm) if state else None


def safe_now(world: World) -> list[str]:
    """What must hold at *every* moment, also right after a crash: violations in words."""
    services = world.services
    routing, champion = services.routing.read(world.model), services.ledger.champion(world.model)
    wrong = []
    if routing.stable != champion.version:
        wrong.append(f"routing says {routing.stable}, champion row {champion.version}")
    folded = {event.candidate: event for event in services.ledger.events(world.model)}
    crowned = [event.version for event in folded.values() if event.after is S.CHAMPION]
    if crowned != ([champion.version] if champion.version else []):
        wrong.append(f"champions by the ledger: {crowned}")
    known = {event.version.version_id for event in folded.values() if event.before or event.after is not S.REGISTERED}
    for report in world.server.reports(world.model):
        if report.stable is not None and report.stable not in known:
            wrong.append(f"{report.worker} serves {report.stable}, which was never validated")
    wrong += [finding.sentence for finding in verify(services.audit.entries())]
    return wrong + _servable(world)


def _servable(world: World) -> list[str]:
    """Whatever the routing names is there, byte for byte."""
    routing = world.services.routing.read(world.model)
    wrong = []
    for version in (routing.stable, routing.canary, routing.previous):
        if version is None:
            continue
        try:
            world.blobs.fetch_folder(version.release_uri, version.release_digest)
        except IntegrityError as error:
            wrong.append(f"the routing names {version.version_id}: {error}")
    return wrong


def settled(world: World) -> list[str]:
    """What must hold once the step was run again and the reconciler has looked."""
    wrong = safe_now(world)
    found = reconcile(world.services, world.model, repair=True)
    again = reconcile(world.services, world.model, repair=False)
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
        entry.action for entry in world.services.audit.entries(world.model) if entry.action.startswith("candidate.")
    )
    events = Counter(f"candidate.{event.after}" for event in world.services.ledger.events(world.model))
    wrong = [] if entries == events else [f"audit has {entries}, ledger {events}"]
    stages = Counter(
        (entry.action, entry.subject)
        for entry in world.services.audit.entries(world.model)
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
