"""Scores and labels of the current window: prediction drift, label change and performance, kept apart from inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.errors import DataRejected, InfrastructureError, IntegrityError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Scorer, Services
from gauntlet.core.records.drift import DriftReport, FeatureDrift, PerformanceDrift
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages import arrays
from gauntlet.stages.recorded import holdout_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gauntlet.core.joint import Past
    from gauntlet.core.performance import Scored
    from gauntlet.core.profile import Column, Numbers, Profile


@dataclass(frozen=True)
class ScoreFindings:
    """What was found beside the inputs; ``None``: not asked for."""

    prediction: FeatureDrift | None = None
    label: FeatureDrift | None = None
    performance: PerformanceDrift | None = None
    estimate: PerformanceDrift | None = None


def check_scores(
    services: Services,
    run: RunContext,
    spec: ModelSpec,
    champion: ServedVersion,
    window: Path,
    past: Past,
    kept: Numbers | None = None,
) -> ScoreFindings:
    """Score the window with the champion, and compare; labels only where they have matured.

    ``kept``: the scores in the champion's profile. Without them its evaluation is read.
    """
    if not spec.drift.scores and spec.drift.performance is None:
        return ScoreFindings()
    try:
        scorer = services.scorers.load(services.blobs.fetch_folder(champion.release_uri, champion.release_digest))
        scores = scorer.score_table(window)
        if kept is not None and spec.drift.performance is None:
            return ScoreFindings(_scores_apart(spec, kept, _levels(spec, scores), past))
        baseline = _baseline(services, run, champion)
    except (DataRejected, InfrastructureError, IntegrityError) as error:
        return ScoreFindings(prediction=_unavailable(str(error)))
    before = _levels(spec, baseline.scores) if kept is None else kept
    prediction = _scores_apart(spec, before, _levels(spec, scores), past)
    if spec.drift.performance is None:
        return ScoreFindings(prediction)
    return _with_labels(services, run, spec, scorer, baseline, scores, prediction, past)


def _with_labels(
    services: Services,
    run: RunContext,
    spec: ModelSpec,
    scorer: Scorer,
    baseline: Scored,
    scores: NDArray[np.float64],
    prediction: FeatureDrift,
    past: Past,
) -> ScoreFindings:
    from gauntlet.core.loss_estimate import estimated_loss
    from gauntlet.core.performance import ESTIMATED, LEVEL, checked_against, compare_performance, estimated
    from gauntlet.core.promise import PROMISED, against_promise

    section = spec.drift.performance
    assert section is not None
    matured = _matured(services, run, spec, scorer)
    performance = compare_performance(spec.task, baseline, matured, section, spec.drift.alpha * LEVEL)
    label = _drift(spec, "label", _label_levels(spec, baseline), _label_levels(spec, matured))
    alpha = spec.drift.alpha * ESTIMATED
    if spec.task is Task.BINARY:
        before = next((report.performance for report in past.apart()), None)
        level = spec.drift.alpha * PROMISED
        performance = against_promise(performance, baseline, matured, section, level, before)
        estimate = estimated(baseline, scores, section, alpha)
    else:
        estimate = estimated_loss(spec.task, baseline, scores, section, alpha)
    earlier = _earlier_estimate(run, spec, past.history)
    if earlier is not None:
        estimate = estimate.model_copy(update={"sentence": checked_against(estimate, earlier, performance)})
    return ScoreFindings(prediction, label, performance, estimate)


def _baseline(services: Services, run: RunContext, champion: ServedVersion) -> Scored:
    """The champion's scores and labels on its own holdout, as they were recorded before it took over."""
    from gauntlet.core.performance import Scored

    table = holdout_scores(services, run.model, champion)
    return Scored(arrays.numbers(table.column("label")), arrays.candidate_scores(table))


