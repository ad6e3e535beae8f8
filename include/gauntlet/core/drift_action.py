"""From a check's verdicts and the checks before it to one action with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gauntlet.core.duration import format_duration
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.drift import (
    DriftAction,
    DriftPattern,
    DriftReport,
    FeatureDrift,
    PerformanceDrift,
    StatisticResult,
)
from gauntlet.core.specs.drift import DriftSection

NAMED = 3
"""Features named in a reason."""
SUSPECT = 0.5
EARLY = 0.5
"""Effect, in units of the limit, from which an earlier window already showed the change."""


@dataclass(frozen=True)
class Suggestion:
    """What the check comes to."""

    outcome: Outcome
    action: DriftAction
    pattern: DriftPattern
    reason: str
    score: float
    carried_by: tuple[str, ...]
    blocked: bool
    violated: bool
    not_judged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All that a suggestion is taken on. ``history`` is of the same champion, newest first."""

    features: Sequence[FeatureDrift]
    prediction: FeatureDrift | None = None
    performance: PerformanceDrift | None = None
    estimate: PerformanceDrift | None = None
    """What the scores say of performance while labels are pending; asks for a look at most."""
    joint: FeatureDrift | None = None
    domain: FeatureDrift | None = None
    recurs: frozenset[str] = frozenset()
    """Features whose change was there in the matching earlier window too."""
    history: Sequence[DriftReport] = ()
    young: bool = False
    """Whether the champion took over within the window, and another was there before."""


def suggest(evidence: Evidence, section: DriftSection) -> Suggestion:
    """Weigh drifted features by importance, ask for persistence, and name the few that carry it."""
    faults = [one for one in evidence.features if one.quality and one.outcome is Outcome.FAILED]
    drifted = [one for one in evidence.features if one.outcome is Outcome.FAILED and not one.quality]
    lasting = [one for one in drifted if one.feature not in evidence.recurs]
    likely = [one for one in _suspected(evidence.features) if one.feature not in evidence.recurs] if lasting else []
    score = weighted_score([*lasting, *likely])
    carried = carriers(faults or [*lasting, *likely] or drifted)
    violated = bool(lasting) and score >= section.retrain_share
    pattern = _pattern(drifted, lasting, evidence.history) if drifted else _joint_pattern(evidence)
    outcome = _outcome(evidence)
    action, reason = _action(evidence, section, faults, drifted, lasting, score, violated)
    unjudged = _not_judged(evidence)
    return Suggestion(outcome, action, pattern, reason, min(score, 1.0), carried, bool(faults), violated, unjudged)


def _suspected(features: Sequence[FeatureDrift]) -> list[FeatureDrift]:
    """Features beyond their limit more likely than not: they count once another one's drift is certain."""
    return [
        one
        for one in features
        if one.outcome is Outcome.INCONCLUSIVE and (one.effect or 0.0) > 1.0 and (one.p_value or 1.0) <= SUSPECT
    ]


def weighted_score(drifted: Sequence[FeatureDrift]) -> float:
    """Share of the model's importance in drifted features; a feature drifted in segments only counts by their rows."""
    shares: dict[str, float] = {}
    segmented: dict[str, dict[str, float]] = {}
    for one in drifted:
        if one.segment is None:
            shares[one.feature] = one.importance
        else:
            column = one.segment.split("=", 1)[0]
            parts = segmented.setdefault(one.feature, {})
            parts[column] = parts.get(column, 0.0) + one.importance
    for feature, parts in segmented.items():
        shares[feature] = max(shares.get(feature, 0.0), *parts.values())
    return sum(shares.values())


def carriers(findings: Sequence[FeatureDrift], most: int = NAMED) -> tuple[str, ...]:
    """The features that carry the finding, by importance times effect."""
    weights: dict[str, float] = {}
    for one in findings:
        weight = one.importance * min(one.effect or 1.0, 10.0)
        weights[one.feature] = max(weights.get(one.feature, 0.0), weight)
    return tuple(sorted(weights, key=lambda name: (-weights[name], name))[:most])


def _outcome(evidence: Evidence) -> Outcome:
    """The worst answer to what windows of this size can be asked; what they cannot is named beside it."""
    beside = (evidence.prediction, evidence.performance, evidence.joint, evidence.domain)
    found = [one for one in (*evidence.features, *beside) if one is not None]
    return worst(one.outcome for one in found if one.judged or one.outcome is not Outcome.INCONCLUSIVE)


