"""A version without training: the champion's trees with a new calibration, or with another threshold.

It gets its own snapshot, split, evaluation and receipts, and goes through its canary like any candidate.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_bytes, sha256_json
from gauntlet.core.errors import DataRejected, IntegrityError, Rejection, SpecError
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import (
    Calibration,
    Derivation,
    DerivationKind,
    DerivationOrder,
    GoldenSet,
    ModelSidecar,
    ReleaseRef,
    Task,
    TrainedModel,
)
from gauntlet.core.release import GOLDEN, MODEL_TEXT, PROFILE, SIDECAR
from gauntlet.stages.recorded import derivation_of, made_by
from gauntlet.stages.release_folder import golden_in, read_sidecar
from gauntlet.stages.train import document_of, keep_release, lineage

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


# ---- what is wanted --------------------------------------------------------------------------------


def order_derivation(services: Services, run: RunContext, threshold: float | None = None) -> DerivationOrder:
    """Settle of which version's trees a run makes another version, and how; ``None`` as threshold: recalibrate.

    Raises:
        SpecError: the spec does not calibrate, has no ``training.threshold_band``, or the threshold lies outside it.
        DataRejected: there is no champion, or it has this threshold already.
    """
    known = services.records.find(run.key, DerivationOrder)
    if known is not None and known.threshold == threshold:
        return known
    spec = services.specs.get(run.model)
    champion = services.routing.read(run.model).stable
    if champion is None:
        raise DataRejected(f"{run.model}: there is no champion to derive a version from; train one: gauntlet run")
    sidecar = read_sidecar(services, champion)
    _check(spec, sidecar, threshold)
    order = DerivationOrder(
        model=run.model,
        run=run.run,
        kind=DerivationKind.CALIBRATION if threshold is None else DerivationKind.THRESHOLD,
        source=champion.release_digest,
        source_uri=champion.release_uri,
        source_version=champion.version_id,
        threshold=threshold,
    )
    services.records.put(run.key, order, actor=run.requested_by)
    return order


def _check(spec: ModelSpec, sidecar: ModelSidecar, threshold: float | None) -> None:
    differ = set(spec.source.features.all) ^ {feature.name for feature in sidecar.features}
    if differ:
        raise SpecError(
            f"{spec.model}: the spec and {sidecar.version_id} differ in features ({', '.join(sorted(differ))}): retrain"
        )
    if threshold is not None:
        _check_threshold(spec, sidecar, threshold)
    elif spec.task is not Task.BINARY or spec.training.calibration == "none":
        raise SpecError(f"{spec.model}: training.calibration is none, so there is nothing to fit anew")


def _check_threshold(spec: ModelSpec, sidecar: ModelSidecar, threshold: float) -> None:
    band = spec.training.threshold_band
    if band is None:
        raise SpecError(
            f"{spec.model}: training.threshold_band is not set, so no threshold is approved beforehand; set it, or "
            "change training.threshold and retrain"
        )
    low, high = band
    if not low <= threshold <= high:
        raise SpecError(f"{spec.model}: {threshold:g} is outside training.threshold_band, {low:g} to {high:g}")
    if sidecar.threshold is None:
        raise DataRejected(
            f"{spec.model}: {sidecar.version_id} decides by no threshold: set training.threshold, retrain"
        )
    if sidecar.threshold == threshold:
        raise DataRejected(f"{spec.model}: {sidecar.version_id} has the threshold {threshold:g} already")


# ---- the version -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """What a derived version has of its own, and on how many rows it was fitted."""

    sidecar: ModelSidecar
    rows: int
    excluded: int
    metrics: dict[str, float]
    scores: Floats | None


def derive(services: Services, run: RunContext) -> TrainedModel:
    """Write the release that the run's order asks for; the trees are the source's, byte for byte.

    A second try on the same snapshot and split returns the stored record.

    Raises:
        TrainingFailed: too few rows to calibrate on.
        SpecError: the spec has changed since the run began.
        IntegrityError: the source's release or the snapshot is damaged.
    """
    spec = services.specs.get(run.model)
    if spec.digest != run.spec_digest:
        raise SpecError(f"{run.key}: the spec has changed since the run began; start a new run")
    order = services.records.get(run.key, DerivationOrder)
    dataset, split = services.records.get(run.key, DatasetRef), services.records.get(run.key, SplitManifest)
    known = services.records.find(run.key, TrainedModel)
    if known is not None and (known.dataset, known.split) == (dataset.sha256, split.sha256):
        return known
    started = perf_counter()
    trees, source = trained_by(services, run.model, order.source)
    run_id = services.registry.open_run(run.model, run.key, lineage(run, dataset, split))
    folder = services.blobs.fetch_folder(order.source_uri, order.source)
    scorer = services.scorers.load(folder)
    try:
        made = _made(services, run, spec, order, trees, scorer)
    except Rejection as error:
        services.registry.log(run_id, tags={"gauntlet.failure": str(error)})
        services.registry.finish_run(run_id, failed=True)
        raise
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="derive-") as name:
        written = Path(name) / "release"
        profile = _write(written, folder, scorer, made)
        release = keep_release(services, run.model, written, made.sidecar)
        trained = source.model_copy(
            update={
                "release": release,
                "mlflow_run_id": run_id,
                "dataset": dataset.sha256,
                "split": split.sha256,
                "profile_digest": profile,
                "metrics": source.metrics | made.metrics,
                "seconds": perf_counter() - started,
                "trained_at": services.clock.now(),
                "derived_from": order.source,
            }
        )
        fact = _fact(services, run, order, trees, made, release)
        _log(services, run_id, dataset, fact, trained, made, written)
    services.records.put(f"{run.model}/spec", document_of(spec), spec.digest)
    services.records.put(run.key, fact, actor=run.requested_by)
    services.records.put(run.key, trained)
    return trained


def _fact(
    services: Services, run: RunContext, order: DerivationOrder, trees: str, made: Made, release: ReleaseRef
) -> Derivation:
    return Derivation(
        model=run.model,
        run=run.run,
        kind=order.kind,
        release=release.digest,
        source=order.source,
        source_version=order.source_version,
        trees=trees,
        variant=variant_of(made.sidecar),
        rows=made.rows,
        excluded=made.excluded,
        threshold=made.sidecar.threshold,
        reason=run.reason,
        by=run.requested_by,
        at=services.clock.now(),
    )


def variant_of(sidecar: ModelSidecar) -> str:
    """What beside the trees decides: a digest of calibration and threshold."""
    calibration = sidecar.calibration.model_dump(mode="json") if sidecar.calibration else None
    return sha256_json({"trees": sidecar.tree_digest, "calibration": calibration, "threshold": sidecar.threshold})


def _made(
    services: Services, run: RunContext, spec: ModelSpec, order: DerivationOrder, trees: str, scorer: Scorer
) -> Made:
    if order.kind is DerivationKind.THRESHOLD:
        return Made(_named(run, scorer.sidecar.model_copy(update={"threshold": order.threshold})), 0, 0, {}, None)
    from gauntlet.core.calibration import calibrate
    from gauntlet.core.metrics import Sample
    from gauntlet.core.part_metrics import part_metrics

    rows = calibration_rows(services, run, spec, trees, scorer.sidecar)
    calibration = fitted(spec, rows, scorer)
    scores = calibrate(calibration, scorer.score_table(rows.table, raw=True))
    sample = Sample(rows.label, scores, rows.weight, scorer.sidecar.threshold)
    changed = {"calibration": calibration, "trained_through": rows.through}
    return Made(
        sidecar=_named(run, scorer.sidecar.model_copy(update=changed)),
        rows=len(rows.label),
        excluded=rows.excluded,
        metrics=part_metrics(spec.task, CALIBRATION, sample)[0],
        scores=scores,
    )


def _named(run: RunContext, sidecar: ModelSidecar) -> ModelSidecar:
    name = f"v_{run.as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}_{variant_of(sidecar)[:8]}"
    return sidecar.model_copy(update={"version_id": name})


# ---- the calibration -------------------------------------------------------------------------------


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


# ---- where the trees come from ---------------------------------------------------------------------


def trained_by(services: Services, model: str, release: str) -> tuple[str, TrainedModel]:
    """The key of the run that trained a release's trees, and the record of the release itself.

    Raises:
        DataRejected: the release is not one that a run of this store has made.
    """
    found = made_by(services, model, release)
    if found is None:
        raise DataRejected(f"{model}: no run in the store has made release {release[:12]}: retrain instead")
    run, trained = found
    derived = derivation_of(services, model, release)
    return (derived.trees if derived else run.key), trained


# ---- files and log ---------------------------------------------------------------------------------


def _write(folder: Path, source: Path, scorer: Scorer, made: Made) -> str:
    """The release's files but its manifest; the SHA-256 of the profile."""
    folder.mkdir()
    shutil.copyfile(source / MODEL_TEXT, folder / MODEL_TEXT)
    (folder / SIDECAR).write_text(made.sidecar.model_dump_json(indent=1) + "\n")
    (folder / GOLDEN).write_text(_golden(golden_in(source), scorer, made.sidecar).model_dump_json() + "\n")
    profile = _profile((source / PROFILE).read_bytes(), made.scores)
    (folder / PROFILE).write_bytes(profile)
    return sha256_bytes(profile)


