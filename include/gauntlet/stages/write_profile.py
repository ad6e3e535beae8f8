"""Write the reference profile of a model in the making into its release folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.errors import DataRejected
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.run import RunContext
from gauntlet.core.release import PROFILE
from gauntlet.core.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gauntlet.core.ports import Services
    from gauntlet.stages.arrow_columns import Kind


def write_profile(
    services: Services,
    run: RunContext,
    folder: Path,
    importances: Mapping[str, float],
    scores: Mapping[str, Any] | None = None,
) -> str:
    """Profile the training part of the run's snapshot as ``profile.json`` in ``folder``; its SHA-256.

    ``importances``: feature to what it counts for in the model; features it lacks count as unused. ``scores``: those
    of the model on rows that its trees have not seen, as a numeric column in JSON.
    """
    from dataclasses import replace

    from gauntlet.core.profile import Numbers
    from gauntlet.stages.joint_drift import rank_base
    from gauntlet.stages.windows import Window, frequent, profile_of

    spec = services.specs.get(run.model)
    dataset = services.records.get(run.key, DatasetRef)
    split = services.records.get(run.key, SplitManifest)
    snapshot = services.blobs.fetch(dataset.uri, dataset.sha256)
    chosen = train_rows(services.blobs.fetch(split.uri, split.sha256), dataset.rows)
    window = Window(snapshot, chosen, verified=True)
    segments = {name: frequent(window, name, spec.drift.segment_values) for name in spec.drift.segments}
    profile = profile_of(window, kinds_in(spec), segments)
    about = {
        "model": run.model,
        "as_of": run.as_of.isoformat(),
        "dataset": dataset.sha256,
        "split": split.sha256,
        "part": "train",
        "importance": spec.drift.importance,
    }
    known = {name: float(importances.get(name, 0.0)) for name in profile.columns}
    counted = Numbers.from_json(scores) if scores else None
    profile = replace(profile, importances=known, about=about, scores=counted)
    if spec.drift.joint_pairs is not None:
        profile = replace(profile, pairs=rank_base(window, profile))
    content = profile.to_bytes()
    (folder / PROFILE).write_bytes(content)
    return sha256_bytes(content)


def kinds_in(spec: ModelSpec) -> dict[str, Kind]:
    """Every feature of a spec with how it is compared."""
    features = spec.source.features
    kinds: dict[str, Kind] = dict.fromkeys(features.numeric, "numeric")
    return kinds | dict.fromkeys(features.boolean, "boolean") | dict.fromkeys(features.categorical, "categorical")


def train_rows(path: Path, rows: int) -> NDArray[np.bool_]:
    """Which of a snapshot's rows its split file puts in the training part."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    part = pq.read_table(path, columns=["part"]).column("part")
    if len(part) != rows:
        raise DataRejected(f"split file has {len(part)} rows, the snapshot {rows}: split the snapshot again")
    chosen: NDArray[np.bool_] = pc.equal(pc.cast(part, "string"), "train").to_numpy()
    return chosen
