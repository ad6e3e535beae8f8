"""Our facts in MLflow's rows: the tags they are kept in, and how they are read back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import GauntletError
from gauntlet.core.ports import Unfinished
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.model import RegisteredVersion, ReleaseRef

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

RUN_KEY = "gauntlet.run"
RELEASE = "gauntlet.release"
RELEASE_URI = "gauntlet.release_uri"
VERSION_ID = "gauntlet.version_id"
TREE_DIGEST = "gauntlet.tree_digest"
SIZE = "gauntlet.size_bytes"
COMPLETE = "gauntlet.complete"
LOGGED_MODEL = "gauntlet.logged_model"
MAX_VALUE = 5_000


def instant(milliseconds: int) -> datetime:
    """A time of MLflow's."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def running(run: Run) -> Unfinished | None:
    """A run of ours; others may share the experiment."""
    key = run.data.tags.get(RUN_KEY)
    return Unfinished("run", run.info.run_id, key, "", instant(run.info.start_time)) if key else None


def half_version(row: ModelVersion) -> Unfinished | None:
    """A version of ours that was never completed."""
    if RELEASE not in row.tags:
        return None
    return Unfinished("version", str(row.version), "", row.tags[RELEASE], instant(row.creation_timestamp))


def release_tags(release: ReleaseRef) -> dict[str, str]:
    """All that is known of a release, so that it can be read back from a version alone."""
    return {
        RELEASE: release.digest,
        RELEASE_URI: release.uri,
        VERSION_ID: release.version_id,
        TREE_DIGEST: release.tree_digest,
        SIZE: str(release.size_bytes),
    }


def registered(row: ModelVersion) -> RegisteredVersion:
    """A complete version, read back from its tags."""
    tags = row.tags
    release = ReleaseRef(
        uri=tags[RELEASE_URI],
        digest=tags[RELEASE],
        version_id=tags[VERSION_ID],
        tree_digest=tags[TREE_DIGEST],
        size_bytes=int(tags[SIZE]),
    )
    return RegisteredVersion(
        model=row.name,
        version=int(row.version),
        version_id=release.version_id,
        release=release,
        mlflow_run_id=str(row.run_id or ""),
    )


def run_tags(tags: Mapping[str, str]) -> list[Any]:
    """Tags as the client takes them for a run."""
    from mlflow.entities import RunTag

    return [RunTag(key, str(value)[:MAX_VALUE]) for key, value in tags.items()]


def as_json(value: Any) -> str:
    """Compact enough for MLflow's columns."""
    import json

    return json.dumps(value, sort_keys=True)[:60_000]


def window(dataset: DatasetRef) -> dict[str, str]:
    """The times of a snapshot."""
    times = {
        "as_of": dataset.as_of,
        "window_start": dataset.window_start,
        "window_end": dataset.window_end,
        "first_event": dataset.first_event,
        "last_event": dataset.last_event,
    }
    return {name: value.isoformat() for name, value in times.items() if value is not None}


def quoted(text: str) -> str:
    """A string in MLflow's filter language, which has no escape: the other quote is used."""
    if "'" in text and '"' in text:
        raise GauntletError(f"{text!r} holds both kinds of quotes; MLflow cannot look it up")
    return f'"{text}"' if "'" in text else f"'{text}'"
