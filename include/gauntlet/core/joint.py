"""One test for the change of everything that the model uses: small shifts of many features, or of its scores.

A shift that costs a model a point of ROC AUC need not move any single feature beyond its own limit. Here the
homogeneity chi-squareds of all features are added up, each weighted by the champion's importance:
``T = sum(w_j X_j)`` with ``sum(w_j) = 1``. ``T (1/n + 1/m)`` less its sampling noise is the mean PSI, by weight, for
changes as small as these. The test is for a mean beyond a practical limit, like every other test here.

So small a limit takes many rows. Whether a window has them is known before it is looked at: where it has not, the
question is *not judged at this size*, which is neither a pass nor news.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gauntlet.core.axis import Floats
from gauntlet.core.joint_parts import Part, combine, contingencies, heaviest
from gauntlet.core.joint_past import NO_PAST, Past, Question, Usual, result_of, usual_change
from gauntlet.core.joint_sum import Combined
from gauntlet.core.moments import Moved
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.drift import FeatureDrift, StatisticResult
from gauntlet.core.specs.drift import DriftSection
from gauntlet.core.statistics.base import Cells, rows_for_spread

__all__ = [
    "ALL_TOGETHER",
    "CAP",
    "PAIRS",
    "STATISTIC",
    "Combined",
    "Part",
    "Past",
    "Question",
    "combine",
    "contingencies",
    "heaviest",
    "joint_drift",
    "judge",
    "usual_change",
    "with_score_change",
]

NAMED = 3
CAP = 10.0
"""In limits: a change beyond this is never usual."""
ALL_TOGETHER, IN_PAIRS, IN_SCORES = 0.01, 0.02, 0.01
"""Shares of the check's alpha: a tenth of a per cent of nights at most, so that a year has hardly a false page."""
NEWEST = 0.5
"""P-value from which the newest window does not point the way of the one before."""
LINGERS = 0.2
"""A finding that was open stays open up to this p-value, so that one incident is one page."""
STATISTIC = "weighted_change"
PAIRS = "weighted_pairs"


def judge(
    question: Question,
    now: Combined,
    earlier: Sequence[FeatureDrift | None],
    before: FeatureDrift | None,
    pairs: Sequence[Moved] = (),
) -> StatisticResult:
    """Is the change beyond its limit, and beyond what is usual? ``before``: the finding of the last check.

    ``pairs``: the window, and the window together with the one before it, less what is usual. Their largest
    component is asked too, and the surest of all answers is told, at its price.
    """
    usual = Usual() if pairs else usual_change(earlier, now, question)
    limit = question.limit * usual.most
    (more, less), told, largest = now.beyond(limit), now, (1.0, "")
    if pairs:
        more, told, largest = _surest(pairs, limit)
    last = result_of(before, question.statistic)
    lingering = last is not None and last.outcome is Outcome.FAILED and question.alpha < more <= LINGERS
    outcome = Outcome.PASSED if less <= question.alpha else Outcome.INCONCLUSIVE
    outcome = Outcome.FAILED if more <= question.alpha or lingering else outcome
    enough = now.spread_to_judge(limit, question.alpha, question.limit * usual.mean)
    judged = outcome is not Outcome.INCONCLUSIVE or (enough is not None and now.spread <= enough)
    required, would = None, ""
    if outcome is Outcome.INCONCLUSIVE:
        required, would = _would(told, told.spread_to_decide(limit, question.alpha) if judged else enough)
    beside = " (usual of this champion's windows)" if usual.most > 1 else ""
    sentence = f"{question.told} {max(told.change, 0.0):.5f}, limit {limit:.5f}{beside}, on {told.rows} rows"
    if outcome is Outcome.FAILED:
        sentence += ", not yet over" if lingering else f", p {more:.2g}"
        sentence += f"; mostly {_leading(told, largest)}"
    elif not judged:
        sentence = f"{question.asked} not judged at this size ({now.rows} rows), {would}"
        sentence += f"; found from {now.found_from(limit, question.alpha):.2g}, limit {limit:.2g}{beside}"
    elif would:
        sentence += f"; too few rows to tell, {would}"
    return StatisticResult(
        statistic=question.statistic,
        outcome=outcome,
        judged=judged,
        value=now.change,
        limit=limit,
        p_value=more,
        required_rows=required,
        sentence=sentence,
    )


def _surest(pairs: Sequence[Moved], limit: float) -> tuple[float, Combined, tuple[float, str]]:
    """P-value of the surest answer, corrected for how many were asked, with the sums and the largest behind it.

    An earlier window counts only where the newest one points the same way.
    """
    found: list[tuple[float, Combined, tuple[float, str]]] = []
    for one in pairs:
        largest = one.largest(2 * math.sqrt(limit))
        found.append((2 * min(one.together.beyond(limit)[0], largest[0]), one.together, largest))
        if found[0][0] > NEWEST:
            break
    p, together, largest = min(found, key=lambda answer: answer[0])
    return min(len(pairs) * p, 1.0), together, largest


