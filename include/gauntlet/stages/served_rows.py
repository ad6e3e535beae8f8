"""Rows that were served, with what the journal itself does not say: labels, and the columns that slices are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gauntlet.core.errors import GauntletError
from gauntlet.core.journal import lacking
from gauntlet.core.live.window import says
from gauntlet.core.ports import Services
from gauntlet.core.records.model import ModelSidecar
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.rollout import ProductMetric
from gauntlet.stages.live_evidence import join_labels
from gauntlet.stages.recorded import version_called
from gauntlet.stages.release_folder import read_sidecar
from gauntlet.stages.releases import served

if TYPE_CHECKING:
    import pyarrow as pa

DAY = timedelta(days=1)
MOST_A_DAY = 20_000
"""Rows of one day that are read; of more, every second, third, ... is."""


def declared_columns(spec: ModelSpec) -> tuple[str, ...]:
    """The columns whose values are declared slices: those of the monitor, of the gate, and protected ones."""
    slices = getattr(spec.gates, "slices", None)
    gated = slices.columns if slices is not None and "slices" in spec.gates.names else ()
    return tuple(dict.fromkeys((*spec.monitoring.model.by, *gated, *spec.source.columns.protected)))


def answered_rows(
    services: Services, model: str, since: datetime, until: datetime, rollout: str | None = None
) -> tuple[pa.Table, list[str]]:
    """The rows of a window that went well, in order of arrival, read day by day; and what is not whole about them."""
    import pyarrow as pa

    parts, notes = [], []
    start = since
    while start < until:
        end = min(start + DAY, until)
        table = services.journal.read(model, start, end, rollout)
        if cause := lacking(table):
            notes.append(f"the journal of {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} is not whole: {cause}")
        table = table.filter(pa.array(says(table, "status", "ok"))).replace_schema_metadata(None)
        step = -(-table.num_rows // MOST_A_DAY)
        if step > 1:
            notes.append(f"{start:%Y-%m-%d}: 1 of every {step} of {table.num_rows:,} rows")
            table = table.take(list(range(0, table.num_rows, step)))
        parts.append(table)
        # The journal's windows include both ends.
        start = end + timedelta(microseconds=1)
    return pa.concat_tables(parts or [services.journal.read(model, since, until)], promote_options="default"), notes


def with_labels(
    services: Services, spec: ModelSpec, table: pa.Table, columns: Sequence[str], now: datetime
) -> pa.Table:
    """The rows with ``label``, ``mature`` and these columns of the source."""
    services.scratch.mkdir(parents=True, exist_ok=True)
    if not columns:
        return join_labels(services, spec, table, now)
    # A metric that is never measured: it names the columns that are to be read beside the label.
    asking = ProductMetric(margin=1.0, function="builtins:len", columns=tuple(columns))
    metrics = {**spec.rollout.metrics, "slices": asking}
    asked = spec.model_copy(update={"rollout": spec.rollout.model_copy(update={"metrics": metrics})})
    return join_labels(services, asked, table, now)


def sidecar_of(services: Services, model: str, version_id: str) -> ModelSidecar | None:
    """What travels with a version's trees; ``None`` where its release is not there any more."""
    routing = services.routing.read(model)
    routed = [side for side in (routing.stable, routing.canary, routing.previous) if side is not None]
    side = next((one for one in routed if one.version_id == version_id), None)
    registered = None if side else version_called(services, model, version_id)
    side = served(registered) if registered else side
    if side is None:
        return None
    try:
        return read_sidecar(services, side)
    except (GauntletError, OSError, ValueError):
        return None


def feature_columns(
    spec: ModelSpec, table: pa.Table, sidecars: Mapping[str, ModelSidecar | None], names: Sequence[str] | None = None
) -> dict[str, pa.ChunkedArray]:
    """The features that the journal has kept, as columns beside the table's rows; text for categories.

    Empty where the spec keeps none. Rows of a version whose release is gone have no values. ``names``: only those.
    """
    import numpy as np
    import pyarrow as pa

    from gauntlet.stages.monitor_layers import decoded

    if spec.serving.journal.features != "vector" or "features" not in table.column_names:
        return {}
    parts, places = [], []
    for version, sidecar in sidecars.items():
        rows = np.flatnonzero(says(table, "version_id", version) & table.column("features").is_valid().to_numpy())
        if sidecar is None or not rows.size:
            continue
        part = decoded(table.take(rows), sidecar)
        wanted = [name for name in part.column_names if names is None or name in names]
        parts.append(pa.table({name: _plain(part.column(name)) for name in wanted}))
        places.append(rows)
    if not parts:
        return {}
    whole = pa.concat_tables(parts, promote_options="default")
    place = np.full(table.num_rows, -1)
    place[np.concatenate(places)] = np.arange(whole.num_rows)
    aligned = whole.take(pa.array(place, mask=place < 0))
    return {name: aligned.column(name) for name in aligned.column_names}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def slice_columns(
    table: pa.Table, features: Mapping[str, pa.ChunkedArray], columns: Sequence[str]
) -> dict[str, pa.ChunkedArray]:
    """The declared columns: as the server was sent them, else as the source has them; what neither has is left out."""
    return {
        name: features[name] if name in features else table.column(name)
        for name in columns
        if name in features or name in table.column_names
    }