def _golden(golden: GoldenSet, scorer: Scorer, sidecar: ModelSidecar) -> GoldenSet:
    from gauntlet.core.calibration import compile_calibration
    from gauntlet.core.golden import Row, make_golden

    if sidecar.calibration is None or sidecar.calibration == scorer.sidecar.calibration:
        return golden
    calibrated = compile_calibration(sidecar.calibration)

    def score(rows: Sequence[Row]) -> list[list[float]]:
        return [[calibrated(float(value))] for value in scorer.score_rows(rows, raw=True)]

    return make_golden(golden.rows, score)


def _profile(content: bytes, scores: Floats | None) -> bytes:
    """The source's profile: the features are those the trees know. Only scores on a new scale are profiled anew."""
    from dataclasses import replace

    from gauntlet.core.column_numbers import numbers
    from gauntlet.core.profile import Profile

    if scores is None:
        return content
    return replace(Profile.from_bytes(content), scores=numbers(scores, "float").counted(scores)).to_bytes()


def _log(
    services: Services,
    run_id: str,
    dataset: DatasetRef,
    fact: Derivation,
    trained: TrainedModel,
    made: Made,
    folder: Path,
) -> None:
    release = trained.release
    services.registry.log_dataset(run_id, dataset, "calibration" if made.rows else "evaluation")
    artifacts = folder.parent / "artifacts"
    artifacts.mkdir()
    (artifacts / "derivation.json").write_text(json.dumps(fact.model_dump(mode="json"), indent=1))
    threshold = {"threshold": made.sidecar.threshold} if made.sidecar.threshold is not None else {}
    services.registry.log(
        run_id,
        params={"derived_from": fact.source_version, "derivation": str(fact.kind)},
        metrics={**trained.metrics, **threshold, "rows.calibration": float(made.rows)},
        tags={
            "gauntlet.version_id": release.version_id,
            "gauntlet.release": release.digest,
            "gauntlet.release_uri": release.uri,
            "gauntlet.tree_digest": release.tree_digest,
            "gauntlet.derived_from": fact.source,
        },
        artifacts={"training": artifacts, "release": folder},
    )
    services.registry.finish_run(run_id, failed=False)
