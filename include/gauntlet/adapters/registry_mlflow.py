"""The model registry in MLflow: runs, versions, aliases, found again by our own keys.

MLflow's calls are single transactions, nothing spans two, and registering twice makes two versions. So
everything here carries a key tag that is looked up first, files are uploaded before the row that
points at them, and a version counts only once its ``gauntlet.complete`` tag, written last, is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.mlflow_model import MODEL_NAME, write_mlflow_model
from gauntlet.adapters.mlflow_rows import (
    COMPLETE,
    LOGGED_MODEL,
    MAX_VALUE,
    RELEASE,
    RUN_KEY,
    as_json,
    half_version,
    instant,
    quoted,
    registered,
    release_tags,
    run_tags,
    running,
    window,
)
from gauntlet.core.errors import Conflict, GauntletError, InfrastructureError
from gauntlet.core.ports import Unfinished
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.model import RegisteredVersion, ReleaseRef

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

DIGEST_LENGTH = 36
PAGE = 200
TRIES = 2


class MLflowRegistry:
    """Implements :class:`~gauntlet.core.ports.Registry`."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        """``timeout_s`` is what one request may take; it is tried twice before an error names the URL."""
        self._url = url
        self._timeout_s = timeout_s

    @cached_property
    def _client(self) -> MlflowClient:
        # MLflow reads these at every request; its own defaults wait four minutes for a server that is down.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(self._timeout_s))))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(TRIES - 1))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow import MlflowClient

        with self._reached("connecting"):
            return MlflowClient(tracking_uri=self._url, registry_uri=self._url)

    # ---- runs --------------------------------------------------------------------------------------

    def open_run(self, model: str, run_key: str, tags: Mapping[str, str]) -> str:
        """The run with this key, made if it does not exist; tags are set either way."""
        experiment = self._experiment(model)
        with self._reached(f"opening run {run_key}"):
            found = self._client.search_runs([experiment], f"tags.`{RUN_KEY}` = {quoted(run_key)}", max_results=1)
            if found:
                run_id = str(found[0].info.run_id)
                self._set_tags(run_id, tags)
                return run_id
            name = run_key.partition("/")[2] or run_key
            run = self._client.create_run(experiment, run_name=name, tags={**tags, RUN_KEY: run_key})
            return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        artifacts: Mapping[str, Path] | None = None,
    ) -> None:
        """Add to a run. Logging the same again changes nothing that can be seen."""
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        with self._reached(f"logging to run {run_id}"):
            self._client.log_batch(
                run_id,
                metrics=[Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
                params=[Param(name, str(value)[:MAX_VALUE]) for name, value in (params or {}).items()],
                tags=run_tags(tags or {}),
            )
            for folder, path in (artifacts or {}).items():
                put = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
                put(run_id, str(path), folder or None)

    def log_dataset(self, run_id: str, dataset: DatasetRef, context: str) -> None:
        """Attach a snapshot to a run: digest, window, query."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        described = Dataset(
            name=Path(dataset.uri).parent.name,
            digest=dataset.sha256[:DIGEST_LENGTH],
            source_type="gauntlet_snapshot",
            source=as_json({"uri": dataset.uri, "sha256": dataset.sha256, "query": dataset.query}),
            profile=as_json({"num_rows": dataset.rows, "size_bytes": dataset.size_bytes, **window(dataset)}),
        )
        entry = DatasetInput(described, [InputTag("mlflow.data.context", context)])
        with self._reached(f"logging the data set of run {run_id}"):
            self._client.log_inputs(run_id, [entry])

    def finish_run(self, run_id: str, *, failed: bool) -> None:
        """Close a run."""
        with self._reached(f"closing run {run_id}"):
            self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    # ---- versions ----------------------------------------------------------------------------------

    def register(
        self, model: str, run_id: str, release: ReleaseRef, folder: Path, tags: Mapping[str, str]
    ) -> RegisteredVersion:
        """The version of this release, made if it does not exist; an unfinished one is finished."""
        with self._reached(f"registering {release.version_id} of {model}"):
            self._registered_model(model)
            known = self._version_of(model, release)
            row = known or self._new_version(model, run_id, release, folder, tags)
            if row.tags.get(COMPLETE) != "true":
                self._link(model, row)
                if known is not None:
                    self._tag(model, row.version, tags)
                self._tag(model, row.version, {COMPLETE: "true"})
        return RegisteredVersion(
            model=model,
            version=int(row.version),
            version_id=release.version_id,
            release=release,
            mlflow_run_id=str(row.run_id or run_id),
        )

    def versions(self, model: str) -> Sequence[RegisteredVersion]:
        """All complete versions, oldest first."""
        with self._reached(f"listing versions of {model}"):
            rows = [row for row in self._search_versions(f"name = {quoted(model)}") if row.tags.get(COMPLETE) == "true"]
        return sorted((registered(row) for row in rows), key=lambda version: version.version)

    def aliases(self, model: str) -> dict[str, int]:
        """Alias to version; empty for a model that is not registered."""
        with self._reached(f"reading aliases of {model}"):
            try:
                found = self._client.get_registered_model(model).aliases
            except Exception as error:
                if _is_absent(error):
                    return {}
                raise
        return {str(alias): int(version) for alias, version in found.items()}

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        with self._reached(f"setting alias {alias} of {model}"):
            try:
                self._client.set_registered_model_alias(model, alias, str(version))
            except Exception as error:
                if _is_absent(error) or _is_transport(error):
                    raise
                # Two first settings of one alias at once: the loser's insert fails, its update does not.
                self._client.set_registered_model_alias(model, alias, str(version))

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias; nothing happens when it is not there."""
        with self._reached(f"deleting alias {alias} of {model}"):
            try:
                self._client.delete_registered_model_alias(model, alias)
            except Exception as error:
                if not _is_absent(error):
                    raise

    def tag_version(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""
        with self._reached(f"tagging version {version} of {model}"):
            self._tag(model, str(version), tags)

    # ---- what goes ---------------------------------------------------------------------------------

    def delete_version(self, model: str, version: int) -> None:
        """Delete a version and its logged model; Conflict when an alias points at it."""
        if version in self.aliases(model).values():
            # MLflow itself would delete it and silently drop the alias.
            raise Conflict(f"{model}: an alias points at version {version} in MLflow at {self._shown}; it stays")
        with self._reached(f"deleting version {version} of {model}"):
            try:
                row = self._client.get_model_version(model, str(version))
                if (logged := row.tags.get(LOGGED_MODEL)) is not None:
                    self._delete_logged_model(logged)
                self._client.delete_model_version(model, str(version))
            except Exception as error:
                if not _is_absent(error):
                    raise

    def delete_run(self, model: str, run_key: str) -> None:
        """Delete the run with this key and its files; its rows stay in MLflow until ``mlflow gc``."""
        with self._reached(f"deleting run {run_key}"):
            experiment = self._client.get_experiment_by_name(model)
            if experiment is None:
                return
            query = f"tags.`{RUN_KEY}` = {quoted(run_key)}"
            for run in self._client.search_runs([experiment.experiment_id], query):
                outputs = run.outputs.model_outputs if run.outputs else ()
                for output in outputs:
                    self._delete_logged_model(output.model_id)
                self._delete_files(run.info.artifact_uri)
                self._client.delete_run(run.info.run_id)

    def unfinished(self, model: str, before: datetime) -> Sequence[Unfinished]:
        """Runs still running, versions without their last tag, logged models without a version; begun before a time."""
        edge = int(before.timestamp() * 1000)
        with self._reached(f"looking for what is half done of {model}"):
            experiment = self._client.get_experiment_by_name(model)
            if experiment is None or experiment.lifecycle_stage == "deleted":
                return ()
            query = f"attributes.status = 'RUNNING' AND attributes.start_time < {edge}"
            rows = list(self._search_versions(f"name = {quoted(model)}"))
            found = [running(run) for run in self._client.search_runs([experiment.experiment_id], query)]
            found += [
                half_version(row) for row in rows if row.tags.get(COMPLETE) != "true" and row.creation_timestamp < edge
            ]
            known = {row.tags.get(LOGGED_MODEL) for row in rows}
            return [
                item
                for item in (*found, *self._logged_alone(experiment.experiment_id, known, edge))
                if item is not None
            ]

    def discard(self, model: str, left: Unfinished) -> None:
        """Delete a half-made version or logged model."""
        if left.kind == "version":
            self.delete_version(model, int(left.subject))
        elif left.kind == "model":
            with self._reached(f"deleting logged model {left.subject}"):
                self._delete_logged_model(left.subject)

    # ---- within ------------------------------------------------------------------------------------

    def _experiment(self, model: str) -> str:
        with self._reached(f"opening experiment {model}"):
            found = self._client.get_experiment_by_name(model)
            if found is None:
                try:
                    return str(self._client.create_experiment(model, _artifacts_of(self._url, model)))
                except Exception as error:
                    found = self._client.get_experiment_by_name(model)
                    if found is None:
                        raise error from None
        if found.lifecycle_stage == "deleted":
            raise GauntletError(f"experiment {model!r} is deleted in MLflow at {self._shown}: restore it there")
        return str(found.experiment_id)

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        if tags:
            self._client.log_batch(run_id, tags=run_tags(tags))

    def _registered_model(self, model: str) -> None:
        try:
            self._client.get_registered_model(model)
        except Exception as error:
            if not _is_absent(error):
                raise
            try:
                self._client.create_registered_model(model)
            except Exception:
                self._client.get_registered_model(model)

    def _version_of(self, model: str, release: ReleaseRef) -> ModelVersion | None:
        filter_string = f"name = {quoted(model)} AND tags.`{RELEASE}` = {quoted(release.digest)}"
        rows = sorted(self._search_versions(filter_string), key=lambda row: int(row.version))
        return rows[0] if rows else None

    def _search_versions(self, filter_string: str) -> Iterator[ModelVersion]:
        token = None
        while True:
            page = self._client.search_model_versions(filter_string, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _new_version(
        self, model: str, run_id: str, release: ReleaseRef, folder: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        logged = self._logged_model(run_id, release, folder)
        return self._client.create_model_version(
            model,
            source=self._source(logged),
            run_id=run_id,
            tags={**tags, **release_tags(release), LOGGED_MODEL: logged.model_id},
            description=f"Release `{release.digest[:12]}` at {release.uri}",
            await_creation_for=0,
            model_id=logged.model_id,
        )

    def _logged_model(self, run_id: str, release: ReleaseRef, folder: Path) -> LoggedModel:
        """MLflow's model object with the release's files; one that a killed try left is finished."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        experiment = str(self._client.get_run(run_id).info.experiment_id)
        found = self._client.search_logged_models([experiment], f"tags.`{RELEASE}` = {quoted(release.digest)}")
        ready = [entry for entry in found if entry.status == LoggedModelStatus.READY]
        if ready:
            return ready[0]
        logged = (
            found[0]
            if found
            else self._client.create_logged_model(
                experiment, MODEL_NAME, run_id, tags=release_tags(release), model_type="lightgbm"
            )
        )
        with TemporaryDirectory(prefix="gauntlet-mlflow-") as work:
            write_mlflow_model(folder, Path(work), run_id=run_id, model_id=logged.model_id)
            self._client.log_model_artifacts(logged.model_id, work)
        outputs = self._client.get_run(run_id).outputs
        linked = {output.model_id for output in outputs.model_outputs} if outputs else set()
        # Linking twice is an error of its own; a killed try may have linked and not finished.
        if logged.model_id not in linked:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
        return self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)

    def _logged_alone(self, experiment: str, known: set[str | None], edge: int) -> Iterator[Unfinished]:
        token = None
        while True:
            page = self._client.search_logged_models([experiment], max_results=PAGE, page_token=token)
            for logged in page:
                alone = logged.model_id not in known and RELEASE in logged.tags
                if alone and logged.creation_timestamp < edge:
                    started = instant(logged.creation_timestamp)
                    yield Unfinished("model", logged.model_id, "", logged.tags[RELEASE], started)
            token = page.token
            if not token:
                return

    def _delete_logged_model(self, model_id: str) -> None:
        try:
            logged = self._client.get_logged_model(model_id)
        except Exception as error:
            if _is_absent(error):
                return
            raise
        self._delete_files(logged.artifact_location)
        self._client.delete_logged_model(model_id)

    def _delete_files(self, uri: str | None) -> None:
        """Files first: a row without files is found and deleted by the next try, files without a row by nobody."""
        if not uri:
            return
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(uri, tracking_uri=self._url, registry_uri=self._url)
        if repository.list_artifacts():
            repository.delete_artifacts()  # type: ignore[no-untyped-call]

    def _source(self, logged: LoggedModel) -> str:
        """What a version points at: a server resolves its own models, a bare database knows only places."""
        return f"models:/{logged.model_id}" if self._url.startswith("http") else str(logged.artifact_location)

    def _link(self, model: str, row: ModelVersion) -> None:
        """The tag by which MLflow's own pages lead from the logged model to its version."""
        from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

        link = as_json([{"name": model, "version": row.version}])
        self._client.set_logged_model_tags(row.tags[LOGGED_MODEL], {MLFLOW_MODEL_VERSIONS: link})

    def _tag(self, model: str, version: str | int, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_model_version_tag(model, str(version), key, str(value)[:MAX_VALUE])

    @property
    def _shown(self) -> str:
        """The URL without a password."""
        head, at, tail = self._url.rpartition("@")
        return f"{head.partition('://')[0]}://...@{tail}" if at and "://" in head else self._url

    @contextmanager
    def _reached(self, doing: str) -> Generator[None]:
        """Turn whatever MLflow raises into an error that names what was tried, and where."""
        started = time.monotonic()
        try:
            yield
        except GauntletError:
            raise
        except Exception as error:
            if not _is_mlflow(error) and not _is_transport(error):
                raise
            took = time.monotonic() - started
            text = _root(error).replace(self._url, self._shown).split("\n", maxsplit=1)[0][:400]
            raise InfrastructureError(
                f"MLflow at {self._shown}: {doing}: {text} (after {took:.1f} s); is it running and reachable? "
                "`gauntlet up` starts one, GAUNTLET_MLFLOW_URL says where another is"
            ) from error


def _artifacts_of(url: str, model: str) -> str | None:
    """Where the files of a bare SQLite store go: beside it. MLflow would take the working directory, whatever it is."""
    if not url.startswith("sqlite:"):
        return None
    from sqlalchemy import make_url

    return str(Path(str(make_url(url).database)).parent / "mlartifacts" / model)


# ---- what went wrong -------------------------------------------------------------------------------


def _is_mlflow(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException)


def _is_transport(error: Exception) -> bool:
    import requests
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, (OSError, requests.RequestException, SQLAlchemyError))


def _root(error: Exception) -> str:
    """What the operating system said, where it said anything: clients wrap it in a paragraph of their own."""
    cause: BaseException = error
    while (before := cause.__cause__ or cause.__context__) is not None:
        cause = before
    return str(cause) if type(cause).__module__ == "builtins" and isinstance(cause, OSError) else str(error)


def _is_absent(error: Exception) -> bool:
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
