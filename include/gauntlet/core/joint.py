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
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.drift import DriftReport, FeatureDrift, StatisticResult
from gauntlet.core.specs.drift import DriftSection
from gauntlet.core.statistics.base import POWER, Cells, rows_for_spread
from gauntlet.core.statistics.chi_squared import chi_squared

NAMED = 3
USUAL = 5
"""Earlier windows from which what is usual is known."""
REMEMBERED = 28
CAP = 10.0
"""In limits: a change beyond this is never usual."""
HELD = 0.99
"""Share of the importance in the features that take part."""
MOST_PARTS = 60
LINGERS = 0.2
"""A finding that was open stays open up to this p-value, so that one incident is one page."""
STATISTIC = "weighted_change"


@dataclass(frozen=True)
class Part:
    """One feature: its weight and both windows counted in the same few cells."""

    name: str
    weight: float
    cells: Cells


@dataclass(frozen=True)
class Combined:
    """``T`` and what it is when nothing changed; ``reach`` bounds how much one change weighs in it."""

    value: float
    mean: float
    variance: float
    reach: float
    spread: float
    reference_rows: int
    rows: int
    shares: dict[str, float]
    """Features by what they add beyond their noise."""

    @property
    def change(self) -> float:
        """The weighted PSI without the noise that sampling adds; may be less than zero."""
        return (self.value - self.mean) * self.spread

    def moments(self, limit: float, spread: float) -> tuple[float, float, float]:
        """Mean, variance and third cumulant of ``T`` for a true change at a limit."""
        extra = limit / spread
        third = 4 * self.reach * self.variance + 24 * self.reach**2 * extra
        return self.mean + extra, self.variance + 4 * self.reach * extra, third

    def beyond(self, limit: float) -> tuple[float, float]:
        """P-values of "at most the limit" and "at least the limit": Pearson's type III with the right cumulants.

        Exact for a single feature without change, and for equal weights; conservative for uneven ones.
        """
        from scipy.special import gammainc, gammaincc

        mean, variance, third = self.moments(limit, self.spread)
        if not variance > 0:
            return 1.0, 0.0
        shape = 4 * variance**3 / third**2
        point = shape + (self.value - mean) / math.sqrt(variance) * math.sqrt(shape)
        if point <= 0:
            return 1.0, 0.0
        return float(gammaincc(shape, point)), float(gammainc(shape, point))

    def spread_to_decide(self, limit: float, alpha: float) -> float | None:
        """The ``1/n + 1/m`` at which a change like this one would be told from the limit; ``None``: it is at it."""
        from scipy.special import ndtri

        sure, usual = float(ndtri(1 - alpha)), float(ndtri(POWER))
        true = max(self.change, 0.0)

        def settled(spread: float) -> bool:
            at_limit, at_true = self.moments(limit, spread), self.moments(true, spread)
            apart = abs(at_limit[0] - at_true[0])
            return apart >= sure * math.sqrt(at_limit[1]) + usual * math.sqrt(at_true[1])

        narrow, wide = 1e-9, 1.0
        if not settled(narrow):
            return None
        for _ in range(50):
            middle = math.sqrt(narrow * wide)
            narrow, wide = (middle, wide) if settled(middle) else (narrow, middle)
        return narrow


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


def usual_change(found: Sequence[FeatureDrift | None], now: Combined, limit: float) -> float:
    """The change, in limits, that quiet earlier windows have had anyway: their mean and two sigma of their wobble.

    Windows that alarmed do not count. Less than 1 becomes 1, more than :data:`CAP` becomes it: what a slow change
    adds to the usual is bounded by that, by the limits of single features, and by labels.
    """
    quiet = [
        (result.value / limit, one)
        for one in found
        if one is not None and (result := _result_of(one)) is not None and result.outcome is not Outcome.FAILED
        if result.value is not None
    ][:REMEMBERED]
    if len(quiet) < USUAL:
        return 1.0
    changes = np.array([change for change, _ in quiet])
    spreads = np.array([1 / one.current_rows + 1 / one.reference_rows for _, one in quiet])
    noise = float((now.variance * np.square(spreads / limit)).mean())
    wobble = math.sqrt(max(float(changes.var(ddof=1)) - noise, 0.0))
    return min(max(float(changes.mean()) + 2 * wobble, 1.0), CAP)


def _result_of(one: FeatureDrift) -> StatisticResult | None:
    return next((result for result in one.statistics if result.statistic == STATISTIC), None)


