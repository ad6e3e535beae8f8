"""What earlier checks of a champion found: what is usual, and what a window is pooled with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gauntlet.core.joint_sum import Combined
from gauntlet.core.moments import USUAL, Moved
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftReport, FeatureDrift, StatisticResult

REMEMBERED = 14


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


NO_PAST = Past()
"""Of a first check."""


@dataclass(frozen=True)
class Question:
    """One test of everything together, and its share of the check's chance of a false alarm."""

    statistic: str
    asked: str
    """What is asked about, in words."""
    told: str
    """What changed, in words; the number and its limit follow."""
    limit: float
    cap: float
    """In limits: a change beyond this is never usual."""
    alpha: float


@dataclass(frozen=True)
class Usual:
    """In limits: where quiet earlier windows were on average, and up to where a change is usual."""

    mean: float = 0.0
    most: float = 1.0


def usual_change(found: Sequence[FeatureDrift | None], now: Combined, question: Question) -> Usual:
    """The change that quiet earlier windows have had anyway: their mean and two sigma of their wobble.

    Windows that alarmed do not count. Less than 1 becomes 1, more than the cap becomes it: what a slow change
    adds to the usual is bounded by that, by the limits of single features, and by labels.
    """
    quiet = [
        (result.value / question.limit, one)
        for one in found
        if one is not None and (result := result_of(one, question.statistic)) is not None
        if result.value is not None and result.outcome is not Outcome.FAILED and one.current_rows
    ][:REMEMBERED]
    if len(quiet) < USUAL:
        return Usual()
    changes = np.array([change for change, _ in quiet])
    spreads = np.array([1 / one.current_rows + 1 / now.reference_rows for _, one in quiet])
    noise = float((now.variance * np.square(spreads / question.limit)).mean())
    wobble = math.sqrt(max(float(changes.var(ddof=1)) - noise, 0.0))
    mean = float(changes.mean())
    return Usual(max(mean, 0.0), min(max(mean + 2 * wobble, 1.0), question.cap))


def result_of(one: FeatureDrift | None, statistic: str) -> StatisticResult | None:
    """What an earlier finding says of one statistic."""
    return next((result for result in one.statistics if result.statistic == statistic), None) if one else None
