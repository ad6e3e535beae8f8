"""The worker processes of one server: started, watched, asked, and replaced when they die or hang."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess  # noqa: S404  workers are our own module
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gauntlet.core.errors import InfrastructureError, IntegrityError, Rejection
from gauntlet.serving.channel import Channel, Gone, Refusal
from gauntlet.serving.config import ServerConfig
from gauntlet.serving.journal import now_us, repair
from gauntlet.serving.layout import Layout
from gauntlet.serving.releases import child_environment, how_it_ended

Report = Callable[[str, str, Mapping[str, Any]], None]
"""(kind, model, detail): tells of an event without waiting for whoever keeps it."""

START_S = 30.0
STOP_S = 10.0
LOOK_S, HUNG_S = 2.0, 15.0
"""How often workers are asked whether they live, and how long they have to answer."""
RESTART_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0
"""A worker that lived this long starts again without a pause."""


@dataclass
class WorkerProcess:
    """A running worker as its server sees it."""

    slot: int
    name: str
    process: subprocess.Popen[bytes]
    channel: Channel
    started: asyncio.Event
    since: float


class Workers:
    """All workers of a server, one per slot. Each accepts from the same socket and answers on a channel of its own."""

    def __init__(self, config: ServerConfig, server_id: str, listening: int, report: Report) -> None:
        """``listening``: the descriptor of the socket that all accept from."""
        self.config, self.server_id, self.report = config, server_id, report
        self._listening = listening
        self._layout = Layout(config.state)
        self._slots: dict[int, WorkerProcess] = {}
        self._refusals: dict[str, str] = {}
        self._deaths = 0
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Start all, and wait until each serves or has had its time; from then on they are looked after."""
        self._repair_journal()
        await asyncio.gather(*(self._start(slot) for slot in range(self.config.workers)))
        self._keep(self._look_after())

    async def stop(self) -> None:
        """End all, kindly first."""
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        for worker in self._slots.values():
            worker.process.terminate()
        await asyncio.to_thread(self._reap)

    def _reap(self) -> None:
        deadline = time.monotonic() + STOP_S
        for worker in self._slots.values():
            try:
                worker.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- asking ------------------------------------------------------------------------------------

    async def ask_all(self, operation: str, timeout_s: float, **arguments: Any) -> list[Any]:
        """Ask every worker that lives; one that dies meanwhile starts from disk and needs no telling."""
        workers = self._some()
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

    async def ask_any(self, operation: str, timeout_s: float, **arguments: Any) -> Any:
        """Ask one worker, whichever."""
        try:
            return await secrets.choice(self._some()).channel.ask(operation, timeout_s, **arguments)
        except Refusal as refusal:
            raise Rejection(str(refusal)) from refusal
        except Gone as gone:
            raise InfrastructureError(f"the worker has gone: {gone}") from gone

    def _some(self) -> list[WorkerProcess]:
        alive = self._alive()
        if not alive:
            raise InfrastructureError("no worker is alive; the server's log says why")
        return alive

    def _alive(self) -> list[WorkerProcess]:
        return [one for one in self._slots.values() if one.process.poll() is None and not one.channel.closed]

    # ---- life --------------------------------------------------------------------------------------

    async def _start(self, slot: int) -> WorkerProcess:
        name = f"{self.server_id}-{slot}-{now_us()}"
        ours, theirs = socket.socketpair()
        descriptors = (self._listening, theirs.fileno())
        command = [
            *(sys.executable, "-m", "gauntlet.serving.worker"),
            *("--config", str(self._layout.config), "--slot", str(slot), "--name", name),
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
        self._slots[slot] = worker
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
        self._deaths = 0 if time.monotonic() - worker.since > STEADY_S else self._deaths + 1
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
                    self._tell_once(worker.name, model, str(refusal))

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

    def _tell_once(self, name: str, model: str, reason: str) -> None:
        if self._refusals.get(name) != reason:
            self._refusals[name] = reason
            self.report("worker_refuses", model, {"reason": f"{name}: {reason}"})
