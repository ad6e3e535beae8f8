"""Facts about models: the sidecar that travels with the trees, and what training produced."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from gauntlet.core.records.base import Instant, Record

LEAST_DIGEST = 6
"""How many characters of a digest a person must give for it to mean something."""


class Task(StrEnum):
    """What is predicted."""

    BINARY = "binary"
    REGRESSION = "regression"
    MULTICLASS = "multiclass"


class FeatureKind(StrEnum):
    """How a feature's raw value becomes a float; see :mod:`gauntlet.core.encoding`."""

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"


class Feature(Record):
    """One model input, as training saw it. ``categories`` are in code order; code -1/NaN is missing."""

    name: str
    kind: FeatureKind
    nullable: bool
    categories: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None


class Calibration(Record):
    """A monotone map from raw to calibrated score: piecewise linear through the knots, clamped outside."""

    method: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class ModelSidecar(Record):
    """All that is needed, beside the trees, to turn a raw row into a decision."""

    model: str
    version_id: str
    task: Task
    objective: str
    features: tuple[Feature, ...]
    classes: tuple[str, ...] | None
    threshold: float | None
    calibration: Calibration | None
    best_iteration: int
    tree_digest: str
    model_sha256: str
    trained_through: Instant | None


class ReleaseRef(Record):
    """A complete, immutable release directory. Files are listed with digests in its ``manifest.json``.

    ``digest`` is the SHA-256 of that manifest: the identity of what would be served.
    """

    uri: str
    digest: str
    version_id: str
    tree_digest: str
    size_bytes: int


class ReleaseDossier(Record):
    """The folder beside a release with what was decided about it: receipts, decision, card.

    ``digest`` is the SHA-256 of its manifest.
    """

    release: str
    uri: str
    digest: str


class DerivationKind(StrEnum):
    """What a derived version has of its own."""

    CALIBRATION = "calibration"
    THRESHOLD = "threshold"


class TrainedModel(Record):
    """What the train task produced. ``metrics`` are keyed ``part.metric``, e.g. ``validation.roc_auc``."""

    release: ReleaseRef
    mlflow_run_id: str
    dataset: str
    split: str
    profile_digest: str
    metrics: dict[str, float]
    train_rows: int
    best_iteration: int
    iterations_cap: int
    seconds: float
    peak_rss_mb: float
    trained_at: Instant
    derived_from: str | None = None
    """Release digest of the version whose trees these are; ``None``: they were trained in this run."""


class DerivationOrder(Record):
    """What somebody wants to have of a champion's trees; settled before any data is pulled."""

    model: str
    run: str
    kind: DerivationKind
    source: str
    source_uri: str
    source_version: str
    threshold: float | None


class Derivation(Record):
    """How a version came about without training: another one's trees, with a calibration or a threshold of its own.

    ``release`` and ``source`` are release digests. ``trees`` is the key of the run that trained the trees.
    ``variant`` is the digest of calibration and threshold: two versions with the same trees and variant decide alike.
    """

    model: str
    run: str
    kind: DerivationKind
    release: str
    source: str
    source_version: str
    trees: str
    variant: str
    rows: int
    """Rows the calibration was fitted on; 0 for a threshold."""
    excluded: int
    """Rows of the calibration part that were left out because the trees may have seen them."""
    threshold: float | None
    reason: str
    by: str
    at: Instant

    @property
    def sentence(self) -> str:
        """What was done, for people."""
        if self.kind is DerivationKind.THRESHOLD:
            what = f"threshold set to {self.threshold:g}"
        else:
            what = f"calibrated anew on {self.rows} rows"
        return f"derived from {self.source_version}, same trees: {what}: {self.reason} ({self.by})"


class RegisteredVersion(Record):
    """A version in the MLflow registry that corresponds to a release."""

    model: str
    version: int
    version_id: str
    release: ReleaseRef
    mlflow_run_id: str

    def is_called(self, name: str) -> bool:
        """Whether a person who says ``7``, ``v7``, a version id or how the release digest begins means this one."""
        names = (str(self.version), f"v{self.version}", self.version_id)
        return name in names or (len(name) >= LEAST_DIGEST and self.release.digest.startswith(name))


class GoldenSet(Record):
    """Hashed input rows with the scores they had in the training process."""

    rows: tuple[dict[str, float | str | bool | None], ...]
    scores: tuple[float, ...]
    """Final, calibrated scores; of a multiclass row that of the class decided on."""
    tolerance: float = Field(ge=0)
    class_scores: tuple[tuple[float, ...], ...] | None = None
    """Multiclass: every class's score."""


class FeatureImportance(Record):
    """What one feature gave the trees: total gain, and how often it splits."""

    feature: str
    gain: float
    splits: int
    shap: float | None = None
    """Mean |contribution| to the raw score (TreeSHAP) over training rows; ``None``: the spec did not ask."""


class SearchTrial(Record):
    """One trial of the hyper-parameter search; ``None`` when it was pruned or failed."""

    number: int
    params: dict[str, bool | int | float | str]
    value: float | None


class TrainingSummary(Record):
    """What a training process says about its work; the release folder holds the rest.

    ``metrics`` are keyed ``part.metric``. ``curve`` is the early-stopping metric on the validation part by iteration.
    """

    sidecar: ModelSidecar
    params: dict[str, bool | int | float | str]
    metrics: dict[str, float]
    metric: str
    curve: tuple[float, ...]
    importances: tuple[FeatureImportance, ...]
    trials: tuple[SearchTrial, ...]
    rows: dict[str, int]
    iterations_cap: int
    threshold_basis: str
    seconds: float
    peak_rss_mb: float
    scores: dict[str, Any] = {}
    """Final scores of rows that no tree has seen, as a numeric column of a profile; multiclass: the highest one."""
