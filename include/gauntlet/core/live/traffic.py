"""Whether requests reach both arms as drawn, and whether the canary answers them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gauntlet.core import sequential
from gauntlet.core.live.case import Case, evidence_words, outcome_of, percent, verdict
from gauntlet.core.live.window import Window, distinct, first_of_unit
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import MetricVerdict

if TYPE_CHECKING:
    from gauntlet.core.live.window import Mask


def sample_ratio(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Whether units met the arms in the shares they were drawn with; without that no comparison holds."""
    canary, stable = distinct(window.unit[window.arm]), distinct(window.unit[~window.arm])
    n = canary + stable
    if n == 0:
        return (verdict("sample_ratio", Outcome.INCONCLUSIVE, "no requests yet", critical=True),)
    if window.share >= 1:
        outcome = Outcome.FAILED if stable else Outcome.PASSED
        sentence = f"{stable} of {n} units met the champion at 100 % for the canary"
        return (verdict("sample_ratio", outcome, sentence, critical=True, counts=(stable, canary)),)
    log_e = sequential.srm_log_e((canary, stable), (window.share, 1 - window.share))
    outcome = Outcome.FAILED if log_e >= case.needed else Outcome.PASSED
    sentence = (
        f"{canary} of {n} units met the canary, {percent(canary / n)} for a share of {percent(window.share)}"
        f"{evidence_words(log_e, case.needed)}"
    )
    if outcome is Outcome.FAILED:
        sentence += ": requests of one arm are lost or misassigned, no comparison can be trusted"
    return (
        verdict(
            "sample_ratio",
            outcome,
            sentence,
            critical=True,
            values=(1 - window.share, canary / n),
            limit=window.share,
            counts=(stable, canary),
            evidence=(log_e, case.needed),
        ),
    )


def error_rate(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Requests that the arm's own version did not answer, for whatever reason.

    Two tests must agree. The arm test compares with what assignment by chance would do and holds however the error
    rate moves over time; the other asks whether the difference is larger than the limit. At 100 % there is no arm to
    compare with, and only failures count that the champion did not share: those it answered instead.
    """
    events, limit = window.failed if window.share < 1 else window.fell_back, case.checks.error_rate_increase
    if not window.arm.any() or (window.arm.all() and window.share < 1):
        return (_nobody("error_rate", window),)
    hit = distinct(window.unit[events & window.arm])
    beyond = _beyond_log_e(window, events, limit, case.alpha)
    if window.share < 1:
        by_arm = sequential.arm_log_e(hit, hit + distinct(window.unit[events & ~window.arm]), window.share)
        beyond = min(beyond, by_arm)
    return (_rate("error_rate", window, events, limit, beyond, case),)


def fallback_rate(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Requests of the canary that the champion had to answer; the champion itself has nobody to fall back on."""
    limit = case.checks.fallback_rate_increase
    if not window.arm.any():
        return (_nobody("fallback_rate", window),)
    first = first_of_unit(window.unit, window.arm)
    log_e = sequential.rate_log_e(int((window.fell_back & first).sum()), int(first.sum()), limit)
    return (_rate("fallback_rate", window, window.fell_back, limit, log_e, case),)


def invalid_outputs(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Scores that were not finite or out of range: no statistics, a sound model has none."""
    n = int(window.arm.sum())
    if n == 0:
        return (verdict("invalid_outputs", Outcome.INCONCLUSIVE, "no canary requests yet", critical=True),)
    count, limit = int((window.invalid & window.arm).sum()), case.checks.invalid_outputs
    outcome = Outcome.FAILED if count > limit else Outcome.PASSED
    stable = int((window.invalid & ~window.arm).sum())
    sentence = f"{count} invalid scores in {n} canary requests, limit {limit}"
    return (
        verdict(
            "invalid_outputs",
            outcome,
            sentence,
            critical=True,
            values=(stable, count),
            limit=limit,
            counts=(window.arm.size - n, n),
        ),
    )


def shadow_errors(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Requests that the challenger could not score although it was only to shadow them."""
    import numpy as np

    failed = window.shadow_failed if window.shadow_failed is not None else np.zeros(window.arm.size, dtype=bool)
    tried = first_of_unit(window.unit, failed | (np.isfinite(window.stable) & np.isfinite(window.canary)))
    n = int(tried.sum())
    if n == 0:
        return (verdict("shadow_errors", Outcome.INCONCLUSIVE, "the challenger has scored nothing yet", critical=True),)
    count, limit = int((failed & tried).sum()), case.checks.error_rate_increase
    log_e = sequential.rate_log_e(count, n, limit)
    rate = count / n
    return (
        verdict(
            "shadow_errors",
            outcome_of(
                harm=rate > limit,
                significant=log_e >= case.needed,
                leaning=case.leans(rate - limit, math.sqrt(rate * (1 - rate) / n)),
            ),
            f"{percent(rate)} of {n} requests could not be scored, limit {percent(limit)}"
            f"{evidence_words(log_e, case.needed)}",
            critical=True,
            values=(0.0, rate),
            limit=limit,
            counts=(n, n),
            evidence=(log_e, case.needed),
            interval=sequential.rate_interval(count, n, case.alpha),
        ),
    )


def _beyond_log_e(window: Window, events: Mask, limit: float, alpha: float) -> float:
    """Log e-value against "the canary's rate is at most the champion's plus the limit".

    Against the highest champion rate that half of ``alpha`` cannot exclude; the other half is the canary's.
    """
    first = first_of_unit(window.unit, window.arm)
    others = first_of_unit(window.unit, ~window.arm)
    theirs = (
        sequential.rate_interval(int((events & others).sum()), int(others.sum()), alpha / 2)[1] if others.any() else 0
    )
    return sequential.rate_log_e(int((events & first).sum()), int(first.sum()), theirs + limit) - math.log(2)


def _rate(name: str, window: Window, events: Mask, limit: float, log_e: float, case: Case) -> MetricVerdict:
    n = int(window.arm.sum())
    others = window.arm.size - n
    canary = float(events[window.arm].mean())
    stable = float(events[~window.arm].mean()) if others else 0.0
    error = math.sqrt(canary * (1 - canary) / n + stable * (1 - stable) / max(1, others))
    sentence = (
        f"{percent(canary)} of {n} canary requests against {percent(stable)} of {others}: "
        f"{(canary - stable) * 100:+.2f} points, limit +{limit * 100:g}{evidence_words(log_e, case.needed)}"
    )
    return verdict(
        name,
        outcome_of(
            harm=canary - stable > limit,
            significant=log_e >= case.needed,
            leaning=case.leans(canary - stable - limit, error),
        ),
        sentence,
        critical=True,
        values=(stable, canary),
        limit=limit,
        counts=(others, n),
        evidence=(log_e, case.needed),
        interval=sequential.rate_interval(int(events[window.arm].sum()), n, case.alpha),
    )


def _nobody(name: str, window: Window) -> MetricVerdict:
    n = int(window.arm.sum())
    counts = (window.arm.size - n, n)
    return verdict(name, Outcome.INCONCLUSIVE, "no requests of both arms yet", critical=True, counts=counts)
