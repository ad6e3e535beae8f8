"""What a gate needs measured on the release or the snapshot; the gate itself only judges the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import IntegrityError, TrainingFailed
from gauntlet.core.feature_gain import gain_shares
from gauntlet.core.gates import (
    batch_invariance,
    deployment_checklist,
    determinism,
    feature_health,
    golden,
    robustness,
)
from gauntlet.core.gates.evidence import MissingEvidence
from gauntlet.core.label_facts import label_facts
from gauntlet.core.metrics import METRICS, PRIMARY, MetricError, Sample, measure
from gauntlet.core.perturbations import perturbed
from gauntlet.core.records.data import DatasetRef, SplitManifest
from gauntlet.core.records.model import FeatureKind, ModelSidecar
from gauntlet.core.records.observation import GateMeasurements, Observation, ServerTrial
from gauntlet.core.release import MODEL_TEXT
from gauntlet.core.splits import PARTS
from gauntlet.stages.arrays import feature_columns, numbers
from gauntlet.stages.gate_evidence import Subject, column_values
from gauntlet.stages.release_folder import golden_in
from gauntlet.stages.snapshot import read_parts, read_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gauntlet.core.ports import Scorer, Services
    from gauntlet.core.records.model import Feature

    Floats = NDArray[np.float64]

GRID = 12
MONOTONE_ROWS = 200


def measured(services: Services, about: Subject, gate: str) -> tuple[Observation, ...]:
    """The measurements for a gate, taken once per candidate, champion, holdout and spec; then read from the store."""
    known = services.records.find(about.run.key, GateMeasurements, gate)
    bound = {
        "gate": gate,
        "candidate": about.trained.release.digest,
        "champion": about.champion_digest,
        "holdout": about.evaluation.holdout,
        "spec_digest": about.run.spec_digest,
    }
    if known is not None and known.model_dump(include=set(bound)) == bound:
        return known.observations
    found = GateMeasurements(**bound, observations=tuple(MEASURE[gate](services, about, about.spec.gates.config(gate))))
    services.records.put(about.run.key, found, gate)
    return found.observations


# ---- what is measured on ---------------------------------------------------------------------------


def _folder(services: Services, about: Subject) -> Path:
    return services.blobs.fetch_folder(about.trained.release.uri, about.trained.release.digest)


def _snapshot(services: Services, about: Subject) -> tuple[DatasetRef, SplitManifest]:
    dataset, split = services.records.get(about.run.key, DatasetRef), services.records.get(about.run.key, SplitManifest)
    if (dataset.sha256, split.sha256) != (about.trained.dataset, about.trained.split):
        raise MissingEvidence("the run's snapshot or split is not the one that the candidate was trained on")
    return dataset, split


def holdout_rows(services: Services, about: Subject, rows: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Raw holdout rows, evenly spaced over its order, at most ``rows``; all columns by default."""
    import numpy as np
    import pyarrow as pa

    dataset, split = _snapshot(services, about)
    table = read_snapshot(services, dataset, columns)
    places = np.flatnonzero(read_parts(services, split) == PARTS.index("holdout"))
    if not len(places):
        raise MissingEvidence("the holdout has 0 rows")
    chosen = places[np.unique(np.linspace(0, len(places) - 1, min(rows, len(places))).round().astype(np.int64))]
    return table.take(pa.array(chosen)).combine_chunks()


def _change(one: Floats, other: Floats) -> float | None:
    """The largest difference of two score arrays; None when there is no comparing them."""
    import numpy as np

    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    return float(np.abs(one - other).max()) if one.size else None


# ---- gates -----------------------------------------------------------------------------------------


def _label_quality(services: Services, about: Subject, config: Any) -> Iterator[Observation]:
    dataset, _ = _snapshot(services, about)
    source = about.spec.source.columns
    asked = [*about.spec.source.features.all, source.label, *config.columns]
    table = read_snapshot(services, dataset, list(dict.fromkeys(asked)))
    origin = config.generated and column_values(table.column(config.generated.column))
    yield from label_facts(
        about.spec.task,
        numbers(table.column(source.label)),
        (column.values for column in feature_columns(about.spec, table).values()),
        classes=len(dataset.classes or "01"),
        origin=origin if config.generated else None,
        generated=config.generated.values if config.generated else (),
    )


