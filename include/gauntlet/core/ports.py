"""What the pipeline needs from outside, as small protocols; each has an in-memory twin for tests.

An adapter implements one protocol and knows one outside thing. Stages see only these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gauntlet.core.addresses import Addresses
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.ledger import Change
from gauntlet.core.records.base import Record
from gauntlet.core.records.data import ContractReport, DatasetRef
from gauntlet.core.records.evaluation import LatencyProfile, SmokeCheck
from gauntlet.core.records.ledger import Champion, Intent, RoutingChange, Transition
from gauntlet.core.records.model import ModelSidecar, RegisteredVersion, ReleaseRef, TrainingSummary
from gauntlet.core.records.rollout import Routing
from gauntlet.core.spec import ModelSpec
from gauntlet.core.standing import Standing

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.freeze import Closed

R = TypeVar("R", bound=Record)


class Clock(Protocol):
    """Where the time comes from: core never asks."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""
        ...


class Specs(Protocol):
    """The model specs of this installation."""

    def get(self, model: str) -> ModelSpec:
        """The spec called ``model``, or a :class:`~gauntlet.core.errors.SpecError` listing the names."""
        ...

    def names(self) -> tuple[str, ...]:
        """All model names, sorted."""
        ...


class RecordStore(Protocol):
    """Records by run. ``put`` is idempotent: the same content again changes nothing; new content supersedes."""

    def put(self, run_key: str, record: Record, name: str = "", *, actor: str = "pipeline") -> None:
        """Store a record of a run under its class and ``name``, with its audit entry, in one transaction."""
        ...

    def get(self, run_key: str, kind: type[R], name: str = "") -> R:
        """The newest record, or :class:`~gauntlet.core.errors.MissingRecord`."""
        ...

    def find(self, run_key: str, kind: type[R], name: str = "") -> R | None:
        """The newest record or ``None``."""
        ...

    def named(self, run_key: str, kind: type[R]) -> dict[str, R]:
        """All records of a kind in a run, by name."""
        ...

    def newest(self, model: str, kind: type[R], limit: int = 1, name: str | None = None) -> list[R]:
        """The newest records of a kind over all runs of a model, newest first."""
        ...

    def of_runs(self, run_keys: Sequence[str], kind: type[R], name: str | None = None) -> dict[str, dict[str, R]]:
        """The records of a kind in several runs: run key to name to record; runs that have none are absent."""
        ...

    def past(self, run_key: str, kind: type[R], name: str = "") -> list[R]:
        """Every record there has been under this key, kind and name, superseded ones included, oldest first."""
        ...


@dataclass(frozen=True)
class AuditEntry:
    """One line of the hash-chained audit log. ``previous`` is the digest of the entry before."""

    sequence: int
    at: datetime
    actor: str
    action: str
    model: str
    subject: str
    detail: Mapping[str, Any]
    previous: str
    digest: str


class AuditLog(Protocol):
    """Append-only history of every decision and state change."""

    def append(self, actor: str, action: str, model: str, subject: str, detail: Mapping[str, Any]) -> AuditEntry:
        """Add one entry."""
        ...

    def entries(self, model: str | None = None, subject: str | None = None) -> list[AuditEntry]:
        """Entries in order, oldest first."""
        ...

    def newest(
        self, model: str, limit: int, before: int | None = None, unrecorded_by: Sequence[str] = ()
    ) -> list[AuditEntry]:
        """The newest entries of a model, newest first; ``before``: only those with a smaller number.

        ``unrecorded_by``: without what these actors have recorded, which is most of a log.
        """
        ...

    def mirrored(self) -> list[AuditEntry] | None:
        """The entries as the mirror file beside the database has them; ``None`` when there is no such file."""
        ...


class RoutingStore(Protocol):
    """The routing row of each model: the truth for traffic."""

    def read(self, model: str) -> Routing:
        """The row; epoch 0 with no versions when there is none."""
        ...

    def swap(self, routing: Routing, *, expected_epoch: int, actor: str, action: str, reason: str) -> Routing:
        """Compare-and-swap: writes the row with epoch ``expected_epoch + 1``, and its audit entry, or raises Conflict.

        Replacing a champion is not a swap: that is :meth:`Ledger.commit` with the champion's epoch.
        """
        ...


