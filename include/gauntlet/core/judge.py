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

from gauntlet.core import sequential
from gauntlet.core.live.case import Case, Metric
from gauntlet.core.live.catalogue import (
    LABEL_METRICS,
    METRICS,
    SHADOW_LABEL_METRICS,
    SHADOW_METRICS,
    WITHOUT_TEST,
)
from gauntlet.core.live.products import product
from gauntlet.core.live.window import Window
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import PPM, CanaryAnalysis, ExpectedShift, MetricVerdict
from gauntlet.core.specs.rollout import ProductMetric, RolloutSection, Stage


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
    window: int = 1,
    stable_threshold: float | None = None,
    canary_threshold: float | None = None,
    expected: ExpectedShift | None = None,
) -> Case:
    """What one look of one stage is judged against: ``alpha`` is split over tested metrics, stages and windows."""
    stages = [plan.stage(number) for number in plan.stages]
    tests = [name for stage in stages for name in metrics_of(stage, task, plan.metrics) if name not in WITHOUT_TEST]
    return Case(
        checks=plan.checks,
        alpha=sequential.window_alpha(plan.checks.alpha / len(tests), window),
        look=max(1, look),
        stable_threshold=stable_threshold if task is Task.BINARY else None,
        canary_threshold=canary_threshold if task is Task.BINARY else None,
        expected=expected,
    )


def metrics_of(stage: Stage, task: Task, products: Mapping[str, ProductMetric] | None = None) -> Mapping[str, Metric]:
    """The metrics that a stage is judged by.

    Those that read labels where the stage waits for labels; in the shadow and at 100 %, where there is one arm only,
    of the product metrics those that give both versions a value.
    """
    shadow = stage.weight_ppm == 0
    found = dict(SHADOW_METRICS if shadow else METRICS)
    if stage.labels and task is Task.BINARY:
        found |= SHADOW_LABEL_METRICS if shadow else LABEL_METRICS
    for name, metric in (products or {}).items():
        if (stage.labels or not metric.labelled) and (metric.profit or 0 < stage.weight_ppm < PPM):
            found[name] = product(name, metric)
    return found


def judge(
    window: Window,
    case: Case,
    *,
    task: Task,
    rollout: str,
    step: int,
    plan: Stage,
    since: datetime,
    until: datetime,
    golden: Golden | None = None,
    products: Mapping[str, ProductMetric] | None = None,
) -> CanaryAnalysis:
    """Judge one look. An incomplete window is never better than inconclusive, though it can fail."""
    case = replace(case, patient=until - since < 2 * (plan.warm_up + plan.hold))
    verdicts = [verdict for metric in metrics_of(plan, task, products).values() for verdict in metric(window, case)]
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
        explored=0 if window.explored is None else int((window.explored & window.settled).sum()),
        complete=window.complete,
        seconds_to_verdict=seconds_to_verdict(window, plan, until - since, verdicts, case.checks.scores),
    )


def seconds_to_verdict(
    window: Window, plan: Stage, elapsed: timedelta, verdicts: Sequence[MetricVerdict], scores: int
) -> float | None:
    """At the traffic seen so far, how long until the stage can be decided; ``None`` without traffic.

    Counts grow with time, and so does the evidence of a metric that is inconclusive: its log e-value is carried on in
    a straight line, at most to the end of the patience, when it is decided by where it leans.
    """
    passed = elapsed.total_seconds()
    waits = [0.0]
    for seen, needed in (
        (window.requests, plan.requests),
        (window.entities, plan.entities),
        (window.labels, plan.labels),
    ):
        waits.append(_wait(seen, needed, passed))
    patience = 2 * (plan.warm_up + plan.hold).total_seconds() - passed
    paired = int(window.paired.sum())
    waits += [_until_told(verdict, (paired, scores), passed, patience) for verdict in verdicts]
    longest = max(waits)
    return longest if math.isfinite(longest) else None


def _wait(seen: float, needed: float, passed: float) -> float:
    if seen >= needed:
        return 0.0
    return (needed - seen) / seen * passed if seen > 0 else math.inf


def _until_told(verdict: MetricVerdict, scored: tuple[int, int], passed: float, patience: float) -> float:
    paired, scores = scored
    if verdict.outcome is not Outcome.INCONCLUSIVE:
        return 0.0
    if verdict.evidence is None or verdict.needed is None:
        count = max(paired, min(verdict.stable_n, verdict.canary_n))
        return _wait(count, scores, passed) if 0 < count < scores else max(0.0, patience)
    told = _wait(verdict.evidence, verdict.needed, passed)
    return min(told, patience) if patience > 0 else min(told, passed)


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
