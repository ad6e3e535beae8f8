"""Real nights of the simulated lending model, up to its gates, with a store and a registry in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pyarrow.parquet as pq

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.contract_gx import GreatExpectationsContract
from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.scorer_lightgbm import LightGBMScorers
from gauntlet.adapters.server_trial import ServerTrials
from gauntlet.adapters.sources import Reading, all_sources
from gauntlet.adapters.trainer_lightgbm import LightGBMTrainer
from gauntlet.core.ports import Services
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.spec import ModelSpec, load_spec
from gauntlet.simulation.world import history
from gauntlet.stages.check_contract import check_contract
from gauntlet.stages.check_leakage import check_leakage
from gauntlet.stages.evaluate import evaluate
from gauntlet.stages.probe import probe
from gauntlet.stages.pull_data import pull_data
from gauntlet.stages.split_data import split_data
from gauntlet.stages.train import train

SPEC = Path(__file__).parents[3] / "include" / "models" / "credit_default.yaml"
LAST = datetime(2026, 3, 2, 1, tzinfo=UTC)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.time = LAST + timedelta(hours=2)

    def now(self) -> datetime:
        return self.time


@dataclass
class Specs:
    spec: ModelSpec

    def get(self, model: str) -> ModelSpec:
        return self.spec

    def names(self) -> tuple[str, ...]:
        return (self.spec.model,)


@dataclass
class Routing:
    """The store's routing with a champion set by hand: who becomes one is not tested here."""

    inner: Any
    stable: ServedVersion | None = None

    def read(self, model: str) -> Any:
        return self.inner.read(model).model_copy(update={"stable": self.stable})


@dataclass
class Lending:
    """The model's services and a way to run nights."""

    services: Services
    specs: Specs
    clock: Clock
    routing: Routing
    registry: MemoryRegistry
    data: Path

    def night(self, name: str, days_ago: float = 0, **context: Any) -> RunContext:
        """Everything from the pull to the probe; the gates are left to ask."""
        run = RunContext(
            model=self.specs.spec.model,
            run=name,
            as_of=LAST - timedelta(days=days_ago),
            kind=TriggerKind.SCHEDULE,
            reason="on schedule",
            requested_by="carol",
            force_retrain=False,
            spec_digest=self.specs.spec.digest,
            opened_at=LAST,
        ).model_copy(update=context)
        self.services.records.put(run.key, run)
        with patch.dict(os.environ, CREDIT_DEFAULT_DATA=str(self.data)):
            for stage in (pull_data, check_contract, split_data, check_leakage, train, evaluate, probe):
                stage(self.services, run)
        return run

    def crown(self, run: RunContext) -> ServedVersion:
        """Make the candidate of a run champion."""
        release = self.services.records.get(run.key, TrainedModel).release
        self.routing.stable = ServedVersion(
            version=1, version_id=release.version_id, release_uri=release.uri, release_digest=release.digest
        )
        return self.routing.stable


def lending(
    folder: Path, *, rows: int = 26_000, gates: dict[str, Any] | None = None, split: dict[str, Any] | None = None
) -> Lending:
    """The shipped spec on a small portfolio; ``gates`` and ``split`` say some of it otherwise."""
    data = folder / "data"
    data.mkdir(parents=True)
    pq.write_table(history(rows, days=64, to=LAST), data / "rows.parquet")
    spec = small(load_spec(SPEC), gates or {}, split or {})
    clock, specs, registry = Clock(), Specs(spec), MemoryRegistry()
    store = MemoryStore(clock)
    routing = Routing(store.routing)
    unused = cast("Any", None)
    services = Services(
        clock=clock,
        specs=specs,
        records=store.records,
        audit=store.audit,
        routing=cast("Any", routing),
        ledger=store.ledger,
        blobs=LocalBlobs(folder / "blobs"),
        sources=all_sources(Reading(folder / "scratch")),
        contract=GreatExpectationsContract(),
        registry=registry,
        server=unused,
        journal=unused,
        notifiers=(),
        scratch=folder / "scratch",
        trainer=LightGBMTrainer(),
        scorers=LightGBMScorers(),
        trials=ServerTrials(),
    )
    return Lending(services, specs, clock, routing, registry, data)


def small(spec: ModelSpec, gates: dict[str, Any], split: dict[str, Any]) -> ModelSpec:
    """The spec with less of everything, so that a night takes seconds."""
    document = spec.model_dump(mode="json")
    document["contract"]["rows"] = [5_000, None]
    document["contract"]["freshness"] = None
    document["training"] |= {"rounds": 120, "threads": 1}
    document["gates"] |= gates
    document["split"] |= split
    return ModelSpec.model_validate(document)
