"""All live metrics, in the order in which they are judged."""

from __future__ import annotations

from collections.abc import Mapping

from gauntlet.core.live.case import Metric
from gauntlet.core.live.labels import calibration, label_ratio, log_loss
from gauntlet.core.live.latency import latency
from gauntlet.core.live.scores import decision_rate, score_psi, score_shift, score_spread
from gauntlet.core.live.traffic import error_rate, fallback_rate, invalid_outputs, sample_ratio, shadow_errors

METRICS: Mapping[str, Metric] = {
    "sample_ratio": sample_ratio,
    "error_rate": error_rate,
    "fallback_rate": fallback_rate,
    "invalid_outputs": invalid_outputs,
    "latency": latency,
    "score_spread": score_spread,
    "score_psi": score_psi,
    "score_shift": score_shift,
    "decision_rate": decision_rate,
}
"""The sample ratio comes first, because all others rest on it."""

LABEL_METRICS: Mapping[str, Metric] = {
    "label_ratio": label_ratio,
    "log_loss": log_loss,
    "calibration": calibration,
}
"""Judged at steps that wait for labels."""

SHADOW_METRICS: Mapping[str, Metric] = {
    "shadow_errors": shadow_errors,
    "score_spread": score_spread,
    "score_psi": score_psi,
    "score_shift": score_shift,
    "decision_rate": decision_rate,
}
"""Judged while the challenger answers nothing: what both versions say about the same requests."""

SHADOW_LABEL_METRICS: Mapping[str, Metric] = {"log_loss": log_loss, "calibration": calibration}

WITHOUT_TEST = frozenset({"invalid_outputs", "score_spread"})
"""Metrics that take no share of ``alpha``: a sound challenger does not come near their limits."""
