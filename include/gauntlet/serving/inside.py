"""The server's control side for code that runs in a thread of the supervisor's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.ports import WorkerReport
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.serving.supervisor import Supervisor

T = TypeVar("T")
UNREGISTERED = 0
"""The version number of a release that is not in the registry yet."""
REPORT_S, PREPARE_S = 5.0, 120.0


class Inside:
    """Implements :class:`~gauntlet.core.ports.Server` on the supervisor itself; never called from its event loop."""

    def __init__(self, supervisor: Supervisor, loop: asyncio.AbstractEventLoop) -> None:
        self._supervisor, self._loop = supervisor, loop

    def prepare(self, model: str, release: ReleaseRef) -> Mapping[str, Any]:
        """Load and check a release in every worker without serving it."""
        version = ServedVersion(
            version=UNREGISTERED,
            version_id=release.version_id,
            release_uri=release.uri,
            release_digest=release.digest,
        )
        return self._wait(self._supervisor.prepare(model, version), PREPARE_S)

    def apply(self, routing: Routing, timeout_s: float) -> Sequence[WorkerReport]:
        """Make every worker serve this routing; InfrastructureError when one does not report its epoch."""
        reports = _reports(self._wait(self._supervisor.apply(routing, timeout_s), timeout_s + REPORT_S))
        behind = [report.worker for report in reports if report.epoch < routing.epoch]
        if behind or not reports:
            raise InfrastructureError(f"{', '.join(behind) or 'no worker'} does not serve epoch {routing.epoch} yet")
        return reports

    def reports(self, model: str) -> Sequence[WorkerReport]:
        """What each worker serves now."""
        return _reports(self._wait(self._supervisor.reports(model), REPORT_S))

    def predict(
        self, model: str, rows: Sequence[Mapping[str, Any]], *, version_id: str | None = None
    ) -> Sequence[float]:
        """Scores of rows by one worker, outside traffic."""
        return self._wait(self._supervisor.predict(model, [dict(row) for row in rows], version_id), REPORT_S)

    def _wait(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result(seconds)
        except TimeoutError:
            waiting.cancel()
            raise InfrastructureError(f"the workers did not answer within {seconds:g} s") from None


def _reports(plain: Sequence[Mapping[str, Any]]) -> list[WorkerReport]:
    return [
        WorkerReport(
            worker=one["worker"],
            epoch=one["epoch"],
            stable=one["stable"],
            canary=one["canary"],
            loaded=tuple(one["loaded"]),
            weight_ppm=one["weight_ppm"],
        )
        for one in plain
    ]
