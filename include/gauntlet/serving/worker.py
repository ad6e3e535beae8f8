"""A worker process: one event loop, its own copy of every version, its own journal.

Started by the supervisor with the listening socket and one end of a control channel. It starts from
local disk alone (routing snapshot and releases) and ends when the supervisor does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gauntlet.core.errors import GauntletError
from gauntlet.core.journal import COLUMNS
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.serving.app import App
from gauntlet.serving.channel import Channel
from gauntlet.serving.config import ServerConfig
from gauntlet.serving.direct import direct_protocol
from gauntlet.serving.journal import JournalWriter, Stream
from gauntlet.serving.labels import key
from gauntlet.serving.layout import Layout
from gauntlet.serving.loader import ACCEPT_ALL, LoadedVersion, load, read_release
from gauntlet.serving.model import ServedModel
from gauntlet.serving.observed import Observed
from gauntlet.serving.shared import ControlWords, Counters, forget_versions
from gauntlet.serving.snapshot import Snapshot

HOUSEKEEPING_S = 0.5
GC_THRESHOLDS = (50_000, 20, 20)
"""The request path makes no cycles; the collector's default would walk the journal's queue many times a second."""
SWITCH_S = 0.001
"""The journal's thread must not keep the request path waiting for the interpreter lock."""