def _matured(services: Services, run: RunContext, spec: ModelSpec, scorer: Scorer) -> Scored:
    """The newest rows whose labels are known: one window of them, however late labels come."""
    import numpy as np
    import pyarrow.parquet as pq

    from gauntlet.core.performance import Scored

    services.scratch.mkdir(parents=True, exist_ok=True)
    to = services.scratch / f"mature-{run.model}-{sha256_bytes(run.key.encode())[:12]}.parquet"
    since = None
    if spec.source.columns.event_time:
        since = run.as_of - spec.drift.window
        since = since - spec.source.label_delay if spec.source.label_delay else since
    try:
        pulled = services.sources[spec.source.kind].pull(spec, since, run.as_of, labelled=True, to=to)
    except DataRejected:
        return Scored(np.empty(0), np.empty(0))
    try:
        labels = pq.read_table(pulled.path, columns=[spec.source.columns.label]).column(0)
        if not pulled.rows:
            return Scored(np.empty(0), np.empty(0))
        return Scored(labels.to_numpy().astype(np.float64), scorer.score_table(pulled.path))
    finally:
        pulled.path.unlink(missing_ok=True)


def _earlier_estimate(run: RunContext, spec: ModelSpec, history: Sequence[DriftReport]) -> PerformanceDrift | None:
    """The newest estimate on rows that have labels by now."""
    delay = spec.source.label_delay
    ripe = [report for report in history if delay is None or report.as_of <= run.as_of - delay]
    return next((report.estimate for report in ripe if report.estimate is not None), None)


def _levels(spec: ModelSpec, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """One number per row: the score, or how sure a multiclass model is."""
    return scores.max(axis=1) if spec.task is Task.MULTICLASS and scores.ndim == 2 else scores


def _label_levels(spec: ModelSpec, sample: Scored) -> Any:
    return sample.labels if spec.task is Task.REGRESSION else [str(int(label)) for label in sample.labels]


def _scores_apart(
    spec: ModelSpec, before: NDArray[np.float64] | Numbers, after: NDArray[np.float64], past: Past
) -> FeatureDrift:
    from gauntlet.core.drift import conclude, measure
    from gauntlet.core.joint import with_score_change

    judged = measure(*_profiles("score", before, after), spec.drift)
    (found,) = conclude(judged, spec.drift, len(after))
    return with_score_change(found, judged[0].pair.cells, spec.drift, past)


def _drift(spec: ModelSpec, name: str, before: Any, after: Any) -> FeatureDrift:
    """One column compared on its own: the scores, or the labels."""
    from gauntlet.core.drift import compare

    return compare(*_profiles(name, before, after), spec.drift)[0]


def _profiles(name: str, before: Any, after: Any) -> tuple[Profile, Profile]:
    from gauntlet.core.profile import Numbers, Profile, blank_numbers

    if isinstance(before, Numbers):
        columns: list[Column] = [before, blank_numbers(before).counted(after)]
    else:
        columns = [_column(values, None if place == 0 else before) for place, values in enumerate((before, after))]
    one, other = (Profile({name: column}, column.rows, {}, {}, {}) for column in columns)
    return one, other


def _column(values: Any, like: Any) -> Column:
    """A column counted on the axis that suits ``like``, or its own."""
    import numpy as np

    from gauntlet.core.profile import Labels, Numbers, numbers

    if isinstance(values, list):
        names, codes = np.unique(np.array(values, dtype=str), return_inverse=True)
        return Labels.blank("string").counted(codes, names.tolist())
    own = numbers(np.asarray(values if like is None else like), "float")
    if like is None:
        return own.counted(np.asarray(values))
    reference = own.counted(np.asarray(like))
    return Numbers.blank(own.axis, "float", (reference.minimum, reference.maximum)).counted(np.asarray(values))


def _unavailable(reason: str) -> FeatureDrift:
    """Scores that could not be looked at are an error, not a pass."""
    return FeatureDrift(
        feature="score",
        segment=None,
        kind="numeric",
        importance=1.0,
        outcome=Outcome.ERROR,
        quality=False,
        severe=False,
        sentence=f"scores were not compared: {reason}",
        p_value=None,
        adjusted_p=None,
        effect=None,
        reference_rows=0,
        current_rows=0,
        required_rows=None,
        statistics=(),
    )
