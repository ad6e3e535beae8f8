"""A release on its way into the server: copied whole, then loaded by a process that may die of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess  # noqa: S404  the probe is our own module
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gauntlet.core.errors import GauntletError, InfrastructureError, IntegrityError
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.serving.config import ServerConfig

Fetch = Callable[[str, str], Path]
"""(release URI, digest) to a verified local folder."""


def copy_release(fetch: Fetch, served: ServedVersion, folder: Path) -> None:
    """Fetch a release into this server's own folder, whole or not at all."""
    try:
        _copy_durably(fetch(served.release_uri, served.release_digest), folder)
    except GauntletError:
        raise
    except OSError as error:
        raise InfrastructureError(f"release {served.release_uri} could not be fetched: {error}") from error


def _copy_durably(source: Path, folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, temporary)
    for path in temporary.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    temporary.replace(folder)


def probe_release(folder: Path, served: ServedVersion, config: ServerConfig) -> dict[str, Any]:
    """Load and measure a release in a process that may die of it; :class:`IntegrityError` when it is refused."""
    command = [sys.executable, "-m", "gauntlet.serving.probe", str(folder), served.model_dump_json()]
    try:
        done = subprocess.run(
            command, env=child_environment(), capture_output=True, timeout=config.probe_timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise IntegrityError(
            f"version {served.version_id}: the probe did not end within {config.probe_timeout_s:g} s"
        ) from None
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise IntegrityError(
            f"version {served.version_id} ended the probe with {how_it_ended(done.returncode)} {' '.join(tail)}"
        )
    measured: dict[str, Any] = json.loads(done.stdout)
    if "refused" in measured:
        raise IntegrityError(f"version {served.version_id}: {measured['refused']}")
    limit = config.probe_latency_ms
    # The median: the tail on a busy machine says more about the machine than about the model.
    if measured["p50_ms"] > limit:
        raise IntegrityError(f"version {served.version_id}: median row {measured['p50_ms']} ms > {limit:g} ms")
    return measured


def child_environment() -> dict[str, str]:
    """The environment of workers and probes: our package on the path, one OpenMP thread each."""
    package_root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (package_root, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def how_it_ended(code: int) -> str:
    """An exit code or a signal, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
