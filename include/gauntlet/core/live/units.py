"""What each randomised unit did, by metric: the rows of an A/B report. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gauntlet.core.journal import Status
from gauntlet.core.live.window import explored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

LEAST_BEFORE = 0.5
"""A pre-period counts when this share of the units was seen in it."""


def request_metrics(table: pa.Table, *, binary: bool) -> dict[str, Floats]:
    """Of every journal row: whether it was answered by its arm, how fast, with what score and decision of its own."""
    import numpy as np

    answered = np.asarray([status == Status.OK for status in table.column("status").to_pylist()], dtype=bool)
    metrics = {
        "answered": answered.astype(np.float64),
        "latency_ms": table.column("latency_us").to_numpy().astype(np.float64) / 1000,
        "score": np.where(answered, table.column("score").to_numpy().astype(np.float64), np.nan),
    }
    if binary:
        decided = np.asarray([math.nan if one is None else one for one in table.column("decision").to_pylist()], float)
        metrics["decision"] = np.where(answered & (decided >= 0) & ~explored(table), decided, np.nan)
    return metrics


def units_of(table: pa.Table) -> list[str]:
    """Who a row's arm was drawn for: its entity, else the request itself."""
    ids = (f"request {one}" for one in table.column("request_id").to_pylist())
    return [entity or request for entity, request in zip(table.column("entity").to_pylist(), ids, strict=True)]


def unit_means(units: Iterable[str], values: Floats, among: Mask) -> dict[str, float]:
    """Each unit's mean over its rows ``among``, units in order of arrival; NaN values do not count."""
    sums: dict[str, list[float]] = {}
    for unit, value, counts in zip(units, values.tolist(), among.tolist(), strict=True):
        if counts and not math.isnan(value):
            each = sums.setdefault(unit, [0.0, 0.0])
            each[0] += value
            each[1] += 1
    return {unit: total / count for unit, (total, count) in sums.items()}


def before(
    arms: tuple[Mapping[str, float], Mapping[str, float]], earlier: Mapping[str, float]
) -> tuple[Floats, Floats] | None:
    """The pre-period's values of both arms' units, its mean for those it has not seen; ``None``: too few were."""
    import numpy as np

    known = [earlier[unit] for arm in arms for unit in arm if unit in earlier]
    if not known or len(known) < LEAST_BEFORE * sum(map(len, arms)):
        return None
    mean = sum(known) / len(known)
    first, second = (np.asarray([earlier.get(unit, mean) for unit in arm]) for arm in arms)
    return first, second
