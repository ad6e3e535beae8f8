"""A version without training: the champion's trees with a new calibration, or with another threshold.

It gets its own snapshot, split, evaluation and receipts, and goes through its canary like any candidate.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_bytes, sha256_json
from gauntlet.core.errors import DataRejected, Rejection
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import (
    Derivation,
    DerivationKind,
    DerivationOrder,
    GoldenSet,
    ModelSidecar,
    ReleaseRef,
    TrainedModel,
)
from gauntlet.core.release import GOLDEN, MODEL_TEXT, PROFILE, SIDECAR
from gauntlet.stages.recalibration import CALIBRATION, calibration_rows, fitted
from gauntlet.stages.recorded import derivation_of, made_by
from gauntlet.stages.release_folder import golden_in
from gauntlet.stages.train import document_of, keep_release, lineage, release_tags, unchanged_spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gauntlet.core.ports import Scorer, Services
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec

    Floats = NDArray[np.float64]


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
    spec = unchanged_spec(services, run)
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
        tags={**release_tags(release), "gauntlet.derived_from": fact.source},
        artifacts={"training": artifacts, "release": folder},
    )
    services.registry.finish_run(run_id, failed=False)
