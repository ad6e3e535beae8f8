"""Has a person, who is not the one that asked for the run, said yes?"""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.duration import Duration, format_duration
from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import conclude, measurement
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import Approval, GateVerdict
from gauntlet.core.roles import person, same_person

NAME = "approval"


class ApprovalConfig(GateConfig):
    """Silence is a reject."""

    approvers: tuple[str, ...] = Field(min_length=1)
    """Who may approve."""
    within: Duration = Field(default="24h", validate_default=True)
    """An approval older than this does not count."""


def evaluate(evidence: Evidence, config: ApprovalConfig) -> GateVerdict:
    """The newest word counts; it must be a yes, by somebody who may, and not by who asked for the run."""
    words = [word for word in need(evidence.approvals, "record of approvals") if word.run == evidence.run.run]
    if not words:
        return _answer(Outcome.FAILED, f"0 approvals < 1 of {len(config.approvers)} approvers: silence is a reject", 0)
    word = max(words, key=lambda item: item.at)
    problem = _problem(word, evidence, config)
    if problem is not None:
        return _answer(Outcome.FAILED, f"0 approvals < 1: {problem}", 0)
    return _answer(Outcome.PASSED, f"1 approval ≥ 1 by {word.approver}: {word.reason}", 1)


def _answer(outcome: Outcome, sentence: str, count: int) -> GateVerdict:
    return conclude(NAME, [measurement("approvals", outcome, sentence, count, 1, "≥")])


def _problem(word: Approval, evidence: Evidence, config: ApprovalConfig) -> str | None:
    if not word.approved:
        return f"rejected by {word.approver}: {word.reason}"
    if word.approver not in config.approvers:
        return f"{word.approver} is not one of {', '.join(config.approvers)}"
    said_by = person(word.approver, word.account)
    if not same_person(said_by, word.approver):
        return f"the name {word.approver} was only typed, by account {said_by}: {word.approver} must log in to approve"
    if same_person(word.approver, evidence.run.requested_by):
        return f"{word.approver} has asked for the run and cannot approve it"
    if evidence.judged_at - word.at > config.within or word.at > evidence.judged_at:
        return f"the approval of {word.at.isoformat()} is not within {format_duration(config.within)}"
    return None
