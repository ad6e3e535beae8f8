"""How sure a model is of its answers, watched without labels: surer or less sure than on its holdout is a finding.

A constant or leaking input makes a model sure of everybody, a population it does not know makes it sure of nobody; both
show here before any label is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.layers.finding import Found, found
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.monitoring import Layer, Severity, Symptom

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY = VALUE = "confidence"
LEAST_ROWS = 500
Z = 3.09
"""One in a thousand, one-sided."""


def confidence(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of the likelier class, of a binary model's scores.

    >>> import numpy as np
    >>> confidence(np.array([0.1, 0.5, 0.8])).tolist()
    [0.9, 0.5, 0.8]
    """
    import numpy as np

    return np.maximum(scores, 1 - scores)


def confidence_health(now: NDArray[np.float64], holdout: NDArray[np.float64], shift: float) -> Found:
    """Mean confidence of a window's answers against that on the holdout; ``shift``: how far apart they may be.

    Both are arrays of scores. It fails when the change is beyond the limit by more than chance (a one-sided z-test of
    the difference at 0.001); few rows are no verdict.
    """
    import math

    key = f"{Layer.MODEL}.{KEY}"
    if min(now.size, holdout.size) < LEAST_ROWS:
        note = f"{now.size} answers; confidence is judged from {LEAST_ROWS}"
        return found((), {}, [note], looked=False, unjudged=[key])
    ours, usual = confidence(now), confidence(holdout)
    mean, before = float(ours.mean()), float(usual.mean())
    error = math.sqrt(float(ours.var()) / ours.size + float(usual.var()) / usual.size)
    change = mean - before
    if abs(change) - Z * error <= shift:
        return found((), {VALUE: mean})
    word = "surer" if change > 0 else "less sure"
    told = f"mean confidence {mean:.3f} on {now.size:,}, {before:.3f} on the holdout (limit ±{shift:g})"
    symptom = Symptom(
        key=key,
        layer=Layer.MODEL,
        severity=Severity.WARNING,
        outcome=Outcome.FAILED,
        sentence=f"answers are {word}: {told}",
        observed=mean,
        limit=before + math.copysign(shift, change),
        n=int(now.size),
        beyond=abs(change) / shift,
    )
    return found([symptom], {VALUE: mean})
