"""The service: errors, latency, throughput, and whether its processes agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from gauntlet.core.layers.finding import LEAST_PAST, PAST, Found, by_chance, fallen, found, symptom
from gauntlet.core.records.monitoring import Layer, Severity, Symptom
from gauntlet.core.specs.monitoring import ServiceLayerSection

if TYPE_CHECKING:
    import pyarrow as pa


def service_health(table: pa.Table, section: ServiceLayerSection, past: Sequence[float], incomplete: str) -> Found:
    """Error rate, latency and throughput of the journal's window; ``past``: requests of earlier windows."""
    rows = table.num_rows
    symptoms, unknown = _throughput(rows, past, section.throughput_drop)
    notes, unjudged = ([unknown], [f"{Layer.SERVICE}.throughput"]) if unknown else ([], [])
    if incomplete:
        symptoms.append(symptom(Layer.SERVICE, "journal", Severity.WARNING, f"the journal is incomplete: {incomplete}"))
    if rows < section.least:
        notes.insert(0, f"{rows} requests in the window; rates are judged from {section.least}")
        unjudged += [f"{Layer.SERVICE}.errors", f"{Layer.SERVICE}.latency"]
        return found(symptoms, {"requests": float(rows)}, notes, looked=False, unjudged=unjudged)
    errors = _errors(table)
    low = _wilson_low(errors, rows)
    if low > section.error_rate:
        symptoms.append(
            symptom(
                Layer.SERVICE,
                "errors",
                Severity.PAGE,
                f"{errors / rows:.2%} of {rows:,} requests failed (limit {section.error_rate:.2%})",
                observed=errors / rows,
                limit=section.error_rate,
                n=rows,
                beyond=errors / rows / section.error_rate,
            )
        )
    p50, p95, p99 = _latency(table)
    most = section.p99.total_seconds() * 1e6
    if p99 > most:
        symptoms.append(
            symptom(
                Layer.SERVICE,
                "latency",
                Severity.PAGE,
                f"p99 latency is {p99 / 1000:.1f} ms on {rows:,} requests (limit {most / 1000:g} ms)",
                observed=p99,
                limit=most,
                n=rows,
                beyond=p99 / most,
            )
        )
    values = {"requests": float(rows), "error_rate": errors / rows, "p50_us": p50, "p95_us": p95, "p99_us": p99}
    return found(symptoms, values, notes, unjudged=unjudged)


def _throughput(rows: int, past: Sequence[float], drop: float) -> tuple[list[Symptom], str | None]:
    """Whether requests stay away, or why that cannot be told: no baseline, or one of so few that none is no news."""
    if len(past) < LEAST_PAST:
        return [], f"throughput: {len(past)} of {LEAST_PAST} earlier windows at this hour that make a baseline"
    missed = fallen(Layer.SERVICE, "throughput", "requests in the window", rows, past, drop, Severity.PAGE)
    expected = median(past)
    if missed or (rows >= expected * (1 - drop) and not by_chance(0, expected)):
        return missed, None
    return [], f"throughput: {rows} requests where {expected:,.0f} are usual; so few may stay away by chance"


def agreement(behind: Sequence[str], epoch: int) -> Found:
    """Whether every server process follows the routing row."""
    if not behind:
        return found((), {})
    sentence = f"{', '.join(behind)} do not serve routing epoch {epoch}"
    return found([symptom(Layer.SERVICE, "agreement", Severity.PAGE, sentence)], {})


def _errors(table: pa.Table) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(pc.not_equal(table.column("status"), "ok")).as_py() or 0)


def _latency(table: pa.Table) -> tuple[float, float, float]:
    import numpy as np

    found = np.percentile(table.column("latency_us").to_numpy(), (50, 95, 99))
    return float(found[0]), float(found[1]), float(found[2])


def _wilson_low(count: int, rows: int, z: float = 3.09) -> float:
    """Lower end of Wilson's interval (JASA 22, 1927) for a share; ``z`` 3.09: one in a thousand.

    >>> round(_wilson_low(30, 1000), 4)
    0.0173
    """
    share = count / rows
    middle = share + z * z / (2 * rows)
    reach = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return (middle - reach) / (1 + z * z / rows)


def same_hour(past: Iterable[tuple[datetime, float]], now: datetime, within: timedelta) -> list[float]:
    """The values of earlier windows at about this hour of any day: traffic has a daily rhythm."""
    seconds = within.total_seconds()
    day = 86_400.0
    kept = []
    for at, value in past:
        ago = (now - at).total_seconds()
        if seconds <= ago <= PAST.total_seconds() and min(ago % day, day - ago % day) <= seconds / 2:
            kept.append(value)
    return kept
