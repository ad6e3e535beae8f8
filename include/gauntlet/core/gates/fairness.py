"""Do decisions treat the groups of a protected attribute alike?

Disparate impact: the rate of favourable decisions of each group over that of the best-treated group (the
"four-fifths rule", 29 CFR 1607.4 D). TPR and FPR gaps: equalised odds (Hardt et al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gauntlet.core.gates.config import GateConfig, Share
from gauntlet.core.gates.evidence import Evidence, Frame, need, rows_of
from gauntlet.core.gates.slices import MISSING, by_name
from gauntlet.core.gates.verdict import check, conclude, measurement, number, too_few
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gauntlet.core.specs.source import SourceSection

NAME = "fairness"


class FairnessConfig(GateConfig):
    """Limits for every pair of groups of each attribute."""

    attributes: tuple[str, ...] = Field(min_length=1)
    favourable: Literal["below", "above"] = "above"
    """Which side of the threshold people want to be on: below for a risk, above for an offer."""
    disparate_impact: Share = 0.8
    """Least ratio of favourable decisions, worst to best group."""
    tpr_gap: Share | None = None
    """Largest difference of true positive rates."""
    fpr_gap: Share | None = None
    minimum_rows: int = Field(ge=1, default=200)
    minimum_positives: int = Field(ge=1, default=30)
    """Of each class, in each group."""
    missing: Share = 0.05
    """Largest share of rows without the attribute."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The protected attributes."""
        return self.attributes

    @property
    def needs_threshold(self) -> bool:
        """Fairness is of decisions."""
        return True

    def complaints(self, task: Task, source: SourceSection) -> Iterator[str]:
        """Models without decisions have no favourable ones."""
        yield from super().complaints(task, source)
        if task is not Task.BINARY:
            yield f'a {task} model takes no yes-or-no decisions; write "off: no decisions"'
        if stray := sorted(set(self.attributes) - set(source.columns.protected)):
            yield f"attributes: {', '.join(stray)} must be declared under source.columns.protected"


def evaluate(evidence: Evidence, config: FairnessConfig) -> GateVerdict:
    """Each attribute, all its groups."""
    frame, record = rows_of(evidence)
    threshold = need(record.candidate_threshold, "decision threshold")
    found = [item for name in config.attributes for item in _attribute(frame, name, threshold, config)]
    return conclude(NAME, found)


def _attribute(frame: Frame, name: str, threshold: float, config: FairnessConfig) -> Iterator[Measurement]:
    import numpy as np

    if name not in frame.columns:
        yield _absent(name, len(frame), config)
        return
    if not np.isfinite(frame.candidate).all():
        yield measurement(NAME, Outcome.ERROR, f"{name}: some of {number(len(frame))} scores are NaN", n=len(frame))
        return
    masks = by_name(frame.columns[name])
    nobody = float(np.mean(masks.pop(MISSING, np.zeros(len(frame), dtype=bool))))
    yield check("share_without_attribute", nobody, "≤", config.missing, n=len(frame), where=name)
    favoured = (frame.candidate >= threshold) == (config.favourable == "above")
    if few := [item for group, mask in masks.items() for item in _support(frame, f"{name}={group}", mask, config)]:
        yield from few
        return
    if len(masks) < 2:
        yield measurement(
            NAME, Outcome.ERROR, f"{name}: {len(masks)} groups < 2 on {number(len(frame))} rows", n=len(frame)
        )
        return
    yield from _gaps(frame, name, favoured, masks, config)


def _absent(name: str, n: int, config: FairnessConfig) -> Measurement:
    text = f"protected attribute {name!r} is missing from all {number(n)} rows: 1.000 > {number(config.missing)}"
    return measurement("share_without_attribute", Outcome.FAILED, text, 1.0, config.missing, "≤", n=n, where=name)


def _support(frame: Frame, where: str, mask: npt.NDArray[np.bool_], config: FairnessConfig) -> Iterator[Measurement]:
    n, positives = int(mask.sum()), int((frame.label[mask] == 1).sum())
    if n < config.minimum_rows:
        yield too_few("rows", n, config.minimum_rows, where=where)
    elif (config.tpr_gap is not None or config.fpr_gap is not None) and min(
        positives, n - positives
    ) < config.minimum_positives:
        yield too_few("rows", min(positives, n - positives), config.minimum_positives, "of one class", where=where)


def _gaps(
    frame: Frame,
    name: str,
    favoured: npt.NDArray[np.bool_],
    masks: Mapping[str, npt.NDArray[np.bool_]],
    config: FairnessConfig,
) -> Iterator[Measurement]:
    n, bad = len(frame), frame.label == 1
    rates = {group: float(favoured[mask].mean()) for group, mask in masks.items()}
    best, worst = max(rates, key=rates.__getitem__), min(rates, key=rates.__getitem__)
    ratio = rates[worst] / rates[best] if rates[best] else float("nan")
    yield check("disparate_impact", ratio, "≥", config.disparate_impact, n=n, where=f"{name}: {worst} to {best}")
    # "Positive" is the favourable decision: its true positives are rows that deserve it.
    deserving = ~bad if config.favourable == "below" else bad
    for metric, among, limit in (("tpr_gap", deserving, config.tpr_gap), ("fpr_gap", ~deserving, config.fpr_gap)):
        if limit is not None:
            found = {group: float(favoured[mask & among].mean()) for group, mask in masks.items()}
            yield check(metric, max(found.values()) - min(found.values()), "≤", limit, n=n, where=name)
