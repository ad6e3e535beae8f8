"""Does a real server process load the candidate and answer real requests, right, in time and within its memory?

The trial is measured by a stage: the server's own program, started for this candidate alone on loopback, gets the
release as a rollout would hand it over and is asked the golden rows over HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import check, conclude, fact, too_few
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.observation import Observation

if TYPE_CHECKING:
    from gauntlet.core.ports import Trial

NAME = "infra_validation"
SERVED, LOAD, UNANSWERED, CHANGE = "served", "load_seconds", "unanswered", "score_change"
P50, P99, MEMORY = "http_p50_ms", "http_p99_ms", "server_rss_mb"
KINDS = (LOAD, UNANSWERED, CHANGE, P50, P99, MEMORY)


class InfraValidationConfig(GateConfig):
    """Limits of one server process with this candidate alone."""

    load_seconds: float = Field(gt=0, default=60)
    """From handing the release over, its sacrificial first load included, to serving it."""
    p50_ms: float = Field(gt=0, default=50)
    """Of one row over HTTP, as its client sees it."""
    p99_ms: float = Field(gt=0, default=500)
    rss_mb: float = Field(gt=0, default=1_000)
    """Resident memory of the server with its worker, after the requests."""
    tolerance: float = Field(ge=0, default=1e-9)
    """Largest difference of a golden row's score from that of the training process."""
    requests: int = Field(ge=100, default=300)
    """Fewer have no 99th percentile."""
    minimum_rows: int = Field(ge=1, default=10)
    """Golden rows."""


def observed(trial: Trial, expected: Sequence[float], golden_rows: int) -> Iterator[Observation]:
    """A trial as observations; ``expected`` are the scores of the training process."""
    answered = len(trial.latencies_ms)

    def seen(kind: str, value: float | None, rows: int, detail: str = "") -> Observation:
        return Observation(kind=kind, subject=None, rows=rows, value=value, detail=detail)

    yield seen(SERVED, float(trial.problem is None), golden_rows, trial.problem or "")
    if trial.load_seconds is None:
        return
    yield seen(LOAD, trial.load_seconds, 1)
    yield seen(UNANSWERED, float(trial.requests - answered), trial.requests)
    yield seen(CHANGE, _largest(trial.scores, expected), golden_rows)
    for kind, share in ((P50, 0.5), (P99, 0.99)):
        yield seen(kind, quantile(trial.latencies_ms, share), answered)
    yield seen(MEMORY, trial.rss_mb, 1)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values do not exceed; ``None`` of no values.

    >>> quantile([3.0, 1.0, 2.0, 9.0], 0.5), quantile([], 0.5)
    (2.0, None)
    """
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _largest(scores: Sequence[float | None], expected: Sequence[float]) -> float | None:
    if len(scores) != len(expected) or not scores:
        return None
    differences = [
        math.nan if ours is None else abs(ours - theirs) for ours, theirs in zip(scores, expected, strict=True)
    ]
    return None if any(math.isnan(item) for item in differences) else max(differences)


def evaluate(evidence: Evidence, config: InfraValidationConfig) -> GateVerdict:
    """Loaded, every request answered, scores as in training, within time and memory."""
    found = {item.kind: item for item in need(evidence.observations, "trial on a model server")}
    served = need(found.get(SERVED), "trial on a model server")
    if served.rows < config.minimum_rows:
        return conclude(NAME, [too_few("golden", served.rows, config.minimum_rows)])
    if not served.value:
        text = f"0 of 1 model servers could serve it ≠ 1 with {served.rows} golden rows: {served.detail}"
        return conclude(NAME, [fact(SERVED, False, text, n=served.rows)])
    return conclude(NAME, list(_judge(found, config)))


def _judge(found: Mapping[str, Observation], config: InfraValidationConfig) -> Iterator[Measurement]:
    limits = {
        LOAD: config.load_seconds,
        UNANSWERED: 0.0,
        CHANGE: config.tolerance,
        P50: config.p50_ms,
        P99: config.p99_ms,
        MEMORY: config.rss_mb,
    }
    requests = found[UNANSWERED].rows if UNANSWERED in found else 0
    yield check("http_requests", requests, "≥", config.requests, n=requests)
    for kind in KINDS:
        item = found.get(kind)
        yield check(kind, item.value if item else None, "≤", limits[kind], n=item.rows if item else 0)
