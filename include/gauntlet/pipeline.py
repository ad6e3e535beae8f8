"""Table of contents: one typed function per task. DAGs and the CLI both call these and nothing else.

Read top to bottom, this is the nightly run. Every function takes the run's context, reads what it
needs from the store, and returns the record it has stored. Imports are lazy: a DAG file that reaches
this module pays for pydantic only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport, SplitManifest
from gauntlet.core.records.evaluation import EvaluationRef, ProbeReport
from gauntlet.core.records.gates import Approval, GateReceipt, PromotionDecision
from gauntlet.core.records.model import DerivationOrder, TrainedModel
from gauntlet.core.records.monitoring import AlertRound, LayerReport
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext, TriggerDecision

if TYPE_CHECKING:
    from gauntlet.core.audit import Finding
    from gauntlet.core.ports import Services
    from gauntlet.core.records.batch import BatchScores, JournalCompaction
    from gauntlet.core.records.drift import DriftReport
    from gauntlet.core.records.feedback import SliceAudit
    from gauntlet.core.records.ledger import (
        ChampionGuard,
        DrillReport,
        PromotionRecord,
        ReconcileReport,
        RollbackReport,
    )
    from gauntlet.core.records.reproduction import ReproduceReport
    from gauntlet.core.records.retention import JanitorReport, RetentionPlan, RetentionReport
    from gauntlet.core.records.rollout import PreflightReport, RolloutCommand
    from gauntlet.core.specs.batch import BatchSection


def _services() -> Services:
    from gauntlet.bootstrap import services

    return services()


# ---- the nightly run -------------------------------------------------------------------------------


def open_run(
    model: str,
    run: str,
    *,
    run_type: str,
    logical_date: datetime | None,
    run_after: datetime,
    params: Mapping[str, Any],
    requested_by: str,
    dag: str = "",
) -> RunContext:
    """Settle once what this run is about: the as-of time, who asked and why."""
    from gauntlet.settings import settings
    from gauntlet.stages.open_run import open_run as stage

    return stage(
        _services(),
        model,
        run,
        run_type=run_type,
        logical_date=logical_date,
        run_after=run_after,
        params=params,
        requested_by=requested_by,
        dag=dag,
        ahead=settings().as_of_ahead,
    )


def check_drift(run: RunContext) -> DriftReport:
    """Compare the current window with the champion's profile."""
    from gauntlet.stages.check_drift import check_drift as stage

    return stage(_services(), run)


def consult_drift(run: RunContext) -> DriftReport:
    """Take the newest drift report where it is fresh; else compare the current window now."""
    from gauntlet.stages.check_drift import consult_drift as stage

    return stage(_services(), run)


def decide(run: RunContext) -> TriggerDecision:
    """Decide whether to retrain; a decision to skip is recorded like any other."""
    from gauntlet.stages.decide import decide as stage

    return stage(_services(), run)


def pull_data(run: RunContext) -> DatasetRef:
    """Write the immutable snapshot this run is judged on."""
    from gauntlet.stages.pull_data import pull_data as stage

    return stage(_services(), run)


def check_contract(run: RunContext) -> ContractReport:
    """Evaluate the data contract; raises when it does not hold."""
    from gauntlet.stages.check_contract import check_contract as stage

    return stage(_services(), run)


def split_data(run: RunContext) -> SplitManifest:
    """Divide the snapshot into train, validation, calibration and holdout."""
    from gauntlet.stages.split_data import split_data as stage

    return stage(_services(), run)


def check_leakage(run: RunContext) -> LeakageReport:
    """Look for the label, the future or the holdout in the training rows; raises when found."""
    from gauntlet.stages.check_leakage import check_leakage as stage

    return stage(_services(), run)


def train(run: RunContext) -> TrainedModel:
    """Train in a child process and write the release."""
    from gauntlet.stages.train import train as stage

    return stage(_services(), run)


def order_derivation(run: RunContext, threshold: float | None = None) -> DerivationOrder:
    """Settle which champion's trees get a new calibration, or this threshold; refused outside the approved band."""
    from gauntlet.stages.order_derivation import order_derivation as stage

    return stage(_services(), run, threshold)


