"""Is the candidate good enough by itself, the minority class included?

A value on a few thousand rows is an estimate. By default its interval is judged: wholly within the bound passes, wholly
beyond it fails, and one that reaches over the bound is inconclusive, with the rows that would decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gauntlet.core.gates.config import Bounds, GateConfig, MetricName
from gauntlet.core.gates.evidence import Evidence, candidate_sample, need, positives_of, rows_of
from gauntlet.core.gates.relative import seed_of
from gauntlet.core.gates.verdict import HOLDS, check, conclude, measurement, number, too_few
from gauntlet.core.metrics import METRICS, MetricError, Sample, measure
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    from gauntlet.core.specs.source import SourceSection

NAME = "absolute_performance"
INTERVAL_REPLICATES = 1000


class AbsolutePerformanceConfig(GateConfig):
    """Floors (and ceilings: a result too good to be true is one too) on the holdout."""

    metrics: Mapping[MetricName, Bounds] = Field(min_length=1)
    """Metric to its bounds. A binary model should bound one of the minority class as well: f1, recall, pr_auc."""
    judge: Literal["interval", "point"] = "interval"
    """``point`` looks at the value alone: a model exactly at its limit then passes every other time."""
    alpha: float = Field(gt=0, lt=0.5, default=0.05)
    """One-sided, of each bound: the chance that a model exactly at its limit passes."""
    power: float = Field(ge=0.5, lt=1, default=0.95)
    """Chance of deciding at the number of rows that an inconclusive verdict asks for."""
    minimum_rows: int = Field(ge=1, default=1000)
    minimum_positives: int = Field(ge=1, default=100)
    """Binary: fewer positives (or negatives) are inconclusive."""

    @property
    def metrics_used(self) -> tuple[str, ...]:
        """Metrics with bounds."""
        return tuple(self.metrics)

    def complaints(self, task: Task, source: SourceSection) -> Iterator[str]:
        """Bounds on the harmless side only, and averages that can hide the minority class."""
        yield from super().complaints(task, source)
        for name, bounds in self.metrics.items():
            side = "minimum" if METRICS[name].higher_is_better else "maximum"
            if getattr(bounds, side) is None:
                yield f"metrics.{name}: needs a {side}; without it any model is good enough"
        if task is Task.BINARY and not any(METRICS[name].minority for name in self.metrics):
            names = ", ".join(name for name, metric in METRICS.items() if metric.minority)
            yield f"metrics: bound one metric of a single class too, a good average hides a bad class: {names}"


def evaluate(evidence: Evidence, config: AbsolutePerformanceConfig) -> GateVerdict:
    """Each metric within its bounds, on enough rows of both classes."""
    frame, _ = rows_of(evidence)
    positives = positives_of(evidence, frame)
    if few := enough(len(frame), positives, config.minimum_rows, config.minimum_positives):
        return conclude(NAME, few)
    sample = candidate_sample(evidence, frame, evidence.spec.gates.profit)
    found = []
    for name, bounds in config.metrics.items():
        points = list(bounded(name, bounds, sample, positives))
        found += points if config.judge == "point" else _by_interval(evidence, name, points, sample, config)
    return conclude(NAME, found, mode=config.judge)


def _by_interval(
    evidence: Evidence, name: str, points: list[Measurement], sample: Sample, config: AbsolutePerformanceConfig
) -> list[Measurement]:
    from gauntlet.core.comparison import interval_of

    if any(item.outcome is Outcome.ERROR for item in points):
        return points
    try:
        low, high = interval_of(
            name, sample, seed=seed_of(evidence, NAME), alpha=config.alpha, replicates=INTERVAL_REPLICATES
        )
    except MetricError as error:
        return [measurement(name, Outcome.ERROR, str(error), n=len(sample), positives=points[0].positives)]
    return [_reaching(item, low, high, config) for item in points]


def _reaching(item: Measurement, low: float, high: float, config: AbsolutePerformanceConfig) -> Measurement:
    """A value against its bound, decided by both ends of its interval."""
    from gauntlet.core.comparison import rows_to_decide

    holds = HOLDS[item.comparator]
    limit, shown = need(item.limit, "limit"), f"[{number(low)}, {number(high)}]"
    ends = holds(low, limit), holds(high, limit)
    outcome = Outcome.PASSED if all(ends) else Outcome.FAILED if not any(ends) else Outcome.INCONCLUSIVE
    text, needed = f"{item.sentence}, as all of its interval {shown}", None
    if outcome is Outcome.INCONCLUSIVE:
        value, n = need(item.observed, "value"), need(item.n, "rows")
        needed = rows_to_decide(n, high - low, abs(value - limit), alpha=config.alpha, power=config.power)
        wanted = f"about {number(needed)} rows would decide" if needed else "no number of rows would decide"
        text = f"{item.sentence}, but its interval {shown} reaches over the bound; {wanted}"
    changes = {"outcome": outcome, "sentence": text, "interval": (low, high), "required_n": needed}
    return item.model_copy(update=changes)


def enough(n: int, positives: int | None, rows: int, least: int, where: str | None = None) -> list[Measurement]:
    """What is too few to judge; empty when there is enough."""
    if n < rows:
        return [too_few("rows", n, rows, where=where)]
    if positives is None:
        return []
    rarer, what = (positives, "positives") if positives <= n - positives else (n - positives, "negatives")
    return [too_few("rows", rarer, least, what, where=where)] if rarer < least else []


def bounded(
    name: str, bounds: Bounds, sample: Sample, positives: int | None, where: str | None = None
) -> Iterator[Measurement]:
    """One metric against its bounds; where it is not defined, an error."""
    n = len(sample)
    try:
        value = measure(name, sample)
    except MetricError as error:
        yield measurement(name, Outcome.ERROR, str(error), n=n, positives=positives, where=where)
        return
    if bounds.minimum is not None:
        yield check(name, value, "≥", bounds.minimum, n=n, positives=positives, where=where)
    if bounds.maximum is not None:
        yield check(name, value, "≤", bounds.maximum, n=n, positives=positives, where=where)
