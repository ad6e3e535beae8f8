"""Two models on the same rows: how much better is one, how sure is that, and is it enough?

``delta`` is always an improvement: positive means the candidate is better, whatever the metric's direction.

The bootstrap is paired and Poisson (Chamandy et al. 2012): every row gets an independent Poisson(1) count in each
replicate, the same for both models. Scores are sorted once; a replicate is then one pass over counts. Replicates
are cut into fixed blocks with a seed each, so the result depends on the seed and not on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gauntlet.core.kernels import Weighted, prepare, value_of
from gauntlet.core.metrics import METRICS, MetricError, Sample
from gauntlet.core.outcome import Outcome

if TYPE_CHECKING:
    from gauntlet.core.gates.relative import Mode

Floats = npt.NDArray[np.float64]
REPLICATES = 2000
BLOCK_CELLS = 1 << 21
MOST_COUNT = 8
MOST_UNDEFINED = 0.01
DISAGREEMENT = 1.3


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same rows. ``low`` and ``high`` bound ``delta``, each at level ``alpha``."""

    metric: str
    candidate: float
    other: float
    delta: float
    low: float
    high: float
    se: float
    n: int
    alpha: float
    replicates: int
    delong_se: float | None = None
    deltas: Floats | None = field(default=None, repr=False, compare=False)
    """``delta`` in every bootstrap replicate."""

    def at(self, alpha: float) -> Comparison:
        """The same comparison with an interval at another level; no row is drawn again."""
        if self.deltas is None:
            raise ValueError("this comparison has no replicates to take another interval from")
        low, high = _interval(self.delta, self.deltas, self.se, self.delong_se, alpha)
        return replace(self, low=low, high=high, alpha=alpha)


@dataclass(frozen=True)
class Judgement:
    """Whether a comparison shows what was to be shown: ``observed comparator limit`` in words ``what``."""

    outcome: Outcome
    what: str
    observed: float
    comparator: str
    limit: float
    required_n: int | None


# ---- resampling ------------------------------------------------------------------------------------


def _poisson_table() -> npt.NDArray[np.uint8]:
    """Poisson(1) counts by a 16-bit random number: each probability is exact to 1/65536."""
    mass, upto, table = np.exp(-1.0), 0.0, np.zeros(1 << 16, dtype=np.uint8)
    for count in range(MOST_COUNT + 1):
        start, upto = upto, upto + mass
        table[round(start * 65536) : round(upto * 65536)] = count
        mass /= count + 1
    return table


POISSON = _poisson_table()


def poisson_counts(seed: int, block: int, replicates: int, n: int) -> npt.NDArray[np.uint8]:
    """How often each row is drawn in each replicate of one block; shape (replicates, n)."""
    random = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, block])))
    return POISSON[random.integers(0, 1 << 16, size=(replicates, n), dtype=np.uint16)]


