"""What a look at a layer has found, and the tests that several layers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.drift import FeatureDrift
from gauntlet.core.records.monitoring import Layer, Severity, Symptom
from gauntlet.core.specs.monitoring import MonitoringSection

PAST = timedelta(days=28)
"""How far back the past goes that volume and throughput are judged by."""
LEAST_PAST = 3
"""Earlier windows before there is a past."""
CHANCE = 1e-9
"""A count that low by chance this rarely, as a Poisson count of what was expected, is none: six standard deviations."""


@dataclass(frozen=True)
class Found:
    """What one layer's rules say."""

    outcome: Outcome
    symptoms: tuple[Symptom, ...]
    values: Mapping[str, float]
    notes: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    """Symptoms, and the beginnings of their keys, that too little evidence neither shows nor rules out."""

    @property
    def reason(self) -> str:
        """The layer in one sentence."""
        failing = [symptom.sentence for symptom in self.symptoms if symptom.outcome is Outcome.FAILED]
        if failing:
            return "; ".join(failing[:3]) + (f"; and {len(failing) - 3} more" if len(failing) > 3 else "")
        if self.outcome is Outcome.PASSED:
            return "; ".join(["nothing is wrong", *self.notes])
        return "; ".join(self.notes) or "nothing could be looked at"


def found(
    symptoms: Iterable[Symptom],
    values: Mapping[str, float],
    notes: Sequence[str] = (),
    *,
    looked: bool = True,
    unjudged: Sequence[str] = (),
) -> Found:
    """A layer's finding; ``looked``: whether anything could be judged at all."""
    listed = tuple(sorted(symptoms, key=lambda symptom: (symptom.severity is Severity.WARNING, symptom.key)))
    outcome = worst([symptom.outcome for symptom in listed]) if listed else Outcome.PASSED
    outcome = outcome if listed or looked else Outcome.INCONCLUSIVE
    return Found(outcome, listed, dict(values), tuple(notes), tuple(unjudged))


def is_asked(section: MonitoringSection, layer: Layer) -> bool:
    """Whether the spec gives a layer anything to look at: product and business have only the metrics it names."""
    named: Mapping[Layer, object] = {Layer.PRODUCT: section.product, Layer.BUSINESS: section.business}
    return bool(named.get(layer, True))


def unseen(layer: Layer, why: str) -> Found:
    """A layer that could not be looked at: that is a page, and resolves nothing."""
    told = symptom(layer, "unseen", Severity.PAGE, f"the {layer} layer could not be looked at: {why}")
    return Found(Outcome.ERROR, (told,), {}, (why,))


def merged(parts: Sequence[Found], *, every: bool = False) -> Found:
    """Several looks at one layer as one.

    ``every``: a part that could say nothing leaves the layer inconclusive, unless another has failed; otherwise such a
    part is only noted, where the spec need not give it anything to look at.
    """
    symptoms = [symptom for part in parts for symptom in part.symptoms]
    values = {name: value for part in parts for name, value in part.values.items()}
    outcomes = [part.outcome for part in parts if every or part.outcome is not Outcome.INCONCLUSIVE]
    outcome = worst(outcomes or [Outcome.INCONCLUSIVE])
    notes = tuple(note for part in parts for note in part.notes)
    return Found(outcome, tuple(symptoms), values, notes, tuple(key for part in parts for key in part.unjudged))


def symptom(
    layer: Layer,
    key: str,
    severity: Severity,
    sentence: str,
    *,
    observed: float | None = None,
    limit: float | None = None,
    n: int | None = None,
    beyond: float | None = None,
    estimate: bool = False,
) -> Symptom:
    """A failing symptom; ``key`` comes without the layer. ``beyond``: how many times its limit it is."""
    return Symptom(
        key=f"{layer}.{key}",
        layer=layer,
        severity=severity,
        outcome=Outcome.FAILED,
        sentence=sentence,
        observed=observed,
        limit=limit,
        n=n,
        beyond=beyond,
        estimate=estimate,
    )


def is_judged(feature: FeatureDrift) -> bool:
    """Whether there were values to look at; a change that so few rows leave open was looked for and not found."""
    looked = (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)
    return feature.current_rows > 0 and any(result.outcome in looked for result in feature.statistics)


def fallen(
    layer: Layer, key: str, what: str, count: float, past: Sequence[float], drop: float, severity: Severity
) -> list[Symptom]:
    """Whether a count is below what the past lets expect, by more than the tolerated share and than chance."""
    if len(past) < LEAST_PAST:
        return []
    expected = median(past)
    least = expected * (1 - drop)
    if count >= least or by_chance(count, expected):
        return []
    sentence = f"{count:,.0f} {what}, median of {len(past)} earlier windows {expected:,.0f} (least {least:,.0f})"
    beyond = (expected - count) / max(expected - least, 1e-9)
    return [symptom(layer, key, severity, sentence, observed=count, limit=least, n=len(past), beyond=beyond)]


def by_chance(count: float, expected: float) -> bool:
    """Whether a Poisson count of mean ``expected`` may well be as low as this.

    >>> by_chance(0, 20), by_chance(0, 22), by_chance(800, 1000)
    (True, False, False)
    """
    from scipy.special import pdtr

    return not expected or bool(pdtr(count, expected) >= CHANCE)
