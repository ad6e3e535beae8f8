"""New and vanished categories."""

from __future__ import annotations

import math

from gauntlet.core.statistics.base import (
    CATEGORICAL,
    POWER,
    Effect,
    Pair,
    Relevance,
    Statistic,
    binomial_rows,
    binomial_test,
    distance_to_limit,
    normal_test,
    rows_for_spread,
)
from gauntlet.core.statistics.cells import LEAST_EXPECTED


def new_categories(pair: Pair) -> dict[str, int]:
    """Rows of the current window per category that the reference does not name."""
    reference, current = pair.labels
    return {name: n for name, n in current.counts.items() if name not in reference.counts}


def unseen_share(pair: Pair) -> float:
    """Share of rows that unseen categories are expected to hold: Good (1953), ``f1 / m``."""
    reference, _ = pair.labels
    return reference.rare / reference.valid if reference.valid else 1.0


def tail_share(pair: Pair) -> float:
    """Share of the reference's rows in categories that its profile does not name."""
    reference, _ = pair.labels
    return reference.tail_rows / reference.valid if reference.valid else 1.0


def _measure(pair: Pair) -> Effect:
    reference, current = pair.labels
    if not reference.valid or not current.valid:
        return Effect(None, note="no values")
    found = new_categories(pair)
    shown = ", ".join(sorted(found, key=lambda name: -found[name])[:3])
    return Effect(max(_unnamed(pair) / current.valid - tail_share(pair), 0.0), note=shown)


def _unnamed(pair: Pair) -> int:
    _, current = pair.labels
    return current.tail_rows + sum(new_categories(pair).values())


def _test(pair: Pair, _effect: Effect, limit: float) -> Relevance:
    """Exact binomial tail of the rows in new categories beyond what the reference's rare ones announce.

    Where the reference names not all of its own, the share of the others is an estimate too: a normal error. The
    limit is of all rows, as for the Kolmogorov-Smirnov distance.
    """
    limit /= max(pair.valid_share, 1e-9)
    expected = unseen_share(pair)
    hits = _unnamed(pair)
    if pair.labels[0].tail_rows:
        return _beside_tail(pair, hits / pair.current.valid, limit + expected)
    more, less = binomial_test(hits, pair.current.valid, limit, expected)
    return Relevance(more, less, binomial_rows(limit, expected))


def _beside_tail(pair: Pair, share: float, limit: float) -> Relevance:
    known = tail_share(pair)
    rate = min(max(known, share), 1.0)
    error = math.sqrt(max(rate * (1 - rate), pair.valid_spread) * pair.valid_spread)
    more, less = normal_test(share - known, share - known, error, limit)

    def rows(alpha: float) -> int | None:
        from scipy.special import ndtri

        distance = float(ndtri(1 - alpha) + ndtri(0.5 + POWER / 2))
        apart = distance_to_limit(share - known, 0.8 * error, limit)
        return rows_for_spread((apart / distance) ** 2 / max(rate * (1 - rate), 1e-9), pair.reference.valid)

    return Relevance(more, less, rows)


def _measure_vanished(pair: Pair) -> Effect:
    """Only categories of which a window of this size should have several rows."""
    reference, current = pair.labels
    if not reference.valid or not current.valid:
        return Effect(None, note="no values")
    due = LEAST_EXPECTED * reference.valid / current.valid
    gone = [name for name, rows in reference.counts.items() if rows >= due and not current.counts.get(name)]
    rows = sum(reference.counts[name] for name in gone)
    shown = ", ".join(sorted(gone, key=lambda name: -reference.counts[name])[:3])
    return Effect(rows / reference.valid, note=shown)


def _test_vanished(pair: Pair, effect: Effect, limit: float) -> Relevance:
    """Chance that a window of this size has none of categories that hold this share or the limit."""
    share = effect.value or 0.0
    by_chance = (1 - share) ** pair.current.valid
    at_limit = (1 - limit) ** pair.current.valid
    return Relevance(
        by_chance if share > limit else 1.0, at_limit if share <= limit else 1.0, lambda a: binomial_rows(limit, 0.0)(a)
    )


CATEGORIES = Statistic("categories", "rows in new categories", "", CATEGORICAL, "drift", _measure, _test)
VANISHED = Statistic(
    "vanished", "reference share of vanished categories", "", CATEGORICAL, "drift", _measure_vanished, _test_vanished
)
