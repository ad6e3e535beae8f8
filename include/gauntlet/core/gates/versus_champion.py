"""Is the candidate at least as good as the champion, and better in something that was declared?

The default policy of a nightly run: non-inferior on the primary metric (and, by the gate ``slices``, on every
declared slice), superior on at least one declared axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gauntlet.core.duration import Duration, format_duration
from gauntlet.core.gates.absolute_performance import enough
from gauntlet.core.gates.config import GateConfig, MetricName
from gauntlet.core.gates.contamination import clean
from gauntlet.core.gates.evidence import (
    Evidence,
    Frame,
    candidate_sample,
    champion_sample,
    need,
    positives_of,
    rows_of,
    same_trees,
)
from gauntlet.core.gates.relative import Margin, Mode, compared
from gauntlet.core.gates.verdict import conclude, measurement, number
from gauntlet.core.metrics import PRIMARY
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Task
from gauntlet.core.specs.profit import ProfitSection

if TYPE_CHECKING:
    from gauntlet.core.comparison import Comparison
    from gauntlet.core.specs.source import SourceSection

NAME = "versus_champion"
FLOORS = ("absolute_performance", "beats_naive")
Axis = Literal["primary", "calibration", "profit", "freshness"]


class VersusChampionConfig(GateConfig):
    """How the candidate is compared with the champion on the same rows."""

    primary: MetricName | None = None
    """Default: roc_auc, rmse or log_loss by the task."""
    mode: Mode = "non_inferiority"
    margin: float = Field(gt=0)
    """In units of the primary metric: the loss that does not matter. Superiority asks for this much gain."""
    superior_on: tuple[Axis, ...] = ("primary", "calibration", "profit", "freshness")
    """At least one of these is better, or promoting is not worth the risk. Empty: being no worse is enough."""
    freshness: Duration = Field(default="1d", validate_default=True)
    """The axis ``freshness``: trained on data this much newer."""
    profit: ProfitSection | None = None
    """What a decision is worth; needed for the axis and the metric ``profit``."""
    alpha: float = Field(gt=0, lt=0.5, default=0.005)
    """One-sided chance of passing a model that is worse by exactly the margin."""
    power: float = Field(ge=0.5, lt=1, default=0.95)
    """Chance of passing an equal model at the number of rows that an inconclusive verdict asks for."""
    minimum_rows: int = Field(ge=2, default=1000)
    minimum_positives: int = Field(ge=1, default=100)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the business metric."""
        return self.profit.reads if self.profit else ()

    @property
    def metrics_used(self) -> tuple[str, ...]:
        """The primary metric, where one is named."""
        return (self.primary,) if self.primary else ()

    def complaints(self, task: Task, source: SourceSection) -> Iterator[str]:
        """A primary metric without what it needs."""
        yield from super().complaints(task, source)
        if self.primary == "profit" and self.profit is None:
            yield "primary: profit needs the section profit beside it"
        if self.superior_on and not set(self.axes(task)):
            yield f"superior_on: none of {', '.join(self.superior_on)} exists for this model"

    def axes(self, task: Task) -> tuple[Axis, ...]:
        """The declared axes that this model has."""
        absent = set() if task is Task.BINARY else {"calibration"}
        absent |= set() if self.profit else {"profit"}
        return tuple(axis for axis in self.superior_on if axis not in absent)


def evaluate(evidence: Evidence, config: VersusChampionConfig) -> GateVerdict:
    """Compare on rows out-of-sample for both; without a champion say by what the first model is judged."""
    frame, _ = rows_of(evidence)
    if evidence.champion is None:
        return _bootstrap(evidence, len(frame))
    frame = clean(evidence, frame)
    positives = positives_of(evidence, frame)
    if few := enough(len(frame), positives, config.minimum_rows, config.minimum_positives):
        return conclude(NAME, few, mode=config.mode)
    primary = config.primary or PRIMARY[evidence.spec.task]
    candidate = candidate_sample(evidence, frame, config.profit)
    champion = champion_sample(evidence, frame, config.profit)
    margin = Margin(config.mode, config.margin, config.alpha, config.power)
    made: dict[str, Comparison] = {}
    found = list(compared(evidence, [primary], candidate, champion, margin, made=made).values())
    if found[0].outcome is Outcome.PASSED and config.superior_on:
        found.append(_better_somewhere(evidence, config, frame, primary, made))
    return conclude(NAME, found, mode=config.mode)


