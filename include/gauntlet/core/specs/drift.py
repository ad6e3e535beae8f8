"""When inputs have changed enough to act."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section

StatisticName = Literal[
    "ks",
    "wasserstein",
    "psi",
    "jensen_shannon",
    "hellinger",
    "chi_squared",
    "cramers_v",
    "l_infinity",
    "mean_shift",
    "mean_shift_se",
    "sigma_ratio",
    "missing_rate",
    "categories",
    "vanished",
    "range",
    "dtype",
]
"""The keys of :data:`gauntlet.core.statistics.registry.STATISTICS`."""


class Limits(Section):
    """The practical limit of each statistic: what lies beyond it matters. ``off``: measured, never decides.

    An override for one feature names only what differs.
    """

    psi: float | Literal["off"] | None = None
    """``None``: the section's ``psi``."""
    psi_severe: float = Field(gt=0, default=0.25)
    """PSI from which a change is called severe."""
    ks: float | Literal["off"] = 0.10
    """Largest distance of the two distribution functions."""
    wasserstein: float | Literal["off"] = 0.30
    """In standard deviations of the reference."""
    jensen_shannon: float | Literal["off"] = "off"
    hellinger: float | Literal["off"] = "off"
    chi_squared: float | Literal["off"] = "off"
    """Only for those who want the plain test: its p-value has no practical limit, write 0 to decide on it."""
    cramers_v: float | Literal["off"] = 0.16
    """As if both windows had equally many rows. A PSI of 0.10 is about 0.16."""
    l_infinity: float | Literal["off"] = "off"
    mean_shift: float | Literal["off"] = 3.0
    """In standard deviations of the reference."""
    mean_shift_se: float | Literal["off"] = "off"
    """In standard errors; grows with the rows, so it decides only where asked."""
    sigma_ratio: float | Literal["off"] = 2.0
    """Factor by which the standard deviation grows or shrinks."""
    missing_rate: float | Literal["off"] = 0.05
    """Change of the share of missing values."""
    categories: float | Literal["off"] = 0.01
    """Share of rows in categories never seen, beyond what the reference's rare categories announce."""
    vanished: float | Literal["off"] = 0.05
    """Share of the reference in categories that the current window has none of."""
    range: float | Literal["off"] = 0.01
    """Share of rows outside the reference's range."""


class PersistenceSection(Section):
    """``violations`` of the newest ``windows`` checks, the newest among them."""

    violations: int = Field(ge=1, default=1)
    windows: int = Field(ge=1, default=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.violations > self.windows:
            raise ValueError(f"persistence: {self.violations} violations cannot occur in {self.windows} windows")
        return self


class BudgetSection(Section):
    """At most ``retrains`` automatic retrains in any period of ``within``."""

    retrains: int = Field(ge=1)
    within: Duration


class PerformanceSection(Section):
    """The champion on rows whose labels have matured, against what it scored when it was evaluated."""

    drop: float = Field(gt=0, default=0.02)
    """Practical limit: fall of ROC AUC, or relative rise of the mean absolute error."""
    calibration: float = Field(gt=0, default=0.05)
    """Binary: practical limit of |mean score - observed rate|."""
    minimum_rows: int = Field(ge=20, default=200)
    persistence: PersistenceSection = PersistenceSection()


class DriftSection(Section):
    """The drift check and the triggers it feeds."""

    window: Duration
    """The current window: rows with event time in (as_of - window, as_of]."""
    psi: float = Field(gt=0, default=0.10)
    """PSI of practical relevance, per feature."""
    alpha: float = Field(gt=0, lt=0.5, default=0.01)
    """Chance of a false alarm of one check, over all features and segments together."""
    minimum_rows: int = Field(ge=1, default=500)
    """Fewer rows in the window: the check is inconclusive."""
    mode: Literal["profile", "exact"] = "profile"
    """``exact`` reads the champion's training rows again."""
    limits: Limits = Limits()
    features: dict[str, Limits] = {}
    """Limits for single features, over ``limits``."""
    segments: tuple[str, ...] = ()
    """Columns with few values; every value is checked like a population of its own."""
    segment_values: int = Field(ge=1, le=100, default=10)
    """The most frequent values of a segment column that are checked."""
    persistence: PersistenceSection = PersistenceSection()
    importance: Literal["gain", "shap"] = "gain"
    """What a feature counts for: its total gain, or the mean |SHAP value| over training rows. Of champions trained
    from now on."""
    retrain_share: float = Field(gt=0, le=1, default=0.05)
    """Retrain when the drifted features hold this share of the model's importance; below, investigate."""
    investigate_share: float = Field(ge=0, le=1, default=0.005)
    """Drifted features that hold less of the model's importance are reported, and nobody is asked to look."""
    joint: float | None = Field(gt=0, default=0.002)
    """Limit of the PSI over all features, weighted by importance, and of the PSI of the scores: about 0.045 sigma
    of everything that the model uses. Beyond: investigate. ``None``: not tested."""
    joint_pairs: float | None = Field(gt=0, default=0.0001)
    """Limit of the mean squared change, in sigma, of levels, spreads and pairs of the ranks of what the model uses.
    What they were is kept in the profile of champions trained with this set; ``None``: not tested."""
    recurring: Duration | None = None
    """Compare with the window this much earlier too (``7d``, ``365d``): what was so then, recurs."""
    domain_auc: float | None = Field(gt=0.5, lt=1, default=None)
    """Limit of the ROC AUC with which a classifier tells the windows apart; ``None``: no classifier is trained."""
    scores: bool = True
    """Whether the window is scored by the champion, to find a change of its scores."""
    performance: PerformanceSection | None = None
    """Whether the champion is measured again as labels mature; ``None``: not here."""
    fresh: Duration = Field(default="2h", validate_default=True)
    """The nightly takes a report of the drift check that is not older, instead of computing one again."""
    cooldown: Duration = Field(default="20h", validate_default=True)
    """No second drift-triggered retrain within this time."""
    max_age: Duration | None = Field(default="30d", validate_default=True)
    """Retrain when the champion is older, drift or not; ``None`` never."""
    volume: int | None = Field(ge=1, default=None)
    """Retrain when so many labelled rows are new since the champion; ``None`` never."""
    minimum_new_rows: int = Field(ge=0, default=0)
    """No automatic retrain with fewer new labelled rows since the champion."""
    budget: BudgetSection | None = None
    """Most automatic retrains in a period; ``None``: no limit but the cooldown."""

    def limits_of(self, feature: str) -> Limits:
        """The limits of one feature: its own over the section's."""
        own = self.features.get(feature)
        chosen = self.limits.model_copy(update=own.model_dump(exclude_unset=True)) if own else self.limits
        return chosen.model_copy(update={"psi": self.psi}) if chosen.psi is None else chosen
