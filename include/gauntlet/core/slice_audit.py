"""Whom does the model serve worse than the others? Declared slices, and weak ones that are searched for. Pure.

A declared slice is compared with everybody else, and that gap with the same gap when the champion was evaluated: some
groups are harder to rank, and that is no news. A found one is compared by its mean residual, see
:mod:`gauntlet.core.weak_slices`. Too few labels are no verdict. All intervals share one level (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.intervals import wilson
from gauntlet.core.live.window import first_of_unit
from gauntlet.core.outcome import Outcome
from gauntlet.core.performance import Quality, Scored, auc, mean_loss
from gauntlet.core.records.feedback import AuditedSlice
from gauntlet.core.records.model import Task
from gauntlet.core.specs.monitoring import SliceAuditSection
from gauntlet.core.weak_slices import Bin, apart, bins_of, proposed

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
MOST_VALUES = 50
"""Of a declared column."""


@dataclass(frozen=True)
class Served:
    """Everybody who was answered, in order of arrival; every array has shape (rows,).

    ``label`` is NaN where it is not known, ``due`` where it had time to become known, ``decision`` NaN where there is
    none or the exploration reserve has drawn it. ``unit`` numbers entities.
    """

    score: Floats
    label: Floats
    due: Mask
    decision: Floats
    unit: Ints

    @property
    def evidence(self) -> Mask:
        """One labelled row of each entity."""
        return first_of_unit(self.unit, self.due & np.isfinite(self.label) & np.isfinite(self.score))

    @property
    def proposing(self) -> Mask:
        """One half of the entities, by a bit of a multiplicative hash (Knuth, TAOCP 3, 6.4) of their numbers.

        Not every other one: of requests with an applicant and a guarantor that would be all of one kind.
        """
        half: Mask = (self.unit.astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)) >> np.uint64(63) == 0
        return half


@dataclass(frozen=True)
class Gap:
    """A metric inside and outside a slice, and how much worse it is inside."""

    metric: str
    inside: Quality
    outside: Quality
    worse: Quality


def declared_slices(columns: Mapping[str, pa.ChunkedArray]) -> list[Bin]:
    """Every value of every declared column, numbers by their text."""
    import pyarrow as pa

    return bins_of({name: column.cast(pa.string()) for name, column in columns.items()}, most=MOST_VALUES)


def gap_of(task: Task, score: Floats, label: Floats, inside: Mask, least: int) -> Gap | None:
    """How much worse a slice is than the rest: fall of the ROC AUC, or relative rise of the mean absolute error.

    ``None`` below ``least`` rows on either side, or where the metric is not defined.
    """
    samples = [Scored(label[part], score[part]) for part in (inside, ~inside)]
    if min(map(len, samples)) < least:
        return None
    if task is Task.BINARY:
        mine, theirs = (auc(sample) for sample in samples)
        if mine is None or theirs is None:
            return None
        error = math.hypot(mine.error, theirs.error)
        return Gap("roc_auc", mine, theirs, Quality(theirs.value - mine.value, error, mine.rows))
    mine, theirs = (mean_loss(task, sample) for sample in samples)
    if mine is None or theirs is None or not theirs.value > 0:
        return None
    ratio = mine.value / theirs.value
    error = math.hypot(mine.error, ratio * theirs.error) / theirs.value
    return Gap("mean_absolute_error", mine, theirs, Quality(ratio - 1, error, mine.rows))


def usual_gaps(task: Task, score: Floats, label: Floats, slices: Iterable[Bin], least: int) -> dict[str, Quality]:
    """Each slice's gap on the rows that the champion was evaluated on."""
    gaps = ((one.name, gap_of(task, score, label, one.mask, least)) for one in slices)
    return {name: gap.worse for name, gap in gaps if gap is not None}


def weak_slices(served: Served, features: Sequence[Bin], section: SliceAuditSection, limit: float) -> list[Bin]:
    """Slices to be measured, as one half of the entities proposes them."""
    among = served.evidence & served.proposing
    return proposed(
        features, served.label - served.score, among, least=section.minimum_rows, effect=limit, most=section.most
    )


