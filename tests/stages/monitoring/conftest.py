"""A lender in production, without servers: a real champion, the real drift check, traffic as the journal keeps it.

The warehouse is the simulated world's; every row in it was a request, answered by the champion at the time of the
application. A fault changes what the warehouse holds or what was answered, from a time on until another.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from gauntlet.adapters.memory.serving import MemoryServer
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.product_queries import ProductQueries
from gauntlet.bootstrap import build
from gauntlet.core.encoding import encode_table
from gauntlet.core.errors import InfrastructureError, LayerUnhealthy
from gauntlet.core.ports import PulledData, Services
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.monitoring import AlertRound, Layer, MessageKind
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.spec import ModelSpec
from gauntlet.demo.overlay import merged
from gauntlet.settings import Settings
from gauntlet.simulation.events import Scenario
from gauntlet.simulation.world import World

ROOT = Path(__file__).parents[3]
MODEL = "credit_default"
TRAINED = datetime.fromisoformat("2026-03-02T01:00:00+00:00")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
Change = Callable[[pa.Table], pa.Table]
OVERLAY: dict[str, Any] = {
    "training": {"rounds": 60, "threads": 1, "params": {"learning_rate": 0.15}},
    "drift": {"performance": {"minimum_rows": 500}, "joint": None, "joint_pairs": None},
    "gates": {},
    "monitoring": {
        "service": {"window": "6h", "least": 50},
        "model": {"window": "3d"},
        "product": {
            "approval_rate": {
                "sql": 'SELECT avg((decision = 0)::DOUBLE) AS value FROM requests WHERE "at" > :since',
                "window": "1d",
                "least": 5,
            }
        },
        "business": {
            "revenue": {
                "sql": "SELECT amount AS value FROM revenue WHERE day <= :until ORDER BY day DESC LIMIT 1",
                "uri": "sqlite:///${REVENUE_DB}",
                "window": "1d",
                "least": 5,
                "severity": "page",
            }
        },
    },
}


def day_of(table: pa.Table) -> np.ndarray:
    return np.asarray(table["applied_at"].to_numpy(), dtype="datetime64[us]")


@dataclass(frozen=True)
class Fault:
    """A change of what happened between two times: to the warehouse, to what the server was sent, to its answers."""

    since: datetime
    until: datetime
    warehouse: Change | None = None
    sent: Change | None = None
    answers: Callable[[dict[str, Any], int], dict[str, Any] | None] | None = None

    def applied(self, change: Change | None, table: pa.Table) -> pa.Table:
        """The table with the rows of the fault's time changed."""
        if change is None or not table.num_rows:
            return table
        times = day_of(table)
        inside = (times > np.datetime64(self.since.replace(tzinfo=None))) & (
            times <= np.datetime64(self.until.replace(tzinfo=None))
        )
        if not inside.any():
            return table
        changed = change(table.filter(pa.array(inside)))
        return pa.concat_tables([table.filter(pa.array(~inside)), changed.cast(table.schema)])


@dataclass
class OnceAsked:
    """The real source of a warehouse that stays as it is: what was read once is kept for the next test."""

    inner: Any
    folder: Path
    known: dict[tuple[str, ...], PulledData] = field(default_factory=dict)

    def pull(self, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool, to: Path) -> PulledData:
        asked = (spec.model_dump_json(), str(since), str(until), str(labelled))
        if asked not in self.known:
            kept = self.folder / f"pulled-{len(self.known)}.parquet"
            self.known[asked] = self.inner.pull(spec, since, until, labelled=labelled, to=kept)
        shutil.copyfile(self.known[asked].path, to)
        return replace(self.known[asked], path=to)


@dataclass
class FaultySource:
    """The real source, its rows changed by the faults; the file keeps its order and its checksums."""

    inner: Any
    faults: list[Fault]

    def pull(self, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool, to: Path) -> PulledData:
        pulled = self.inner.pull(spec, since, until, labelled=labelled, to=to)
        table = pq.read_table(pulled.path)
        for fault in self.faults:
            table = fault.applied(fault.warehouse, table)
        pq.write_table(table.sort_by("applied_at"), pulled.path, compression="zstd", write_page_checksum=True)
        return cast(PulledData, replace(pulled, rows=table.num_rows))