def _leading(now: Combined, largest: tuple[float, str]) -> str:
    ranked = sorted(now.shares, key=lambda name: (-now.shares[name], name))
    first = [largest[1]] if largest[0] < LINGERS else []
    return ", ".join([*first, *(name for name in ranked if name not in first and now.shares[name] > 0)][:NAMED])


def _would(now: Combined, spread: float | None) -> tuple[int | None, str]:
    """Rows of the current window that give this ``1/n + 1/m``, and how to say it."""
    if spread is None:
        return None, "whatever the rows: it lies at its limit"
    rows = rows_for_spread(spread, now.reference_rows)
    if rows is None:
        return None, f"it takes about {math.ceil(2 / spread)} rows in both windows"
    return max(rows, now.rows + 1), f"about {max(rows, now.rows + 1)} would do"


def joint_drift(
    parts: Sequence[Part],
    section: DriftSection,
    past: Past = NO_PAST,
    dependence: Floats | None = None,
    pairs: Moved | None = None,
) -> FeatureDrift | None:
    """The finding over all features; ``None`` where the spec asks for none or nothing can be compared.

    ``pairs``: levels, spreads and pairs of ranks, which need the rows of both windows.
    """
    now = combine(parts, dependence) if section.joint is not None else None
    if now is None or section.joint is None:
        return None
    before = past.history[0].joint if past.history else None
    earlier = [report.joint for report in past.apart()]
    told, alpha = "what the model uses changed by a PSI of", section.alpha * ALL_TOGETHER
    question = Question(STATISTIC, "small changes of all features together are", told, section.joint, CAP, alpha)
    results = [judge(question, now, earlier, before)]
    if pairs is not None and section.joint_pairs is not None:
        asked = "small changes of levels, spreads and pairs are"
        told = "levels, spreads and pairs of what the model uses changed by a mean square of"
        question = Question(PAIRS, asked, told, section.joint_pairs, 1.0, section.alpha * IN_PAIRS)
        results.append(judge(question, pairs.together, earlier, before, past.beyond_usual(pairs)))
    return _finding(results, now, section)


def _finding(results: Sequence[StatisticResult], now: Combined, section: DriftSection) -> FeatureDrift:
    """The worst result is told; of open ones those first that this many rows should have settled."""
    if now.rows < section.minimum_rows:
        results = [one.model_copy(update={"outcome": Outcome.INCONCLUSIVE, "judged": True}) for one in results]
    outcome = worst(result.outcome for result in results if result.outcome is not None)
    told = [result for result in results if result.outcome is outcome]
    told = [result for result in told if result.judged] or told
    rows = [result.required_rows for result in told if result.required_rows is not None]
    return FeatureDrift(
        feature="all features",
        segment=None,
        kind="weighted",
        importance=1.0,
        outcome=outcome,
        judged=told[0].judged,
        quality=False,
        severe=False,
        sentence=_told(told),
        p_value=min((result.p_value for result in results if result.p_value is not None), default=None),
        adjusted_p=None,
        effect=max((result.value or 0.0) / result.limit for result in results if result.limit),
        reference_rows=now.reference_rows,
        current_rows=now.rows,
        required_rows=max(rows, default=None) if outcome is Outcome.INCONCLUSIVE else None,
        statistics=tuple(results),
    )


def _told(results: Sequence[StatisticResult]) -> str:
    """The surest of what was judged; all that was not."""
    if not results[0].judged:
        return "; ".join(result.sentence for result in results)
    return min(results, key=lambda result: result.p_value if result.p_value is not None else 1.0).sentence


def with_score_change(
    prediction: FeatureDrift, cells: Cells, section: DriftSection, past: Past = NO_PAST
) -> FeatureDrift:
    """The finding on the champion's scores, and whether they changed by as little as the features may together."""
    now = combine([Part("score", 1.0, cells)]) if section.joint is not None else None
    if now is None or section.joint is None or prediction.outcome is Outcome.ERROR:
        return prediction
    before = past.history[0].prediction if past.history else None
    earlier = [report.prediction for report in past.apart()]
    told, alpha = "the distribution of scores changed by a PSI of", section.alpha * IN_SCORES
    question = Question(STATISTIC, "small changes of the scores are", told, section.joint, CAP, alpha)
    result = judge(question, now, earlier, before)
    update: dict[str, object] = {"statistics": (*prediction.statistics, result)}
    if now.rows >= section.minimum_rows and prediction.outcome is not Outcome.FAILED:
        update |= _taken_over(prediction, result)
    return prediction.model_copy(update=update)


def _taken_over(prediction: FeatureDrift, result: StatisticResult) -> dict[str, object]:
    """What is not judged at this size is said, and leaves the verdict on the larger changes as it is."""
    if not result.judged:
        return {"sentence": f"{prediction.sentence}; {result.sentence}"}
    outcome = worst([prediction.outcome, result.outcome or Outcome.ERROR])
    if outcome is prediction.outcome:
        return {}
    return {"outcome": outcome, "sentence": result.sentence, "required_rows": result.required_rows}
