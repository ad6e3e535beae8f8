"""Facts about a self-test of the gates: which known-bad variants of a real run they saw."""

from __future__ import annotations

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Record


class MutationResult(Record):
    """One known-bad variant. ``caught`` is ``None`` when it could not be tried; ``reason`` then says why."""

    gate: str
    mutation: str
    caught: bool | None
    outcome: Outcome | None
    reason: str


class SelfTestReport(Record):
    """All variants tried on one run. Failed when a gate let one through, error when none could be tried."""

    model: str
    run: str
    spec_digest: str
    code_digest: str
    outcome: Outcome
    reason: str
    results: tuple[MutationResult, ...]
