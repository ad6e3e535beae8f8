"""A person's word on a run, for the gate ``approval``: what is asked, and what was answered. The gate judges it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gauntlet.core.errors import Rejection
from gauntlet.core.records.account import Account
from gauntlet.core.records.gates import Approval, GateReceipt
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.run import RunContext
from gauntlet.core.roles import signed

if TYPE_CHECKING:
    from gauntlet.core.ports import Services

MARKS = re.compile(r"([\\`*_{}\[\]<>#|])")


def answer_approval(
    services: Services,
    model: str,
    run: str,
    *,
    approver: str,
    approved: bool,
    reason: str,
    account: Account | None = None,
) -> Approval:
    """Record a yes or a no, with its audit entry; the newest word of a person replaces their last.

    ``account``: the account at the command line; ``None`` where a login has proved the name.

    Raises:
        Rejection: a nameless approver, or no reason.
        MissingRecord: there is no such run.
    """
    services.records.get(f"{model}/{run}", RunContext)
    if not approver.strip() or not reason.strip():
        raise Rejection(f"{model}/{run}: an approval needs a name and a reason")
    word = Approval(
        model=model,
        run=run,
        approver=approver,
        approved=approved,
        reason=reason.strip(),
        at=services.clock.now(),
        account=account,
    )
    services.records.put(f"{model}/{run}", word, approver, actor=signed(approver, account))
    return word


def question(services: Services, run: RunContext) -> str:
    """What is to be approved and what the other gates have said of it, as Markdown."""
    trained = services.records.get(run.key, TrainedModel)
    champion = services.routing.read(run.model).stable
    receipts = services.records.named(run.key, GateReceipt)
    lines = [f"- **{name}** {receipt.verdict.outcome}: {_plain(receipt)}" for name, receipt in receipts.items()]
    against = f"the champion {champion.version_id}" if champion else "no champion: it would be the first"
    return "\n".join([
        f"**{run.model}**: version {trained.release.version_id}, {run.reason}, against {against}.",
        f"Asked for by {run.requested_by}, who cannot approve it.",
        "",
        *(lines or ["- no gate has been asked yet"]),
    ])


def _plain(receipt: GateReceipt) -> str:
    """The reason, with Markdown's own signs escaped: column names and people's words are no formatting."""
    return MARKS.sub(r"\\\1", receipt.verdict.reason)