@dataclass
class Journal:
    """What the champion answered: every application of the warehouse, and what the faults made of it."""

    source: Any
    spec: ModelSpec
    faults: list[Fault]
    scorer: Any
    version: ServedVersion
    folder: Path
    calm: dict[datetime, pa.Table]
    """Days without a fault, as every test sees them."""
    days: dict[datetime, pa.Table] = field(default_factory=dict)

    def read(self, model: str, since: datetime, until: datetime, rollout: str | None = None) -> pa.Table:
        start = since.replace(hour=0, minute=0, second=0, microsecond=0)
        parts = []
        while start <= until:
            if start not in self.days:
                self.days[start] = self._day(start)
            parts.append(self.days[start])
            start += DAY
        table = pa.concat_tables(parts)
        inside = pc.and_(pc.greater_equal(table["at"], since), pc.less_equal(table["at"], until))
        return table.filter(inside)

    def _day(self, day: datetime) -> pa.Table:
        changed = [fault for fault in self.faults if fault.sent is not None or fault.answers is not None]
        if any(fault.since < day + DAY and day < fault.until for fault in changed):
            return self._answered(day)
        if day not in self.calm:
            self.calm[day] = self._answered(day)
        return self.calm[day]

    def _answered(self, day: datetime) -> pa.Table:
        """A day's requests. What was asked is known at once: the warehouse learns it later."""
        path = self.folder / f"asked-{day:%Y%m%d}.parquet"
        everything = self.spec.model_copy(
            update={"source": self.spec.source.model_copy(update={"label_delay": None, "window": None})}
        )
        pulled = self.source.pull(everything, day, day + DAY, labelled=False, to=path)
        table = pq.read_table(pulled.path)
        for fault in self.faults:
            table = fault.applied(fault.sent, table)
        scores = self.scorer.score_table(table)
        vectors = encode_table(self.scorer.sidecar.features, table)
        rng = np.random.default_rng(day.toordinal())
        rows = []
        for place, at in enumerate(table["applied_at"].to_pylist()):
            row: dict[str, Any] | None = {
                "request_id": f"{day:%m%d}-{place}",
                "at": at,
                "entity": table["customer_id"][place].as_py(),
                "version_id": self.version.version_id,
                "arm": "stable",
                "score": float(scores[place]),
                "decision": int(scores[place] >= self.scorer.sidecar.threshold),
                "latency_us": int(900 + rng.gamma(2.0, 150.0)),
                "status": "ok",
                "rollout": None,
                "features": vectors[place].astype("<f8").tobytes(),
            }
            for fault in self.faults:
                if fault.answers is not None and row is not None and fault.since < at <= fault.until:
                    row = fault.answers(row, place)
            if row is not None:
                rows.append(row)
        return pa.Table.from_pylist(rows, schema=SCHEMA)


SCHEMA = pa.schema([
    ("request_id", pa.string()),
    ("at", pa.timestamp("us", "UTC")),
    ("entity", pa.string()),
    ("version_id", pa.string()),
    ("arm", pa.string()),
    ("score", pa.float64()),
    ("decision", pa.int64()),
    ("latency_us", pa.int64()),
    ("status", pa.string()),
    ("rollout", pa.string()),
    ("features", pa.binary()),
])


@dataclass
class Pager:
    """Keeps what people are told."""

    told: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    broken: bool = False

    def send(self, subject: str, body: str, *, severity: str, labels: Mapping[str, str]) -> None:
        if self.broken:
            raise InfrastructureError("the pager is broken")
        self.told.append((severity, subject, labels))


@dataclass
class HandClock:
    moment: datetime

    def now(self) -> datetime:
        return self.moment


@dataclass
class Production:
    """A model in production, looked at every few hours."""

    services: Services
    faults: list[Fault]
    clock: HandClock
    pager: Pager
    server: MemoryServer
    routing: Routing
    warehouse: World
    revenue: Path

    def look(self, at: datetime) -> AlertRound:
        """One look of the DAGs: the drift check, then every layer, then the alerts."""
        from gauntlet.stages.check_drift import check_drift
        from gauntlet.stages.monitor import look
        from gauntlet.stages.raise_alerts import raise_alerts

        self.clock.moment = at
        check_drift(self.services, self._run("drift", at))
        run = self._run("monitor", at)
        for layer in Layer:
            try:
                look(self.services, run, layer)
            except LayerUnhealthy:
                continue
        return raise_alerts(self.services, run)

    def _run(self, kind: str, at: datetime) -> RunContext:
        run = RunContext(
            model=MODEL,
            run=f"{kind}-{at:%m%dT%H%M}",
            as_of=at,
            kind=TriggerKind.SCHEDULE,
            reason="its time",
            requested_by="scheduler",
            force_retrain=False,
            spec_digest=self.services.specs.get(MODEL).digest,
            opened_at=at,
        )
        self.services.records.put(run.key, run)
        return run

    def watch(self, since: datetime, until: datetime, every: timedelta) -> list[AlertRound]:
        """Looks from one time to another."""
        rounds = []
        while since <= until:
            rounds.append(self.look(since))
            since += every
        return rounds


def news(rounds: list[AlertRound]) -> list[tuple[MessageKind, Layer, tuple[str, ...]]]:
    """What was told, in order."""
    return [(message.kind, message.layer, message.keys) for each in rounds for message in each.sent]