def _not_judged(evidence: Evidence) -> tuple[str, ...]:
    """What such windows are too small for, with the rows that it takes."""
    asked: list[tuple[str, str, Sequence[StatisticResult | PerformanceDrift]]] = [
        ("small changes of all features together", "rows", evidence.joint.statistics if evidence.joint else ()),
        ("small changes of the scores", "rows", evidence.prediction.statistics if evidence.prediction else ()),
        ("performance", "labelled rows", [evidence.performance] if evidence.performance else ()),
    ]
    found = []
    for name, unit, results in asked:
        open_ones = [one for one in results if not one.judged]
        if open_ones:
            rows = [one.required_rows for one in open_ones]
            known = [count for count in rows if count is not None]
            more = f"from about {max(known)} {unit}" if len(known) == len(rows) else "from more rows in both windows"
            found.append(f"{name} ({more})")
    segments = {f"{one.segment} ({one.current_rows} rows)": one for one in evidence.features if not one.judged}
    return (*found, *sorted(segments))


def _pattern(
    drifted: Sequence[FeatureDrift], lasting: Sequence[FeatureDrift], history: Sequence[DriftReport]
) -> DriftPattern:
    if not drifted:
        return DriftPattern.NONE
    if not lasting:
        return DriftPattern.RECURRING
    if not history:
        return DriftPattern.SUDDEN
    name = carriers(lasting, 1)[0]
    before = [next((one for one in report.features if one.feature == name), None) for report in history[:3]]
    if before[0] is not None and before[0].outcome is Outcome.FAILED:
        return DriftPattern.LASTING
    effects = [one.effect or 0.0 for one in before if one is not None]
    rising = len(effects) >= 2 and all(new >= old for new, old in pairwise(effects))
    return (
        DriftPattern.GRADUAL
        if effects and effects[0] >= EARLY and (rising or len(effects) < 2)
        else DriftPattern.SUDDEN
    )


def _joint_pattern(evidence: Evidence) -> DriftPattern:
    """How a change of everything together came."""
    if evidence.joint is None or evidence.joint.outcome is not Outcome.FAILED:
        return DriftPattern.NONE
    before = [report.joint for report in evidence.history[:3]]
    if before and before[0] is not None and before[0].outcome is Outcome.FAILED:
        return DriftPattern.LASTING
    effects = [evidence.joint.effect or 0.0, *(one.effect or 0.0 for one in before if one is not None)]
    rising = len(effects) > 2 and all(new >= old for new, old in pairwise(effects))
    return DriftPattern.GRADUAL if rising and effects[1] >= EARLY else DriftPattern.SUDDEN


def _action(
    evidence: Evidence,
    section: DriftSection,
    faults: Sequence[FeatureDrift],
    drifted: Sequence[FeatureDrift],
    lasting: Sequence[FeatureDrift],
    score: float,
    violated: bool,
) -> tuple[DriftAction, str]:
    if faults:
        return DriftAction.INVESTIGATE, "data quality: " + _sentences(faults)
    if (worse := _performance(evidence, section)) is not None:
        return worse
    if violated:
        return _persistent(evidence, section, lasting, score)
    if lasting and score >= section.investigate_share:
        share = f"they hold {score:.1%} of the importance, below {section.retrain_share:.0%}"
        return DriftAction.INVESTIGATE, f"drift in features the model hardly uses ({share}): {_sentences(lasting)}"
    if drifted and not lasting:
        period = format_duration(section.recurring) if section.recurring else "one period"
        return DriftAction.NONE, f"recurring: the window {period} earlier was the same; {_sentences(drifted)}"
    if (joint := _beside_single_features(evidence)) is not None:
        return DriftAction.INVESTIGATE, joint
    if lasting:
        share = f"{score:.2%} of its importance, below {section.investigate_share:.1%}"
        return DriftAction.NONE, f"drift only in what the model does not use ({share}): {_sentences(lasting)}"
    return DriftAction.NONE, _quiet(evidence, section)


