"""Train in a child process and write the release."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.core.digest import sha256_bytes, sha256_file
from gauntlet.core.errors import Rejection, SpecError, TrainingFailed
from gauntlet.core.ports import TrainingJob
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import ModelSidecar, ReleaseRef, TrainedModel, TrainingSummary
from gauntlet.core.records.reproduction import SpecDocument, TrainingOrigin
from gauntlet.core.release import MANIFEST
from gauntlet.stages.provenance import origin, provenance

if TYPE_CHECKING:
    from gauntlet.core.ports import Services
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec

FITTED_PARTS = ("train", "validation", "calibration")
PLOTTED = 30


def train(services: Services, run: RunContext) -> TrainedModel:
    """Train on the run's snapshot and split, keep the release, and log all of it to the registry.

    A second try on the same snapshot and split returns the stored record.

    Raises:
        TrainingFailed: the data or the model cannot be used; the registry's run is marked as failed.
        SpecError: the spec has changed since the run began.
        InfrastructureError: the registry or the blob store does not answer.
    """
    spec = unchanged_spec(services, run)
    dataset = services.records.get(run.key, DatasetRef)
    split = services.records.get(run.key, SplitManifest)
    known = services.records.find(run.key, TrainedModel)
    if known is not None and (known.dataset, known.split) == (dataset.sha256, split.sha256):
        return known
    # Before the hours of work: is there anybody to tell?
    run_id = services.registry.open_run(run.model, run.key, lineage(run, dataset, split))
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="train-") as name:
        try:
            trained = _train(services, run, spec, dataset, split, run_id, Path(name))
        except Rejection as error:
            services.registry.log(run_id, tags={"gauntlet.failure": str(error)})
            services.registry.finish_run(run_id, failed=True)
            raise
    services.records.put(f"{run.model}/spec", document_of(spec), spec.digest)
    services.records.put(run.key, TrainingOrigin(facts=origin()))
    services.records.put(run.key, trained)
    return trained


def unchanged_spec(services: Services, run: RunContext) -> ModelSpec:
    """The spec that a run makes a version by: :class:`SpecError` when it is another one than when the run began."""
    spec = services.specs.get(run.model)
    if spec.digest != run.spec_digest:
        raise SpecError(f"{run.key}: the spec has changed since the run began; start a new run")
    return spec


def document_of(spec: ModelSpec) -> SpecDocument:
    """A spec as it is kept for a later reproduction."""
    return SpecDocument(model=spec.model, digest=spec.digest, document=spec.model_dump(mode="json"))


def _train(
    services: Services,
    run: RunContext,
    spec: ModelSpec,
    dataset: DatasetRef,
    split: SplitManifest,
    run_id: str,
    work: Path,
) -> TrainedModel:
    from gauntlet.stages.write_profile import write_profile

    folder = work / "release"
    summary = services.trainer.train(spec, job_of(services, run, dataset, split), folder)
    profile_digest = write_profile(services, run, folder, importances(spec, summary), summary.scores)
    release = keep_release(services, run.model, folder, summary.sidecar)
    _log(services, run_id, spec, dataset, split, summary, release, folder, work)
    return TrainedModel(
        release=release,
        mlflow_run_id=run_id,
        dataset=dataset.sha256,
        split=split.sha256,
        profile_digest=profile_digest,
        metrics=summary.metrics,
        train_rows=summary.rows["train"],
        best_iteration=summary.sidecar.best_iteration,
        iterations_cap=summary.iterations_cap,
        seconds=summary.seconds,
        peak_rss_mb=summary.peak_rss_mb,
        trained_at=services.clock.now(),
    )


def importances(spec: ModelSpec, summary: TrainingSummary) -> dict[str, float]:
    """What every feature counts for in the drift check: contributions where the spec asks for them, else gain."""
    if spec.drift.importance == "gain":
        return {one.feature: one.gain for one in summary.importances}
    known = {one.feature: one.shap for one in summary.importances if one.shap is not None}
    if len(known) < len(summary.importances):
        raise TrainingFailed("drift.importance is shap, but training measured no contributions: train anew")
    return known


def job_of(services: Services, run: RunContext, dataset: DatasetRef, split: SplitManifest) -> TrainingJob:
    """What a run trains on; the same run gives the same version again."""
    return TrainingJob(
        snapshot=services.blobs.fetch(dataset.uri, dataset.sha256),
        split=services.blobs.fetch(split.uri, split.sha256),
        stamp=run.as_of,
        trained_through=_trained_through(split),
        classes=dataset.classes,
    )


def _trained_through(split: SplitManifest) -> datetime | None:
    """The newest event that anything was fitted on; ``None`` without time."""
    times = [part.last_event for part in split.parts if part.name in FITTED_PARTS and part.last_event is not None]
    return max(times, default=None)


def keep_release(services: Services, model: str, folder: Path, sidecar: ModelSidecar) -> ReleaseRef:
    """Seal a folder with its manifest and store it under the manifest's digest."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    content = (json.dumps({"files": files}, indent=1, sort_keys=True) + "\n").encode()
    (folder / MANIFEST).write_bytes(content)
    digest = sha256_bytes(content)
    uri = services.blobs.put_folder(folder, f"releases/{model}/{digest}")
    # What was written is read again, every file of it, before anything refers to it.
    services.blobs.fetch_folder(uri, digest)
    return ReleaseRef(
        uri=uri,
        digest=digest,
        version_id=sidecar.version_id,
        tree_digest=sidecar.tree_digest,
        size_bytes=sum(path.stat().st_size for path in folder.iterdir()),
    )