def derive(run: RunContext) -> TrainedModel:
    """Instead of training: write the release with the champion's trees that was ordered."""
    from gauntlet.stages.derive import derive as stage

    return stage(_services(), run)


def evaluate(run: RunContext) -> EvaluationRef:
    """Score candidate and champion on the same holdout rows."""
    from gauntlet.stages.evaluate import evaluate as stage

    return stage(_services(), run)


def probe(run: RunContext) -> ProbeReport:
    """Measure the release in a sacrificial process: load, smoke, errors, latency, memory."""
    from gauntlet.stages.probe import probe as stage

    return stage(_services(), run)


def run_gate(run: RunContext, gate: str) -> GateReceipt:
    """Ask one gate; the receipt is stored before anything but a pass or a waiver raises."""
    from gauntlet.stages.run_gate import run_gate as stage

    return stage(_services(), run, gate)


def approval_question(run: RunContext) -> str:
    """What a person who is asked to approve a candidate should read, as Markdown."""
    from gauntlet.stages.answer_approval import question as stage

    return stage(_services(), run)


def answer_approval(run: RunContext, *, approver: str, approved: bool, reason: str) -> Approval:
    """Record a person's yes or no; the gate ``approval`` judges it."""
    from gauntlet.stages.answer_approval import answer_approval as stage

    return stage(_services(), run.model, run.run, approver=approver, approved=approved, reason=reason)


def register_challenger(run: RunContext) -> PromotionDecision:
    """Register the candidate, if the exact set of receipts lets it."""
    from gauntlet.stages.register import register_challenger as stage

    return stage(_services(), run)


# ---- watching --------------------------------------------------------------------------------------


def look(run: RunContext, layer: str) -> LayerReport:
    """Look at one layer of the model in production; raises when something is wrong."""
    from gauntlet.core.records.monitoring import Layer
    from gauntlet.stages.monitor import look as stage

    return stage(_services(), run, Layer(layer))


def raise_alerts(run: RunContext) -> AlertRound:
    """Fold what all layers found into the open alerts, and tell people what is new."""
    from gauntlet.stages.raise_alerts import raise_alerts as stage

    return stage(_services(), run)


def audit_slices(model: str, *, by_hand: bool = False) -> SliceAudit | None:
    """Once in the spec's while, or when a person asks: whom does the model serve worse than the others?"""
    from gauntlet.stages.audit_slices import audit_slices as stage

    return stage(_services(), model, by_hand=by_hand)


def sum_up_rollout(model: str) -> str:
    """What the other version would have said in the newest rollout, with the labels that have matured since."""
    from gauntlet.stages.counterfactual import keep_summed_up as stage

    return stage(_services(), model)


def tell(model: str, subject: str, body: str, *, severity: str, about: Mapping[str, str]) -> None:
    """Tell the owner of a model what the scheduler has seen: a run that failed, or is late."""
    from gauntlet.stages.tell import tell as stage

    stage(_services(), model, subject, body, severity=severity, about=about)


# ---- the canary ------------------------------------------------------------------------------------


def open_rollout(run: RunContext) -> RolloutState:
    """Take the newest challenger into a rollout."""
    from gauntlet.stages.open_rollout import open_rollout as stage

    return stage(_services(), run)


def preflight(run: RunContext) -> PreflightReport:
    """Let the real server load the challenger and answer golden requests."""
    from gauntlet.stages.preflight import preflight as stage

    return stage(_services(), run)


def tick(run: RunContext, step: int) -> RolloutState:
    """One look at a ramp step: judge the journal, act, renew the lease. Safe to repeat."""
    from gauntlet.stages.tick import tick as stage

    return stage(_services(), run, step)


def promote(run: RunContext) -> PromotionRecord:
    """Make the challenger champion: routing, aliases and audit, or none of them."""
    from gauntlet.stages.promote import promote as stage

    return stage(_services(), run)


def keep(run: RunContext) -> RolloutState:
    """Keep the canary where it is while its promotion waits for a person or a freeze, and judge it on."""
    from gauntlet.stages.keep import keep as stage

    return stage(_services(), run)


