"""Is every declared slice served well, and none of them worse than by the champion?

Multiplicity: with many slices, one falls below its floor by chance. A slice below its floor *fails* when that is
no chance at a level shared by all slices (Bonferroni), otherwise it is inconclusive; it never passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gauntlet.core.gates.absolute_performance import bounded, enough
from gauntlet.core.gates.config import Bounds, GateConfig, MetricName
from gauntlet.core.gates.contamination import clean
from gauntlet.core.gates.evidence import Evidence, Frame, candidate_sample, champion_sample, positives_of, rows_of
from gauntlet.core.gates.relative import Margin, compared, seed_of
from gauntlet.core.gates.verdict import conclude, measurement, number
from gauntlet.core.metrics import METRICS, PRIMARY, MetricError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.model import Task
from gauntlet.core.specs.base import Section

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gauntlet.core.specs.source import SourceSection

NAME = "slices"
MISSING = "(missing)"


class SliceColumn(Section):
    """A column with few values, each a slice."""

    values: tuple[str, ...] = ()
    """The closed list of its values: another value, or one without rows, is an error. Empty: those that occur."""


class SlicesConfig(GateConfig):
    """Declared slices; the list is closed: one that cannot be judged is never dropped."""

    by: Mapping[str, SliceColumn] = Field(min_length=1)
    metric: MetricName | None = None
    """Default: the task's primary metric."""
    bounds: Bounds
    """What every slice must reach."""
    margin: float | None = Field(gt=0, default=None)
    """Not worse than the champion by this much on any slice; ``None`` does not compare."""
    alpha: float = Field(gt=0, lt=0.5, default=0.01)
    """One-sided, shared by all slices."""
    small: Literal["inconclusive", "merge"] = "inconclusive"
    """Slices with too few rows: inconclusive, or the small ones of a column judged as one, with its next larger
    ones where they are still too few."""
    minimum_rows: int = Field(ge=2, default=200)
    minimum_positives: int = Field(ge=1, default=30)
    most: int = Field(ge=1, le=200, default=50)
    """More values than this in a column are no slices but an error."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The slice columns."""
        return tuple(self.by)

    @property
    def metrics_used(self) -> tuple[str, ...]:
        """The metric, where one is named."""
        return (self.metric,) if self.metric else ()

    def complaints(self, task: Task, source: SourceSection) -> Iterator[str]:
        """Bounds on the harmless side only."""
        yield from super().complaints(task, source)
        name = self.metric or PRIMARY[task]
        side = "minimum" if METRICS[name].higher_is_better else "maximum"
        if getattr(self.bounds, side) is None:
            yield f"bounds: {name} needs a {side}; without it any slice is good enough"


@dataclass(frozen=True)
class Slice:
    """The rows of the holdout with one value of a column, or with several small ones."""

    column: str
    value: str
    mask: npt.NDArray[np.bool_]

    @property
    def name(self) -> str:
        """``column=value``."""
        return f"{self.column}={self.value}"


def evaluate(evidence: Evidence, config: SlicesConfig) -> GateVerdict:
    """Every slice within the bounds and, with a champion, within the margin."""
    frame, _ = rows_of(evidence)
    slices, problems = declared(frame, config)
    slices, small = _by_size(evidence, frame, slices, config)
    share = config.alpha / max(1, len(slices))
    judged = [item for part in slices for item in _judge(evidence, frame.only(part.mask), part.name, config, share)]
    return conclude(NAME, [*problems, *small, *judged])


def declared(frame: Frame, config: SlicesConfig) -> tuple[list[Slice], list[Measurement]]:
    """The slices that the spec declares, and what is wrong with the list."""
    slices: list[Slice] = []
    problems: list[Measurement] = []
    for column, section in config.by.items():
        if column not in frame.columns:
            problems.append(_problem(column, f"slice column {column!r} is not among the evaluated columns", len(frame)))
            continue
        groups = by_name(frame.columns[column])
        problems += _unlisted(column, list(groups), section, len(frame), config.most)
        slices += [Slice(column, name, groups[name]) for name in list(groups)[: config.most]]
    return slices, problems


def by_name(values: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.bool_]]:
    """The rows of each value's name, shape (n,) each, in the order of the names."""
    import numpy as np

    if values.dtype.kind == "f":
        distinct, codes = np.unique(values, return_inverse=True)
        known = [name_of(value) for value in distinct]
    else:
        # One look-up per row: values that compare equal but are of another type have other names.
        places: dict[tuple[type, object], int] = {}
        codes = np.array([places.setdefault((type(value), value), len(places)) for value in values], dtype=np.intp)
        known = [name_of(value) for _, value in places]
    names = sorted(set(known))
    at = np.array([names.index(name) for name in known], dtype=np.intp)
    return {name: np.asarray(at[codes] == place) for place, name in enumerate(names)}


