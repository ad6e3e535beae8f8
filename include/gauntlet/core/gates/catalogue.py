"""The closed catalogue of gates, in the order they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gauntlet.core.gates import (
    absolute_performance,
    approval,
    batch_invariance,
    beats_naive,
    calibration,
    data_contract,
    deployment_checklist,
    determinism,
    fairness,
    feature_health,
    freeze_window,
    golden,
    infra_validation,
    label_quality,
    latency,
    leakage,
    overfit,
    prediction_sanity,
    robustness,
    size_memory,
    slices,
    smoke,
    versus_champion,
)
from gauntlet.core.gates.config import GateConfig

if TYPE_CHECKING:
    from gauntlet.core.gates.evidence import Evidence
    from gauntlet.core.records.gates import GateVerdict


@dataclass(frozen=True)
class Gate:
    """A gate: its limits, its judge, and what it takes."""

    config: type[GateConfig]
    evaluate: Callable[[Evidence, Any], GateVerdict]
    question: str
    holdout: bool = False
    """Whether judging reads the holdout's labels, which the read budget counts."""
    beside: bool = False
    """Whether it compares with the champion, and so must know which rows that one has seen."""
    measured: bool = False
    """Whether something has to be measured for it, beyond the records of earlier tasks."""
    waivable: bool = True


GATES: Mapping[str, Gate] = {
    "data_contract": Gate(
        data_contract.DataContractConfig,
        data_contract.evaluate,
        "Did the data contract hold on this snapshot?",
        waivable=False,
    ),
    "label_quality": Gate(
        label_quality.LabelQualityConfig, label_quality.evaluate, "Are the labels fit to learn from?", measured=True
    ),
    "leakage": Gate(
        leakage.LeakageConfig,
        leakage.evaluate,
        "Is the holdout unseen by both models?",
        holdout=True,
        beside=True,
        waivable=False,
    ),
    "absolute_performance": Gate(
        absolute_performance.AbsolutePerformanceConfig,
        absolute_performance.evaluate,
        "Is the candidate good enough by itself?",
        holdout=True,
    ),
    "beats_naive": Gate(
        beats_naive.BeatsNaiveConfig, beats_naive.evaluate, "Is it better than always saying the same?", holdout=True
    ),
    "versus_champion": Gate(
        versus_champion.VersusChampionConfig,
        versus_champion.evaluate,
        "Is it no worse than the champion, and better somewhere?",
        holdout=True,
        beside=True,
    ),
    "calibration": Gate(
        calibration.CalibrationConfig, calibration.evaluate, "Do scores mean what they say?", holdout=True
    ),
    "slices": Gate(
        slices.SlicesConfig, slices.evaluate, "Is every declared slice served well?", holdout=True, beside=True
    ),
    "fairness": Gate(fairness.FairnessConfig, fairness.evaluate, "Are groups treated alike?", holdout=True),
    "overfit": Gate(overfit.OverfitConfig, overfit.evaluate, "Has it learnt its rows by heart?", holdout=True),
    "robustness": Gate(
        robustness.RobustnessConfig,
        robustness.evaluate,
        "Does it stand inputs that are a little wrong?",
        holdout=True,
        measured=True,
    ),
    "batch_invariance": Gate(
        batch_invariance.BatchInvarianceConfig,
        batch_invariance.evaluate,
        "Is a row alone the row in a batch?",
        measured=True,
    ),
    "determinism": Gate(
        determinism.DeterminismConfig, determinism.evaluate, "Same question, same answer?", measured=True
    ),
    "prediction_sanity": Gate(
        prediction_sanity.PredictionSanityConfig,
        prediction_sanity.evaluate,
        "Are the scores possible, varied and near the champion's?",
        holdout=True,
    ),
    "feature_health": Gate(
        feature_health.FeatureHealthConfig,
        feature_health.evaluate,
        "Does it use its features as the spec says?",
        measured=True,
    ),
    "smoke": Gate(smoke.SmokeConfig, smoke.evaluate, "Does it run, and refuse what it must?", waivable=False),
    "latency": Gate(latency.LatencyConfig, latency.evaluate, "Is one row scored fast enough?"),
    "size_memory": Gate(size_memory.SizeMemoryConfig, size_memory.evaluate, "Does it fit?"),
    "golden": Gate(
        golden.GoldenConfig,
        golden.evaluate,
        "Do fixed rows get the scores of the training process?",
        measured=True,
        waivable=False,
    ),
    "infra_validation": Gate(
        infra_validation.InfraValidationConfig,
        infra_validation.evaluate,
        "Does a real server load it and answer over HTTP?",
        measured=True,
        waivable=False,
    ),
    "deployment_checklist": Gate(
        deployment_checklist.DeploymentChecklistConfig,
        deployment_checklist.evaluate,
        "Is everything there that the person on call needs?",
        measured=True,
    ),
    "freeze_window": Gate(freeze_window.FreezeWindowConfig, freeze_window.evaluate, "May anything be deployed now?"),
    "approval": Gate(approval.ApprovalConfig, approval.evaluate, "Has another person said yes?", waivable=False),
}
"""Every gate there is. A spec configures each of them or switches it off with a reason."""
