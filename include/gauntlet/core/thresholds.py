"""Choosing a binary model's decision threshold on rows that did not train it.

A row is positive when its score is at or above the threshold. Only thresholds halfway between two
neighbouring scores are tried, so that no row sits on the edge. Of equally good ones the middle one is taken.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gauntlet.core.errors import TrainingFailed
from gauntlet.core.metrics import MetricError, Sample, measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TRIED_FUNCTION_THRESHOLDS = 200
LOWEST, HIGHEST = 1e-6, 1 - 1e-6


def choose_threshold(kind: str, sample: Sample) -> float:
    """The threshold with the greatest ``f1`` or ``profit`` on the sample, in (0, 1).

    Raises:
        TrainingFailed: no threshold has a value: one class, or a profit column with nulls.
    """
    import numpy as np

    edges = candidate_thresholds(sample.score)
    try:
        values = _f1(sample, edges) if kind == "f1" else _profit(sample, edges)
    except MetricError as error:
        raise TrainingFailed(f"training.threshold: {kind}: {error}") from None
    if not np.isfinite(values).any():
        raise TrainingFailed(f"training.threshold: {kind} is not a number at any threshold on {len(sample)} rows")
    best = np.flatnonzero(values == np.nanmax(values))
    return float(edges[best[len(best) // 2]])


def candidate_thresholds(scores: Floats) -> Floats:
    """Every value that divides the scores differently, rising: below all, between neighbours, above all."""
    import numpy as np

    distinct = np.unique(scores)
    between = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
    return np.unique(np.clip(np.concatenate([[distinct[0] / 2], between, [(1 + distinct[-1]) / 2]]), LOWEST, HIGHEST))


def _below(sample: Sample, edges: Floats, values: Floats) -> Floats:
    """The sum of ``values`` over rows with a score below each edge."""
    import numpy as np

    order = np.argsort(sample.score, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    return np.asarray(sums[np.searchsorted(sample.score[order], edges, side="left")])


def _weights(sample: Sample) -> Floats:
    import numpy as np

    return np.ones(len(sample)) if sample.weight is None else sample.weight


def _f1(sample: Sample, edges: Floats) -> Floats:
    import numpy as np

    weight = _weights(sample)
    positive = weight * (sample.label == 1)
    if not positive.sum():
        raise MetricError(f"no positive row among {len(sample)}")
    hits = positive.sum() - _below(sample, edges, positive)
    decided = weight.sum() - _below(sample, edges, weight)
    return np.asarray(2 * hits / (decided + positive.sum()))


def _profit(sample: Sample, edges: Floats) -> Floats:
    import numpy as np

    if sample.profit is None or sample.profit.function is not None or sample.profit.aggregate != "mean":
        return _profit_by_trial(sample, edges)
    from gauntlet.core.kernels import profit_rows

    # With everything acted on, the kernel gives what each row yields.
    everything = np.inf if sample.profit.act == "below" else -np.inf
    rows = profit_rows(replace(sample, threshold=everything)) * _weights(sample)
    below = _below(sample, edges, rows)
    return below if sample.profit.act == "below" else np.asarray(rows.sum() - below)


def _profit_by_trial(sample: Sample, edges: Floats) -> Floats:
    """A user's own function, or a ratio, has to be asked threshold by threshold: at evenly spaced ones."""
    import numpy as np

    values = np.full(len(edges), np.nan)
    for place in np.unique(np.linspace(0, len(edges) - 1, TRIED_FUNCTION_THRESHOLDS).astype(int)):
        # A ratio has no value where nothing is acted on; a function that never has one is found by the caller.
        with suppress(MetricError):
            values[place] = measure("profit", replace(sample, threshold=float(edges[place])))
    return values
