"""The column's type, and whether it is there at all."""

from __future__ import annotations

from gauntlet.core.dtypes import family
from gauntlet.core.statistics.base import BOTH, Effect, Pair, Relevance, Statistic


def _measure(pair: Pair) -> Effect:
    before, after = pair.reference.dtype, pair.current.dtype
    if after == "null" or family(before) == family(after):
        return Effect(0.0, note=after)
    return Effect(1.0, note=f"{before} became {after}")


def _test(_pair: Pair, effect: Effect, _limit: float) -> Relevance:
    changed = bool(effect.value)
    return Relevance(0.0 if changed else 1.0, 1.0 if changed else 0.0)


DTYPE = Statistic("dtype", "change of type", "", BOTH, "quality", _measure, _test)
