"""Write the immutable snapshot a run is judged on."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gauntlet.core.digest import canonical_json, sha256_file
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.registry import lookup

if TYPE_CHECKING:
    from datetime import datetime

    from gauntlet.core.ports import PulledData, Services
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec


def pull_data(services: Services, run: RunContext) -> DatasetRef:
    """Pull the rows of the spec's window with mature labels, as known at the run's as-of time.

    Raises:
        DataRejected: the source has no row for this run, or rows that cannot be used.
        InfrastructureError: the source or the blob store does not answer.
    """
    spec = services.specs.get(run.model)
    since = run.as_of - spec.source.window if spec.source.window else None
    dataset = pull_window(services, spec, since, run.as_of, labelled=True)
    services.records.put(run.key, dataset)
    return dataset


def pull_window(
    services: Services, spec: ModelSpec, since: datetime | None, until: datetime, *, labelled: bool
) -> DatasetRef:
    """The snapshot of any window, stored by content: the file first, its manifest last."""
    source = lookup(services.sources, spec.source.kind, "source kind")
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="pull-") as folder:
        pulled = source.pull(spec, since, until, labelled=labelled, to=Path(folder) / "snapshot.parquet")
        return _store(services, spec, pulled, since, until)


def _store(
    services: Services, spec: ModelSpec, pulled: PulledData, since: datetime | None, until: datetime
) -> DatasetRef:
    sha256 = sha256_file(pulled.path)
    key = f"snapshots/{spec.model}/{sha256}"
    uri = services.blobs.put_file(pulled.path, f"{key}.parquet")
    dataset = DatasetRef(
        uri=uri,
        sha256=sha256,
        rows=pulled.rows,
        columns=pulled.columns,
        size_bytes=pulled.path.stat().st_size,
        first_event=pulled.first_event,
        last_event=pulled.last_event,
        as_of=until,
        window_start=since,
        window_end=until,
        query=pulled.query,
        classes=pulled.classes,
        source_columns=pulled.source_columns,
    )
    manifest = pulled.path.with_suffix(".json")
    manifest.write_bytes(canonical_json(_content(dataset)))
    services.blobs.put_file(manifest, f"{key}.json")
    return dataset


def _content(dataset: DatasetRef) -> dict[str, object]:
    """What follows from the bytes alone: two runs that pull the same rows write the same manifest."""
    fields = {"sha256", "rows", "columns", "size_bytes", "first_event", "last_event"}
    return dataset.model_dump(mode="json", include=fields)
