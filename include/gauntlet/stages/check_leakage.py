"""Look for the label, the future or the holdout in the training rows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gauntlet.core.errors import LeakageFound
from gauntlet.core.leakage import check
from gauntlet.core.leakage_evidence import Evidence, Limits
from gauntlet.core.records.data import DatasetRef, LeakageReport, SplitManifest
from gauntlet.stages.arrays import EPOCH, codes, feature_columns, microseconds, numbers
from gauntlet.stages.snapshot import read_parts, read_snapshot

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.ports import Services
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec


def check_leakage(services: Services, run: RunContext) -> LeakageReport:
    """Ask every leakage question of the run's snapshot and split; the report is stored before it raises.

    Raises:
        LeakageFound: a check failed, or could not be evaluated.
    """
    spec = services.specs.get(run.model)
    dataset = services.records.get(run.key, DatasetRef)
    split = services.records.get(run.key, SplitManifest)
    table = read_snapshot(services, dataset)
    limits = Limits(**spec.split.leakage.model_dump())
    report = check(dataset.sha256, evidence(spec, dataset, table, read_parts(services, split)), limits, spec.split.seed)
    services.records.put(run.key, report)
    if not report.outcome.satisfied:
        raise LeakageFound(f"{spec.model}: {report.reason}")
    return report


def evidence(spec: ModelSpec, dataset: DatasetRef, table: pa.Table, parts: NDArray[np.int8]) -> Evidence:
    """What the checks look at."""
    columns = spec.source.columns
    named = (columns.event_time, columns.known_at, columns.label_known_at)
    return Evidence(
        task=spec.task,
        keys=table.column("row_key").to_numpy(),
        parts=parts,
        label=numbers(table.column(columns.label)),
        features=feature_columns(spec, table),
        as_of=(dataset.as_of - EPOCH) // timedelta(microseconds=1),
        times={name: microseconds(table.column(name)) for name in named if name},
        event_time=columns.event_time,
        by_time=spec.split.kind == "time",
        embargo=(spec.split.embargo or timedelta(0)) // timedelta(microseconds=1),
        label_delay=(spec.source.label_delay or timedelta(0)) // timedelta(microseconds=1),
        entities=codes(table.column(columns.entity)) if columns.entity else None,
        straddle=spec.split.entities,
    )
