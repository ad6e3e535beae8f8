"""When inputs have changed enough to act."""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section


class DriftSection(Section):
    """The drift check and the triggers it feeds."""

    window: Duration
    """The current window: rows with event time in (as_of - window, as_of]."""
    psi: float = Field(gt=0, default=0.10)
    """PSI of practical relevance, per feature."""
    alpha: float = Field(gt=0, lt=0.5, default=0.01)
    minimum_rows: int = Field(ge=1, default=500)
    cooldown: Duration = Field(default="20h", validate_default=True)
    """No second drift-triggered retrain within this time."""
    max_age: Duration | None = Field(default="30d", validate_default=True)
    """Retrain when the champion is older, drift or not; ``None`` never."""
