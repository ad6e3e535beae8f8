"""Does it fit: file, memory, and the time it takes to load?"""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need, probe_of
from gauntlet.core.gates.verdict import check, conclude
from gauntlet.core.records.gates import GateVerdict

NAME = "size_memory"
MEGABYTE = 1e6


class SizeMemoryConfig(GateConfig):
    """Limits of one loaded model."""

    model_mb: float = Field(gt=0, default=50)
    rss_mb: float = Field(gt=0, default=1_000)
    """Resident memory of a process that has loaded the model."""
    load_seconds: float = Field(gt=0, default=10)
    growth: float | None = Field(gt=1, default=3.0)
    """Largest ratio of the file to the champion's; ``None`` does not compare."""


def evaluate(evidence: Evidence, config: SizeMemoryConfig) -> GateVerdict:
    """File size, resident memory, load time."""
    probe = probe_of(evidence)
    found = [
        check("model_mb", probe.model_bytes / MEGABYTE if probe.model_bytes > 0 else None, "≤", config.model_mb),
        check("rss_mb", probe.rss_mb, "≤", config.rss_mb),
        check("load_seconds", probe.load_seconds, "≤", config.load_seconds),
    ]
    facts = evidence.champion_facts
    if config.growth is not None and facts is not None and facts.size_bytes:
        release = need(evidence.trained, "training record").release
        found.append(check("size_ratio_to_champion", release.size_bytes / facts.size_bytes, "≤", config.growth))
    return conclude(NAME, found)
