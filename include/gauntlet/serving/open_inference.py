"""The Open Inference Protocol, version 2, over HTTP, for clients of KServe, Triton and MLServer.

Inputs are one tensor per feature, by name, of shape [rows] or [rows, 1]; or one tensor of shape
[rows, features] in the order of the model's metadata. Outputs: ``score`` (FP64; class scores
[rows, classes] for multiclass) and ``decision`` where the model takes one. Tensors may come and go in
binary (Triton's binary tensor data extension), which its Python client does by default. Source:
https://github.com/kserve/open-inference-protocol, ``inference_rest.md``.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gauntlet import __version__
from gauntlet.core.records.model import FeatureKind, Task
from gauntlet.serving.answered import decision_of, with_reserve
from gauntlet.serving.http import JSON, Handler, Headers, Receive, Refused, Scope, Send, answer, answer_json, encode
from gauntlet.serving.inputs import MalformedBody, entity_of, parse_lenient

if TYPE_CHECKING:
    from gauntlet.serving.answered import Answered
    from gauntlet.serving.app import App
    from gauntlet.serving.model import ServedModel

BINARY_HEADER = b"inference-header-content-length"
BINARY = (b"content-type", b"application/octet-stream")
DATATYPES = {FeatureKind.NUMERIC: "FP64", FeatureKind.BOOLEAN: "BOOL", FeatureKind.CATEGORICAL: "BYTES"}
_ARRAYS = {
    "FP64": "d",
    "FP32": "f",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
}
_NAMES = frozenset({*_ARRAYS, "BOOL", "BYTES"})


def open_inference_routes(app: App) -> dict[str, Handler]:
    """Fixed paths of the protocol; those with a version are resolved by :func:`versioned`."""
    routes: dict[str, Handler] = {
        "/v2": _server,
        "/v2/health/live": _live,
        "/v2/health/ready": _Ready(app.models, {}),
    }
    for name, model in app.models.items():
        routes[f"/v2/models/{name}"] = _Metadata(model)
        routes[f"/v2/models/{name}/ready"] = _Ready({name: model}, {"name": name})
        routes[f"/v2/models/{name}/infer"] = Infer(app, model, None)
    return routes


def versioned(app: App, path: str) -> Handler | None:
    """The handler of ``/v2/models/M/versions/V[/infer|/ready]``."""
    parts = path.split("/")
    if len(parts) not in {6, 7} or parts[1:3] != ["v2", "models"] or parts[4] != "versions":
        return None
    model = app.models.get(parts[3])
    if model is None:
        return None
    operation = parts[6] if len(parts) == 7 else ""
    if operation == "infer":
        return Infer(app, model, parts[5])
    if operation in {"", "ready"}:
        return _Version(model, parts[5], ready=operation == "ready")
    return None


async def _server(_: Scope, __: Receive, send: Send) -> None:
    told = {"name": "gauntlet", "version": __version__, "extensions": ["binary_tensor_data"]}
    await answer_json(send, encode(told))


async def _live(_: Scope, __: Receive, send: Send) -> None:
    await answer_json(send, b'{"live":true}')


class _Ready:
    """Readiness of some models; not ready is 400, as the protocol has it."""

    def __init__(self, models: Mapping[str, ServedModel], told: Mapping[str, Any]) -> None:
        self._models, self._told = models, told

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        ready = all(model.state()["stable"] is not None for model in self._models.values())
        await answer(send, 200 if ready else 400, encode({**self._told, "ready": ready}), [JSON])


class _Metadata:
    """What a model takes and gives."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        try:
            told = metadata(self._model)
        except Exception as error:  # not ready: the protocol's own words
            await answer(send, 400, encode({"error": str(error)}), [JSON])
            return
        await answer_json(send, encode(told))


class _Version:
    """Metadata or readiness of one version in traffic."""

    def __init__(self, model: ServedModel, version: str, *, ready: bool) -> None:
        self._model, self._version, self._ready = model, version, ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            pin_of(self._model, self._version)
        except Exception as error:  # not ready or not there: the protocol's own words
            await answer(send, 400, encode({"error": str(error)}), [JSON])
            return
        if self._ready:
            await answer_json(send, encode({"name": self._model.name, "ready": True}))
        else:
            await _Metadata(self._model)(scope, receive, send)


def metadata(model: ServedModel) -> dict[str, Any]:
    """The model's metadata, as of the stable version."""
    route = model.current()
    sidecar = route.stable.sidecar
    classes = len(sidecar.classes or ())
    multiclass = sidecar.task is Task.MULTICLASS
    outputs = [{"name": "score", "datatype": "FP64", "shape": [-1, classes] if multiclass else [-1]}]
    if multiclass or sidecar.threshold is not None:
        outputs.append({"name": "decision", "datatype": "BYTES" if multiclass else "INT64", "shape": [-1]})
    sides = [route.stable, *([route.canary] if route.canary else [])]
    return {
        "name": model.name,
        "versions": [str(side.version) for side in sides],
        "platform": "lightgbm",
        "inputs": [
            {"name": feature.name, "datatype": DATATYPES[feature.kind], "shape": [-1]} for feature in sidecar.features
        ],
        "outputs": outputs,
    }


