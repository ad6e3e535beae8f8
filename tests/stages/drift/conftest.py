"""A champion with a profile over the simulated world, and a way to check any of its nights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.column_numbers import numbers
from gauntlet.core.digest import canonical_json, sha256_file
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.ports import PulledData, Services
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.release import PROFILE
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.write_profile import write_profile

MODEL = "loans"
START = datetime(2026, 3, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
IMPORTANCES = {"income": 40.0, "amount": 30.0, "region": 20.0, "open_loans": 9.0, "employed": 1.0}


@dataclass
class ToldClock:
    moment: datetime = START

    def now(self) -> datetime:
        return self.moment


@dataclass
class ToldSource:
    """Rows that the test hands in, cut to the window; ``fault`` is raised instead when there is one."""

    table: pa.Table | None = None
    labelled: pa.Table | None = None
    fault: Exception | None = None
    pulls: list[tuple[datetime | None, datetime, bool]] = field(default_factory=list)

    def pull(self, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool, to: Path) -> PulledData:
        self.pulls.append((since, until, labelled))
        if self.fault is not None:
            raise self.fault
        table = self.labelled if labelled else self.table
        assert table is not None
        times = np.asarray(table["applied_at"].to_numpy(), dtype="datetime64[us]")
        inside = times <= np.datetime64(until.replace(tzinfo=None))
        if since is not None:
            inside &= times > np.datetime64(since.replace(tzinfo=None))
        table = table.filter(pa.array(inside))
        pq.write_table(table, to, compression="zstd", write_page_checksum=True)
        return PulledData(to, table.num_rows, tuple(table.column_names), None, None, "told")


@dataclass
class ToldRegistry:
    """Remembers what was logged; ``fault`` is raised instead when there is one."""

    fault: Exception | None = None
    logged: dict[str, list[str]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)

    def open_run(self, model: str, run_key: str, tags: Mapping[str, str]) -> str:
        if self.fault is not None:
            raise self.fault
        self.tags.setdefault(run_key, {}).update(tags)
        return run_key

    def log(self, run_id: str, *, artifacts: Mapping[str, Path], **_more: Any) -> None:
        self.logged[run_id] = sorted(
            f"{name}/{file.name}" for name, path in artifacts.items() for file in path.iterdir()
        )

    def finish_run(self, run_id: str, *, failed: bool) -> None:
        self.finished.append(run_id)


@dataclass
class ToldRouting:
    """The routing row as the test sets it; the stages here only read it."""

    row: Routing = field(
        default_factory=lambda: Routing(
            model=MODEL,
            epoch=0,
            stable=None,
            canary=None,
            previous=None,
            weight_ppm=0,
            salt="",
            rollout=None,
            lease_until=None,
        )
    )

    def read(self, model: str) -> Routing:
        return self.row


def portfolio(
    rows: int,
    seed: int,
    until: datetime = START,
    days: float = 1.0,
    income: float = 1.0,
    regions: Sequence[float] = (0.4, 0.3, 0.2, 0.1),
) -> pa.Table:
    """Applications that arrive evenly over the days before ``until``."""
    rng = np.random.default_rng(seed)
    earned = income * 2000 * np.exp(rng.normal(0, 0.45, rows))
    employed = rng.random(rows) < 0.7
    ages = np.sort(rng.random(rows))[::-1] * days * 86_400 * 1e6
    return pa.table({
        "id": np.arange(rows),
        "applied_at": pa.array(
            np.datetime64(until.replace(tzinfo=None), "us") - ages.astype("timedelta64[us]"),
            pa.timestamp("us", "UTC"),
        ),
        "income": pa.array(earned, mask=rng.random(rows) < 0.03),
        "amount": np.round(rng.lognormal(8, 0.5, rows), -2),
        "open_loans": rng.poisson(1.2, rows),
        "employed": employed,
        "region": pa.array(rng.choice(["north", "south", "east", "west"], rows, p=regions)),
        "defaulted": (rng.random(rows) < 0.1).astype(np.int64),
    })


DOCUMENT: dict[str, Any] = yaml.safe_load("""
model: loans
task: binary
owner: {team: lending, email: lending@example.com}
schedule: {}
source:
  kind: files
  uri: nowhere.parquet
  columns: {key: id, event_time: applied_at, label: defaulted}
  features: {numeric: [income, amount, open_loans], boolean: [employed], categorical: [region]}
  label_delay: 7d
