"""Is one row scored fast enough, by itself and beside the champion on the same host?"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need, probe_of
from gauntlet.core.gates.verdict import check, conclude, too_few
from gauntlet.core.records.evaluation import LatencyProfile
from gauntlet.core.records.gates import GateVerdict, Measurement

NAME = "latency"
QUANTILES = ("p50_us", "p95_us", "p99_us")


class LatencyConfig(GateConfig):
    """Microseconds for one row, in the process, without HTTP."""

    p50_us: float = Field(gt=0, default=1_000)
    p95_us: float = Field(gt=0, default=2_500)
    p99_us: float = Field(gt=0, default=5_000)
    ratio: float = Field(gt=1, default=2.0)
    """Largest ratio of the median to the champion's, measured in turns."""
    floor_us: float = Field(ge=0, default=100)
    """Medians below this are never too slow beside the champion."""
    minimum_calls: int = Field(ge=1, default=200)


def evaluate(evidence: Evidence, config: LatencyConfig) -> GateVerdict:
    """Quantiles against absolute limits and the median against the champion's."""
    probe = probe_of(evidence)
    profile = need(probe.candidate_latency, "latency measurement of the candidate")
    if profile.n < config.minimum_calls:
        return conclude(NAME, [too_few("latency", profile.n, config.minimum_calls, "calls")])
    absolute = [
        check(f"latency_{name}", getattr(profile, name), "≤", getattr(config, name), n=profile.n) for name in QUANTILES
    ]
    return conclude(NAME, [*absolute, *_relative(evidence, profile, config)])


def _relative(evidence: Evidence, profile: LatencyProfile, config: LatencyConfig) -> Iterator[Measurement]:
    if evidence.champion is None:
        return
    champion = need(need(evidence.probe, "probe report").champion_latency, "latency measurement of the champion")
    limit = max(config.ratio * champion.p50_us, config.floor_us)
    judged = check("latency_p50_us_against_champion", profile.p50_us, "≤", limit, n=min(profile.n, champion.n))
    text = f"{judged.sentence}, the champion's being {champion.p50_us:.0f}"
    yield judged.model_copy(update={"sentence": text, "candidate": profile.p50_us, "champion": champion.p50_us})