def _bootstrap(evidence: Evidence, n: int) -> GateVerdict:
    """The first model is judged by floors and the naive model; with those off there would be nothing at all."""
    off = [name for name in FLOORS if not evidence.spec.gates.wants(name)]
    if off:
        text = f"no champion to compare with, and {' and '.join(off)} is off: 0 of 2 gates ≥ 2 judge {number(n)} rows"
        return conclude(NAME, [measurement("champion", Outcome.FAILED, text, 0, 2, "≥", n=n)], mode="bootstrap")
    text = (
        f"no champion: bootstrap, 2 gates ≥ 2 decide on {number(n)} rows ({' and '.join(FLOORS)}), "
        f"then rollout.bootstrap: {evidence.spec.rollout.bootstrap}"
    )
    return conclude(NAME, [measurement("champion", Outcome.PASSED, text, 2, 2, "≥", n=n)], mode="bootstrap")


def _better_somewhere(
    evidence: Evidence, config: VersusChampionConfig, frame: Frame, primary: str, made: dict[str, Comparison]
) -> Measurement:
    """A declared axis on which the candidate is superior; with none, all of them are told.

    That is inconclusive while a gain of the margin in the primary metric would not show on this few rows, else failed.
    """
    told: dict[Axis, Measurement] = {}
    # Freshness first: it takes no bootstrap.
    for axis in sorted(config.axes(evidence.spec.task), key=lambda axis: axis != "freshness"):
        found = _axis(evidence, config, frame, axis, primary, made)
        if found.outcome is Outcome.PASSED:
            return found
        told[axis] = found
    primary_axis = told.get("primary")
    undecided = primary_axis is not None and primary_axis.outcome is Outcome.INCONCLUSIVE
    needed = primary_axis.required_n if primary_axis is not None and undecided else None
    outcome = Outcome.INCONCLUSIVE if undecided else Outcome.FAILED
    if any(item.outcome is Outcome.ERROR for item in told.values()):
        outcome = Outcome.ERROR
    text = f"superior on 0 < 1 of {len(told)} declared axes on {number(len(frame))} rows: " + "; ".join(
        item.sentence for item in told.values()
    )
    found = measurement("superior_axes", outcome, text, 0, 1, "≥", n=len(frame))
    return found.model_copy(update={"required_n": needed})


def _axis(
    evidence: Evidence,
    config: VersusChampionConfig,
    frame: Frame,
    axis: Axis,
    primary: str,
    made: dict[str, Comparison],
) -> Measurement:
    if axis == "freshness":
        return _freshness(evidence, config, len(frame))
    metric = {"primary": primary, "calibration": "ece", "profit": "profit"}[axis]
    candidate = candidate_sample(evidence, frame, config.profit)
    champion = champion_sample(evidence, frame, config.profit)
    # The chance of one accidental gain is shared by all axes that are tried (Bonferroni).
    alpha = config.alpha / max(1, len(config.axes(evidence.spec.task)))
    # A primary metric better by the margin should be seen; of the others nobody has said what is worth seeing.
    worth = config.margin if axis == "primary" else 0.0
    margin = Margin("superiority", 0.0, alpha, config.power, worth)
    return compared(evidence, [metric], candidate, champion, margin, made=made)[metric]


def _freshness(evidence: Evidence, config: VersusChampionConfig, n: int) -> Measurement:
    facts = need(evidence.champion_facts, "facts about the champion")
    sidecar = need(evidence.sidecar, "sidecar of the candidate")
    if same := same_trees(evidence):
        # A calibration on newer rows has made no tree newer: it must show in calibration or profit.
        return measurement("freshness", Outcome.FAILED, f"freshness: {same}, {n} rows", n=n)
    if facts.trained_through is None or sidecar.trained_through is None:
        return measurement("freshness", Outcome.ERROR, f"freshness: a model without time has none, {n} rows", n=n)
    newer = (sidecar.trained_through - facts.trained_through).total_seconds()
    wanted = config.freshness.total_seconds()
    sign = "≥" if newer >= wanted else "<"
    text = (
        f"freshness: trained on data {newer / 86_400:.1f} days newer {sign} {format_duration(config.freshness)}, "
        f"judged on {number(n)} rows"
    )
    outcome = Outcome.PASSED if newer >= wanted else Outcome.FAILED
    return measurement("freshness", outcome, text, newer / 86_400, wanted / 86_400, "≥", n=n)
