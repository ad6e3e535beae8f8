"""One look at each layer: read what is recorded, call the rules."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core import diversity
from gauntlet.core.duration import words
from gauntlet.core.errors import DataRejected, GauntletError, InfrastructureError
from gauntlet.core.journal import lacking
from gauntlet.core.layers.data import SKEW, data_health, skew
from gauntlet.core.layers.finding import Found, found, merged
from gauntlet.core.layers.model import model_health
from gauntlet.core.layers.outcomes import unseen_metric, watched
from gauntlet.core.layers.service import agreement, same_hour, service_health
from gauntlet.core.live.window import explored
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.model import FeatureKind, ModelSidecar
from gauntlet.core.records.monitoring import Layer, LayerReport
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.monitoring import WatchedMetric
from gauntlet.stages.release_folder import read_sidecar

if TYPE_CHECKING:
    import pyarrow as pa

PAST_REPORTS = 1500
"""Two months of hourly looks."""
SERVED_ROWS = 50_000
"""Rows of the journal that are compared with the source."""


def data_layer(services: Services, run: RunContext, spec: ModelSpec) -> Found:
    """The newest drift check, volume, freshness, and skew between training and serving."""
    section, champion = spec.monitoring.data, services.routing.read(run.model).stable
    if champion is None:
        return _nobody()
    report = _newest_check(services, run, section.stale)
    earlier = services.records.newest(run.model, DriftReport, limit=PAST_REPORTS)
    health = data_health(report, earlier, section, section.freshness or spec.contract.freshness)
    if not section.skew:
        return health
    return merged([health, _skew(services, run, spec, champion, report)])


def _nobody() -> Found:
    return found((), {}, ["there is no champion yet"], looked=False)


def _newest_check(services: Services, run: RunContext, stale: timedelta) -> DriftReport:
    """The drift check that the layers rest on; :class:`DataRejected` when there is none that is new enough."""
    reports = services.records.newest(run.model, DriftReport)
    if not reports:
        raise DataRejected("there is no drift check yet; the DAG drift_check makes one")
    age = run.as_of - reports[0].as_of
    if age > stale:
        raise DataRejected(
            f"the newest drift check is {words(age.total_seconds())} old (limit {words(stale.total_seconds())}); "
            "is the DAG drift_check running?"
        )
    return reports[0]


def _skew(services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion, report: DriftReport) -> Found:
    """The values that the server was sent against the source's, of the same time."""
    if spec.serving.journal.features != "vector":
        return found((), {}, [f"skew: the journal keeps {spec.serving.journal.features}, no values"], looked=False)
    if report.window_start is None or report.last_event is None:
        return found((), {}, ["skew: the source has no event time"], looked=False, unjudged=[SKEW])
    table = services.journal.read(run.model, report.window_start, report.last_event)
    served = _served(table, champion.version_id)
    if served.num_rows < spec.drift.minimum_rows:
        note = f"skew: {served.num_rows} served rows of {spec.drift.minimum_rows} in the source's window"
        return found((), {"served_rows": float(served.num_rows)}, [note], looked=False, unjudged=[SKEW])
    return _compared(services, run, spec, champion, served, report)


