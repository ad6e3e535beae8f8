"""When a person may let an unsatisfied gate pass: another one than who asked, for a while, never for some gates."""

from __future__ import annotations

from datetime import datetime

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict, Waiver
from gauntlet.core.records.run import RunContext
from gauntlet.core.registry import lookup
from gauntlet.core.roles import person, same_person

LEAST_REASON = 10


def refusal(waiver: Waiver, run: RunContext, now: datetime) -> str | None:
    """Why a waiver does not count for this run at this time; ``None`` when it does."""
    gate = lookup(GATES, waiver.gate, "gate")
    said_by = person(waiver.approver, waiver.account)
    asked = same_person(said_by, run.requested_by)
    problems = (
        ((waiver.model, waiver.run) != (run.model, run.run), f"it is of run {waiver.model}/{waiver.run}"),
        (not gate.waivable, f"{waiver.gate} can never be waived"),
        (asked, f"{said_by} has asked for the run and cannot waive its gates"),
        (not same_person(said_by, waiver.approver), f"the name {waiver.approver} was only typed, by account {said_by}"),
        (not waiver.approver.strip(), "it names no approver"),
        (len(waiver.reason.strip()) < LEAST_REASON, f"its reason has less than {LEAST_REASON} characters"),
        (waiver.expires_at <= waiver.at, "it ends before it begins"),
        (now >= waiver.expires_at, f"it has expired at {waiver.expires_at.isoformat()}"),
        (now < waiver.at, f"it begins at {waiver.at.isoformat()}"),
    )
    return next((text for holds, text in problems if holds), None)


def with_waiver(verdict: GateVerdict, waiver: Waiver, run: RunContext, now: datetime) -> GateVerdict:
    """The verdict, waived where the waiver counts; where it does not, unchanged but for the reason why not."""
    if verdict.outcome.satisfied or waiver.gate != verdict.gate:
        return verdict
    problem = refusal(waiver, run, now)
    if problem is not None:
        return verdict.model_copy(update={"reason": f"{verdict.reason} (a waiver does not count: {problem})"})
    reason = (
        f"waived by {waiver.approver} until {waiver.expires_at:%Y-%m-%d %H:%M} UTC: {waiver.reason}; "
        f"without it {verdict.outcome}: {verdict.reason}"
    )
    return verdict.model_copy(update={"outcome": Outcome.WAIVED, "reason": reason})
