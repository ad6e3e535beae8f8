"""``/invocations`` as ``mlflow models serve`` answers it, without a data frame.

Formats: ``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs`` as JSON, and CSV with a
heading. Answers ``{"predictions": [...]}``; errors are 400 with ``error_code`` and ``message``. Source: the
scoring server of MLflow 3.17, ``mlflow.pyfunc.scoring_server``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gauntlet import __version__
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.serving.answered import decision_of, with_reserve
from gauntlet.serving.http import (
    JSON,
    TEXT,
    Handler,
    Headers,
    Receive,
    Refused,
    Scope,
    Send,
    answer,
    answer_json,
    encode,
)
from gauntlet.serving.inputs import InputRejected, MalformedBody, entity_of, parse_lenient

if TYPE_CHECKING:
    from gauntlet.serving.answered import Answered
    from gauntlet.serving.app import App
    from gauntlet.serving.model import ServedModel

Rows = list[dict[str, Any]]
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV, JSON_TYPE = "text/csv", "application/json"
TRUE = frozenset({"true", "True", "TRUE", "1", "1.0"})
FALSE = frozenset({"false", "False", "FALSE", "0", "0.0"})


def mlflow_routes(app: App) -> dict[str, Handler]:
    """Paths of MLflow's scoring server, for each model and for the default one."""
    routes: dict[str, Handler] = {
        f"/v1/models/{name}/invocations": Invocations(app, model) for name, model in app.models.items()
    }
    if app.config.default is not None:
        default = app.models[app.config.default]
        routes |= {"/invocations": Invocations(app, default), "/ping": _Ping(default), "/version": _version}
    return routes


class Invocations:
    """MLflow's protocol for one model."""

    def __init__(self, app: App, model: ServedModel) -> None:
        self._app, self._model = app, model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        kind = _content_type(scope)

        async def work(body: bytes, start: int, at: int) -> None:
            await self._answer(kind, body, start, at, send)

        await self._app.guarded(self._model, "mlflow", scope, receive, _in_their_words(send), work)

    async def _answer(self, kind: str, body: bytes, start: int, at: int, send: Send) -> None:
        app, model = self._app, self._model
        features = model.current().stable.sidecar.features
        if kind == CSV:
            rows = csv_rows(body, features)
        elif kind == JSON_TYPE:
            rows = json_rows(parse_lenient(body), features)
        else:
            raise Refused(415, f"this server takes {JSON_TYPE} and {CSV}, not {kind!r}")
        column = model.settings.entity
        entities = [entity_of(row, column, index) for index, row in enumerate(rows)]
        answers, _ = await app.answer_rows(model, rows, entities, app.next_id(), start, at)
        waiting = await app.settle(model, answers, start)
        await answer_json(send, encode({"predictions": [_prediction(one) for one in answers], **_drawn(answers)}))
        if waiting:
            app.after(model)


def _drawn(answers: Sequence[Answered]) -> dict[str, Any]:
    """With an exploration reserve, the decisions too: a client that made its own from the scores would undo it."""
    if not with_reserve(answers):
        return {}
    return {
        "decisions": [decision_of(one) for one in answers],
        "explored": [one.explored for one in answers],
        "propensities": [one.propensity for one in answers],
    }


def _prediction(one: Answered) -> float | tuple[float, ...]:
    return one.prediction.scores if one.prediction.scores is not None else one.prediction.score