class Ledger(Protocol):
    """Who is champion, where every candidate stands, and what is under way. The commit point of every change."""

    def commit(self, change: Change) -> Routing:
        """Write all of a change, with its audit entries, in one transaction; the routing after it.

        Raises Conflict, with nothing written, when the change does not fit what is there.
        """
        ...

    def champion(self, model: str) -> Champion:
        """The champion row; epoch 0 with nobody when there never was one. Always the routing's ``stable``."""
        ...

    def standing(self, model: str, candidate: str) -> Standing | None:
        """Where a candidate (a release digest) stands; ``None`` when the ledger never met it."""
        ...

    def events(self, model: str, candidate: str | None = None) -> list[Transition]:
        """Transitions in order, oldest first."""
        ...

    def intent(self, model: str) -> Intent | None:
        """The promotion or rollback that is under way."""
        ...

    def routings(self, model: str) -> list[RoutingChange]:
        """Every routing row there was, oldest first."""
        ...


class Blobs(Protocol):
    """Immutable files by content. Writes are temp + fsync + rename; reads verify the digest."""

    def put_file(self, path: Path, key: str) -> str:
        """Store a file under ``key`` and return its URI."""
        ...

    def fetch(self, uri: str, sha256: str) -> Path:
        """A verified local path of the blob; :class:`~gauntlet.core.errors.IntegrityError` when bytes differ."""
        ...

    def put_folder(self, folder: Path, key: str) -> str:
        """Store a folder, ``manifest.json`` last, and return its URI."""
        ...

    def fetch_folder(self, uri: str, manifest_sha256: str) -> Path:
        """A verified local path of a folder: manifest digest first, then every file it lists."""
        ...

    def remove(self, uri: str) -> None:
        """Delete a file, or a folder and all in it, its manifest first; nothing happens when it is gone."""
        ...


class Source(Protocol):
    """Point-in-time reads of one source."""

    def pull(self, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool, to: Path) -> PulledData:
        """Write rows with event time in (since, until] that were known at ``until`` to a canonical Parquet file.

        ``labelled``: only rows with a mature label. Canonical order: event time, then key.
        """
        ...


@dataclass(frozen=True)
class PulledData:
    """What a source wrote."""

    path: Path
    rows: int
    columns: tuple[str, ...]
    first_event: datetime | None
    last_event: datetime | None
    query: str
    classes: tuple[str, ...] | None = None
    source_columns: tuple[str, ...] = ()


class ContractEngine(Protocol):
    """Evaluates the data contract of a spec on a snapshot file."""

    def check(self, spec: ModelSpec, dataset: DatasetRef, path: Path, page: Path) -> ContractReport:
        """Evaluate every expectation and write one self-contained HTML page."""
        ...


class Trainer(Protocol):
    """Trains a model where it can do no harm: a bad input may end the training, never the caller."""

    def train(self, spec: ModelSpec, job: TrainingJob, folder: Path) -> TrainingSummary:
        """Train and write ``model.txt``, ``sidecar.json`` and ``golden.json`` into ``folder``.

        :class:`~gauntlet.core.errors.TrainingFailed` says what was wrong, also when the training process died.
        """
        ...


@dataclass(frozen=True)
class TrainingJob:
    """What to train on: the snapshot, its split file, and what the version is called after."""

    snapshot: Path
    split: Path
    stamp: datetime
    """The time in the version id: that of the run, so that a second try gives the same id."""
    trained_through: datetime | None
    classes: tuple[str, ...] | None = None


class Scorer(Protocol):
    """A loaded model: raw rows in, final (calibrated) scores out."""

    @property
    def sidecar(self) -> ModelSidecar:
        """What travels with the trees."""
        ...

    def score_table(self, table: pa.Table | Path, *, raw: bool = False) -> NDArray[np.float64]:
        """Scores of an Arrow table or a Parquet file, shape (rows,); multiclass (rows, classes).

        ``raw``: what the trees say, before calibration.
        """
        ...

    def score_rows(self, rows: Sequence[Mapping[str, Any]], *, raw: bool = False) -> NDArray[np.float64]:
        """Scores of raw rows, each alone, as the server would; bit-identical to :meth:`score_table`."""
        ...


class Scorers(Protocol):
    """Loads and probes releases."""

    def load(self, folder: Path) -> Scorer:
        """Load a release folder after every check; :class:`~gauntlet.core.errors.IntegrityError` when one fails."""
        ...

    def probe(self, candidate: Path, champion: Path | None) -> ProbeMeasurements:
        """Load, score and time releases in a process that may die of it. Never raises for what it finds."""
        ...


