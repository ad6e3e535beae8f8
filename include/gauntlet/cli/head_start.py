"""``gauntlet rollback`` before its own imports are done: the model server does what cannot wait.

The server has the control database and its workers at hand; this module asks it with the standard library alone, some
fifty milliseconds after the command was typed. Whatever comes of it, the command then runs as always, with the same
request: it finishes what the server has begun, does all of it where the server could not, and says what was refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket

from gauntlet.cli.account import account

TIMEOUT_S = 6.0
CONNECT_S = 1.0
REQUEST = f"cli-{os.urandom(8).hex()}"
"""The request of this process: what the server does for it and what it does itself is one rollback."""


def head_start(arguments: list[str]) -> bool:
    """Ask the local model server to move traffic back; whether it did. Never raises: the command itself follows."""
    asked = order(arguments)
    if asked is None:
        return False
    with contextlib.suppress(OSError, ValueError):
        return post("rollback", {**asked, "actor": account(), "request": REQUEST}) == 200
    return False


def order(arguments: list[str]) -> dict[str, str] | None:
    """Model and reason of a plain command line; ``None`` where only the real parser can tell.

    >>> order(["credit", "--reason", "bad", "--json"])
    {'model': 'credit', 'reason': 'bad'}
    >>> order(["credit"]) is order(["--help"]) is None
    True
    """
    model = reason = ""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--reason" and rest:
            reason = rest.pop(0)
        elif word.startswith("--reason="):
            reason = word.removeprefix("--reason=")
        elif not word.startswith("-") and not model:
            model = word
        elif word != "--json":
            return None
    return {"model": model, "reason": reason} if model and reason.strip() else None


def post(operation: str, body: dict[str, str]) -> int:
    """One request to the admin socket, in plain HTTP; the answer's status."""
    home = os.path.abspath(os.environ.get("GAUNTLET_HOME", ".gauntlet"))  # noqa: PTH100 - pathlib costs 10 ms
    address = os.environ.get("GAUNTLET_SERVER_ADMIN") or f"unix:{home}/server/admin.sock"
    file = os.environ.get("GAUNTLET_SERVER_TOKEN_FILE") or f"{home}/server/admin.token"
    token = os.environ.get("GAUNTLET_SERVER_TOKEN") or read(file).strip()
    content = json.dumps(body).encode()
    head = (
        f"POST /admin/{operation} HTTP/1.1\r\nHost: model-server\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    with connected(address) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(head.encode() + content)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1])


def connected(address: str) -> socket.socket:
    """A connection to ``unix:/path`` or ``http://host:port``; ``ValueError`` for anything else."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect(address.removeprefix("unix:"))
        except OSError:
            connection.close()
            raise
        return connection
    host, separator, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    if not address.startswith("http://") or not separator:
        raise ValueError(f"{address} is left to the HTTP client")
    return socket.create_connection((host, int(port)), timeout=CONNECT_S)


def read(path: str) -> str:
    """A small text file."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs 10 ms
        return file.read()
