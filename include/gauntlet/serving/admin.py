"""The admin socket: a Unix socket of its own, readable by its owner only, and a token of its own."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from gauntlet.core.errors import Conflict, GauntletError, InfrastructureError, Rejection
from gauntlet.core.ports import Server
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.serving.http import JSON, BodyReader, Receive, Refused, Scope, Send, answer, encode
from gauntlet.serving.inside import UNREGISTERED, Inside
from gauntlet.serving.supervisor import Supervisor

MAX_BODY = 64 << 20
BODY_S = 10.0
Operation = Callable[[dict[str, Any]], Awaitable[Any]]
RollBack = Callable[[Server, str, str, str, str], Mapping[str, Any]]
"""(this server, model, reason, actor, request): moves the model's traffic back, on every worker; called in a thread."""


class AdminApp:
    """ASGI application of the admin socket. Every operation is POST with a JSON object."""

    def __init__(self, supervisor: Supervisor, token: Callable[[], str], roll_back: RollBack | None = None) -> None:
        self._supervisor, self._token = supervisor, token
        self._roll_back = roll_back
        self._bodies = BodyReader(MAX_BODY, BODY_S)
        self._operations: dict[str, Operation] = {
            "/admin/prepare": self._prepare,
            "/admin/apply": self._apply,
            "/admin/reports": self._reports,
            "/admin/predict": self._predict,
            "/admin/unload": self._unload,
            "/admin/rollback": self._rollback,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            self._authenticate(scope)
            operation = self._operations.get(scope["path"])
            if operation is None or scope["method"] != "POST":
                raise Refused(404, "POST to one of the operations", operations=sorted(self._operations))
            arguments = msgspec.json.decode(await self._bodies.read(receive), type=dict[str, Any])
            await answer(send, 200, encode(await operation(arguments)), [JSON])
        except ConnectionError:
            return
        except Exception as error:  # the caller must hear of every failure
            refused = _refusal(error)
            await answer(send, refused.status, encode(refused.detail), [JSON, *refused.headers])

    def _authenticate(self, scope: Scope) -> None:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        token = self._token()
        if not token or not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise Refused(401, "the admin socket wants its token: Authorization: Bearer ...")

    async def _prepare(self, arguments: dict[str, Any]) -> Any:
        release = ReleaseRef.model_validate(arguments["release"])
        served = ServedVersion(
            version=int(arguments.get("version", UNREGISTERED)),
            version_id=release.version_id,
            release_uri=release.uri,
            release_digest=release.digest,
        )
        return await self._supervisor.prepare(str(arguments["model"]), served)

    async def _apply(self, arguments: dict[str, Any]) -> Any:
        routing = Routing.model_validate(arguments["routing"])
        return await self._supervisor.apply(routing, float(arguments["timeout_s"]))

    async def _reports(self, arguments: dict[str, Any]) -> Any:
        return await self._supervisor.reports(str(arguments["model"]))

    async def _predict(self, arguments: dict[str, Any]) -> Any:
        return await self._supervisor.predict(
            str(arguments["model"]), list(arguments["rows"]), arguments.get("version_id")
        )

    async def _unload(self, arguments: dict[str, Any]) -> Any:
        await self._supervisor.unload(str(arguments["model"]), str(arguments["version_id"]))
        return {"unloaded": arguments["version_id"]}

    async def _rollback(self, arguments: dict[str, Any]) -> Any:
        if self._roll_back is None:
            raise Rejection("this server was started without a control database; roll back from outside")
        inside = Inside(self._supervisor, asyncio.get_running_loop())
        model, reason, actor, request = (str(arguments[name]) for name in ("model", "reason", "actor", "request"))
        return await asyncio.to_thread(self._roll_back, inside, model, reason, actor, request)


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Conflict, 409),
    (Rejection, 422),
    (InfrastructureError, 503),
    (TimeoutError, 504),
    (ValidationError, 400),
    (msgspec.MsgspecError, 400),
    (KeyError, 400),
)


def _refusal(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    text = f"missing argument {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    kind = type(error).__name__ if isinstance(error, GauntletError) else "Error"
    return Refused(status, text, kind=kind)


def admin_socket(path: Path) -> socket.socket:
    """Bind the socket so that only its owner can connect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise InfrastructureError(f"admin socket {path}: {error} (a Unix path has at most 107 bytes)") from error
    path.chmod(0o600)
    sock.listen()
    return sock


def remote_socket(address: str) -> socket.socket:
    """A TCP socket for the admin operations; :class:`InfrastructureError` when the address is none or taken."""
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server((host or "127.0.0.1", int(port)), backlog=16)
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"admin address {address}: {error}; write host:port") from error