@dataclass(frozen=True)
class ProbeMeasurements:
    """What a sacrificial process found; latencies and memory are ``None`` when it did not get that far."""

    checks: tuple[SmokeCheck, ...]
    candidate_latency: LatencyProfile | None
    champion_latency: LatencyProfile | None
    load_seconds: float | None
    rss_mb: float | None


Row = Mapping[str, float | str | bool | None]
"""A raw row in plain JSON values."""


@dataclass(frozen=True)
class Trial:
    """What a real server process of its own did with a release."""

    problem: str | None = None
    """What went wrong first: why it was not loaded, or not answered."""
    scores: tuple[float | None, ...] = ()
    """Row by row over HTTP; ``None`` where there was no answer, or no stable one."""
    load_seconds: float | None = None
    """From handing the release over to serving it."""
    latencies_ms: tuple[float, ...] = ()
    """Of the requests that were answered, as the client saw them."""
    requests: int = 0
    """Requests that were to be made."""
    rss_mb: float | None = None
    """Of the whole server, once it had answered."""


class Trials(Protocol):
    """Starts a model server for one release, asks it, and stops it."""

    def run(self, spec: ModelSpec, release: ReleaseRef, folder: Path, rows: Sequence[Row], requests: int) -> Trial:
        """Load the verified release ``folder`` and post ``rows`` one by one, at least ``requests`` times in all.

        Never raises for what the release does; :class:`~gauntlet.core.errors.InfrastructureError` when the server
        did not even start.
        """
        ...


@dataclass(frozen=True)
class DomainResult:
    """Rows of two windows, scored for being in the current one, and what each feature does to tell them apart."""

    origin: NDArray[np.float64]
    """0: reference, 1: current."""
    scores: NDArray[np.float64]
    shares: Mapping[str, float]


class DomainClassifier(Protocol):
    """Learns to tell two windows apart."""

    def tell_apart(self, reference: pa.Table, current: pa.Table, features: Sequence[str]) -> DomainResult:
        """Score every row by a model that has not seen it."""
        ...