def _robustness(services: Services, about: Subject, config: Any) -> Iterator[Observation]:
    import numpy as np

    scorer = services.scorers.load(_folder(services, about))
    features = scorer.sidecar.features
    names = [feature.name for feature in features]
    table = holdout_rows(services, about, config.rows, list(dict.fromkeys([*names, *_judged_by(about)])))
    inputs = table.select(names)
    base = scorer.score_table(inputs)
    metric = config.metric or PRIMARY[about.spec.task]
    random = np.random.default_rng(int(about.trained.release.digest[:15], 16))
    value = _metric(about, metric, table, base)
    for kind, feature in robustness.plan(features):
        scores = scorer.score_table(perturbed(inputs, kind, feature, config.noise, random))
        if kind in robustness.EXACT:
            found, baseline = _change(base, scores), None
        else:
            after = _metric(about, metric, table, scores)
            found = None if value is None or after is None else METRICS[metric].sign * (value - after)
            baseline = value
        yield Observation(kind=kind, subject=feature, rows=len(table), value=found, baseline=baseline)


def _judged_by(about: Subject) -> list[str]:
    """The columns that a metric is computed from, beside the scores."""
    columns, profit = about.spec.source.columns, about.spec.gates.profit
    return [columns.label, *([columns.weight] if columns.weight else []), *(profit.reads if profit else ())]


def _metric(about: Subject, metric: str, table: pa.Table, scores: Floats) -> float | None:
    columns = about.spec.source.columns
    profit = about.spec.gates.profit
    sample = Sample(
        label=numbers(table.column(columns.label)),
        score=scores,
        weight=numbers(table.column(columns.weight)) if columns.weight else None,
        threshold=about.evaluation.candidate_threshold,
        columns={name: column_values(table.column(name)) for name in profit.reads} if profit else {},
        profit=profit,
    )
    try:
        return measure(metric, sample)
    except MetricError:
        return None


