"""The model server in memory: it does what the real one promises, at once, for tests of what steers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gauntlet.core.errors import IntegrityError, Rejection
from gauntlet.core.ports import WorkerReport
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import Routing

Score = Callable[[Mapping[str, Any]], float]


@dataclass
class MemoryServer:
    """Implements :class:`~gauntlet.core.ports.Server` over functions that score a row."""

    scorers: Mapping[str, Score]
    """Version id to its score; a release whose version is not here is refused as damaged."""
    workers: int = 2
    loaded: dict[str, set[str]] = field(default_factory=dict)
    """Model to the version ids that are loaded."""
    routed: dict[str, Routing] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    """Rollouts whose breaker has tripped."""

    def prepare(self, model: str, release: ReleaseRef) -> Mapping[str, Any]:
        """Load a release."""
        self._load(model, release.version_id)
        return {"version_id": release.version_id, "load_seconds": 0.0}

    def apply(self, routing: Routing, timeout_s: float) -> Sequence[WorkerReport]:
        """Serve this routing, unless a newer one is served already."""
        del timeout_s
        for side in (routing.stable, routing.canary):
            if side is not None:
                self._load(routing.model, side.version_id)
        current = self.routed.get(routing.model)
        if current is None or routing.epoch > current.epoch:
            self.routed[routing.model] = routing
        return self.reports(routing.model)

    def reports(self, model: str) -> Sequence[WorkerReport]:
        """The same report from every worker."""
        routing = self.routed.get(model)
        stable, canary = (routing.stable, routing.canary) if routing else (None, None)
        weight = routing.weight_ppm if routing and routing.canary and routing.rollout not in self.stopped else 0
        return [
            WorkerReport(
                worker=f"memory-{number}",
                epoch=routing.epoch if routing else 0,
                stable=stable.version_id if stable else None,
                canary=canary.version_id if canary else None,
                loaded=tuple(sorted(self.loaded.get(model, ()))),
                weight_ppm=weight,
            )
            for number in range(self.workers)
        ]

    def predict(
        self, model: str, rows: Sequence[Mapping[str, Any]], *, version_id: str | None = None
    ) -> Sequence[float]:
        """Scores of the named version, else of the stable one."""
        if version_id is None:
            routing = self.routed.get(model)
            if routing is None or routing.stable is None:
                raise Rejection(f"model {model} has no stable version")
            version_id = routing.stable.version_id
        if version_id not in self.loaded.get(model, ()):
            raise Rejection(f"version {version_id} is not loaded")
        return [self.scorers[version_id](row) for row in rows]

    def _load(self, model: str, version_id: str) -> None:
        if version_id not in self.scorers:
            raise IntegrityError(f"version {version_id} cannot be loaded")
        self.loaded.setdefault(model, set()).add(version_id)
