"""One test for the change of everything that the model uses: small shifts of many features, or of its scores.

A shift that costs a model a point of ROC AUC need not move any single feature beyond its own limit. Here the
homogeneity chi-squareds of all features are added up, each weighted by the champion's importance:
``T = sum(w_j X_j)`` with ``sum(w_j) = 1``. ``T (1/n + 1/m)`` less its sampling noise is the mean PSI, by weight, for
changes as small as these. The test is for a mean beyond a practical limit, like every other test here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.joint_sum import Combined
from gauntlet.core.moments import USUAL, Moved
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.drift import DriftReport, FeatureDrift, StatisticResult
from gauntlet.core.specs.drift import DriftSection
from gauntlet.core.statistics.base import Cells, rows_for_spread
from gauntlet.core.statistics.chi_squared import chi_squared

NAMED = 3
REMEMBERED = 14
CAP = 10.0
"""In limits: a change beyond this is never usual."""
HELD = 0.99
"""Share of the importance in the features that take part."""
MOST_PARTS = 60
ALL_TOGETHER, IN_PAIRS, IN_SCORES = 0.01, 0.02, 0.01
"""Shares of the check's alpha: a tenth of a per cent of nights at most, so that a year has hardly a false page."""
NEWEST = 0.5
"""P-value from which the newest window does not point the way of the one before."""
LINGERS = 0.2
"""A finding that was open stays open up to this p-value, so that one incident is one page."""
STATISTIC = "weighted_change"
PAIRS = "weighted_pairs"


@dataclass(frozen=True)
class Part:
    """One feature: its weight and both windows counted in the same few cells."""

    name: str
    weight: float
    cells: Cells


def heaviest(parts: Sequence[Part]) -> list[Part]:
    """The parts that hold nearly all of the weight, heaviest first: what they leave out cannot matter."""
    ranked = sorted(parts, key=lambda part: (-part.weight, part.name))
    total = sum(part.weight for part in ranked)
    held = np.cumsum([part.weight for part in ranked])
    enough = int(np.searchsorted(held, HELD * total)) + 1
    return ranked[: min(enough, MOST_PARTS)]


def combine(parts: Sequence[Part], dependence: NDArray[np.float64] | None = None) -> Combined | None:
    """The weighted sum; ``None`` when no feature that is used has two cells.

    ``dependence[j, k]`` is the mean-square contingency of two features' cells (Pearson's phi squared), which is
    half the covariance of their chi-squareds; its diagonal is ignored. ``None``: features are independent.
    """
    rows = max((int(part.cells.current.sum()) for part in parts), default=0)
    m = max((int(part.cells.reference.sum()) for part in parts), default=0)
    used = [place for place, part in enumerate(parts) if part.weight > 0 and part.cells.freedom >= 1]
    if not used or not rows or not m:
        return None
    weights = np.array([parts[place].weight for place in used])
    weights /= weights.sum()
    freedom = np.array([parts[place].cells.freedom for place in used], float)
    found = np.array([chi_squared(parts[place].cells.reference, parts[place].cells.current) for place in used])
    phi = np.zeros((len(used), len(used))) if dependence is None else dependence[np.ix_(used, used)].copy()
    bound = np.minimum.outer(freedom, freedom)
    phi = np.clip(phi, 0.0, bound)
    np.fill_diagonal(phi, freedom)
    alike = phi / np.sqrt(np.outer(freedom, freedom))
    added = weights * (found - freedom)
    return Combined(
        value=float(weights @ found),
        mean=float(weights @ freedom),
        variance=float(2 * weights @ phi @ weights),
        reach=float((alike @ weights).max()),
        spread=1 / rows + 1 / m,
        reference_rows=m,
        rows=rows,
        shares={parts[place].name: float(more) for place, more in zip(used, added, strict=True)},
    )


def contingencies(codes: NDArray[np.integer], cells: Sequence[int]) -> Floats:
    """Pearson's phi squared of every pair of columns, without its bias; shape ``(columns, columns)``.

    ``codes``: the cell of every row, shape ``(rows, columns)``; ``cells``: how many cells each column has.
    """
    rows = len(codes)
    if not rows:
        return np.zeros((len(cells), len(cells)))
    starts = np.concatenate(([0], np.cumsum(cells)))
    flags = np.zeros((rows, int(starts[-1])), np.float32)
    for place in range(codes.shape[1]):
        flags[np.arange(rows), starts[place] + codes[:, place]] = 1.0
    share = np.maximum(flags.mean(axis=0, dtype=np.float64), 1e-12)
    together = (flags.T @ flags).astype(np.float64) / max(rows, 1)
    apart = np.square(together - np.outer(share, share)) / np.outer(share, share)
    by_row = np.add.reduceat(apart, starts[:-1], axis=0)
    raw = np.add.reduceat(by_row, starts[:-1], axis=1)
    occupied = np.add.reduceat((share > 1e-9).astype(float), starts[:-1]) - 1
    phi: Floats = np.maximum(raw - np.outer(occupied, occupied) / max(rows, 1), 0.0)
    return phi


