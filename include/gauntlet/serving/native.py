"""The native protocol: one row or several, by name, with everything there is to know about the answer.

One row in one piece is the path that the server is measured by: :meth:`Predict.whole` takes its body to the bytes of
the response without a task, a queue or a coroutine in between. Whatever is not that simple goes through ASGI.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import msgspec

from gauntlet.serving.answered import CERTAIN, Answered, decision_of
from gauntlet.serving.http import JSON, Handler, Receive, Refused, Scope, Send, answer, answer_json, encode, response
from gauntlet.serving.inputs import MalformedBody, entity_of, entity_text, parse_lenient
from gauntlet.serving.journal import now_us
from gauntlet.serving.model import ServedModel

if TYPE_CHECKING:
    from gauntlet.serving.app import App


def native_routes(app: App) -> dict[str, Handler]:
    """Paths of the native protocol, for each model and for the default one."""
    by_model = {name: Predict(app, model) for name, model in app.models.items()}
    routes: dict[str, Handler] = {f"/v1/models/{name}/predict": predict for name, predict in by_model.items()}
    default = app.config.default
    return {**routes, "/predict": PredictNamed(app, by_model) if default is None else by_model[default]}


class RowAnswer(msgspec.Struct, omit_defaults=True, gc=False):
    """One row's answer."""

    score: float
    decision: int | str | None
    version: int
    version_id: str
    arm: str
    sticky: bool
    scores: tuple[float, ...] | None = None
    explored: bool = False
    """Whether the decision was drawn by the exploration reserve, and is not the version's own."""
    propensity: float = CERTAIN
    """The probability with which the decision is given to such a row."""


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
    explored: bool = False
    """Whether the decision was drawn by the exploration reserve, and is not the version's own."""
    propensity: float = CERTAIN
    """The probability with which the decision is given to such a row."""


class Predict:
    """The native protocol for one model."""

    def __init__(self, app: App, model: ServedModel) -> None:
        self._app, self._model = app, model
        policy = model.stream.policy
        self._simple = policy.durability == "interval" and policy.overflow != "block"
        self._most, self._limit = app.config.max_body_bytes, app.config.max_concurrency
        self._values = model.counters.values
        self._place = app.request_place(model, "native", 200)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request through ASGI."""

        async def work(body: bytes, start: int, at: int) -> None:
            await self._answer(body, start, at, send)

        await self._app.guarded(self._model, "native", scope, receive, send, work)

    async def _answer(self, body: bytes, start: int, at: int, send: Send) -> None:
        app, model = self._app, self._model
        answered: list[Answered]
        one, reply = self._strict(body, at)
        if one is None:
            answered, reply = await self._checked(body, start, at)
        else:
            answered = [one]
        waiting = await app.settle(model, answered, start)
        await answer_json(send, reply)
        if waiting:
            app.after(model)

    def whole(self, body: bytes) -> bytes | None:
        """The response to a body that came in one piece; ``None``: nothing has been done, take the way through ASGI."""
        app, model = self._app, self._model
        if not self._simple or app.under_way >= self._limit or len(body) > self._most:
            return None
        start = perf_counter_ns()
        try:
            one, reply = self._strict(body, now_us())
            if one is None:
                return None
            latency = (perf_counter_ns() - start) // 1000
            if model.finish_one(one, latency):
                app.after(model)
            if latency > app.slow_us:
                app.count_slow()
        except Exception as error:  # every failure must reach the client as an answer
            refused = app.refused(model, "native", error)
            return response(refused.status, encode(refused.detail), [JSON, *refused.headers])
        self._values[self._place] += 1
        return response(200, reply)

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

    async def _checked(self, body: bytes, start: int, at: int) -> tuple[list[Answered], bytes]:
        app, model = self._app, self._model
        plain = native_request(body, model)
        request_id = plain["request_id"] or app.next_id()
        answered, epoch = await app.answer_rows(model, plain["rows"], plain["entities"], request_id, start, at)
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
            one.explored,
            one.propensity,
        )
    )


def _single_with_own_id(model: str, request_id: str, one: Answered) -> bytes:
    """As :func:`_single`, for ids that need no escaping: all but id and score is the same from row to row."""
    prediction = one.prediction
    if prediction.scores is not None:
        return _single(model, request_id, one)
    known = one.route.replies
    case = (one.side.version_id, one.arm, one.assignment.sticky, prediction.decision, one.explored, one.propensity)
    head = known.get(case)
    if head is None:
        plain = msgspec.json.decode(_single(model, "", one), type=dict[str, Any])
        rest = {name: value for name, value in plain.items() if name not in {"request_id", "score"}}
        head = known[case] = encode(rest)[:-1] + b',"request_id":"'
    return b'%b%b","score":%b}' % (head, request_id.encode(), encode(prediction.score))


class PredictNamed:
    """``/predict`` where several models are served: the body names one."""

    def __init__(self, app: App, models: Mapping[str, Predict]) -> None:
        self._app, self._models = app, models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            if not self._app.door.may(scope["headers"]):
                self._app.door.admit(scope["headers"])
            self._app.admit(scope)
            body = await self._app.bodies.read(receive)
            chosen = self._chosen(body)
        except ConnectionError:
            return
        except Refused as refused:
            await answer(send, refused.status, encode(refused.detail), [JSON, *refused.headers])
            return

        async def again() -> dict[str, Any]:  # noqa: RUF029  ASGI's receive is a coroutine function
            return {"type": "http.request", "body": body, "more_body": False}

        await chosen(scope, again, send)

    def _chosen(self, body: bytes) -> Predict:
        try:
            plain = parse_lenient(body)
        except MalformedBody as error:
            raise Refused(400, str(error)) from error
        name = plain.get("model") if isinstance(plain, dict) else None
        if not isinstance(name, str) or name not in self._models:
            names = sorted(self._models)
            raise Refused(422, f'name one of the models in "model": {", ".join(names)}', models=names)
        return self._models[name]


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
        one.explored,
        one.propensity,
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
        own = entity_of(named, "entity", index)
        entities.append(entity_of(row, column, index) if own is None else own)
    return entities
