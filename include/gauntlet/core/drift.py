"""From two profiles to one verdict per feature: which changes are real, and which of those matter.

Every deciding statistic is tested for a change beyond its practical limit. Within a feature the p-values are
combined by Bonferroni, over features and segments by Benjamini and Hochberg (1995), so that a check with
500 features is as quiet as one with 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.drift_sentences import carrier, measured_sentence, sentence
from gauntlet.core.joint_parts import Part
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.profile import Column, Numbers, Profile
from gauntlet.core.records.drift import FeatureDrift, StatisticResult
from gauntlet.core.specs.drift import DriftSection, Limits
from gauntlet.core.statistics.base import Effect, Pair, Relevance, Statistic
from gauntlet.core.statistics.registry import STATISTICS

Exact = Callable[[str, str | None], tuple[Floats, Floats] | None]
"""Feature and segment to both columns whole, sorted, NaN removed."""


@dataclass(frozen=True)
class Measured:
    """One statistic on one pair; ``test`` is ``None`` when it decides nothing or is not defined."""

    statistic: Statistic
    effect: Effect
    limit: float | None
    test: Relevance | None

    @property
    def units(self) -> float:
        """The effect in units of its limit."""
        if self.test is None or self.effect.value is None:
            return 0.0
        if not self.limit:
            return math.inf if self.effect.value else 0.0
        if self.statistic.name == "sigma_ratio":
            return math.log(self.effect.value) / math.log(self.limit)
        return self.effect.value / self.limit


@dataclass(frozen=True)
class Judged:
    """One feature measured, before the correction over all features."""

    feature: str
    segment: str | None
    importance: float
    pair: Pair
    measured: tuple[Measured, ...]
    severe: float
    fault: str | None

    @cached_property
    def deciding(self) -> tuple[Measured, ...]:
        """What was tested."""
        return tuple(one for one in self.measured if one.test is not None)

    @cached_property
    def tests(self) -> int:
        """How many tests the feature's p-value is corrected for; data-quality tests are certain and not counted."""
        return max(sum(one.statistic.consequence != "quality" for one in self.deciding), 1)

    @cached_property
    def p_value(self) -> float:
        """P-value of "no change of this feature matters"."""
        tested = [one.test.more for one in self.measured if one.test and one.statistic.consequence != "quality"]
        return min([1.0, *(p * self.tests for p in tested)])


def adjusted(p_values: Sequence[float]) -> Floats:
    """Benjamini-Hochberg adjusted p-values, in the order given; reject where at most alpha.

    >>> adjusted([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p: NDArray[np.float64] = np.asarray(p_values, dtype=float)
    order = np.argsort(-p)
    ranks = np.arange(len(p), 0, -1)
    steps = np.minimum.accumulate(p[order] * len(p) / ranks)
    result = np.empty_like(p)
    result[order] = np.minimum(steps, 1.0)
    return result


def compare(
    reference: Profile, current: Profile, section: DriftSection, exact: Exact = lambda _feature, _segment: None
) -> tuple[FeatureDrift, ...]:
    """Every feature of the reference, for all rows and per segment, worst first.

    ``current`` was counted on the reference's axes; a column that it lacks is a finding of data quality.
    """
    return conclude(measure(reference, current, section, exact), section, current.rows)


def measure(
    reference: Profile, current: Profile, section: DriftSection, exact: Exact = lambda _feature, _segment: None
) -> list[Judged]:
    """Every feature of the reference with its tests, for all rows and per segment, before any correction."""
    return [
        _judge(name, segment, share, pair, section.limits_of(name))
        for name, segment, share, pair in _pairs(reference, current, exact)
    ]


def conclude(judged: Sequence[Judged], section: DriftSection, rows: int) -> tuple[FeatureDrift, ...]:
    """The verdicts after correction for all that was measured, worst first; ``rows`` of the current window."""
    corrected = adjusted([one.p_value for one in judged])
    enough = rows >= section.minimum_rows
    verdicts = [_verdict(one, float(p), section, enough) for one, p in zip(judged, corrected, strict=True)]
    return tuple(sorted(verdicts, key=_rank))


def parts_of(judged: Sequence[Judged]) -> list[Part]:
    """Features over all rows with their weights, for the test of their common change; unfit columns are left out."""
    return [
        Part(one.feature, one.importance, one.pair.cells) for one in judged if one.segment is None and one.fault is None
    ]


def _rank(one: FeatureDrift) -> tuple[bool, bool, float, float, str, str]:
    failed = one.outcome is Outcome.FAILED
    weight = -one.importance * min(one.effect or 0.0, 10.0) if failed else 0.0
    return (not (failed and one.quality), not failed, weight, -(one.effect or 0.0), one.feature, one.segment or "")


def _pairs(
    reference: Profile, current: Profile, exact: Exact
) -> Iterator[tuple[str, str | None, float, tuple[Pair, str | None]]]:
    weights = reference.weights()
    for name, before in reference.columns.items():
        yield name, None, weights[name], _pair(before, current.columns.get(name), exact(name, None))
    for column, parts in reference.segments.items():
        for value, part in parts.items():
            there = current.segments.get(column, {}).get(value)
            if there is None or part.rows == 0:
                continue
            label = f"{column}={value}"
            share = there.rows / max(current.rows, 1)
            for name, before in part.columns.items():
                if name == column:
                    continue
                pair = _pair(before, there.columns.get(name), exact(name, label))
                yield name, label, weights.get(name, 0.0) * share, pair


def _pair(before: Column, after: Column | None, exact: tuple[Floats, Floats] | None) -> tuple[Pair, str | None]:
    from gauntlet.core.profile import blank

    if after is None:
        return Pair(before, blank(before)), "the column is not there"
    pair = Pair(before, after, exact)
    return pair, _fault(pair)


def _fault(pair: Pair) -> str | None:
    """What makes a column unfit to be compared, or trained on."""
    before, after = pair.reference, pair.current
    if before.valid and after.rows and not after.valid:
        return f"all {after.rows} rows are missing; the reference has {before.missing / before.rows:.1%} missing"
    if isinstance(before, Numbers) and isinstance(after, Numbers) and after.infinite and not before.infinite:
        return f"{after.infinite} infinite values; the reference has none"
    return None


def _judge(
    feature: str, segment: str | None, importance: float, found: tuple[Pair, str | None], limits: Limits
) -> Judged:
    whole, fault = found
    pair = replace(whole, exact=None)
    measured = tuple(_measure(one, pair, whole, limits) for one in STATISTICS.values() if pair.kind in one.kinds)
    changed = next((one.effect.note for one in measured if one.statistic.name == "dtype" and one.effect.value), None)
    return Judged(feature, segment, importance, pair, measured, limits.psi_severe, changed or fault)


def _measure(statistic: Statistic, pair: Pair, whole: Pair, limits: Limits) -> Measured:
    """Only the measurement sees whole columns; what is kept does not hold on to them."""
    limit: float | Literal["off"] | None = getattr(limits, statistic.name, 0.0)
    if not pair.current.rows or not pair.reference.rows:
        return Measured(statistic, Effect(None, note="no rows"), None, None)
    effect = statistic.measure(whole if statistic.reads_rows else pair)
    if limit is None or limit == "off":
        return Measured(statistic, effect, None, None)
    if effect.value is None:
        return Measured(statistic, effect, float(limit), None)
    return Measured(statistic, effect, float(limit), statistic.test(pair, effect, float(limit)))


def straddles(one: FeatureDrift, alpha: float) -> bool:
    """Whether a certified interval leaves this feature's verdict open, so that exact values are worth reading."""
    return any(
        result.outcome is not None
        and result.low is not None
        and result.high is not None
        and result.limit is not None
        and result.low <= result.limit <= result.high
        for result in one.statistics
    ) and (one.outcome is not Outcome.PASSED or (one.p_value or 1.0) <= alpha)


