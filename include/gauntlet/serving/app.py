"""The server's ASGI application: one raw callable, a literal table of paths, nothing between it and the socket."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec

from gauntlet.serving.config import ServerConfig
from gauntlet.serving.http import (
    JSON,
    TEXT,
    BodyReader,
    Handler,
    Receive,
    Refused,
    Scope,
    Send,
    answer,
    answer_json,
    encode,
    start_of,
)
from gauntlet.serving.inputs import InputRejected, MalformedBody, parse_lenient
from gauntlet.serving.journal import JournalWriter, now_us
from gauntlet.serving.metrics import key, page
from gauntlet.serving.mlflow_protocol import mlflow_routes
from gauntlet.serving.model import Answered, ModelFailed, NotReady, ServedModel, decision_of, entity_text
from gauntlet.serving.open_inference import open_inference_routes, versioned
from gauntlet.serving.openapi import openapi_routes
from gauntlet.serving.shared import Counters

YIELD_ROWS = 64
"""Rows of a batch scored before other requests get a turn."""
SLOW_US = 100_000
BLOCK_S = 0.001
Work = Callable[[bytes, int, int], Awaitable[None]]
"""(body, start in perf_counter nanoseconds, arrival in microseconds since 1970)."""


class RowAnswer(msgspec.Struct, omit_defaults=True, gc=False):
    """One row's answer."""

    score: float
    decision: int | str | None
    version: int
    version_id: str
    arm: str
    sticky: bool
    scores: tuple[float, ...] | None = None


class BatchAnswer(msgspec.Struct, gc=False):
    """The answer to ``rows``."""

    model: str
    epoch: int
    request_id: str
    predictions: list[RowAnswer]


