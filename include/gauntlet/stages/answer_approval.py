"""Record a person's word on a run, for the gate ``approval``; the gate then judges who said what, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.errors import Rejection
from gauntlet.core.records.gates import Approval
from gauntlet.core.records.run import RunContext

if TYPE_CHECKING:
    from gauntlet.core.ports import Services


def answer_approval(
    services: Services, model: str, run: str, *, approver: str, approved: bool, reason: str
) -> Approval:
    """Record a yes or a no, with its audit entry; the newest word of a person replaces their last.

    Raises:
        Rejection: a nameless approver, or no reason.
        MissingRecord: there is no such run.
    """
    services.records.get(f"{model}/{run}", RunContext)
    if not approver.strip() or not reason.strip():
        raise Rejection(f"{model}/{run}: an approval needs a name and a reason")
    word = Approval(
        model=model, run=run, approver=approver, approved=approved, reason=reason.strip(), at=services.clock.now()
    )
    services.records.put(f"{model}/{run}", word, approver, actor=approver)
    return word
