"""What can be said of labels before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gauntlet.core.gates.label_quality import CLASS_SHARE, CONFLICTING, GENERATED, MEAN
from gauntlet.core.records.model import Task
from gauntlet.core.records.observation import Observation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

GOLDEN_RATIO = 0x9E3779B97F4A7C15
MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def label_facts(
    task: Task,
    label: Floats,
    features: Iterable[Floats],
    *,
    classes: int = 2,
    origin: npt.NDArray[Any] | None = None,
    generated: Iterable[str] = (),
) -> Iterator[Observation]:
    """Class shares (mean for regression), conflicting rows, and labels no person has given; arrays of shape (n,)."""
    import numpy as np

    n = len(label)
    if task is Task.REGRESSION:
        yield Observation(kind=MEAN, subject=None, rows=n, value=float(label.mean()) if n else None)
    else:
        for code in range(classes):
            share = float(np.mean(label == code)) if n else None
            yield Observation(kind=CLASS_SHARE, subject=str(code), rows=n, value=share)
        yield Observation(kind=CONFLICTING, subject=None, rows=n, value=conflicting(features, label) if n else None)
    if origin is not None:
        made = float(np.isin(origin.astype(str), list(generated)).mean()) if n else None
        yield Observation(kind=GENERATED, subject=None, rows=n, value=made)


def conflicting(features: Iterable[Floats], label: Floats) -> float:
    """The share of rows whose features are exactly those of a row with another label.

    Rows are compared by a 64-bit hash: among a million rows the chance of one accidental match is 3e-8.
    """
    import numpy as np

    group = np.unique(row_hash(features, len(label)), return_inverse=True)[1]
    low, high = np.full(group.max() + 1, np.inf), np.full(group.max() + 1, -np.inf)
    np.minimum.at(low, group, label)
    np.maximum.at(high, group, label)
    return float((low != high)[group].mean())


def row_hash(features: Iterable[Floats], n: int) -> npt.NDArray[np.uint64]:
    """One hash per row over all features (splitmix64 of each value's bits, chained); NaN is one value."""
    import numpy as np

    state = np.zeros(n, dtype=np.uint64)
    for values in features:
        plain = np.where(np.isnan(values), np.nan, values) + 0.0
        state = state * np.uint64(GOLDEN_RATIO) + plain.view(np.uint64)
        for shift, factor in zip((30, 27), MIX, strict=True):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        state ^= state >> np.uint64(31)
    return state
