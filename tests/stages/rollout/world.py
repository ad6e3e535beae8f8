"""A world for rollouts: a clock that is told the time, in-memory stores, a server that does what it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.memory.journal import MemoryJournal
from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.product_queries import ProductQueries
from gauntlet.core.digest import sha256_bytes, sha256_file
from gauntlet.core.errors import DataRejected, InfrastructureError, IntegrityError
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import PulledData, Services, WorkerReport
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.model import (
    Feature,
    FeatureKind,
    GoldenSet,
    ModelSidecar,
    RegisteredVersion,
    ReleaseRef,
    Task,
)
from gauntlet.core.records.rollout import RolloutState, Routing, ServedVersion
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.routing import Splitter, weight_in_force
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.close_rollout import close_rollout
from gauntlet.stages.open_rollout import open_rollout
from gauntlet.stages.preflight import preflight
from gauntlet.stages.tick import tick

MODEL = "loans"
START = datetime(2026, 3, 1, 2, tzinfo=UTC)
Score = Callable[[np.ndarray], np.ndarray]


def plain(x: np.ndarray) -> np.ndarray:
    """The champion's score of a feature that is uniform in [0, 1]."""
    return 0.05 + 0.5 * x * x


@dataclass
class ToldClock:
    moment: datetime = START

    def now(self) -> datetime:
        return self.moment

    def wait(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class ToldServer:
    """One worker. Scores are functions of the one feature ``x``, by version id."""

    clock: ToldClock
    scores: dict[str, Score] = field(default_factory=dict)
    routing: Routing | None = None
    loaded: set[str] = field(default_factory=set)
    down: bool = False
    tripped: bool = False
    refuses: str | None = None
    applied: list[Routing] = field(default_factory=list)

    def _answer(self) -> None:
        if self.down:
            raise InfrastructureError("server does not answer")

    def prepare(self, model: str, release: ReleaseRef) -> Mapping[str, Any]:
        self._answer()
        if self.refuses:
            raise IntegrityError(self.refuses)
        self.loaded.add(release.version_id)
        return {"load_ms": 12.0, "rss_mb": 101.5, "worker": "w1"}

    def apply(self, routing: Routing, timeout_s: float) -> Sequence[WorkerReport]:
        self._answer()
        self.routing = routing
        self.applied.append(routing)
        return self.reports(routing.model)

    def reports(self, model: str) -> Sequence[WorkerReport]:
        self._answer()
        if self.routing is None:
            return []
        row = self.routing
        return [
            WorkerReport(
                worker="w1",
                epoch=row.epoch,
                stable=row.stable.version_id if row.stable else None,
                canary=row.canary.version_id if row.canary else None,
                loaded=tuple(sorted(self.loaded)),
                weight_ppm=weight_in_force(row, self.clock.now(), tripped=self.tripped).ppm,
            )
        ]

    def predict(
        self, model: str, rows: Sequence[Mapping[str, Any]], *, version_id: str | None = None
    ) -> Sequence[float]:
        self._answer()
        assert version_id in self.loaded
        return [float(self.scores[version_id](np.array([row["x"]]))[0]) for row in rows]


@dataclass
class FixedSpecs:
    spec: ModelSpec

    def get(self, model: str) -> ModelSpec:
        return self.spec

    def names(self) -> tuple[str, ...]:
        return (self.spec.model,)


@dataclass
class Inbox:
    sent: list[tuple[str, str]] = field(default_factory=list)

    def send(self, subject: str, body: str, *, severity: str, labels: Mapping[str, str]) -> None:
        self.sent.append((severity, body))


@dataclass
class ToldSource:
    """Outcomes by customer, as a source that is asked for them would give them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    refuses: str | None = None

    def outcome(self, entity: str, at: datetime, happened: bool, seconds: float) -> None:
        self.rows.append({
            "customer": entity,
            "at": at + timedelta(seconds=0.3),
            "y": int(happened),
            "known": at + timedelta(seconds=seconds),
            "amount": 100.0,
        })

    def pull(self, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool, to: Path) -> PulledData:
        import pyarrow as pa
        import pyarrow.parquet as pq

        assert not labelled
        if self.refuses:
            raise DataRejected(self.refuses)
        wanted = {"customer", "at", "y", "known", *spec.source.columns.extra}
        rows = [
            {name: row[name] if name != "y" or row["known"] <= until else None for name in wanted}
            for row in self.rows
            if row["at"] <= until and (since is None or row["at"] > since)
        ]
        if not rows:
            raise DataRejected("0 rows lie in the window")
        pq.write_table(pa.Table.from_pylist(rows), to)
        return PulledData(to, len(rows), tuple(wanted), None, None, "told")


class World:
    """Everything a rollout needs, and traffic on demand."""

    def __init__(self, folder: Path, **rollout: Any) -> None:
        self.folder = folder
        self.clock = ToldClock()
        self.store = MemoryStore(self.clock)
        self.blobs = LocalBlobs(folder / "blobs")
        self.server = ToldServer(self.clock)
        self.journal = MemoryJournal()
        self.inbox = Inbox()
        self.source = ToldSource()
        self.rng = np.random.default_rng(7)
        self.spec = spec(**rollout)
        self.requests = 0
        unused = cast("Any", None)
        self.services = Services(
            clock=self.clock,
            specs=FixedSpecs(self.spec),
            records=self.store.records,
            audit=self.store.audit,
            routing=self.store.routing,
            blobs=self.blobs,
            sources={"files": self.source},
            contract=unused,
            registry=MemoryRegistry(),
            server=self.server,
            journal=self.journal,
            notifiers=(self.inbox,),
            scratch=folder,
            ledger=self.store.ledger,
            queries=ProductQueries(folder / "queries"),
        )

    def run(self, name: str = "canary-1") -> RunContext:
        return RunContext(
            model=MODEL,
            run=name,
            as_of=START,
            kind=TriggerKind.MANUAL,
            reason="test",
            requested_by="tester",
            force_retrain=False,
            spec_digest=self.spec.digest,
            opened_at=START,
        )

    def release(self, version: int, score: Score = plain, *, threshold: float = 0.2) -> RegisteredVersion:
        version_id = f"id{version}"
        folder = self.folder / version_id
        folder.mkdir()
        rows = tuple({"x": value} for value in (0.1, 0.4, 0.9))
        golden = GoldenSet(rows=rows, scores=tuple(float(score(np.array([row["x"]]))[0]) for row in rows), tolerance=0)
        (folder / "golden.json").write_text(golden.model_dump_json())
        (folder / "sidecar.json").write_text(sidecar(version_id, threshold).model_dump_json())
        files = {name: sha256_file(folder / name) for name in ("golden.json", "sidecar.json")}
        manifest = json.dumps({"files": files}).encode()
        (folder / "manifest.json").write_bytes(manifest)
        digest = sha256_bytes(manifest)
        uri = self.blobs.put_folder(folder, f"releases/{MODEL}/{digest}")
        self.server.scores[version_id] = score
        release = ReleaseRef(uri=uri, digest=digest, version_id=version_id, tree_digest=digest, size_bytes=1)
        return RegisteredVersion(
            model=MODEL, version=version, version_id=version_id, release=release, mlflow_run_id=f"r{version}"
        )

    def champion(self, version: int = 1, score: Score = plain) -> ServedVersion:
        served = as_served(self.release(version, score))
        routing = self.store.routing.read(MODEL)
        self.store.routing.swap(
            routing.model_copy(update={"stable": served, "salt": "s"}),
            expected_epoch=routing.epoch,
            actor="test",
            action="champion",
            reason="first",
        )
        self.server.loaded.add(served.version_id)
        self.server.apply(self.store.routing.read(MODEL), 1)
        return served

    def challenger(self, version: int = 2, score: Score = plain, run: str = "night-2") -> RegisteredVersion:
        registered = self.release(version, score)
        self.clock.wait(1)
        self.store.records.put(f"{MODEL}/{run}", registered)
        self.store.records.put(
            f"{MODEL}/{run}",
            PromotionDecision(
                model=MODEL,
                run=run,
                outcome=Outcome.PASSED,
                reason="all gates passed",
                candidate=registered.release.digest,
                champion=None,
                holdout="h",
                spec_digest=self.spec.digest,
                receipts={},
                version=version,
                decided_at=self.clock.now(),
            ),
        )
        return registered

    def traffic(
        self,
        requests: int,
        *,
        live: Mapping[str, Score] | None = None,
        canary_errors: float = 0.0,
        errors: float = 0.0,
        slow_ms: float = 0.0,
        invalid: bool = False,
        paired: bool = True,
        labels: float | None = None,
        seen: Callable[[bool], bool] = lambda canary: True,
    ) -> None:
        """Requests as the server would answer and journal them now. ``live``: scores other than at training.

        ``labels``: seconds until an outcome, as likely as the champion's training said, becomes known; ``seen`` says
        for which arm outcomes are reported at all.
        """
        routing = self.server.routing
        assert routing is not None
        assert routing.stable is not None
        scores = {**self.server.scores, **(live or {})}
        weight = weight_in_force(routing, self.clock.now(), tripped=self.server.tripped).ppm
        split = Splitter(routing.salt)
        x = self.rng.random(requests)
        stable = scores[routing.stable.version_id](x)
        truth = plain(x)
        canary = scores[routing.canary.version_id](x) if routing.canary else np.full(requests, np.nan)
        rows = []
        for index in range(requests):
            self.requests += 1
            entity = f"c{self.requests}"
            drawn = split.assign(entity, weight)
            fails = bool(self.rng.random() < (canary_errors if drawn.canary else errors))
            own, other = (canary, stable) if drawn.canary else (stable, canary)
            if labels is not None and seen(drawn.canary):
                happened = bool(self.rng.random() < truth[index])
                self.source.outcome(entity, self.clock.now(), happened, labels)
            answered, shadow = (other[index], np.nan) if drawn.canary and fails else (own[index], other[index])
            rows.append({
                "request_id": f"q{self.requests}",
                "at": self.clock.now(),
                "epoch": routing.epoch,
                "rollout": routing.rollout,
                "arm": drawn.arm.value,
                "entity": entity,
                "bucket": drawn.bucket,
                "weight_ppm": weight,
                "score": float(answered),
                "other_score": float(shadow) if paired else float("nan"),
                "decision": int(answered >= 0.2),
                "latency_us": int(self.rng.gamma(4, 400) + (slow_ms * 1000 if drawn.canary else 0)),
                "status": "ok" if not fails else "fallback" if drawn.canary else "error",
                "error": ("invalid output" if invalid else "raised") if fails else None,
            })
        self.journal.append(MODEL, rows)

    # the stages, for short

    def open(self, name: str = "canary-1") -> RolloutState:
        return open_rollout(self.services, self.run(name))

    def start(self, name: str = "canary-1") -> RolloutState:
        """Open, preflight and enter the first step."""
        self.open(name)
        preflight(self.services, self.run(name))
        return tick(self.services, self.run(name), 0)

    def look(
        self, step: int, *, wait: float = 0.0, requests: int = 0, name: str = "canary-1", **kind: Any
    ) -> RolloutState:
        """Let time and traffic pass, then tick."""
        if requests:
            self.clock.wait(wait / 2)
            self.traffic(requests, **kind)
            self.clock.wait(wait / 2)
        else:
            self.clock.wait(wait)
        return tick(self.services, self.run(name), step)

    def close(self, name: str = "canary-1") -> RolloutState | None:
        return close_rollout(self.services, self.run(name))

    def state(self, name: str = "canary-1") -> RolloutState:
        return self.store.records.get(f"{MODEL}/{name}", RolloutState)

    @property
    def routing(self) -> Routing:
        return self.store.routing.read(MODEL)


def as_served(registered: RegisteredVersion) -> ServedVersion:
    return ServedVersion(
        version=registered.version,
        version_id=registered.version_id,
        release_uri=registered.release.uri,
        release_digest=registered.release.digest,
    )


def sidecar(version_id: str, threshold: float) -> ModelSidecar:
    return ModelSidecar(
        model=MODEL,
        version_id=version_id,
        task=Task.BINARY,
        objective="binary",
        features=(Feature(name="x", kind=FeatureKind.NUMERIC, nullable=False),),
        classes=None,
        threshold=threshold,
        calibration=None,
        best_iteration=1,
        tree_digest="t",
        model_sha256="m",
        trained_through=None,
    )


STEPS = [
    {"weight": 5, "hold": "2s", "requests": 5},
    {"weight": 50, "hold": "2s", "requests": 20},
    {"weight": 100, "hold": "2s", "requests": 20},
]


def spec(**rollout: Any) -> ModelSpec:
    return ModelSpec.model_validate({
        "model": MODEL,
        "task": "binary",
        "owner": {"team": "t", "email": "t@example.com"},
        "schedule": {},
        "source": {
            "kind": "files",
            "uri": "x",
            "columns": {
                "label": "y",
                "key": "loan",
                "entity": "customer",
                "event_time": "at",
                "label_known_at": "known",
            },
            "features": {"numeric": ["x"]},
        },
        "contract": {"rows": [1, None], "columns": {}},
        "split": {"kind": "random"},
        "training": {"threshold": 0.2},
        "drift": {"window": "1d"},
        # Some of these tests go by the clock on the wall, and on Fridays too.
        "freeze": {"weekdays": []},
        "gates": dict.fromkeys(GATES, "off: not under test here"),
        "rollout": {**({} if "plan" in rollout else {"steps": STEPS}), "tick": "1s", "lease": "10s", **rollout},
    })
