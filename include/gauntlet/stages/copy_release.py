"""Bring a release from another environment, by digest: it is judged anew here, and never trained again."""

from __future__ import annotations

from dataclasses import dataclass

from gauntlet.core.errors import MissingRecord, PromotionRefused, Rejection, SpecError
from gauntlet.core.ports import Blobs, RecordStore, RoutingStore, Services
from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport, SplitManifest
from gauntlet.core.records.environment import ReleaseCopied
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.model import RegisteredVersion, ReleaseRef, TrainedModel
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.stages.recorded import version_called
from gauntlet.stages.release_folder import sidecar_in
from gauntlet.stages.releases import ALL, quarantine_of

CHAMPION = "champion"


@dataclass(frozen=True)
class Origin:
    """Another environment, to be read only."""

    environment: str
    records: RecordStore
    blobs: Blobs
    routing: RoutingStore


def copy_release(
    services: Services, origin: Origin, model: str, version: str = CHAMPION, *, by: str, reason: str
) -> RunContext:
    """The run under which the release, its snapshot and what was found of both are here now.

    What follows is the run's: evaluation against the champion of this environment, the probe, every gate of this
    environment's spec, registration. ``version``: ``champion``, a registry version or a version id of the origin.
    Copying again changes nothing.

    Raises:
        SpecError: nobody's name or no reason; or the spec here has other features than the release.
        MissingRecord: the origin does not have it, or it did not pass its gates there.
        PromotionRefused: this very content is in quarantine, here or there.
        IntegrityError: bytes are not what was recorded, there or here after the copy.
    """
    if not by.strip() or not reason.strip():
        raise SpecError(f"{model}: a copy needs a name and a reason; both go into the audit log")
    registered = _registered(origin, model, version)
    decision = _decision(origin, model, registered)
    release = registered.release
    _not_quarantined(services, origin, model, release)
    run = _run(services, origin, model, decision, by, reason)
    known = services.records.find(run.key, ReleaseCopied)
    if known is not None:
        return services.records.get(run.key, RunContext)
    return _bring(services, origin, f"{model}/{decision.run}", run, release)


# ---- what is asked for -----------------------------------------------------------------------------


def _registered(origin: Origin, model: str, version: str) -> RegisteredVersion:
    stable = origin.routing.read(model).stable if version == CHAMPION else None
    found = version_called(origin, model, stable.version_id if stable else version)
    if found is not None:
        return found
    known = origin.records.newest(model, RegisteredVersion, limit=10)
    there = ", ".join(f"{one.version} ({one.version_id})" for one in known) or "none"
    raise MissingRecord(f"{origin.environment}: {model} has no version {version}; registered there: {there}")


def _decision(origin: Origin, model: str, registered: RegisteredVersion) -> PromotionDecision:
    for decision in origin.records.newest(model, PromotionDecision, limit=ALL):
        if decision.candidate == registered.release.digest and decision.outcome.satisfied:
            return decision
    raise MissingRecord(f"{origin.environment}: no run let version {registered.version} of {model} through its gates")


def _not_quarantined(services: Services, origin: Origin, model: str, release: ReleaseRef) -> None:
    for place, where in ((origin, f"in {origin.environment}"), (services, "here")):
        quarantine = quarantine_of(place, model, release.digest, release.tree_digest)
        if quarantine is not None:
            raise PromotionRefused(f"{model}: {release.version_id} is in quarantine {where}: {quarantine.reason}")


def _run(
    services: Services, origin: Origin, model: str, decision: PromotionDecision, by: str, reason: str
) -> RunContext:
    source = origin.records.get(f"{model}/{decision.run}", RunContext)
    return RunContext(
        model=model,
        run=f"copy__{origin.environment}__{decision.candidate[:12]}",
        as_of=source.as_of,
        kind=TriggerKind.MANUAL,
        reason=f"from {origin.environment}: {reason}",
        requested_by=by,
        force_retrain=False,
        spec_digest=services.specs.get(model).digest,
        opened_at=services.clock.now(),
    )


# ---- the copy --------------------------------------------------------------------------------------


def _bring(services: Services, origin: Origin, source: str, run: RunContext, release: ReleaseRef) -> RunContext:
    """Bytes first, each read back; then the records, the fact that all of it is here last."""
    dataset, split = origin.records.get(source, DatasetRef), origin.records.get(source, SplitManifest)
    trained = origin.records.get(source, TrainedModel)
    if trained.release.digest != release.digest:
        raise Rejection(f"{origin.environment}: run {source} has since trained another release; copy that one")
    release = _folder(services, origin, run.model, release)
    dataset = dataset.model_copy(
        update={"uri": _file(services, origin, dataset.uri, dataset.sha256, f"snapshots/{run.model}")}
    )
    split = split.model_copy(update={"uri": _file(services, origin, split.uri, split.sha256, f"splits/{run.model}")})
    registry_run = services.registry.open_run(run.model, run.key, {"gauntlet.copied_from": origin.environment})
    contract = origin.records.get(source, ContractReport).model_copy(update={"page_uri": None})
    for record in (
        run,
        dataset,
        contract,
        split,
        origin.records.get(source, LeakageReport),
        trained.model_copy(update={"release": release, "mlflow_run_id": registry_run}),
        ReleaseCopied(
            model=run.model,
            run=run.run,
            environment=origin.environment,
            source_run=source,
            version_id=release.version_id,
            release_digest=release.digest,
            blobs=(release.digest, dataset.sha256, split.sha256),
            by=run.requested_by,
            reason=run.reason,
            at=services.clock.now(),
        ),
    ):
        services.records.put(run.key, record, actor=run.requested_by)
    return run


def _folder(services: Services, origin: Origin, model: str, release: ReleaseRef) -> ReleaseRef:
    there = origin.blobs.fetch_folder(release.uri, release.digest)
    sidecar = sidecar_in(there)
    ours, theirs = set(services.specs.get(model).source.features.all), {one.name for one in sidecar.features}
    if ours != theirs:
        differ = ", ".join(sorted(ours ^ theirs))
        raise SpecError(f"{model}: the spec here and {release.version_id} differ in features: {differ}")
    uri = services.blobs.put_folder(there, f"releases/{model}/{release.digest}")
    services.blobs.fetch_folder(uri, release.digest)
    return release.model_copy(update={"uri": uri})


def _file(services: Services, origin: Origin, uri: str, sha256: str, where: str) -> str:
    here = services.blobs.put_file(origin.blobs.fetch(uri, sha256), f"{where}/{sha256}.parquet")
    services.blobs.fetch(here, sha256)
    return here
