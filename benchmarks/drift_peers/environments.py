"""The peers that drift is compared with: each in an environment of its own, because they do not install beside ours.

An environment is made on demand under a cache folder and kept; one that cannot be made is skipped with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("GAUNTLET_BENCH_CACHE", Path.home() / ".cache" / "gauntlet-benchmarks"))
INSTALL_S = 900
RUN_S = 1800


@dataclass(frozen=True)
class Peer:
    """A tool with its pins; ``script`` lies beside this file."""

    name: str
    requirements: tuple[str, ...]
    script: str


PEERS: dict[str, Peer] = {
    "evidently": Peer(
        "evidently", ("evidently==0.7.23", "pandas==2.3.3", "pyarrow", "setuptools<81"), "run_evidently.py"
    ),
    "nannyml": Peer(
        "nannyml", ("nannyml==0.13.1", "statsmodels==0.15.0", "pyarrow", "setuptools<81"), "run_nannyml.py"
    ),
    "alibi-detect": Peer("alibi-detect", ("alibi-detect==0.13.0", "pyarrow==17.0.0", "setuptools<81"), "run_alibi.py"),
}


class Unavailable(Exception):
    """A peer that cannot be measured here, and why."""


def python_of(peer: Peer) -> Path:
    """The interpreter of a peer's environment, which is made when it is not there."""
    home = CACHE / f"{peer.name}-py311"
    ready, python = home / "ready", home / "bin" / "python"
    wanted = "\n".join(peer.requirements)
    if not ready.exists() or ready.read_text() != wanted:
        _run([_interpreter(), "-m", "venv", "--clear", str(home)], INSTALL_S)
        _run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements],
            INSTALL_S,
        )
        ready.write_text(wanted)
    return python


def _interpreter() -> str:
    """Python 3.11, for which the pins were chosen; this one where it is 3.11 itself."""
    found = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if found is None:
        raise Unavailable("the peers' pins need python3.11 on the PATH")
    return found


def measure(peer: Peer, *arguments: str) -> dict[str, Any]:
    """What a peer's script prints, as JSON on its last line."""
    script = Path(__file__).parent / peer.script
    quiet = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"}
    quiet.pop("PYTHONPATH", None)
    printed = _run([str(python_of(peer)), str(script), *arguments], RUN_S, quiet)
    result: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return result


def _run(command: list[str], timeout: float, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise Unavailable(lines[-1][:200])
    return done.stdout
