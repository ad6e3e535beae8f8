"""The OpenAPI document of the server, with each model's row as its stable version takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gauntlet import __version__
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.serving.http import Handler, Receive, Scope, Send, answer_json, encode

if TYPE_CHECKING:
    from gauntlet.serving.app import App
    from gauntlet.serving.model import ServedModel

Schema = dict[str, Any]
_TYPES = {FeatureKind.NUMERIC: "number", FeatureKind.BOOLEAN: "boolean", FeatureKind.CATEGORICAL: "string"}
_KEY: Schema = {"type": ["string", "integer", "null"], "description": "Who the row is about: keeps its arm."}
_REFUSALS = {
    "400": "The body is not what this endpoint takes.",
    "401": "No token, or another one; only where the server asks for tokens.",
    "404": "No such model.",
    "405": "Another method.",
    "408": "The body did not arrive in time.",
    "413": "Too many rows or bytes.",
    "415": "Another content type.",
    "422": "A row the input policy does not let through; names the feature.",
    "429": "More requests than this client may send; see Retry-After.",
    "500": "The champion could not score the row.",
    "503": "Not ready, or too many requests; see Retry-After.",
}


def openapi_routes(app: App) -> dict[str, Handler]:
    """``/openapi.json``."""

    async def document(_: Scope, __: Receive, send: Send) -> None:
        await answer_json(send, encode(openapi(app)))

    return {"/openapi.json": document}


def openapi(app: App) -> Schema:
    """The document: OpenAPI 3.1."""
    paths: Schema = {}
    schemas: Schema = {"Error": _error(), "Prediction": _prediction()}
    for name, model in app.models.items():
        schemas[f"{name}_row"] = _row(model)
        paths |= _model_paths(name, model)
    for path in ("/livez", "/readyz", "/startupz", "/health", "/ready"):
        paths[path] = {"get": _operation("Health", {"200": "Yes.", "503": "Not ready."})}
    paths["/metrics"] = {"get": _operation("Prometheus metrics", {"200": "Text exposition format."})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gauntlet model server", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _model_paths(name: str, model: ServedModel) -> Schema:
    native = _post("Score rows", _native_body(name, model), {"200": "The scores."})
    invocations = _post("Score rows, as mlflow models serve", _mlflow_body(name), {"200": "The predictions."})
    infer = _post("Score rows, Open Inference Protocol", _infer_body(), {"200": "The outputs."})
    information = _operation("Metadata, Open Inference Protocol", {"200": "Inputs and outputs.", "400": "Not ready."})
    return {
        f"/v1/models/{name}/predict": {"post": native},
        f"/v1/models/{name}/invocations": {"post": invocations},
        f"/v2/models/{name}": {"get": information},
        f"/v2/models/{name}/infer": {"post": infer},
    }


def _row(model: ServedModel) -> Schema:
    try:
        features = model.current().stable.sidecar.features
    except Exception:  # no version yet: any object may turn out right
        return {"type": "object"}
    policy = model.settings.serving.inputs
    properties = {feature.name: _value(feature) for feature in features}
    if model.settings.entity is not None:
        properties.setdefault(model.settings.entity, _KEY)
    required = [feature.name for feature in features] if policy.missing == "reject" else []
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": policy.extra != "reject",
    }


def _value(feature: Feature) -> Schema:
    kind = _TYPES[feature.kind]
    schema: Schema = {"type": [kind, "null"] if feature.nullable else kind}
    if feature.kind is FeatureKind.CATEGORICAL and feature.categories:
        schema["examples"] = list(feature.categories[:5])
    if feature.minimum is not None and feature.maximum is not None:
        schema["description"] = f"Training saw {feature.minimum:g} to {feature.maximum:g}."
    return schema


def _native_body(name: str, model: ServedModel) -> Schema:
    row = {"$ref": f"#/components/schemas/{name}_row"}
    common = {"entity": _KEY, "request_id": {"type": ["string", "null"]}}
    most = model.settings.serving.max_rows
    rows = {"type": "array", "items": row, "maxItems": most}
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {"row": row, **common},
                "required": ["row"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"rows": rows, **common},
                "required": ["rows"],
                "additionalProperties": False,
            },
        ]
    }


def _mlflow_body(name: str) -> Schema:
    records = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}_row"}}
    return {"type": "object", "properties": {"dataframe_records": records}, "required": ["dataframe_records"]}


def _infer_body() -> Schema:
    tensor = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"type": "string"},
            "data": {"type": "array"},
        },
        "required": ["name", "shape", "datatype", "data"],
    }
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "inputs": {"type": "array", "items": tensor}},
        "required": ["inputs"],
    }


def _post(summary: str, body: Schema, responses: dict[str, str]) -> Schema:
    operation = _operation(summary, {**responses, **_REFUSALS})
    return {**operation, "requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def _operation(summary: str, responses: dict[str, str]) -> Schema:
    return {"summary": summary, "responses": {code: {"description": text} for code, text in responses.items()}}


def _error() -> Schema:
    fields = {"error": {"type": "string"}, "feature": {"type": "string"}, "row": {"type": "integer"}}
    return {"type": "object", "properties": fields, "required": ["error"]}


def _prediction() -> Schema:
    return {
        "type": "object",
        "properties": {
            "score": {"type": "number"},
            "decision": {"type": ["integer", "string", "null"]},
            "version": {"type": "integer"},
            "version_id": {"type": "string"},
            "arm": {"enum": ["stable", "canary"]},
            "sticky": {"type": "boolean"},
            "explored": {"type": "boolean", "description": "The exploration reserve has drawn the decision."},
            "propensity": {"type": "number", "description": "Of the decision, where it is not certain."},
        },
    }
