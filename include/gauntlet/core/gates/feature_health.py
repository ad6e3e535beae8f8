"""Does the model use its features, and the way the spec says?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from gauntlet.core.gates.config import GateConfig, Share
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import check, conclude
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import ModelSidecar
from gauntlet.core.records.observation import Observation

NAME = "feature_health"
IMPORTANCE, CONSTANT, MONOTONE = "importance", "constant", "against_monotone"


class FeatureHealthConfig(GateConfig):
    """Importance is the share of the total gain of all splits."""

    largest_share: Share = 0.8
    """One feature that carries more is a model of one feature."""
    used: Share = 0.3
    """Least share of features with any importance."""
    constant: int = Field(ge=0, default=0)
    """Most features with one value only in training."""
    monotone_tolerance: float = Field(ge=0, default=1e-12)
    """Largest step of a score against a declared monotone constraint."""


def evaluate(evidence: Evidence, config: FeatureHealthConfig) -> GateVerdict:
    """Importance collapse, constant features, monotone constraints honoured."""
    sidecar = need(evidence.sidecar, "sidecar of the candidate")
    facts = need(evidence.observations, "feature measurements")
    found = [*_importance(facts, sidecar, config), *_constant(facts, config)]
    return conclude(NAME, [*found, *_monotone(evidence, facts, config)])


def _importance(
    facts: Sequence[Observation], sidecar: ModelSidecar, config: FeatureHealthConfig
) -> Iterator[Measurement]:
    shares = {item.subject: item for item in facts if item.kind == IMPORTANCE}
    absent = [feature.name for feature in sidecar.features if feature.name not in shares]
    rows = max((item.rows for item in shares.values()), default=0)
    yield check("features_without_importance_measured", len(absent), "≤", 0, n=rows)
    if absent:
        return
    values = {name: item.value or 0.0 for name, item in shares.items()}
    top = max(values, key=values.__getitem__)
    yield check("importance_share", values[top], "≤", config.largest_share, n=rows, where=top)
    yield check("share_of_used_features", sum(v > 0 for v in values.values()) / len(values), "≥", config.used, n=rows)


def _constant(facts: Sequence[Observation], config: FeatureHealthConfig) -> Iterator[Measurement]:
    constant = [item for item in facts if item.kind == CONSTANT]
    count = sum(bool(item.value) for item in constant)
    judged = check("constant_features", count, "≤", config.constant, n=max((item.rows for item in constant), default=0))
    names = ", ".join(str(item.subject) for item in constant if item.value)
    yield judged.model_copy(update={"sentence": f"{judged.sentence}: {names}"}) if names else judged


def _monotone(evidence: Evidence, facts: Sequence[Observation], config: FeatureHealthConfig) -> Iterator[Measurement]:
    found = {item.subject: item for item in facts if item.kind == MONOTONE}
    for feature in evidence.spec.training.monotone:
        item = found.get(feature)
        value, rows = (item.value, item.rows) if item else (None, 0)
        yield check("step_against_constraint", value, "≤", config.monotone_tolerance, n=rows, where=feature)
