"""Running a process that may die: limits, signals, and nothing left running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gauntlet
from gauntlet.adapters.child import Ending, run_child


def run(code: str, log: Path, *, timeout_s: float = 20.0, memory_mb: int | None = None) -> Ending:
    return run_child([sys.executable, "-c", code], log / "log", timeout_s=timeout_s, memory_mb=memory_mb)


def test_output_is_kept(tmp_path: Path) -> None:
    ending = run("import sys; print('out'); sys.stderr.write('err'); sys.exit(4)", tmp_path)
    assert (ending.code, ending.signal, ending.limit) == (4, None, None)
    assert "out" in ending.log
    assert "err" in ending.log


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGKILL", "SIGTERM"])
def test_a_signal_is_named_with_a_cause(tmp_path: Path, name: str) -> None:
    ending = run(f"import os, signal; os.kill(os.getpid(), signal.{name})", tmp_path)
    assert ending.signal == name
    assert name in ending.sentence


def test_time_is_limited_and_grandchildren_end_too(tmp_path: Path) -> None:
    code = "import subprocess, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    started = time.monotonic()
    ending = run(code, tmp_path, timeout_s=1.5)
    assert time.monotonic() - started < 10
    assert ending.limit is not None
    assert "1.5 s" in ending.sentence
    assert gone(int(ending.log))


def gone(pid: int) -> bool:
    """Whether a process ends within a second."""
    deadline = time.monotonic() + 1
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_memory_is_limited(tmp_path: Path) -> None:
    ending = run("import time; held = bytearray(300_000_000); time.sleep(20)", tmp_path, memory_mb=150)
    assert ending.limit is not None
    assert "150 MB" in ending.sentence


def test_an_interrupted_caller_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupt(child: object, *_: object) -> None:
        started.append(child.pid)  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr("gauntlet.adapters.child._watch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run("import time; time.sleep(60)", tmp_path)
    assert gone(started[0])
    assert started[0] != os.getpid()


def test_a_child_that_asks_for_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    child = (
        "import os, pathlib, sys, time; from gauntlet.adapters.training_child import die_with_parent;"
        f"die_with_parent(); p = pathlib.Path({str(tmp_path / 'pid')!r});"
        "p.with_suffix('.new').write_text(str(os.getpid()));"
        "p.with_suffix('.new').rename(p); time.sleep(60)"
    )
    parent = (
        "import pathlib, sys; from gauntlet.adapters.child import run_child;"
        f"run_child([sys.executable, '-c', {child!r}], pathlib.Path({str(tmp_path / 'log')!r}), timeout_s=60)"
    )
    root = str(Path(gauntlet.__file__).parent.parent)
    with subprocess.Popen([sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": root}) as started:
        deadline = time.monotonic() + 40
        while not (tmp_path / "pid").exists() and started.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        started.kill()
    assert gone(int((tmp_path / "pid").read_text()))