def judge(
    what: str, now: Combined, limit: float, alpha: float, earlier: Sequence[FeatureDrift | None], *, was_open: bool
) -> StatisticResult:
    """Is the change beyond its limit, or beyond what is usual? ``was_open``: it was, at the check before."""
    raised = limit * usual_change(earlier, now, limit)
    more, less = now.beyond(raised)
    lingering = was_open and alpha < more <= LINGERS
    outcome = (
        Outcome.FAILED if more <= alpha or lingering else (Outcome.PASSED if less <= alpha else Outcome.INCONCLUSIVE)
    )
    needed = now.spread_to_decide(raised, alpha) if outcome is Outcome.INCONCLUSIVE else None
    required = rows_for_spread(needed, now.reference_rows) if needed else None
    required = None if required is None else max(required, now.rows + 1)
    would = "" if outcome is not Outcome.INCONCLUSIVE else _would(required, needed)
    return StatisticResult(
        statistic=STATISTIC,
        outcome=outcome,
        value=now.change,
        limit=raised,
        p_value=more,
        required_rows=required,
        sentence=_sentence(what, now, limit, raised, outcome, more, lingering=lingering) + would,
    )


def _sentence(
    what: str,
    now: Combined,
    limit: float,
    raised: float,
    outcome: Outcome,
    p: float,
    *,
    lingering: bool,
) -> str:
    usual = " (usual of this champion's windows)" if raised > limit else ""
    shown = f"{what} changed by a PSI of {max(now.change, 0.0):.4f}, limit {raised:.4f}{usual}, on {now.rows} rows"
    if outcome is Outcome.FAILED:
        return shown + (", not yet over" if lingering else f", p {p:.2g}")
    return shown


def _would(required: int | None, needed: float | None) -> str:
    if required is not None:
        return f"; too few rows to tell, about {required} would do"
    both = f"it takes about {math.ceil(2 / needed)} rows in both windows" if needed else "it is at its limit"
    return f"; too few rows to tell, {both}"


def joint_drift(
    parts: Sequence[Part], section: DriftSection, past: Past = Past(), dependence: Floats | None = None
) -> FeatureDrift | None:
    """The finding over all features; ``None`` where the spec asks for none or nothing can be compared."""
    now = combine(parts, dependence) if section.joint is not None else None
    if now is None or section.joint is None:
        return None
    before = past.history[0].joint if past.history else None
    was_open = before is not None and before.outcome is Outcome.FAILED
    earlier = [report.joint for report in past.apart()]
    result = judge("what the model uses", now, section.joint, section.alpha / 2, earlier, was_open=was_open)
    if now.rows < section.minimum_rows:
        result = result.model_copy(update={"outcome": Outcome.INCONCLUSIVE})
    leading = [name for name in sorted(now.shares, key=lambda name: -now.shares[name]) if now.shares[name] > 0]
    told = f"; mostly {', '.join(leading[:NAMED])}" if leading and result.outcome is Outcome.FAILED else ""
    return FeatureDrift(
        feature="all features",
        segment=None,
        kind="weighted",
        importance=1.0,
        outcome=result.outcome or Outcome.ERROR,
        quality=False,
        severe=False,
        sentence=result.sentence + told,
        p_value=result.p_value,
        adjusted_p=None,
        effect=now.change / section.joint,
        reference_rows=now.reference_rows,
        current_rows=now.rows,
        required_rows=result.required_rows,
        statistics=(result,),
    )


def with_score_change(
    prediction: FeatureDrift, cells: Cells, section: DriftSection, past: Past = Past()
) -> FeatureDrift:
    """The finding on the champion's scores, and whether they changed by as little as the features may together."""
    now = combine([Part("score", 1.0, cells)]) if section.joint is not None else None
    if now is None or section.joint is None or prediction.outcome is Outcome.ERROR:
        return prediction
    before = _result_of(past.history[0].prediction) if past.history and past.history[0].prediction else None
    was_open = before is not None and before.outcome is Outcome.FAILED
    earlier = [report.prediction for report in past.apart()]
    result = judge("the distribution of scores", now, section.joint, section.alpha / 2, earlier, was_open=was_open)
    update: dict[str, object] = {"statistics": (*prediction.statistics, result)}
    if now.rows >= section.minimum_rows and prediction.outcome is not Outcome.FAILED:
        update |= _taken_over(prediction, result)
    return prediction.model_copy(update=update)


def _taken_over(prediction: FeatureDrift, result: StatisticResult) -> dict[str, object]:
    outcome = worst([prediction.outcome, result.outcome or Outcome.ERROR])
    if outcome is prediction.outcome:
        return {}
    return {"outcome": outcome, "sentence": result.sentence, "required_rows": result.required_rows}