class SingleAnswer(msgspec.Struct, omit_defaults=True, gc=False):
    """The answer to ``row``."""

    model: str
    epoch: int
    request_id: str
    score: float
    decision: int | str | None
    version: int
    version_id: str
    arm: str
    sticky: bool
    scores: tuple[float, ...] | None = None


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
        self._journal, self._counters, self._worker = journal, counters, worker
        self._folder = counters_folder
        self._number = 0
        self.under_way = 0
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
            table[f"/v1/models/{name}/predict"] = _Predict(self, model)
            table[f"/v1/models/{name}/ready"] = _Ready(model)
        if self.config.default is not None:
            table["/predict"] = _Predict(self, self.models[self.config.default])
        else:
            table["/predict"] = _PredictNamed(self)
        return table | mlflow_routes(self) | open_inference_routes(self) | openapi_routes(self)

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
            status = 499
        else:
            refused = self.refusal(model, error)
            status = refused.status
            await refuse(send, refused)
        self._counters.values[self.request_place(model, protocol, status)] += 1

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
                await asyncio.sleep(BLOCK_S)
        latency = (perf_counter_ns() - start) // 1000
        if latency > SLOW_US:
            self._counters.values[self._slow] += 1
        waiting = model.finish(answered, latency)
        if policy.durability == "sync":
            model.score_others(all_of_them=True)
            if not await self._journal.durable(asyncio.get_running_loop()):
                raise self._busy("the journal cannot be written; durability is sync")
            return False
        return waiting

    def after(self, model: ServedModel) -> None:
        """Score with the other version once the answer is on its way."""
        model.score_others_soon(asyncio.get_running_loop())

    async def answer_rows(
        self,
        model: ServedModel,
        rows: list[Any],
        entities: list[str | None],
        request_id: str,
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
                # A version that left meanwhile has been freed.
                route = model.current()
            try:
                answered.append(model.answer(route, None, row, entity, request_id, index, at, pin))
            except InputRejected as error:
                raise InputRejected(error.feature, error.kind, error.detail, index) from None
        return answered, route.epoch

    @staticmethod
    def entity_of(row: Mapping[str, Any], column: str | None, index: int) -> str | None:
        """A row's entity key, from its entity column."""
        entity = None if column is None else row.get(column)
        if isinstance(entity, (dict, list)):
            raise InputRejected(column or "entity", "wrong_type", "is no text or number", index)
        return entity_text(entity)

    def check_rows(self, model: ServedModel, rows: list[Any]) -> None:
        """Refuse empty and oversized batches."""
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


class _Predict:
    """The native protocol for one model."""

    def __init__(self, app: App, model: ServedModel) -> None:
        self._app, self._model = app, model
        policy = model.stream.policy
        self._direct = policy.durability == "interval" and policy.overflow != "block"
        self._limit, self._most = app.config.max_concurrency, app.config.max_body_bytes
        self._reading = app.bodies.reading
        self._values = model.counters.values
        self._place = app.request_place(model, "native", 200)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: the path that everything else here is kept off."""
        app, model = self._app, self._model
        start = perf_counter_ns()
        try:
            if app.under_way >= self._limit or scope["method"] != "POST":
                app.admit(scope)
            app.under_way += 1
            try:
                # As in BodyReader.first, without its coroutine.
                reading, task = self._reading, current_task()
                reading[task] = start
                try:
                    message = await receive()
                except asyncio.CancelledError:
                    raise app.bodies.cancelled(task) from None
                finally:
                    del reading[task]
                body: bytes = message.get("body", b"")
                if message.get("more_body", True) or len(body) > self._most:
                    body = await app.bodies.complete(receive, message)
                one, reply = self._strict(body, now_us())
                if one is None:
                    answered, reply = await self._checked(body, now_us())
                    waiting = await app.settle(model, answered, start)
                elif self._direct:
                    waiting = model.finish_one(one, (perf_counter_ns() - start) // 1000)
                else:
                    waiting = await app.settle(model, (one,), start)
                await send(start_of(reply))
                await send({"type": "http.response.body", "body": reply})
            finally:
                app.under_way -= 1
            if waiting:
                app.after(model)
            self._values[self._place] += 1
        except Exception as error:  # every failure must reach the client as an answer
            await app.failed(model, "native", error, send)

    def _strict(self, body: bytes, at: int) -> tuple[Answered | None, bytes]:
        """Answer one row that is exactly as training saw it; ``None``: look closer."""
        app, model = self._app, self._model
        route = model.current()
        try:
            request: Any = route.decoder.decode(body)
        except (msgspec.ValidationError, msgspec.DecodeError):
            return None, b""
        row = request.row
        if row is msgspec.UNSET or request.rows is not msgspec.UNSET or request.model not in {None, model.name}:
            return None, b""
        entity = request.entity if request.entity is not None else route.decoder.entity(row)
        if entity.__class__ is not str:
            entity = entity_text(entity)
        if request.request_id:
            one = model.answer(route, row, None, entity, request.request_id, 0, at)
            return one, _single(model.name, request.request_id, one)
        request_id = app.next_id()
        one = model.answer(route, row, None, entity, request_id, 0, at)
        return one, _single_with_own_id(model.name, request_id, one)

    async def _checked(self, body: bytes, at: int) -> tuple[list[Answered], bytes]:
        app, model = self._app, self._model
        plain = native_request(body, model)
        request_id = plain["request_id"] or app.next_id()
        answered, epoch = await app.answer_rows(model, plain["rows"], plain["entities"], request_id, at)
        if plain["single"]:
            return answered, _single(model.name, request_id, answered[0])
        return answered, encode(BatchAnswer(model.name, epoch, request_id, [row_answer(one) for one in answered]))


def _single(model: str, request_id: str, one: Answered) -> bytes:
    side, prediction = one.side, one.prediction
    return encode(
        SingleAnswer(
            model,
            one.route.epoch,
            request_id,
            prediction.score,
            decision_of(one),
            side.version,
            side.version_id,
            one.arm,
            one.assignment.sticky,
            prediction.scores,
        )
    )


def _single_with_own_id(model: str, request_id: str, one: Answered) -> bytes:
    """As :func:`_single`, for ids that need no escaping: all but id and score is the same from row to row."""
    prediction = one.prediction
    if prediction.scores is not None:
        return _single(model, request_id, one)
    known = one.route.replies
    case = (one.side.version_id, one.arm, one.assignment.sticky, prediction.decision)
    head = known.get(case)
    if head is None:
        plain = msgspec.json.decode(_single(model, "", one), type=dict[str, Any])
        rest = {name: value for name, value in plain.items() if name not in {"request_id", "score"}}
        head = known[case] = encode(rest)[:-1] + b',"request_id":"'
    return b'%b%b","score":%b}' % (head, request_id.encode(), encode(prediction.score))


async def refuse(send: Send, refused: Refused) -> None:
    """Answer a refusal."""
    await answer(send, refused.status, encode(refused.detail), [JSON, *refused.headers])


class _PredictNamed:
    """``/predict`` where several models are served: the body names one."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._app.bodies.read(receive)
        names = sorted(self._app.models)
        try:
            plain = parse_lenient(body)
        except MalformedBody:
            plain = None
        name = plain.get("model") if isinstance(plain, dict) else None
        if not isinstance(name, str) or name not in self._app.models:
            detail = {"error": f'name one of the models in "model": {", ".join(names)}', "models": names}
            await answer(send, 422, encode(detail), [JSON])
            return

        async def again() -> dict[str, Any]:  # noqa: RUF029  ASGI's receive is a coroutine function
            return {"type": "http.request", "body": body, "more_body": False}

        await _Predict(self._app, self._app.models[name])(scope, again, send)


def row_answer(one: Answered) -> RowAnswer:
    """One row of a batch's answer."""
    side, prediction = one.side, one.prediction
    return RowAnswer(
        prediction.score,
        decision_of(one),
        side.version,
        side.version_id,
        one.arm,
        one.assignment.sticky,
        prediction.scores,
    )


def native_request(body: bytes, model: ServedModel) -> dict[str, Any]:
    """The native body, checked by hand: its errors name what is wrong."""
    plain = parse_lenient(body)
    if not isinstance(plain, dict):
        raise MalformedBody('the body must be an object with "row" or "rows"')
    if unknown := plain.keys() - {"row", "rows", "entity", "entities", "request_id", "model"}:
        raise MalformedBody(f'unknown key in the body: {", ".join(sorted(unknown))}; rows go under "row" or "rows"')
    if ("row" in plain) == ("rows" in plain):
        raise MalformedBody('the body must have either "row" or "rows"')
    if plain.get("model") not in (None, model.name):
        raise Refused(404, f"this path serves model {model.name}, the body asks for {plain['model']}")
    single = "row" in plain
    rows = [plain["row"]] if single else plain["rows"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise MalformedBody('"row" must be an object, "rows" a list of objects')
    request_id = plain.get("request_id")
    if request_id is not None and not isinstance(request_id, str):
        raise MalformedBody('"request_id" must be text')
    return {"single": single, "rows": rows, "entities": entities_of(plain, rows, model), "request_id": request_id}


def entities_of(plain: Mapping[str, Any], rows: list[dict[str, Any]], model: ServedModel) -> list[str | None]:
    """Each row's entity: from the body, else from the row's entity column."""
    given = plain.get("entities")
    if given is not None and (not isinstance(given, list) or len(given) != len(rows)):
        raise MalformedBody('"entities" must be a list as long as "rows"')
    column = model.settings.entity
    entities = []
    for index, row in enumerate(rows):
        named = {"entity": given[index] if given is not None else plain.get("entity")}
        own = App.entity_of(named, "entity", index)
        entities.append(App.entity_of(row, column, index) if own is None else own)
    return entities


__all__ = ["TEXT", "App", "BatchAnswer", "RowAnswer", "SingleAnswer"]
