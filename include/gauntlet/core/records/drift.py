"""Facts about drift: what a check measured, feature by feature, and the action it suggests."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record


class DriftAction(StrEnum):
    """What a check suggests."""

    NONE = "none"
    INVESTIGATE = "investigate"
    RECALIBRATE = "recalibrate"
    RETRAIN = "retrain"
    ROLLBACK = "rollback"


class DriftPattern(StrEnum):
    """How the change came, seen over the checks so far."""

    NONE = "none"
    SUDDEN = "sudden"
    GRADUAL = "gradual"
    RECURRING = "recurring"
    LASTING = "lasting"


class StatisticResult(Record):
    """One statistic of one feature. ``low`` and ``high`` certify the value when it was taken from a profile.

    ``p_value`` is of "the change is within its limit": small means a relevant change.
    """

    statistic: str
    outcome: Outcome | None
    """``None``: measured, decides nothing."""
    judged: bool = True
    """``False``: a window of this size cannot answer, as is known before it is looked at; the outcome stays open."""
    value: float | None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    unit: str = ""
    p_value: float | None = None
    required_rows: int | None = None
    sentence: str


class FeatureDrift(Record):
    """One feature, of one segment or of all rows."""

    feature: str
    segment: str | None
    kind: str
    importance: float = Field(ge=0)
    outcome: Outcome
    judged: bool = True
    """``False``: inconclusive because the question takes more rows than such windows have, and for nothing else."""
    quality: bool
    """Whether the finding is one of data quality: the column is absent, empty, or of another type."""
    severe: bool
    sentence: str
    p_value: float | None
    adjusted_p: float | None
    effect: float | None
    """The deciding statistic in units of its limit: 1 is the limit."""
    reference_rows: int
    current_rows: int
    required_rows: int | None
    statistics: tuple[StatisticResult, ...]


class PerformanceDrift(Record):
    """The champion now against the champion when it was evaluated; ``estimate`` when no label was used."""

    metric: str
    outcome: Outcome
    judged: bool = True
    """``False``: inconclusive because the question takes more labels than such windows have, and for nothing else."""
    estimate: bool
    baseline: float | None
    current: float | None
    interval: tuple[float, float] | None
    limit: float | None
    rows: int
    required_rows: int | None = None
    calibration_error: float | None = None
    calibration_interval: tuple[float, float] | None = None
    shortfall: float | None = None
    """Binary: how much further than at its evaluation labels fall short of the ROC AUC that scores announce."""
    shortfall_error: float | None = None
    """Standard error of this window's part of it."""
    sentence: str


class LeftOut(Record):
    """A column that was not compared, and why."""

    column: str
    why: str


class DriftReport(Record):
    """One drift check: the current window against the champion's profile."""

    model: str
    run: str
    as_of: Instant
    spec_digest: str
    champion: str | None
    """Digest of the release compared with; ``None``: there is no champion."""
    profile: str | None
    profile_as_of: Instant | None
    previous: str | None = None
    """Digest of the release that was champion before."""
    mode: str
    window_start: Instant | None
    window_end: Instant
    last_event: Instant | None = None
    """Event time of the newest row in the window."""
    rows: int
    reference_rows: int
    outcome: Outcome
    """Of all that windows of this size can answer; ``not_judged`` names the rest, of which nothing is claimed."""
    not_judged: tuple[str, ...] = ()
    """Questions that take more rows than such windows have, with the rows that they take."""
    action: DriftAction
    pattern: DriftPattern
    reason: str
    score: float | None
    """Share of the model's importance in drifted features."""
    carried_by: tuple[str, ...]
    blocked: bool
    """Whether the window is unfit to train on."""
    violated: bool
    """Whether this check alone, without regard to earlier ones, found relevant drift."""
    features: tuple[FeatureDrift, ...]
    prediction: FeatureDrift | None
    performance: PerformanceDrift | None
    estimate: PerformanceDrift | None = None
    joint: FeatureDrift | None = None
    """Whether everything that the model uses has changed together, weighted by importance."""
    means: dict[str, float] = {}
    """How far levels, spreads and pairs of ranks have moved, in sigma: the next window is pooled with them."""
    means_rows: int = 0
    domain: FeatureDrift | None = None
    """Whether a classifier can tell the windows apart."""
    label: FeatureDrift | None = None
    """Label change, from rows whose labels have matured; kept apart from covariate change."""
    left_out: tuple[LeftOut, ...] = ()
    """Columns of two files that nothing is claimed of."""
    page_uri: str | None
    page_sha256: str | None
    data_uri: str | None
    data_sha256: str | None


class DriftSummary(Record):
    """A drift report in a line per feature: what many nights side by side are shown from.

    ``features``, ``importances``, ``effects`` and ``outcomes`` run in parallel, over all rows (no segments). An
    effect is in units of its limit, 1 being the limit. ``shares_uri`` is a JSON file of both windows' shares.
    """

    model: str
    run: str
    as_of: Instant
    champion: str | None
    outcome: Outcome
    action: DriftAction
    reason: str
    score: float | None
    features: tuple[str, ...]
    importances: tuple[float, ...]
    effects: tuple[float | None, ...]
    outcomes: tuple[Outcome, ...]
    performance: float | None = None
    """The champion's own metric on matured labels."""
    performance_metric: str | None = None
    shares_uri: str | None = None
    shares_sha256: str | None = None


class FeatureShares(Record):
    """One feature in both windows as shares of the same few cells: bars of a chart."""

    feature: str
    cells: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]


class DriftShares(Record):
    """All features of one drift check as shares; a file of its own, addressed by its SHA-256."""

    model: str
    run: str
    features: tuple[FeatureShares, ...]
