"""How good the answers were that were really given: labels joined to the journal, for all and by slice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gauntlet.core.errors import DataRejected
from gauntlet.core.layers.finding import Found, found
from gauntlet.core.layers.model import is_settled, performance_keys, performance_symptoms
from gauntlet.core.ports import Services
from gauntlet.core.records.drift import PerformanceDrift
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.drift import PerformanceSection
from gauntlet.stages.live_evidence import join_labels
from gauntlet.stages.recorded import holdout_scores

if TYPE_CHECKING:
    import pyarrow as pa

    from gauntlet.core.performance import Scored


def served_performance(services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion) -> Found:
    """The champion's answers with matured labels against its own holdout, as a whole and per declared slice."""
    if spec.task is Task.MULTICLASS:
        return found(
            (), {}, ["served labels: the journal keeps one score, a multiclass model has several"], looked=False
        )
    table = _labelled(services, run, spec, champion)
    section = spec.drift.performance or PerformanceSection()
    if table.num_rows < section.minimum_rows:
        note = f"{table.num_rows} answers with matured labels of {section.minimum_rows}"
        values = {"labelled": float(table.num_rows)}
        return found((), values, [note], looked=False, unjudged=performance_keys("served"))
    baseline = holdout_scores(services, run.model, champion)
    symptoms, unjudged, notes = [], [], []
    values = {"labelled": float(table.num_rows)}
    for part, performance in _judged(spec, baseline, table, section):
        symptoms += performance_symptoms(performance, "served", part)
        unjudged += [] if is_settled(performance) else performance_keys("served", part)
        if performance.current is not None:
            values[f"served_{performance.metric}" + (f".{part}" if part else "")] = performance.current
        else:
            notes.append(f"{part or 'served'}: {performance.sentence}")
    return found(symptoms, values, notes, unjudged=unjudged)


def _labelled(services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion) -> pa.Table:
    """The champion's answers of one window whose labels had time to become known."""
    import pyarrow.compute as pc

    maturity = spec.rollout.labels.maturity or spec.source.label_delay
    until = run.as_of - maturity if maturity else run.as_of
    table = services.journal.read(run.model, until - spec.monitoring.model.window, until)
    table = table.filter(pc.and_(pc.equal(table.column("version_id"), champion.version_id), _answered(table)))
    if not table.num_rows:
        return table
    table = join_labels(services, _with_slices(spec), table, run.as_of)
    return table.filter(pc.and_(table.column("mature"), pc.is_finite(table.column("label"))))


def _answered(table: pa.Table) -> pa.Array:
    import pyarrow.compute as pc

    return pc.equal(table.column("status"), "ok")


def _with_slices(spec: ModelSpec) -> ModelSpec:
    """The spec that has the slice columns joined beside the label."""
    from gauntlet.core.specs.rollout import ProductMetric

    if not spec.monitoring.model.by:
        return spec
    asking = ProductMetric(margin=1.0, function="builtins:len", columns=spec.monitoring.model.by)
    metrics = {**spec.rollout.metrics, "slices of the monitor": asking}
    return spec.model_copy(update={"rollout": spec.rollout.model_copy(update={"metrics": metrics})})


def _judged(
    spec: ModelSpec, baseline: pa.Table, served: pa.Table, section: PerformanceSection
) -> Iterator[tuple[str | None, PerformanceDrift]]:
    from gauntlet.core.performance import compare_performance

    slices = list(_slices(spec, baseline, served))
    alpha = spec.drift.alpha / (1 + len(slices))
    whole = _scored(baseline, "candidate_score"), _scored(served, "score")
    yield None, compare_performance(spec.task, *whole, section, alpha)
    wider = section.model_copy(update={"drop": spec.monitoring.model.slice_drop})
    for part, before, after in slices:
        yield part, compare_performance(spec.task, before, after, wider, alpha)


def _slices(spec: ModelSpec, baseline: pa.Table, served: pa.Table) -> Iterator[tuple[str, Scored, Scored]]:
    """Every value of every declared column that both sides have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in spec.monitoring.model.by:
        if column not in baseline.column_names or column not in served.column_names:
            raise DataRejected(f"monitoring.model.by: {column!r} is not in the evaluation; name it in gates.slices.by")
        before, after = (pc.cast(table.column(column), pa.string()) for table in (baseline, served))
        for value in sorted(set(before.unique().to_pylist()) & set(after.unique().to_pylist()) - {None}):
            yield (
                f"{column}={value}",
                _scored(baseline.filter(pc.equal(before, value)), "candidate_score"),
                _scored(served.filter(pc.equal(after, value)), "score"),
            )


def _scored(table: pa.Table, column: str) -> Scored:
    import numpy as np

    from gauntlet.core.performance import Scored

    labels = np.asarray(table.column("label").to_numpy(), dtype=np.float64)
    return Scored(labels, np.asarray(table.column(column).to_numpy(), dtype=np.float64))
