"""The receipt of a gate: one question, one recorded answer."""

from __future__ import annotations

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.account import Account
from gauntlet.core.records.base import Instant, Record


class Measurement(Record):
    """One thing a gate looked at: a metric on a slice against a limit.

    ``comparator`` reads ``observed comparator limit``; ``interval`` is the confidence interval of
    ``observed`` (or of ``delta`` in a comparison), lower then upper.
    """

    metric: str
    slice: str | None
    outcome: Outcome
    sentence: str
    observed: float | None
    limit: float | None
    comparator: str
    candidate: float | None = None
    champion: float | None = None
    delta: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    positives: int | None = None
    required_n: int | None = None


class GateVerdict(Record):
    """A gate's answer: pure, and byte-identical for the same evidence."""

    gate: str
    outcome: Outcome
    reason: str
    mode: str | None
    measurements: tuple[Measurement, ...]


class GateReceipt(Record):
    """A verdict bound to exactly what it was taken on. Promotion accepts nothing less."""

    verdict: GateVerdict
    model: str
    run: str
    candidate: str
    champion: str | None
    holdout: str
    spec_digest: str
    code_digest: str
    started_at: Instant
    finished_at: Instant
    waived_until: Instant | None = None
    """When the waiver ends that this receipt rests on; after that it satisfies nobody."""

    @property
    def satisfied(self) -> bool:
        """Whether this gate lets the candidate through."""
        return self.verdict.outcome.satisfied


class Waiver(Record):
    """A person lets one gate of one run be unsatisfied, for a while and with a reason."""

    model: str
    run: str
    gate: str
    reason: str
    approver: str
    at: Instant
    expires_at: Instant
    account: Account | None = None
    """Where it was said from, at a command line; ``None``: where a login had proved the name."""


class Approval(Record):
    """A person's word on one run. A reject is recorded like an approval."""

    model: str
    run: str
    approver: str
    approved: bool
    reason: str
    at: Instant
    account: Account | None = None
    """Where it was said from, at a command line; ``None``: where a login had proved the name."""


class PromotionDecision(Record):
    """Whether a candidate may go on, decided from the stored receipts."""

    model: str
    run: str
    outcome: Outcome
    reason: str
    candidate: str
    champion: str | None
    holdout: str
    spec_digest: str
    receipts: dict[str, str]
    version: int | None
    decided_at: Instant
