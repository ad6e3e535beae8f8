"""Does the model keep its head when its inputs are a little wrong, or missing?

What is tried is a pure plan (:func:`plan`); scoring it is the stage's part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from gauntlet.core.gates.config import GateConfig, MetricName
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import check, conclude
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.core.records.observation import Observation

NAME = "robustness"
NOISE, MISSING, UNSEEN, EXTRA, REORDERED = "noise", "missing", "unseen_category", "extra_column", "reordered_columns"
EXACT = (EXTRA, REORDERED)


class RobustnessConfig(GateConfig):
    """Losses of the metric that are tolerated, in metric units, one feature at a time."""

    metric: MetricName | None = None
    """Default: the task's primary metric."""
    noise: float = Field(gt=0, default=0.1)
    """Standard deviation of the noise on each numeric feature, in that feature's own."""
    noise_loss: float = Field(gt=0)
    missing_loss: float = Field(gt=0)
    """When one feature is missing in all rows."""
    unseen_loss: float | None = Field(gt=0, default=None)
    """When one categorical feature has a value that training has not seen; default: as missing_loss."""
    rows: int = Field(ge=100, default=2000)
    """Holdout rows that are tried."""

    @property
    def metrics_used(self) -> tuple[str, ...]:
        """The metric, where one is named."""
        return (self.metric,) if self.metric else ()


def plan(features: Sequence[Feature]) -> Iterator[tuple[str, str | None]]:
    """What to try, as (kind, feature): noise, missing and unseen per feature, columns added and reordered."""
    for feature in features:
        if feature.kind is FeatureKind.NUMERIC:
            yield NOISE, feature.name
        yield MISSING, feature.name
        if feature.kind is FeatureKind.CATEGORICAL:
            yield UNSEEN, feature.name
    for kind in EXACT:
        yield kind, None


def evaluate(evidence: Evidence, config: RobustnessConfig) -> GateVerdict:
    """Every perturbation of the plan was tried, gave finite scores and cost no more than its limit."""
    sidecar = need(evidence.sidecar, "sidecar of the candidate")
    tried = {(item.kind, item.subject): item for item in need(evidence.observations, "perturbed scores")}
    return conclude(NAME, [_judge(tried.get(step), step, config) for step in plan(sidecar.features)])


def _judge(found: Observation | None, step: tuple[str, str | None], config: RobustnessConfig) -> Measurement:
    kind, feature = step
    limit = {
        NOISE: config.noise_loss,
        MISSING: config.missing_loss,
        UNSEEN: config.unseen_loss or config.missing_loss,
        EXTRA: 0.0,
        REORDERED: 0.0,
    }[kind]
    metric = "score_change" if kind in EXACT else "metric_loss"
    rows, value = (found.rows, found.value) if found else (0, None)
    judged = check(f"{metric}_with_{kind}", value, "≤", limit, n=rows, where=feature)
    if found is not None and found.detail:
        return judged.model_copy(update={"sentence": f"{judged.sentence} ({found.detail})"})
    return judged