class Worker:
    """One worker's parts, put together."""

    def __init__(self, config: ServerConfig, slot: int, name: str) -> None:
        self.config, self.name = config, name
        layout = Layout(config.state)
        known = {one["version_id"] for served in layout.read_releases().values() for one in served}
        if known:
            forget_versions(layout.counters(slot), known)
        self.counters = Counters(layout.counters(slot))
        self.words = ControlWords(layout.words, config.models)
        self.layout = layout
        self.channel: Channel | None = None
        snapshot = Snapshot(layout.routing)
        streams = {
            model: Stream(config.journal / model, name, settings.serving.journal, config.journal_queue)
            for model, settings in config.models.items()
        }
        self.models = {
            model: ServedModel(model, config, snapshot, self.words, self.counters, streams[model], self.report)
            for model in config.models
        }
        for model, stream in streams.items():
            observed = Observed(self.counters, model, [name for name, _ in COLUMNS], self.models[model].sidecar_of)
            stream.observe = observed.take
        self.journal = JournalWriter(
            streams.values(),
            interval_s=config.journal_interval_s,
            segment_bytes=config.segment_bytes,
            segment_s=config.segment_s,
            on_error=self._journal_error,
        )
        self.app = App(config, self.models, self.journal, self.counters, name, layout.folder)
        self._memory = self.counters.place("gauntlet_worker_memory_bytes")
        self._journal_errors = self.counters.place("gauntlet_journal_errors_total")
        self._told_journal_error = 0.0

    def report(self, kind: str, model: str, detail: dict[str, Any]) -> None:
        """Tell the supervisor; never waits."""
        if self.channel is not None:
            self.channel.tell(kind=kind, model=model, detail={**detail, "worker": self.name})

    def _journal_error(self, error: OSError) -> None:
        self.counters.values[self._journal_errors] += 1
        now = time.monotonic()
        if now - self._told_journal_error > 1.0:
            self._told_journal_error = now
            self._loop.call_soon_threadsafe(self.report, "journal_error", "", {"reason": str(error)})

    async def run(self, listening: socket.socket, control: socket.socket) -> None:
        """Serve until told to stop."""
        import uvicorn

        self._loop = asyncio.get_running_loop()
        self.channel = await Channel.open(control, self.command, lambda _: None)
        self._load_known()
        self.journal.start()
        server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                interface="asgi3",
                http=direct_protocol(self.app.direct_routes(), self.app.door),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
            )
        )
        gc.collect()
        gc.freeze()
        tasks = [
            asyncio.create_task(self._follow(server)),
            asyncio.create_task(self._housekeeping()),
            asyncio.create_task(self._check_golden()),
        ]
        self.channel.tell(kind="started", model="", detail={"worker": self.name, "pid": os.getpid()})
        try:
            await server.serve(sockets=[listening])
        finally:
            for task in tasks:
                task.cancel()
            for model in self.models.values():
                model.close()
            self.journal.stop()

    async def _follow(self, server: Any) -> None:
        assert self.channel is not None
        await self.channel.run()
        server.should_exit = True

    def _load_known(self) -> None:
        for model, entries in self.layout.read_releases().items():
            if model not in self.models:
                continue
            for entry in entries:
                served = ServedVersion.model_validate(entry)
                try:
                    self._add(model, load(read_release(self.layout.release(served.release_digest), served)))
                except (GauntletError, ValueError) as error:
                    self.report("load_failed", model, {"version_id": served.version_id, "reason": str(error)})
        for served_model in self.models.values():
            served_model.refresh()

    def _add(self, model: str, version: LoadedVersion) -> None:
        self.models[model].add(version)

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self.app.bodies.expire()
            self.app.door.refresh()
            self.counters.values[self._memory] = _resident_bytes()
            for name, model in self.models.items():
                model.state()
                self.counters.values[self.counters.place(key("gauntlet_journal_rows_total", model=name))] = (
                    self._rows_before.get(name, 0) + model.stream.written
                )

    @property
    def _rows_before(self) -> Mapping[str, int]:
        if not hasattr(self, "_rows_at_start"):
            self._rows_at_start = {
                name: int(self.counters.values[self.counters.place(key("gauntlet_journal_rows_total", model=name))])
                for name in self.models
            }
        return self._rows_at_start

    async def _check_golden(self) -> None:
        while True:
            await asyncio.sleep(self.config.golden_s)
            for model in self.models.values():
                model.check_golden()

    # ---- what the supervisor asks ------------------------------------------------------------------

    async def command(self, operation: str, arguments: dict[str, Any]) -> Any:
        """Do one thing for the supervisor."""
        model = self.models[arguments["model"]]
        if operation == "load":
            return await self._load(model, ServedVersion.model_validate(arguments["served"]))
        if operation == "keep":
            model.keep_only(frozenset(arguments["digests"]))
            return None
        if operation == "state":
            return {"worker": self.name, **model.state()}
        if operation == "predict":
            return self._predict(model, arguments["rows"], arguments["version_id"])
        raise ValueError(f"unknown operation {operation}")

    async def _load(self, model: ServedModel, served: ServedVersion) -> None:
        if served.release_digest in model.versions:
            return
        folder = self.layout.release(served.release_digest)
        # In a thread: parsing a large model must not hold up requests.
        version = await asyncio.to_thread(lambda: load(read_release(folder, served)))
        model.add(version)

    def _predict(self, model: ServedModel, rows: list[dict[str, Any]], version_id: str | None) -> list[float]:
        """Scores outside traffic: not split, not counted, not journaled."""
        if version_id is None:
            version_id = model.current().stable.version_id
        found = [version for version in model.versions.values() if version.version_id == version_id]
        if not found:
            loaded = ", ".join(sorted(version.version_id for version in model.versions.values())) or "none"
            raise ValueError(f"version {version_id} is not loaded; loaded: {loaded}")
        encoder, predictor = found[0].encoder(ACCEPT_ALL), model.predictor_of(found[0])
        return [predictor.predict(encoder.checked(row, [])).score for row in rows]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    options = parser.parse_args()
    import uvloop

    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*GC_THRESHOLDS)
    config = ServerConfig.from_json(json.loads(options.config.read_bytes()))
    worker = Worker(config, options.slot, options.name)
    listening = socket.socket(fileno=options.listen)
    control = socket.socket(fileno=options.control)
    uvloop.run(worker.run(listening, control))


if __name__ == "__main__":
    main()
