"""A run whose data part is done: snapshot and split are stored, everything else is real or in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.adapters.lightgbm.small_world import STAMP, columns_of, spec_of, write_snapshot, write_split

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.scorer_lightgbm import LightGBMScorers
from gauntlet.adapters.trainer_lightgbm import LightGBMTrainer, describe
from gauntlet.core.digest import sha256_file
from gauntlet.core.ports import Services, TrainingJob
from gauntlet.core.records.data import DatasetRef, SplitManifest, SplitPart
from gauntlet.core.records.model import TrainedModel, TrainingSummary
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.train import train

Columns = dict[str, Any]


class Clock:
    def now(self) -> datetime:
        return STAMP + timedelta(hours=1)


@dataclass
class Specs:
    spec: ModelSpec

    def get(self, model: str) -> ModelSpec:
        return self.spec

    def names(self) -> tuple[str, ...]:
        return (self.spec.model,)


@dataclass
class Night:
    """Services and a run."""

    services: Services
    specs: Specs
    folder: Path
    runs: dict[str, RunContext] = field(default_factory=dict)

    def open(self, name: str, columns: Columns, *, classes: tuple[str, ...] | None = None) -> RunContext:
        """A run whose snapshot and split are stored."""
        spec, records = self.specs.spec, self.services.records
        run = RunContext(
            model=spec.model,
            run=name,
            as_of=STAMP,
            kind=TriggerKind.SCHEDULE,
            reason="on schedule",
            requested_by="airflow",
            force_retrain=False,
            spec_digest=spec.digest,
            opened_at=STAMP,
        )
        records.put(run.key, run)
        rows = len(columns["y"])
        dataset = self._store(write_snapshot(self.folder / f"{name}.parquet", columns), "snapshots")
        split = self._store(write_split(self.folder / f"{name}.split", rows), "splits")
        records.put(
            run.key,
            DatasetRef(
                uri=dataset[0],
                sha256=dataset[1],
                rows=rows,
                columns=tuple(columns),
                size_bytes=1,
                first_event=STAMP,
                last_event=STAMP,
                as_of=STAMP,
                window_start=None,
                window_end=STAMP,
                query="SELECT",
                classes=classes,
            ),
        )
        records.put(run.key, _manifest(dataset[1], split, rows))
        self.runs[name] = run
        return run

    def _store(self, path: Path, kind: str) -> tuple[str, str]:
        sha256 = sha256_file(path)
        return self.services.blobs.put_file(path, f"{kind}/{sha256}.parquet"), sha256

    def crown(self, trained: TrainedModel) -> ServedVersion:
        """Make a trained model the champion."""
        release = trained.release
        served = ServedVersion(
            version=1, version_id=release.version_id, release_uri=release.uri, release_digest=release.digest
        )
        self.services.routing.make_champion("small", served)  # type: ignore[attr-defined]
        return served

    def trained(self, name: str, seed: int = 0, rows: int = 3_000) -> tuple[RunContext, TrainedModel]:
        """A run with a model."""
        run = self.open(name, columns_of(rows, str(self.specs.spec.task), seed))
        return run, train(self.services, run)

    def using(self, **services: Any) -> Services:
        """The services with some replaced."""
        return replace(self.services, **services)


def _manifest(dataset: str, split: tuple[str, str], rows: int) -> SplitManifest:
    parts = tuple(
        SplitPart(
            name=name,
            rows=rows // 4,
            positives=None,
            first_event=STAMP - timedelta(days=9 - 2 * place),
            last_event=STAMP - timedelta(days=8 - 2 * place),
            keys_digest=f"{name}-{split[1]}",
        )
        for place, name in enumerate(("train", "validation", "calibration", "holdout"))
    )
    return SplitManifest(
        dataset=dataset, uri=split[0], sha256=split[1], strategy="time", parts=parts, dropped=0, dropped_reason="none"
    )


class TrainerHere:
    """The real training, in this process: most tests need not wait for another one to import LightGBM."""

    def train(self, spec: ModelSpec, job: TrainingJob, folder: Path) -> TrainingSummary:
        from gauntlet.adapters import training_child

        (folder.parent / "job.json").write_text(json.dumps(describe(spec, job, folder)))
        return training_child.train(training_child.Job.read(folder.parent / "job.json"))


@dataclass
class RoutingWithChampion:
    """The store's routing, with a champion set by hand: who becomes one is not tested here."""

    inner: Any
    stable: ServedVersion | None = None

    def read(self, model: str) -> Any:
        return self.inner.read(model).model_copy(update={"stable": self.stable})

    def make_champion(self, model: str, version: ServedVersion) -> None:
        self.stable = version


@pytest.fixture
def night(tmp_path: Path) -> Callable[..., Night]:
    """Make a night for a spec; keywords override its training section."""

    def make(task: str = "binary", *, in_child: bool = False, **training: Any) -> Night:
        specs = Specs(spec_of(task, **training))
        store = MemoryStore(Clock())
        unused = cast("Any", None)
        services = Services(
            clock=Clock(),
            specs=specs,
            records=store.records,
            audit=store.audit,
            routing=cast("Any", RoutingWithChampion(store.routing)),
            ledger=store.ledger,
            blobs=LocalBlobs(tmp_path / "blobs"),
            sources=cast("Mapping[str, Any]", {}),
            contract=unused,
            registry=MemoryRegistry(),
            server=unused,
            journal=unused,
            notifiers=(),
            scratch=tmp_path / "scratch",
            trainer=LightGBMTrainer() if in_child else TrainerHere(),
            scorers=LightGBMScorers(),
        )
        return Night(services, specs, tmp_path)

    return make
