"""What scoring whole files came to."""

from __future__ import annotations

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record


class ScoredFile(Record):
    """One source file and the file of its scores."""

    source: str
    target: str
    rows: int
    rejected: int
    sha256: str
    """Of the file of scores."""


class BatchScores(Record):
    """All files of one batch. ``deviations``: rows by ``feature kind``, rejected ones included."""

    model: str
    version_id: str
    challenger_version_id: str | None
    files: tuple[ScoredFile, ...]
    rows: int
    rejected: int
    challenger_invalid: int
    deviations: dict[str, int]
    outcome: Outcome
    reason: str


class JournalCompaction(Record):
    """Which segments of the journal became Parquet. ``refused``: a segment that stays, with the reason."""

    model: str
    before: Instant
    """Segments that ended before this were to be compacted."""
    files: tuple[str, ...]
    rows: int
    refused: tuple[str, ...]
    outcome: Outcome
    reason: str
