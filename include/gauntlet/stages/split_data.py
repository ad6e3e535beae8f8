"""Divide the snapshot into train, validation, calibration and holdout."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.core.digest import sha256_file
from gauntlet.core.duration import format_duration
from gauntlet.core.errors import DataRejected
from gauntlet.core.records.data import DatasetRef, SplitManifest, SplitPart
from gauntlet.core.records.model import Task
from gauntlet.core.splits import PARTS, Division, at_random, by_time, content_groups, shares_of
from gauntlet.stages.snapshot import read_snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from gauntlet.core.ports import Services
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec


def split_data(services: Services, run: RunContext) -> SplitManifest:
    """Divide the run's snapshot as the spec says and store one part name per row.

    Raises:
        DataRejected: a part the spec asks for would be empty, or would hold one class only.
    """
    spec = services.specs.get(run.model)
    dataset = services.records.get(run.key, DatasetRef)
    table = read_snapshot(services, dataset, _columns(spec, dataset))
    division = divide(spec, table)
    parts = _parts(spec, table, division)
    _check(spec, parts, division)
    uri, sha256 = _store(services, spec, division)
    split = SplitManifest(
        dataset=dataset.sha256,
        uri=uri,
        sha256=sha256,
        strategy=_strategy(spec),
        parts=parts,
        dropped=division.dropped,
        dropped_reason=division.dropped_reason,
    )
    services.records.put(run.key, split)
    return split


def divide(spec: ModelSpec, table: pa.Table) -> Division:
    """The division of a snapshot's rows that the spec asks for."""
    from gauntlet.core.leakage import fingerprints
    from gauntlet.stages.arrays import codes, feature_columns, microseconds

    columns, split = spec.source.columns, spec.split
    shares = shares_of(split.validation, split.calibration, split.holdout)
    entities = codes(table.column(columns.entity)) if columns.entity else None
    if split.kind == "time" and columns.event_time:
        return by_time(
            microseconds(table.column(columns.event_time)),
            shares,
            embargo=split.embargo or timedelta(0),
            label_delay=spec.source.label_delay or timedelta(0),
            entities=entities,
            straddle=split.entities,
        )
    if entities is None:
        prints = fingerprints(list(feature_columns(spec, table).values()), table.num_rows)
        entities = content_groups(prints)
    return at_random(entities, shares, split.seed)


def _columns(spec: ModelSpec, dataset: DatasetRef) -> list[str]:
    columns = spec.source.columns
    wanted = {"row_key", columns.label, columns.event_time, columns.entity}
    if spec.split.kind == "random" and not columns.entity:
        wanted |= set(spec.source.features.all)
    return [name for name in dataset.columns if name in wanted]


def _strategy(spec: ModelSpec) -> str:
    split, columns = spec.split, spec.source.columns
    shares = f"validation {split.validation:g}, calibration {split.calibration:g}, holdout {split.holdout:g}"
    if split.kind == "random":
        return f"random by {columns.entity or 'feature row'}, seed {split.seed}, {shares}"
    entity = f", entities {split.entities}" if columns.entity else ""
    return f"by time {columns.event_time}, embargo {format_duration(split.embargo or timedelta(0))}{entity}, {shares}"


def _parts(spec: ModelSpec, table: pa.Table, division: Division) -> tuple[SplitPart, ...]:
    from gauntlet.stages.arrays import microseconds

    keys = table.column("row_key").to_numpy()
    labels = table.column(spec.source.columns.label).to_numpy()
    times = microseconds(table.column(spec.source.columns.event_time)) if spec.source.columns.event_time else None
    return tuple(
        _part(spec.task, name, keys[rows], labels[rows], None if times is None else times[rows])
        for code, name in enumerate(PARTS[:-1])
        if (rows := division.codes == code).any()
    )


def _part(task: Task, name: str, keys: Any, labels: Any, times: Any) -> SplitPart:
    import numpy as np

    from gauntlet.stages.arrays import instant

    return SplitPart(
        name=name,
        rows=len(keys),
        positives=int((labels == 1).sum()) if task is Task.BINARY else None,
        first_event=None if times is None else instant(times.min()),
        last_event=None if times is None else instant(times.max()),
        keys_digest=hashlib.sha256(np.sort(keys).astype("<u8").tobytes()).hexdigest(),
    )


def _check(spec: ModelSpec, parts: tuple[SplitPart, ...], division: Division) -> None:
    split = spec.split
    asked = dict(zip(PARTS, shares_of(split.validation, split.calibration, split.holdout), strict=False))
    present = {part.name for part in parts}
    if empty := [name for name, share in asked.items() if share > 0 and name not in present]:
        raise DataRejected(
            f"{spec.model}: the split leaves no rows for {' and '.join(empty)} (dropped: {division.dropped_reason});"
            " pull a longer window, shorten split.embargo, or set split.entities: allow"
        )
    for part in parts:
        if part.positives in (0, part.rows):
            kind = "no positive" if part.positives == 0 else "no negative"
            raise DataRejected(f"{spec.model}: {part.name} has {kind} row among {part.rows}; pull a longer window")


def _store(services: Services, spec: ModelSpec, division: Division) -> tuple[str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = pa.DictionaryArray.from_arrays(pa.array(division.codes), pa.array(PARTS))
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="split-") as folder:
        path = Path(folder) / "split.parquet"
        pq.write_table(pa.table({"part": part}), path, compression="zstd", write_page_checksum=True)
        sha256 = sha256_file(path)
        return services.blobs.put_file(path, f"splits/{spec.model}/{sha256}.parquet"), sha256