def name_of(value: object) -> str:
    """A slice value as text: missing ones have a name too; true and 1.0 are written as a spec would."""
    if value is None or value != value:
        return MISSING
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _unlisted(column: str, found: list[str], section: SliceColumn, n: int, most: int) -> Iterator[Measurement]:
    if len(found) > most:
        yield _problem(column, f"{column} has {len(found)} values > {most} on {number(n)} rows: not a slice column", n)
    if not section.values:
        return
    for name in sorted(set(found) - set(section.values) - {MISSING}):
        yield _problem(column, f"{column}={name} is not among the {len(section.values)} declared values, 0 expected", n)
    for name in sorted(set(section.values) - set(found)):
        yield _problem(column, f"{column}={name} is declared but has 0 of {number(n)} rows", n)


def _problem(column: str, text: str, n: int) -> Measurement:
    return measurement("slice", Outcome.ERROR, text, n=n, where=column)


def _by_size(
    evidence: Evidence, frame: Frame, slices: list[Slice], config: SlicesConfig
) -> tuple[list[Slice], list[Measurement]]:
    """Slices large enough to judge, and a verdict for those that are not."""
    few = {part.name: _few(evidence, frame, part, config) for part in slices}
    large = [part for part in slices if not few[part.name]]
    if config.small == "inconclusive":
        return large, [item for part in slices for item in few[part.name]]
    judged, left = list(large), []
    for column in config.by:
        own = [part for part in slices if part.column == column]
        if small := [part for part in own if few[part.name]]:
            together = _together(evidence, frame, small, [part for part in own if not few[part.name]], config)
            left += (still := _few(evidence, frame, together, config))
            judged += [] if still else [together]
    return judged, left


def _together(evidence: Evidence, frame: Frame, small: list[Slice], large: list[Slice], config: SlicesConfig) -> Slice:
    """The small slices of a column as one, with its next larger ones as long as that is too small."""
    import numpy as np

    group = list(small)
    rest = sorted(large, key=lambda part: (int(part.mask.sum()), part.name))
    while True:
        names = "+".join(part.value for part in group)
        merged = Slice(group[0].column, names, np.logical_or.reduce([part.mask for part in group]))
        if not rest or not _few(evidence, frame, merged, config):
            return merged
        group.append(rest.pop(0))


def _few(evidence: Evidence, frame: Frame, part: Slice, config: SlicesConfig) -> list[Measurement]:
    n = int(part.mask.sum())
    positives = int((frame.label[part.mask] == 1).sum()) if evidence.spec.task is Task.BINARY else None
    return enough(n, positives, config.minimum_rows, config.minimum_positives, where=part.name)


def _judge(evidence: Evidence, frame: Frame, name: str, config: SlicesConfig, alpha: float) -> Iterator[Measurement]:
    metric = config.metric or PRIMARY[evidence.spec.task]
    sample = candidate_sample(evidence, frame, evidence.spec.gates.profit)
    positives = positives_of(evidence, frame)
    for item in bounded(metric, config.bounds, sample, positives, where=name):
        yield _by_chance(evidence, frame, item, metric, alpha) if item.outcome is Outcome.FAILED else item
    if config.margin is None or evidence.champion is None:
        return
    frame = clean(evidence, frame)
    if few := enough(
        len(frame), positives_of(evidence, frame), config.minimum_rows, config.minimum_positives, where=name
    ):
        yield from few
        return
    candidate = candidate_sample(evidence, frame, evidence.spec.gates.profit)
    champion = champion_sample(evidence, frame, evidence.spec.gates.profit)
    margin = Margin("non_inferiority", config.margin, alpha)
    yield compared(evidence, [metric], candidate, champion, margin, where=name)[metric]


def _by_chance(evidence: Evidence, frame: Frame, item: Measurement, metric: str, alpha: float) -> Measurement:
    """A slice beyond its bound: inconclusive while its interval still reaches the bound."""
    from gauntlet.core.comparison import interval_of

    sample = candidate_sample(evidence, frame, evidence.spec.gates.profit)
    try:
        low, high = interval_of(metric, sample, seed=seed_of(evidence, NAME, item.slice), alpha=alpha)
    except MetricError:
        return item
    if item.limit is None or not low <= item.limit <= high:
        return item
    text = f"{item.sentence}, but its interval [{number(low)}, {number(high)}] reaches the bound"
    return item.model_copy(update={"outcome": Outcome.INCONCLUSIVE, "sentence": text, "interval": (low, high)})
