"""Drift over nights: a map of features by checks, and one feature with both its windows."""

from __future__ import annotations

import math

from gauntlet.core.errors import GauntletError, MissingRecord
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.drift import DriftReport, DriftShares, DriftSummary, FeatureShares, StatisticResult
from gauntlet.core.registry import did_you_mean
from gauntlet.views.strips import nightly_runs

LETTERS = {
    Outcome.PASSED: "p",
    Outcome.WAIVED: "w",
    Outcome.INCONCLUSIVE: "i",
    Outcome.ERROR: "e",
    Outcome.FAILED: "f",
}
ABSENT = "-"
STRONGEST = 99.0
"""Effects are in units of their limit; more than this is shown as this."""


class DriftCheck(Record):
    """One column of the map."""

    run: str
    as_of: Instant
    outcome: str
    action: str
    reason: str
    score: float | None
    champion: str | None


class DriftMap(Record):
    """Checks from left to right, oldest first; features from top to bottom, most important first.

    ``effects[f][c]`` is feature ``f`` at check ``c`` in units of its limit; ``outcomes[f][c]`` one letter of
    ``p i e f w``, ``-`` where it was not checked.
    """

    model: str
    checks: tuple[DriftCheck, ...]
    features: tuple[str, ...]
    importances: tuple[float, ...]
    effects: tuple[tuple[float | None, ...], ...]
    outcomes: tuple[str, ...]
    empty: str | None


class FeatureNight(Record):
    """One feature at one check."""

    run: str
    as_of: Instant
    effect: float | None
    outcome: str


class FeaturePage(Record):
    """One feature at one check: its statistics, both windows as bars, and how it got there."""

    model: str
    run: str
    as_of: Instant
    feature: str
    importance: float
    outcome: str
    sentence: str
    statistics: tuple[StatisticResult, ...]
    shares: FeatureShares | None
    no_shares: str | None
    past: tuple[FeatureNight, ...]


def drift(services: Services, model: str, limit: int = 60) -> DriftMap:
    """The newest checks of the nights, and the newest check of all."""
    services.specs.get(model)
    checks = _checks(services, model, limit)
    order = _by_importance(checks)
    return DriftMap(
        model=model,
        checks=tuple(_column(one) for one in checks),
        features=tuple(order),
        importances=tuple(order.values()),
        effects=_effects(checks, order),
        outcomes=_letters(checks, order),
        empty=_why_empty(model, checks),
    )


def feature(services: Services, model: str, run: str, name: str, limit: int = 60) -> FeaturePage:
    """One feature at the check of one run; MissingRecord when it was not checked there."""
    report = services.records.get(f"{model}/{run}", DriftReport)
    whole = {one.feature: one for one in report.features if one.segment is None}
    if name not in whole:
        raise MissingRecord(f"{model}/{run}: no feature {name!r} was checked: {did_you_mean(name, whole)}")
    found = whole[name]
    bars, why = _bars(services, model, run, name)
    return FeaturePage(
        model=model,
        run=run,
        as_of=report.as_of,
        feature=name,
        importance=found.importance,
        outcome=found.outcome,
        sentence=found.sentence,
        statistics=found.statistics,
        shares=bars,
        no_shares=why,
        past=tuple(_past(_checks(services, model, limit), name)),
    )


def _checks(services: Services, model: str, limit: int) -> list[DriftSummary]:
    """One per night, oldest first; last the newest check, whichever DAG made it."""
    runs = nightly_runs(services, model, limit)
    found = services.records.of_runs([run.key for run in runs], DriftSummary)
    nightly = [found[run.key][""] for run in reversed(runs) if run.key in found]
    newest = services.records.newest(model, DriftSummary)
    seen = {one.run for one in nightly}
    return sorted([*nightly, *(one for one in newest if one.run not in seen)], key=lambda one: one.as_of)


def _by_importance(checks: list[DriftSummary]) -> dict[str, float]:
    """Features by the importance they had last, heaviest first."""
    importance: dict[str, float] = {}
    for one in checks:
        importance.update(zip(one.features, one.importances, strict=True))
    return dict(sorted(importance.items(), key=lambda item: (-item[1], item[0])))


def _effects(checks: list[DriftSummary], order: dict[str, float]) -> tuple[tuple[float | None, ...], ...]:
    columns = [dict(zip(one.features, map(_finite, one.effects), strict=True)) for one in checks]
    return tuple(tuple(column.get(name) for column in columns) for name in order)


def _letters(checks: list[DriftSummary], order: dict[str, float]) -> tuple[str, ...]:
    columns = [
        {name: LETTERS[outcome] for name, outcome in zip(one.features, one.outcomes, strict=True)} for one in checks
    ]
    return tuple("".join(column.get(name, ABSENT) for column in columns) for name in order)


def _finite(effect: float | None) -> float | None:
    if effect is None or math.isnan(effect):
        return None
    return min(effect, STRONGEST)


def _column(one: DriftSummary) -> DriftCheck:
    return DriftCheck(
        run=one.run,
        as_of=one.as_of,
        outcome=one.outcome,
        action=one.action,
        reason=one.reason,
        score=one.score,
        champion=one.champion,
    )


def _bars(services: Services, model: str, run: str, name: str) -> tuple[FeatureShares | None, str | None]:
    summary = services.records.find(f"{model}/{run}", DriftSummary)
    if summary is None or summary.shares_uri is None or summary.shares_sha256 is None:
        return None, "This check kept no distributions; the next one will."
    try:
        path = services.blobs.fetch(summary.shares_uri, summary.shares_sha256)
    except GauntletError as error:
        return None, f"The distributions cannot be read: {error}"
    kept = DriftShares.model_validate_json(path.read_bytes())
    bars = next((one for one in kept.features if one.feature == name), None)
    return bars, None if bars else "One of the two windows has no rows of this feature."


def _past(checks: list[DriftSummary], name: str) -> list[FeatureNight]:
    return [
        FeatureNight(
            run=one.run,
            as_of=one.as_of,
            effect=_finite(one.effects[one.features.index(name)]),
            outcome=one.outcomes[one.features.index(name)],
        )
        for one in checks
        if name in one.features
    ]


def _why_empty(model: str, checks: list[DriftSummary]) -> str | None:
    if not checks:
        return f"No drift check has run yet. {model}__drift_check and {model}__retrain make one."
    if not any(one.features for one in checks):
        return f"Nothing has been compared yet: {checks[-1].reason}."
    return None