contract: {rows: [1, null], columns: {}}
split: {kind: time}
training: {}
drift: {window: 1d, scores: false}
rollout: {steps: [{weight: 1, hold: 1m, requests: 10}]}
""")


DOCUMENT["gates"] = dict.fromkeys(GATES, "off: not looked at here")


def loans(**drift: Any) -> ModelSpec:
    return ModelSpec.model_validate(DOCUMENT | {"drift": DOCUMENT["drift"] | drift})


@dataclass
class Bench:
    """Services in memory, a source and a clock under the test's control."""

    services: Services
    source: ToldSource
    clock: ToldClock
    store: MemoryStore
    folder: Path
    told: dict[str, ModelSpec]
    registry: ToldRegistry
    routing: ToldRouting

    @property
    def spec(self) -> ModelSpec:
        return self.told[MODEL]

    def set_drift(self, **drift: Any) -> None:
        self.told[MODEL] = loans(**drift)

    def run(self, at: datetime, name: str = "", kind: TriggerKind = TriggerKind.SCHEDULE, **more: Any) -> RunContext:
        return RunContext(
            **{
                "model": MODEL,
                "run": name or f"night-{at:%m-%dT%H%M}",
                "as_of": at,
                "kind": kind,
                "reason": "nightly",
                "requested_by": "scheduler",
                "force_retrain": False,
                "spec_digest": self.spec.digest,
                "opened_at": self.clock.moment,
            }
            | more
        )

    def train(
        self,
        at: datetime,
        table: pa.Table,
        importances: Mapping[str, float] = IMPORTANCES,
        scores: np.ndarray | None = None,
    ) -> ServedVersion:
        """Do what training does: snapshot, split, release folder with the profile; then take over traffic."""
        run = self.run(at, name=f"train-{at:%m-%d}")
        release = self.snapshot(run, table)
        counted = None if scores is None else numbers(scores, "float").counted(scores).to_json()
        write_profile(self.services, run, release, importances, counted)
        listed = {PROFILE: sha256_file(release / PROFILE)}
        (release / "manifest.json").write_bytes(canonical_json({"files": listed}))
        digest = sha256_file(release / "manifest.json")
        uri = self.services.blobs.put_folder(release, f"releases/{MODEL}/{digest}")
        served = ServedVersion(version=1, version_id=f"v{digest[:8]}", release_uri=uri, release_digest=digest)
        before = self.routing.row
        self.routing.row = before.model_copy(update={"stable": served, "previous": before.stable})
        return served

    def snapshot(self, run: RunContext, table: pa.Table) -> Path:
        """Records of a pulled and split snapshot (its last fifth held out), and an empty release folder."""
        release = self.folder / run.run
        release.mkdir()
        path = self.folder / f"{run.run}.parquet"
        pq.write_table(table, path, compression="zstd", write_page_checksum=True, row_group_size=3000)
        split = self.folder / f"{run.run}-split.parquet"
        parts = ["train"] * (table.num_rows * 4 // 5)
        parts += ["holdout"] * (table.num_rows - len(parts))
        pq.write_table(pa.table({"part": pa.array(parts).dictionary_encode()}), split, write_page_checksum=True)
        refs = [
            (one, sha256_file(one), self.services.blobs.put_file(one, f"{MODEL}/{one.name}")) for one in (path, split)
        ]
        dataset = DatasetRef(
            uri=refs[0][2],
            sha256=refs[0][1],
            rows=table.num_rows,
            columns=tuple(table.column_names),
            size_bytes=path.stat().st_size,
            first_event=None,
            last_event=None,
            as_of=run.as_of,
            window_start=None,
            window_end=run.as_of,
            query="told",
        )
        manifest = SplitManifest(
            dataset=refs[0][1],
            uri=refs[1][2],
            sha256=refs[1][1],
            strategy="time",
            parts=(),
            dropped=0,
            dropped_reason="",
        )
        self.services.records.put(run.key, dataset)
        self.services.records.put(run.key, manifest)
        return release


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    clock = ToldClock()
    store = MemoryStore(clock)
    source = ToldSource()
    registry, routing = ToldRegistry(), ToldRouting()
    told = {MODEL: loans()}
    absent = cast(Any, None)
    services = Services(
        clock=clock,
        specs=cast(Any, SimpleNamespace(get=told.__getitem__, names=lambda: tuple(told))),
        records=store.records,
        audit=store.audit,
        routing=cast(Any, routing),
        ledger=store.ledger,
        blobs=LocalBlobs(tmp_path / "blobs"),
        sources={"files": source},
        contract=absent,
        registry=cast(Any, registry),
        server=absent,
        journal=absent,
        notifiers=(),
        scratch=tmp_path / "scratch",
    )
    return Bench(services, source, clock, store, tmp_path, told, registry, routing)


@pytest.fixture
def champion(bench: Bench) -> ServedVersion:
    return bench.train(START - 2 * DAY, portfolio(20_000, 1, START - 2 * DAY, days=30))


Night = Callable[..., pa.Table]
