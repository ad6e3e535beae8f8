"""Facts about data: snapshots, contract results, splits, leakage."""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record


class DatasetRef(Record):
    """An immutable Parquet snapshot, addressed by the SHA-256 of its bytes.

    Times are those of the rows in it; ``None`` where the source has no time column.
    """

    uri: str
    sha256: str
    rows: int = Field(ge=0)
    columns: tuple[str, ...]
    size_bytes: int
    first_event: Instant | None
    last_event: Instant | None
    as_of: Instant
    window_start: Instant | None
    window_end: Instant | None
    query: str
    classes: tuple[str, ...] | None = None
    """Multiclass: label values in the order of their codes in the snapshot."""
    source_columns: tuple[str, ...] = ()
    """Every column the source has, also those not pulled."""


class ExpectationResult(Record):
    """One expectation of the data contract, evaluated."""

    expectation: str
    column: str | None
    outcome: Outcome
    sentence: str
    observed: str
    unexpected: int | None = None
    rows: int
    examples: tuple[str, ...] = ()


class ContractReport(Record):
    """The data contract's verdict on one snapshot."""

    outcome: Outcome
    reason: str
    dataset: str
    evaluated: int
    failed: tuple[ExpectationResult, ...]
    suite_digest: str
    page_uri: str | None
    seconds: float


class SplitPart(Record):
    """One part of a split: its rows and their time range."""

    name: str
    rows: int
    positives: int | None
    first_event: Instant | None
    last_event: Instant | None
    keys_digest: str


class SplitManifest(Record):
    """How a snapshot was divided. ``uri`` is a Parquet file with one ``part`` code per snapshot row."""

    dataset: str
    uri: str
    sha256: str
    strategy: str
    parts: tuple[SplitPart, ...]
    dropped: int
    dropped_reason: str


class LeakageFinding(Record):
    """One leakage check, evaluated."""

    check: str
    outcome: Outcome
    sentence: str


class LeakageReport(Record):
    """The leakage task's verdict on one split."""

    outcome: Outcome
    reason: str
    dataset: str
    findings: tuple[LeakageFinding, ...]
