"""docker-compose.yaml without Docker: the same commands with the same environment, as child processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


def load() -> dict[str, Any]:
    """The compose file, anchors and merges resolved, variables not."""
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


def interpolate(value: Any, variables: dict[str, str]) -> Any:
    """``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}`` as Compose reads them; ``$$`` is a dollar."""
    if isinstance(value, dict):
        return {key: interpolate(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolate(inner, variables) for inner in value]
    if not isinstance(value, str):
        return value

    def read(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if variables.get(name):
            return variables[name]
        if kind == "?":
            raise KeyError(f"{name}: {text}")
        return text or ""

    return _VARIABLE.sub(read, value).replace("$$", "$")


@dataclass
class Native:
    """The services of a compose file as processes of this machine: hosts and paths mapped, nothing else changed."""

    services: dict[str, Any]
    folder: Path
    replace: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def mapped(self, text: str) -> str:
        for old, new in self.replace.items():
            text = text.replace(old, new)
        return text

    def environment(self, name: str) -> dict[str, str]:
        wanted = {key: self.mapped(str(value)) for key, value in self.services[name].get("environment", {}).items()}
        kept = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
        return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **wanted}

    def command(self, name: str) -> list[str]:
        return [self.mapped(part) for part in self.services[name]["command"]]

    def run(self, name: str, timeout_s: float) -> None:
        """Run a service that ends by itself."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            done = subprocess.run(
                self.command(name),
                env=self.environment(name),
                stdout=file,
                stderr=file,
                timeout=timeout_s,
                cwd=ROOT,
                check=False,
            )
        assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{log.read_text()[-3000:]}"

    def start(self, name: str) -> None:
        """Start a service in a session of its own."""
        with (self.folder / f"{name}.log").open("wb") as file:
            self.running[name] = subprocess.Popen(
                self.command(name),
                env=self.environment(name),
                stdout=file,
                stderr=file,
                cwd=ROOT,
                start_new_session=True,
            )

    def wait_healthy(self, name: str, timeout_s: float) -> None:
        """Run the service's own health check until it passes."""
        kind, *rest = self.services[name]["healthcheck"]["test"]
        command = [self.mapped(part) for part in rest] if kind == "CMD" else ["bash", "-c", self.mapped(rest[0])]
        if command[0] == "curl" and shutil.which("curl") is None:
            command = [
                sys.executable,
                "-c",
                "import sys, httpx; httpx.get(sys.argv[1]).raise_for_status()",
                command[-1],
            ]
        deadline = time.monotonic() + timeout_s
        while True:
            process = self.running[name]
            log = self.folder / f"{name}.log"
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{log.read_text()[-3000:]}"
            environment = {**self.environment(name), "HOSTNAME": socket.gethostname()}
            asked = time.monotonic()
            done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, (
                f"{name} is not healthy: {done.stderr.decode()[-500:]}\n{log.read_text()[-3000:]}"
            )
            # Some checks import all of Airflow: the service that is starting gets at least as much of the cores.
            time.sleep(max(0.5, time.monotonic() - asked))

    def stop_one(self, name: str) -> None:
        """Stop one service and forget it."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def stop(self) -> None:
        """Stop what was started, newest first."""
        for process in reversed(self.running.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
