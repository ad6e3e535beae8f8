"""What the journal does not know itself: labels that became known since, and product metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import DataRejected, GauntletError, SpecError
from gauntlet.core.live.join import key_text, match_entities, match_requests, with_labels, without_labels
from gauntlet.core.live.products import function_values, profit_values, values_of_keys
from gauntlet.core.live.window import Product
from gauntlet.core.ports import Services
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.rollout import ProductMetric
from gauntlet.core.specs.source import FeatureColumns

if TYPE_CHECKING:
    import pyarrow as pa


def join_labels(services: Services, spec: ModelSpec, table: pa.Table, now: datetime) -> pa.Table:
    """The journal with ``label``, ``mature`` and the source columns that product metrics read.

    Labels come from the source itself, as known now. A source without a row for these requests is no error: there are
    no labels yet, which no step that asks for them passes.
    """
    import pyarrow.compute as pc

    maturity = _maturity(spec)
    if table.num_rows == 0 or pc.min(table.column("at")).as_py() + maturity > now:
        return without_labels(table, "")
    try:
        rows = _pull(services, _asking(spec), pc.min(table.column("at")).as_py(), now)
    except DataRejected as why:
        return without_labels(table, str(why))
    columns, how = spec.source.columns, spec.rollout.labels
    if how.by == "request":
        matches = match_requests(table, [key_text(key) for key in rows.column(str(columns.key)).to_pylist()])
    else:
        hashed = spec.serving.journal.entity == "hash"
        entities = [key_text(key, hashed=hashed) for key in rows.column(str(columns.entity)).to_pylist()]
        matches = match_entities(table, entities, rows.column(str(columns.event_time)).to_pylist(), how.within)
    known_at = rows.column(columns.label_known_at).to_pylist() if columns.label_known_at else None
    return with_labels(
        table,
        matches,
        rows.column(columns.label).to_pylist(),
        known_at,
        maturity=maturity,
        now=now,
        extra={name: rows.column(name).to_pylist() for name in _read(spec)},
    )


def measure_products(
    services: Services,
    spec: ModelSpec,
    wanted: Mapping[str, ProductMetric],
    table: pa.Table,
    *,
    rollout: str,
    since: datetime,
    until: datetime,
    thresholds: tuple[float | None, float | None] = (None, None),
) -> dict[str, Product]:
    """A value for every row of ``table`` by product metric; what goes wrong in one is that metric's verdict."""
    import numpy as np

    bound = {"since": since, "until": until, "rollout": rollout}
    measured = {}
    for name, metric in wanted.items():
        try:
            measured[name] = _measure(services, spec, metric, table, bound, thresholds)
        except Exception as error:  # A user's code may raise anything.
            said = str(error) if isinstance(error, GauntletError) else f"{type(error).__name__}: {error}"
            measured[name] = Product(np.empty(0), np.empty(0), said)
    return measured


def _measure(
    services: Services,
    spec: ModelSpec,
    metric: ProductMetric,
    table: pa.Table,
    bound: Mapping[str, Any],
    thresholds: tuple[float | None, float | None],
) -> Product:
    if metric.profit is not None:
        return profit_values(table, metric.profit, *thresholds)
    if metric.function is not None:
        return function_values(table, metric.function)
    sql = str(metric.sql)
    if metric.uri is None:
        found = services.queries.on_requests(sql, bound, table)
    else:
        found = services.queries.on_database(spec.model, metric.uri, sql, bound)
    return values_of_keys(table, found, metric.missing)


def _maturity(spec: ModelSpec) -> timedelta:
    return spec.rollout.labels.maturity or spec.source.label_delay or timedelta(0)


def _read(spec: ModelSpec) -> tuple[str, ...]:
    """The source columns of all product metrics, each once; the label's own comes anyway."""
    names = dict.fromkeys(name for metric in spec.rollout.metrics.values() for name in metric.reads)
    names.pop(spec.source.columns.label, None)
    return tuple(names)


def _asking(spec: ModelSpec) -> ModelSpec:
    """The spec that asks the source for keys, times, labels and what product metrics read, and for no feature.

    When a label counts is decided per request, so the source's own delay does not come on top.
    """
    columns = spec.source.columns.model_copy(update={"protected": (), "weight": None, "extra": _read(spec)})
    source = spec.source.model_copy(
        update={"columns": columns, "features": FeatureColumns(), "label_delay": None, "window": None}
    )
    contract = spec.contract.model_copy(update={"columns": {}, "unique_together": (), "relations": ()})
    return spec.model_copy(update={"source": source, "contract": contract})


def _pull(services: Services, spec: ModelSpec, first: datetime, now: datetime) -> pa.Table:
    import pyarrow.parquet as pq

    source = services.sources.get(spec.source.kind)
    if source is None:
        raise SpecError(f"{spec.model}: no source of kind {spec.source.kind!r} is at hand to ask for labels")
    with tempfile.TemporaryDirectory(dir=services.scratch, prefix="labels-") as folder:
        since = first - spec.rollout.labels.within
        found = source.pull(spec, since, now, labelled=False, to=Path(folder) / "labels.parquet")
        return pq.read_table(found.path)
