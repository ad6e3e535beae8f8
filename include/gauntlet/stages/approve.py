"""A person lets a validated candidate go on, where the spec wants one to."""

from __future__ import annotations

from gauntlet.core.errors import PromotionRefused
from gauntlet.core.ledger import Change, named
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import CandidateState, Transition
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.stages.releases import served

S = CandidateState
WAITING = (S.VALIDATED, S.APPROVED)


def approve(services: Services, model: str, run: str, *, approver: str, reason: str) -> Transition:
    """Approve the candidate that ``run`` registered; the same person twice is one approval.

    Raises:
        PromotionRefused: the candidate is not waiting for an approval any more.
        MissingRecord: the run has registered nothing.
    """
    version = served(services.records.get(f"{model}/{run}", RegisteredVersion))
    events = services.ledger.events(model, version.release_digest)
    state = events[-1].after if events else None
    if state is S.APPROVED and events[-1].actor == approver:
        return events[-1]
    if state not in WAITING:
        raise PromotionRefused(f"{model}: {named(version)} is {state}: only a validated candidate can be approved")
    event = Transition(
        model=model,
        candidate=version.release_digest,
        version=version,
        before=state,
        after=S.APPROVED,
        reason=reason,
        actor=approver,
        run=run,
    )
    services.ledger.commit(
        Change(model=model, actor=approver, action="approval", reason=reason, transitions=(event,), run=run)
    )
    return services.ledger.events(model, version.release_digest)[-1]
