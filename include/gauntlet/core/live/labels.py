"""Whether the canary is as right as the champion, on requests whose label has become known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gauntlet.core import sequential
from gauntlet.core.live.case import Case, evidence_words, outcome_of, percent, too_few, verdict
from gauntlet.core.live.scores import RHO
from gauntlet.core.live.window import Window, distinct, first_of_unit
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import MetricVerdict

if TYPE_CHECKING:
    from gauntlet.core.live.window import Floats

CLIP = 1e-4
"""Scores closer to 0 or 1 than this count as this close: one certain and wrong score is not the whole loss."""


def label_ratio(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Whether labels become known for both arms alike; if not, what they say about the arms cannot be compared."""
    import numpy as np

    known = np.isfinite(window.label) & window.settled
    canary, stable = distinct(window.unit[known & window.arm]), distinct(window.unit[known & ~window.arm])
    if canary + stable == 0:
        why = f": {window.note}" if window.note else ""
        return (verdict("label_ratio", Outcome.INCONCLUSIVE, f"no labels yet{why}"),)
    if window.share >= 1:
        return (verdict("label_ratio", Outcome.PASSED, f"{canary} labels of one arm", counts=(stable, canary)),)
    log_e = sequential.srm_log_e((canary, stable), (window.share, 1 - window.share))
    return (
        verdict(
            "label_ratio",
            Outcome.FAILED if log_e >= case.needed else Outcome.PASSED,
            f"{canary} of {canary + stable} labelled units met the canary for a share of {percent(window.share)}"
            f"{_coverage(window)}{evidence_words(log_e, case.needed)}",
            values=(1 - window.share, canary / (canary + stable)),
            limit=window.share,
            counts=(stable, canary),
            evidence=(log_e, case.needed),
        ),
    )


def _coverage(window: Window) -> str:
    """How many of each arm's mature requests have a label."""
    import numpy as np

    if window.mature is None:
        return ""
    due = window.mature & window.settled
    known = due & np.isfinite(window.label)
    shares = [percent(int((known & arm).sum()) / max(1, int((due & arm).sum()))) for arm in (window.arm, ~window.arm)]
    return f"; {shares[0]} of its mature requests have a label, {shares[1]} of the champion's"


def log_loss(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """Mean difference of both versions' log-loss on the same labelled requests."""
    stable, canary, label = _labelled(window)
    if label.size < case.checks.scores:
        return (too_few("log_loss", stable, canary, case),)
    theirs, ours = _losses(stable, label), _losses(canary, label)
    change, limit = float((ours - theirs).mean()), case.checks.log_loss_increase
    low, high = sequential.mean_interval(ours - theirs, case.alpha, RHO)
    return (
        verdict(
            "log_loss",
            outcome_of(
                harm=change > limit,
                significant=low > limit,
                leaning=case.leans(change - limit, _error(ours - theirs)),
            ),
            f"{ours.mean():.4f} against {theirs.mean():.4f} on {label.size} labelled requests scored by both: "
            f"{change:+.4f} [{low:+.4f}, {high:+.4f}], limit +{limit:g}",
            values=(float(theirs.mean()), float(ours.mean())),
            limit=limit,
            counts=(label.size, label.size),
            interval=(low, high),
        ),
    )


def calibration(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
    """How far the mean score is from the label rate, for both versions on the same labelled requests."""
    stable, canary, label = _labelled(window)
    if label.size < case.checks.scores:
        return (too_few("calibration", stable, canary, case),)
    ours, theirs = float((canary - label).mean()), float((stable - label).mean())
    change, limit = abs(ours) - abs(theirs), case.checks.calibration_change
    low, high = sequential.mean_interval(canary - label, case.alpha / 2, RHO)
    least = max(0.0, low, -high)
    low, high = sequential.mean_interval(stable - label, case.alpha / 2, RHO)
    most = max(abs(low), abs(high))
    return (
        verdict(
            "calibration",
            outcome_of(
                harm=change > limit,
                significant=least - most > limit,
                leaning=case.leans(change - limit, _error(canary - label) + _error(stable - label)),
            ),
            f"mean score {ours:+.4f} off the label rate of {percent(float(label.mean()))} against {theirs:+.4f} on "
            f"{label.size} labelled requests, limit {limit:g} farther",
            values=(theirs, ours),
            limit=limit,
            counts=(label.size, label.size),
        ),
    )


def _labelled(window: Window) -> tuple[Floats, Floats, Floats]:
    import numpy as np

    rows = first_of_unit(window.unit, window.paired & np.isfinite(window.label))
    return window.stable[rows], window.canary[rows], window.label[rows]


def _error(values: Floats) -> float:
    return float(values.std()) / math.sqrt(values.size)


def _losses(scores: Floats, label: Floats) -> Floats:
    import numpy as np

    likely = np.clip(scores, CLIP, 1 - CLIP)
    return -(label * np.log(likely) + (1 - label) * np.log1p(-likely))
