"""``gauntlet serve``: one server from its configuration and three callables, and nothing heavy imported."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gauntlet.serving.config import ModelServing, ServerConfig
from gauntlet.serving.releases import Fetch
from gauntlet.serving.supervisor import ReadRouting, ReportEvent, Supervisor

if TYPE_CHECKING:
    from gauntlet.serving.admin import RollBack

__all__ = ["ModelServing", "ServerConfig", "serve"]


def serve(
    config: ServerConfig,
    fetch: Fetch,
    read_routing: ReadRouting,
    report_event: ReportEvent,
    roll_back: RollBack | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: what to serve, and where.
        fetch: (release URI, digest) to a verified local folder. Called for releases not on local disk yet.
        read_routing: model to its routing row. Called in a thread every ``config.poll_s``; may raise.
        report_event: (kind, model, detail) for whoever keeps events. Called in a thread; may raise.
        roll_back: moves a model's traffic back when the admin socket asks for it. Called in a thread; may raise.

    Raises:
        InfrastructureError: the port, the admin socket or the state folder is taken.
    """
    import uvloop

    if sys.platform == "win32":
        raise SystemExit("the model server needs Unix sockets")
    uvloop.run(_serve(config, fetch, read_routing, report_event, roll_back))


async def _serve(
    config: ServerConfig,
    fetch: Fetch,
    read_routing: ReadRouting,
    report_event: ReportEvent,
    roll_back: RollBack | None,
) -> None:
    import uvicorn

    from gauntlet.serving.admin import AdminApp, admin_socket, remote_socket

    supervisor = Supervisor(config, fetch, read_routing, report_event)
    server = uvicorn.Server(
        uvicorn.Config(
            AdminApp(supervisor, config.token, roll_back),
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )
    stop = asyncio.Event()
    main = asyncio.create_task(supervisor.run(stop))
    main.add_done_callback(lambda _: setattr(server, "should_exit", True))
    sock = admin_socket(config.admin_socket)
    remote = [remote_socket(config.admin_listen)] if config.admin_listen else []
    try:
        await server.serve(sockets=[sock, *remote])
    finally:
        stop.set()
        await main
        config.admin_socket.unlink(missing_ok=True)