def replicate(
    kernels: Sequence[Weighted], n: int, *, seed: int, replicates: int, weight: Floats | None = None
) -> Floats:
    """Each kernel's value in each replicate, all on the same counts; shape (kernels, replicates)."""
    size = max(1, min(replicates, BLOCK_CELLS // n))
    starts = range(0, replicates, size)

    def block(start: int) -> list[Floats]:
        counts: npt.NDArray[Any] = poisson_counts(seed, start // size, min(size, replicates - start), n)
        if weight is not None:
            counts = counts * weight
        return [kernel(counts) for kernel in kernels]

    if len(starts) == 1:
        return np.asarray(block(0))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return np.concatenate([np.asarray(part) for part in pool.map(block, starts)], axis=1)


# ---- comparing -------------------------------------------------------------------------------------


def compare(
    names: Sequence[str],
    candidate: Sample,
    other: Sample,
    *,
    seed: int,
    alpha: float,
    replicates: int = REPLICATES,
) -> Mapping[str, Comparison]:
    """Several metrics of two models on the same rows, by one paired bootstrap.

    Raises :class:`~gauntlet.core.metrics.MetricError` when the rows differ or a metric is not defined on them.
    """
    _same_rows(candidate, other)
    kernels = [kernel for name in names for kernel in (prepare(name, candidate), prepare(name, other))]
    values = replicate(kernels, len(candidate), seed=seed, replicates=replicates, weight=candidate.weight)
    return {
        name: _summary(name, candidate, other, values[2 * place], values[2 * place + 1], alpha)
        for place, name in enumerate(names)
    }


def _same_rows(candidate: Sample, other: Sample) -> None:
    if len(candidate) != len(other) or not np.array_equal(candidate.label, other.label):
        raise MetricError(f"not the same rows: {len(candidate)} and {len(other)}, or other labels")
    ours, theirs = ([1.0] if sample.weight is None else sample.weight for sample in (candidate, other))
    if not np.array_equal(ours, theirs):
        raise MetricError("not the same weights")


def _summary(name: str, candidate: Sample, other: Sample, ours: Floats, theirs: Floats, alpha: float) -> Comparison:
    sign = METRICS[name].sign
    deltas = _defined(name, sign * (ours - theirs))
    values = value_of(name, candidate), value_of(name, other)
    se, delong_se = float(deltas.std(ddof=1)), None
    delta = sign * (values[0] - values[1])
    if name == "roc_auc" and candidate.weight is None:
        delong_se = delong(candidate.label, candidate.score, other.score).se
    low, high = _interval(delta, deltas, se, delong_se, alpha)
    return Comparison(name, *values, delta, low, high, se, len(candidate), alpha, len(ours), delong_se, deltas)


def _interval(delta: float, deltas: Floats, se: float, delong_se: float | None, alpha: float) -> tuple[float, float]:
    low, high = (float(end) for end in np.quantile(deltas, [alpha, 1 - alpha]))
    return (low, high) if delong_se is None else _wider(delta, low, high, se, delong_se, alpha)


def _defined(name: str, deltas: Floats) -> Floats:
    """Replicates with a value. A few without (one class drawn only) are left out, many mean too little data."""
    kept = deltas[np.isfinite(deltas)]
    if len(kept) < (1 - MOST_UNDEFINED) * len(deltas):
        missing = len(deltas) - len(kept)
        raise MetricError(f"{name} is not defined in {missing} of {len(deltas)} bootstrap replicates")
    return kept


def _wider(delta: float, low: float, high: float, se: float, delong_se: float, alpha: float) -> tuple[float, float]:
    """Bootstrap and DeLong agree up to a factor, and then the bootstrap stands; otherwise the wider of both."""
    if min(se, delong_se) * DISAGREEMENT >= max(se, delong_se):
        return low, high
    half = normal_quantile(1 - alpha) * delong_se
    return min(low, delta - half), max(high, delta + half)


def interval_of(
    name: str, sample: Sample, *, seed: int, alpha: float, replicates: int = REPLICATES
) -> tuple[float, float]:
    """The bootstrap interval of one metric of one model, each side at level ``alpha``."""
    values = replicate([prepare(name, sample)], len(sample), seed=seed, replicates=replicates, weight=sample.weight)
    low, high = np.quantile(_defined(name, values[0]), [alpha, 1 - alpha])
    return float(low), float(high)


# ---- DeLong ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeLong:
    """Two AUCs on the same rows, and the standard error of their difference."""

    candidate: float
    other: float
    se: float


def delong(label: Floats, candidate: Floats, other: Floats) -> DeLong:
    """DeLong et al. (1988) with midranks in O(n log n), after Sun & Xu (2014). Arrays have shape (n,)."""
    positive = label == 1
    parts = [_placements(positive, score) for score in (candidate, other)]
    over_positives = parts[0][0] - parts[1][0]
    over_negatives = parts[0][1] - parts[1][1]
    if min(len(over_positives), len(over_negatives)) < 2:
        raise MetricError("DeLong's variance needs two rows of each class")
    variance = over_positives.var(ddof=1) / len(over_positives) + over_negatives.var(ddof=1) / len(over_negatives)
    return DeLong(float(parts[0][0].mean()), float(parts[1][0].mean()), float(np.sqrt(variance)))


def _placements(positive: npt.NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it."""
    high, low = score[positive], score[~positive]
    return _share_below(low, high), 1 - _share_below(high, low)


def _share_below(among: Floats, of: Floats) -> Floats:
    ordered = np.sort(among)
    sides = [np.searchsorted(ordered, of, side="left"), np.searchsorted(ordered, of, side="right")]
    return np.asarray((sides[0] + sides[1]) / (2 * len(ordered)))


# ---- judging ---------------------------------------------------------------------------------------


def judge(result: Comparison, mode: Mode, margin: float, *, power: float = 0.95, worth: float = 0.0) -> Judgement:
    """Whether the interval shows superiority by, non-inferiority within, or equivalence within the margin.

    Not shown with fewer rows than it takes to show it of an equal model (for superiority: of one better by twice the
    margin, by a gain that is ``worth`` showing, or by what was seen) is inconclusive; not shown with enough rows is
    failed.
    """
    what, observed, comparator, limit = {
        "superiority": ("at least", result.low, ">", margin),
        "non_inferiority": ("at worst", result.low, ">", -margin),
        "equivalence": ("at most apart", -max(-result.low, result.high), ">", -margin),
    }[mode]
    if not np.isfinite([result.low, result.high, result.delta, result.se]).all():
        return Judgement(Outcome.ERROR, what, observed, comparator, limit, None)
    if observed > limit:
        return Judgement(Outcome.PASSED, what, observed, comparator, limit, None)
    gain = max(margin, worth - margin, abs(result.delta) - margin)
    effect = {"superiority": gain, "non_inferiority": margin, "equivalence": margin}
    # Two ends have to hold at once: each with half of what may go wrong.
    needed = required_rows(result, effect[mode], (1 + power) / 2 if mode == "equivalence" else power)
    hopeless = result.high <= limit or (mode == "equivalence" and result.low >= margin)
    certain = hopeless or needed is None or result.n >= needed
    outcome = Outcome.FAILED if certain else Outcome.INCONCLUSIVE
    return Judgement(outcome, what, observed, comparator, limit, needed)


def required_rows(result: Comparison, effect: float, power: float) -> int | None:
    """Rows that show a true distance of ``effect`` from the limit with this power; ``None``: no number does."""
    if effect <= 0 or result.se <= 0:
        return None
    quantiles = normal_quantile(1 - result.alpha) + normal_quantile(power)
    return int(np.ceil(result.n * (quantiles * result.se / effect) ** 2))


def rows_to_decide(n: int, width: float, distance: float, *, alpha: float, power: float) -> int | None:
    """Rows at which an interval, now this wide with each side at ``alpha``, would leave out a limit that is truly
    ``distance`` away, with this power; ``None``: no number does."""
    if distance <= 0:
        return None
    se = width / (2 * normal_quantile(1 - alpha))
    return max(n + 1, int(np.ceil(n * ((normal_quantile(1 - alpha) + normal_quantile(power)) * se / distance) ** 2)))


def normal_quantile(probability: float) -> float:
    """The standard normal quantile."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
