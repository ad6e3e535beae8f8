"""Whether a candidate may be registered or promoted: a function of stored receipts, nothing else.

Fail-closed: the receipts must be exactly those the spec names, each satisfied, and each taken on this very
candidate, champion, holdout and spec. A receipt too many is as suspicious as one too few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gauntlet.core.ledger import named
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.gates import GateReceipt
from gauntlet.core.records.rollout import Routing, ServedVersion

SHOWN = 12


@dataclass(frozen=True)
class Claim:
    """What the receipts must prove: that ``candidate`` passed ``gates`` against ``champion`` on ``holdout``.

    ``candidate`` and ``champion`` are release digests; ``champion`` is ``None`` for a first model. ``at`` is when it
    is asked: a receipt that rests on a waiver does not count after the waiver has ended.
    """

    model: str
    run: str
    candidate: str
    champion: str | None
    holdout: str
    spec_digest: str
    gates: tuple[str, ...]
    at: datetime | None = None
    within: timedelta | None = None
    """How old a receipt may be at ``at``; ``None``: of any age."""


@dataclass(frozen=True)
class Answer:
    """Whether the claim holds, and in words why or why not."""

    outcome: Outcome
    obstacles: tuple[str, ...]

    @property
    def reason(self) -> str:
        """All obstacles, at most :data:`SHOWN`; or that there is none."""
        if not self.obstacles:
            return "every gate the spec names has passed" + (" or was waived" if self.outcome is Outcome.WAIVED else "")
        more = len(self.obstacles) - SHOWN
        return "; ".join(self.obstacles[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def judge_receipts(claim: Claim, receipts: Mapping[str, GateReceipt]) -> Answer:
    """Whether the receipts, by gate, prove the claim."""
    obstacles = [
        *_set_differs(claim.gates, receipts),
        *(sentence for gate in claim.gates if gate in receipts for sentence in _faults(claim, gate, receipts[gate])),
    ]
    return answer(obstacles, [receipts[gate].verdict.outcome for gate in claim.gates if gate in receipts])


def answer(obstacles: Iterable[str], outcomes: Iterable[Outcome]) -> Answer:
    """Passed or waived only without any obstacle, and only if something was evaluated."""
    found = tuple(obstacles)
    folded = worst(outcomes)
    if folded.satisfied and found:
        folded = Outcome.FAILED
    if not folded.satisfied and not found:
        found = ("no gate was evaluated",)
    return Answer(folded, found)


def _set_differs(gates: Iterable[str], receipts: Mapping[str, GateReceipt]) -> list[str]:
    wanted = set(gates)
    if not wanted:
        return ["the spec names no gate"]
    return [
        *(f"gate {gate} has no receipt" for gate in sorted(wanted - set(receipts))),
        *(f"there is a receipt of {gate}, which the spec does not name" for gate in sorted(set(receipts) - wanted)),
    ]


def _faults(claim: Claim, gate: str, receipt: GateReceipt) -> list[str]:
    bound = (
        ("gate", receipt.verdict.gate, gate),
        ("model", receipt.model, claim.model),
        ("run", receipt.run, claim.run),
        ("candidate", receipt.candidate, claim.candidate),
        ("champion", receipt.champion, claim.champion),
        ("holdout", receipt.holdout, claim.holdout),
        ("spec", receipt.spec_digest, claim.spec_digest),
    )
    faults = [
        f"the receipt of {gate} is of {what} {_short(found)}, not {_short(wanted)}"
        for what, found, wanted in bound
        if found != wanted
    ]
    if not receipt.satisfied:
        faults.append(f"{gate} {receipt.verdict.outcome}: {receipt.verdict.reason}")
    if receipt.verdict.outcome is Outcome.WAIVED and not _waiver_holds(claim, receipt):
        faults.append(f"the waiver of {gate} ended at {receipt.waived_until}; ask the gate again")
    if claim.at is not None and claim.within is not None and claim.at - receipt.finished_at > claim.within:
        days = (claim.at - receipt.finished_at) / timedelta(days=1)
        limit = claim.within / timedelta(days=1)
        faults.append(f"the receipt of {gate} is {days:.1f} days old > {limit:g}; start a new run")
    return faults


def _waiver_holds(claim: Claim, receipt: GateReceipt) -> bool:
    return claim.at is not None and receipt.waived_until is not None and claim.at < receipt.waived_until


def _short(value: str | None) -> str:
    return "none" if value is None else value[:12]


def judge_evaluation(claim: Claim, evaluation: EvaluationRef) -> list[str]:
    """Why an evaluation is not the one the claim speaks of."""
    bound = (
        ("candidate", evaluation.candidate, claim.candidate),
        ("champion", evaluation.champion, claim.champion),
        ("spec", evaluation.spec_digest, claim.spec_digest),
    )
    return [
        f"the evaluation is of {what} {_short(found)}, not {_short(wanted)}; evaluate again"
        for what, found, wanted in bound
        if found != wanted
    ]


def traffic_obstacles(routing: Routing, candidate: ServedVersion, champion: ServedVersion | None) -> list[str]:
    """Why this routing is not the one a promotion of ``candidate`` over ``champion`` was decided on."""
    obstacles = []
    if routing.stable != champion:
        obstacles.append(
            f"{named(routing.stable)} is champion now, not {named(champion)}: what was judged is out of date"
        )
    if champion is not None and routing.canary != candidate:
        obstacles.append(f"{named(candidate)} is not the canary any more ({named(routing.canary)} is)")
    return obstacles
