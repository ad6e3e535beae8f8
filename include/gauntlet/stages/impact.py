"""What users met while an incident lasted, beside the same time before, from the journal and the monitor's looks."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from gauntlet.core.live.window import is_complete
from gauntlet.core.ports import Services
from gauntlet.core.records.incident import Impact, Moved
from gauntlet.core.records.monitoring import Layer, LayerReport

if TYPE_CHECKING:
    import pyarrow as pa

PAST = timedelta(days=7)
LOOKS = 1500


def impact(services: Services, model: str, since: datetime, until: datetime) -> Impact:
    """The answers of a time. What no row has a value for is ``None``."""
    import pyarrow.compute as pc

    table = services.journal.read(model, since, until)
    answered = table.filter(pc.equal(table.column("status"), "ok"))
    made = answered.column("decision")
    made = made.filter(pc.greater_equal(made, 0))
    entities = pc.drop_null(table.column("entity"))
    return Impact(
        requests=table.num_rows,
        failed=table.num_rows - answered.num_rows,
        by_version=_counts(table, "version_id"),
        by_arm=_counts(table, "arm"),
        entities=pc.count_distinct(entities).as_py() if len(entities) else None,
        decided=int(pc.sum(pc.equal(made, 1)).as_py()) if len(made) else None,
        decisions=len(made),
        score=_mean(answered),
        p99_ms=_p99_ms(table),
        complete=is_complete(table),
    )


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    import pyarrow.compute as pc

    return {str(entry["values"]): entry["counts"] for entry in pc.value_counts(table.column(column)).to_pylist()}


def _mean(table: pa.Table) -> float | None:
    import pyarrow.compute as pc

    scores = table.column("score")
    value: Any = pc.mean(scores.filter(pc.is_finite(scores))).as_py()
    return None if value is None else float(value)


def _p99_ms(table: pa.Table) -> float | None:
    import numpy as np

    return float(np.percentile(table.column("latency_us").to_numpy(), 99)) / 1000 if table.num_rows else None


def moved(services: Services, model: str, since: datetime, until: datetime) -> tuple[Moved, ...]:
    """The product's and the business's numbers: their median in the week before, and the farthest from it since."""
    found = []
    for layer in (Layer.PRODUCT, Layer.BUSINESS):
        before: dict[str, list[float]] = {}
        during: dict[str, list[float]] = {}
        for report in services.records.newest(model, LayerReport, limit=LOOKS, name=layer.value):
            if since - PAST <= report.until <= until:
                side = before if report.until < since else during
                for name, value in report.values.items():
                    side.setdefault(name, []).append(value)
        for name, values in sorted(during.items()):
            usual = median(before[name]) if name in before else None
            farthest = max(values, key=lambda value: abs(value - usual)) if usual is not None else values[0]
            found.append(Moved(layer=layer, name=name, before=usual, during=farthest))
    return tuple(found)