def _served(table: pa.Table, version_id: str) -> pa.Table:
    import pyarrow.compute as pc

    mine = pc.and_(pc.equal(table.column("version_id"), version_id), pc.is_valid(table.column("features")))
    rows = table.filter(mine)
    step = max(1, rows.num_rows // SERVED_ROWS)
    return rows.take(list(range(0, rows.num_rows, step))) if step > 1 else rows


def _compared(
    services: Services,
    run: RunContext,
    spec: ModelSpec,
    champion: ServedVersion,
    served: pa.Table,
    report: DriftReport,
) -> Found:
    import pyarrow.parquet as pq

    from gauntlet.core.drift import compare
    from gauntlet.stages.drift_window import pull_window, read_profile
    from gauntlet.stages.windows import Window, counted, profile_of
    from gauntlet.stages.write_profile import kinds_in

    sidecar = read_sidecar(services, champion)
    profile, _ = read_profile(services, champion)
    kinds = {name: kind for name, kind in kinds_in(spec).items() if name in {f.name for f in sidecar.features}}
    pulled = pull_window(services, run, spec, report.window_end)
    services.scratch.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=services.scratch, prefix="skew-") as scratch:
            path = Path(scratch) / "served.parquet"
            pq.write_table(decoded(served, sidecar), path)
            reference = replace(profile_of(Window(pulled.path, verified=True), kinds), importances=profile.importances)
            features = compare(reference, counted(reference.blank(), Window(path), kinds), spec.drift)
    finally:
        pulled.path.unlink(missing_ok=True)
    return skew(features, spec.monitoring.data, served.num_rows)


def decoded(served: pa.Table, sidecar: ModelSidecar) -> pa.Table:
    """The journal's feature vectors as columns of raw values; what was unseen in training has no value."""
    import numpy as np
    import pyarrow as pa

    width = len(sidecar.features)
    flat = np.frombuffer(b"".join(served.column("features").to_pylist()), dtype="<f8")
    matrix = flat.reshape(served.num_rows, width)
    columns: dict[str, pa.Array] = {}
    for place, feature in enumerate(sidecar.features):
        values = matrix[:, place]
        missing = np.isnan(values)
        if feature.kind is FeatureKind.CATEGORICAL:
            codes = pa.array(np.where(missing, 0, values).astype(np.int32), mask=missing)
            names = pa.array(feature.categories or (), pa.string())
            columns[feature.name] = pa.DictionaryArray.from_arrays(codes, names)
        elif feature.kind is FeatureKind.BOOLEAN:
            columns[feature.name] = pa.array(values == 1, mask=missing)
        else:
            columns[feature.name] = pa.array(values, mask=missing)
    return pa.table(columns)


def model_layer(services: Services, run: RunContext, spec: ModelSpec) -> Found:
    """Scores and labels of the newest drift check; labels joined to what was really answered; slices; confidence."""
    from gauntlet.stages.audit_slices import newest_audit
    from gauntlet.stages.served_confidence import served_confidence
    from gauntlet.stages.served_performance import served_performance

    champion = services.routing.read(run.model).stable
    if champion is None:
        return _nobody()
    report = _newest_check(services, run, spec.monitoring.data.stale)
    return merged([
        model_health(report),
        served_performance(services, run, spec, champion),
        served_confidence(services, run, spec, champion),
        *decided(services, run, spec, champion),
        *newest_audit(services, run, spec),
    ])


def decided(services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion) -> list[Found]:
    """The champion's decisions of the window against those of earlier windows, where the spec wants it."""
    import pyarrow.compute as pc

    section = spec.monitoring.model
    if section.diversity_drop is None:
        return []
    table = services.journal.read(run.model, run.as_of - section.window, run.as_of)
    own = pc.and_(pc.equal(table["status"], "ok"), pc.equal(table["version_id"], champion.version_id))
    own = pc.and_not(own, explored(table))
    made = table["decision"].filter(own).to_pylist()
    past = [value for _, value in past_values(services, run, Layer.MODEL).get(diversity.VALUE, [])]
    return [diversity.decision_diversity(made, past, section.diversity_drop)]


def product_layer(services: Services, run: RunContext, spec: ModelSpec) -> Found:
    """The user's product metrics."""
    return _metrics(services, run, spec, Layer.PRODUCT, spec.monitoring.product)


def business_layer(services: Services, run: RunContext, spec: ModelSpec) -> Found:
    """The user's business outcomes."""
    return _metrics(services, run, spec, Layer.BUSINESS, spec.monitoring.business)


