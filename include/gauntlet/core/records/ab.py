"""Facts about A/B comparisons: what a test needs, and what it found."""

from __future__ import annotations

from gauntlet.core.records.base import Record


class ABPlan(Record):
    """What it takes to see a change. ``requests`` is all traffic, both arms; ``seconds`` at the traffic given."""

    metric: str
    baseline: float
    change: float
    power: float
    alpha: float
    share: float
    canary_n: int
    requests: int
    seconds: float | None
    sentence: str


class ABReport(Record):
    """Canary against stable on one metric: effect, intervals, classical and Bayesian views of the same data."""

    metric: str
    stable_n: int
    canary_n: int
    stable_mean: float
    canary_mean: float
    lift: float
    relative_lift: float | None
    interval: tuple[float, float]
    """Confidence sequence of the lift: holds however often it is looked at."""
    t_p_value: float
    t_interval: tuple[float, float]
    mann_whitney_p: float
    shift: float
    """Hodges-Lehmann estimate of the location shift."""
    shift_interval: tuple[float, float]
    cohens_d: float | None
    better: float | None
    """Binary: posterior probability that the canary's rate is higher."""
    expected_loss: float | None
    """Binary: rate given up on average by choosing the canary when it is in truth the lower."""
    cuped_lift: float | None
    cuped_interval: tuple[float, float] | None
    variance_removed: float | None
    """Share of the variance that the pre-period explains."""
    sentence: str
