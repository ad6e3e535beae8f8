"""Does the same question get the same answer, and the same data the same model?"""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need, same_trees
from gauntlet.core.gates.verdict import check, conclude, fact
from gauntlet.core.records.gates import GateVerdict

NAME = "determinism"
REPEATED, RELOADED, RETRAINED = "repeated", "reloaded", "retrained"


class DeterminismConfig(GateConfig):
    """Scores of a second call and of a second load; the trees of a second training."""

    tolerance: float = Field(ge=0, default=0.0)
    rows: int = Field(ge=10, default=2000)
    retrain: bool = False
    """Train once more from the recorded snapshot and split, and want the same tree digest; costs one training."""


def evaluate(evidence: Evidence, config: DeterminismConfig) -> GateVerdict:
    """Largest change of a score, and whether the trees came out the same."""
    found = {item.kind: item for item in need(evidence.observations, "repeated scores")}
    wanted = [(REPEATED, config.tolerance), (RELOADED, config.tolerance)]
    same = same_trees(evidence) if config.retrain else None
    if config.retrain and same is None:
        wanted.append((RETRAINED, 0.0))
    checks = []
    for kind, limit in wanted:
        item = found.get(kind)
        name = "tree_digests_differing_retrained" if kind == RETRAINED else f"score_change_{kind}"
        judged = check(name, item.value if item else None, "≤", limit, n=item.rows if item else 0)
        if item is not None and item.detail:
            judged = judged.model_copy(update={"sentence": f"{judged.sentence} ({item.detail})"})
        checks.append(judged)
    if same is not None:
        checks.append(fact("retrained", True, same, n=len(checks)))
    return conclude(NAME, checks)
