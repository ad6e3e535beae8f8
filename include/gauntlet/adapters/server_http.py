"""The model server's admin socket as :class:`gauntlet.core.ports.Server`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import Conflict, InfrastructureError, IntegrityError, Rejection
from gauntlet.core.ports import WorkerReport
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import Routing

if TYPE_CHECKING:
    import httpx

UNIX = "unix:"
CONNECT_S = 2.0
REPORT_S = 5.0
PREDICT_S = 10.0
PREPARE_S = 120.0
"""A release is fetched, probed and loaded by every worker."""
_ERRORS: Mapping[str, type[Exception]] = {
    "Rejection": Rejection,
    "IntegrityError": IntegrityError,
    "Conflict": Conflict,
}


class HttpServer:
    """Implements :class:`~gauntlet.core.ports.Server`. Connects anew for every call: calls are rare, pools go stale."""

    def __init__(self, address: str, token: str | Callable[[], str]) -> None:
        """``address``: ``unix:/path/to/admin.sock`` or an URL; ``token``: the admin token, or what knows it now."""
        self.address = address
        self._token = token if callable(token) else lambda: token

    def prepare(self, model: str, release: ReleaseRef) -> Mapping[str, Any]:
        """Load and check a release in every worker without serving it."""
        body = {"model": model, "release": release.model_dump(mode="json")}
        measured: Mapping[str, Any] = self._post("prepare", body, PREPARE_S)
        return measured

    def apply(self, routing: Routing, timeout_s: float) -> Sequence[WorkerReport]:
        """Make every worker serve this routing; :class:`InfrastructureError` when one does not report its epoch."""
        body = {"routing": routing.model_dump(mode="json"), "timeout_s": timeout_s}
        reports = [_report(plain) for plain in self._post("apply", body, timeout_s + CONNECT_S)]
        behind = [report.worker for report in reports if report.epoch < routing.epoch]
        if behind or not reports:
            late = ", ".join(behind) or "no worker"
            raise InfrastructureError(f"model server {self.address}: {late} does not serve epoch {routing.epoch} yet")
        return reports

    def reports(self, model: str) -> Sequence[WorkerReport]:
        """What each worker serves now."""
        return [_report(plain) for plain in self._post("reports", {"model": model}, REPORT_S)]

    def predict(
        self, model: str, rows: Sequence[Mapping[str, Any]], *, version_id: str | None = None
    ) -> Sequence[float]:
        """Scores of rows by the live server, outside traffic."""
        body = {"model": model, "rows": [dict(row) for row in rows], "version_id": version_id}
        scores: list[float] = self._post("predict", body, PREDICT_S)
        return scores

    def unload(self, model: str, version_id: str) -> None:
        """Free a version that is not in traffic."""
        self._post("unload", {"model": model, "version_id": version_id}, REPORT_S)

    def _post(self, operation: str, body: Mapping[str, Any], timeout_s: float) -> Any:
        import httpx

        try:
            self._knock()
            with self._client(timeout_s) as client:
                response = client.post(f"/admin/{operation}", json=body)
        except (httpx.TransportError, OSError) as error:
            raise InfrastructureError(
                f"model server {self.address} does not answer {operation}: {error or type(error).__name__}; "
                "is it running (gauntlet serve)?"
            ) from error
        if response.is_success:
            return response.json()
        raise self._error(operation, response)

    def _knock(self) -> None:
        """Connect once by hand: httpx leaves its socket open when a Unix socket refuses it."""
        if self.address.startswith(UNIX):
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.settimeout(CONNECT_S)
                knocking.connect(self.address.removeprefix(UNIX))

    def _client(self, timeout_s: float) -> httpx.Client:
        import httpx

        unix = self.address.startswith(UNIX)
        transport = httpx.HTTPTransport(uds=self.address.removeprefix(UNIX)) if unix else None
        return httpx.Client(
            transport=transport,
            base_url="http://model-server" if unix else self.address,
            headers={"authorization": f"Bearer {self._token()}"},
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            trust_env=False,
        )

    def _error(self, operation: str, response: httpx.Response) -> Exception:
        try:
            told: Mapping[str, Any] = response.json()
        except ValueError:
            told = {}
        text = str(told.get("error", response.text[:200]))
        kind = _ERRORS.get(str(told.get("kind")), InfrastructureError)
        if kind is InfrastructureError:
            text = f"model server {self.address}: {operation} got {response.status_code}: {text}"
        return kind(text)


def _report(plain: Mapping[str, Any]) -> WorkerReport:
    return WorkerReport(
        worker=plain["worker"],
        epoch=plain["epoch"],
        stable=plain["stable"],
        canary=plain["canary"],
        loaded=tuple(plain["loaded"]),
        weight_ppm=plain["weight_ppm"],
    )
