"""What the server is told at start; everything else it reads from the routing row and the releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gauntlet.core.specs.serving import ServingSection


@dataclass(frozen=True)
class ModelServing:
    """One model: its entity column and its serving section."""

    entity: str | None = None
    """The column of a row that says who it is about."""
    serving: ServingSection = field(default_factory=ServingSection)


@dataclass(frozen=True)
class ServerConfig:
    """The server's environment. ``state`` holds snapshot, releases and shared words; it must be on a local disk."""

    models: Mapping[str, ModelServing]
    state: Path
    journal: Path
    admin_socket: Path
    admin_token: str
    """Used where there is no ``admin_token_file``."""
    admin_token_file: Path | None = None
    """The token is what this file says at the moment: replace the file to rotate it, nothing has to be restarted."""
    admin_listen: str | None = None
    """``host:port`` on which the admin operations are answered too, for orchestrators on other hosts; keep it from
    everybody else."""
    client_tokens: Path | None = None
    """A file of ``name token`` lines: only who has a token gets predictions; unset: everybody who can connect."""
    client_rate: float | None = None
    """Requests per second of one client, over all workers; more are told to come back (429). Unset: no limit."""
    host: str = "127.0.0.1"
    port: int = 8300
    """0: a free port, written to ``state/address.json``."""
    workers: int = 1
    default_model: str | None = None
    """Which model ``/predict`` and ``/invocations`` mean; unset: the only one."""
    max_body_bytes: int = 4 << 20
    max_concurrency: int = 256
    """Requests of one worker under way at once; more are told to come back."""
    request_budget_s: float = 5.0
    """What one request may take: its body to arrive, its rows to be scored, the journal to take them."""
    retry_after_s: int = 1
    slow_ms: float = 100.0
    """Requests that take longer in the server are counted as slow."""
    poll_s: float = 0.2
    journal_interval_s: float = 0.05
    journal_queue: int = 100_000
    """Rows waiting for the journal's writer, per worker and model."""
    segment_bytes: int = 64 << 20
    segment_s: float = 300.0
    shadow_queue: int = 1000
    """Rows waiting to be scored by the other version, per worker; more are dropped and counted."""
    shadow_share: float = 0.25
    """Most of a worker's time that scoring by the other version may take."""
    golden_s: float = 30.0
    """How often a worker scores the golden rows of the versions in traffic."""
    probe_latency_ms: float = 50.0
    """A release whose median row takes longer than this in the probe is refused."""
    probe_timeout_s: float = 60.0
    warm_versions: int = 4

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models: name at least one model to serve")
        if self.workers < 1:
            raise ValueError(f"workers: at least 1, got {self.workers}")
        if self.client_rate is not None and not 0 < self.client_rate < float("inf"):
            raise ValueError(f"client_rate: requests per second above 0, got {self.client_rate:g}")
        if self.default_model is not None and self.default_model not in self.models:
            raise ValueError(f"default_model: {self.default_model!r} is not one of {', '.join(sorted(self.models))}")

    @property
    def default(self) -> str | None:
        """The model meant by protocols that name none."""
        return self.default_model or (next(iter(self.models)) if len(self.models) == 1 else None)

    def token(self) -> str:
        """The admin token in force now; empty, so that nobody has it, when its file cannot be read."""
        if self.admin_token_file is None:
            return self.admin_token
        try:
            return self.admin_token_file.read_text().strip()
        except OSError:
            return ""

    def to_json(self) -> dict[str, Any]:
        """For handing to a worker process; without the admin token, which workers don't need."""
        plain = asdict(self) | {"admin_token": "", "admin_token_file": None}
        plain["models"] = {
            name: {"entity": model.entity, "serving": model.serving.model_dump(mode="json")}
            for name, model in self.models.items()
        }
        plain["client_tokens"] = str(self.client_tokens) if self.client_tokens else None
        return plain | {name: str(plain[name]) for name in ("state", "journal", "admin_socket")}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ServerConfig:
        """The inverse of :meth:`to_json`."""
        models = {
            name: ModelServing(model["entity"], ServingSection.model_validate(model["serving"]))
            for name, model in plain["models"].items()
        }
        paths = {name: Path(plain[name]) for name in ("state", "journal", "admin_socket")}
        tokens = Path(plain["client_tokens"]) if plain.get("client_tokens") else None
        return cls(**{**plain, **paths, "models": models, "client_tokens": tokens})
