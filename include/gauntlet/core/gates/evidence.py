"""What a gate may look at: everything known of a candidate, frozen, with nothing left to ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from gauntlet.core.metrics import Sample
from gauntlet.core.records.base import Instant, Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport, SplitManifest
    from gauntlet.core.records.evaluation import EvaluationRef, ProbeReport
    from gauntlet.core.records.gates import Approval
    from gauntlet.core.records.model import ModelSidecar, TrainedModel
    from gauntlet.core.records.observation import Observation
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec
    from gauntlet.core.specs.profit import ProfitSection

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]
    Column = npt.NDArray[Any]

T = TypeVar("T")


class MissingEvidence(ValueError):
    """A gate needs what is not there; its verdict is then ``error``."""


class ChampionFacts(Record):
    """What is known of the champion that the candidate would replace."""

    digest: str
    version_id: str
    trained_through: Instant | None
    trained_at: Instant | None
    size_bytes: int | None = None
    tree_digest: str = ""


@dataclass(frozen=True)
class Frame:
    """The evaluated holdout, column by column; every array has n rows, in one order.

    ``candidate`` and ``champion`` are (n,) or, multiclass, (n, classes). ``event_us`` is microseconds since
    1970, UTC. ``seen`` marks rows that the champion was trained on; ``None`` where that is not known.
    """

    row_key: Column
    label: Floats
    candidate: Floats
    champion: Floats | None
    naive: Floats | None
    weight: Floats | None = None
    event_us: npt.NDArray[np.int64] | None = None
    seen: Mask | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    def only(self, mask: Mask) -> Frame:
        """The rows where ``mask`` holds."""
        cut = {name: _cut(getattr(self, name), mask) for name in self.__dataclass_fields__ if name != "columns"}
        return replace(self, **cut, columns={name: values[mask] for name, values in self.columns.items()})


def _cut(values: Any, mask: Mask) -> Any:
    return None if values is None else values[mask]


@dataclass(frozen=True)
class Evidence:
    """All evidence of one run. A part that was not produced, or not loaded for this gate, is ``None``.

    ``candidate`` and ``champion`` are release digests; ``judged_at`` decides only what depends on the clock:
    freeze windows, approvals and waivers.
    """

    spec: ModelSpec
    run: RunContext
    judged_at: datetime
    candidate: str
    champion: str | None
    trained: TrainedModel | None = None
    sidecar: ModelSidecar | None = None
    dataset: DatasetRef | None = None
    contract: ContractReport | None = None
    split: SplitManifest | None = None
    leakage: LeakageReport | None = None
    evaluation: EvaluationRef | None = None
    frame: Frame | None = None
    probe: ProbeReport | None = None
    observations: tuple[Observation, ...] | None = None
    champion_facts: ChampionFacts | None = None
    approvals: tuple[Approval, ...] | None = None
    holdout_reads: int | None = None
    frozen: str | None = None
    """Why deployments are frozen by hand at ``judged_at``; ``None``: they are not."""


def need(value: T | None, what: str) -> T:
    """The value, or :class:`MissingEvidence` that says what is not there."""
    if value is None:
        raise MissingEvidence(f"no {what}: it was not produced in this run, so there is nothing to judge")
    return value


def same_trees(evidence: Evidence) -> str | None:
    """In words, that a candidate was derived from the very champion it would replace and has its trees; else ``None``.

    What was asked of the trees then has the answer it had: the champion was let through by these gates, with them.
    """
    trained, sidecar, facts = evidence.trained, evidence.sidecar, evidence.champion_facts
    if trained is None or sidecar is None or facts is None or trained.derived_from is None:
        return None
    if trained.derived_from != evidence.champion or facts.digest != evidence.champion:
        return None
    if not facts.tree_digest or not sidecar.tree_digest == trained.release.tree_digest == facts.tree_digest:
        return None
    return f"same trees as the champion {facts.version_id}, {facts.tree_digest[:12]}: nothing was trained"


def rows_of(evidence: Evidence) -> tuple[Frame, EvaluationRef]:
    """The holdout with at least one row, and its record; the record must be of this candidate and champion."""
    frame, record = need(evidence.frame, "evaluated holdout"), need(evidence.evaluation, "evaluation record")
    if record.candidate != evidence.candidate or record.champion != evidence.champion:
        raise MissingEvidence(
            f"the evaluation is of candidate {record.candidate[:12]} and champion {str(record.champion)[:12]}, "
            f"not of {evidence.candidate[:12]} and {str(evidence.champion)[:12]}; evaluate again"
        )
    if len(frame) == 0:
        raise MissingEvidence("the evaluated holdout has 0 rows")
    if len(frame) != record.rows:
        raise MissingEvidence(f"the evaluated holdout has {len(frame)} rows but its record says {record.rows}")
    return frame, record


def probe_of(evidence: Evidence) -> ProbeReport:
    """The probe report; it must be of this candidate and champion."""
    probe = need(evidence.probe, "probe report")
    if probe.candidate != evidence.candidate or probe.champion != evidence.champion:
        raise MissingEvidence(
            f"the probe was of candidate {probe.candidate[:12]} and champion {str(probe.champion)[:12]}, "
            f"not of {evidence.candidate[:12]} and {str(evidence.champion)[:12]}; probe again"
        )
    return probe


def candidate_sample(evidence: Evidence, frame: Frame, profit: ProfitSection | None = None) -> Sample:
    """The candidate's scores as a sample to measure on."""
    threshold = need(evidence.evaluation, "evaluation record").candidate_threshold
    return Sample(frame.label, frame.candidate, frame.weight, threshold, frame.columns, profit)


def champion_sample(evidence: Evidence, frame: Frame, profit: ProfitSection | None = None) -> Sample:
    """The champion's scores on the same rows."""
    threshold = need(evidence.evaluation, "evaluation record").champion_threshold
    scores = need(frame.champion, "champion scores")
    return Sample(frame.label, scores, frame.weight, threshold, frame.columns, profit)


def positives_of(evidence: Evidence, frame: Frame) -> int | None:
    """Positive rows of a binary model, else ``None``."""
    return int((frame.label == 1).sum()) if evidence.spec.task == "binary" else None
