"""What a look at a model in production finds, layer by layer: numbers in, symptoms out.

Every rule is a test for a *relevant* change given the rows at hand, as in the drift check: a fault-free fortnight
raises nothing. Too few rows are no symptom and no pass; the report says so in a note.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from gauntlet.core.duration import words
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.drift import DriftAction, DriftReport, FeatureDrift, PerformanceDrift
from gauntlet.core.records.monitoring import Layer, Severity, Symptom
from gauntlet.core.specs.monitoring import (
    DataLayerSection,
    MonitoringSection,
    ServiceLayerSection,
    WatchedMetric,
)

if TYPE_CHECKING:
    import pyarrow as pa

HEALTH = ("missing_rate", "mean_shift", "sigma_ratio", "categories", "dtype", "range")
"""The statistics of the drift check that are about health; the others are about distributions."""
PAST = timedelta(days=28)
"""How far back the past goes that volume and throughput are judged by."""
LEAST_PAST = 3
"""Earlier windows before there is a past."""
SKEW = f"{Layer.DATA}.skew"
"""Under which keys the differences between what is served and what the source holds are found."""
CHANCE = 1e-9
"""A count that low by chance this rarely, as a Poisson count of what was expected, is none: six standard deviations."""


@dataclass(frozen=True)
class Found:
    """What one layer's rules say."""

    outcome: Outcome
    symptoms: tuple[Symptom, ...]
    values: Mapping[str, float]
    notes: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    """Symptoms, and the beginnings of their keys, that too little evidence neither shows nor rules out."""

    @property
    def reason(self) -> str:
        """The layer in one sentence."""
        failing = [symptom.sentence for symptom in self.symptoms if symptom.outcome is Outcome.FAILED]
        if failing:
            return "; ".join(failing[:3]) + (f"; and {len(failing) - 3} more" if len(failing) > 3 else "")
        if self.outcome is Outcome.PASSED:
            return "; ".join(["nothing is wrong", *self.notes])
        return "; ".join(self.notes) or "nothing could be looked at"


def found(
    symptoms: Iterable[Symptom],
    values: Mapping[str, float],
    notes: Sequence[str] = (),
    *,
    looked: bool = True,
    unjudged: Sequence[str] = (),
) -> Found:
    """A layer's finding; ``looked``: whether anything could be judged at all."""
    listed = tuple(sorted(symptoms, key=lambda symptom: (symptom.severity is Severity.WARNING, symptom.key)))
    outcome = worst([symptom.outcome for symptom in listed]) if listed else Outcome.PASSED
    outcome = outcome if listed or looked else Outcome.INCONCLUSIVE
    return Found(outcome, listed, dict(values), tuple(notes), tuple(unjudged))


def is_asked(section: MonitoringSection, layer: Layer) -> bool:
    """Whether the spec gives a layer anything to look at: product and business have only the metrics it names."""
    named: Mapping[Layer, object] = {Layer.PRODUCT: section.product, Layer.BUSINESS: section.business}
    return bool(named.get(layer, True))


def unseen(layer: Layer, why: str) -> Found:
    """A layer that could not be looked at: that is a page, and resolves nothing."""
    symptom = Symptom(
        key=f"{layer}.unseen",
        layer=layer,
        severity=Severity.PAGE,
        outcome=Outcome.FAILED,
        sentence=f"the {layer} layer could not be looked at: {why}",
    )
    return Found(Outcome.ERROR, (symptom,), {}, (why,))


def merged(parts: Sequence[Found], *, every: bool = False) -> Found:
    """Several looks at one layer as one.

    ``every``: a part that could say nothing leaves the layer inconclusive, unless another has failed; otherwise such a
    part is only noted, where the spec need not give it anything to look at.
    """
    symptoms = [symptom for part in parts for symptom in part.symptoms]
    values = {name: value for part in parts for name, value in part.values.items()}
    outcomes = [part.outcome for part in parts if every or part.outcome is not Outcome.INCONCLUSIVE]
    outcome = worst(outcomes or [Outcome.INCONCLUSIVE])
    notes = tuple(note for part in parts for note in part.notes)
    return Found(outcome, tuple(symptoms), values, notes, tuple(key for part in parts for key in part.unjudged))


