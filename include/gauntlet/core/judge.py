"""The judge of a canary: measurement, comparison, verdict per metric, and one fold.

It does not act. Both arms are compared over the same period, the sample ratio first; every test is anytime-valid and
the rollout's ``alpha`` is split over metrics and steps (union bound), so that a rollout rolls back a *good* challenger
with probability at most ``alpha``, however often it is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gauntlet.core.live.case import Case, Metric
from gauntlet.core.live.catalogue import LABEL_METRICS, METRICS, WITHOUT_TEST
from gauntlet.core.live.window import Window
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import CanaryAnalysis, ExpectedShift, MetricVerdict
from gauntlet.core.specs.rollout import RolloutSection, StepSection


@dataclass(frozen=True)
class Golden:
    """Golden rows re-scored by the live server: how many, and the largest difference from training."""

    rows: int
    difference: float
    tolerance: float


def case_for(
    plan: RolloutSection,
    task: Task,
    *,
    look: int,
    stable_threshold: float | None = None,
    canary_threshold: float | None = None,
    expected: ExpectedShift | None = None,
) -> Case:
    """What one look of one step is judged against: ``alpha`` is split over tested metrics and steps."""
    tests = [name for step in plan.steps for name in metrics_of(step, task) if name not in WITHOUT_TEST]
    return Case(
        checks=plan.checks,
        alpha=plan.checks.alpha / len(tests),
        look=max(1, look),
        stable_threshold=stable_threshold if task is Task.BINARY else None,
        canary_threshold=canary_threshold if task is Task.BINARY else None,
        expected=expected,
    )


def metrics_of(step: StepSection, task: Task) -> Mapping[str, Metric]:
    """The metrics that a step is judged by."""
    return {**METRICS, **LABEL_METRICS} if step.labels and task is Task.BINARY else METRICS


def judge(
    window: Window,
    case: Case,
    *,
    task: Task,
    rollout: str,
    step: int,
    plan: StepSection,
    since: datetime,
    until: datetime,
    golden: Golden | None = None,
) -> CanaryAnalysis:
    """Judge one look. An incomplete window is never better than inconclusive, though it can fail."""
    case = replace(case, patient=until - since < 2 * (plan.warm_up + plan.hold))
    verdicts = [verdict for metric in metrics_of(plan, task).values() for verdict in metric(window, case)]
    if golden is not None:
        verdicts.append(_golden(golden))
    if not window.complete:
        verdicts.append(_incomplete(window))
    return CanaryAnalysis(
        rollout=rollout,
        step=step,
        weight_ppm=plan.weight_ppm,
        outcome=worst(verdict.outcome for verdict in verdicts),
        reason=_reason(verdicts),
        metrics=tuple(verdicts),
        since=since,
        until=until,
        requests=window.requests,
        entities=window.entities,
        stable_requests=int((~window.arm & window.settled).sum()),
        paired=int(window.paired.sum()),
        labels=window.labels,
        complete=window.complete,
        seconds_to_verdict=seconds_to_verdict(window, plan, until - since),
    )


def seconds_to_verdict(window: Window, plan: StepSection, elapsed: timedelta) -> float | None:
    """At the traffic seen so far, how long until the step's counts are there; ``None`` without traffic."""
    waits = [0.0]
    for seen, needed in (
        (window.requests, plan.requests),
        (window.entities, plan.entities),
        (window.labels, plan.labels),
    ):
        if needed > seen:
            waits.append((needed - seen) / seen * elapsed.total_seconds() if seen else math.inf)
    longest = max(waits)
    return longest if math.isfinite(longest) else None


def _golden(golden: Golden) -> MetricVerdict:
    # Written so that a NaN difference is not a match.
    same = golden.rows > 0 and golden.difference <= golden.tolerance
    sentence = (
        f"golden: {golden.rows} golden rows re-scored by the live server, largest difference "
        f"{golden.difference:.3g}, tolerance {golden.tolerance:g}"
    )
    return MetricVerdict(
        metric="golden",
        outcome=Outcome.PASSED if same else Outcome.FAILED if golden.rows else Outcome.ERROR,
        critical=True,
        sentence=sentence,
        stable=None,
        canary=golden.difference,
        limit=golden.tolerance,
        stable_n=0,
        canary_n=golden.rows,
    )


def _incomplete(window: Window) -> MetricVerdict:
    return MetricVerdict(
        metric="journal",
        outcome=Outcome.INCONCLUSIVE,
        critical=False,
        sentence="journal: rows of this window were lost, so nothing can be concluded in the canary's favour",
        stable=None,
        canary=None,
        limit=None,
        stable_n=int((~window.arm).sum()),
        canary_n=int(window.arm.sum()),
    )


def _reason(verdicts: Sequence[MetricVerdict]) -> str:
    outcome = worst(verdict.outcome for verdict in verdicts)
    if outcome is Outcome.PASSED:
        return f"all {len(verdicts)} live metrics are within their limits"
    found = [verdict.sentence for verdict in verdicts if verdict.outcome is outcome]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
