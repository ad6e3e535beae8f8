"""New and vanished categories."""

from __future__ import annotations

from gauntlet.core.statistics.base import (
    CATEGORICAL,
    LEAST_EXPECTED,
    Effect,
    Pair,
    Relevance,
    Statistic,
    binomial_rows,
    binomial_test,
)


def new_categories(pair: Pair) -> dict[str, int]:
    """Rows of the current window per category that the reference never had; empty when it has an unnamed tail."""
    reference, current = pair.labels
    if reference.tail_categories:
        return {}
    return {name: n for name, n in current.counts.items() if name not in reference.counts}


def unseen_share(pair: Pair) -> float:
    """Share of rows that unseen categories are expected to hold: Good (1953), ``f1 / m``."""
    reference, _ = pair.labels
    return reference.rare / reference.valid if reference.valid else 1.0


def _measure(pair: Pair) -> Effect:
    reference, current = pair.labels
    if not reference.valid or not current.valid:
        return Effect(None, note="no values")
    if reference.tail_categories:
        return Effect(None, note=f"the reference names only its {len(reference.counts)} most frequent categories")
    found = new_categories(pair)
    shown = ", ".join(sorted(found, key=lambda name: -found[name])[:3])
    return Effect(sum(found.values()) / current.valid, note=shown)


def _test(pair: Pair, _effect: Effect, limit: float) -> Relevance:
    """Exact binomial tail of the rows in new categories beyond what the reference's rare ones announce."""
    expected = unseen_share(pair)
    hits = sum(new_categories(pair).values())
    more, less = binomial_test(hits, pair.current.valid, limit, expected)
    return Relevance(more, less, binomial_rows(limit, expected))


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
