"""Other processes of a test: a port for them, waiting until they are there, and an MLflow server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

T = TypeVar("T")
STEP_S = 0.02
START_S = 180


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], T], seconds: float, why: Callable[[], object] = lambda: "in time") -> T:
    """The condition's first true value, or a failed test; one that cannot be asked yet is not true."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except (OSError, httpx.TransportError):
            pass
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s: {why()}"
        time.sleep(STEP_S)


def wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = START_S) -> None:
    """Until a process that is starting answers; its log says why it does not."""

    def answers() -> bool:
        assert process.poll() is None, f"it ended with {process.returncode}:\n{log.read_text()[-3000:]}"
        with urllib.request.urlopen(url, timeout=2):
            return True

    wait_for(answers, seconds, lambda: log.read_text()[-3000:])


@contextmanager
def mlflow_server(folder: Path) -> Generator[str]:
    """A real MLflow server on loopback over ``folder/mlflow.db``, started as the project starts it; its URL."""
    port, log = free_port(), folder / "mlflow.log"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"),
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as file:
        running = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/health", running, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(20)