# ---- what the registry is told ---------------------------------------------------------------------


def lineage(run: RunContext, dataset: DatasetRef, split: SplitManifest) -> dict[str, str]:
    """What the registry is told of where a model comes from."""
    return {
        "gauntlet.model": run.model,
        "gauntlet.trigger": str(run.kind),
        "gauntlet.reason": run.reason,
        "gauntlet.requested_by": run.requested_by,
        "gauntlet.as_of": run.as_of.isoformat(),
        "gauntlet.spec": run.spec_digest,
        "gauntlet.snapshot": dataset.sha256,
        "gauntlet.snapshot_uri": dataset.uri,
        "gauntlet.split": split.sha256,
        **provenance(),
    }


def release_tags(release: ReleaseRef) -> dict[str, str]:
    """By what a release is found in the registry."""
    return {
        "gauntlet.version_id": release.version_id,
        "gauntlet.release": release.digest,
        "gauntlet.release_uri": release.uri,
        "gauntlet.tree_digest": release.tree_digest,
    }


def _log(
    services: Services,
    run_id: str,
    spec: ModelSpec,
    dataset: DatasetRef,
    split: SplitManifest,
    summary: TrainingSummary,
    release: ReleaseRef,
    folder: Path,
    work: Path,
) -> None:
    artifacts = work / "artifacts"
    artifacts.mkdir()
    (artifacts / "training.json").write_text(summary.model_dump_json(indent=1, exclude={"scores"}))
    (artifacts / "split.json").write_text(split.model_dump_json(indent=1))
    (artifacts / "dataset.json").write_text(dataset.model_dump_json(indent=1))
    (artifacts / "spec.json").write_text(spec.model_dump_json(indent=1))
    plot_importances(summary, artifacts / "feature_importance.png")
    services.registry.log_dataset(run_id, dataset, "training")
    services.registry.log(
        run_id,
        params=_params(spec, summary),
        metrics=summary.metrics | _figures(summary, release),
        tags=release_tags(release),
        artifacts={"training": artifacts, "release": folder},
    )
    services.registry.finish_run(run_id, failed=False)


def _params(spec: ModelSpec, summary: TrainingSummary) -> dict[str, Any]:
    training = spec.training
    own = {
        "rounds": training.rounds,
        "early_stopping": training.early_stopping,
        "calibration": training.calibration,
        "class_weight": training.class_weight,
        "min_category_rows": training.min_category_rows,
        "threshold_basis": summary.threshold_basis,
        "search_trials": len(summary.trials),
        "features": len(summary.sidecar.features),
    }
    return {**summary.params, **own}


def _figures(summary: TrainingSummary, release: ReleaseRef) -> dict[str, float]:
    threshold = {"threshold": summary.sidecar.threshold} if summary.sidecar.threshold is not None else {}
    return {
        **{f"rows.{part}": float(rows) for part, rows in summary.rows.items()},
        **threshold,
        "best_iteration": float(summary.sidecar.best_iteration),
        "training_seconds": summary.seconds,
        "training_peak_rss_mb": summary.peak_rss_mb,
        "release_bytes": float(release.size_bytes),
    }


def plot_importances(summary: TrainingSummary, path: Path) -> None:
    """Total gain per feature as a bar chart, the greatest on top; at most thirty."""
    from matplotlib.figure import Figure

    shown = sorted(summary.importances, key=lambda item: item.gain)[-PLOTTED:]
    total = sum(item.gain for item in summary.importances) or 1.0
    figure = Figure(figsize=(7, 1 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh([item.feature for item in shown], [100 * item.gain / total for item in shown], color="#3b6ea5")
    axes.set_xlabel("share of total gain, %")
    axes.set_title(f"{summary.sidecar.model} {summary.sidecar.version_id}", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=100)