def _metrics(
    services: Services, run: RunContext, spec: ModelSpec, layer: Layer, wanted: Mapping[str, WatchedMetric]
) -> Found:
    if not wanted:
        return found((), {}, [f"monitoring.{layer} names no metric"], looked=False)
    past = past_values(services, run, layer)
    return merged([_metric(services, run, spec, layer, name, metric, past) for name, metric in wanted.items()])


def _metric(
    services: Services,
    run: RunContext,
    spec: ModelSpec,
    layer: Layer,
    name: str,
    metric: WatchedMetric,
    past: Mapping[str, list[tuple[datetime, float]]],
) -> Found:
    try:
        value = _value(services, run, spec, metric)
    except Exception as error:  # A user's code may raise anything.
        said = str(error) if isinstance(error, GauntletError) else f"{type(error).__name__}: {error}"
        return unseen_metric(layer, name, said, metric.severity)
    earlier = [each for at, each in past.get(name, []) if at <= run.as_of - metric.window]
    return watched(layer, name, metric, value, earlier)


def _value(services: Services, run: RunContext, spec: ModelSpec, metric: WatchedMetric) -> float:
    since = run.as_of - metric.window
    bound: dict[str, Any] = {"since": since, "until": run.as_of}
    if metric.sql is not None and metric.uri is not None:
        return _single(services.queries.on_database(spec.model, metric.uri, metric.sql, bound))
    table = services.journal.read(run.model, since, run.as_of)
    if metric.sql is not None:
        return _single(services.queries.on_requests(metric.sql, bound, table))
    module, _, name = str(metric.function).partition(":")
    function: Callable[[Mapping[str, Any]], float] = getattr(importlib.import_module(module), name)
    return float(function({field: table.column(field).to_numpy(zero_copy_only=False) for field in table.column_names}))


def _single(answer: pa.Table) -> float:
    if answer.num_rows != 1 or "value" not in answer.column_names:
        columns = ", ".join(answer.column_names)
        raise DataRejected(f"sql: must give one row with a column value; it gives {answer.num_rows} rows of {columns}")
    value = answer.column("value")[0].as_py()
    if value is None:
        raise DataRejected("sql: value is null")
    return float(value)


def service_layer(services: Services, run: RunContext, spec: ModelSpec) -> Found:
    """The journal's last hour, and whether every server process answers and agrees."""
    routing = services.routing.read(run.model)
    if routing.stable is None:
        return _nobody()
    section = spec.monitoring.service
    reports = services.server.reports(run.model)
    if not reports:
        raise InfrastructureError("no server process reports")
    behind = sorted(report.worker for report in reports if report.epoch != routing.epoch)
    table = services.journal.read(run.model, run.as_of - section.window, run.as_of)
    past = same_hour(past_values(services, run, Layer.SERVICE).get("requests", []), run.as_of, section.window)
    health = service_health(table, section, past, lacking(table))
    # An hour with hardly a request is no good hour, whatever else is well.
    return merged([health, agreement(behind, routing.epoch)], every=True)


def past_values(services: Services, run: RunContext, layer: Layer) -> dict[str, list[tuple[datetime, float]]]:
    """Every number that earlier looks at a layer have kept, of looks that found nothing wrong with that number."""
    values: dict[str, list[tuple[datetime, float]]] = {}
    for report in services.records.newest(run.model, LayerReport, limit=PAST_REPORTS, name=layer.value):
        if report.until >= run.as_of or report.outcome is Outcome.ERROR:
            continue
        wrong = {symptom.key.split(".", 1)[1] for symptom in report.failing}
        for name, value in report.values.items():
            if name not in wrong:
                values.setdefault(name, []).append((report.until, value))
    return values


LAYERS: dict[Layer, Callable[[Services, RunContext, ModelSpec], Found]] = {
    Layer.SERVICE: service_layer,
    Layer.DATA: data_layer,
    Layer.MODEL: model_layer,
    Layer.PRODUCT: product_layer,
    Layer.BUSINESS: business_layer,
}
