"""Reading a spec from YAML: every complaint names the file, the line and the key path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gauntlet.core.errors import SpecError
from gauntlet.core.registry import did_you_mean

M = TypeVar("M", bound=BaseModel)
Key = str | int
MAX_BYTES = 1 << 20
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C where PyYAML has it: ten times as fast, and every task reads its spec."""


def read_spec(path: Path, model: type[M]) -> M:
    """Read and validate one YAML file."""
    document, lines = _parse(path)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        complaints = [_complaint(path, detail, lines, model) for detail in error.errors(include_url=False)]
        raise SpecError("\n".join(complaints)) from None


def _parse(path: Path) -> tuple[Any, Mapping[tuple[Key, ...], int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    if len(text) > MAX_BYTES:
        raise SpecError(f"{path}: larger than {MAX_BYTES} bytes; a spec is a page of YAML")
    try:
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            return (None if node is None else loader.construct_document(node)), dict(_walk(node, ()))
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: not valid YAML: {error}") from None


def _walk(node: yaml.Node | None, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], int]]:
    """Every key path with its line number; a key written twice is an error."""
    if node is None:
        return
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is written twice", problem_mark=key.start_mark)
            seen.add(key.value)
            yield (*path, key.value), key.start_mark.line + 1
            yield from (
                (inner, line) for inner, line in _walk(value, (*path, key.value)) if inner != (*path, key.value)
            )
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index))


def _complaint(path: Path, detail: ErrorDetails, lines: Mapping[tuple[Key, ...], int], model: type[BaseModel]) -> str:
    where = detail["loc"]
    known = next(where[:end] for end in range(len(where), -1, -1) if where[:end] in lines or end == 0)
    text = f"{path}:{lines.get(known, 1)}: {'.'.join(map(str, where)) or '(top level)'}: "
    if detail["type"] == "extra_forbidden":
        return f"{text}unknown key; {did_you_mean(str(where[-1]), _keys_at(model, where[:-1]))}"
    if detail["type"] == "missing":
        return f"{text}missing; it has no default"
    message = detail["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(detail.get("input"), dict | list) else f" (got {detail.get('input')!r})"
    return f"{text}{message}{shown}"


def _keys_at(model: type[BaseModel], where: tuple[Key, ...]) -> list[str]:
    """The valid keys of the section at ``where``."""
    for step in where:
        field = model.model_fields.get(str(step))
        inner = next(_models(field.annotation), None) if field else None
        if inner is None:
            continue
        model = inner
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
