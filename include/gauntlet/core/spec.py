"""The model spec: one YAML file says all that Gauntlet decides about one model.

Strict and frozen. Loading one imports pydantic and PyYAML and nothing heavier, because every DAG
file does it at every parse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from gauntlet.core.digest import sha256_json
from gauntlet.core.records.model import Task
from gauntlet.core.specs.base import Section
from gauntlet.core.specs.batch import BatchSection
from gauntlet.core.specs.contract import ContractSection
from gauntlet.core.specs.drift import DriftSection
from gauntlet.core.specs.freeze import FreezeSection
from gauntlet.core.specs.gates import GatesSection
from gauntlet.core.specs.monitoring import AlertsSection, MonitoringSection
from gauntlet.core.specs.recovery import RecoverySection
from gauntlet.core.specs.retention import RetentionSection
from gauntlet.core.specs.rollout import RolloutSection, rollout_complaints
from gauntlet.core.specs.schedule import Owner, ScheduleSection
from gauntlet.core.specs.serving import ServingSection
from gauntlet.core.specs.source import SourceSection, SplitSection
from gauntlet.core.specs.training import TrainingSection, training_complaints

NAME = r"^[a-z][a-z0-9_]{1,62}$"


class ModelSpec(Section):
    """Everything about one model that is not environment: data, contract, training, gates, rollout."""

    model: str = Field(pattern=NAME)
    """Also the name of the MLflow experiment, the registered model and the DAGs."""
    task: Task
    description: str = ""
    owner: Owner
    schedule: ScheduleSection
    source: SourceSection
    contract: ContractSection
    split: SplitSection
    training: TrainingSection
    drift: DriftSection
    gates: GatesSection
    rollout: RolloutSection
    serving: ServingSection = ServingSection()
    batch_score: BatchSection | None = None
    freeze: FreezeSection = FreezeSection()
    recovery: RecoverySection = RecoverySection()
    retention: RetentionSection = RetentionSection()
    monitoring: MonitoringSection = MonitoringSection()
    alerts: AlertsSection = AlertsSection()

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical spec: what receipts are bound to."""
        return sha256_json(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.split.kind == "time" and not self.source.columns.event_time:
            raise ValueError("split.kind: time needs source.columns.event_time; without time use kind: random")
        if self.training.threshold is not None and self.task is not Task.BINARY:
            raise ValueError("training.threshold: only a binary model has one")
        unknown = sorted(set(self.training.monotone) - set(self.source.features.numeric))
        if unknown:
            raise ValueError(f"training.monotone: not a numeric feature: {', '.join(unknown)}")
        threshold = self.training.threshold is not None
        if complaints := list(self.gates.complaints(self.task, self.source, threshold=threshold)):
            raise ValueError("; ".join(complaints))
        if complaints := [*training_complaints(self), *rollout_complaints(self), *exploration_complaints(self)]:
            raise ValueError("; ".join(complaints))
        return self


def exploration_complaints(spec: ModelSpec) -> list[str]:
    """What an exploration reserve asks of the rest of the spec and does not find there."""
    section = spec.serving.exploration
    if section is None:
        return []
    if spec.task is Task.REGRESSION:
        return ["serving.exploration: a regression takes no decision that could be another; remove it"]
    if spec.task is Task.MULTICLASS and section.decide != "random":
        return [f"serving.exploration.decide: {section.decide} is a decision of a binary model; use random"]
    if spec.task is Task.BINARY and spec.training.threshold is None:
        return ["serving.exploration: without training.threshold the model takes no decision that could be another"]
    return []


def load_spec(path: Path) -> ModelSpec:
    """Read one spec; a :class:`~gauntlet.core.errors.SpecError` names file, line and key."""
    from gauntlet.core.spec_yaml import read_spec

    return read_spec(path, ModelSpec)


def load_specs(folder: Path) -> dict[str, ModelSpec]:
    """All specs in a folder by model name, sorted."""
    specs = [load_spec(path) for path in sorted(folder.glob("*.yaml"))]
    return {spec.model: spec for spec in specs}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a spec, for editors."""
    return ModelSpec.model_json_schema()