def _batch_invariance(services: Services, about: Subject, config: Any) -> Iterator[Observation]:
    import numpy as np
    import pyarrow as pa

    scorer = services.scorers.load(_folder(services, about))
    table = _inputs(services, about, scorer, config.rows)
    whole, n = scorer.score_table(table), len(table)
    order = np.random.default_rng(int(about.trained.release.digest[:15], 16)).permutation(n)
    shuffled = np.empty_like(whole)
    shuffled[order] = scorer.score_table(table.take(pa.array(order)))
    halves = np.concatenate([scorer.score_table(table.slice(0, n // 2)), scorer.score_table(table.slice(n // 2))])
    alone = scorer.score_rows(table.to_pylist())
    for kind, scores in (
        (batch_invariance.ALONE, alone),
        (batch_invariance.HALVES, halves),
        (batch_invariance.SHUFFLED, shuffled),
    ):
        yield Observation(kind=kind, subject=None, rows=n, value=_change(whole, scores))


def _inputs(services: Services, about: Subject, scorer: Scorer, rows: int) -> pa.Table:
    names = [feature.name for feature in scorer.sidecar.features]
    return holdout_rows(services, about, rows, names)


def _determinism(services: Services, about: Subject, config: Any) -> Iterator[Observation]:
    folder = _folder(services, about)
    scorer = services.scorers.load(folder)
    table = _inputs(services, about, scorer, config.rows)
    first = scorer.score_table(table)
    for kind, scores in (
        (determinism.REPEATED, scorer.score_table(table)),
        (determinism.RELOADED, services.scorers.load(folder).score_table(table)),
    ):
        yield Observation(kind=kind, subject=None, rows=len(table), value=_change(first, scores))
    if config.retrain and about.trained.derived_from is None:
        yield _retrained(services, about, scorer.sidecar)


def _retrained(services: Services, about: Subject, sidecar: ModelSidecar) -> Observation:
    """Train once more from the recorded snapshot and split; 0 when the trees are the same, 1 when not."""
    from pathlib import Path

    from gauntlet.stages.train import job_of

    job = job_of(services, about.run, *_snapshot(services, about))
    services.scratch.mkdir(parents=True, exist_ok=True)
    rows = about.trained.train_rows
    with TemporaryDirectory(dir=services.scratch, prefix="retrain-") as folder:
        try:
            again = services.trainer.train(about.spec, job, Path(folder)).sidecar.tree_digest
        except TrainingFailed as error:
            return Observation(kind=determinism.RETRAINED, subject=None, rows=rows, value=None, detail=str(error))
    detail = f"{again[:12]} again, {sidecar.tree_digest[:12]} recorded"
    value = float(again != sidecar.tree_digest)
    return Observation(kind=determinism.RETRAINED, subject=None, rows=rows, value=value, detail=detail)


def _feature_health(services: Services, about: Subject, config: Any) -> Iterator[Observation]:  # noqa: ARG001
    folder = _folder(services, about)
    scorer = services.scorers.load(folder)
    rows = about.trained.train_rows
    names = [feature.name for feature in scorer.sidecar.features]
    for name, share in gain_shares((folder / MODEL_TEXT).read_bytes(), names).items():
        yield Observation(kind=feature_health.IMPORTANCE, subject=name, rows=rows, value=share)
    doubtful = [feature.name for feature in scorer.sidecar.features if not _varies(feature)]
    train = _train_columns(services, about, doubtful)
    for feature in scorer.sidecar.features:
        constant = float(feature.name in doubtful and _constant(train.column(feature.name)))
        yield Observation(kind=feature_health.CONSTANT, subject=feature.name, rows=rows, value=constant)
    if about.spec.training.monotone:
        yield from _monotone(services, about, scorer)


def _train_columns(services: Services, about: Subject, names: list[str]) -> pa.Table:
    import pyarrow as pa

    dataset, split = _snapshot(services, about)
    mask = read_parts(services, split) == PARTS.index("train")
    return read_snapshot(services, dataset, names).filter(pa.array(mask))


def _varies(feature: Feature) -> bool:
    """Whether the sidecar alone tells that training saw more than one value."""
    return feature.kind is FeatureKind.NUMERIC and feature.minimum != feature.maximum


def _constant(column: pa.ChunkedArray) -> bool:
    """Whether training saw one value only, a missing one counting as a value."""
    import pyarrow.compute as pc

    return bool(pc.count_distinct(column, mode="all").as_py() <= 1)


def _monotone(services: Services, about: Subject, scorer: Scorer) -> Iterator[Observation]:
    """The largest step of a score against the constraint, walking each feature over its range in real rows."""
    import numpy as np
    import pyarrow as pa

    table = _inputs(services, about, scorer, MONOTONE_ROWS)
    ranges = {feature.name: (feature.minimum, feature.maximum) for feature in scorer.sidecar.features}
    for name, direction in about.spec.training.monotone.items():
        low, high = ranges.get(name, (None, None))
        if low is None or high is None:
            yield Observation(kind=feature_health.MONOTONE, subject=name, rows=0, value=None, detail="no range known")
            continue
        place = table.column_names.index(name)
        values = np.linspace(low, high, GRID)
        steps = [table.set_column(place, name, pa.array(np.full(len(table), value))) for value in values]
        # One call for all steps: a call costs more than its rows.
        scores = np.stack(np.split(scorer.score_table(pa.concat_tables(steps)), GRID))
        against = float(np.max(-direction * np.diff(scores, axis=0)))
        yield Observation(kind=feature_health.MONOTONE, subject=name, rows=len(table), value=max(0.0, against))


def _golden(services: Services, about: Subject, config: Any) -> Iterator[Observation]:  # noqa: ARG001
    import numpy as np

    folder = _folder(services, about)
    kept = golden_in(folder)
    scores = services.scorers.load(folder).score_rows(kept.rows)
    expected = np.array(kept.class_scores if kept.class_scores is not None else kept.scores)
    yield Observation(kind=golden.ROW, subject=None, rows=len(kept.rows), value=_change(expected, scores))


def _infra_validation(services: Services, about: Subject, config: Any) -> Iterator[Observation]:  # noqa: ARG001
    trial = services.records.find(about.run.key, ServerTrial)
    bound = (about.trained.release.digest, about.run.spec_digest)
    if trial is None or (trial.candidate, trial.spec_digest) != bound:
        raise MissingEvidence("no trial of this candidate on a model server: the task probe makes it; clear it")
    yield from trial.observations


def _deployment_checklist(services: Services, about: Subject, config: Any) -> Iterator[Observation]:  # noqa: ARG001
    champion = about.champion
    if champion is None:
        return
    try:
        folder = services.blobs.fetch_folder(champion.release_uri, champion.release_digest)
        version = services.scorers.load(folder).sidecar.version_id
    except (IntegrityError, json.JSONDecodeError) as error:
        value, detail = 0.0, f"champion {champion.version_id} cannot be loaded: {error}"
    else:
        value, detail = 1.0, f"champion {version} loads"
    yield Observation(kind=deployment_checklist.ROLLBACK, subject=None, rows=1, value=value, detail=detail)


MEASURE: Mapping[str, Callable[[Services, Subject, Any], Iterator[Observation]]] = {
    "label_quality": _label_quality,
    "robustness": _robustness,
    "batch_invariance": _batch_invariance,
    "determinism": _determinism,
    "feature_health": _feature_health,
    "golden": _golden,
    "infra_validation": _infra_validation,
    "deployment_checklist": _deployment_checklist,
}
"""One measurement for each gate of the catalogue that is marked ``measured``."""
