"""Which loopback ports the stack uses: the usual ones where they are free, else the next free ones."""

from __future__ import annotations

import contextlib
import socket

import psutil

from gauntlet.core.errors import InfrastructureError

LOOPBACK = "127.0.0.1"
TRIES = 20


def is_free(port: int) -> bool:
    """Whether one could listen on a loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return True
    return False


def holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            taken = connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
            if taken and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"


def choose(usual: dict[str, int]) -> tuple[dict[str, int], list[str]]:
    """A free port for each name, and a note for each that is not the usual one.

    Raises :class:`InfrastructureError`, naming the port and its holder, when no near one is free either.
    """
    chosen: dict[str, int] = {}
    notes = []
    for name, port in usual.items():
        near = [number for number in range(port, port + TRIES) if number not in chosen.values() and is_free(number)]
        if not near:
            raise InfrastructureError(
                f"{name}: port {port} is taken by {holder(port)}, and so are the next {TRIES - 1}; stop it, try again"
            )
        if near[0] != port:
            notes.append(f"{name}: port {port} is taken by {holder(port)}; using {near[0]}")
        chosen[name] = near[0]
    return chosen, notes
