"""Live traffic from the journal: request rate, latency, errors, and the distribution of predictions by arm."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from gauntlet.core.journal import lacking
from gauntlet.core.live.window import explored
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SETTLED = timedelta(seconds=3)
"""Rows younger than this may still be on their way into the journal."""
BUCKETS = 60
BINS = 20
QUANTILES = (0.5, 0.95, 0.99)


class Moment(Record):
    """A stretch of the window. Latencies in milliseconds; ``None`` where there was no request."""

    at: Instant
    per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    error_rate: float | None


class ArmScores(Record):
    """How one arm's predictions are distributed: shares of ``rows`` over the page's bins."""

    arm: str
    rows: int
    version_ids: tuple[str, ...]
    shares: tuple[float, ...]
    mean: float


class Live(Record):
    """The window up to now. ``edges`` are of the score bins, one more than bins."""

    model: str
    since: Instant
    until: Instant
    seconds: float
    """Length of one moment."""
    rows: int
    explored: int
    """Rows whose decision the exploration reserve has drawn."""
    moments: tuple[Moment, ...]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    edges: tuple[float, ...]
    arms: tuple[ArmScores, ...]
    incomplete: str | None
    empty: str | None


def live(services: Services, model: str, minutes: int = 5) -> Live:
    """The last minutes of traffic as the server journaled it."""
    services.specs.get(model)
    until = services.clock.now() - SETTLED
    since = until - timedelta(minutes=minutes)
    table = services.journal.read(model, since, until)
    step = (until - since).total_seconds() / BUCKETS
    latency = _column(table, "latency_us") / 1000
    quantiles = _quantiles(latency)
    edges, arms = _scores(table)
    return Live(
        model=model,
        since=since,
        until=until,
        seconds=step,
        rows=table.num_rows,
        explored=int(explored(table).sum()),
        moments=tuple(_moments(table, latency, since, step)) if table.num_rows else (),
        p50_ms=quantiles[0],
        p95_ms=quantiles[1],
        p99_ms=quantiles[2],
        edges=edges,
        arms=arms,
        incomplete=lacking(table) or None,
        empty=None if table.num_rows else f"No request to {model} in the last {minutes} minutes.",
    )


def _column(table: pa.Table, name: str) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def _quantiles(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    import numpy as np

    if not len(values):
        return (None,) * len(QUANTILES)
    return tuple(round(float(value), 4) for value in np.quantile(values, QUANTILES))


def _moments(table: pa.Table, latency: NDArray[np.float64], since: Instant, step: float) -> list[Moment]:
    import numpy as np
    import pyarrow as pa

    at = table.column("at").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy() / 1e6
    place = np.clip(((at - since.timestamp()) / step).astype(int), 0, BUCKETS - 1)
    failed = np.asarray([status != "ok" for status in table.column("status").to_pylist()])
    # Rows come in order of arrival, so a moment is a slice.
    ends = np.searchsorted(place, np.arange(BUCKETS + 1))
    return [
        _moment(since + timedelta(seconds=number * step), latency[begin:end], failed[begin:end], step)
        for number, (begin, end) in enumerate(pairwise(ends))
    ]


def _moment(at: Instant, latency: NDArray[np.float64], failed: NDArray[np.bool_], step: float) -> Moment:
    p50, p95, p99 = _quantiles(latency)
    return Moment(
        at=at,
        per_second=round(len(latency) / step, 3),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        error_rate=float(failed.mean()) if len(failed) else None,
    )


def _scores(table: pa.Table) -> tuple[tuple[float, ...], tuple[ArmScores, ...]]:
    """Both arms on the same bins: 0 to 1 when all scores are in it, else the range seen."""
    import numpy as np

    scores, arms = _column(table, "score"), np.asarray(table.column("arm").to_pylist(), dtype=object)
    versions = np.asarray(table.column("version_id").to_pylist(), dtype=object)
    finite = np.isfinite(scores)
    if not finite.any():
        return (), ()
    low, high = float(scores[finite].min()), float(scores[finite].max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    found = []
    for arm in sorted({str(one) for one in arms}, reverse=True):
        mine = finite & (arms == arm)
        counts, _ = np.histogram(scores[mine], edges)
        if counts.sum():
            found.append(
                ArmScores(
                    arm=arm,
                    rows=int(mine.sum()),
                    version_ids=tuple(sorted({str(one) for one in versions[mine]})),
                    shares=tuple(round(float(share), 5) for share in counts / counts.sum()),
                    mean=round(float(scores[mine].mean()), 5),
                )
            )
    return tuple(round(float(edge), 6) for edge in edges), tuple(found)
