"""Several model servers as one: every replica behind one address is told, and a change counts when all confirm.

The replicas are listed, or found by name: ``dns:http://model-server-admin:8301`` asks the name service at each call,
so that replicas come and go (a headless service in Kubernetes, a scaled service in Compose). A replica that starts
later reads the routing row by itself; one that does not answer makes the call an infrastructure error, for a routing
that only some confirm is none.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from gauntlet.adapters.server_http import HttpServer
from gauntlet.core.errors import InfrastructureError

if TYPE_CHECKING:
    from gauntlet.core.ports import Server, WorkerReport
    from gauntlet.core.records.model import ReleaseRef
    from gauntlet.core.records.rollout import Routing

DNS = "dns:"
MOST_AT_ONCE = 32
T = TypeVar("T")
Token = str | Callable[[], str]
Resolve = Callable[[str, int], Sequence[str]]


def addresses_of(name: str, port: int) -> list[str]:
    """Every address a name stands for, sorted; :class:`InfrastructureError` when it stands for none."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InfrastructureError(f"model servers: the name {name} cannot be resolved: {error}") from None
    return sorted({str(entry[4][0]) for entry in found})


def open_server(address: str, token: Token) -> Server:
    """The model server at an address, or all of them: ``a,b`` or ``dns:http://name:port``."""
    if address.startswith(DNS) or "," in address:
        return FleetServer(address, token)
    return HttpServer(address, token)


class FleetServer:
    """Implements :class:`~gauntlet.core.ports.Server` over all replicas."""

    def __init__(self, address: str, token: Token, resolve: Resolve = addresses_of) -> None:
        """``resolve``: name and port to addresses, for ``dns:``."""
        self._address, self._token, self._resolve = address, token, resolve

    def prepare(self, model: str, release: ReleaseRef) -> Mapping[str, Any]:
        """Load a release in every replica; what the slowest measured."""
        measured = [each for _, each in self._all(lambda server: server.prepare(model, release))]
        return max(measured, key=lambda one: float(one.get("load_seconds") or 0.0))

    def apply(self, routing: Routing, timeout_s: float) -> Sequence[WorkerReport]:
        """Make every worker of every replica serve this routing."""
        return self._named(lambda server: server.apply(routing, timeout_s))

    def reports(self, model: str) -> Sequence[WorkerReport]:
        """What each worker of each replica serves now."""
        return self._named(lambda server: server.reports(model))

    def predict(
        self, model: str, rows: Sequence[Mapping[str, Any]], *, version_id: str | None = None
    ) -> Sequence[float]:
        """Scores by every replica; :class:`InfrastructureError` when they differ."""
        answers = self._all(lambda server: list(server.predict(model, rows, version_id=version_id)))
        first, scores = answers[0]
        for place, others in answers[1:]:
            if others != scores:
                raise InfrastructureError(f"model servers: {first} and {place} give other scores for the same rows")
        return scores

    def unload(self, model: str, version_id: str) -> None:
        """Free a version in every replica."""
        self._all(lambda server: server.unload(model, version_id))

    def _named(self, ask: Callable[[HttpServer], Sequence[WorkerReport]]) -> list[WorkerReport]:
        return [
            replace(report, worker=f"{place}/{report.worker}")
            for place, reports in self._all(ask)
            for report in reports
        ]

    def _all(self, ask: Callable[[HttpServer], T]) -> list[tuple[str, T]]:
        """The answer of each replica, all asked at the same time; the first failure is raised."""
        places = self._places()
        with ThreadPoolExecutor(min(len(places), MOST_AT_ONCE)) as pool:
            asked = [(place, pool.submit(ask, HttpServer(place, self._token))) for place in places]
            return [(place, answer.result()) for place, answer in asked]

    def _places(self) -> list[str]:
        if not self._address.startswith(DNS):
            return [place.strip() for place in self._address.split(",") if place.strip()]
        parts = urlsplit(self._address.removeprefix(DNS))
        if parts.hostname is None or parts.port is None:
            raise InfrastructureError(f"GAUNTLET_SERVER_ADMIN: {self._address}: write dns:http://name:port")
        found = self._resolve(parts.hostname, parts.port)
        return [f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}" for host in found]
