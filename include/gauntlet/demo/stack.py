"""Starting and stopping the local stack: everything in order, or nothing at all.

What runs is written to ``stack.json`` after every start, so that :func:`down` stops exactly that,
also from another process and after a crash of the one that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from gauntlet.core.errors import InfrastructureError
from gauntlet.demo import processes
from gauntlet.demo.components import Component
from gauntlet.demo.processes import Child

STATE = "stack.json"
POLL_SECONDS = 0.1
Say = Callable[[str], None]


@dataclass
class Stack:
    """A running stack, or one that is being started."""

    home: Path
    ports: Mapping[str, int]
    say: Say
    children: dict[str, Child] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each component took to be ready."""

    def start(self, components: Sequence[Component], environment: Mapping[str, str], logs: Path) -> None:
        """Start all, each when what it needs is ready; :class:`InfrastructureError` names the log of one that fails."""
        waiting, ready, begun = list(components), set[str](), dict[str, float]()
        while waiting or set(begun) - ready:
            for component in [one for one in waiting if ready.issuperset(one.after)]:
                waiting.remove(component)
                begun[component.name] = time.monotonic()
                self._start(component, environment, logs)
            for component in components:
                name = component.name
                if name in begun and name not in ready and self._is_ready(component, begun[name]):
                    ready.add(name)
                    self.seconds[name] = time.monotonic() - begun[name]
                    self.say(f"{name} is ready ({self.seconds[name]:.1f} s)")
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raise :class:`InfrastructureError`, with the end of its log, when a process has ended by itself."""
        if not (self.home / STATE).exists():
            raise InfrastructureError(f"{self.home}: the stack was stopped from outside (gauntlet down)")
        for child in self.children.values():
            if not processes.alive(child):
                raise InfrastructureError(_died(child))

    def stop(self) -> list[str]:
        """Stop everything; the names of those that had to be killed. Nothing happens the second time."""
        with uninterrupted():
            killed = processes.stop(self.children.values())
            self.children.clear()
            (self.home / STATE).unlink(missing_ok=True)
        return killed

    def _start(self, component: Component, environment: Mapping[str, str], logs: Path) -> None:
        self.say(f"waiting for {component.waits_for}")
        log = logs / f"{component.name}.log"
        with uninterrupted():
            child = processes.start(component.name, component.command, environment, log, self.home)
            self.children[component.name] = child
            self._save()

    def _is_ready(self, component: Component, begun: float) -> bool:
        child = self.children[component.name]
        if component.once:
            if (code := processes.exit_code(child)) == 0:
                del self.children[component.name]
                return True
            if code is not None:
                raise InfrastructureError(_died(child))
        elif not processes.alive(child):
            raise InfrastructureError(_died(child))
        elif component.ready is None or component.ready():
            return True
        if time.monotonic() - begun > component.patience:
            raise InfrastructureError(
                f"{component.name}: not ready after {component.patience:.0f} s while waiting for "
                f"{component.waits_for}. Read {child.log}; its end:\n{processes.tail(child.log)}"
            )
        return False

    def _save(self) -> None:
        children = [child.model_dump(mode="json") for child in self.children.values()]
        partial = self.home / f"{STATE}.partial"
        partial.write_text(json.dumps({"ports": dict(self.ports), "children": children}, indent=1))
        partial.replace(self.home / STATE)


def _died(child: Child) -> str:
    code = processes.exit_code(child)
    ended = "ended" if code is None else f"ended with exit code {code}"
    return f"{child.name} {ended}. Read {child.log}; its end:\n{processes.tail(child.log)}"


def running(home: Path, say: Say) -> Stack | None:
    """The stack that was started in ``home`` and still has living processes, if any."""
    path = home / STATE
    if not path.exists():
        return None
    state: dict[str, Any] = json.loads(path.read_text())
    children = [Child.model_validate(child) for child in state["children"]]
    living = {child.name: child for child in children if processes.members(child)}
    return Stack(home, state["ports"], say, living) if living else None


@contextlib.contextmanager
def only_one(home: Path) -> Generator[None, None, None]:
    """Hold the home's lock; :class:`InfrastructureError` when another process is at work there."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InfrastructureError(f"{home}: another `gauntlet demo` or `gauntlet up` is at work here") from None
        yield


@contextlib.contextmanager
def interruptible() -> Generator[None, None, None]:
    """Make SIGTERM and SIGHUP end the program as Ctrl-C does, so that ``finally`` stops what was started."""
    with _handling(_interrupt):
        yield


@contextlib.contextmanager
def uninterrupted() -> Generator[None, None, None]:
    """Put off interruptions to the end of the block: a start is recorded, a clean-up is finished.

    The signals are handled, not ignored: a child would inherit that and never be stoppable.
    """
    came: list[int] = []
    with _handling(lambda number, _frame: came.append(number)):
        yield
    if came:
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Generator[None, None, None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
