"""Do a model's decisions still differ? A model that shapes its own future data narrows, and its metrics stay good."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from gauntlet.core.layers.finding import Found, found
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.monitoring import Layer, Severity, Symptom

KEY = VALUE = "diversity"
"""The symptom's name is the number's: what was wrong is no part of the past that later looks are judged by."""
LEAST_ROWS = 500
LEAST_PAST = 12
NONE = -1
"""The journal's word for a row without a decision."""


def entropy(decisions: Iterable[int]) -> float:
    """Shannon entropy in bits of the decisions that were made; 0 when all are the same.

    >>> entropy([0, 1, 0, 1]), entropy([1, 1, 1, -1])
    (1.0, 0.0)
    """
    counts = Counter(decision for decision in decisions if decision != NONE)
    total = sum(counts.values())
    return abs(sum(count / total * math.log2(total / count) for count in counts.values())) if total else 0.0


def decision_diversity(decisions: Sequence[int], past: Sequence[float], drop: float) -> Found:
    """Entropy of a window's decisions against the median of earlier windows; ``drop``: the share it may fall by.

    Few rows or no past is no verdict.
    """
    made = [decision for decision in decisions if decision != NONE]
    unjudged = [f"{Layer.MODEL}.{KEY}"]
    if len(made) < LEAST_ROWS:
        note = f"{len(made)} decisions in the window; their diversity is judged from {LEAST_ROWS}"
        return found((), {}, [note], looked=False, unjudged=unjudged)
    now = entropy(made)
    if len(past) < LEAST_PAST:
        note = f"{len(past)} earlier windows; diversity of decisions is judged from {LEAST_PAST}"
        return found((), {VALUE: now}, [note], looked=False, unjudged=unjudged)
    usual = median(past)
    least = usual * (1 - drop)
    if now >= least:
        return found((), {VALUE: now})
    sentence = (
        f"decisions differ less: {now:.3f} bits on {len(made):,}, median of {len(past)} earlier windows {usual:.3f} "
        f"(least {least:.3f})"
    )
    symptom = Symptom(
        key=f"{Layer.MODEL}.{KEY}",
        layer=Layer.MODEL,
        severity=Severity.WARNING,
        outcome=Outcome.FAILED,
        sentence=sentence,
        observed=now,
        limit=least,
        n=len(made),
        beyond=(usual - now) / (usual - least),
    )
    return found([symptom], {VALUE: now})
