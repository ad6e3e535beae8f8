"""Layer 1: the data and the features that reach the model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from gauntlet.core.duration import words
from gauntlet.core.layers.finding import PAST, Found, fallen, found, is_judged, symptom
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction, DriftReport, FeatureDrift
from gauntlet.core.records.monitoring import Layer, Severity, Symptom
from gauntlet.core.specs.monitoring import DataLayerSection

HEALTH = ("missing_rate", "mean_shift", "sigma_ratio", "categories", "dtype", "range")
"""The statistics of the drift check that are about health; the others are about distributions."""
SKEW = f"{Layer.DATA}.skew"
"""Under which keys the differences between what is served and what the source holds are found."""


def data_health(
    report: DriftReport, earlier: Sequence[DriftReport], section: DataLayerSection, freshness: timedelta | None
) -> Found:
    """Nulls, levels, spreads, categories, types and ranges of the newest drift check, volume and freshness."""
    if report.champion is None:
        return found((), {}, ["there is no champion yet"], looked=False)
    symptoms = [
        symptom for feature in report.features if feature.segment is None for symptom in _health(feature, section)
    ]
    if report.blocked and not any(symptom.severity is Severity.PAGE for symptom in symptoms):
        symptoms.append(symptom(Layer.DATA, "quality", Severity.PAGE, report.reason))
    told = {symptom.key.split(".", 2)[2] for symptom in symptoms if symptom.key.count(".") >= 2}
    unexplained = not report.carried_by or set(report.carried_by) - told
    if report.violated and unexplained and report.action in (DriftAction.RETRAIN, DriftAction.ROLLBACK):
        symptoms.append(symptom(Layer.DATA, "drift", Severity.WARNING, report.reason, beyond=report.score))
    symptoms += _volume(report, earlier, section)
    symptoms += _freshness(report, freshness)
    values = {"rows": float(report.rows)} | ({} if report.score is None else {"drift_score": report.score})
    unjudged = [
        f"{Layer.DATA}.{statistic}.{feature.feature}"
        for feature in report.features
        if feature.segment is None and not is_judged(feature)
        for statistic in HEALTH
    ]
    return found(symptoms, values, unjudged=unjudged)


def _health(feature: FeatureDrift, section: DataLayerSection) -> list[Symptom]:
    pages = feature.quality or feature.importance >= section.important
    severity = Severity.PAGE if pages else Severity.WARNING
    return [
        symptom(
            Layer.DATA,
            f"{result.statistic}.{feature.feature}",
            severity,
            f"{feature.feature}: {result.sentence}",
            observed=result.value,
            limit=result.limit,
            n=feature.current_rows,
            beyond=abs(result.value) / result.limit if result.value is not None and result.limit else None,
        )
        for result in feature.statistics
        if result.statistic in HEALTH and result.outcome is Outcome.FAILED and feature.outcome is Outcome.FAILED
    ]


def _volume(report: DriftReport, earlier: Sequence[DriftReport], section: DataLayerSection) -> list[Symptom]:
    length = report.window_end - report.window_start if report.window_start else timedelta(0)
    past = [one.rows for one in earlier if one.rows and report.as_of - PAST <= one.as_of <= report.as_of - length]
    return fallen(Layer.DATA, "volume", "rows in the window", report.rows, past, section.volume_drop, Severity.PAGE)


def _freshness(report: DriftReport, most: timedelta | None) -> list[Symptom]:
    if most is None or report.last_event is None:
        return []
    age = report.as_of - report.last_event
    if age <= most:
        return []
    sentence = f"the newest row is {words(age.total_seconds())} old (limit {words(most.total_seconds())})"
    return [
        symptom(
            Layer.DATA,
            "freshness",
            Severity.PAGE,
            sentence,
            observed=age.total_seconds(),
            limit=most.total_seconds(),
            beyond=age / most,
        )
    ]


def skew(features: Sequence[FeatureDrift], section: DataLayerSection, served: int) -> Found:
    """Whether the server was sent what the source holds: a difference is a fault of one of the two paths."""
    symptoms = [
        symptom(
            Layer.DATA,
            f"skew.{feature.feature}",
            Severity.PAGE if feature.importance >= section.important else Severity.WARNING,
            f"{feature.feature}: served values differ from the source's of the same time: {feature.sentence}",
            observed=feature.effect,
            limit=1.0,
            n=feature.current_rows,
            beyond=feature.effect,
        )
        for feature in features
        if feature.outcome is Outcome.FAILED
    ]
    unjudged = [f"{SKEW}.{each.feature}" for each in features if not is_judged(each)]
    return found(symptoms, {"served_rows": float(served)}, unjudged=unjudged)
