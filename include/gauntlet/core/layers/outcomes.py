"""Layers 3 and 4: what the model is for, in the numbers that its owner names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from gauntlet.core.layers.finding import Found, found, symptom
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.monitoring import Layer, Severity, Symptom
from gauntlet.core.runbook import UNSEEN
from gauntlet.core.specs.monitoring import WatchedMetric


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
        return found((), values, [note], looked=False, unjudged=[f"{layer}.{name}"])
    middle = median(past)
    spread = 1.4826 * median(abs(each - middle) for each in past) or abs(middle) / 1000 or 1e-9
    apart = abs(value - middle) / spread
    if apart <= metric.spread:
        return found((), values)
    sentence = (
        f"{name} is {value:.4g}, median of {len(past)} earlier windows {middle:.4g} ± {spread:.2g}"
        f" ({apart:.1f} deviations, limit {metric.spread:g})"
    )
    told = symptom(
        layer,
        name,
        Severity(metric.severity),
        sentence,
        observed=value,
        limit=middle + math.copysign(metric.spread * spread, value - middle),
        n=len(past),
        beyond=apart / metric.spread,
    )
    return found([told], values)


def _outside(layer: Layer, name: str, metric: WatchedMetric, value: float) -> list[Symptom]:
    for limit, sign, word in ((metric.minimum, -1, "below its minimum"), (metric.maximum, 1, "above its maximum")):
        if limit is not None and sign * (value - limit) > 0:
            return [
                symptom(
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
    told = symptom(layer, f"{UNSEEN}.{name}", Severity(severity), f"{name} could not be computed: {why}")
    return Found(Outcome.FAILED, (told,), {}, (), (f"{layer}.{name}",))
