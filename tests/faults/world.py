"""A small installation for tests of registration, promotion and rollback: real stores, real stages, short releases.

Everything durable lies in a folder, so that a killed process's successor finds what it left.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.memory.journal import MemoryJournal
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.store_sql import open_store
from gauntlet.core.digest import sha256_bytes, sha256_json
from gauntlet.core.errors import Conflict, InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services, Unfinished, WorkerReport
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.gates import GateReceipt, GateVerdict
from gauntlet.core.records.model import (
    Feature,
    FeatureKind,
    GoldenSet,
    ModelSidecar,
    RegisteredVersion,
    ReleaseRef,
    Task,
    TrainedModel,
)
from gauntlet.core.records.rollout import (
    PPM,
    PreflightReport,
    RolloutPhase,
    RolloutState,
    Routing,
)
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.specs.freeze import FreezeSection
from gauntlet.core.specs.recovery import RecoverySection
from gauntlet.core.specs.retention import RetentionSection
from gauntlet.core.specs.rollout import RolloutSection
from gauntlet.stages.promote import promote
from gauntlet.stages.register import register_challenger
from gauntlet.stages.releases import served

MODEL = "credit"
GATES = ("absolute_performance", "beats_naive", "smoke")
START = datetime(2026, 3, 1, 2, tzinfo=UTC)


@dataclass
class Clock:
    moment: datetime = START

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment


@dataclass(frozen=True)
class Rollout:
    approval: bool = False
    bootstrap: str = "automatic"
    receipts_within: timedelta = timedelta(days=21)
    on_new: str = "queue"
    tick: timedelta = timedelta(days=36_500)
    """No promotion of these tests has waited so long that the candidate must be looked at again."""


@dataclass(frozen=True)
class Gates:
    names: tuple[str, ...] = GATES


@dataclass(frozen=True)
class Schedule:
    timezone: str = "UTC"


SHORT = RetentionSection(versions=1, referenced="30d")  # type: ignore[arg-type]
ANY_DAY = FreezeSection(weekdays=())
RECOVERY = RecoverySection()


@dataclass(frozen=True)
class Spec:
    """As much of a model spec as these stages read."""

    digest: str = "spec-1"
    task: Task = Task.BINARY
    gates: Gates = Gates()
    rollout: Rollout | RolloutSection = Rollout()
    schedule: Schedule = Schedule()
    freeze: FreezeSection = ANY_DAY
    recovery: RecoverySection = RECOVERY
    retention: RetentionSection = SHORT


@dataclass
class Specs:
    spec: Spec = Spec()

    def get(self, model: str) -> Any:
        return self.spec

    def names(self) -> tuple[str, ...]:
        return (MODEL,)


class Document:
    """A JSON file that is replaced at once: the state of a service that outlives its callers."""

    def __init__(self, path: Path, empty: dict[str, Any]) -> None:
        self.path = path
        self.empty = empty

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else json.loads(json.dumps(self.empty))

    def write(self, content: dict[str, Any]) -> None:
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(content))
        temporary.replace(self.path)


SCHEME = "blob:"


class Blobs:
    """The real store; its addresses are relative, so that a copied world has blobs of its own."""

    def __init__(self, root: Path) -> None:
        self.store = LocalBlobs(root)

    def there(self, uri: str) -> str:
        return f"file://{self.store.root / uri.removeprefix(SCHEME)}"

    def put_file(self, path: Path, key: str) -> str:
        self.store.put_file(path, key)
        return SCHEME + key

    def fetch(self, uri: str, sha256: str) -> Path:
        return self.store.fetch(self.there(uri), sha256)

    def put_folder(self, folder: Path, key: str) -> str:
        self.store.put_folder(folder, key)
        return SCHEME + key

    def fetch_folder(self, uri: str, manifest_sha256: str) -> Path:
        return self.store.fetch_folder(self.there(uri), manifest_sha256)

    def remove(self, uri: str) -> None:
        self.store.remove(self.there(uri))


class Registry:
    """Versions and aliases in a file; one version per content, as the port promises."""

    def __init__(self, path: Path) -> None:
        self.document = Document(path, {"versions": [], "numbers": 0, "aliases": {}, "tags": {}, "runs": {}})
        self.down = False

    def _read(self) -> dict[str, Any]:
        if self.down:
            raise InfrastructureError("the registry does not answer")
        return self.document.read()

    def register(
        self, model: str, run_id: str, release: ReleaseRef, folder: Path, tags: Mapping[str, str]
    ) -> RegisteredVersion:
        content = self._read()
        for known in content["versions"]:
            if known["release"]["digest"] == release.digest:
                return RegisteredVersion.model_validate(known)
        content["numbers"] += 1
        version = RegisteredVersion(
            model=model,
            version=content["numbers"],
            version_id=release.version_id,
            release=release,
            mlflow_run_id=run_id,
        )
        content["versions"].append(version.model_dump(mode="json"))
        content["tags"][str(version.version)] = dict(tags)
        self.document.write(content)
        return version

    def versions(self, model: str) -> Sequence[RegisteredVersion]:
        return [RegisteredVersion.model_validate(known) for known in self._read()["versions"]]

    def aliases(self, model: str) -> dict[str, int]:
        return dict(self._read()["aliases"])

    def set_alias(self, model: str, alias: str, version: int) -> None:
        content = self._read()
        content["aliases"][alias] = version
        self.document.write(content)

    def delete_alias(self, model: str, alias: str) -> None:
        content = self._read()
        content["aliases"].pop(alias, None)
        self.document.write(content)

    def tag_version(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        content = self._read()
        content["tags"].setdefault(str(version), {}).update(tags)
        self.document.write(content)

    def open_run(self, model: str, run_key: str, tags: Mapping[str, str]) -> str:
        content = self._read()
        content["runs"].setdefault(run_key, "RUNNING")
        self.document.write(content)
        return run_key

    def log(self, run_id: str, **_: Any) -> None:
        self._read()

    def finish_run(self, run_id: str, *, failed: bool) -> None:
        content = self._read()
        content["runs"][run_id] = "FAILED" if failed else "FINISHED"
        self.document.write(content)

    def delete_version(self, model: str, version: int) -> None:
        content = self._read()
        if version in content["aliases"].values():
            raise Conflict(f"an alias points at version {version}")
        content["versions"] = [known for known in content["versions"] if known["version"] != version]
        self.document.write(content)

    def delete_run(self, model: str, run_key: str) -> None:
        content = self._read()
        content["runs"].pop(run_key, None)
        self.document.write(content)

    def unfinished(self, model: str, before: datetime) -> Sequence[Unfinished]:
        running = [key for key, status in self._read()["runs"].items() if status == "RUNNING"]
        return [Unfinished("run", key, key, "", START) for key in running]

    def discard(self, model: str, left: Unfinished) -> None:
        raise AssertionError("versions are made at once here")

    def tags(self, version: int) -> dict[str, str]:
        return dict(self._read()["tags"].get(str(version), {}))


GOLDEN = GoldenSet(rows=({"income": 1.0}, {"income": 2.0}), scores=(0.25, 0.5), tolerance=0.0)


class Server:
    """Two workers that serve what they were last told, after loading it; their state outlives the caller."""

    workers = ("worker-1", "worker-2")

    def __init__(self, path: Path, blobs: Blobs) -> None:
        self.document = Document(path, {"routing": None, "loaded": []})
        self.blobs = blobs
        self.down = False
        self.prepared: list[str] = []

    def _read(self) -> dict[str, Any]:
        if self.down:
            raise InfrastructureError("the model server does not answer")
        return self.document.read()

    def prepare(self, model: str, release: ReleaseRef) -> Mapping[str, Any]:
        content = self._read()
        self.blobs.fetch_folder(release.uri, release.digest)
        content["loaded"] = sorted({*content["loaded"], release.version_id})
        self.document.write(content)
        self.prepared.append(release.version_id)
        return {"load_seconds": 0.01, "workers": len(self.workers)}

    def apply(self, routing: Routing, timeout_s: float) -> Sequence[WorkerReport]:
        content = self._read()
        now = content["routing"]
        if now is None or now["epoch"] < routing.epoch:
            content["routing"] = routing.model_dump(mode="json")
            self.document.write(content)
        return self.reports(routing.model)

    def predict(self, model: str, rows: Sequence[Any], *, version_id: str | None = None) -> Sequence[float]:
        assert version_id in self._read()["loaded"]
        return GOLDEN.scores[: len(rows)]

    def reports(self, model: str) -> Sequence[WorkerReport]:
        content = self._read()
        if content["routing"] is None:
            return [WorkerReport(name, 0, None, None, (), 0) for name in self.workers]
        routing = Routing.model_validate(content["routing"])
        return [
            WorkerReport(
                worker=name,
                epoch=routing.epoch,
                stable=routing.stable.version_id if routing.stable else None,
                canary=routing.canary.version_id if routing.canary else None,
                loaded=tuple(content["loaded"]),
                weight_ppm=routing.weight_ppm,
            )
            for name in self.workers
        ]


@dataclass
class Messages:
    sent: list[tuple[str, str]] = field(default_factory=list)

    def send(self, subject: str, body: str, *, severity: str, labels: Mapping[str, str]) -> None:
        self.sent.append((severity, body))


class World:
    """One installation in ``folder``. ``store``: ``memory``, a database URL, or what :meth:`frozen` gave."""

    def __init__(
        self, folder: Path, store: str | bytes = "memory", registry: Any = None, model: str = MODEL, clock: Any = None
    ) -> None:
        self.folder = folder
        self.model = model
        folder.mkdir(parents=True, exist_ok=True)
        kept = pickle.loads(store) if isinstance(store, bytes) else None
        self.clock: Any = kept[0] if kept else clock or Clock()
        self.start = self.clock.now() if clock else START
        self.specs = Specs()
        self.blobs = Blobs(folder)
        self.registry = registry or Registry(folder / "registry.json")
        self.server = Server(folder / "server.json", self.blobs)
        self.messages = Messages()
        self.journal = MemoryJournal()
        self.store: Any
        if kept is not None:
            self.store = kept[1]
        elif store == "memory":
            self.store = MemoryStore(self.clock)
        else:
            self.store = open_store(store, clock=self.clock, mirror=folder / "model_deployments.jsonl")
        self.services = Services(
            clock=self.clock,
            specs=self.specs,
            records=self.store.records,
            audit=self.store.audit,
            routing=self.store.routing,
            blobs=self.blobs,  # type: ignore[arg-type]
            sources={},
            contract=None,  # type: ignore[arg-type]
            registry=self.registry,
            server=self.server,  # type: ignore[arg-type]
            journal=self.journal,
            notifiers=(self.messages,),
            scratch=folder / "scratch",
            ledger=self.store.ledger,
        )

    def frozen(self) -> bytes:
        """The memory of this world, to be thawed over a copy of its folder: making one again takes far longer."""
        return pickle.dumps((self.clock, self.store))

    # ---- what earlier tasks leave behind -----------------------------------------------------------

    def release(self, content: str) -> ReleaseRef:
        """A release folder whose identity is its content."""
        key = f"releases/{content}"
        folder = self.blobs.store.root / key
        files = {
            "model.txt": content,
            "sidecar.json": self.sidecar(content).model_dump_json(),
            "golden.json": GOLDEN.model_dump_json(),
        }
        manifest = json.dumps({"files": {name: sha256_bytes(text.encode()) for name, text in sorted(files.items())}})
        if not (folder / "manifest.json").exists():
            with TemporaryDirectory() as part:
                for name, text in {**files, "manifest.json": manifest}.items():
                    (Path(part) / name).write_text(text)
                self.blobs.put_folder(Path(part), key)
        return ReleaseRef(
            uri=SCHEME + key,
            digest=sha256_bytes(manifest.encode()),
            version_id=f"id-{content}",
            tree_digest=sha256_bytes(content.encode()),
            size_bytes=len(content),
        )

    def sidecar(self, content: str) -> ModelSidecar:
        return ModelSidecar(
            model=self.model,
            version_id=f"id-{content}",
            task=Task.BINARY,
            objective="binary",
            features=(Feature(name="income", kind=FeatureKind.NUMERIC, nullable=True),),
            classes=None,
            threshold=0.5,
            calibration=None,
            best_iteration=1,
            tree_digest=sha256_bytes(content.encode()),
            model_sha256=sha256_bytes(content.encode()),
            trained_through=None,
        )

    def mlflow_run(self, name: str) -> str:
        """The run training has logged to."""
        run_id: str = self.registry.open_run(self.model, f"{self.model}/{name}", {})
        self.registry.finish_run(run_id, failed=False)
        return run_id

    def evaluation(self, name: str) -> tuple[str, str]:
        """Address and digest of a file that only this run refers to."""
        content, key = f"scores of {name}".encode(), f"evaluations/{name}.parquet"
        path = self.blobs.store.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return SCHEME + key, sha256_bytes(content)

    def run(self, name: str) -> RunContext:
        known = self.services.records.find(f"{self.model}/{name}", RunContext)
        if known is not None:
            return known
        run = RunContext(
            model=self.model,
            run=name,
            as_of=self.start,
            kind=TriggerKind.SCHEDULE,
            reason="on schedule",
            requested_by="airflow",
            force_retrain=False,
            spec_digest=self.specs.spec.digest,
            opened_at=self.start,
        )
        self.services.records.put(run.key, run)
        return run

    def trained(self, name: str, content: str) -> RunContext:
        """A run whose tasks before registration have all passed."""
        run = self.run(name)
        release = self.release(content)
        stable = self.services.routing.read(self.model).stable
        champion = stable.release_digest if stable else None
        holdout = sha256_json([name, "holdout"])
        self.services.records.put(
            run.key,
            TrainedModel(
                release=release,
                mlflow_run_id=self.mlflow_run(name),
                dataset="data",
                split="split",
                profile_digest="profile",
                metrics={},
                train_rows=1000,
                best_iteration=10,
                iterations_cap=100,
                seconds=1.0,
                peak_rss_mb=100.0,
                trained_at=self.start,
            ),
        )
        self.services.records.put(
            run.key,
            EvaluationRef(
                uri=self.evaluation(name)[0],
                sha256=self.evaluation(name)[1],
                rows=500,
                positives=50,
                candidate=release.digest,
                champion=champion,
                holdout=holdout,
                spec_digest=run.spec_digest,
                first_event=None,
                last_event=None,
                candidate_threshold=None,
                champion_threshold=None,
            ),
        )
        for gate in self.specs.spec.gates.names:
            self.services.records.put(run.key, self.receipt(run, gate, release.digest, champion, holdout), gate)
        return run

    def receipt(
        self,
        run: RunContext,
        gate: str,
        candidate: str,
        champion: str | None,
        holdout: str,
        outcome: Outcome = Outcome.PASSED,
    ) -> GateReceipt:
        return GateReceipt(
            verdict=GateVerdict(gate=gate, outcome=outcome, reason=f"{gate} {outcome}", mode=None, measurements=()),
            model=self.model,
            run=run.run,
            candidate=candidate,
            champion=champion,
            holdout=holdout,
            spec_digest=run.spec_digest,
            code_digest="code",
            started_at=self.clock.now(),
            finished_at=self.clock.now(),
        )

    def ramped(self, name: str, source: RunContext, weight_ppm: int = PPM) -> RunContext:
        """A canary run whose ramp is complete: nothing but promotion is left."""
        run = self.run(name)
        registered = self.services.records.get(source.key, RegisteredVersion)
        routing = self.services.routing.read(self.model)
        candidate = served(registered)
        rollout = f"{self.model}-v{registered.version}-{name}"
        self.server.prepare(self.model, registered.release)
        if routing.stable is not None and routing.canary != candidate:
            routing = self.services.routing.swap(
                routing.model_copy(
                    update={
                        "canary": candidate,
                        "weight_ppm": weight_ppm,
                        "rollout": rollout,
                        "lease_until": self.clock.now() + timedelta(days=1),
                    }
                ),
                expected_epoch=routing.epoch,
                actor="rollout",
                action="rollout.entered",
                reason="ramp",
            )
        self.server.apply(routing, 1)
        self.services.records.put(
            run.key,
            PreflightReport(
                rollout=rollout,
                model=self.model,
                candidate=candidate.version_id,
                outcome=Outcome.PASSED,
                reason="fine",
                checks=(),
                measured={},
                expected=None,
                candidate_threshold=None,
                stable_threshold=None,
                golden_rows=1,
                at=self.start,
            ),
        )
        self.services.records.put(
            run.key,
            RolloutState(
                rollout=rollout,
                model=self.model,
                run=run.run,
                phase=RolloutPhase.BAKE,
                step=5,
                weight_ppm=weight_ppm,
                candidate=candidate,
                stable=routing.stable,
                reason="all steps passed",
                started_at=self.start,
                step_started_at=self.start,
                updated_at=self.start,
                source_run=source.run,
            ),
        )
        return run

    def champion(self, content: str) -> RunContext:
        """Train, register, ramp and promote, all without a fault."""
        source = self.trained(f"night-{content}", content)
        register_challenger(self.services, source)
        run = self.ramped(f"canary-{content}", source)
        promote(self.services, run)
        return run

    def with_rollout(self, **settings: Any) -> None:
        self.specs.spec = replace(self.specs.spec, rollout=replace(self.specs.spec.rollout, **settings))

    def stable(self) -> str | None:
        routing = self.services.routing.read(self.model)
        return routing.stable.version_id if routing.stable else None
