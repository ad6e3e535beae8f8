"""Facts about evaluation: scores on the holdout and probe measurements that gates judge."""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.records.base import Instant, Record


class EvaluationRef(Record):
    """A Parquet file with one row per holdout row, both models scored on the same rows.

    Columns: ``row_key``, ``label``, ``weight`` (may be absent), ``event_time`` (may be absent),
    ``candidate_score``, ``champion_score`` (absent without champion), ``naive_score``, every declared
    slice/protected/business column under its own name. Multiclass: ``candidate_score_0`` ... per class.
    """

    uri: str
    sha256: str
    rows: int = Field(ge=0)
    positives: int | None
    candidate: str
    champion: str | None
    holdout: str
    spec_digest: str
    first_event: Instant | None
    last_event: Instant | None
    candidate_threshold: float | None
    champion_threshold: float | None


class LatencyProfile(Record):
    """Single-row scoring latency in microseconds, measured interleaved on one host."""

    n: int
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float


class SmokeCheck(Record):
    """One smoke test or error scenario: what was tried and what came back."""

    name: str
    passed: bool
    detail: str


class ProbeReport(Record):
    """What a sacrificial process measured on the release: load, smoke, errors, latency, size, memory."""

    candidate: str
    champion: str | None
    checks: tuple[SmokeCheck, ...]
    candidate_latency: LatencyProfile | None
    champion_latency: LatencyProfile | None
    model_bytes: int
    load_seconds: float | None
    rss_mb: float | None
