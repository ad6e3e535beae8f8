"""Settings to services: the only file that chooses adapters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from gauntlet.core.errors import SpecError
from gauntlet.core.ports import Services
from gauntlet.core.registry import lookup
from gauntlet.core.spec import ModelSpec, load_spec
from gauntlet.settings import Settings, settings


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)


class SpecFolder:
    """The specs in a folder, each read when it is asked for; a broken one harms no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, model: str) -> ModelSpec:
        """The spec of a model."""
        if not self.folder.is_dir():
            raise SpecError(f"{self.folder} is no folder: set GAUNTLET_MODELS to where the specs are")
        path = lookup({path.stem: path for path in self.folder.glob("*.yaml")}, model, "model")
        spec = load_spec(path)
        if spec.model != model:
            raise SpecError(f"{path}:1: model: {spec.model!r} must be the file's name, {model!r}")
        return spec

    def names(self) -> tuple[str, ...]:
        """All model names."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.yaml")))


@cache
def services() -> Services:
    """The services of this process, from its environment."""
    return build(settings())