def pin_of(model: ServedModel, version: str) -> bool:
    """Whether a version, by number or id, is the canary (true) or the stable one (false)."""
    route = model.current()
    for side, canary in ((route.stable, False), (route.canary, True)):
        if side is not None and version in {str(side.version), side.version_id}:
            return canary
    raise Refused(400, f"version {version} of model {model.name} is not in traffic")


class Infer:
    """Inference for one model, of the version the split assigns or of a named one."""

    def __init__(self, app: App, model: ServedModel, version: str | None) -> None:
        self._app, self._model, self._version = app, model, version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        header = next((value for name, value in scope["headers"] if name == BINARY_HEADER), None)

        async def work(body: bytes, start: int, at: int) -> None:
            await self._answer(header, body, start, at, send)

        await self._app.guarded(self._model, "open_inference", scope, receive, send, work)

    async def _answer(self, header: bytes | None, body: bytes, start: int, at: int, send: Send) -> None:
        app, model = self._app, self._model
        request, binary = _request(header, body)
        route = model.current()
        names = [feature.name for feature in route.stable.sidecar.features]
        rows = tensor_rows(request, binary, names)
        pin = None if self._version is None else pin_of(model, self._version)
        parameters = _object(request.get("parameters", {}), "parameters")
        entities = [_entity(parameters, row, model.settings.entity, i) for i, row in enumerate(rows)]
        request_id = request.get("id") or app.next_id()
        if not isinstance(request_id, str):
            raise MalformedBody("id must be text")
        answers, epoch = await app.answer_rows(model, rows, entities, request_id, start, at, pin=pin)
        outputs = _wanted(_outputs(answers), request.get("outputs"))
        told = {
            "model_name": model.name,
            "model_version": str(answers[0].side.version if answers else route.stable.version),
            "id": request_id,
            "parameters": {"epoch": epoch, "arms": [one.arm for one in answers], **_drawn(answers)},
        }
        reply, headers = _reply(told, outputs, parameters.get("binary_data_output") is True, request.get("outputs"))
        waiting = await app.settle(model, answers, start)
        await answer(send, 200, reply, headers)
        if waiting:
            app.after(model)


def _drawn(answers: Sequence[Answered]) -> dict[str, Any]:
    if not with_reserve(answers):
        return {}
    return {"explored": [one.explored for one in answers], "propensities": [one.propensity for one in answers]}


def _entity(parameters: Mapping[str, Any], row: Mapping[str, Any], column: str | None, index: int) -> str | None:
    return entity_of(
        parameters if "entity" in parameters else row, "entity" if "entity" in parameters else column, index
    )


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedBody(f"{what} must be an object")
    return value


