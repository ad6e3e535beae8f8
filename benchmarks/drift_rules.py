"""What the usual tools do by default, on the same windows.

Alarm when any column has a Kolmogorov-Smirnov p-value below 0.05; when any has a PSI above 0.1 over ten reference
deciles; and Evidently's rule for a data set: half of the columns drifted, by KS p < 0.05 up to 1000 rows of reference
and by a Wasserstein distance above 0.1 reference sigma beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Statistics = dict[str, float]
EXACT_UP_TO = 1000
"""Reference rows up to which Evidently takes the KS test."""


@dataclass(frozen=True)
class Rule:
    """A default of the field, over the statistics of all columns."""

    alarms: Callable[[Sequence[Statistics]], bool]


def _half(columns: Sequence[Statistics]) -> bool:
    drifted = sum(
        one["ks_p"] < 0.05 if one["reference_rows"] <= EXACT_UP_TO else one["wasserstein"] > 0.1 for one in columns
    )
    return drifted >= 0.5 * len(columns)


RULES: dict[str, Rule] = {
    "any KS p < 0.05": Rule(lambda columns: any(one["ks_p"] < 0.05 for one in columns)),
    "any PSI > 0.1": Rule(lambda columns: any(one["psi"] > 0.1 for one in columns)),
    "half of the columns": Rule(_half),
}


def of_counts(values: Floats, before: Counts, after: Counts) -> Statistics:
    """The statistics of one column whose values lie on a rising grid."""
    m, n = int(before.sum()), int(after.sum())
    shares = np.cumsum(before) / m, np.cumsum(after) / n
    apart = np.abs(shares[0] - shares[1])
    mean = float(before @ values) / m
    sigma = float(np.sqrt(before @ np.square(values - mean) / m))
    edges = np.unique(np.searchsorted(shares[0], np.arange(1, 10) / 10))
    starts = np.concatenate(([0], edges + 1))
    starts = starts[starts < len(values)]
    cells = [np.maximum(np.add.reduceat(counts, starts) / counts.sum(), 1e-4) for counts in (before, after)]
    return {
        # the limiting distribution; SciPy's exact one takes longer than the whole benchmark
        "ks_p": float(kolmogorov(apart.max() / np.sqrt(1 / n + 1 / m))),
        "psi": float(((cells[1] - cells[0]) * np.log(cells[1] / cells[0])).sum()),
        "wasserstein": float(apart[:-1] @ np.diff(values)) / max(sigma, 1e-3),
        "reference_rows": float(m),
    }


def of_rows(before: Sequence[Floats], after: Sequence[Floats]) -> list[Statistics]:
    """The statistics of every column, from rows."""
    found = []
    for one, other in zip(before, after, strict=True):
        values, codes = np.unique(np.concatenate((one, other)), return_inverse=True)
        counts = [np.bincount(part, minlength=len(values)) for part in (codes[: len(one)], codes[len(one) :])]
        found.append(of_counts(values, counts[0], counts[1]))
    return found
