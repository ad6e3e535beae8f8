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


NIGHTS = ("retrain", "canary")
"""Kinds of DAG whose runs are called as Airflow calls them."""


def run_name(dag: str, run_id: str) -> str:
    """What the store calls a run of a DAG: Airflow gives two DAGs that are due at the same minute the same run id.

    >>> run_name("loans__monitor", "scheduled__2026-03-02T01:00:00+00:00")
    'scheduled__2026-03-02T01:00:00+00:00--monitor'
    >>> run_name("loans__retrain", "scheduled__2026-03-02T01:00:00+00:00")
    'scheduled__2026-03-02T01:00:00+00:00'
    """
    kind = dag.rpartition("__")[2]
    return run_id if kind in NIGHTS else f"{run_id}--{kind}"


def is_nightly(run: str) -> bool:
    """Whether a run that decided about a retrain was a nightly, and no drift check.

    >>> [is_nightly(run_name(f"loans__{kind}", "manual__1")) for kind in ("retrain", "drift_check")]
    [True, False]
    """
    return not run.endswith("--drift_check")


def airflow_run_id(dag: str, run: str) -> str:
    """What Airflow calls a run: the inverse of :func:`run_name`.

    >>> airflow_run_id("loans__monitor", run_name("loans__monitor", "manual__1"))
    'manual__1'
    """
    return run.removesuffix(f"--{dag.rpartition('__')[2]}")


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
