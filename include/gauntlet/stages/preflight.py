"""Let the real server load the challenger and answer golden requests, before any user meets it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import Rejection, RolloutAborted
from gauntlet.core.live.scores import blurred_psi
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.ports import Services
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.model import GoldenSet, ModelSidecar, RegisteredVersion, ReleaseRef
from gauntlet.core.records.rollout import (
    ExpectedShift,
    PreflightCheck,
    PreflightReport,
    RolloutPhase,
    RolloutState,
    ServedVersion,
)
from gauntlet.core.records.run import RunContext
from gauntlet.core.specs.rollout import RolloutSection
from gauntlet.stages.carry_out import ACTOR, rolled_back
from gauntlet.stages.release_folder import read_golden, read_sidecar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

TIMED = 3


def preflight(services: Services, run: RunContext) -> PreflightReport:
    """Whether the live server can serve the candidate; the report is stored before anything else follows.

    Raises:
        RolloutAborted: the server refuses the release, or answers golden rows otherwise than training did.
    """
    state = services.records.get(run.key, RolloutState)
    report = services.records.find(run.key, PreflightReport)
    if report is None or report.rollout != state.rollout:
        report = _examine(services, run, state)
        services.records.put(run.key, report, actor=ACTOR)
    if not report.outcome.satisfied:
        _end(services, run, state, report)
        raise RolloutAborted(f"{run.model}: version {state.candidate.version} failed its preflight: {report.reason}")
    if state.phase is RolloutPhase.PENDING:
        services.records.put(run.key, _passed(services, state, report), actor=ACTOR)
    return report


def largest_difference(scores: Sequence[float], expected: Sequence[float]) -> float:
    """The largest difference between two lists of scores; infinite when they cannot be compared, or there is none."""
    if len(scores) != len(expected):
        return math.inf
    differences = [abs(ours - theirs) for ours, theirs in zip(scores, expected, strict=True)]
    return max((math.inf if math.isnan(difference) else difference for difference in differences), default=math.inf)


def _passed(services: Services, state: RolloutState, report: PreflightReport) -> RolloutState:
    # Without a champion there is nobody to compare with: the ramp's steps are not taken.
    phase = RolloutPhase.PREFLIGHT if state.stable else RolloutPhase.BAKE
    reason = report.reason if state.stable else f"{report.reason}; first model, nothing to compare with"
    return state.model_copy(update={"phase": phase, "reason": reason, "updated_at": services.clock.now()})


def _end(services: Services, run: RunContext, state: RolloutState, report: PreflightReport) -> None:
    if state.over:
        return
    ending = state.model_copy(update={"reason": report.reason, "decided_at": report.at, "harmful": True})
    services.records.put(run.key, rolled_back(services, ending, at=run.key), actor=ACTOR)


def _examine(services: Services, run: RunContext, state: RolloutState) -> PreflightReport:
    plan = services.specs.get(run.model).rollout
    candidate = state.candidate
    golden = read_golden(services, candidate)
    loaded, measured = _load(services, run.model, _release(services, state))
    checks = [loaded]
    if loaded.outcome.satisfied:
        answered, timings = _answers(services, run.model, candidate, golden, plan)
        checks += answered
        measured = {**measured, **timings}
    sidecar, stable = read_sidecar(services, candidate), state.stable and read_sidecar(services, state.stable)
    outcome = worst(check.outcome for check in checks)
    told = [check.sentence for check in checks if check.outcome is outcome]
    return PreflightReport(
        rollout=state.rollout,
        model=run.model,
        candidate=candidate.version_id,
        outcome=outcome,
        reason="; ".join(told),
        checks=tuple(checks),
        measured=measured,
        expected=_expected(services, run, state, sidecar, stable) if stable else None,
        candidate_threshold=sidecar.threshold,
        stable_threshold=stable.threshold if stable else None,
        golden_rows=len(golden.rows),
        at=services.clock.now(),
    )


def _release(services: Services, state: RolloutState) -> ReleaseRef:
    return services.records.get(f"{state.model}/{state.source_run}", RegisteredVersion).release


def _load(services: Services, model: str, release: ReleaseRef) -> tuple[PreflightCheck, dict[str, float]]:
    try:
        answer = services.server.prepare(model, release)
    except Rejection as refusal:
        return PreflightCheck(check="load", outcome=Outcome.FAILED, sentence=f"the server refuses it: {refusal}"), {}
    loaded = PreflightCheck(check="load", outcome=Outcome.PASSED, sentence="every worker has loaded and checked it")
    return loaded, _numbers(answer)


def _numbers(answer: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in answer.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _answers(
    services: Services, model: str, candidate: ServedVersion, golden: GoldenSet, plan: RolloutSection
) -> tuple[list[PreflightCheck], dict[str, float]]:
    if not golden.rows:
        return [PreflightCheck(check="golden", outcome=Outcome.ERROR, sentence="the release has no golden rows")], {}
    scores = services.server.predict(model, golden.rows, version_id=candidate.version_id)
    difference = largest_difference(scores, golden.scores)
    same = PreflightCheck(
        check="golden",
        outcome=Outcome.PASSED if difference <= golden.tolerance else Outcome.FAILED,
        sentence=f"{len(golden.rows)} golden rows answered, largest difference {difference:.3g}",
        observed=difference if math.isfinite(difference) else None,
        limit=golden.tolerance,
    )
    each = _row_ms(services, model, candidate, golden)
    quick = PreflightCheck(
        check="latency",
        outcome=Outcome.PASSED if each <= plan.golden_ms else Outcome.FAILED,
        sentence=f"{each:.2f} ms for one more row, limit {plan.golden_ms:g} ms",
        observed=each,
        limit=plan.golden_ms,
    )
    return [same, quick], {"row_ms": each}


def _row_ms(services: Services, model: str, candidate: ServedVersion, golden: GoldenSet) -> float:
    """What one more row costs: all rows against one, the best of a few, so that connecting does not count."""
    whole, one = golden.rows, golden.rows[:1]
    best = [min(_timed(services, model, candidate, rows) for _ in range(TIMED)) for rows in (whole, one)]
    return max(0.0, best[0] - best[1]) / max(1, len(whole) - 1)


def _timed(services: Services, model: str, candidate: ServedVersion, rows: Sequence[Mapping[str, Any]]) -> float:
    start = time.perf_counter()
    services.server.predict(model, rows, version_id=candidate.version_id)
    return (time.perf_counter() - start) * 1000


def _expected(
    services: Services, run: RunContext, state: RolloutState, candidate: ModelSidecar, stable: ModelSidecar
) -> ExpectedShift | None:
    """How much the two versions differed on the holdout, where the candidate met the same champion there."""
    evaluation = services.records.find(f"{run.model}/{state.source_run}", EvaluationRef)
    if evaluation is None or state.stable is None:
        return None
    if evaluation.champion not in (state.stable.version_id, state.stable.release_digest):
        return None
    import pyarrow.parquet as pq

    path = services.blobs.fetch(evaluation.uri, evaluation.sha256)
    names = set(pq.read_schema(path).names)
    if not {"candidate_score", "champion_score"} <= names:
        return None
    table = pq.read_table(path, columns=["candidate_score", "champion_score"])
    ours, theirs = (table.column(name).cast("float64").to_numpy() for name in ("candidate_score", "champion_score"))
    return expected_shift(theirs, ours, stable.threshold, candidate.threshold)


def expected_shift(
    stable: Floats, canary: Floats, stable_threshold: float | None, canary_threshold: float | None
) -> ExpectedShift | None:
    """The holdout's differences, measured as the live judge measures them; ``None`` without comparable rows."""
    import numpy as np

    both = np.isfinite(stable) & np.isfinite(canary)
    if int(both.sum()) < 2:
        return None
    stable, canary = stable[both], canary[both]
    unit = float(stable.std(ddof=1)) or float(abs(stable.mean())) or 1.0
    change = None
    if stable_threshold is not None and canary_threshold is not None:
        change = float((canary >= canary_threshold).mean() - (stable >= stable_threshold).mean())
    return ExpectedShift(
        rows=int(both.sum()),
        score_psi=blurred_psi(stable, canary)[0],
        score_shift=(float(canary.mean()) - float(stable.mean())) / unit,
        decision_rate_change=change,
    )
