"""How long what a model leaves behind is kept."""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section


class RetentionSection(Section):
    """What the daily housekeeping may delete. A tombstone with digest and reason stays for everything that goes.

    Never deleted, whatever is written here: what a routing row, an alias of the registry, a rollout or a promotion
    under way points at, and what somebody has pinned (``gauntlet pin``).
    """

    versions: int = Field(ge=1, default=5)
    """The newest registered versions that are kept with their run, snapshot and registry entry."""
    referenced: Duration = Field(default="30d", validate_default=True)
    """What a run, a prediction or the routing has referred to within this time is kept; the journal too."""
