"""What is watched between two nights, and who is told.

Limits on inputs and on the model are those of ``drift``: a threshold lives in one place. Here is only what the
drift check does not look at: volume, skew between training and serving, the service itself, and what the model is for.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section
from gauntlet.core.specs.freeze import Weekly


class DataLayerSection(Section):
    """Layer 1: are the inputs what the model knows?"""

    stale: Duration = Field(default="3h", validate_default=True)
    """The newest drift check must not be older."""
    volume_drop: float = Field(gt=0, lt=1, default=0.5)
    """Rows of the window may fall by this share below the median of earlier windows."""
    freshness: Duration | None = None
    """How old the newest row may be; without one, ``contract.freshness``."""
    skew: bool = True
    """Whether the values that the server was sent are compared with those of the source, of the same time."""
    important: float = Field(ge=0, le=1, default=0.05)
    """A finding about a feature with this share of the model's importance pages; below, it warns."""


class ModelLayerSection(Section):
    """Layer 2: does the model still do what it did when it was evaluated?"""

    window: Duration = Field(default="1d", validate_default=True)
    """How much of the journal with matured labels is read."""
    by: tuple[str, ...] = ()
    """Columns with few values: every value is looked at on its own, against its own baseline."""
    slice_drop: float = Field(gt=0, default=0.08)
    """Practical limit for a slice, as ``drift.performance.drop`` is for all."""
    confidence_shift: float | None = Field(gt=0, lt=0.5, default=0.1)
    """Binary: how far the mean probability of the likelier class, over the answers of ``window``, may lie from that on
    the champion's holdout; null: not judged."""
    diversity_drop: float | None = Field(gt=0, lt=1, default=None)
    """By which share the entropy of the champion's decisions in ``window`` may fall below its median of earlier looks;
    null: not judged."""


class SliceAuditSection(Section):
    """Once in a while, everybody who was served: whom does the model serve worse than the others?

    Limits are known already: ``monitoring.model.slice_drop`` for declared slices, ``drift.performance.calibration`` for
    those that are searched for.
    """

    every: Duration = Field(default="7d", validate_default=True)
    window: Duration = Field(default="28d", validate_default=True)
    """How much of the journal is read; labels that have not matured count as pending."""
    minimum_rows: int = Field(ge=20, default=200)
    """Labelled entities, inside a slice and outside, before it is judged."""
    alpha: float = Field(gt=0, lt=0.5, default=0.01)
    """Shared by all slices of one audit."""
    search: bool = True
    """Whether slices that nobody has declared are searched for: bins of one feature, and pairs of them."""
    most: int = Field(ge=1, le=20, default=5)
    """Such slices that one audit measures."""


class WatchedMetric(Section):
    """One number about what the model is for, per window: layers 3 and 4.

    Without limits it is judged against its own past: the median of earlier windows, and how much they spread.
    """

    sql: str | None = None
    """A SELECT of one row with a column ``value``. Bound: ``:since``, ``:until``. Without ``uri`` it reads the table
    ``requests`` of the window's journal rows, and nothing else."""
    uri: str | None = None
    """SQLAlchemy URL of the database that ``sql`` asks, in a read-only transaction; may hold ``${NAME}``."""
    function: str | None = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", default=None)
    """``module:function``, called with a mapping from journal column to array; gives one number."""
    minimum: float | None = None
    maximum: float | None = None
    spread: float = Field(gt=0, default=6.0)
    """How many robust standard deviations from the median of earlier windows are too many."""
    least: int = Field(ge=3, default=12)
    """Earlier windows before the past is a baseline; until then there is no verdict."""
    window: Duration = Field(default="1h", validate_default=True)
    severity: Literal["page", "warning"] = "warning"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.sql is None) == (self.function is None):
            raise ValueError("give one of sql or function")
        if self.uri is not None and self.sql is None:
            raise ValueError("uri: belongs to sql")
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum:g} must be below maximum {self.maximum:g}")
        return self


class ServiceLayerSection(Section):
    """The service itself: errors, latency, throughput."""

    window: Duration = Field(default="1h", validate_default=True)
    error_rate: float = Field(gt=0, lt=1, default=0.01)
    p99: Duration = Field(default="100ms", validate_default=True)
    """Latency in the server that one request in a hundred may exceed."""
    throughput_drop: float = Field(gt=0, lt=1, default=0.8)
    """Requests may fall by this share below the median of earlier windows at the same hour."""
    least: int = Field(ge=1, default=100)
    """Requests in the window before rates are judged."""


class MonitoringSection(Section):
    """The hourly look at a model in production."""

    cron: str | None = "45 * * * *"
    """``None``: by hand only."""
    data: DataLayerSection = DataLayerSection()
    model: ModelLayerSection = ModelLayerSection()
    product: dict[str, WatchedMetric] = {}
    business: dict[str, WatchedMetric] = {}
    service: ServiceLayerSection = ServiceLayerSection()
    slice_audit: SliceAuditSection | None = SliceAuditSection()
    """``None``: slices are looked at by the model layer only."""


class AlertsSection(Section):
    """How symptoms become messages. Where they go is environment: ``GAUNTLET_NOTIFY``."""

    dashboard: str | None = None
    """Address of the dashboard that every message links to."""
    clear_after: int = Field(ge=1, default=2)
    """Looks without the symptom before it is resolved."""
    worse: float = Field(gt=1, default=2.0)
    """A symptom this many times as far beyond its limit as when it was last sent is sent again."""
    quiet: tuple[Weekly, ...] = ()
    """Hours, in ``schedule.timezone``, in which warnings wait; pages never do."""
