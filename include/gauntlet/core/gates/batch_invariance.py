"""Is a row scored alone the row scored among others?"""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import check, conclude
from gauntlet.core.records.gates import GateVerdict

NAME = "batch_invariance"
ALONE, HALVES, SHUFFLED = "alone", "in_halves", "shuffled"
KINDS = (ALONE, HALVES, SHUFFLED)


class BatchInvarianceConfig(GateConfig):
    """Trees and piecewise-linear calibration are exact: any difference is a preprocessing that looks at the batch."""

    tolerance: float = Field(ge=0, default=1e-12)
    rows: int = Field(ge=10, default=200)
    """Holdout rows that are scored one by one."""


def evaluate(evidence: Evidence, config: BatchInvarianceConfig) -> GateVerdict:
    """Largest change of a score, alone, in another batch and in another order."""
    found = {item.kind: item for item in need(evidence.observations, "scores in other batches")}
    return conclude(
        NAME,
        [
            check(
                f"score_change_{kind}",
                found[kind].value if kind in found else None,
                "≤",
                config.tolerance,
                n=found[kind].rows if kind in found else 0,
            )
            for kind in KINDS
        ],
    )
