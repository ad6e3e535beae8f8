"""Do fixed input rows still get the scores they had in the training process?"""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import check, conclude, too_few
from gauntlet.core.records.gates import GateVerdict

NAME = "golden"
ROW = "golden"


class GoldenConfig(GateConfig):
    """The rows travel with the release and are hashed with it."""

    tolerance: float = Field(ge=0, default=1e-9)
    """Largest difference of any row's score."""
    minimum_rows: int = Field(ge=1, default=10)


def evaluate(evidence: Evidence, config: GoldenConfig) -> GateVerdict:
    """Every golden row, scored again from the loaded release, within the tolerance."""
    found = [item for item in need(evidence.observations, "golden scores") if item.kind == ROW]
    rows = sum(item.rows for item in found)
    if rows < config.minimum_rows:
        return conclude(NAME, [too_few("golden", rows, config.minimum_rows)])
    return conclude(
        NAME, [check("golden_score_change", item.value, "≤", config.tolerance, n=item.rows) for item in found]
    )
