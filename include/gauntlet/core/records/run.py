"""What identifies a run, and why it exists."""

from __future__ import annotations

from enum import StrEnum

from gauntlet.core.records.base import Instant, Record


class TriggerKind(StrEnum):
    """Who asked for a run."""

    SCHEDULE = "schedule"
    DRIFT = "drift"
    PERFORMANCE = "performance"
    VOLUME = "volume"
    AGE = "age"
    BOOTSTRAP = "bootstrap"
    MANUAL = "manual"
    CHALLENGER = "challenger"


class RunContext(Record):
    """One run of one model's pipeline. Everything a run reads is as known at ``as_of``."""

    model: str
    run: str
    as_of: Instant
    kind: TriggerKind
    reason: str
    requested_by: str
    force_retrain: bool
    spec_digest: str
    opened_at: Instant
    dag: str = ""
    """The DAG the run is of, as Airflow calls it; empty for a run from the command line."""

    @property
    def key(self) -> str:
        """The store key of this run: ``model/run``."""
        return f"{self.model}/{self.run}"


class TriggerAction(StrEnum):
    """What a trigger decision asks for."""

    RETRAIN = "retrain"
    SKIP = "skip"


class TriggerDecision(Record):
    """Whether to retrain, decided once per run and always recorded, also when the answer is to skip.

    ``decision_id`` is a digest of the evidence: the same evidence gives the same id.
    """

    model: str
    run: str
    as_of: Instant
    action: TriggerAction
    kind: TriggerKind
    reason: str
    evidence: dict[str, str]
    decision_id: str
    decided_at: Instant
