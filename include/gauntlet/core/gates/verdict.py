"""From measured values to a verdict: the one place where a number meets its limit."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.gates import GateVerdict, Measurement

HOLDS = {"≥": operator.ge, "≤": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq}
OPPOSITE = {"≥": "<", "≤": ">", ">": "≤", "<": "≥", "=": "≠"}
SHOWN = 3
MIN_DECIMALS, MAX_DECIMALS = 3, 9


def number(value: float | None) -> str:
    """A number for people: thousands apart, three decimals below ten, more for small ones.

    >>> number(12480), number(0.7412), number(0.00004), number(40.0), number(1234.56)
    ('12 480', '0.741', '4e-05', '40', '1 234.6')
    """
    if value is None:
        return "nothing"
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", " ")
    if abs(value) < 0.0005 or abs(value) >= 1e15:
        return f"{value:.2g}"
    return f"{value:,.{3 if abs(value) < 10 else 1}f}".replace(",", " ")


def pair(left: float | None, right: float | None) -> tuple[str, str]:
    """Two numbers to be compared, with as many decimals as it takes to tell them apart."""
    if left is None or right is None or left == right or not (math.isfinite(left) and math.isfinite(right)):
        return number(left), number(right)
    if number(left) != number(right):
        return number(left), number(right)
    shown = [(f"{left:.{digits}f}", f"{right:.{digits}f}") for digits in range(MIN_DECIMALS, MAX_DECIMALS)]
    return next(((a, b) for a, b in shown if a != b), (repr(left), repr(right)))


def rows(n: int | None, positives: int | None = None) -> str:
    """``on 12 480 rows (1 911 positive)``."""
    if n is None:
        return ""
    return f" on {number(n)} rows" + (f" ({number(positives)} positive)" if positives is not None else "")


def named(metric: str, where: str | None) -> str:
    """The metric with the slice it is of."""
    return metric if where is None else f"{metric} of {where}"


def check(
    metric: str,
    observed: float | None,
    comparator: str,
    limit: float,
    *,
    n: int | None = None,
    positives: int | None = None,
    where: str | None = None,
) -> Measurement:
    """Whether ``observed comparator limit`` holds; a value that is no number is an error, zero rows too."""
    if observed is None or not math.isfinite(observed) or not math.isfinite(limit) or n == 0:
        wanted = f"{comparator} {number(limit)} is wanted"
        text = f"{named(metric, where)} is {number(observed)} where {wanted}{rows(n, positives)}"
        return measurement(metric, Outcome.ERROR, text, None, limit, comparator, n=n, positives=positives, where=where)
    holds = HOLDS[comparator](observed, limit)
    shown, against = pair(observed, limit)
    sentence = (
        f"{named(metric, where)} {shown} {comparator if holds else OPPOSITE[comparator]} {against}{rows(n, positives)}"
    )
    outcome = Outcome.PASSED if holds else Outcome.FAILED
    return measurement(metric, outcome, sentence, observed, limit, comparator, n=n, positives=positives, where=where)


def fact(metric: str, holds: bool, sentence: str, *, n: int | None = None) -> Measurement:
    """A yes-or-no fact: observed 1 or 0, wanted 1."""
    outcome = Outcome.PASSED if holds else Outcome.FAILED
    return measurement(metric, outcome, sentence, float(holds), 1.0, "=", n=n)


def measurement(
    metric: str,
    outcome: Outcome,
    sentence: str,
    observed: float | None = None,
    limit: float | None = None,
    comparator: str = "≥",
    *,
    n: int | None = None,
    positives: int | None = None,
    where: str | None = None,
) -> Measurement:
    """One measurement with an outcome that is already decided."""
    return Measurement(
        metric=metric,
        slice=where,
        outcome=outcome,
        sentence=sentence,
        observed=_finite(observed),
        limit=_finite(limit),
        comparator=comparator,
        n=n,
        positives=positives,
    )


def too_few(metric: str, n: int, minimum: int, what: str = "rows", where: str | None = None) -> Measurement:
    """Not enough rows (or positives) to judge: inconclusive, with the number that is needed."""
    sentence = f"{named(metric, where)}: {number(n)} {what} < {number(minimum)} needed to judge"
    found = measurement(metric, Outcome.INCONCLUSIVE, sentence, float(n), float(minimum), "≥", n=n, where=where)
    return found.model_copy(update={"required_n": minimum})


def conclude(gate: str, measurements: Sequence[Measurement], *, mode: str | None = None) -> GateVerdict:
    """The gate's answer: the worst of its measurements, told in their sentences. None at all is an error."""
    outcome = worst(item.outcome for item in measurements)
    return GateVerdict(
        gate=gate, outcome=outcome, reason=_reason(measurements, outcome), mode=mode, measurements=tuple(measurements)
    )


def _reason(measurements: Sequence[Measurement], outcome: Outcome) -> str:
    telling = [item.sentence for item in measurements if item.outcome is outcome]
    if not telling:
        return "nothing was measured: 0 checks"
    more = len(telling) - SHOWN
    text = "; ".join(telling[:SHOWN])
    if outcome is Outcome.PASSED and len(telling) > SHOWN:
        return f"{text}; and {more} more of {len(measurements)} checks passed"
    return text + (f"; and {more} more of {len(measurements)} checks" if more > 0 else "")


def unable(gate: str, why: str) -> GateVerdict:
    """The verdict when judging was not possible."""
    return GateVerdict(gate=gate, outcome=Outcome.ERROR, reason=why, mode=None, measurements=())


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
