"""Turn what the journal's workers have finished writing into partitioned Parquet."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.batch import JournalCompaction

if TYPE_CHECKING:
    from gauntlet.core.ports import Services

AFTER = timedelta(hours=1)
"""Younger segments are what rollouts read at every look; they stay as they are."""


def compact_journal(services: Services, model: str) -> JournalCompaction:
    """Compact segments that ended more than an hour ago. Safe to repeat, and to be killed: nothing is lost or doubled.

    Raises:
        InfrastructureError: a segment could not be compacted; it is still there, and readers still read it.
    """
    before = services.clock.now() - AFTER
    done = services.journal.compact(model, before)
    text = f"{len(done.files)} segments with {done.rows} rows are Parquet now"
    record = JournalCompaction(
        model=model,
        before=before,
        files=done.files,
        rows=done.rows,
        refused=done.refused,
        outcome=Outcome.ERROR if done.refused else Outcome.PASSED,
        reason="; ".join([text, *done.refused]),
    )
    services.records.put(f"{model}/journal", record)
    if done.refused:
        raise InfrastructureError(f"{model}: {record.reason}")
    return record
