"""Train a version again from what is recorded of it, and compare the trees."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from gauntlet.core.errors import MissingRecord
from gauntlet.core.model_text import tree_digest
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services, TrainingJob
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import RegisteredVersion, TrainedModel
from gauntlet.core.records.reproduction import ReproduceReport, SpecDocument, TrainingOrigin
from gauntlet.core.records.run import RunContext
from gauntlet.core.reproduce import origin_differences, text_differences
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.provenance import origin
from gauntlet.stages.releases import ALL
from gauntlet.stages.retention import find_version

MODEL_TEXT = "model.txt"
SAME = "the same trees came out, byte for byte"


def reproduce(services: Services, model: str, version: str) -> ReproduceReport:
    """Retrain a version in a child process: its spec, its snapshot, its split; compare tree digests.

    The report is stored. When the trees differ it names what has changed since: packages, code, machine,
    parameters, and the first tree that differs.

    Raises:
        MissingRecord: the version is unknown, or the spec it was trained by was never stored.
        IntegrityError: its snapshot, split or release is damaged, or was deleted by retention.
        TrainingFailed: training refused what it once accepted.
    """
    found = find_version(services, model, version)
    run = run_of(services, model, found)
    spec = spec_of(services, run)
    recorded = services.blobs.fetch_folder(found.release.uri, found.release.digest) / MODEL_TEXT
    started = perf_counter()
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="reproduce-") as folder:
        text = _retrained(services, run, spec, Path(folder) / "release")
    digest = tree_digest(text)
    same = digest == found.release.tree_digest
    differences = () if same else tuple(_differences(services, run, recorded.read_bytes(), text))
    report = ReproduceReport(
        model=model,
        version=found.version,
        version_id=found.version_id,
        run=run.run,
        outcome=Outcome.PASSED if same else Outcome.FAILED,
        reason=SAME if same else f"other trees came out: {'; '.join(differences)}",
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
    runs = {run.key: run for run in services.records.newest(model, RunContext, limit=ALL)}
    for key, named in services.records.of_runs(list(runs), TrainedModel).items():
        if any(trained.release.digest == registered.release.digest for trained in named.values()):
            return runs[key]
    raise MissingRecord(f"{model}: the run that trained version {registered.version} is not in the store")


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
    from gauntlet.stages.train import trained_through

    dataset = services.records.get(run.key, DatasetRef)
    split = services.records.get(run.key, SplitManifest)
    job = TrainingJob(
        snapshot=services.blobs.fetch(dataset.uri, dataset.sha256),
        split=services.blobs.fetch(split.uri, split.sha256),
        stamp=run.as_of,
        trained_through=trained_through(split),
        classes=dataset.classes,
    )
    services.trainer.train(spec, job, folder)
    return (folder / MODEL_TEXT).read_bytes()


def _differences(services: Services, run: RunContext, then: bytes, now: bytes) -> list[str]:
    known = services.records.find(run.key, TrainingOrigin)
    origins = origin_differences(known.facts, origin()) if known else ["where it was trained was not recorded"]
    return [*origins, *text_differences(then, now)]