@dataclass(frozen=True)
class Past:
    """What earlier checks of this champion found; ``history`` newest first."""

    history: Sequence[DriftReport] = ()
    before: datetime | None = None
    """Where the current window begins: only windows that end before it say what is usual."""
    window: timedelta = timedelta(0)

    def apart(self) -> Iterator[DriftReport]:
        """Earlier checks whose windows overlap neither with the current one nor with each other."""
        limit = self.before
        for report in self.history:
            if limit is None or report.window_end <= limit:
                yield report
                limit = report.window_end - self.window

    def beyond_usual(self, now: Moved) -> list[Moved]:
        """The current window, and together with the one before it where that is not long ago, less what is usual."""
        earlier = list(self.apart())
        quiet = [one for one in earlier if one.joint is None or one.joint.outcome is not Outcome.FAILED]
        usual = [(one.means, one.means_rows) for one in quiet if one.means][: REMEMBERED + 1]
        found = [now.beyond_usual(usual[:REMEMBERED])]
        if earlier and self.before is not None and earlier[0].window_end > self.before - self.window:
            both = now.pooled(earlier[0].means, earlier[0].means_rows)
            others = usual[1:] if quiet[:1] == earlier[:1] else usual[:REMEMBERED]
            found += [both.beyond_usual(others)] if both is not None else []
        return found


@dataclass(frozen=True)
class Question:
    """One test of everything together, and its share of the check's chance of a false alarm."""

    statistic: str
    told: str
    """What changed, in words; the number and its limit follow."""
    limit: float
    cap: float
    """In limits: a change beyond this is never usual."""
    alpha: float


def usual_change(found: Sequence[FeatureDrift | None], now: Combined, question: Question) -> float:
    """The change, in limits, that quiet earlier windows have had anyway: their mean and two sigma of their wobble.

    Windows that alarmed do not count. Less than 1 becomes 1, more than the cap becomes it: what a slow change
    adds to the usual is bounded by that, by the limits of single features, and by labels.
    """
    quiet = [
        (result.value / question.limit, one)
        for one in found
        if one is not None and (result := _result_of(one, question.statistic)) is not None
        if result.value is not None and result.outcome is not Outcome.FAILED and one.current_rows
    ][:REMEMBERED]
    if len(quiet) < USUAL:
        return 1.0
    changes = np.array([change for change, _ in quiet])
    spreads = np.array([1 / one.current_rows + 1 / now.reference_rows for _, one in quiet])
    noise = float((now.variance * np.square(spreads / question.limit)).mean())
    wobble = math.sqrt(max(float(changes.var(ddof=1)) - noise, 0.0))
    return min(max(float(changes.mean()) + 2 * wobble, 1.0), question.cap)


def _result_of(one: FeatureDrift | None, statistic: str) -> StatisticResult | None:
    return next((result for result in one.statistics if result.statistic == statistic), None) if one else None


def judge(
    question: Question,
    now: Combined,
    earlier: Sequence[FeatureDrift | None],
    before: FeatureDrift | None,
    pairs: Sequence[Moved] = (),
) -> StatisticResult:
    """Is the change beyond its limit, and beyond what is usual? ``before``: the finding of the last check.

    ``pairs``: the window, and the window together with the one before it, less what is usual. Their largest
    component is asked too, and the surest of all answers is told, at its price.
    """
    limit = question.limit * (1.0 if pairs else usual_change(earlier, now, question))
    (more, less), change = now.beyond(limit), now.change
    if pairs:
        more, now, largest = _surest(pairs, limit)
    else:
        largest = (1.0, "")
    last = _result_of(before, question.statistic)
    lingering = last is not None and last.outcome is Outcome.FAILED and question.alpha < more <= LINGERS
    failed = more <= question.alpha or lingering
    outcome = Outcome.FAILED if failed else Outcome.PASSED if less <= question.alpha else Outcome.INCONCLUSIVE
    unsure = outcome is Outcome.INCONCLUSIVE
    needed = now.spread_to_decide(limit, question.alpha) if unsure else None
    required = rows_for_spread(needed, now.reference_rows) if needed else None
    required = None if required is None else max(required, now.rows + 1)
    shown = f"{question.told} {max(now.change, 0.0):.5f}, limit {limit:.5f}"
    shown += " (usual of this champion's windows)" if limit > question.limit else ""
    ending = _would(required, needed) if unsure else ""
    if failed:
        ending = ", not yet over" if lingering else f", p {more:.2g}"
        ending += f"; mostly {_leading(now, largest)}"
    return StatisticResult(
        statistic=question.statistic,
        outcome=outcome,
        value=change,
        limit=limit,
        p_value=more,
        required_rows=required,
        sentence=f"{shown}, on {now.rows} rows{ending}",
    )


