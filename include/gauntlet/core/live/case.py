"""What live evidence is judged against, and how a metric words its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gauntlet.core import sequential
from gauntlet.core.live.window import Window
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import ExpectedShift, MetricVerdict
from gauntlet.core.specs.rollout import LiveChecks

if TYPE_CHECKING:
    from gauntlet.core.live.window import Floats


@dataclass(frozen=True)
class Case:
    """What the evidence is judged against. ``alpha`` is one metric's share at one step."""

    checks: LiveChecks
    alpha: float
    look: int
    stable_threshold: float | None = None
    canary_threshold: float | None = None
    expected: ExpectedShift | None = None
    patient: bool = True
    """Until twice the hold, a change beyond its limit is waited on; then it is decided by where the evidence leans.
    Without that, a good challenger with bad luck in its first few requests would wait until it is rolled back."""

    @property
    def needed(self) -> float:
        """The log e-value at which a metric fails."""
        return sequential.log_threshold(self.alpha)

    def leans(self, excess: float, error: float) -> bool:
        """Whether a change that is ``excess`` beyond its limit, with this standard error, is still to be waited on."""
        return self.patient or excess > error

    @property
    def beyond(self) -> str:
        """Words for a change that is counted on top of the holdout's."""
        return " beyond the holdout" if self.expected else ""


Metric = Callable[[Window, Case], tuple[MetricVerdict, ...]]
"""A metric's verdicts: none when it does not apply, several when it looks at several quantiles."""


def outcome_of(*, harm: bool, significant: bool, leaning: bool = True) -> Outcome:
    """Failed when beyond the limit and no accident; beyond it without that, not to be passed on yet."""
    if not harm:
        return Outcome.PASSED
    if significant:
        return Outcome.FAILED
    return Outcome.INCONCLUSIVE if leaning else Outcome.PASSED


def too_few(name: str, stable: Floats, canary: Floats, case: Case, *, critical: bool = False) -> MetricVerdict:
    """The verdict without enough scored requests."""
    sentence = f"{min(stable.size, canary.size)} scored requests of {case.checks.scores} needed"
    return verdict(name, Outcome.INCONCLUSIVE, sentence, critical=critical, counts=(stable.size, canary.size))


def verdict(
    metric: str,
    outcome: Outcome,
    sentence: str,
    *,
    critical: bool = False,
    values: tuple[float | None, float | None] = (None, None),
    limit: float | None = None,
    counts: tuple[int, int] = (0, 0),
    evidence: tuple[float, float] | None = None,
    interval: tuple[float, float] | None = None,
) -> MetricVerdict:
    """A verdict; pairs are (stable, canary), (log e-value, value needed) and (low, high)."""
    finite = interval is not None and all(math.isfinite(bound) for bound in interval)
    return MetricVerdict(
        metric=metric,
        outcome=outcome,
        critical=critical,
        sentence=f"{metric}: {sentence}",
        stable=values[0],
        canary=values[1],
        limit=limit,
        stable_n=int(counts[0]),
        canary_n=int(counts[1]),
        evidence=evidence[0] if evidence else None,
        needed=evidence[1] if evidence else None,
        interval=interval if finite else None,
    )


def evidence_words(log_e: float, needed: float) -> str:
    """The evidence against the canary, and how much it takes."""
    return f"; log e-value {log_e:+.1f} of {needed:.1f}"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{value * 100:.2f} %"
