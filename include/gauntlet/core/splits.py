"""How the rows of a snapshot are divided. Pure and deterministic; arrays in, part codes out.

By time: the holdout is the newest; rows with one event time stay together; an embargo after each
boundary is dropped, and so are rows whose label window reaches into the next part (purging, López de
Prado, *Advances in Financial Machine Learning*, 2018, §7.4). At random, only where there is no time:
rows of one entity, else rows with the same features, stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.int8]
    Times = NDArray[np.int64]
    Groups = NDArray[np.int64]

PARTS = ("train", "validation", "calibration", "holdout", "dropped")
"""Part names by code."""
DROPPED = PARTS.index("dropped")
Straddle = Literal["keep_latest", "keep_earliest", "allow"]


@dataclass(frozen=True)
class Division:
    """One part code per row (see :data:`PARTS`), and how many rows each rule dropped."""

    codes: Codes
    embargoed: int = 0
    purged: int = 0
    straddling: int = 0

    @property
    def dropped(self) -> int:
        """Rows in no part."""
        return self.embargoed + self.purged + self.straddling

    @property
    def dropped_reason(self) -> str:
        """Why rows are in no part, in words."""
        reasons = [
            (self.embargoed, "in an embargo"),
            (self.purged, "purged: label window reaches into the next part"),
            (self.straddling, "of entities that are also in another part"),
        ]
        return "; ".join(f"{count} {reason}" for count, reason in reasons if count) or "none"


def by_time(
    times: Times,
    shares: Sequence[float],
    *,
    embargo: timedelta = timedelta(0),
    label_delay: timedelta = timedelta(0),
    entities: Groups | None = None,
    straddle: Straddle = "keep_latest",
) -> Division:
    """Divide by time.

    Args:
        times: event times in microseconds, any order, shape (n,).
        shares: of train, validation, calibration and holdout; sum 1; a share of 0 leaves its part empty.
        embargo: rows less than this after a boundary are dropped.
        label_delay: how long after its event a row's label is settled; such windows do not overlap the next part.
        entities: one code per row; -1 where there is none.
        straddle: which part keeps an entity that is in several.
    """
    import numpy as np

    starts = _boundaries(times, shares)
    gap, delay = _microseconds(embargo), _microseconds(label_delay)
    codes = np.zeros(len(times), dtype=np.int8)
    for code, start in starts:
        codes[times >= start] = code
    embargoed = np.zeros(len(times), dtype=bool)
    purged = np.zeros(len(times), dtype=bool)
    for code, start in starts:
        embargoed |= (times >= start) & (times < start + gap)
        purged |= (codes < code) & (times + delay > start + gap)
    codes[embargoed | purged] = DROPPED
    straddling = 0
    if entities is not None and straddle != "allow":
        straddling = _settle_entities(codes, entities, straddle)
    return Division(codes, int(embargoed.sum()), int((purged & ~embargoed).sum()), straddling)


def at_random(groups: Groups, shares: Sequence[float], seed: int) -> Division:
    """Divide whole groups (codes from 0, shape (n,)) at random, close to the shares in rows.

    The groups' order of codes does not matter beyond naming them: give codes by content for a split
    that is the same under any order of rows.
    """
    import numpy as np

    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    limits = np.cumsum(shares)[:-1] * len(groups)
    part_of_group = np.empty(len(sizes), dtype=np.int8)
    part_of_group[order] = np.searchsorted(limits, before, side="right")
    return Division(part_of_group[groups])


def content_groups(keys: NDArray[np.uint64]) -> Groups:
    """Group codes from 64-bit content keys: equal keys share a code, codes ascend with the key."""
    import numpy as np

    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def shares_of(validation: float, calibration: float, holdout: float) -> tuple[float, float, float, float]:
    """The shares of all four parts; training gets the rest.

    >>> [round(share, 2) for share in shares_of(0.15, 0.1, 0.2)]
    [0.55, 0.15, 0.1, 0.2]
    """
    return (1 - validation - calibration - holdout, validation, calibration, holdout)


def _boundaries(times: Times, shares: Sequence[float]) -> list[tuple[int, int]]:
    """The first event time of every part but train, by code; parts with no share have none."""
    import numpy as np

    ordered = np.sort(times)
    starts = []
    before = 0.0
    for code, share in enumerate(shares):
        if code and share > 0 and len(ordered):
            position = min(round(before * len(ordered)), len(ordered) - 1)
            starts.append((code, int(ordered[position])))
        before += share
    return starts


def _settle_entities(codes: Codes, entities: Groups, straddle: Straddle) -> int:
    """Drop the rows of an entity outside the one part that keeps it, in place; returns how many."""
    import numpy as np

    kept = (codes != DROPPED) & (entities >= 0)
    if not kept.any():
        return 0
    size = int(entities[kept].max()) + 1
    latest = straddle == "keep_latest"
    home: Any = np.full(size, -1 if latest else DROPPED, dtype=np.int8)
    (np.maximum if latest else np.minimum).at(home, entities[kept], codes[kept])
    straying = kept.copy()
    straying[kept] = codes[kept] != home[entities[kept]]
    codes[straying] = DROPPED
    return int(straying.sum())


def _microseconds(value: timedelta) -> int:
    return value // timedelta(microseconds=1)