def _surest(pairs: Sequence[Moved], limit: float) -> tuple[float, Combined, tuple[float, str]]:
    """P-value of the surest answer, corrected for how many were asked, with the sums and the largest behind it.

    An earlier window counts only where the newest one points the same way.
    """
    found: list[tuple[float, Combined, tuple[float, str]]] = []
    for one in pairs:
        largest = one.largest(2 * math.sqrt(limit))
        found.append((2 * min(one.together.beyond(limit)[0], largest[0]), one.together, largest))
        if found[0][0] > NEWEST:
            break
    p, together, largest = min(found, key=lambda answer: answer[0])
    return min(len(pairs) * p, 1.0), together, largest


def _leading(now: Combined, largest: tuple[float, str]) -> str:
    ranked = sorted(now.shares, key=lambda name: (-now.shares[name], name))
    first = [largest[1]] if largest[0] < LINGERS else []
    return ", ".join([*first, *(name for name in ranked if name not in first and now.shares[name] > 0)][:NAMED])


def _would(required: int | None, needed: float | None) -> str:
    if required is not None:
        return f"; too few rows to tell, about {required} would do"
    both = f"it takes about {math.ceil(2 / needed)} rows in both windows" if needed else "it is at its limit"
    return f"; too few rows to tell, {both}"


def joint_drift(
    parts: Sequence[Part],
    section: DriftSection,
    past: Past = Past(),
    dependence: Floats | None = None,
    pairs: Moved | None = None,
) -> FeatureDrift | None:
    """The finding over all features; ``None`` where the spec asks for none or nothing can be compared.

    ``pairs``: levels, spreads and pairs of ranks, which need the rows of both windows.
    """
    now = combine(parts, dependence) if section.joint is not None else None
    if now is None or section.joint is None:
        return None
    before = past.history[0].joint if past.history else None
    earlier = [report.joint for report in past.apart()]
    told = "what the model uses changed by a PSI of"
    alpha = section.alpha * ALL_TOGETHER
    results = [judge(Question(STATISTIC, told, section.joint, CAP, alpha), now, earlier, before)]
    if pairs is not None and section.joint_pairs is not None:
        told = "levels, spreads and pairs of what the model uses changed by a mean square of"
        question = Question(PAIRS, told, section.joint_pairs, 1.0, section.alpha * IN_PAIRS)
        results.append(judge(question, pairs.together, earlier, before, past.beyond_usual(pairs)))
    return _finding(results, now, section)


def _finding(results: Sequence[StatisticResult], now: Combined, section: DriftSection) -> FeatureDrift:
    """The worst result is told."""
    if now.rows < section.minimum_rows:
        results = [result.model_copy(update={"outcome": Outcome.INCONCLUSIVE}) for result in results]
    outcome = worst(result.outcome for result in results if result.outcome is not None)
    told = [result for result in results if result.outcome is outcome]
    rows = [result.required_rows for result in told if result.required_rows is not None]
    return FeatureDrift(
        feature="all features",
        segment=None,
        kind="weighted",
        importance=1.0,
        outcome=outcome,
        quality=False,
        severe=False,
        sentence=min(told, key=lambda result: result.p_value if result.p_value is not None else 1.0).sentence,
        p_value=min((result.p_value for result in results if result.p_value is not None), default=None),
        adjusted_p=None,
        effect=max((result.value or 0.0) / result.limit for result in results if result.limit),
        reference_rows=now.reference_rows,
        current_rows=now.rows,
        required_rows=max(rows, default=None) if outcome is Outcome.INCONCLUSIVE else None,
        statistics=tuple(results),
    )


def with_score_change(
    prediction: FeatureDrift, cells: Cells, section: DriftSection, past: Past = Past()
) -> FeatureDrift:
    """The finding on the champion's scores, and whether they changed by as little as the features may together."""
    now = combine([Part("score", 1.0, cells)]) if section.joint is not None else None
    if now is None or section.joint is None or prediction.outcome is Outcome.ERROR:
        return prediction
    before = past.history[0].prediction if past.history else None
    earlier = [report.prediction for report in past.apart()]
    told = "the distribution of scores changed by a PSI of"
    question = Question(STATISTIC, told, section.joint, CAP, section.alpha * IN_SCORES)
    result = judge(question, now, earlier, before)
    update: dict[str, object] = {"statistics": (*prediction.statistics, result)}
    if now.rows >= section.minimum_rows and prediction.outcome is not Outcome.FAILED:
        update |= _taken_over(prediction, result)
    return prediction.model_copy(update=update)


def _taken_over(prediction: FeatureDrift, result: StatisticResult) -> dict[str, object]:
    outcome = worst([prediction.outcome, result.outcome or Outcome.ERROR])
    if outcome is prediction.outcome:
        return {}
    return {"outcome": outcome, "sentence": result.sentence, "required_rows": result.required_rows}
