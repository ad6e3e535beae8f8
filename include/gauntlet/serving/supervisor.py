"""The supervisor: keeps workers alive, follows the routing row, prepares releases, answers the admin socket.

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
import subprocess  # noqa: S404  workers and probes are our own modules
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gauntlet.core.errors import GauntletError, InfrastructureError, IntegrityError, Rejection
from gauntlet.core.records.rollout import Routing, ServedVersion
from gauntlet.serving.channel import Channel, Gone, Refusal
from gauntlet.serving.config import ServerConfig
from gauntlet.serving.journal import now_us, repair
from gauntlet.serving.layout import Layout
from gauntlet.serving.releases import Fetch, child_environment, copy_release, how_it_ended, probe_release
from gauntlet.serving.shared import ControlWords
from gauntlet.serving.snapshot import Snapshot, write_durably

ReadRouting = Callable[[str], Routing]
"""Model to its routing row; may raise when the control database is down."""
ReportEvent = Callable[[str, str, Mapping[str, Any]], None]
"""(kind, model, detail): kept wherever people look; may raise, which is logged."""

log = logging.getLogger("gauntlet.serving")
COMMAND_S = 10.0
LOAD_S = 60.0
START_S = 30.0
APPLY_STEP_S = 0.02
LOOK_S, HUNG_S = 2.0, 15.0
"""How often workers are asked whether they live, and how long they have to answer."""
RESTART_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0
"""A worker that lived this long starts again without a pause."""
BACKLOG = 2048


@dataclass
class WorkerProcess:
    """A running worker as the supervisor sees it."""

    slot: int
    name: str
    process: subprocess.Popen[bytes]
    channel: Channel
    started: asyncio.Event
    since: float


class Supervisor:
    """One server: one port, its workers, its state folder."""

    def __init__(self, config: ServerConfig, fetch: Fetch, read_routing: ReadRouting, report_event: ReportEvent):
        self.config = config
        self._fetch, self._read_routing, self._report_event = fetch, read_routing, report_event
        self.layout = Layout(config.state)
        self.snapshot = Snapshot(self.layout.routing)
        self.workers: dict[int, WorkerProcess] = {}
        self._known: dict[str, list[ServedVersion]] = {model: [] for model in config.models}
        self._locks = {model: asyncio.Lock() for model in config.models}
        self._current: dict[str, Routing] = {}
        self._told: dict[tuple[str, str], str] = {}
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()

    # ---- life --------------------------------------------------------------------------------------

    async def run(self, until: asyncio.Event) -> None:
        """Serve until ``until`` is set."""
        self._lock_state()
        self.words = ControlWords(self.layout.words, self.config.models)
        self.server_id = _server_id(self.config.state)
        self._repair_journal()
        self._restore()
        self._listening = _listen(self.config)
        write_durably(self.layout.config, json.dumps(self.config.to_json()).encode())
        await asyncio.gather(*(self._start(slot) for slot in range(self.config.workers)))
        self._write_address()
        self._keep(self._poll())
        self._keep(self._look_after())
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

    def _repair_journal(self) -> None:
        for model in self.config.models:
            for folder in sorted((self.config.journal / model).glob(f"{self.server_id}-*")):
                self._repair_folder(model, folder)

    def _repair_folder(self, model: str, folder: Path) -> None:
        try:
            mended = repair(folder)
        except OSError as error:
            self.report("journal_error", model, {"reason": f"{folder} could not be repaired: {error}"})
            return
        if mended:
            self.report("journal_repaired", model, {"segments": [str(path) for path in mended]})

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
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        for worker in self.workers.values():
            worker.process.terminate()
        await asyncio.to_thread(self._reap)
        self._listening.close()
        self.layout.address.unlink(missing_ok=True)
        self._lock_file.close()

    def _reap(self) -> None:
        deadline = time.monotonic() + 10
        for worker in self.workers.values():
            try:
                worker.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    # ---- workers -----------------------------------------------------------------------------------

    async def _start(self, slot: int) -> WorkerProcess:
        name = f"{self.server_id}-{slot}-{now_us()}"
        ours, theirs = socket.socketpair()
        descriptors = (self._listening.fileno(), theirs.fileno())
        command = [
            *(sys.executable, "-m", "gauntlet.serving.worker"),
            *("--config", str(self.layout.config), "--slot", str(slot), "--name", name),
            *("--listen", str(descriptors[0]), "--control", str(descriptors[1])),
        ]
        process = subprocess.Popen(command, pass_fds=descriptors, env=child_environment(), stdin=subprocess.DEVNULL)
        theirs.close()
        started = asyncio.Event()

        async def refuse(operation: str, _: dict[str, Any]) -> None:  # noqa: RUF029  the channel awaits it
            raise ValueError(f"workers do not ask for {operation}")

        def event(told: dict[str, Any]) -> None:
            if told["kind"] == "started":
                started.set()
            else:
                self.report(told["kind"], told["model"], told["detail"])

        channel = await Channel.open(ours, refuse, event)
        worker = WorkerProcess(slot, name, process, channel, started, time.monotonic())
        self.workers[slot] = worker
        self._keep(self._watch(worker))
        try:
            await asyncio.wait_for(started.wait(), START_S)
        except TimeoutError:
            self.report("worker_slow_start", "", {"worker": name, "seconds": START_S})
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        await worker.channel.run()
        code = await asyncio.to_thread(worker.process.wait)
        worker.started.set()
        if self._stopping:
            return
        self.report("worker_ended", "", {"worker": worker.name, "how": how_it_ended(code)})
        for model in self.config.models:
            for folder in sorted((self.config.journal / model).glob(f"{worker.name}*")):
                self._repair_folder(model, folder)
        self._deaths = 0 if time.monotonic() - worker.since > STEADY_S else getattr(self, "_deaths", 0) + 1
        await asyncio.sleep(RESTART_S[min(self._deaths, len(RESTART_S) - 1)])
        await self._start(worker.slot)

    async def _look_after(self) -> None:
        """End workers that no longer answer: they are started again from disk."""
        model = next(iter(self.config.models))
        while True:
            await asyncio.sleep(LOOK_S)
            for worker in self._alive():
                try:
                    await worker.channel.ask("state", HUNG_S, model=model)
                except Gone:
                    if not worker.channel.closed:
                        self.report("worker_hung", "", {"worker": worker.name, "seconds": HUNG_S})
                        worker.process.kill()
                except Refusal as refusal:
                    self._tell_once("worker_refuses", model, f"{worker.name}: {refusal}")

    def _alive(self) -> list[WorkerProcess]:
        return [one for one in self.workers.values() if one.process.poll() is None and not one.channel.closed]

    async def _ask_all(self, operation: str, timeout_s: float, **arguments: Any) -> list[Any]:
        """Ask every worker that lives; one that dies meanwhile starts from disk and needs no telling."""
        workers = self._alive()
        if not workers:
            raise InfrastructureError("no worker is alive; the server's log says why")
        asked = (worker.channel.ask(operation, timeout_s, **arguments) for worker in workers)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        results = []
        for worker, answer in zip(workers, answers, strict=True):
            if isinstance(answer, Gone):
                if not worker.channel.closed:
                    raise InfrastructureError(f"worker {worker.name}: {answer}") from answer
            elif isinstance(answer, Refusal):
                raise IntegrityError(f"worker {worker.name}: {answer}") from answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                results.append(answer)
        return results

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
        await self._ask_all("load", LOAD_S, model=model, served=served.model_dump())
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
        await self._ask_all("keep", COMMAND_S, model=model, digests=[one.release_digest for one in self._known[model]])
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
        return await self._ask_all("state", COMMAND_S, model=model)

    async def predict(self, model: str, rows: list[dict[str, Any]], version_id: str | None) -> list[float]:
        """Scores from one worker, outside traffic."""
        self._check_model(model)
        alive = self._alive()
        if not alive:
            raise InfrastructureError("no worker is alive; the server's log says why")
        try:
            scores: list[float] = await secrets.choice(alive).channel.ask(
                "predict", COMMAND_S, model=model, rows=rows, version_id=version_id
            )
        except Refusal as refusal:
            raise Rejection(str(refusal)) from refusal
        except Gone as gone:
            raise InfrastructureError(f"the worker has gone: {gone}") from gone
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