def _beside_single_features(evidence: Evidence) -> str | None:
    """Changes that no single feature shows."""
    if evidence.joint is not None and evidence.joint.outcome is Outcome.FAILED:
        return "no feature beyond its own limit, but " + evidence.joint.sentence
    if evidence.domain is not None and evidence.domain.outcome is Outcome.FAILED:
        return "features changed together, none of them alone: " + evidence.domain.sentence
    if evidence.prediction is not None and evidence.prediction.outcome is Outcome.FAILED:
        return "scores changed without a change of inputs: " + evidence.prediction.sentence
    labels = evidence.performance.outcome if evidence.performance is not None else Outcome.INCONCLUSIVE
    if evidence.estimate is not None and evidence.estimate.outcome is Outcome.FAILED and labels is not Outcome.PASSED:
        return evidence.estimate.sentence
    return None


def _performance(evidence: Evidence, section: DriftSection) -> tuple[DriftAction, str] | None:
    found = evidence.performance
    if found is None or found.outcome is not Outcome.FAILED or section.performance is None:
        return None
    wanted = section.performance.persistence
    earlier = [
        report.performance is not None and report.performance.outcome is Outcome.FAILED
        for report in evidence.history[: wanted.windows - 1]
    ]
    seen = 1 + sum(earlier)
    if seen < wanted.violations:
        waiting = f"{seen} of {wanted.violations} windows needed; {found.sentence}"
        return DriftAction.INVESTIGATE, f"performance fell, not yet persistent: {waiting}"
    if found.metric == "calibration":
        return DriftAction.RECALIBRATE, f"scores rank as before but are off in level: {found.sentence}"
    if evidence.young:
        return DriftAction.ROLLBACK, f"performance fell since the champion took over: {found.sentence}"
    return DriftAction.RETRAIN, f"performance: {found.sentence}"


def _persistent(
    evidence: Evidence, section: DriftSection, lasting: Sequence[FeatureDrift], score: float
) -> tuple[DriftAction, str]:
    wanted = section.persistence
    seen = 1 + sum(report.violated for report in evidence.history[: wanted.windows - 1])
    told = f"{score:.0%} of the model's importance drifted: {_sentences(lasting)}{_probably(evidence, lasting)}"
    if seen >= wanted.violations:
        return DriftAction.RETRAIN, told
    return DriftAction.INVESTIGATE, f"not yet persistent ({seen} of {wanted.violations} windows needed): {told}"


def _probably(evidence: Evidence, lasting: Sequence[FeatureDrift]) -> str:
    sure = {one.feature for one in lasting}
    likely = [name for name in carriers(_suspected(evidence.features)) if name not in sure]
    return f"; probably {', '.join(likely)} too" if likely else ""


def _quiet(evidence: Evidence, section: DriftSection) -> str:
    judged = [one for one in evidence.features if one.judged]
    unknown, checked = [one for one in judged if one.outcome is Outcome.INCONCLUSIVE], len(judged)
    rows = max((one.current_rows for one in evidence.features), default=0)
    if not rows:
        return "no rows in the window: nothing could be compared"
    if rows < section.minimum_rows:
        return f"{rows} rows in the window; {section.minimum_rows} are needed for a verdict"
    if not unknown:
        told = f"no relevant drift: {checked} comparisons on {rows} rows, all within their limits"
        return told + _open_questions(evidence)
    needed = max((one.required_rows or 0 for one in unknown), default=0)
    would = f"; {needed} rows would decide" if needed else ""
    told = f"no relevant drift found; {len(unknown)} of {checked} comparisons are inconclusive on {rows} rows{would}"
    return told + _open_questions(evidence)


def _open_questions(evidence: Evidence) -> str:
    """What these rows should have settled and did not; and what such windows are too small for."""
    asked = (evidence.joint, evidence.prediction)
    unsure = [one for one in asked if one is not None and one.outcome is Outcome.INCONCLUSIVE and one.judged]
    beyond = _not_judged(evidence)
    told = "".join(f"; {one.sentence}" for one in unsure[:1])
    return told + (f"; not judged at this size: {', '.join(beyond)}" if beyond else "")


def _sentences(found: Sequence[FeatureDrift]) -> str:
    names = carriers(found)
    first = [next(one for one in found if one.feature == name) for name in names]
    rest = len({one.feature for one in found}) - len(names)
    more = f"; and {rest} more" if rest > 0 else ""
    return "; ".join(one.sentence for one in first) + more