def _request(header: bytes | None, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON part and the binary part of a body."""
    length = len(body)
    if header is not None:
        try:
            length = int(header)
        except ValueError:
            raise MalformedBody("Inference-Header-Content-Length must be a number") from None
        if not 0 <= length <= len(body):
            raise MalformedBody(f"Inference-Header-Content-Length is {length} of {len(body)} bytes")
    return _object(parse_lenient(body[:length]), "the body"), body[length:]


# ---- tensors to rows -------------------------------------------------------------------------------


def tensor_rows(request: Mapping[str, Any], binary: bytes, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by name from the request's tensors."""
    tensors = list(_tensors(request.get("inputs"), binary))
    if len(tensors) == 1 and tensors[0][0] not in names and len(tensors[0][1]) == 2:
        _, (rows, width), values = tensors[0]
        if width != len(names):
            raise MalformedBody(f"a tensor of all features has {len(names)} columns, this one {width}")
        return [dict(zip(names, values[row * width : (row + 1) * width], strict=True)) for row in range(rows)]
    lengths = set()
    for name, shape, _ in tensors:
        if len(shape) not in {1, 2} or (len(shape) == 2 and shape[1] != 1):
            raise MalformedBody(f"input {name}: shape must be [rows] or [rows, 1], not {list(shape)}")
        lengths.add(shape[0])
    if len(lengths) != 1:
        raise MalformedBody(f"inputs must all have the same number of rows, not {sorted(lengths)}")
    return [{name: values[row] for name, _, values in tensors} for row in range(lengths.pop())]


def _tensors(inputs: Any, binary: bytes) -> Iterator[tuple[str, tuple[int, ...], list[Any]]]:
    if not isinstance(inputs, list) or not inputs:
        raise MalformedBody('the body must have "inputs": a list of tensors with name, shape, datatype and data')
    place = 0
    for tensor in inputs:
        name, shape, datatype = _described(tensor)
        size = _object(tensor.get("parameters", {}), f"input {name}: parameters").get("binary_data_size")
        if size is None:
            values = _flat(tensor.get("data"), name)
        else:
            if not isinstance(size, int) or not 0 <= size <= len(binary) - place:
                raise MalformedBody(f"input {name}: binary_data_size {size} does not fit the body")
            values = _from_binary(name, datatype, binary[place : place + size])
            place += size
        expected = 1
        for extent in shape:
            expected *= extent
        if len(values) != expected:
            raise MalformedBody(f"input {name}: {len(values)} values do not fill shape {list(shape)}")
        yield name, shape, _as_bool(values) if datatype == "BOOL" else values


def _described(tensor: Any) -> tuple[str, tuple[int, ...], str]:
    plain = _object(tensor, "a tensor")
    name, shape, datatype = plain.get("name"), plain.get("shape"), plain.get("datatype")
    if not isinstance(name, str):
        raise MalformedBody("every input needs a name")
    natural = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    if not natural or not shape:
        raise MalformedBody(f"input {name}: shape must be a list of sizes")
    if datatype not in _NAMES:
        raise MalformedBody(f"input {name}: datatype must be one of {', '.join(sorted(_NAMES))}")
    return name, tuple(shape), datatype


def _flat(data: Any, name: str) -> list[Any]:
    if not isinstance(data, list):
        raise MalformedBody(f"input {name}: data must be a list")
    if data and all(isinstance(one, list) for one in data):
        return [value for one in data for value in one]
    return data


def _as_bool(values: list[Any]) -> list[Any]:
    return [bool(value) if value in {0, 1} else value for value in values if not isinstance(value, list | dict)]


def _from_binary(name: str, datatype: str, content: bytes) -> list[Any]:
    if datatype == "BYTES":
        return _texts(name, content)
    values: array[Any] = array("B" if datatype == "BOOL" else _ARRAYS[datatype])
    if len(content) % values.itemsize:
        raise MalformedBody(f"input {name}: {len(content)} bytes are no whole number of {datatype}")
    values.frombytes(content)
    if sys.byteorder != "little":  # pragma: no cover
        values.byteswap()
    # In binary, NaN is how a missing number is written.
    return [None if value != value else value for value in values]


def _texts(name: str, content: bytes) -> list[str]:
    texts, place = [], 0
    while place < len(content):
        if place + 4 > len(content):
            raise MalformedBody(f"input {name}: the binary data is cut short")
        (length,) = struct.unpack_from("<I", content, place)
        place += 4
        if place + length > len(content):
            raise MalformedBody(f"input {name}: the binary data is cut short")
        texts.append(content[place : place + length].decode(errors="replace"))
        place += length
    return texts


# ---- answers to tensors ----------------------------------------------------------------------------


def _outputs(answers: Sequence[Answered]) -> list[dict[str, Any]]:
    rows = len(answers)
    if answers and answers[0].prediction.scores is not None:
        scores = [score for one in answers for score in one.prediction.scores or ()]
        outputs = [{"name": "score", "datatype": "FP64", "shape": [rows, len(scores) // rows], "data": scores}]
    else:
        scores = [one.prediction.score for one in answers]
        outputs = [{"name": "score", "datatype": "FP64", "shape": [rows], "data": scores}]
    decisions = [decision_of(one) for one in answers]
    if None not in decisions:
        datatype = "BYTES" if any(isinstance(one, str) for one in decisions) else "INT64"
        outputs.append({"name": "decision", "datatype": datatype, "shape": [rows], "data": decisions})
    return outputs


def _wanted(outputs: list[dict[str, Any]], wanted: Any) -> list[dict[str, Any]]:
    if not wanted:
        return outputs
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
        raise MalformedBody("outputs must be a list of objects with a name")
    by_name = {one["name"]: one for one in outputs}
    unknown = [one.get("name") for one in wanted if one.get("name") not in by_name]
    if unknown:
        raise MalformedBody(f"no such output: {unknown[0]!r}; there are {', '.join(by_name)}")
    return [by_name[one["name"]] for one in wanted]


def _reply(told: dict[str, Any], outputs: list[dict[str, Any]], every: bool, wanted: Any) -> tuple[bytes, Headers]:
    binary_names = {one["name"] for one in outputs} if every else set()
    for one in wanted or ():
        choice = _object(one.get("parameters", {}), "outputs: parameters").get("binary_data")
        if choice is not None:
            (binary_names.add if choice else binary_names.discard)(one["name"])
    parts: list[bytes] = []
    shown = []
    for output in outputs:
        if output["name"] in binary_names:
            content = _to_binary(output)
            parts.append(content)
            output = {name: value for name, value in output.items() if name != "data"}
            output["parameters"] = {"binary_data_size": len(content)}
        shown.append(output)
    head = encode({**told, "outputs": shown})
    if not parts:
        return head, [JSON]
    return b"".join([head, *parts]), [BINARY, (BINARY_HEADER, b"%d" % len(head))]


def _to_binary(output: Mapping[str, Any]) -> bytes:
    if output["datatype"] == "BYTES":
        texts = [str(value).encode() for value in output["data"]]
        return b"".join(part for text in texts for part in (struct.pack("<I", len(text)), text))
    values = array(_ARRAYS[output["datatype"]], output["data"])
    if sys.byteorder != "little":  # pragma: no cover
        values.byteswap()
    return values.tobytes()
