"""Layer 2: the model: its scores, and its performance where labels tell of it."""

from __future__ import annotations

from gauntlet.core.layers.finding import Found, found, is_judged, symptom
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftReport, FeatureDrift, PerformanceDrift
from gauntlet.core.records.monitoring import Layer, Severity, Symptom


def model_health(report: DriftReport) -> Found:
    """What the newest drift check says of scores and labels."""
    if report.champion is None:
        return found((), {}, ["there is no champion yet"], looked=False)
    symptoms = []
    if report.prediction is not None:
        symptoms += _prediction(report.prediction)
    if report.label is not None and report.label.outcome is Outcome.FAILED:
        symptoms.append(
            symptom(Layer.MODEL, "label", Severity.WARNING, f"labels have changed: {report.label.sentence}")
        )
    for performance in (report.performance, report.estimate):
        if performance is not None:
            symptoms += performance_symptoms(performance, "source")
    values = {}
    if report.performance is not None and report.performance.current is not None:
        values[report.performance.metric] = report.performance.current
    if report.estimate is not None and report.estimate.current is not None:
        values[f"estimated_{report.estimate.metric}"] = report.estimate.current
    return found(symptoms, values, unjudged=_unjudged_model(report))


def _unjudged_model(report: DriftReport) -> list[str]:
    """What the check had no scores or labels for. Labels that speak make an estimate needless."""
    unjudged = []
    if report.prediction is None or not is_judged(report.prediction):
        unjudged.append(f"{Layer.MODEL}.prediction")
    if report.label is None or not is_judged(report.label):
        unjudged.append(f"{Layer.MODEL}.label")
    if not is_settled(report.performance):
        unjudged += performance_keys("source")
        if not is_settled(report.estimate):
            unjudged.append(f"{Layer.MODEL}.estimate")
    return unjudged


def is_settled(performance: PerformanceDrift | None) -> bool:
    """Whether there were labels, or scores, enough to measure it; what is then not shown was looked for."""
    return performance is not None and performance.current is not None and performance.outcome is not Outcome.ERROR


def performance_keys(where: str, part: str | None = None) -> list[str]:
    """The symptoms that a comparison of performance can find."""
    return [f"{Layer.MODEL}.{kind}.{where}" + (f".{part}" if part else "") for kind in ("performance", "calibration")]


def _prediction(scores: FeatureDrift) -> list[Symptom]:
    if scores.outcome is Outcome.FAILED:
        sentence = f"scores have changed: {scores.sentence}"
        return [
            symptom(
                Layer.MODEL,
                "prediction",
                Severity.WARNING,
                sentence,
                observed=scores.effect,
                limit=1.0,
                n=scores.current_rows,
                beyond=scores.effect,
            )
        ]
    if scores.outcome is Outcome.ERROR:
        return [symptom(Layer.MODEL, "prediction.unseen", Severity.WARNING, scores.sentence)]
    return []


def performance_symptoms(performance: PerformanceDrift, where: str, part: str | None = None) -> list[Symptom]:
    """A page when labels show that the model is worse; a warning while it is only estimated, or one slice's.

    ``where`` the labels were joined: ``source`` or ``served``; ``part``: the slice.
    """
    if performance.outcome is not Outcome.FAILED:
        return []
    kind = "calibration" if performance.metric == "calibration" else "performance"
    key = "estimate" if performance.estimate else f"{kind}.{where}" + (f".{part}" if part else "")
    soft = performance.estimate or part is not None
    told = f"{part}: {performance.sentence}" if part else performance.sentence
    return [
        symptom(
            Layer.MODEL,
            key,
            Severity.WARNING if soft else Severity.PAGE,
            told,
            observed=performance.current,
            limit=performance.limit,
            n=performance.rows,
            estimate=performance.estimate,
            beyond=_times(performance),
        )
    ]


def _times(performance: PerformanceDrift) -> float | None:
    if performance.baseline is None or performance.current is None or not performance.limit:
        return None
    return abs(performance.baseline - performance.current) / performance.limit
