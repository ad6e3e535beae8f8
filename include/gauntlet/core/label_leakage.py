"""Whether features give the label away: one alone, or several added up. On a seeded sample of train rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gauntlet.core.leakage_evidence import TRAIN, Evidence, Limits, finding, unanswered
from gauntlet.core.records.data import LeakageFinding
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gauntlet.core.leakage_evidence import Floats

BINS = 64
MIN_ROWS = 40
EXACT = 0.9999
"""R² beyond which a linear combination does not explain the label but *is* the label."""


def single_features(evidence: Evidence, limits: Limits, seed: int) -> Iterator[LeakageFinding]:
    """No feature alone predicts the label implausibly well: one finding, naming those that do."""
    sample = _sample(evidence, limits.sample, seed)
    label = evidence.label[sample]
    measure, limit = ("R²", limits.r2) if evidence.task is Task.REGRESSION else ("AUC", limits.auc)
    if (problem := _unusable(label)) is not None:
        yield unanswered("single_feature", problem)
        return
    scores = {
        name: _score(evidence.task, column.values[sample], column.categorical, label)
        for name, column in evidence.features.items()
    }
    best = max(scores, key=lambda name: scores[name])
    guilty = sorted((name for name, score in scores.items() if score >= limit), key=lambda name: -scores[name])
    if guilty:
        shown = ", ".join(f"{name} ({measure} {scores[name]:.3f})" for name in guilty)
        yield finding("single_feature", True, f"one feature alone predicts the label: {shown}; limit {limit:g}")
    else:
        text = (
            f"the best single feature, {best}, has {measure} {scores[best]:.3f}, limit {limit:g}, on {len(label)} rows"
        )
        yield finding("single_feature", False, text)


def _sample(evidence: Evidence, size: int, seed: int) -> NDArray[np.int64]:
    """Train rows for the label checks, in a seeded random order."""
    import numpy as np

    rows = np.flatnonzero((evidence.parts == TRAIN) & ~np.isnan(evidence.label))
    return np.random.default_rng(seed).permutation(rows)[:size]


def _unusable(label: Floats) -> str | None:
    if len(label) < MIN_ROWS:
        return f"{len(label)} train rows with a label are too few to look for a feature that leaks it"
    half = len(label) // 2
    if (label[:half] == label[0]).all() or (label[half:] == label[-1]).all():
        return f"the label is the same in all of {half} sampled train rows"
    return None


def _score(task: Task, values: Floats, categorical: bool, label: Floats) -> float:
    """How well bin means, learnt on one half, predict the other: R², or AUC (one class against the rest)."""
    import numpy as np

    bins = _bins(values, categorical)
    half = len(label) // 2
    if task is Task.REGRESSION:
        return _r2(label[half:], _encode(bins, label, half))
    classes = [1.0] if task is Task.BINARY else list(np.unique(label))
    return max(_auc(label[half:] == value, _encode(bins, (label == value).astype(float), half)) for value in classes)


def _bins(values: Floats, categorical: bool) -> NDArray[np.int64]:
    """Bin codes from 1; 0 is missing. Categories are their own bins, numbers fall in quantile bins."""
    import numpy as np

    missing = np.isnan(values)
    if categorical:
        return np.where(missing, 0, np.nan_to_num(values) + 1).astype(np.int64)
    present = values[~missing]
    if not len(present):
        return np.zeros(len(values), dtype=np.int64)
    edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    return np.where(missing, 0, np.searchsorted(edges, values, side="left") + 1).astype(np.int64)


def _encode(bins: NDArray[np.int64], label: Floats, half: int) -> Floats:
    """The second half's bins as the mean label of the first half's rows in the same bin."""
    import numpy as np

    size = int(bins.max()) + 1
    counts = np.bincount(bins[:half], minlength=size)
    sums = np.bincount(bins[:half], weights=label[:half], minlength=size)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), label[:half].mean())
    encoded: Floats = means[bins[half:]]
    return encoded


def _r2(label: Floats, predicted: Floats) -> float:
    total = float(((label - label.mean()) ** 2).sum())
    return 1 - float(((label - predicted) ** 2).sum()) / total if total else 0.0


def _auc(positive: NDArray[np.bool_], score: Floats) -> float:
    """Area under the ROC curve with ties counted half (Mann & Whitney 1947)."""
    import numpy as np

    _, codes = np.unique(score, return_inverse=True)
    ones = np.bincount(codes, weights=positive)
    zeros = np.bincount(codes) - ones
    pairs = float(ones.sum() * zeros.sum())
    if not pairs:
        return 0.5
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum()) / pairs


def linear_combination(evidence: Evidence, size: int, seed: int) -> LeakageFinding:
    """The label is not a linear combination of numeric features: what a label split into its parts looks like."""
    import numpy as np

    sample = _sample(evidence, size, seed)
    label = evidence.label[sample]
    if (problem := _unusable(label)) is not None:
        return unanswered("linear_combination", problem)
    numeric = {name: column for name, column in evidence.features.items() if not column.categorical}
    columns = [_standardized(column.values[sample]) for column in numeric.values()]
    design = np.column_stack([np.ones(len(label)), *columns])
    half = len(label) // 2
    weights = np.linalg.lstsq(design[:half], label[:half], rcond=None)[0]
    r2 = _r2(label[half:], design[half:] @ weights)
    largest = sorted(zip(numeric, np.abs(weights[1:]), strict=True), key=lambda item: -item[1])
    names = ", ".join(name for name, weight in largest if weight >= largest[0][1] * 1e-3)
    if r2 >= EXACT:
        return finding("linear_combination", True, f"the label is a linear combination of {names} (R² {r2:.5f})")
    return finding("linear_combination", False, f"numeric features explain {r2:.3f} of the label linearly")


def _standardized(values: Floats) -> Floats:
    """Mean 0 and deviation 1, missing and infinite values at the mean."""
    import numpy as np

    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    centred = np.where(finite, values, values[finite].mean()) - values[finite].mean()
    deviation = centred.std()
    scaled: Floats = centred / deviation if deviation > 0 else np.zeros(len(values))
    return scaled
