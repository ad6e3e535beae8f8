"""What is kept so that a model can be trained again, and what came of it."""

from __future__ import annotations

from typing import Any

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record


class SpecDocument(Record):
    """A model spec as it was when a model was trained by it; stored once per digest, under it."""

    model: str
    digest: str
    document: dict[str, Any]


class TrainingOrigin(Record):
    """Which code, packages and machine trained a run's model."""

    facts: dict[str, str]


class ReproduceReport(Record):
    """Whether training again from the manifest gives the same trees; if not, what was not the same."""

    model: str
    version: int
    version_id: str
    run: str
    outcome: Outcome
    reason: str
    recorded: str
    retrained: str
    differences: tuple[str, ...]
    seconds: float
    at: Instant
