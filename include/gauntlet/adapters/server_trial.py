"""A model server of its own for one release: the real program, started for a trial, asked over HTTP, stopped.

It runs with everything of its own: folder, database, blobs, socket and port. Nothing of the installation is touched,
and no traffic reaches it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess  # noqa: S404  the model server is our own program
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.child import LOG_TAIL
from gauntlet.adapters.child import environment as package_environment
from gauntlet.adapters.server_http import HttpServer
from gauntlet.core.errors import InfrastructureError, Rejection
from gauntlet.core.ports import Trial
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.core.specs.serving import InputPolicy

if TYPE_CHECKING:
    import httpx

    from gauntlet.core.ports import Row
    from gauntlet.core.records.model import ReleaseRef
    from gauntlet.core.spec import ModelSpec

LOOK_S, STOP_S, REQUEST_S = 0.05, 15.0, 30.0
TOKEN = "trial"  # noqa: S105  of a socket in a folder that only this process's user can enter
EVERYTHING_GOES = InputPolicy(extra="count", null="count", unseen_category="count", nan="count")
"""The trial is of the server and the release. Golden rows hold what training saw, whatever requests may hold."""


@dataclass(frozen=True)
class ServerTrials:
    """Implements :class:`~gauntlet.core.ports.Trials`."""

    start_s: float = 120.0
    """How long the program may take to start before the release is even mentioned."""

    def run(self, spec: ModelSpec, release: ReleaseRef, folder: Path, rows: Sequence[Row], requests: int) -> Trial:
        """Start, load, ask, measure, stop."""
        with TemporaryDirectory(prefix="gauntlet-trial-") as name, self._server(spec, Path(name)) as server:
            uri = LocalBlobs(server.home / "blobs").put_folder(folder, "release")
            copy = release.model_copy(update={"uri": uri})
            began = time.perf_counter()
            try:
                _route(server, spec.model, copy)
            except Rejection as refusal:
                return Trial(problem=f"the server refuses it: {refusal}")
            except InfrastructureError as error:
                if server.lives:
                    raise
                return Trial(problem=f"the server died of loading it: {error}; {server.log_tail}")
            loaded = time.perf_counter() - began
            return _ask(server, spec.model, rows, requests, loaded)

    @contextmanager
    def _server(self, spec: ModelSpec, folder: Path) -> Generator[_Server]:
        home, models = folder / "home", folder / "models"
        models.mkdir()
        document = spec.model_copy(
            update={"serving": spec.serving.model_copy(update={"inputs": EVERYTHING_GOES})}
        ).model_dump(mode="json")
        # JSON is YAML, and keeps every value as it is.
        (models / f"{spec.model}.yaml").write_text(json.dumps(document), encoding="utf-8")
        command = [sys.executable, "-m", "gauntlet.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=_environment(home, models, folder / "admin.sock"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = _Server(process, home, folder / "admin.sock", folder / "log")
        try:
            server.wait(self.start_s)
            yield server
        finally:
            server.stop()


@dataclass(frozen=True)
class _Server:
    """The running program."""

    process: subprocess.Popen[bytes]
    home: Path
    socket: Path
    log: Path

    @property
    def control(self) -> HttpServer:
        return HttpServer(f"unix:{self.socket}", TOKEN)

    @property
    def address(self) -> str:
        told = json.loads((self.home / "server" / "address.json").read_bytes())
        return f"http://{told['host']}:{told['port']}"

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    @property
    def log_tail(self) -> str:
        return self.log.read_bytes()[-LOG_TAIL:].decode(errors="replace").strip()

    def wait(self, limit_s: float) -> None:
        """Until it listens on both ends. Nothing of the release is known to it yet, so a failure is no verdict."""
        deadline = time.monotonic() + limit_s
        while not ((self.home / "server" / "address.json").exists() and self.socket.exists()):
            if not self.lives or time.monotonic() > deadline:
                raise InfrastructureError(f"the trial's model server did not start: {self.log_tail}")
            time.sleep(LOOK_S)

    def memory_mb(self) -> float | None:
        """Resident memory of the program and its workers; ``None`` when it has gone."""
        import psutil

        try:
            main = psutil.Process(self.process.pid)
            held = sum(int(one.memory_info().rss) for one in (main, *main.children(recursive=True)))
        except psutil.NoSuchProcess:
            return None
        return held / 1e6

    def stop(self) -> None:
        """End it and everything it has started."""
        if self.lives:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        with suppress(ProcessLookupError):
            # Its own session: workers it could not end itself go with it.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _environment(home: Path, models: Path, socket: Path) -> dict[str, str]:
    """Nothing of the installation's settings reaches the trial."""
    inherited = {name: value for name, value in package_environment().items() if not name.startswith("GAUNTLET_")}
    return inherited | {
        "GAUNTLET_HOME": str(home),
        "GAUNTLET_MODELS": str(models),
        "GAUNTLET_SERVER_ADMIN": f"unix:{socket}",
        "GAUNTLET_SERVER_TOKEN": TOKEN,
        "GAUNTLET_SERVER_WORKERS": "1",
    }


def _route(server: _Server, model: str, release: ReleaseRef) -> None:
    """Load the release as a rollout would, and put it into (nobody's) traffic."""
    server.control.prepare(model, release)
    served = ServedVersion(
        version=0, version_id=release.version_id, release_uri=release.uri, release_digest=release.digest
    )
    alone = Routing(
        model=model,
        epoch=1,
        stable=served,
        canary=None,
        previous=None,
        weight_ppm=0,
        salt="trial",
        rollout=None,
        lease_until=None,
    )
    server.control.apply(alone, REQUEST_S)


def _ask(server: _Server, model: str, rows: Sequence[Row], requests: int, loaded: float) -> Trial:
    """Every row alone, again and again until there are enough requests, over one connection as clients keep it."""
    import httpx

    seen: list[set[float]] = [set() for _ in rows]
    times: list[float] = []
    problem: str | None = None
    with httpx.Client(base_url=server.address, timeout=REQUEST_S, trust_env=False) as client:
        for call in range(max(requests, len(rows)) if rows else 0):
            place = call % len(rows)
            try:
                score, spent = _post(client, model, rows[place])
            except (httpx.HTTPError, ValueError, KeyError) as error:
                problem = problem or f"request {call + 1}: {type(error).__name__}: {error}"
                if not server.lives:
                    break
                continue
            times.append(spent)
            seen[place].add(score)
        return Trial(
            problem=problem,
            # One row, one answer: a score that changes between requests is none.
            scores=tuple(answers.copy().pop() if len(answers) == 1 else None for answers in seen),
            load_seconds=loaded,
            latencies_ms=tuple(times),
            requests=max(requests, len(rows)) if rows else 0,
            rss_mb=server.memory_mb(),
        )


def _post(client: httpx.Client, model: str, row: Row) -> tuple[float, float]:
    """The score of one row, and how long the client waited for it, in milliseconds."""
    body = json.dumps({"row": row}).encode()
    began = time.perf_counter()
    answer = client.post(f"/v1/models/{model}/predict", content=body, headers={"content-type": "application/json"})
    spent = (time.perf_counter() - began) * 1000
    if not answer.is_success:
        raise ValueError(f"{answer.status_code}: {answer.text[:200]}")
    told: dict[str, Any] = answer.json()
    return float(told["score"]), spent
