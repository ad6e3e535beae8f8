"""The slice audit: everybody who was served in the last weeks, slice by slice, whoever the champion was."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from gauntlet.core.errors import DataRejected
from gauntlet.core.layers.finding import Found
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.ports import Services
from gauntlet.core.records.feedback import AuditedSlice, SliceAudit
from gauntlet.core.records.model import Task
from gauntlet.core.records.run import RunContext
from gauntlet.core.slice_symptoms import slice_symptoms
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.drift import PerformanceSection
from gauntlet.core.specs.monitoring import SliceAuditSection
from gauntlet.stages.recorded import holdout_scores
from gauntlet.stages.served_rows import (
    answered_rows,
    declared_columns,
    feature_columns,
    sidecar_of,
    slice_columns,
    with_labels,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from gauntlet.core.performance import Quality
    from gauntlet.core.slice_audit import Served

ACTOR = "slice audit"


def slices_key(model: str) -> str:
    """Where a model's audits are kept: they outlive the runs that make them."""
    return f"{model}/slices"


def audit_slices(services: Services, model: str, *, by_hand: bool = False) -> SliceAudit | None:
    """Audit the slices where that is due, or a person asks; else the newest audit as it is.

    ``None``: there is none, because the spec wants none or nobody serves yet.
    """
    spec = services.specs.get(model)
    newest = services.records.find(slices_key(model), SliceAudit)
    section, now = spec.monitoring.slice_audit, services.clock.now()
    if section is None or services.routing.read(model).stable is None:
        return newest
    if newest is not None and not by_hand and now - newest.at < section.every:
        return newest
    audit = _audited(services, spec, section, now)
    services.records.put(slices_key(model), audit, actor=ACTOR)
    return audit


def newest_audit(services: Services, run: RunContext, spec: ModelSpec) -> list[Found]:
    """What the newest audit found, for the monitor's look at the model; nothing where the spec wants no audit."""
    if spec.monitoring.slice_audit is None:
        return []
    audit = services.records.find(slices_key(run.model), SliceAudit)
    return [slice_symptoms(audit, spec.monitoring.slice_audit, run.as_of)]


def _audited(services: Services, spec: ModelSpec, section: SliceAuditSection, now: datetime) -> SliceAudit:
    import pyarrow.compute as pc

    from gauntlet.core.live.window import explored

    since = now - section.window
    table, notes = answered_rows(services, spec.model, since, now)
    table = with_labels(services, spec, table, declared_columns(spec), now)
    if spec.task is Task.MULTICLASS:
        notes.append("the journal keeps one score, a multiclass model has several: no metric by slice")
    looked = spec.task is not Task.MULTICLASS and table.num_rows > 0
    slices = _slices(services, spec, section, table, notes) if looked else ()
    label = table.column("label").to_numpy()
    outcome = worst([one.outcome for one in slices]) if slices else Outcome.INCONCLUSIVE
    if outcome is Outcome.INCONCLUSIVE and any(one.outcome is Outcome.PASSED for one in slices):
        outcome = Outcome.PASSED  # The slices that have labels are well; the others say so themselves.
    return SliceAudit(
        model=spec.model,
        outcome=outcome,
        reason=_reason(slices, notes),
        since=since,
        until=now,
        at=now,
        rows=table.num_rows,
        labelled=int((label == label).sum()),
        explored=int(explored(table).sum()),
        versions=tuple(sorted(pc.unique(table.column("version_id")).drop_null().to_pylist())),
        slices=slices,
        searched=looked and section.search and spec.serving.journal.features == "vector",
        notes=tuple(notes),
    )


def _slices(
    services: Services, spec: ModelSpec, section: SliceAuditSection, table: pa.Table, notes: list[str]
) -> tuple[AuditedSlice, ...]:
    from gauntlet.core.slice_audit import audit_declared, audit_found, declared_slices, weak_slices
    from gauntlet.core.weak_slices import bins_of

    served = _served(table)
    versions = table.column("version_id").unique().drop_null().to_pylist()
    sidecars = {version: sidecar_of(services, spec.model, version) for version in versions}
    features = feature_columns(spec, table, sidecars)
    columns = declared_columns(spec)
    known = slice_columns(table, features, columns)
    unknown = [name for name in columns if name not in known]
    notes += [f"{name}: neither served nor in the source, so it makes no slice" for name in unknown]
    declared = declared_slices(known)
    wanted = _residual_limit(spec, served)
    if section.search and not features:
        notes.append("no slice was searched for: the journal keeps no feature values (serving.journal.features)")
    found = weak_slices(served, bins_of(features), section, wanted) if section.search and features else []
    alpha = section.alpha / max(1, len(declared) + len(found))
    usual = _usual(services, spec, section, columns, notes)
    gap = spec.monitoring.model.slice_drop
    return (
        *(audit_declared(spec.task, served, one, usual.get(one.name), section, alpha, gap) for one in declared),
        *(audit_found(served, one, section, alpha, wanted) for one in found),
    )


def _served(table: pa.Table) -> Served:
    import numpy as np

    from gauntlet.core.live.window import explored, unit_numbers
    from gauntlet.core.slice_audit import Served

    decision = table.column("decision").cast("float64").fill_null(np.nan).to_numpy()
    return Served(
        score=np.asarray(table.column("score").to_numpy(), dtype=np.float64),
        label=np.asarray(table.column("label").to_numpy(), dtype=np.float64),
        due=np.asarray(table.column("mature").to_numpy(zero_copy_only=False), dtype=bool),
        decision=np.where((decision < 0) | explored(table), np.nan, decision),
        unit=unit_numbers(table),
    )


def _residual_limit(spec: ModelSpec, served: Served) -> float:
    """By how much labels may be off the scores: a level in probability, or a share of the mean absolute error."""
    import numpy as np

    if spec.task is Task.BINARY:
        return (spec.drift.performance or PerformanceSection()).calibration
    errors = np.abs(served.label - served.score)[served.evidence]
    return spec.monitoring.model.slice_drop * float(errors.mean()) if errors.size else 0.0


def _usual(
    services: Services, spec: ModelSpec, section: SliceAuditSection, columns: tuple[str, ...], notes: list[str]
) -> dict[str, Quality]:
    """Each declared slice's gap on the rows that the champion was evaluated on."""
    import numpy as np

    from gauntlet.core.slice_audit import declared_slices, usual_gaps

    champion = services.routing.read(spec.model).stable
    assert champion is not None
    try:
        table = holdout_scores(services, spec.model, champion)
    except DataRejected as why:
        notes.append(str(why))
        return {}
    slices = declared_slices({name: table.column(name) for name in columns if name in table.column_names})
    score, label = (np.asarray(table[name].to_numpy(), dtype=np.float64) for name in ("candidate_score", "label"))
    return usual_gaps(spec.task, score, label, slices, section.minimum_rows)


def _reason(slices: tuple[AuditedSlice, ...], notes: list[str]) -> str:
    failing = [one.sentence for one in slices if one.outcome is Outcome.FAILED]
    judged = [one for one in slices if one.outcome in {Outcome.PASSED, Outcome.FAILED}]
    if failing:
        return "; ".join(failing[:3]) + (f"; and {len(failing) - 3} more" if len(failing) > 3 else "")
    if judged:
        found = sum(one.found for one in slices)
        return f"{len(judged)} of {len(slices)} slices judged ({found} found by search); none is worse than it was"
    return "; ".join(notes[-1:]) or f"{len(slices)} slices; none has labels enough to be judged"
