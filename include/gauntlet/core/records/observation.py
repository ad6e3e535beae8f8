"""What was measured on a release or its data for one gate, before the gate judges it."""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.records.base import Record


class Observation(Record):
    """One measured fact. ``value`` is ``None`` when measuring was tried and gave nothing; ``detail`` says why.

    ``subject`` is the feature or class it is about; ``baseline`` the value without the change that was tried.
    """

    kind: str
    subject: str | None
    rows: int = Field(ge=0)
    value: float | None
    baseline: float | None = None
    detail: str = ""


class GateMeasurements(Record):
    """All that was measured for one gate, bound to what it was measured on."""

    gate: str
    candidate: str
    champion: str | None
    holdout: str
    spec_digest: str
    observations: tuple[Observation, ...]


class ServerTrial(Record):
    """What a real server process of its own did with a candidate."""

    candidate: str
    spec_digest: str
    observations: tuple[Observation, ...]


class HoldoutRead(Record):
    """One reading of a holdout by a gate. The budget counts the distinct ones per holdout."""

    model: str
    run: str
    gate: str
    holdout: str
    candidate: str
