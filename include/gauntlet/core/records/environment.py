"""What went from one environment to another."""

from __future__ import annotations

from gauntlet.core.records.base import Instant, Record


class ReleaseCopied(Record):
    """A release was copied here, byte for byte; ``blobs`` are the digests of all that was read back and verified."""

    model: str
    run: str
    environment: str
    """Where it comes from."""
    source_run: str
    version_id: str
    release_digest: str
    blobs: tuple[str, ...]
    by: str
    reason: str
    at: Instant
