"""Is the candidate better than saying the same thing every time?"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from gauntlet.core.gates.absolute_performance import enough
from gauntlet.core.gates.config import GateConfig, MetricName
from gauntlet.core.gates.evidence import Evidence, candidate_sample, need, positives_of, rows_of
from gauntlet.core.gates.relative import Margin, compared
from gauntlet.core.gates.verdict import conclude
from gauntlet.core.records.gates import GateVerdict
from gauntlet.core.records.model import Task

NAME = "beats_naive"
METRIC = {Task.BINARY: "log_loss", Task.REGRESSION: "mae", Task.MULTICLASS: "log_loss"}


class BeatsNaiveConfig(GateConfig):
    """Superior to the naive model by the margin, with an interval."""

    metric: MetricName | None = None
    """Default: log_loss, for regression mae. A naive model has no ranks and hardly a decision."""
    margin: float = Field(ge=0, default=0.0)
    """In metric units: by how much it must be better at least."""
    alpha: float = Field(gt=0, lt=0.5, default=0.005)
    """One-sided chance of taking a model that is no better for one that is."""
    minimum_rows: int = Field(ge=2, default=500)
    minimum_positives: int = Field(ge=1, default=50)

    @property
    def metrics_used(self) -> tuple[str, ...]:
        """The metric, where one is named."""
        return (self.metric,) if self.metric else ()


def evaluate(evidence: Evidence, config: BeatsNaiveConfig) -> GateVerdict:
    """Paired bootstrap of the candidate against the naive scores on the same rows."""
    frame, _ = rows_of(evidence)
    naive = need(frame.naive, "naive scores")
    positives = positives_of(evidence, frame)
    if few := enough(len(frame), positives, config.minimum_rows, config.minimum_positives):
        return conclude(NAME, few)
    candidate = candidate_sample(evidence, frame, evidence.spec.gates.profit)
    name = config.metric or METRIC[evidence.spec.task]
    found = compared(
        evidence,
        [name],
        candidate,
        replace(candidate, score=naive),
        Margin("superiority", config.margin, config.alpha),
        against="naive",
    )
    return conclude(NAME, list(found.values()), mode="superiority")
