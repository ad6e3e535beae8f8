"""Which version's trees shall become another version, and how: settled and checked before any data is pulled."""

from __future__ import annotations

from gauntlet.core.errors import DataRejected, SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.model import DerivationKind, DerivationOrder, ModelSidecar, Task
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.release_folder import read_sidecar


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
