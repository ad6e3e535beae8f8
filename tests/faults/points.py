"""Kill points, enumerated: every call through a port, every SQL statement and every commit, before and after."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine, event

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.ports import Services

WRITES = (
    "records.put",
    "routing.swap",
    "ledger.commit",
    "registry.register",
    "registry.set_alias",
    "registry.delete_alias",
    "registry.tag_version",
    "server.prepare",
    "server.apply",
    "blobs.remove",
    "registry.delete_version",
    "registry.delete_run",
    "journal.remove",
    "BEGIN IMMEDIATE",
    "INSERT",
    "UPDATE",
    "DELETE",
    "COMMIT",
    "file",
    "fsync",
    "HTTP POST",
    "HTTP PATCH",
    "HTTP PUT",
    "HTTP DELETE",
)
"""What changes something outside the process; between two of them, one moment is like another."""
PORTS = ("records", "audit", "routing", "ledger", "registry", "server", "blobs", "journal")


def is_write(label: str) -> bool:
    """Whether a point lies at something that changes the world."""
    return label.partition(" ")[2].startswith(WRITES)


class Killed(BaseException):
    """The process ends here: no ``except Exception`` may survive it."""


class Tripwire:
    """Counts the points of a step and acts at one of them."""

    def __init__(self, at: int | None = None, act: Callable[[str], None] | None = None) -> None:
        self.at = at
        self.act = act
        self.labels: list[str] = []

    def reach(self, label: str) -> None:
        self.labels.append(label)
        if self.act is not None and len(self.labels) - 1 == self.at:
            self.act(label)


def kill(label: str) -> None:
    """The process is gone, as far as Python code can tell."""
    raise Killed(label)


def fail(label: str) -> None:
    """The service does not answer; after a call: it did its work, and the answer was lost."""
    raise InfrastructureError(f"injected: {label}")


class Wired:
    """A port with a point before and after each call."""

    def __init__(self, port: Any, name: str, tripwire: Tripwire) -> None:
        self._port, self._name, self._tripwire = port, name, tripwire

    def __getattr__(self, method: str) -> Any:
        attribute = getattr(self._port, method)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **named: Any) -> Any:
            label = f"{self._name}.{method}"
            self._tripwire.reach(f"before {label}")
            result = attribute(*arguments, **named)
            self._tripwire.reach(f"after {label}")
            return result

        return call


def wired(services: Services, tripwire: Tripwire) -> Services:
    """The same services with a point around every call of every port."""
    assert is_dataclass(services)
    known = {field.name for field in fields(services)}
    return replace(
        services, **{name: Wired(getattr(services, name), name, tripwire) for name in PORTS if name in known}
    )


def wire_statements(engine: Engine | type[Engine], tripwire: Tripwire) -> None:
    """A point before and after every SQL statement, and before every commit of something written.

    ``Engine``, the class: those of every engine in the process, MLflow's too.
    """

    def words(statement: str) -> str:
        return " ".join(statement.split()[:3]).split("(")[0]

    @event.listens_for(engine, "before_cursor_execute")
    def before(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            connection.info["wrote"] = True
        tripwire.reach(f"before {words(statement)}")

    @event.listens_for(engine, "after_cursor_execute")
    def after(_: Any, __: Any, statement: str, *___: Any) -> None:
        tripwire.reach(f"after {words(statement)}")

    @event.listens_for(engine, "commit")
    def committing(connection: Any) -> None:
        tripwire.reach("before COMMIT" if connection.info.pop("wrote", False) else "before END of a read")


def sigkill(_: str) -> None:
    """The end no code can catch."""
    os.kill(os.getpid(), signal.SIGKILL)


def wire_files(tripwire: Tripwire, folder: str) -> None:
    """A point before every rename, truncation, and opening for writing of a file below ``folder``; never undone."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name in FILE_EVENTS and str(arguments[0]).startswith(folder) and _writes(name, arguments):
            tripwire.reach(f"before file {name} {PurePath(str(arguments[0])).name}")

    sys.addaudithook(hook)


FILE_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate")


def wire_fsync(tripwire: Tripwire) -> None:
    """A point before and after every fsync of Python code; SQLite's own lie within its COMMIT."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        tripwire.reach("before fsync")
        real(descriptor)
        tripwire.reach("after fsync")

    os.fsync = fsync


def wire_http(tripwire: Tripwire) -> None:
    """A point before and after every HTTP call, MLflow's and those to the model server."""
    import httpx
    import requests

    def around(owner: Any, described: Callable[[Any], tuple[str, str]]) -> None:
        send = owner.send

        def wired_send(self: Any, request: Any, **more: Any) -> Any:
            method, url = described(request)
            label = f"HTTP {method} {NUMBERS.sub('*', url.partition('?')[0])}"
            tripwire.reach(f"before {label}")
            answer = send(self, request, **more)
            tripwire.reach(f"after {label}")
            return answer

        owner.send = wired_send

    around(requests.Session, lambda request: (str(request.method), urlsplit(str(request.url)).path))
    around(httpx.Client, lambda request: (request.method, request.url.path))


NUMBERS = re.compile(r"\b(m-)?[0-9a-f]{32}\b|(?<=/)[^/]*\.(txt|json)$|(?<=/)MLmodel$")
"""Ids and file names in paths: without them labels are the same at every run."""


def _writes(name: str, arguments: tuple[Any, ...]) -> bool:
    if name != "open":
        return True
    mode, flags = arguments[1], arguments[2]
    return any(letter in (mode or "") for letter in "wax+") or bool(flags & (os.O_WRONLY | os.O_RDWR))
