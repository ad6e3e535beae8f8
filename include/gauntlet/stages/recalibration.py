"""A calibration fitted anew: on rows that the trees have not seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gauntlet.core.errors import DataRejected, IntegrityError
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import Calibration, ModelSidecar

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.ports import Scorer, Services
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec

    Floats = NDArray[np.float64]

TREE_PARTS = ("train", "validation")
CALIBRATION = "calibration"


@dataclass(frozen=True)
class Rows:
    """Calibration rows that no tree has seen. ``through``: the newest event that anything was fitted on."""

    table: pa.Table
    label: Floats
    weight: Floats | None
    excluded: int
    through: datetime | None


def fitted(spec: ModelSpec, rows: Rows, scorer: Scorer) -> Calibration:
    """The spec's calibration on these rows; :class:`TrainingFailed` where they are too few."""
    from gauntlet.core.calibration import fit_calibration

    raw = scorer.score_table(rows.table, raw=True)
    return fit_calibration(spec.training.calibration, raw, rows.label, rows.weight)


def calibration_rows(services: Services, run: RunContext, spec: ModelSpec, trees: str, sidecar: ModelSidecar) -> Rows:
    """The run's calibration part without rows that the trees were grown or stopped on.

    Where their snapshot is deleted, without rows that are not later than the version's training.
    """
    import numpy as np
    import pyarrow as pa

    from gauntlet.core.splits import PARTS
    from gauntlet.stages.arrays import instant, microseconds, numbers
    from gauntlet.stages.snapshot import read_parts, read_snapshot

    dataset, split = services.records.get(run.key, DatasetRef), services.records.get(run.key, SplitManifest)
    columns = spec.source.columns
    asked = [*(feature.name for feature in sidecar.features), "row_key", columns.label]
    asked += [name for name in (columns.weight, columns.event_time) if name is not None]
    table = read_snapshot(services, dataset, list(dict.fromkeys(asked)))
    table = table.filter(pa.array(read_parts(services, split) == PARTS.index(CALIBRATION)))
    seen = _seen(services, spec, trees, sidecar, table)
    kept = table.filter(pa.array(~seen))
    times = microseconds(kept.column(columns.event_time)) if columns.event_time and len(kept) else np.empty(0)
    ends = [instant(int(times.max()))] if len(times) else []
    ends += [sidecar.trained_through] if sidecar.trained_through else []
    return Rows(
        table=kept,
        label=numbers(kept.column(columns.label)),
        weight=numbers(kept.column(columns.weight)) if columns.weight else None,
        excluded=int(seen.sum()),
        through=max(ends, default=None),
    )


def _seen(services: Services, spec: ModelSpec, trees: str, sidecar: ModelSidecar, table: pa.Table) -> NDArray[np.bool_]:
    import numpy as np

    from gauntlet.core.gates.contamination import microseconds as at
    from gauntlet.core.splits import PARTS
    from gauntlet.stages.arrays import microseconds
    from gauntlet.stages.snapshot import read_parts, read_snapshot

    dataset, split = services.records.get(trees, DatasetRef), services.records.get(trees, SplitManifest)
    try:
        parts = read_parts(services, split)
        keys = read_snapshot(services, dataset, ["row_key"]).column("row_key").to_numpy()
    except IntegrityError:
        time = spec.source.columns.event_time
        if time is None or sidecar.trained_through is None:
            raise DataRejected(
                f"{spec.model}: the snapshot that {sidecar.version_id} was trained on is gone and rows have no time: "
                "nobody can say which rows its trees have not seen: retrain"
            ) from None
        return np.asarray(microseconds(table.column(time)) <= at(sidecar.trained_through))
    used = np.isin(parts, [PARTS.index(name) for name in TREE_PARTS])
    return np.isin(table.column("row_key").to_numpy(), keys[used])
