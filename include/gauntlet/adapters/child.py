"""Running work in a process that may die of it: time limit, memory limit, and a word on why it died.

LightGBM aborts the process on some inputs and damaged models, and the kernel ends what eats all memory.
Neither may take an Airflow task, its log and its verdict with it.
"""

from __future__ import annotations

import os
import signal
import subprocess  # noqa: S404
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import gauntlet

POLL_SECONDS = 0.02
LOG_TAIL = 1_500

CAUSES = {
    "SIGABRT": "LightGBM aborts on input or models it does not check itself",
    "SIGSEGV": "LightGBM read outside its memory: a damaged model, or a parameter it does not check",
    "SIGBUS": "a file shrank while it was read, or the disk is full",
    "SIGFPE": "an arithmetic error in LightGBM",
    "SIGILL": "the installed LightGBM was built for another processor",
    "SIGKILL": "most likely the kernel's out-of-memory killer; give it more memory or fewer rows",
}


@dataclass(frozen=True)
class Ending:
    """How a child process ended."""

    code: int
    seconds: float
    limit: str | None
    """The limit it was ended for, in words."""
    log: str
    """The last lines it wrote."""

    @property
    def signal(self) -> str | None:
        """The name of the signal it died of."""
        return signal.Signals(-self.code).name if self.code < 0 else None

    @property
    def sentence(self) -> str:
        """What happened, and the likely cause."""
        if self.limit:
            return f"ended: {self.limit}"
        if self.signal:
            return f"died of {self.signal} after {self.seconds:.1f} s: {CAUSES.get(self.signal, 'ended from outside')}"
        return f"exited with {self.code} after {self.seconds:.1f} s"


def run_child(
    command: Sequence[str], log: Path, *, timeout_s: float, memory_mb: int | None = None, stdin: bytes | None = None
) -> Ending:
    """Run a command to its end, or to that of its limits; its output goes to ``log``. It never outlives this call."""
    started = time.monotonic()
    with log.open("wb") as output:
        child = _start(command, output, stdin)
        try:
            limit = _watch(child, started + timeout_s, timeout_s, memory_mb)
        finally:
            _end(child)
    return Ending(child.returncode, time.monotonic() - started, limit, _tail(log))


def _start(command: Sequence[str], output: IO[bytes], stdin: bytes | None) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment(),
    )
    if child.stdin is not None and stdin is not None:
        with child.stdin:
            child.stdin.write(stdin)
    return child


def environment() -> dict[str, str]:
    """The environment, with this very package importable."""
    root = str(Path(gauntlet.__file__).parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONFAULTHANDLER": "1"}


def _watch(child: subprocess.Popen[bytes], deadline: float, timeout_s: float, memory_mb: int | None) -> str | None:
    while True:
        try:
            child.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                return f"it did not finish within {timeout_s:g} s"
            held = rss_mb(child.pid)
            if memory_mb is not None and held > memory_mb:
                return f"it held {held:.0f} MB, more than the {memory_mb} MB it may"
        else:
            return None


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        # Its own session, so that what it started ends with it.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def rss_mb(pid: int) -> float:
    """Memory a process holds now; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _tail(log: Path) -> str:
    text = log.read_bytes()[-LOG_TAIL:].decode(errors="replace")
    return text.strip()
