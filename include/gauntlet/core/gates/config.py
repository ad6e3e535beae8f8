"""What every gate's section of the spec has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from gauntlet.core.metrics import METRICS, metric_of
from gauntlet.core.records.model import Task
from gauntlet.core.registry import did_you_mean
from gauntlet.core.specs.base import Section

if TYPE_CHECKING:
    from gauntlet.core.specs.source import SourceSection


def _known(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}: {did_you_mean(name, METRICS)}")
    return name


MetricName = Annotated[str, AfterValidator(_known)]
"""A key of :data:`gauntlet.core.metrics.METRICS`."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Limit = Annotated[float, Field(allow_inf_nan=False)]
Range = tuple[Limit, Limit]


class GateConfig(Section):
    """Limits of one gate. Nothing in the code has a limit that is not here."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Data columns that the evaluation must carry for this gate."""
        return ()

    @property
    def metrics_used(self) -> tuple[str, ...]:
        """Metrics this section names; each must fit the model's task."""
        return ()

    @property
    def needs_threshold(self) -> bool:
        """Whether it judges decisions, so that a binary model must have a threshold."""
        return any(METRICS[name].needs_threshold for name in self.metrics_used if name in METRICS)

    def complaints(self, task: Task, source: SourceSection) -> Iterator[str]:
        """What in this section does not fit the rest of the spec."""
        known = {*source.features.all, *source.columns.protected, *source.columns.extra}
        for name in self.metrics_used:
            try:
                metric_of(name, task)
            except ValueError as error:
                yield str(error)
        for column in self.columns:
            if column not in known:
                yield f"column {column!r} is neither feature, protected nor extra; {did_you_mean(column, known)}"


class Bounds(Section):
    """A value lies within these; at least one is given."""

    minimum: Limit | None = None
    maximum: Limit | None = None

    @model_validator(mode="after")
    def _some(self) -> Bounds:
        if self.minimum is None and self.maximum is None:
            raise ValueError("give a minimum or a maximum; a threshold list that is empty would pass anything")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self
