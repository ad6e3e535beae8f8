"""``gauntlet serve``: the model server."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet.cli.console import exit_codes, out


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 8300,
    workers: Annotated[int | None, typer.Option(help="Server processes; default: GAUNTLET_SERVER_WORKERS.")] = None,
) -> None:
    """Serve every model's champion, and its challenger during a canary."""
    from gauntlet.bootstrap import serve as run_server

    with exit_codes():
        run_server(host, port, workers)


def exporter(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 9310,
) -> None:
    """Serve the pipeline's numbers to Prometheus: champions, nights, gates, drift, rollouts."""
    import signal
    import threading

    from gauntlet.exporter import serve as run_exporter

    with exit_codes():
        chosen, server = run_exporter(host, port)
        out.print(f"pipeline metrics on http://{host}:{chosen}/metrics")
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        ended.wait()
        server.shutdown()
        server.server_close()
