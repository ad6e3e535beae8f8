"""How the model is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section

Parameter = bool | int | float | str


class SearchSection(Section):
    """Bounded, seeded hyper-parameter search on train/validation only. A pair is a range, a list of three or more a choice."""

    trials: int = Field(ge=1, le=500)
    timeout: Duration
    space: dict[str, tuple[Parameter, ...]]


class TrainingSection(Section):
    """LightGBM parameters (whitelisted), early stopping, calibration, search, resources."""

    params: dict[str, Parameter] = {}
    """Whitelisted LightGBM parameters; a misspelt one is an error, not a warning."""
    rounds: int = Field(ge=1, default=500)
    early_stopping: int = Field(ge=1, default=30)
    """Rounds without improvement on the validation part."""
    seed: int = 7
    threads: int = Field(ge=0, default=0)
    """0: all cores. The trees do not depend on it."""
    calibration: Literal["none", "isotonic", "sigmoid"] = "none"
    threshold: Literal["profit", "f1"] | float | None = None
    """Binary: the decision threshold: a number, or chosen on the calibration (else validation) part."""
    class_weight: Literal["none", "balanced"] = "none"
    monotone: dict[str, Literal[-1, 1]] = {}
    min_category_rows: int = Field(ge=1, default=20)
    """Categories with fewer training rows are treated as unseen."""
    search: SearchSection | None = None
    timeout: Duration = Field(default="2h", validate_default=True)
    memory_mb: int | None = None