def _verdict(one: Judged, p: float, section: DriftSection, enough: bool) -> FeatureDrift:
    failed = p <= section.alpha and enough
    results = tuple(_result(item, one, failed, section.alpha) for item in one.measured)
    outcome = Outcome.FAILED if one.fault else _outcome(one, failed, enough, results)
    leading = carrier(one, outcome, section.alpha)
    needed = [result.required_rows for result in results if result.outcome is Outcome.INCONCLUSIVE]
    required = max((rows for rows in needed if rows is not None), default=None)
    # A segment of few rows is known beforehand to have them: what it leaves open is no news of this night.
    small = one.segment is not None and one.pair.current.rows < section.minimum_rows and enough
    return FeatureDrift(
        feature=one.feature,
        segment=one.segment,
        kind=one.pair.kind,
        importance=one.importance,
        outcome=outcome,
        judged=outcome is not Outcome.INCONCLUSIVE or not small,
        quality=bool(one.fault),
        severe=any(
            item.statistic.name == "psi" and (item.effect.value or 0) >= one.severe and failed for item in one.measured
        ),
        sentence=sentence(one, outcome, leading, section, enough, required),
        p_value=_tidy(one.p_value) if one.deciding else None,
        adjusted_p=_tidy(p) if one.deciding else None,
        effect=_tidy(min(leading.units, 1e6)) if leading else None,
        reference_rows=one.pair.reference.rows,
        current_rows=one.pair.current.rows,
        required_rows=required if outcome is Outcome.INCONCLUSIVE else None,
        statistics=results,
    )


def _outcome(one: Judged, failed: bool, enough: bool, results: tuple[StatisticResult, ...]) -> Outcome:
    if failed:
        return Outcome.FAILED
    if not enough or not one.pair.reference.valid or not one.pair.current.valid:
        return Outcome.INCONCLUSIVE
    return worst(result.outcome for result in results if result.outcome is not None)


def _result(item: Measured, one: Judged, failed: bool, alpha: float) -> StatisticResult:
    outcome, required = None, None
    if item.test is not None:
        if failed and item.test.more * one.tests <= alpha:
            outcome = Outcome.FAILED
        elif item.statistic.consequence == "quality":
            outcome = Outcome.FAILED if item.effect.value else Outcome.PASSED
        else:
            outcome = Outcome.PASSED if item.test.less <= alpha else Outcome.INCONCLUSIVE
            required = _required(item.test, one, alpha) if outcome is Outcome.INCONCLUSIVE else None
    return StatisticResult(
        statistic=item.statistic.name,
        outcome=outcome,
        value=_tidy(item.effect.value),
        low=_tidy(item.effect.low),
        high=_tidy(item.effect.high),
        limit=item.limit if item.test is not None else None,
        unit=item.statistic.unit,
        p_value=_tidy(item.test.more) if item.test else None,
        required_rows=required,
        sentence=measured_sentence(item, one),
    )


def _required(test: Relevance, one: Judged, alpha: float) -> int | None:
    rows = test.rows(alpha / one.tests)
    return None if rows is None else max(rows, 2 * one.pair.current.rows)


def _tidy(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