def close_rollout(run: RunContext) -> RolloutState | None:
    """Idempotent teardown: traffic is with the champion unless the rollout succeeded."""
    from gauntlet.stages.close_rollout import close_rollout as stage

    return stage(_services(), run)


# ---- at any time -----------------------------------------------------------------------------------


def rollback(model: str, *, reason: str, actor: str, request: str = "") -> RollbackReport:
    """Return to the recorded previous champion and quarantine the offender; one ``request`` is one rollback."""
    from gauntlet.stages.rollback import rollback as stage

    return stage(_services(), model, reason=reason, actor=actor, request=request)


def command_rollout(
    model: str,
    command: str,
    *,
    by: str,
    reason: str,
    until: str | None = None,
    lasting: str | None = None,
    request: str = "",
) -> RolloutCommand:
    """Hand a person's word to the rollout that is under way; ``until`` is ISO 8601, ``lasting`` as in ``2h``."""
    from gauntlet.stages.command_rollout import say

    return say(_services(), model, command, by=by, reason=reason, until=until, lasting=lasting, request=request)


def tidy(model: str) -> JanitorReport:
    """Finish or remove what a killed task has left half done."""
    from gauntlet.stages.janitor import tidy as stage

    return stage(_services(), model)


def plan_retention(model: str) -> RetentionPlan:
    """What would be kept and why, and what may go; nothing is deleted."""
    from gauntlet.stages.plan_retention import plan_retention as stage

    return stage(_services(), model)


def apply_retention(model: str) -> RetentionReport:
    """Delete what nothing needs any more; tombstones stay."""
    from gauntlet.stages.retention import apply_retention as stage

    return stage(_services(), model)


def check_audit() -> tuple[Finding, ...]:
    """Every entry of the audit log that was changed, removed, inserted or moved; raises when there is one."""
    from gauntlet.stages.verify_audit import require_unbroken as stage

    return stage(_services())


def reproduce(model: str, version: str) -> ReproduceReport:
    """Train a version again from its manifest and compare the trees."""
    from gauntlet.stages.reproduce import reproduce as stage

    return stage(_services(), model, version)


def copy_release(model: str, environment: str, version: str, *, by: str, reason: str) -> RunContext:
    """Bring a release from another environment by its digest; what follows is evaluation, gates and registration."""
    from gauntlet.bootstrap import origin
    from gauntlet.stages.copy_release import copy_release as stage

    return stage(_services(), origin(environment), model, version, by=by, reason=reason)


def guard_champion(run: RunContext) -> ChampionGuard:
    """Take a new champion back where the monitor has seen harm and the spec wants no person to be asked."""
    from gauntlet.stages.guard_champion import guard_champion as stage

    return stage(_services(), run)


def drill(model: str, *, request: str) -> DrillReport:
    """Rehearse a rollback, and measure it; nobody meets another version."""
    from gauntlet.stages.drill import drill as stage

    return stage(_services(), model, request=request)


def batch_score(run: RunContext) -> BatchScores:
    """Score the files that the spec names with the champion, and with the challenger beside it."""
    from gauntlet.stages.batch_score import batch_score as stage

    return stage(_services(), run)


def score_files(model: str, section: BatchSection) -> BatchScores:
    """Score Parquet files by hand: what to read, where to write and how strictly is the section's."""
    from gauntlet.stages.batch_score import score_files as stage

    return stage(_services(), model, section, f"{model}/score")


def compact_journal(model: str) -> JournalCompaction:
    """Turn the journal's ended segments into partitioned Parquet, verified before a segment goes."""
    from gauntlet.stages.compact_journal import compact_journal as stage

    return stage(_services(), model)


def reconcile(model: str, *, repair: bool, by_hand: bool = False) -> ReconcileReport:
    """Compare registry, routing and servers; repair in the documented direction when asked.

    ``by_hand``: a person asks. Otherwise the settings say whether aliases that somebody has moved are moved back.
    """
    from gauntlet.settings import settings
    from gauntlet.stages.reconcile import reconcile as stage

    return stage(_services(), model, repair=repair, revert=by_hand or settings().revert_aliases)
