"""Train a version again from what is recorded of it, and compare the trees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from gauntlet.core.errors import MissingRecord
from gauntlet.core.model_text import tree_digest
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import Derivation, DerivationKind, RegisteredVersion, ReleaseRef
from gauntlet.core.records.reproduction import ReproduceReport, SpecDocument, TrainingOrigin
from gauntlet.core.records.run import RunContext
from gauntlet.core.release import MODEL_TEXT
from gauntlet.core.reproduce import origin_differences, text_differences
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.pins import find_version
from gauntlet.stages.provenance import origin
from gauntlet.stages.recorded import made_by

SAME = "the same trees came out, byte for byte"
OTHER = "other trees came out"
WITHIN = "the same trees came out, but not the same version"


def reproduce(services: Services, model: str, version: str) -> ReproduceReport:
    """Retrain a version in a child process: its spec, its snapshot, its split; compare tree digests.

    Of a derived version the trees are trained again by the run they came from, and its calibration is fitted again.
    The report is stored. When the trees differ it names what has changed since: packages, code, machine,
    parameters, and the first tree that differs.

    Raises:
        MissingRecord: the version is unknown, or the spec it was trained by was never stored.
        IntegrityError: its snapshot, split or release is damaged, or was deleted by retention.
        TrainingFailed: training refused what it once accepted.
    """
    found = find_version(services, model, version)
    maker = run_of(services, model, found)
    derived = services.records.find(maker.key, Derivation)
    run = services.records.get(derived.trees, RunContext) if derived else maker
    spec = spec_of(services, run)
    recorded = services.blobs.fetch_folder(found.release.uri, found.release.digest) / MODEL_TEXT
    started = perf_counter()
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="reproduce-") as folder:
        text = _retrained(services, run, spec, Path(folder) / "release")
    digest = tree_digest(text)
    same = digest == found.release.tree_digest
    differences = () if same else tuple(_differences(services, run, recorded.read_bytes(), text))
    differences += tuple(_derived_differences(services, maker, derived, found.release)) if derived else ()
    same = same and not differences
    told = f"{SAME}; {derived.sentence}" if derived else SAME
    report = ReproduceReport(
        model=model,
        version=found.version,
        version_id=found.version_id,
        run=run.run,
        outcome=Outcome.PASSED if same else Outcome.FAILED,
        reason=told
        if same
        else f"{WITHIN if digest == found.release.tree_digest else OTHER}: {'; '.join(differences)}",
        recorded=found.release.tree_digest,
        retrained=digest,
        differences=differences,
        seconds=perf_counter() - started,
        at=services.clock.now(),
    )
    services.records.put(f"{model}/reproduce", report, found.version_id, actor="reproduce")
    return report


def run_of(services: Services, model: str, registered: RegisteredVersion) -> RunContext:
    """The run that trained a registered version."""
    found = made_by(services, model, registered.release.digest)
    if found is None:
        raise MissingRecord(f"{model}: the run that trained version {registered.version} is not in the store")
    return found[0]


def spec_of(services: Services, run: RunContext) -> ModelSpec:
    """The spec a run went by: as it was stored then, else today's if it is still the same."""
    stored = services.records.find(f"{run.model}/spec", SpecDocument, run.spec_digest)
    spec = ModelSpec.model_validate(stored.document) if stored else services.specs.get(run.model)
    if stored is None and spec.digest != run.spec_digest:
        raise MissingRecord(
            f"{run.key}: the spec has changed since (it was {run.spec_digest[:12]}, is {spec.digest[:12]}) and the old "
            "one was not stored: check out the file as it was and set GAUNTLET_MODELS to its folder"
        )
    return spec


def _retrained(services: Services, run: RunContext, spec: ModelSpec, folder: Path) -> bytes:
    from gauntlet.stages.train import job_of

    dataset, split = services.records.get(run.key, DatasetRef), services.records.get(run.key, SplitManifest)
    services.trainer.train(spec, job_of(services, run, dataset, split), folder)
    return (folder / MODEL_TEXT).read_bytes()


def _derived_differences(
    services: Services, run: RunContext, derived: Derivation, release: ReleaseRef
) -> Iterator[str]:
    """What of a derived version's own does not come out again: its calibration, or the threshold that was asked for."""
    from gauntlet.stages.recalibration import calibration_rows, fitted

    scorer = services.scorers.load(services.blobs.fetch_folder(release.uri, release.digest))
    sidecar = scorer.sidecar
    if derived.kind is DerivationKind.THRESHOLD:
        if sidecar.threshold != derived.threshold:
            yield f"the threshold was to be {derived.threshold}, is {sidecar.threshold}"
        return
    spec = spec_of(services, run)
    rows = calibration_rows(services, run, spec, derived.trees, sidecar)
    if fitted(spec, rows, scorer) != sidecar.calibration:
        yield f"another calibration came out on {len(rows.label)} rows (it was fitted on {derived.rows})"


def _differences(services: Services, run: RunContext, then: bytes, now: bytes) -> list[str]:
    known = services.records.find(run.key, TrainingOrigin)
    origins = origin_differences(known.facts, origin()) if known else ["where it was trained was not recorded"]
    return [*origins, *text_differences(then, now)]
