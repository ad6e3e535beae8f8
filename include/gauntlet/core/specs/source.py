"""Where rows come from and what their columns mean."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section


class Columns(Section):
    """The roles of columns. Only ``label`` is required; without ``event_time`` there is no time."""

    label: str
    key: str | None = None
    """Unique row key; without one, a digest of the row's content is the key."""
    entity: str | None = None
    """Who the row is about; keeps an entity's rows in one part of a split, and its traffic on one arm."""
    event_time: str | None = None
    known_at: str | None = None
    """When the row became known to the source; rows known after the as-of time are not read."""
    label_known_at: str | None = None
    weight: str | None = None
    protected: tuple[str, ...] = ()
    """Protected attributes: never features, never printed; used by fairness gates and slices."""
    extra: tuple[str, ...] = ()
    """Columns read for slices and business metrics, never features."""


class FeatureColumns(Section):
    """The model's inputs, by how their raw values are encoded."""

    numeric: tuple[str, ...] = ()
    boolean: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All features in model order: numeric, boolean, categorical, each as written."""
        return self.numeric + self.boolean + self.categorical


class SourceSection(Section):
    """What to pull. ``uri`` may hold ``${NAME}``: an environment variable, read when the data is pulled."""

    kind: Literal["files", "sql"]
    uri: str
    """Files: a path, folder, glob or fsspec URL of CSV/Parquet. SQL: an SQLAlchemy URL or ``airflow://<id>``."""
    query: str | None = None
    """SQL only: a SELECT that yields the columns; it is wrapped, never edited."""
    columns: Columns
    features: FeatureColumns
    window: Duration | None = None
    """How far back from the as-of time rows are read; ``None`` reads all."""
    label_delay: Duration | None = None
    """A label counts once its row is this old."""
    positive: str | None = None
    """Binary: the label value that is the positive class, when labels are not 0/1."""
    classes: tuple[str, ...] | None = None
    """Multiclass: the label values. Without them the classes are those found in the pull, sorted as strings."""
    derive: dict[str, str] = {}
    """Files only: computed columns, each an SQL expression over the source's columns, as
    ``event_time: dteday + to_hours(hr)``. Row by row and deterministic: no subquery, aggregate or clock."""

    @model_validator(mode="after")
    def _check_features(self) -> Self:
        roles = {self.columns.label, *self.columns.protected}
        if leaked := roles & set(self.features.all):
            raise ValueError(f"features must not hold the label or a protected column: {', '.join(sorted(leaked))}")
        names = self.features.all
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"features named twice: {', '.join(sorted(twice))}")
        if not names:
            raise ValueError("features: name at least one under numeric, boolean or categorical")
        return self

    @model_validator(mode="after")
    def _check_reading(self) -> Self:
        if self.kind == "sql" and not self.query:
            raise ValueError("query: an sql source needs a SELECT")
        if self.kind == "files" and self.query:
            raise ValueError("query: a files source has none; filter with the contract or use kind: sql")
        if self.kind == "sql" and self.derive:
            raise ValueError("derive: an sql source computes columns in its query")
        if self.positive is not None and self.classes is not None:
            raise ValueError("positive is for a binary label, classes for a multiclass one: remove one of them")
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError("classes: name at least two, each once")
        if (self.window or self.label_delay) and not self.columns.event_time:
            raise ValueError("window and label_delay need columns.event_time")
        return self


class LeakageLimits(Section):
    """What the leakage task still takes for chance. Only raise a limit with a reason at hand."""

    auc: float = Field(gt=0.5, le=1, default=0.98)
    """Binary, multiclass: a single feature must rank the label worse than this."""
    r2: float = Field(gt=0, le=1, default=0.90)
    """Regression: a single feature must explain less of the label's variance than this."""
    duplicates: float = Field(ge=0, le=1, default=0.01)
    """Largest share of rows outside train whose features, rounded to four digits, are also those of a train row."""
    sample: int = Field(ge=1_000, default=50_000)
    """Train rows on which the single-feature checks are made."""


class SplitSection(Section):
    """How a snapshot is divided. Shares are of rows, the holdout being the newest."""

    kind: Literal["time", "random"]
    validation: float = Field(gt=0, lt=1, default=0.15)
    calibration: float = Field(ge=0, lt=1, default=0.10)
    holdout: float = Field(gt=0, lt=1, default=0.20)
    embargo: Duration | None = None
    """Rows in this gap after each boundary are dropped."""
    entities: Literal["keep_latest", "keep_earliest", "allow"] = "keep_latest"
    """An entity with rows on both sides of a boundary in time: the part that keeps them, the others' rows being
    dropped. ``allow`` lets entities straddle, and the leakage report says so."""
    seed: int = 20_240_229
    leakage: LeakageLimits = LeakageLimits()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.validation + self.calibration + self.holdout >= 0.9:
            raise ValueError("validation + calibration + holdout must leave at least 0.1 of the rows for training")
        if self.kind == "random" and self.embargo:
            raise ValueError("embargo: a random split has no time; remove it or use kind: time")
        return self