def _content_type(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return str(given.decode("latin-1").split(";")[0].strip().lower()) or JSON_TYPE


_CODES = {401: "UNAUTHENTICATED", 429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"}
"""Error codes of MLflow's own protocol."""


def _in_their_words(send: Send) -> Send:
    """Refusals of input as MLflow writes them: 400, with ``error_code`` and ``message``; other headers stay."""
    refused = 0
    others: Headers = []

    async def translate(message: Any) -> None:
        nonlocal refused
        if message["type"] == "http.response.start" and message["status"] != 200:
            refused = message["status"]
            others.extend(header for header in message["headers"] if not header[0].startswith(b"content-"))
            return
        if refused:
            detail = parse_lenient(message["body"])
            code = _CODES.get(refused, "BAD_REQUEST")
            status = 400 if refused == 422 else refused
            await answer(send, status, encode({"error_code": code, "message": detail["error"]}), [JSON, *others])
            return
        await send(message)

    return translate


class _Ping:
    """``/ping``: an empty line while the model can answer."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        ready = self._model.state()["stable"] is not None
        await answer(send, 200 if ready else 404, b"\n", [JSON])


async def _version(_: Scope, __: Receive, send: Send) -> None:
    await answer(send, 200, __version__.encode(), [TEXT])


# ---- bodies to rows --------------------------------------------------------------------------------


def json_rows(plain: Any, features: Sequence[Feature]) -> Rows:
    """Rows by name of any of MLflow's JSON formats."""
    if not isinstance(plain, dict):
        raise MalformedBody(f"the body must be an object with one of {', '.join(FORMATS)}")
    given = [name for name in FORMATS if name in plain]
    if len(given) != 1 or plain.keys() - {*FORMATS, "params"}:
        raise MalformedBody(f"the body must have exactly one of {', '.join(FORMATS)}, got: {', '.join(plain)[:100]}")
    return _READERS[given[0]](plain[given[0]], [feature.name for feature in features])


def _split(data: Any, names: Sequence[str]) -> Rows:
    if not isinstance(data, dict) or "data" not in data or data.keys() - {"columns", "data", "index"}:
        raise MalformedBody("dataframe_split must be an object with columns and data, and index if you like")
    columns = data.get("columns") or names
    if not isinstance(columns, list | tuple) or not all(isinstance(name, str) for name in columns):
        raise MalformedBody("dataframe_split: columns must be a list of names")
    return _named(columns, data["data"], "dataframe_split: data")


def _named(columns: Sequence[str], data: Any, what: str) -> Rows:
    if not isinstance(data, list) or not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        raise MalformedBody(f"{what} must be a list of rows of {len(columns)} values each")
    return [dict(zip(columns, row, strict=True)) for row in data]


def _records(data: Any, _: Sequence[str]) -> Rows:
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise MalformedBody("dataframe_records must be a list of objects")
    return data


def _tensor(data: Any, names: Sequence[str]) -> Rows:
    if isinstance(data, dict):
        return _columns(data)
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return _records(data, names)
    return _named(names, data, "instances or inputs without names")


def _columns(data: Mapping[str, Any]) -> Rows:
    """Values by column; MLflow's clients also send columns as lists of one-element lists."""
    lists = {name: values if isinstance(values, list) else [values] for name, values in data.items()}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) != 1:
        raise MalformedBody("inputs: every column must have as many values as the others")
    flat = {name: [_only(value) for value in values] for name, values in lists.items()}
    return [{name: values[row] for name, values in flat.items()} for row in range(lengths.pop())]


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


_READERS: dict[str, Callable[[Any, Sequence[str]], Rows]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _tensor,
    "inputs": _tensor,
}


def csv_rows(body: bytes, features: Sequence[Feature]) -> Rows:
    """Rows of a CSV with a heading, values read as each feature's kind; an empty field is null."""
    kinds = {feature.name: feature.kind for feature in features}
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8"), newline=""), strict=True)
        table = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBody(f"the body is not CSV with a heading: {error}") from None
    rows = []
    for number, row in enumerate(table):
        if None in row or None in row.values():
            raise MalformedBody(f"row {number}: it has not as many fields as the heading")
        rows.append({name: _read(name, kinds.get(name), text, number) for name, text in row.items()})
    return rows


def _read(name: str, kind: FeatureKind | None, text: str, row: int) -> Any:
    if text == "":
        return None
    if kind is FeatureKind.NUMERIC:
        try:
            return float(text)
        except ValueError:
            raise InputRejected(name, "wrong_type", f"is {text[:40]!r}; expected a number", row) from None
    if kind is FeatureKind.BOOLEAN:
        return True if text in TRUE else False if text in FALSE else text
    return text