def audit_declared(
    task: Task, served: Served, one: Bin, usual: Quality | None, section: SliceAuditSection, alpha: float, limit: float
) -> AuditedSlice:
    """A declared slice against everybody else, and against its usual gap."""
    rows = served.evidence
    gap = gap_of(task, served.score[rows], served.label[rows], one.mask[rows], section.minimum_rows)
    if gap is None:
        told = f"{int((one.mask & rows).sum())} labelled entities of {section.minimum_rows} needed, or one class only"
        return _slice(served, one, Outcome.INCONCLUSIVE, told, found=False, metric="")
    interval = _interval(gap.worse, alpha)
    told = (
        f"{gap.metric} {gap.inside.value:.3f} against {gap.outside.value:.3f} of all others, worse by "
        f"{gap.worse.value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}] on {gap.inside.rows:,} labelled entities"
    )
    if usual is None:
        outcome, told = Outcome.INCONCLUSIVE, f"{told}; no evaluation to compare that with"
    else:
        risen = Quality(gap.worse.value - usual.value, math.hypot(gap.worse.error, usual.error), gap.worse.rows)
        low, high = _interval(risen, alpha)
        outcome = Outcome.FAILED if low > limit else Outcome.PASSED if high < limit else Outcome.INCONCLUSIVE
        told = f"{told}; {usual.value:+.3f} when the champion was evaluated, limit {limit:g} beyond that"
    return _slice(
        served,
        one,
        outcome,
        told,
        found=False,
        metric=gap.metric,
        values=(gap.inside.value, gap.outside.value, gap.worse.value),
        interval=interval,
        usual=usual.value if usual else None,
        limit=limit,
    )


def audit_found(served: Served, one: Bin, section: SliceAuditSection, alpha: float, limit: float) -> AuditedSlice:
    """A slice that one half of the entities has proposed, by the other half."""
    rows = served.evidence & ~served.proposing
    inside, residual = one.mask[rows], (served.label - served.score)[rows]
    count = int(inside.sum())
    if min(count, inside.size - count) < section.minimum_rows:
        told = f"{count} labelled entities of {section.minimum_rows} needed beside those that proposed it"
        return _slice(served, one, Outcome.INCONCLUSIVE, told, found=True, metric="residual")
    difference, error = apart(inside, residual)
    low, high = interval = _interval(Quality(difference, error, count), alpha)
    outside = low > limit or high < -limit
    within = -limit < low and high < limit
    mine, theirs = float(residual[inside].mean()), float(residual[~inside].mean())
    told = (
        f"labels are {mine:+.3f} off the scores against {theirs:+.3f} of all others: {difference:+.3f} "
        f"[{low:+.3f}, {high:+.3f}], limit ±{limit:.3g}, on {count:,} labelled entities that did not propose it"
    )
    return _slice(
        served,
        one,
        Outcome.FAILED if outside else Outcome.PASSED if within else Outcome.INCONCLUSIVE,
        told,
        found=True,
        metric="residual",
        values=(mine, theirs, difference),
        interval=interval,
        limit=limit,
    )


def _slice(
    served: Served,
    one: Bin,
    outcome: Outcome,
    told: str,
    *,
    found: bool,
    metric: str,
    values: tuple[float | None, float | None, float | None] = (None, None, None),
    interval: tuple[float, float] | None = None,
    usual: float | None = None,
    limit: float | None = None,
) -> AuditedSlice:
    made = np.isfinite(served.decision)
    decided, others = served.decision[one.mask & made], served.decision[~one.mask & made]
    return AuditedSlice(
        name=one.name,
        features=one.features,
        found=found,
        outcome=outcome,
        sentence=f"{one.name}: {told}",
        rows=int(one.mask.sum()),
        due=int((one.mask & served.due).sum()),
        labelled=int((one.mask & served.due & np.isfinite(served.label)).sum()),
        metric=metric,
        value=values[0],
        rest=values[1],
        gap=values[2],
        interval=interval,
        usual=usual,
        limit=limit,
        decision_rate=float(decided.mean()) if decided.size else None,
        decision_interval=wilson(int(decided.sum()), int(decided.size)),
        rest_decision_rate=float(others.mean()) if others.size else None,
    )


def _interval(quality: Quality, alpha: float) -> tuple[float, float]:
    """Two-sided."""
    reach = NormalDist().inv_cdf(1 - alpha / 2) * quality.error
    return quality.value - reach, quality.value + reach
