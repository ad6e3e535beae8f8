"""Child processes in sessions of their own: started with a log, stopped with everything they started.

A session is the unit because Airflow moves its tasks into process groups of their own; they stay in
the session of the component that started them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess  # noqa: S404 - starts the local stack's own commands
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

TERM_SECONDS = 12.0
"""Time to end by themselves after SIGTERM; then SIGKILL."""
URGENT_AFTER = 0.3
"""Part of that time after which everything in a session is told once more."""
POLL_SECONDS = 0.05


class Child(BaseModel):
    """A started process. ``created`` tells it from a later process with the same number."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    created: float
    log: Path


_STARTED: dict[int, subprocess.Popen[bytes]] = {}


def start(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> Child:
    """Start ``command`` as the leader of a new session; all its output goes to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _STARTED[popen.pid] = popen
    return Child(name=name, pid=popen.pid, created=psutil.Process(popen.pid).create_time(), log=log)


def alive(child: Child) -> bool:
    """Whether the very process that was started still runs."""
    if (popen := _STARTED.get(child.pid)) is not None and popen.poll() is not None:
        return False
    return _is(child)


def exit_code(child: Child) -> int | None:
    """The exit code of an ended child of this process; None while it runs or when it is another's child."""
    popen = _STARTED.get(child.pid)
    return popen.poll() if popen else None


def _is(child: Child) -> bool:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(child.pid)
        return bool(process.create_time() == child.created and process.status() != psutil.STATUS_ZOMBIE)
    return False


def members(child: Child) -> list[int]:
    """All living processes of the child's session, itself included, oldest first."""
    with contextlib.suppress(psutil.Error):
        if psutil.Process(child.pid).create_time() != child.created:
            return []
    return sorted(pid for pid in psutil.pids() if _session(pid) == child.pid and not _zombie(pid))


def _session(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return None


def _zombie(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def stop(children: Iterable[Child], patience: float = TERM_SECONDS) -> list[str]:
    """End sessions: SIGTERM to the leaders, last started first, later to all members, then SIGKILL to what is left.

    Returns the names of those that had to be killed.
    """
    given = list(children)
    order = [child for child in reversed(given) if members(child)]
    for child in order:
        _signal([child.pid] if alive(child) else members(child), signal.SIGTERM)
    # Airflow's scheduler waits for running tasks, unless it is told twice.
    for child in _wait(order, patience * URGENT_AFTER):
        _signal(members(child), signal.SIGTERM)
    left = _wait(order, patience * (1.0 - URGENT_AFTER))
    for child in left:
        _signal(members(child), signal.SIGKILL)
    _wait(left, patience)
    for child in given:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if popen := _STARTED.pop(child.pid, None):
                popen.wait(1)
    return [child.name for child in left]


def _wait(children: list[Child], seconds: float) -> list[Child]:
    """Those whose session is not empty in the end. An orphan whose leader has ended is told to end too."""
    until = time.monotonic() + seconds
    left = [child for child in children if members(child)]
    while left and time.monotonic() < until:
        for child in left:
            if popen := _STARTED.get(child.pid):
                popen.poll()
            if not alive(child):
                _signal(members(child), signal.SIGTERM)
        left = [child for child in left if members(child)]
        time.sleep(POLL_SECONDS if left else 0)
    return left


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    if not log.exists():
        return "(empty)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64_000))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"
