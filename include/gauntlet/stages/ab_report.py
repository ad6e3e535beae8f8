"""What an A/B test has found: every metric of the stage that was judged last, canary against stable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.ab import report
from gauntlet.core.errors import MissingRecord
from gauntlet.core.live.units import before, request_metrics, unit_means, units_of
from gauntlet.core.live.window import drawn, explored
from gauntlet.core.ports import Services
from gauntlet.core.records.ab import ABReport
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import Arm, CanaryAnalysis, PreflightReport, RolloutState
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.live_evidence import join_labels, measure_products

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float64]

ACTOR = "rollout"
ALPHA = 0.05


def ab_report(services: Services, model: str) -> tuple[ABReport, ...]:
    """Reports by metric on the newest rollout's stage that was judged last, stored with its run.

    A unit counts once, with the mean of its requests. Where half of the units were served in an equally long time
    before, that time is the pre-period that takes their own differences out (CUPED).

    Raises:
        MissingRecord: there is no rollout, or it has not been judged with two arms in traffic.
    """
    state = next(iter(services.records.newest(model, RolloutState)), None)
    if state is None or state.analysis is None or not 0 < state.analysis.weight_ppm < 1_000_000:
        raise MissingRecord(f"{model}: no rollout has been judged with both versions in traffic")
    spec, judged = services.specs.get(model), state.analysis
    table = services.journal.read(model, judged.since, judged.until, state.rollout)
    metrics = _metrics(services, spec, state, table)
    earlier = services.journal.read(model, judged.since - (judged.until - judged.since), judged.since)
    past = request_metrics(earlier, binary=spec.task is Task.BINARY)
    alpha = spec.rollout.ab.alpha if spec.rollout.ab else ALPHA
    found = _reports(table, metrics, (earlier, past), state, judged, alpha)
    for one in found:
        services.records.put(f"{model}/{state.run}", one, one.metric, actor=ACTOR)
    return found


def _metrics(services: Services, spec: ModelSpec, state: RolloutState, table: pa.Table) -> dict[str, Floats]:
    """A value per row and metric, of the arm the row was in."""
    import numpy as np

    assert state.analysis is not None
    judged, plan = state.analysis, spec.rollout
    metrics = request_metrics(table, binary=spec.task is Task.BINARY)
    if any(metric.labelled for metric in plan.metrics.values()):
        table = join_labels(services, spec, table, judged.until)
    report_ = services.records.get(f"{state.model}/{state.run}", PreflightReport)
    arm = _canary(table)
    for name, values in measure_products(
        services,
        spec,
        plan.metrics,
        table,
        rollout=state.rollout,
        since=judged.since,
        until=judged.until,
        thresholds=(report_.stable_threshold, report_.candidate_threshold),
    ).items():
        if values.error is None:
            own = np.where(arm, values.canary, values.stable)
            metrics[name] = np.where(explored(table), np.nan, own)
    return metrics


def _reports(
    table: pa.Table,
    metrics: dict[str, Floats],
    earlier: tuple[pa.Table, dict[str, Floats]],
    state: RolloutState,
    judged: CanaryAnalysis,
    alpha: float,
) -> tuple[ABReport, ...]:
    import numpy as np

    # The window began with the stage, so its weight tells its rows; the rollout itself may have gone on since.
    rows = drawn(table, rollout=state.rollout, weight_ppm=judged.weight_ppm, step_epoch=0)
    arm, units, then = _canary(table), units_of(table), units_of(earlier[0])
    everybody = np.ones(earlier[0].num_rows, dtype=bool)
    found = []
    for name, values in metrics.items():
        arms = unit_means(units, values, rows & ~arm), unit_means(units, values, rows & arm)
        if min(map(len, arms)) < 2:
            continue
        past = earlier[1].get(name)
        known = before(arms, unit_means(then, past, everybody)) if past is not None else None
        stable, canary = (np.asarray(list(each.values())) for each in arms)
        found.append(report(name, stable, canary, alpha=alpha, before=known))
    return tuple(found)


def _canary(table: pa.Table) -> npt.NDArray[np.bool_]:
    import numpy as np

    return np.asarray([arm == Arm.CANARY for arm in table.column("arm").to_pylist()], dtype=bool)
