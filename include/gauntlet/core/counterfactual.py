"""What the other version would have said: both versions' scores on the same requests, summed up. Pure.

The server scores every request of a rollout with the version that did not answer it as well. A decision here is the
version's own, at its own threshold, never the one that the exploration reserve has drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.intervals import mean_interval, wilson
from gauntlet.core.live.window import first_of_unit
from gauntlet.core.records.feedback import CounterfactualPart, Disagreement, Flips
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
TINY = 1e-15


@dataclass(frozen=True)
class Pairs:
    """Requests that both versions have scored; every array has shape (rows,).

    ``label`` is NaN where it is not known yet. ``yes`` are the decisions, NaN where a version takes none.
    """

    champion: Floats
    challenger: Floats
    champion_yes: Floats
    challenger_yes: Floats
    label: Floats
    unit: Ints

    @property
    def decided(self) -> Mask:
        """Where both take a decision."""
        return np.isfinite(self.champion_yes) & np.isfinite(self.challenger_yes)


def decisions(scores: Floats, threshold: float | None) -> Floats:
    """1 at or above the threshold, else 0; NaN without one."""
    return np.full(scores.size, math.nan) if threshold is None else (scores >= threshold).astype(np.float64)


def summed_up(name: str, task: Task, pairs: Pairs, among: Mask) -> CounterfactualPart:
    """The rows ``among``: how the scores differ, which decisions do, in which direction, and what came of them."""
    units = first_of_unit(pairs.unit, among)
    moved = (pairs.challenger - pairs.champion)[units]
    decided = among & pairs.decided
    differ = decided & (pairs.champion_yes != pairs.challenger_yes)
    counted = units & pairs.decided
    labelled = among & np.isfinite(pairs.label)
    rise = _loss(task, pairs.challenger, pairs.label) - _loss(task, pairs.champion, pairs.label)
    rise = rise[first_of_unit(pairs.unit, labelled)]
    return CounterfactualPart(
        name=name,
        rows=int(among.sum()),
        units=int(units.sum()),
        difference=float(moved.mean()) if moved.size else None,
        difference_interval=mean_interval(moved),
        decided=int(decided.sum()),
        differ=int(differ.sum()),
        differ_interval=wilson(int((differ & counted).sum()), int(counted.sum())),
        to_positive=_flips(pairs.label, differ & (pairs.challenger_yes == 1)),
        to_negative=_flips(pairs.label, differ & (pairs.challenger_yes == 0)),
        labelled=int(labelled.sum()),
        loss=float(rise.mean()) if rise.size else None,
        loss_interval=mean_interval(rise),
    )


def largest(table: pa.Table, pairs: Pairs, most: int) -> tuple[Disagreement, ...]:
    """The requests on which the scores are farthest apart; ``table`` has a row for each of ``pairs``."""
    order = np.argsort(-np.abs(pairs.challenger - pairs.champion), kind="stable")[:most]
    rows = table.select(["request_id", "row", "at"]).take(order).to_pylist()
    return tuple(
        Disagreement(
            request_id=row["request_id"],
            row=row["row"] or 0,
            at=row["at"],
            champion_score=float(pairs.champion[place]),
            challenger_score=float(pairs.challenger[place]),
            champion_decision=_whole(pairs.champion_yes[place]),
            challenger_decision=_whole(pairs.challenger_yes[place]),
            label=float(pairs.label[place]) if math.isfinite(pairs.label[place]) else None,
        )
        for place, row in zip(order.tolist(), rows, strict=True)
    )


def sentence(part: CounterfactualPart, champion: str, challenger: str) -> str:
    """The whole in words."""
    if not part.rows:
        return "no request was scored by both versions"
    low, high = part.difference_interval or (math.nan, math.nan)
    told = f"{challenger} scores {part.difference:+.4g} [{low:+.4g}, {high:+.4g}] against {champion}"
    told += f" on {part.rows:,} requests"
    if part.share is None:
        return told
    told += (
        f"; {part.differ:,} of {part.decided:,} decisions would differ ({part.share:.2%}): "
        f"{part.to_positive.rows:,} from 0 to 1, {part.to_negative.rows:,} from 1 to 0"
    )
    known = part.to_positive.labelled + part.to_negative.labelled
    return f"{told}; {known:,} of those have a label" if part.differ else told


def _flips(label: Floats, rows: Mask) -> Flips:
    known = label[rows & np.isfinite(label)]
    positives = int((known > 0.5).sum())
    return Flips(
        rows=int(rows.sum()),
        labelled=int(known.size),
        positives=positives,
        rate=positives / known.size if known.size else None,
        interval=wilson(positives, int(known.size)),
    )


def _loss(task: Task, score: Floats, label: Floats) -> Floats:
    """Log loss of each row of a binary model, else its absolute error; NaN without a label."""
    if task is not Task.BINARY:
        return np.abs(score - label)
    inside = np.clip(score, TINY, 1 - TINY)
    return -(label * np.log(inside) + (1 - label) * np.log(1 - inside))


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
