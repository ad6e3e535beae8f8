"""Nights as strips: trigger, data, training, gates, promotion, canary, each with its verdict."""

from __future__ import annotations

from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.rollout import RolloutPhase, RolloutState
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerKind
from gauntlet.core.spec import ModelSpec
from gauntlet.views.facts import Night, grouped, nights_of
from gauntlet.views.links import RETRAIN

MOST = 2000
ROLLOUTS = 500
PER_NIGHT = 60
"""Runs of all DAGs per night at most: hourly checks, the canary, a few by hand."""
GOOD, BAD, OPEN, NONE, BUSY = "passed", "failed", "inconclusive", "none", "running"
PHASES = {
    RolloutPhase.PROMOTED: GOOD,
    RolloutPhase.ROLLED_BACK: BAD,
    RolloutPhase.ROLLING_BACK: BAD,
    RolloutPhase.EXPIRED: BAD,
    RolloutPhase.SUPERSEDED: OPEN,
}


class StageResult(Record):
    """One stage of a night. ``state`` is an outcome, ``running``, ``skipped``, or ``none``: it did not get there."""

    stage: str
    state: str
    text: str


class NightStrip(Record):
    """One night in a line."""

    run: str
    dag: str
    as_of: Instant
    opened_at: Instant
    kind: str
    requested_by: str
    reason: str
    version: int | None
    version_id: str | None
    gates_passed: int
    gates_asked: int
    stages: tuple[StageResult, ...]


class NightStrips(Record):
    """The newest nights, newest first. ``more``: whether there are older ones."""

    model: str
    nights: tuple[NightStrip, ...]
    more: bool
    empty: str | None


def strip(services: Services, model: str, limit: int = 60, skip: int = 0) -> NightStrips:
    """A page of nights, newest first; ``skip`` leaves out the newest."""
    spec = services.specs.get(model)
    runs = nightly_runs(services, model, skip + limit + 1)
    shown = nights_of(services, runs[skip : skip + limit])
    canaries = {state.source_run: state for state in reversed(services.records.newest(model, RolloutState, ROLLOUTS))}
    return NightStrips(
        model=model,
        nights=tuple(in_a_line(night, canaries.get(night.run.run), spec) for night in shown),
        more=len(runs) > skip + limit,
        empty=None
        if runs
        else f"No night yet. Trigger the DAG {model}__retrain, or wait for its schedule ({spec.schedule.nightly}).",
    )


def nightly_runs(services: Services, model: str, limit: int) -> list[RunContext]:
    """The newest runs of the retrain DAG, newest first; those from the command line count as such."""
    found: list[RunContext] = []
    for depth in (2 * limit + 20, PER_NIGHT * limit):
        runs = services.records.newest(model, RunContext, limit=depth)
        found = [run for run in runs if _is_nightly(run)]
        if len(found) >= limit or len(runs) < depth:
            break
    return found[:limit]


def _is_nightly(run: RunContext) -> bool:
    if run.dag:
        return run.dag == f"{run.model}__{RETRAIN}"
    return run.kind is not TriggerKind.CHALLENGER


def dag_of(run: RunContext) -> str:
    """The DAG a run is of; one from before runs knew it, by why it was started."""
    return run.dag or f"{run.model}__{RETRAIN if _is_nightly(run) else 'canary'}"


def in_a_line(night: Night, canary: RolloutState | None, spec: ModelSpec) -> NightStrip:
    """A night and what became of its version on live traffic."""
    run, registered, trained = night.run, night.registered, night.trained
    return NightStrip(
        run=run.run,
        dag=dag_of(run),
        as_of=run.as_of,
        opened_at=run.opened_at,
        kind=run.kind,
        requested_by=run.requested_by,
        reason=run.reason,
        version=registered.version if registered else None,
        version_id=trained.release.version_id if trained else None,
        gates_passed=night.passed,
        gates_asked=len(night.receipts),
        stages=(
            _trigger(night),
            _data(night),
            _training(night),
            _gates(night, spec),
            _promotion(night),
            _canary(night, canary),
        ),
    )


def _trigger(night: Night) -> StageResult:
    decision = night.decision
    if decision is None:
        return StageResult(stage="trigger", state=NONE, text="no decision recorded yet")
    state = GOOD if decision.action is TriggerAction.RETRAIN else "skipped"
    return StageResult(stage="trigger", state=state, text=f"{decision.action}: {decision.reason}")


def _data(night: Night) -> StageResult:
    checks = [report for report in (night.contract, night.leakage) if report is not None]
    if not checks:
        pulled = f"{grouped(night.dataset.rows)} rows pulled, not judged yet" if night.dataset else "no data pulled"
        return StageResult(stage="data", state=BUSY if night.dataset else NONE, text=pulled)
    texts = [check.reason for check in checks if not check.outcome.satisfied] or [check.reason for check in checks]
    rows = f"{grouped(night.dataset.rows)} rows; " if night.dataset else ""
    return StageResult(stage="data", state=worst(check.outcome for check in checks), text=rows + "; ".join(texts))


def _training(night: Night) -> StageResult:
    trained = night.trained
    if trained is None:
        return StageResult(stage="training", state=NONE, text="nothing trained")
    return StageResult(
        stage="training",
        state=GOOD,
        text=f"{trained.best_iteration} trees on {grouped(trained.train_rows)} rows in {trained.seconds:.1f} s",
    )


def _gates(night: Night, spec: ModelSpec) -> StageResult:
    receipts = night.receipts
    if not receipts:
        return StageResult(stage="gates", state=NONE, text="no gate asked")
    outcome: Outcome = worst(receipt.verdict.outcome for receipt in receipts)
    # Under another spec there may have been fewer gates; and once a decision is there, all have been asked.
    under_way = night.promotion is None and night.run.spec_digest == spec.digest
    wanted = len(spec.gates.names)
    if outcome.satisfied and under_way and len(receipts) < wanted:
        return StageResult(
            stage="gates", state=BUSY, text=f"{len(receipts)} of {wanted} gates asked, all passed so far"
        )
    failed = ", ".join(night.failed)
    return StageResult(
        stage="gates",
        state=outcome,
        text=f"{night.passed} of {len(receipts)} passed" + (f"; not {failed}" if failed else ""),
    )


def _promotion(night: Night) -> StageResult:
    decision = night.promotion
    if decision is None:
        return StageResult(stage="promotion", state=NONE, text="no candidate registered")
    name = f"version {decision.version}: " if decision.version is not None else ""
    return StageResult(stage="promotion", state=decision.outcome, text=name + decision.reason)


def _canary(night: Night, state: RolloutState | None) -> StageResult:
    state = state or night.rollout
    if state is None:
        return StageResult(stage="canary", state=NONE, text="no rollout")
    phase = state.phase.value.replace("_", " ")
    return StageResult(stage="canary", state=PHASES.get(state.phase, BUSY), text=f"{phase}: {state.reason}")
