"""The model registry in memory, with the rules of the MLflow one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gauntlet.core.errors import Conflict, InfrastructureError
from gauntlet.core.ports import Unfinished
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.model import RegisteredVersion, ReleaseRef


@dataclass
class MemoryRun:
    """One run and all that was logged to it."""

    model: str
    key: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    datasets: list[tuple[str, str]] = field(default_factory=list)
    status: str = "RUNNING"


class MemoryRegistry:
    """Implements :class:`~gauntlet.core.ports.Registry`."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.version_tags: dict[tuple[str, int], dict[str, str]] = {}
        self.version_files: dict[tuple[str, int], list[str]] = {}
        self._versions: dict[str, list[RegisteredVersion]] = {}
        self._aliases: dict[str, dict[str, int]] = {}
        self._numbers: dict[str, int] = {}

    def open_run(self, model: str, run_key: str, tags: Mapping[str, str]) -> str:
        """The run with this key, made if it does not exist."""
        known = next((run_id for run_id, run in self.runs.items() if (run.model, run.key) == (model, run_key)), None)
        run_id = known or f"run{len(self.runs) + 1}"
        self.runs.setdefault(run_id, MemoryRun(model, run_key)).tags.update(tags)
        return run_id

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        artifacts: Mapping[str, Path] | None = None,
    ) -> None:
        """Add to a run; a parameter never changes its value."""
        run = self.runs[run_id]
        for name, value in (params or {}).items():
            if run.params.setdefault(name, str(value)) != str(value):
                raise InfrastructureError(f"parameter {name} of run {run_id} is {run.params[name]!r} already")
        run.metrics.update(metrics or {})
        run.tags.update(tags or {})
        for folder, path in (artifacts or {}).items():
            names = sorted(item.name for item in path.iterdir()) if path.is_dir() else [path.name]
            run.artifacts[folder] = sorted({*run.artifacts.get(folder, []), *names})

    def log_dataset(self, run_id: str, dataset: DatasetRef, context: str) -> None:
        """Attach a data set to a run."""
        if (dataset.sha256, context) not in self.runs[run_id].datasets:
            self.runs[run_id].datasets.append((dataset.sha256, context))

    def finish_run(self, run_id: str, *, failed: bool) -> None:
        """Close a run."""
        self.runs[run_id].status = "FAILED" if failed else "FINISHED"

    def register(
        self, model: str, run_id: str, release: ReleaseRef, folder: Path, tags: Mapping[str, str]
    ) -> RegisteredVersion:
        """The version of this release, made if it does not exist."""
        versions = self._versions.setdefault(model, [])
        known = next((version for version in versions if version.release.digest == release.digest), None)
        if known is None:
            known = RegisteredVersion(
                model=model,
                version=self._next(model),
                version_id=release.version_id,
                release=release,
                mlflow_run_id=run_id,
            )
            versions.append(known)
            self.version_tags[model, known.version] = dict(tags)
            self.version_files[model, known.version] = sorted(path.name for path in folder.glob("*"))
        return known

    def _next(self, model: str) -> int:
        """Numbers are never used twice, also when a version is deleted."""
        self._numbers[model] = self._numbers.get(model, 0) + 1
        return self._numbers[model]

    def versions(self, model: str) -> Sequence[RegisteredVersion]:
        """All versions, oldest first."""
        return tuple(self._versions.get(model, ()))

    def aliases(self, model: str) -> dict[str, int]:
        """Alias to version."""
        return dict(self._aliases.get(model, {}))

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        if version not in {known.version for known in self._versions.get(model, ())}:
            raise InfrastructureError(f"{model} has no version {version}")
        self._aliases.setdefault(model, {})[alias] = version

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias; nothing happens when it is not there."""
        self._aliases.get(model, {}).pop(alias, None)

    def tag_version(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""
        self.version_tags.setdefault((model, version), {}).update(tags)

    def delete_version(self, model: str, version: int) -> None:
        """Delete a version that no alias points at."""
        if version in self._aliases.get(model, {}).values():
            raise Conflict(f"{model}: an alias points at version {version}")
        self._versions[model] = [known for known in self._versions.get(model, []) if known.version != version]

    def delete_run(self, model: str, run_key: str) -> None:
        """Delete the run with this key."""
        self.runs = {name: run for name, run in self.runs.items() if (run.model, run.key) != (model, run_key)}

    def unfinished(self, model: str, before: datetime) -> Sequence[Unfinished]:
        """Runs that were never closed; versions are whole here. Nothing has an age in memory: all began now."""
        return [
            Unfinished("run", name, run.key, "", before)
            for name, run in self.runs.items()
            if run.model == model and run.status == "RUNNING"
        ]

    def discard(self, model: str, left: Unfinished) -> None:
        """Delete something half made."""
        if left.kind == "version":
            self.delete_version(model, int(left.subject))
