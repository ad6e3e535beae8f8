"""The supervisor: has workers, follows the routing row, prepares releases, answers the admin socket.

It never touches a request. Everything it knows that a worker needs is on local disk before a worker is
told, so a worker can be started again, and the whole server can, with every other service down.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gauntlet.core.errors import GauntletError, InfrastructureError, IntegrityError, Rejection
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.serving.config import ServerConfig
from gauntlet.serving.layout import Layout
from gauntlet.serving.releases import Fetch, copy_release, probe_release
from gauntlet.serving.shared import ControlWords
from gauntlet.serving.snapshot import Snapshot, write_durably
from gauntlet.serving.workers import Workers

ReadRouting = Callable[[str], Routing]
"""Model to its routing row; may raise when the control database is down."""
ReportEvent = Callable[[str, str, Mapping[str, Any]], None]
"""(kind, model, detail): kept wherever people look; may raise, which is logged."""

log = logging.getLogger("gauntlet.serving")
COMMAND_S = 10.0
LOAD_S = 60.0
APPLY_STEP_S = 0.02
BACKLOG = 2048


class Supervisor:
    """One server: one port, its workers, its state folder."""

    def __init__(self, config: ServerConfig, fetch: Fetch, read_routing: ReadRouting, report_event: ReportEvent):
        self.config = config
        self._fetch, self._read_routing, self._report_event = fetch, read_routing, report_event
        self.layout = Layout(config.state)
        self.snapshot = Snapshot(self.layout.routing)
        self._known: dict[str, list[ServedVersion]] = {model: [] for model in config.models}
        self._locks = {model: asyncio.Lock() for model in config.models}
        self._current: dict[str, Routing] = {}
        self._told: dict[tuple[str, str], str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # ---- life --------------------------------------------------------------------------------------

    async def run(self, until: asyncio.Event) -> None:
        """Serve until ``until`` is set."""
        self._lock_state()
        self.words = ControlWords(self.layout.words, self.config.models)
        server_id = _server_id(self.config.state)
        self._restore()
        self._listening = _listen(self.config)
        write_durably(self.layout.config, json.dumps(self.config.to_json()).encode())
        self.workers = Workers(self.config, server_id, self._listening.fileno(), self.report)
        await self.workers.start()
        self._write_address()
        self._keep(self._poll())
        try:
            await until.wait()
        finally:
            await self._stop()

    def _lock_state(self) -> None:
        self.config.state.mkdir(parents=True, exist_ok=True)
        self._lock_file = self.layout.lock.open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InfrastructureError(
                f"another model server uses {self.config.state}; stop it or give this one its own folder"
            ) from None

    def _restore(self) -> None:
        for model, entries in self.layout.read_releases().items():
            if model in self._known:
                self._known[model] = [ServedVersion.model_validate(entry) for entry in entries]
        for model in self.config.models:
            if (routing := self.snapshot.read(model)) is not None:
                self._current[model] = routing
            # The clock of generations goes on over restarts: workers start by reading anyway.
            self.words.bump(model)

    def _write_address(self) -> None:
        host, port = self._listening.getsockname()[:2]
        address = {"host": host, "port": port, "pid": os.getpid(), "admin": str(self.config.admin_socket)}
        write_durably(self.layout.address, json.dumps(address).encode())

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self.workers.stop()
        self._listening.close()
        self.layout.address.unlink(missing_ok=True)
        self._lock_file.close()

    # ---- releases ----------------------------------------------------------------------------------

    async def prepare(self, model: str, served: ServedVersion) -> dict[str, Any]:
        """Fetch, probe and load a release in every worker; refuses it without touching what is served."""
        self._check_model(model)
        async with self._locks[model]:
            return await self._prepare(model, served)

    async def _prepare(self, model: str, served: ServedVersion) -> dict[str, Any]:
        if not served.release_uri or not served.release_digest:
            raise IntegrityError(f"version {served.version_id} has no release to fetch")
        folder = self.layout.release(served.release_digest)
        if not folder.exists():
            await asyncio.to_thread(copy_release, self._fetch, served, folder)
        try:
            measured = await asyncio.to_thread(probe_release, folder, served, self.config)
        except IntegrityError as error:
            if served not in self._known[model]:
                shutil.rmtree(folder, ignore_errors=True)
            self.report("release_refused", model, {"version_id": served.version_id, "reason": str(error)})
            raise
        await self.workers.ask_all("load", LOAD_S, model=model, served=served.model_dump())
        self._remember(model, served)
        return measured

    def _remember(self, model: str, served: ServedVersion) -> None:
        known = [one for one in self._known[model] if one.release_digest != served.release_digest]
        self._known[model] = [*known, served]
        self.layout.write_releases(self._known)

    async def _forget_cold(self, model: str) -> None:
        routing = self._current.get(model)
        routed = [side for side in (routing.stable, routing.canary, routing.previous) if side] if routing else []
        keep = {side.release_digest for side in routed}
        for served in reversed(self._known[model]):
            if len(keep) < self.config.warm_versions:
                keep.add(served.release_digest)
        cold = [served for served in self._known[model] if served.release_digest not in keep]
        if cold:
            await self._unload(model, cold)

    async def unload(self, model: str, version_id: str) -> None:
        """Free a version that is not routed to."""
        self._check_model(model)
        async with self._locks[model]:
            routing = self._current.get(model)
            routed = {side.version_id for side in (routing.stable, routing.canary) if side} if routing else set()
            if version_id in routed:
                raise Rejection(f"version {version_id} is in traffic; change the routing first")
            await self._unload(model, [served for served in self._known[model] if served.version_id == version_id])

    async def _unload(self, model: str, cold: Sequence[ServedVersion]) -> None:
        gone = {served.release_digest for served in cold}
        self._known[model] = [served for served in self._known[model] if served.release_digest not in gone]
        self.layout.write_releases(self._known)
        await self.workers.ask_all(
            "keep", COMMAND_S, model=model, digests=[one.release_digest for one in self._known[model]]
        )
        for digest in gone:
            shutil.rmtree(self.layout.release(digest), ignore_errors=True)

    # ---- routing -----------------------------------------------------------------------------------

    async def apply(self, routing: Routing, timeout_s: float) -> list[dict[str, Any]]:
        """Make every worker serve this row, then report; refuses a row whose versions cannot be loaded."""
        self._check_model(routing.model)
        deadline = time.monotonic() + timeout_s
        async with asyncio.timeout(timeout_s):
            await self._adopt(routing)
        while True:
            reports = await self._reports_now(routing.model)
            served = [report for report in reports if report["epoch"] >= routing.epoch]
            # A worker that is just being started again reads the routing from disk, and then reports it.
            if len(served) == self.config.workers or time.monotonic() > deadline:
                return reports
            await asyncio.sleep(APPLY_STEP_S)

    async def _reports_now(self, model: str) -> list[dict[str, Any]]:
        try:
            return await self.reports(model)
        except InfrastructureError:
            return []

    async def _adopt(self, routing: Routing) -> None:
        model = routing.model
        async with self._locks[model]:
            current = self._current.get(model)
            if current is not None and routing.epoch <= current.epoch:
                # A newer row has been served already; whoever asks sees its epoch in the reports.
                return
            failed = await self._ensure_loaded(routing)
            if failed and routing.stable is not None and failed[0] == routing.stable:
                raise failed[1]
            # Disk before memory: a restart must never go back behind what a request has already seen.
            self.snapshot.write(routing)
            self._current[model] = routing
            self.words.bump(model)
        self._keep(self._forget_after(model))
        if failed:
            raise failed[1]

    async def _forget_after(self, model: str) -> None:
        async with self._locks[model]:
            try:
                await self._forget_cold(model)
            except (GauntletError, OSError) as error:
                self.report("unload_failed", model, {"reason": str(error)})

    async def _ensure_loaded(self, routing: Routing) -> tuple[ServedVersion, GauntletError] | None:
        """Load what the row names and is not loaded yet; the first version that cannot be, stable first."""
        failed: tuple[ServedVersion, GauntletError] | None = None
        for side in (routing.stable, routing.canary):
            if side is None or any(one.release_digest == side.release_digest for one in self._known[routing.model]):
                continue
            try:
                await self._prepare(routing.model, side)
            except GauntletError as error:
                failed = failed or (side, error)
        return failed

    async def reports(self, model: str) -> list[dict[str, Any]]:
        """What each worker serves now."""
        self._check_model(model)
        return await self.workers.ask_all("state", COMMAND_S, model=model)

    async def predict(self, model: str, rows: list[dict[str, Any]], version_id: str | None) -> list[float]:
        """Scores from one worker, outside traffic."""
        self._check_model(model)
        scores: list[float] = await self.workers.ask_any(
            "predict", COMMAND_S, model=model, rows=rows, version_id=version_id
        )
        return scores

    def _check_model(self, model: str) -> None:
        if model not in self.config.models:
            raise Rejection(f"model {model!r} is not served here; served: {', '.join(sorted(self.config.models))}")

    async def _poll(self) -> None:
        """Follow the routing rows, for when nobody pushes."""
        while True:
            for model in self.config.models:
                await self._poll_model(model)
            await asyncio.sleep(self.config.poll_s)

    async def _poll_model(self, model: str) -> None:
        try:
            routing = await asyncio.to_thread(self._read_routing, model)
        except Exception as error:  # whatever the control database does, serving goes on
            self._tell_once("routing_unreadable", model, f"{type(error).__name__}: {error}")
            return
        self._told.pop(("routing_unreadable", model), None)
        current = self._current.get(model)
        if routing.epoch == 0 or (current is not None and routing.epoch <= current.epoch):
            return
        try:
            await self._adopt(routing)
            self._told.pop(("routing_refused", model), None)
        except (GauntletError, OSError) as error:
            self._tell_once("routing_refused", model, f"epoch {routing.epoch}: {error}")

    def _tell_once(self, kind: str, model: str, reason: str) -> None:
        if self._told.get((kind, model)) != reason:
            self._told[kind, model] = reason
            self.report(kind, model, {"reason": reason})

    def report(self, kind: str, model: str, detail: Mapping[str, Any]) -> None:
        """Hand an event on without waiting for whoever keeps it."""
        log.warning("%s %s %s", kind, model, dict(detail))

        def hand_on() -> None:
            try:
                self._report_event(kind, model, detail)
            except Exception:
                log.exception("event %s could not be reported", kind)

        asyncio.get_running_loop().run_in_executor(None, hand_on)


def _server_id(state: Path) -> str:
    """A name for this state folder's server, made once."""
    path = state / "server_id"
    try:
        return path.read_text()
    except FileNotFoundError:
        write_durably(path, secrets.token_hex(4).encode())
        return path.read_text()


def _listen(config: ServerConfig) -> socket.socket:
    """The one socket all workers accept from, so that a worker's death costs no waiting connection."""
    sock = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((config.host, config.port))
    except OSError as error:
        sock.close()
        raise InfrastructureError(f"{config.host}:{config.port} cannot be used: {error.strerror or error}") from error
    sock.listen(BACKLOG)
    return sock