@dataclass(frozen=True)
class Trained:
    """What is made once: the warehouse, the champion, its records."""

    folder: Path
    spec: ModelSpec
    store: MemoryStore
    version: ServedVersion
    world: World
    source: OnceAsked
    calm: dict[datetime, pa.Table] = field(default_factory=dict)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A champion trained on the calm world as of the first night; its warehouse goes on for three weeks."""
    import os

    from gauntlet.stages.check_contract import check_contract
    from gauntlet.stages.check_leakage import check_leakage
    from gauntlet.stages.evaluate import evaluate
    from gauntlet.stages.pull_data import pull_data
    from gauntlet.stages.split_data import split_data
    from gauntlet.stages.train import train

    folder = tmp_path_factory.mktemp("watched")
    before = {name: os.environ.get(name) for name in ("CREDIT_DEFAULT_DATA", "REVENUE_DB")}
    os.environ["CREDIT_DEFAULT_DATA"] = str(folder / "warehouse")
    os.environ["REVENUE_DB"] = str(folder / "revenue.db")
    document = merged(yaml.safe_load((ROOT / "include/models/credit_default.yaml").read_text()), OVERLAY)
    (folder / "models").mkdir()
    (folder / "models" / f"{MODEL}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    world = World(folder / "warehouse", Scenario(begin=(TRAINED - 64 * DAY).date()))
    world.advance(TRAINED + 24 * DAY)
    real = build(Settings(home=folder / "g", models=folder / "models", mlflow_url=f"sqlite:///{folder}/mlflow.db"))
    clock = HandClock(TRAINED)
    store = MemoryStore(clock)
    services = replace(real, clock=clock, records=store.records, audit=store.audit, ledger=store.ledger)
    spec = services.specs.get(MODEL)
    run = RunContext(
        model=MODEL,
        run="first",
        as_of=TRAINED,
        kind=TriggerKind.BOOTSTRAP,
        reason="the first",
        requested_by="anna",
        force_retrain=False,
        spec_digest=spec.digest,
        opened_at=TRAINED,
    )
    services.records.put(run.key, run)
    for stage in (pull_data, check_contract, split_data, check_leakage, train, evaluate):
        stage(services, run)
    release = services.records.get(run.key, TrainedModel).release
    version = ServedVersion(
        version=1, version_id=release.version_id, release_uri=release.uri, release_digest=release.digest
    )
    (folder / "asked").mkdir()
    yield Trained(folder, spec, store, version, world, OnceAsked(real.sources["files"], folder / "asked"))
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture
def production(trained: Trained, tmp_path: Path) -> Production:
    """A fresh look at the same champion: records of its training, nothing watched yet."""
    import copy

    clock = HandClock(TRAINED + DAY)
    store = copy.deepcopy(trained.store)
    store.clock = clock
    real = build(
        Settings(home=trained.folder / "g", models=trained.folder / "models", mlflow_url=f"sqlite:///{tmp_path}/m.db")
    )
    faults: list[Fault] = []
    source = FaultySource(trained.source, faults)
    folder = real.blobs.fetch_folder(trained.version.release_uri, trained.version.release_digest)
    scorer = real.scorers.load(folder)
    routing = Routing(
        model=MODEL,
        epoch=1,
        stable=trained.version,
        canary=None,
        previous=None,
        weight_ppm=0,
        salt="",
        rollout=None,
        lease_until=None,
    )
    server = MemoryServer({trained.version.version_id: lambda row: float(scorer.score_rows([row])[0])})
    server.apply(routing, 1)
    pager = Pager()
    revenue = trained.folder / "revenue.db"
    write_revenue(revenue, {})
    services = replace(
        real,
        clock=clock,
        records=store.records,
        audit=store.audit,
        ledger=store.ledger,
        routing=cast(Any, SimpleNamespace(read=lambda _model: routing)),
        sources={"files": source},
        server=server,
        journal=cast(
            Any, Journal(trained.source, trained.spec, faults, scorer, trained.version, tmp_path, trained.calm)
        ),
        notifiers=(pager,),
        queries=ProductQueries(tmp_path),
        scratch=tmp_path / "scratch",
        registry=cast(Any, SilentRegistry()),
    )
    return Production(services, faults, clock, pager, server, routing, trained.world, revenue)


class SilentRegistry:
    """The drift check attaches its page here; nobody looks at it in these tests."""

    def open_run(self, *_: Any, **__: Any) -> str:
        return "run"

    def log(self, *_: Any, **__: Any) -> None: ...

    def finish_run(self, *_: Any, **__: Any) -> None: ...


def write_revenue(path: Path, wrong: Mapping[int, float]) -> None:
    """Revenue by day, steady but for the days that are wrong."""
    rng = np.random.default_rng(7)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE IF EXISTS revenue")
        database.execute("CREATE TABLE revenue (day TEXT, amount REAL)")
        for number in range(40):
            day = TRAINED - 15 * DAY + number * DAY
            steady = 50_000 + float(rng.normal(0, 1_500))
            database.execute(
                "INSERT INTO revenue VALUES (?, ?)",
                (day.replace(tzinfo=None).isoformat(sep=" "), wrong.get(number - 15, steady)),
            )
    database.close()
