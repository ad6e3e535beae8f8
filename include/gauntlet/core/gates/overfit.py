"""Has the model learnt its training rows by heart?"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gauntlet.core.gates.config import GateConfig, MetricName
from gauntlet.core.gates.evidence import Evidence, candidate_sample, need, positives_of, rows_of, same_trees
from gauntlet.core.gates.verdict import check, conclude, fact, measurement
from gauntlet.core.metrics import METRICS, PRIMARY, MetricError, measure
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict

NAME = "overfit"


class OverfitConfig(GateConfig):
    """How much better the training rows may be predicted than the holdout."""

    metric: MetricName | None = None
    """Default: the task's primary metric. Training must have measured it on the part ``train``."""
    gap: float = Field(gt=0)
    """Largest gap, in metric units."""
    at_cap: Annotated[float, Field(gt=0, le=1)] = 0.98
    """The best iteration lies below this share of the cap: beyond, training was cut off, not finished."""
    per_iteration: float | None = Field(gt=0, default=None)
    """Largest gap per hundred boosting iterations."""

    @property
    def metrics_used(self) -> tuple[str, ...]:
        """The metric, where one is named."""
        return (self.metric,) if self.metric else ()


def evaluate(evidence: Evidence, config: OverfitConfig) -> GateVerdict:
    """Train-holdout gap, iterations against the cap, gap per iteration; of what was not trained there is none."""
    frame, _ = rows_of(evidence)
    if same := same_trees(evidence):
        return conclude(NAME, [fact("trained", True, f"{same}; {len(frame)} holdout rows", n=len(frame))])
    trained, n, positives = need(evidence.trained, "training record"), len(frame), positives_of(evidence, frame)
    metric = config.metric or PRIMARY[evidence.spec.task]
    if f"train.{metric}" not in trained.metrics:
        known = ", ".join(sorted(trained.metrics)) or "none"
        text = f"training recorded no train.{metric} to compare {n} holdout rows with (recorded: {known})"
        return conclude(NAME, [measurement(metric, Outcome.ERROR, text, n=n)])
    try:
        value = measure(metric, candidate_sample(evidence, frame, evidence.spec.gates.profit))
    except MetricError as error:
        return conclude(NAME, [measurement(metric, Outcome.ERROR, str(error), n=n)])
    gap = METRICS[metric].sign * (trained.metrics[f"train.{metric}"] - value)
    found = [
        check(f"{metric}_gap", gap, "≤", config.gap, n=n, positives=positives),
        check(
            "best_iteration", trained.best_iteration, "≤", config.at_cap * trained.iterations_cap, n=trained.train_rows
        ),
        check("best_iteration", trained.best_iteration, "≥", 1, n=trained.train_rows),
    ]
    if config.per_iteration is not None:
        slope = 100 * gap / trained.best_iteration if trained.best_iteration else float("nan")
        found.append(check(f"{metric}_gap_per_100_iterations", slope, "≤", config.per_iteration, n=n))
    return conclude(NAME, found)