class Registry(Protocol):
    """The model registry (MLflow): runs, versions, aliases. The truth for versions."""

    def open_run(self, model: str, run_key: str, tags: Mapping[str, str]) -> str:
        """The run with this key, made if it does not exist; returns its id. Idempotent."""
        ...

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        artifacts: Mapping[str, Path] | None = None,
    ) -> None:
        """Add to a run; ``artifacts`` maps artifact folder to a local file or folder."""
        ...

    def log_dataset(self, run_id: str, dataset: DatasetRef, context: str) -> None:
        """Attach a dataset (digest, query, window) to a run as its input."""
        ...

    def finish_run(self, run_id: str, *, failed: bool) -> None:
        """Close a run."""
        ...

    def register(
        self, model: str, run_id: str, release: ReleaseRef, folder: Path, tags: Mapping[str, str]
    ) -> RegisteredVersion:
        """The version of this release, made if it does not exist: one version per content."""
        ...

    def versions(self, model: str) -> Sequence[RegisteredVersion]:
        """All complete versions, oldest first."""
        ...

    def aliases(self, model: str) -> dict[str, int]:
        """Alias to version."""
        ...

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias; nothing happens when it is not there."""
        ...

    def tag_version(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""
        ...

    def delete_version(self, model: str, version: int) -> None:
        """Delete a version; :class:`~gauntlet.core.errors.Conflict` when an alias points at it. Safe to repeat."""
        ...

    def delete_run(self, model: str, run_key: str) -> None:
        """Delete the run with this key, its logged models and its files. Safe to repeat."""
        ...

    def unfinished(self, model: str, before: datetime) -> Sequence[Unfinished]:
        """What a killed task has left half made, begun before a time."""
        ...

    def discard(self, model: str, left: Unfinished) -> None:
        """Delete a half-made version or logged model. Safe to repeat."""
        ...


@dataclass(frozen=True)
class Unfinished:
    """Something half made in the registry. ``kind``: ``run`` (still running), ``version`` or ``model``."""

    kind: str
    subject: str
    """Run id, version number or id of the logged model."""
    run_key: str
    release: str
    """Digest; empty for a run."""
    started: datetime


@dataclass(frozen=True)
class WorkerReport:
    """What one server process says it serves."""

    worker: str
    epoch: int
    stable: str | None
    canary: str | None
    loaded: tuple[str, ...]
    weight_ppm: int


class Server(Protocol):
    """The control side of the model server."""

    def prepare(self, model: str, release: ReleaseRef) -> Mapping[str, Any]:
        """Load and check a release in every worker without serving it; what the checks measured."""
        ...

    def apply(self, routing: Routing, timeout_s: float) -> Sequence[WorkerReport]:
        """Make every worker serve this routing, and wait until each reports its epoch."""
        ...

    def reports(self, model: str) -> Sequence[WorkerReport]:
        """What each worker serves now."""
        ...

    def predict(
        self, model: str, rows: Sequence[Mapping[str, Any]], *, version_id: str | None = None
    ) -> Sequence[float]:
        """Scores of rows by the live server, of a given loaded version when one is named."""
        ...


class JournalReader(Protocol):
    """Predictions as the server recorded them."""

    def read(self, model: str, since: datetime, until: datetime, rollout: str | None = None) -> pa.Table:
        """Rows with columns: request_id, at, epoch, rollout, version_id, arm, entity, bucket, score, other_score,
        decision, latency_us, status, error, explored, propensity. An incomplete window is marked in the table's schema
        metadata."""
        ...

    def ended_before(self, model: str, before: datetime) -> Sequence[tuple[str, str]]:
        """Name and SHA-256 of the files whose newest row is older than a time; never one that is written to."""
        ...

    def remove(self, model: str, name: str) -> None:
        """Delete such a file; nothing happens when it is gone."""
        ...

    def compact(self, model: str, before: datetime) -> CompactedJournal:
        """Turn segments that ended before a time into partitioned Parquet; each goes once its Parquet is verified."""
        ...


@dataclass(frozen=True)
class CompactedJournal:
    """What a compaction made, and the segments that stay, each with its reason."""

    files: tuple[str, ...] = ()
    rows: int = 0
    refused: tuple[str, ...] = ()


class Queries(Protocol):
    """A user's SELECT for a product metric: bound parameters, no way to write."""

    def on_requests(self, sql: str, parameters: Mapping[str, Any], requests: pa.Table) -> pa.Table:
        """Over the table ``requests`` alone; :class:`~gauntlet.core.errors.DataRejected` when it cannot be run."""
        ...

    def on_database(self, model: str, uri: str, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        """In a database, read-only; :class:`~gauntlet.core.errors.GauntletError` when that cannot be done."""
        ...


class Notifier(Protocol):
    """Where messages for people go."""

    def send(self, subject: str, body: str, *, severity: str, labels: Mapping[str, str]) -> None:
        """Send one message."""
        ...


class Beat(Protocol):
    """A dead man's switch: somebody elsewhere raises the alarm when this stops."""

    def beat(self) -> None:
        """Say that the watch is alive; :class:`~gauntlet.core.errors.InfrastructureError` when nobody listens."""
        ...


class Silent:
    """No dead man's switch."""

    def beat(self) -> None:
        """Nothing."""


class Calendars(Protocol):
    """Freeze calendars."""

    def closed(self, calendar: str, zone: ZoneInfo, since: datetime, until: datetime) -> tuple[Closed, ...]:
        """The events of a calendar between two moments, in order; times without a zone are in ``zone``.

        :class:`~gauntlet.core.errors.InfrastructureError` when it cannot be read: never an empty answer.
        """
        ...


class _LeftOut:
    """Stands in for a service that these services were built without; any use of it says so."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise InfrastructureError(f"these services were built without a {self._name}; give one to use .{attribute}")


def left_out(name: str) -> Any:
    """Stands in for a service that is not there; any use of it says so."""
    return _LeftOut(name)


@dataclass(frozen=True)
class Services:
    """Everything a stage may use. Built by :mod:`gauntlet.bootstrap`, by hand in tests."""

    clock: Clock
    specs: Specs
    records: RecordStore
    audit: AuditLog
    routing: RoutingStore
    blobs: Blobs
    sources: Mapping[str, Source]
    contract: ContractEngine
    registry: Registry
    server: Server
    journal: JournalReader
    notifiers: Iterable[Notifier]
    scratch: Path
    """A folder for files in the making; nothing in it is ever referred to."""
    ledger: Ledger
    trainer: Trainer = field(default_factory=lambda: left_out("trainer"))
    scorers: Scorers = field(default_factory=lambda: left_out("scorers"))
    domains: DomainClassifier = field(default_factory=lambda: left_out("domain classifier"))
    calendars: Calendars = field(default_factory=lambda: left_out("calendar"))
    trials: Trials = field(default_factory=lambda: left_out("trial server"))
    heartbeat: Beat = field(default_factory=Silent)
    queries: Queries = field(default_factory=lambda: left_out("product query engine"))
    addresses: Addresses = field(default_factory=Addresses)