# ---- layer 1: data and features --------------------------------------------------------------------


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
        symptoms.append(_symptom(Layer.DATA, "quality", Severity.PAGE, report.reason))
    told = {symptom.key.split(".", 2)[2] for symptom in symptoms if symptom.key.count(".") >= 2}
    unexplained = not report.carried_by or set(report.carried_by) - told
    if report.violated and unexplained and report.action in (DriftAction.RETRAIN, DriftAction.ROLLBACK):
        symptoms.append(_symptom(Layer.DATA, "drift", Severity.WARNING, report.reason, beyond=report.score))
    symptoms += _volume(report, earlier, section)
    symptoms += _freshness(report, freshness)
    values = {"rows": float(report.rows)} | ({} if report.score is None else {"drift_score": report.score})
    unjudged = [
        f"{Layer.DATA}.{statistic}.{feature.feature}"
        for feature in report.features
        if feature.segment is None and not _is_judged(feature)
        for statistic in HEALTH
    ]
    return found(symptoms, values, unjudged=unjudged)


def _is_judged(feature: FeatureDrift) -> bool:
    """Whether there were values to look at; a change that so few rows leave open was looked for and not found."""
    looked = (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)
    return feature.current_rows > 0 and any(result.outcome in looked for result in feature.statistics)


def _health(feature: FeatureDrift, section: DataLayerSection) -> list[Symptom]:
    pages = feature.quality or feature.importance >= section.important
    severity = Severity.PAGE if pages else Severity.WARNING
    return [
        _symptom(
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
    return _fallen(Layer.DATA, "volume", "rows in the window", report.rows, past, section.volume_drop, Severity.PAGE)


def _fallen(
    layer: Layer, key: str, what: str, count: float, past: Sequence[float], drop: float, severity: Severity
) -> list[Symptom]:
    """Whether a count is below what the past lets expect, by more than the tolerated share and than chance."""
    if len(past) < LEAST_PAST:
        return []
    expected = median(past)
    least = expected * (1 - drop)
    if count >= least or _by_chance(count, expected):
        return []
    sentence = f"{count:,.0f} {what}, median of {len(past)} earlier windows {expected:,.0f} (least {least:,.0f})"
    beyond = (expected - count) / max(expected - least, 1e-9)
    return [_symptom(layer, key, severity, sentence, observed=count, limit=least, n=len(past), beyond=beyond)]


def _by_chance(count: float, expected: float) -> bool:
    """Whether a Poisson count of mean ``expected`` may well be as low as this.

    >>> _by_chance(0, 20), _by_chance(0, 22), _by_chance(800, 1000)
    (True, False, False)
    """
    from scipy.special import pdtr

    return not expected or bool(pdtr(count, expected) >= CHANCE)


def _freshness(report: DriftReport, most: timedelta | None) -> list[Symptom]:
    if most is None or report.last_event is None:
        return []
    age = report.as_of - report.last_event
    if age <= most:
        return []
    sentence = f"the newest row is {words(age.total_seconds())} old (limit {words(most.total_seconds())})"
    return [
        _symptom(
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
        _symptom(
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
    unjudged = [f"{SKEW}.{each.feature}" for each in features if not _is_judged(each)]
    return found(symptoms, {"served_rows": float(served)}, unjudged=unjudged)


# ---- layer 2: the model ----------------------------------------------------------------------------


def model_health(report: DriftReport) -> Found:
    """What the newest drift check says of scores and labels."""
    if report.champion is None:
        return found((), {}, ["there is no champion yet"], looked=False)
    symptoms = []
    if report.prediction is not None:
        symptoms += _prediction(report.prediction)
    if report.label is not None and report.label.outcome is Outcome.FAILED:
        symptoms.append(
            _symptom(Layer.MODEL, "label", Severity.WARNING, f"labels have changed: {report.label.sentence}")
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
    if report.prediction is None or not _is_judged(report.prediction):
        unjudged.append(f"{Layer.MODEL}.prediction")
    if report.label is None or not _is_judged(report.label):
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
            _symptom(
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
        return [_symptom(Layer.MODEL, "prediction.unseen", Severity.WARNING, scores.sentence)]
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
        _symptom(
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


# ---- layers 3 and 4: what the model is for ---------------------------------------------------------


def watched(layer: Layer, name: str, metric: WatchedMetric, value: float, past: Sequence[float]) -> Found:
    """One number against its limits, or against its own past when it has none.

    The past's spread is 1.4826 times the median absolute deviation, the robust standard deviation of
    Rousseeuw and Croux, JASA 88 (1993); where all earlier values are equal, a thousandth of the median.
    """
    if not math.isfinite(value):
        return unseen_metric(layer, name, f"gave {value}, which is no number", metric.severity)
    values = {name: value}
    if metric.minimum is not None or metric.maximum is not None:
        return found(_outside(layer, name, metric, value), values)
    if len(past) < metric.least:
        note = f"{name}: {len(past)} earlier windows of {metric.least} that make a baseline"
        return found((), values, [note], looked=False)
    middle = median(past)
    spread = 1.4826 * median(abs(each - middle) for each in past) or abs(middle) / 1000 or 1e-9
    apart = abs(value - middle) / spread
    if apart <= metric.spread:
        return found((), values)
    sentence = (
        f"{name} is {value:.4g}, median of {len(past)} earlier windows {middle:.4g} ± {spread:.2g}"
        f" ({apart:.1f} deviations, limit {metric.spread:g})"
    )
    symptom = _symptom(
        layer,
        name,
        Severity(metric.severity),
        sentence,
        observed=value,
        limit=middle + math.copysign(metric.spread * spread, value - middle),
        n=len(past),
        beyond=apart / metric.spread,
    )
    return found([symptom], values)


def _outside(layer: Layer, name: str, metric: WatchedMetric, value: float) -> list[Symptom]:
    for limit, sign, word in ((metric.minimum, -1, "below its minimum"), (metric.maximum, 1, "above its maximum")):
        if limit is not None and sign * (value - limit) > 0:
            return [
                _symptom(
                    layer,
                    name,
                    Severity(metric.severity),
                    f"{name} is {value:.4g}, {word} {limit:.4g}",
                    observed=value,
                    limit=limit,
                    beyond=abs(value - limit) / (abs(limit) or 1.0) + 1,
                )
            ]
    return []


def unseen_metric(layer: Layer, name: str, why: str, severity: str) -> Found:
    """A metric of the user's that could not be computed is a symptom of its own."""
    symptom = _symptom(layer, f"{name}.unseen", Severity(severity), f"{name} could not be computed: {why}")
    return Found(Outcome.FAILED, (symptom,), {}, ())


# ---- the service -----------------------------------------------------------------------------------


def service_health(table: pa.Table, section: ServiceLayerSection, past: Sequence[float], incomplete: str) -> Found:
    """Error rate, latency and throughput of the journal's window; ``past``: requests of earlier windows."""
    rows = table.num_rows
    symptoms, unknown = _throughput(rows, past, section.throughput_drop)
    notes, unjudged = ([unknown], [f"{Layer.SERVICE}.throughput"]) if unknown else ([], [])
    if incomplete:
        symptoms.append(
            _symptom(Layer.SERVICE, "journal", Severity.WARNING, f"the journal is incomplete: {incomplete}")
        )
    if rows < section.least:
        notes.insert(0, f"{rows} requests in the window; rates are judged from {section.least}")
        unjudged += [f"{Layer.SERVICE}.errors", f"{Layer.SERVICE}.latency"]
        return found(symptoms, {"requests": float(rows)}, notes, looked=False, unjudged=unjudged)
    errors = _errors(table)
    low = _wilson_low(errors, rows)
    if low > section.error_rate:
        symptoms.append(
            _symptom(
                Layer.SERVICE,
                "errors",
                Severity.PAGE,
                f"{errors / rows:.2%} of {rows:,} requests failed (limit {section.error_rate:.2%})",
                observed=errors / rows,
                limit=section.error_rate,
                n=rows,
                beyond=errors / rows / section.error_rate,
            )
        )
    p50, p95, p99 = _latency(table)
    most = section.p99.total_seconds() * 1e6
    if p99 > most:
        symptoms.append(
            _symptom(
                Layer.SERVICE,
                "latency",
                Severity.PAGE,
                f"p99 latency is {p99 / 1000:.1f} ms on {rows:,} requests (limit {most / 1000:g} ms)",
                observed=p99,
                limit=most,
                n=rows,
                beyond=p99 / most,
            )
        )
    values = {"requests": float(rows), "error_rate": errors / rows, "p50_us": p50, "p95_us": p95, "p99_us": p99}
    return found(symptoms, values, notes, unjudged=unjudged)


def _throughput(rows: int, past: Sequence[float], drop: float) -> tuple[list[Symptom], str | None]:
    """Whether requests stay away, or why that cannot be told: no baseline, or one of so few that none is no news."""
    if len(past) < LEAST_PAST:
        return [], f"throughput: {len(past)} of {LEAST_PAST} earlier windows at this hour that make a baseline"
    fallen = _fallen(Layer.SERVICE, "throughput", "requests in the window", rows, past, drop, Severity.PAGE)
    expected = median(past)
    if fallen or (rows >= expected * (1 - drop) and not _by_chance(0, expected)):
        return fallen, None
    return [], f"throughput: {rows} requests where {expected:,.0f} are usual; so few may stay away by chance"


def agreement(behind: Sequence[str], epoch: int) -> Found:
    """Whether every server process follows the routing row."""
    if not behind:
        return found((), {})
    sentence = f"{', '.join(behind)} do not serve routing epoch {epoch}"
    return found([_symptom(Layer.SERVICE, "agreement", Severity.PAGE, sentence)], {})


def _errors(table: pa.Table) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(pc.not_equal(table.column("status"), "ok")).as_py() or 0)


def _latency(table: pa.Table) -> tuple[float, float, float]:
    import numpy as np

    found = np.percentile(table.column("latency_us").to_numpy(), (50, 95, 99))
    return float(found[0]), float(found[1]), float(found[2])


def _wilson_low(count: int, rows: int, z: float = 3.09) -> float:
    """Lower end of Wilson's interval (JASA 22, 1927) for a share; ``z`` 3.09: one in a thousand.

    >>> round(_wilson_low(30, 1000), 4)
    0.0173
    """
    share = count / rows
    middle = share + z * z / (2 * rows)
    reach = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return (middle - reach) / (1 + z * z / rows)


def same_hour(past: Iterable[tuple[datetime, float]], now: datetime, within: timedelta) -> list[float]:
    """The values of earlier windows at about this hour of any day: traffic has a daily rhythm."""
    seconds = within.total_seconds()
    day = 86_400.0
    kept = []
    for at, value in past:
        ago = (now - at).total_seconds()
        if seconds <= ago <= PAST.total_seconds() and min(ago % day, day - ago % day) <= seconds / 2:
            kept.append(value)
    return kept


def _symptom(
    layer: Layer,
    key: str,
    severity: Severity,
    sentence: str,
    *,
    observed: float | None = None,
    limit: float | None = None,
    n: int | None = None,
    beyond: float | None = None,
    estimate: bool = False,
) -> Symptom:
    return Symptom(
        key=f"{layer}.{key}",
        layer=layer,
        severity=severity,
        outcome=Outcome.FAILED,
        sentence=sentence,
        observed=observed,
        limit=limit,
        n=n,
        beyond=beyond,
        estimate=estimate,
    )
