"""Are the labels fit to learn from: balanced as expected, not in conflict, not made by a machine?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from gauntlet.core.gates.config import GateConfig, Range, Share
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import check, conclude, too_few
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Task
from gauntlet.core.records.observation import Observation
from gauntlet.core.specs.base import Section

if TYPE_CHECKING:
    from gauntlet.core.specs.source import SourceSection

NAME = "label_quality"
CLASS_SHARE, CONFLICTING, GENERATED, MEAN = "class_share", "conflicting", "generated", "label_mean"


class Generated(Section):
    """Labels that no person or event has given."""

    column: str
    values: tuple[str, ...] = Field(min_length=1)
    """Values of the column that mean "made automatically"."""
    limit: Share = 0.2
    """Largest share of such rows."""


class LabelQualityConfig(GateConfig):
    """Measured on the whole snapshot, training rows included."""

    positive_rate: Range | None = None
    """Binary: the share of positive labels lies in this closed range."""
    label_mean: Range | None = None
    """Regression: so does the mean label."""
    smallest_class: Share = 0.01
    """Binary and multiclass: least share of the rarest class."""
    conflicting: Share = 0.02
    """Largest share of rows whose features are those of a row with another label. Not for regression."""
    generated: Generated | None = None
    minimum_rows: int = Field(ge=1, default=500)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that says who made a label."""
        return (self.generated.column,) if self.generated else ()

    def complaints(self, task: Task, source: SourceSection) -> Iterator[str]:
        """Ranges that do not belong to the task."""
        yield from super().complaints(task, source)
        if self.positive_rate is not None and task is not Task.BINARY:
            yield "positive_rate: only a binary model has one"
        if self.label_mean is not None and task is not Task.REGRESSION:
            yield "label_mean: only for regression"


def evaluate(evidence: Evidence, config: LabelQualityConfig) -> GateVerdict:
    """Judge what was measured of the labels."""
    facts = need(evidence.observations, "measurements of the labels")
    rows = max((fact.rows for fact in facts), default=0)
    if rows < config.minimum_rows:
        return conclude(NAME, [too_few("labels", rows, config.minimum_rows)])
    return conclude(NAME, [item for fact in facts for item in _judge(fact, evidence.spec.task, config)])


def _judge(fact: Observation, task: Task, config: LabelQualityConfig) -> Iterator[Measurement]:
    if fact.kind == CLASS_SHARE:
        where = f"class {fact.subject}"
        yield check(CLASS_SHARE, fact.value, "≥", config.smallest_class, n=fact.rows, where=where)
        if config.positive_rate is not None and task is Task.BINARY and fact.subject == "1":
            yield from _within("positive_rate", fact, config.positive_rate)
    elif fact.kind == CONFLICTING and task is not Task.REGRESSION:
        yield check(CONFLICTING, fact.value, "≤", config.conflicting, n=fact.rows)
    elif fact.kind == GENERATED and config.generated is not None:
        yield check(GENERATED, fact.value, "≤", config.generated.limit, n=fact.rows)
    elif fact.kind == MEAN:
        yield from _within(MEAN, fact, config.label_mean or (float("-1e300"), float("1e300")))


def _within(metric: str, fact: Observation, limits: Range) -> Iterator[Measurement]:
    yield check(metric, fact.value, "≥", limits[0], n=fact.rows)
    yield check(metric, fact.value, "≤", limits[1], n=fact.rows)
