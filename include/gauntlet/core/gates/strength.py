"""Which way a limit of a gate is weaker: what ``gauntlet config diff`` and the model card warn of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Way = Literal["floor", "ceiling", "range", "list", "switch", "strictness", "neutral"]
STRICTNESS = ("interval", "point")
"""How a value may be judged, the strictest first."""

LIMITS: Mapping[str, Way] = {
    "holdout_reads": "ceiling",
    "data_contract.minimum_expectations": "floor",
    "label_quality.positive_rate": "range",
    "label_quality.label_mean": "range",
    "label_quality.smallest_class": "floor",
    "label_quality.conflicting": "ceiling",
    "label_quality.generated.column": "neutral",
    "label_quality.generated.values": "list",
    "label_quality.generated.limit": "ceiling",
    "label_quality.minimum_rows": "floor",
    "leakage.champion_overlap": "neutral",
    "leakage.alike": "ceiling",
    "absolute_performance.metrics.*.minimum": "floor",
    "absolute_performance.metrics.*.maximum": "ceiling",
    "absolute_performance.judge": "strictness",
    "absolute_performance.alpha": "ceiling",
    "absolute_performance.power": "neutral",
    "absolute_performance.minimum_rows": "floor",
    "absolute_performance.minimum_positives": "floor",
    "beats_naive.metric": "neutral",
    "beats_naive.margin": "floor",
    "beats_naive.alpha": "ceiling",
    "beats_naive.minimum_rows": "floor",
    "beats_naive.minimum_positives": "floor",
    "versus_champion.primary": "neutral",
    "versus_champion.mode": "neutral",
    "versus_champion.margin": "ceiling",
    "versus_champion.superior_on": "neutral",
    "versus_champion.freshness": "neutral",
    "versus_champion.profit.*": "neutral",
    "versus_champion.alpha": "ceiling",
    "versus_champion.power": "neutral",
    "versus_champion.minimum_rows": "floor",
    "versus_champion.minimum_positives": "floor",
    "calibration.ece": "ceiling",
    "calibration.slope": "range",
    "calibration.intercept": "range",
    "calibration.own_slice": "switch",
    "calibration.minimum_rows": "floor",
    "calibration.minimum_positives": "floor",
    "slices.by.*.values": "neutral",
    "slices.metric": "neutral",
    "slices.bounds.minimum": "floor",
    "slices.bounds.maximum": "ceiling",
    "slices.margin": "ceiling",
    "slices.alpha": "floor",
    "slices.small": "neutral",
    "slices.minimum_rows": "neutral",
    "slices.minimum_positives": "neutral",
    "slices.most": "neutral",
    "fairness.attributes": "list",
    "fairness.favourable": "neutral",
    "fairness.disparate_impact": "floor",
    "fairness.tpr_gap": "ceiling",
    "fairness.fpr_gap": "ceiling",
    "fairness.minimum_rows": "floor",
    "fairness.minimum_positives": "floor",
    "fairness.missing": "ceiling",
    "overfit.metric": "neutral",
    "overfit.gap": "ceiling",
    "overfit.at_cap": "ceiling",
    "overfit.per_iteration": "ceiling",
    "robustness.metric": "neutral",
    "robustness.noise": "floor",
    "robustness.noise_loss": "ceiling",
    "robustness.missing_loss": "ceiling",
    "robustness.unseen_loss": "ceiling",
    "robustness.rows": "floor",
    "batch_invariance.tolerance": "ceiling",
    "batch_invariance.rows": "floor",
    "determinism.tolerance": "ceiling",
    "determinism.rows": "floor",
    "determinism.retrain": "switch",
    "prediction_sanity.range.minimum": "floor",
    "prediction_sanity.range.maximum": "ceiling",
    "prediction_sanity.distinct": "floor",
    "prediction_sanity.most_frequent": "ceiling",
    "prediction_sanity.shift": "ceiling",
    "prediction_sanity.minimum_rows": "floor",
    "feature_health.largest_share": "ceiling",
    "feature_health.used": "floor",
    "feature_health.constant": "ceiling",
    "feature_health.monotone_tolerance": "ceiling",
    "latency.p50_us": "ceiling",
    "latency.p95_us": "ceiling",
    "latency.p99_us": "ceiling",
    "latency.ratio": "ceiling",
    "latency.floor_us": "ceiling",
    "latency.minimum_calls": "floor",
    "size_memory.model_mb": "ceiling",
    "size_memory.rss_mb": "ceiling",
    "size_memory.load_seconds": "ceiling",
    "size_memory.growth": "ceiling",
    "golden.tolerance": "ceiling",
    "golden.minimum_rows": "floor",
    "infra_validation.load_seconds": "ceiling",
    "infra_validation.p50_ms": "ceiling",
    "infra_validation.p99_ms": "ceiling",
    "infra_validation.rss_mb": "ceiling",
    "infra_validation.tolerance": "ceiling",
    "infra_validation.requests": "floor",
    "infra_validation.minimum_rows": "floor",
    "deployment_checklist.monitoring": "switch",
    "freeze_window.allowed": "neutral",
    "freeze_window.frozen": "neutral",
    "freeze_window.dates": "neutral",
    "approval.approvers": "neutral",
    "approval.within": "neutral",
}
"""Every limit of every gate. Floors are weaker lower, ceilings higher, ranges wider, lists shorter, switches off,
judging by the point."""


def way_of(key: str) -> Way | None:
    """Which way the limit ``gate.field`` is weaker; ``None`` for a key that is no limit.

    >>> way_of("absolute_performance.metrics.roc_auc.minimum")
    'floor'
    """
    if key in LIMITS:
        return LIMITS[key]
    steps = key.split(".")
    fitting = (way for pattern, way in LIMITS.items() if _fits(pattern.split("."), steps))
    return next(fitting, None)


def _fits(pattern: list[str], steps: list[str]) -> bool:
    return len(pattern) == len(steps) and all(part in ("*", step) for part, step in zip(pattern, steps, strict=True))


def weaker(key: str, before: Any, after: Any) -> bool | None:
    """Whether a change of the limit ``gate.field`` lets more through; ``None`` when that cannot be said.

    >>> weaker("latency.p50_us", 100, 200), weaker("beats_naive.margin", 0.01, 0.02)
    (True, False)
    """
    way = way_of(key)
    if way is None or way == "neutral" or before == after:
        return None
    if after is None or before is None:
        return after is None
    return _weaker(way, before, after)


def _weaker(way: Way, before: Any, after: Any) -> bool | None:
    if way == "switch":
        return bool(before) and not after
    if way == "strictness":
        return STRICTNESS.index(after) > STRICTNESS.index(before)
    if way == "list":
        return bool(set(before) - set(after))
    if way == "range":
        return bool(after[0] < before[0] or after[1] > before[1])
    return bool(after < before) if way == "floor" else bool(after > before)
