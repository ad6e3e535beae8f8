"""Two models on the same rows, as measurements with a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from gauntlet.core.digest import sha256_json
from gauntlet.core.gates.evidence import Evidence
from gauntlet.core.gates.verdict import measurement, named, number, pair, rows
from gauntlet.core.metrics import MetricError, Sample
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import Measurement

if TYPE_CHECKING:
    from gauntlet.core.comparison import Comparison, Judgement

Mode = Literal["superiority", "non_inferiority", "equivalence"]


class Margin(NamedTuple):
    """What is to be shown, and how surely."""

    mode: Mode
    margin: float
    alpha: float
    power: float = 0.95
    worth: float = 0.0
    """Superiority: a gain that is worth enough rows to be shown."""


def seed_of(evidence: Evidence, *parts: str | None) -> int:
    """A bootstrap seed that depends on what is compared and on nothing else."""
    holdout = evidence.evaluation.holdout if evidence.evaluation else None
    return int(sha256_json([evidence.candidate, evidence.champion, holdout, *parts])[:15], 16)


def compared(
    evidence: Evidence,
    names: Sequence[str],
    candidate: Sample,
    other: Sample,
    margin: Margin,
    *,
    against: str = "champion",
    where: str | None = None,
    made: dict[str, Comparison] | None = None,
) -> Mapping[str, Measurement]:
    """Each metric of the candidate against the other model's, judged; a metric that is not defined is an error.

    ``made`` keeps the comparisons of these two samples, so that none is made twice.
    """
    from gauntlet.core.comparison import compare, judge

    found: dict[str, Measurement] = {}
    made = {} if made is None else made
    positives = int((candidate.label == 1).sum()) if evidence.spec.task == "binary" else None
    for name in names:
        try:
            if name not in made:
                seed = seed_of(evidence, against, where)
                made |= compare([name], candidate, other, seed=seed, alpha=margin.alpha)
            result = made[name].at(margin.alpha)
        except MetricError as error:
            text = f"{named(name, where)} against the {against}: {error}{rows(len(candidate), positives)}"
            found[name] = measurement(name, Outcome.ERROR, text, n=len(candidate), positives=positives, where=where)
            continue
        judgement = judge(result, margin.mode, margin.margin, power=margin.power, worth=margin.worth)
        found[name] = told(result, judgement, against, where, positives)
    return found


def told(
    result: Comparison, judgement: Judgement, against: str, where: str | None, positives: int | None
) -> Measurement:
    """A comparison as a measurement: observed is the bound of the interval that decides."""
    observed, limit, comparator = judgement.observed, judgement.limit, judgement.comparator
    holds = judgement.outcome is Outcome.PASSED
    shown, bound = pair(observed, limit)
    sentence = (
        f"{named(result.metric, where)} {number(result.candidate)} against {number(result.other)} of the {against}, "
        f"better by {number(result.delta)} [{number(result.low)}, {number(result.high)}]: {judgement.what} {shown} "
        f"{comparator if holds else ('≤' if comparator == '>' else '≥')} {bound}{rows(result.n, positives)}"
    )
    if judgement.outcome is Outcome.INCONCLUSIVE:
        sentence += f"; about {number(judgement.required_n)} rows would decide"
    return Measurement(
        metric=result.metric,
        slice=where,
        outcome=judgement.outcome,
        sentence=sentence,
        observed=observed,
        limit=limit,
        comparator=comparator,
        candidate=result.candidate,
        champion=result.other,
        delta=result.delta,
        interval=(result.low, result.high),
        n=result.n,
        positives=positives,
        required_n=judgement.required_n,
    )
