"""The whole product: a real MLflow server over HTTP, a real model server, real releases, SQLite, the wall clock.

One model lives on through all cells: what a cell leaves behind, repaired, is what the next one begins with.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine
from tests.faults.child import database
from tests.faults.points import Tripwire, sigkill, wire_files, wire_fsync, wire_http, wire_statements, wired
from tests.faults.world import SCHEME, Blobs, World

from gauntlet.adapters.journal import JournalFiles
from gauntlet.adapters.registry_mlflow import MLflowRegistry
from gauntlet.adapters.server_http import HttpServer
from gauntlet.core.ports import Services
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import PPM, RolloutPhase, RolloutState
from gauntlet.core.records.run import RunContext
from gauntlet.core.specs.retention import RetentionSection
from gauntlet.core.specs.rollout import LiveChecks, RolloutSection, StepSection
from gauntlet.stages.promote import promote
from gauntlet.stages.register import register_challenger
from gauntlet.stages.retention import apply_retention
from gauntlet.stages.rollback import rollback
from gauntlet.stages.tick import tick

MODEL = "loans"
RAMP = RolloutSection(
    steps=(
        StepSection(weight=50, hold="100ms", requests=20),  # type: ignore[arg-type]
        StepSection(weight=100, hold="100ms", requests=20),  # type: ignore[arg-type]
    ),
    # What is tested is what a killed tick leaves, on a machine that does other things too: not latency.
    checks=LiveChecks(latency_p99_ms=60_000, latency_increase=1_000),
    bootstrap="automatic",
)
SHORT = RetentionSection(versions=1, referenced="1ms")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Product:
    """Where everything is; small enough to be handed to a child process."""

    folder: Path
    mlflow: str
    admin: str
    token: str
    journal: Path


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class ProductWorld(World):
    """The world of the other tests with nothing in it that is not real."""

    def __init__(self, product: Product) -> None:
        registry = MLflowRegistry(product.mlflow, timeout_s=30)
        super().__init__(product.folder, database(product.folder), registry, MODEL, WallClock())
        self.server = HttpServer(product.admin, product.token)  # type: ignore[assignment]
        self.journal = JournalFiles(product.journal)  # type: ignore[assignment]
        self.specs.spec = replace(self.specs.spec, rollout=RAMP, retention=SHORT)
        self.services = replace(self.services, server=self.server, journal=self.journal)  # type: ignore[arg-type]

    def release(self, content: str) -> ReleaseRef:
        """A small LightGBM model, another one for every content."""
        from tests.serving.servers import train, write_release

        key = f"releases/{content}"
        with TemporaryDirectory() as name:
            made = write_release(Path(name) / "release", train(int(content.removeprefix("m"))), f"id-{content}")
            self.blobs.put_folder(Path(name) / "release", key)
        return made.model_copy(update={"uri": SCHEME + key})

    def in_first_step(self, run: RunContext) -> None:
        """The rollout's state as it is while half of the traffic is the canary's."""
        state = self.services.records.get(run.key, RolloutState)
        routing, now = self.services.routing.read(self.model), self.clock.now()
        changes = {
            "phase": RolloutPhase.STEP,
            "step": 0,
            "salt": routing.salt,
            "step_epoch": routing.epoch,
            "started_at": now,
            "step_started_at": now,
            "updated_at": now,
        }
        self.services.records.put(run.key, state.model_copy(update=changes))


Act = Callable[[ProductWorld, Services, int], Any]


def _register(world: ProductWorld, services: Services, number: int) -> Any:
    return register_challenger(services, world.run(f"night-{number}"))


def _promote(world: ProductWorld, services: Services, number: int) -> Any:
    return promote(services, world.run(f"canary-{number}"))


def _tick(world: ProductWorld, services: Services, number: int) -> Any:
    return tick(services, world.run(f"canary-{number}"), 0)


def _roll_back(world: ProductWorld, services: Services, number: int) -> Any:
    return rollback(services, MODEL, reason="complaints", actor="ann", request=f"manual__{number}")


def _let_go(world: ProductWorld, services: Services, number: int) -> Any:
    return apply_retention(services, MODEL)


ACTS: dict[str, Act] = {
    "registration": _register,
    "promotion": _promote,
    "ramp step": _tick,
    "rollback": _roll_back,
    "retention": _let_go,
}


def trained(world: ProductWorld, number: int) -> RunContext:
    """A candidate that has passed its gates."""
    return world.trained(f"night-{number}", f"m{number}")


def ramped(world: ProductWorld, number: int, weight_ppm: int = PPM) -> RunContext:
    """A registered candidate in traffic."""
    source = trained(world, number)
    register_challenger(world.services, source)
    return world.ramped(f"canary-{number}", source, weight_ppm)


def act(product: Product, name: str, number: int, at: int | None, answer: str) -> None:
    """Run a step of the product, and die at a point; without one, write down the points."""
    os.chdir(product.folder)
    world = ProductWorld(product)
    world.registry.aliases(MODEL)  # connected, as a process that has been running for a while
    world.server.reports(MODEL)
    tripwire = Tripwire(at, sigkill)
    wire_statements(Engine, tripwire)
    wire_files(tripwire, str(product.folder))
    wire_fsync(tripwire)
    wire_http(tripwire)
    ACTS[name](world, wired(world.services, tripwire), number)
    world.store.close()
    Path(answer).write_text("\n".join(tripwire.labels), encoding="utf-8")


# ---- the servers -----------------------------------------------------------------------------------


def read_routing(folder: Path, model: str) -> Any:
    """The routing row, read as the model server of an installation does."""
    from gauntlet.adapters.store_sql import open_store

    store = open_store(database(folder), clock=WallClock())
    try:
        return store.routing.read(model)
    finally:
        store.close()


def fetch(folder: Path, uri: str, digest: str) -> Path:
    """A verified release folder."""
    return Blobs(folder).fetch_folder(uri, digest)
