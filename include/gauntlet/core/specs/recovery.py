"""How fast a rollback must be, and when one needs nobody to ask for it."""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.duration import Duration
from gauntlet.core.records.monitoring import Layer
from gauntlet.core.specs.base import Section


class RecoverySection(Section):
    """What the rollback drill holds its measurements against."""

    within: Duration = Field(default="5s", validate_default=True)
    """From the decision to the last server process that has the old version back."""
    automatic: tuple[Layer, ...] = ()
    """Layers of the monitor that take a new champion back by themselves; none: a person decides."""
    watch: Duration = Field(default="24h", validate_default=True)
    """How long after its promotion a champion is taken back without asking."""
    looks: int = Field(ge=1, default=2)
    """In how many looks in a row the same paging symptom must be there."""
    golden_rows: int = Field(ge=1, default=32)
    """How many golden rows the version to return to must answer as it did when it was trained."""
