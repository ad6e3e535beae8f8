"""The metrics reported for each part of the data, for people to read; gates measure their own."""

from __future__ import annotations

from gauntlet.core.metrics import METRICS, MetricError, Sample, measure
from gauntlet.core.records.model import Task

REPORTED = {
    Task.BINARY: ("roc_auc", "pr_auc", "log_loss", "brier", "f1", "ece"),
    Task.REGRESSION: ("rmse", "mae", "r2"),
    Task.MULTICLASS: ("log_loss", "accuracy", "macro_f1"),
}


def part_metrics(task: Task, part: str, sample: Sample) -> tuple[dict[str, float], list[str]]:
    """Metrics keyed ``part.metric``, and a sentence for each that is not defined on these rows."""
    found: dict[str, float] = {}
    undefined = []
    for name in REPORTED[task]:
        if METRICS[name].needs_threshold and sample.threshold is None and sample.score.ndim == 1:
            continue
        try:
            found[f"{part}.{name}"] = measure(name, sample)
        except MetricError as error:
            undefined.append(f"{part}.{name}: {error}")
    return found, undefined
