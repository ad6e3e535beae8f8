"""What the model's own decisions do to what is known of it: slices as they were audited, and what others would say."""

from __future__ import annotations

from gauntlet.core.ports import Services
from gauntlet.core.records.base import Record
from gauntlet.core.records.feedback import Counterfactual, SliceAudit
from gauntlet.stages.audit_slices import slices_key
from gauntlet.stages.counterfactual import counterfactual_key

MOST = 5


class Feedback(Record):
    """The newest slice audit, and the newest counterfactual summaries, newest first."""

    model: str
    audit: SliceAudit | None
    reserve: float | None
    """The share of decisions that the spec gives to exploration; ``None``: none."""
    counterfactuals: tuple[Counterfactual, ...]
    empty: str | None


def feedback(services: Services, model: str) -> Feedback:
    """As it was stored last; nothing is measured here."""
    spec = services.specs.get(model)
    audit = services.records.find(slices_key(model), SliceAudit)
    known = services.records.named(counterfactual_key(model), Counterfactual).values()
    newest = sorted(known, key=lambda one: one.at, reverse=True)[:MOST]
    section = spec.serving.exploration
    nothing = "No slice has been audited yet: the housekeeping DAG does so every day it is due." if not audit else None
    return Feedback(
        model=model,
        audit=audit,
        reserve=section.share if section else None,
        counterfactuals=tuple(newest),
        empty=None if newest else nothing,
    )
