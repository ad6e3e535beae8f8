"""The server's ASGI application: one raw callable, a literal table of paths, nothing between it and the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from gauntlet.serving.answered import Answered, ModelFailed, NotReady
from gauntlet.serving.config import ServerConfig
from gauntlet.serving.direct import Whole
from gauntlet.serving.door import Door
from gauntlet.serving.http import (
    JSON,
    BodyReader,
    Handler,
    Receive,
    Refused,
    Scope,
    Send,
    answer,
    answer_json,
    encode,
)
from gauntlet.serving.inputs import InputRejected, MalformedBody
from gauntlet.serving.journal import JournalWriter, now_us
from gauntlet.serving.labels import key
from gauntlet.serving.metrics import page
from gauntlet.serving.mlflow_protocol import mlflow_routes
from gauntlet.serving.model import ServedModel
from gauntlet.serving.native import Predict, native_routes
from gauntlet.serving.open_inference import open_inference_routes, versioned
from gauntlet.serving.openapi import openapi_routes
from gauntlet.serving.shared import Counters

YIELD_ROWS = 64
"""Rows of a batch scored before other requests get a turn."""
BLOCK_S = 0.001
Work = Callable[[bytes, int, int], Awaitable[None]]
"""(body, start in perf_counter nanoseconds, arrival in microseconds since 1970)."""


class App:
    """Answers requests of one worker."""

    def __init__(
        self,
        config: ServerConfig,
        models: Mapping[str, ServedModel],
        journal: JournalWriter,
        counters: Counters,
        worker: str,
        counters_folder: Path,
    ) -> None:
        self.config, self.models = config, models
        self.bodies = BodyReader(config.max_body_bytes, config.request_budget_s)
        rate = config.client_rate
        self.door = Door(config.client_tokens, rate / config.workers if rate is not None else None)
        self._journal, self._counters, self._worker = journal, counters, worker
        self._folder = counters_folder
        self._number = 0
        self.under_way = 0
        self.slow_us = config.slow_ms * 1000
        self._slow = counters.place("gauntlet_slow_total")
        self._routes = self._table()

    def _table(self) -> dict[str, Handler]:
        table: dict[str, Handler] = {
            "/livez": self._live,
            "/health": self._live,
            "/readyz": self._ready,
            "/ready": self._ready,
            "/startupz": self._ready,
            "/metrics": self._metrics,
        }
        for name, model in self.models.items():
            table[f"/v1/models/{name}/ready"] = _Ready(model)
        return table | native_routes(self) | mlflow_routes(self) | open_inference_routes(self) | openapi_routes(self)

    def direct_routes(self) -> dict[str, Whole]:
        """What may be answered without ASGI when it comes in one piece; see :mod:`gauntlet.serving.direct`."""
        return {path: handler.whole for path, handler in self._routes.items() if isinstance(handler, Predict)}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One HTTP request."""
        return self._routes.get(scope["path"], self._unknown)(scope, receive, send)

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (handler := versioned(self, scope["path"])) is not None:
            await handler(scope, receive, send)
            return
        await refuse(send, Refused(404, f"no such path: {scope['path']}", paths=sorted(self._routes)))

    # ---- answering rows ----------------------------------------------------------------------------

    async def guarded(
        self, model: ServedModel, protocol: str, scope: Scope, receive: Receive, send: Send, work: Work
    ) -> None:
        """Run ``work(body, start_ns, at)`` under the limits; every refusal becomes its answer and is counted."""
        start = perf_counter_ns()
        try:
            self.door.admit(scope["headers"])
            self.admit(scope)
            self.under_way += 1
            try:
                await work(await self.bodies.read(receive), start, now_us())
            finally:
                self.under_way -= 1
        except Exception as error:  # every failure must reach the client as an answer
            await self.failed(model, protocol, error, send)
        else:
            self._counters.values[self.request_place(model, protocol, 200)] += 1

    def admit(self, scope: Scope) -> None:
        """Refuse what this path does not take, and more than can be under way."""
        if scope["method"] != "POST":
            raise Refused(405, f"{scope['path']} takes POST", headers=[(b"allow", b"POST")])
        if self.under_way >= self.config.max_concurrency:
            raise self._busy("too many requests under way")

    async def failed(self, model: ServedModel, protocol: str, error: Exception, send: Send) -> None:
        """Answer an error and count it."""
        if isinstance(error, ConnectionError):
            self._counters.values[self.request_place(model, protocol, 499)] += 1
        else:
            await refuse(send, self.refused(model, protocol, error))

    def refused(self, model: ServedModel, protocol: str, error: Exception) -> Refused:
        """The answer to an error, counted."""
        refused = self.refusal(model, error)
        self._counters.values[self.request_place(model, protocol, refused.status)] += 1
        return refused

    def request_place(self, model: ServedModel, protocol: str, status: int) -> int:
        """Where requests with this outcome are counted."""
        return self._counters.place(
            key("gauntlet_requests_total", model=model.name, protocol=protocol, status=str(status))
        )

    def refusal(self, model: ServedModel, error: Exception) -> Refused:
        """The answer to an error."""
        if isinstance(error, Refused):
            return error
        if isinstance(error, InputRejected):
            model.count_deviation("gauntlet_input_rejected_total", error.feature, error.kind)
            return Refused(422, f"{error}", feature=error.feature, kind=error.kind, row=error.row or 0)
        if isinstance(error, MalformedBody):
            return Refused(400, str(error))
        if isinstance(error, NotReady):
            return self._busy(str(error))
        if isinstance(error, ModelFailed):
            return Refused(500, str(error))
        import logging

        logging.getLogger("gauntlet.serving").error("request failed", exc_info=error)
        return Refused(500, f"{type(error).__name__}: see the server's log")

    def _busy(self, reason: str) -> Refused:
        wait = b"%d" % self.config.retry_after_s
        return Refused(503, reason, headers=[(b"retry-after", wait)])

    def next_id(self) -> str:
        """A request id, unique over workers and restarts."""
        self._number += 1
        return f"{self._worker}-{self._number:x}"

    async def settle(self, model: ServedModel, answered: Sequence[Answered], start: int) -> bool:
        """Count and journal answered rows as the model's durability asks; whether shadow work is left for later."""
        policy = model.stream.policy
        if policy.overflow == "block":
            while model.stream.full:
                self.check_time(start, "waiting for the journal")
                await asyncio.sleep(BLOCK_S)
        latency = (perf_counter_ns() - start) // 1000
        if latency > self.slow_us:
            self.count_slow()
        waiting = model.finish(answered, latency)
        if policy.durability == "sync":
            model.score_others(all_of_them=True)
            await self._durably(start)
            return False
        return waiting

    async def _durably(self, start: int) -> None:
        """Wait until everything queued so far is on disk."""
        written = self._journal.durable(asyncio.get_running_loop())
        await asyncio.wait([written], timeout=max(self._left(start), 0.0))
        if not written.done():
            self.check_time(start, "waiting for the journal's disk")
        if not await written:
            raise self._busy("the journal cannot be written; durability is sync")

    def count_slow(self) -> None:
        """Count a request that took longer than the slow limit."""
        self._counters.values[self._slow] += 1

    def _left(self, start: int) -> float:
        return self.config.request_budget_s - (perf_counter_ns() - start) / 1e9

    def check_time(self, start: int, doing: str) -> None:
        """Refuse a request that began at ``start`` and has used up its time."""
        if self._left(start) <= 0:
            raise self._busy(f"the request's {self.config.request_budget_s:g} s were over while {doing}")

    def after(self, model: ServedModel) -> None:
        """Score with the other version once the answer is on its way."""
        model.shadow.score_soon(asyncio.get_running_loop())

    async def answer_rows(
        self,
        model: ServedModel,
        rows: list[Any],
        entities: list[str | None],
        request_id: str,
        start: int,
        at: int,
        *,
        pin: bool | None = None,
    ) -> tuple[list[Answered], int]:
        """Answer a batch of rows, giving others a turn every so many; ``pin``: all by the canary, or none."""
        self.check_rows(model, rows)
        route = model.current()
        answered = []
        for index, (row, entity) in enumerate(zip(rows, entities, strict=True)):
            if index and index % YIELD_ROWS == 0:
                await asyncio.sleep(0)
                self.check_time(start, f"scoring row {index} of {len(rows)}")
                # A version that left meanwhile has been freed.
                route = model.current()
            try:
                answered.append(model.answer(route, None, row, entity, request_id, index, at, pin))
            except InputRejected as error:
                raise InputRejected(error.feature, error.kind, error.detail, index) from None
        return answered, route.epoch

    def check_rows(self, model: ServedModel, rows: list[Any]) -> None:
        """Refuse oversized batches."""
        most = model.settings.serving.max_rows
        if len(rows) > most:
            raise Refused(413, f"{len(rows)} rows; at most {most} in one request", rows=len(rows), limit=most)

    # ---- health and metrics ------------------------------------------------------------------------

    async def _live(self, _: Scope, __: Receive, send: Send) -> None:
        await answer_json(send, b'{"status":"alive"}')

    async def _ready(self, _: Scope, __: Receive, send: Send) -> None:
        states = {name: model.state() for name, model in self.models.items()}
        await _answer_ready(send, states)

    async def _metrics(self, _: Scope, __: Receive, send: Send) -> None:
        body = page(self._folder).encode()
        await answer(send, 200, body, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])


async def _answer_ready(send: Send, states: Mapping[str, Mapping[str, Any]]) -> None:
    reasons = {name: state["reason"] for name, state in states.items() if state["stable"] is None}
    shown = {name: {k: v for k, v in state.items() if k != "digests"} for name, state in states.items()}
    body = {"status": "not ready" if reasons else "ready", "reasons": reasons, "models": shown}
    await answer(send, 503 if reasons else 200, encode(body), [JSON])


class _Ready:
    """Readiness of one model."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        await _answer_ready(send, {self._model.name: self._model.state()})


async def refuse(send: Send, refused: Refused) -> None:
    """Answer a refusal."""
    await answer(send, refused.status, encode(refused.detail), [JSON, *refused.headers])
