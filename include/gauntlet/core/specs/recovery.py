"""How fast a rollback must be."""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section


class RecoverySection(Section):
    """What the rollback drill holds its measurements against."""

    within: Duration = Field(default="5s", validate_default=True)
    """From the decision to the last server process that has the old version back."""
    golden_rows: int = Field(ge=1, default=32)
    """How many golden rows the version to return to must answer as it did when it was trained."""
