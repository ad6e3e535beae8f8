"""The model's metrics over the nights, with what was promoted and rolled back."""

from __future__ import annotations

from collections.abc import Iterable

from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.drift import DriftSummary
from gauntlet.core.records.gates import GateReceipt
from gauntlet.core.records.ledger import DrillReport, PromotionRecord, RollbackReport
from gauntlet.core.records.rollout import RolloutPhase, RolloutState
from gauntlet.views.strips import nightly_runs

ABSOLUTE, AGAINST = "absolute_performance", "versus_champion"
EVENTS = 400


class Point(Record):
    """One candidate's metric on its holdout; the champion's on the same rows where there was one."""

    run: str
    at: Instant
    candidate: float | None
    champion: float | None
    outcome: str


class Matured(Record):
    """The champion's metric on labels that have matured since."""

    run: str
    at: Instant
    value: float


class Series(Record):
    """One metric. ``minimum`` and ``maximum`` are the absolute gate's limits, of the newest receipt."""

    metric: str
    points: tuple[Point, ...]
    live: tuple[Matured, ...]
    minimum: float | None
    maximum: float | None


class Mark(Record):
    """A promotion, a rollback or its rehearsal, or a canary that was taken out."""

    kind: str
    at: Instant
    version: int
    text: str


class Trend(Record):
    """All metrics of a model, and the marks on their time line."""

    model: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...]
    empty: str | None


def trend(services: Services, model: str, limit: int = 60) -> Trend:
    """The newest nights' metrics, oldest first. Times are when a run opened, as those of the marks are."""
    services.specs.get(model)
    runs = {run.run: run.opened_at for run in nightly_runs(services, model, limit)}
    absolute = _receipts(services, model, ABSOLUTE, runs)
    against = {one.run: one for one in _receipts(services, model, AGAINST, runs)}
    live = services.records.of_runs([f"{model}/{run}" for run in runs], DriftSummary)
    names = dict.fromkeys(item.metric for one in reversed(absolute) for item in one.verdict.measurements)
    series = [_series(name, absolute, against, runs, _live(live, runs, name)) for name in names]
    first = min(runs.values(), default=None)
    marks = [mark for mark in _marks(services, model) if first is not None and mark.at >= first]
    return Trend(
        model=model,
        series=tuple(one for one in series if one.points),
        marks=tuple(marks),
        empty=None if absolute else f"No candidate has been measured yet: the gate {ABSOLUTE} writes this history.",
    )


def _receipts(services: Services, model: str, gate: str, runs: Iterable[str]) -> list[GateReceipt]:
    """One gate's receipts, oldest first."""
    keys = [f"{model}/{run}" for run in runs][::-1]
    found = services.records.of_runs(keys, GateReceipt, gate)
    return [found[key][gate] for key in keys if key in found]


def _series(
    metric: str,
    absolute: list[GateReceipt],
    against: dict[str, GateReceipt],
    runs: dict[str, Instant],
    live: tuple[Matured, ...],
) -> Series:
    points: list[Point] = []
    limits: dict[str, float | None] = {"≥": None, "≤": None}
    for receipt in absolute:
        for item in receipt.verdict.measurements:
            if item.metric != metric or item.slice is not None:
                continue
            limits |= {item.comparator: item.limit}
            if not points or points[-1].run != receipt.run:
                points.append(_point(receipt, metric, item.observed, against.get(receipt.run), runs))
    return Series(metric=metric, points=tuple(points), live=live, minimum=limits["≥"], maximum=limits["≤"])


def _point(
    receipt: GateReceipt,
    metric: str,
    observed: float | None,
    comparison: GateReceipt | None,
    runs: dict[str, Instant],
) -> Point:
    measured = comparison.verdict.measurements if comparison else ()
    compared = next((item for item in measured if item.metric == metric and item.slice is None), None)
    return Point(
        run=receipt.run,
        at=runs[receipt.run],
        candidate=observed,
        champion=compared.champion if compared else None,
        outcome=receipt.verdict.outcome,
    )


def _live(found: dict[str, dict[str, DriftSummary]], runs: dict[str, Instant], metric: str) -> tuple[Matured, ...]:
    summaries = [named[""] for named in found.values() if "" in named]
    points = [
        Matured(run=one.run, at=runs[one.run], value=one.performance)
        for one in summaries
        if one.performance is not None and one.performance_metric == metric
    ]
    return tuple(sorted(points, key=lambda point: point.at))


def _marks(services: Services, model: str) -> list[Mark]:
    newest = services.records.newest
    promoted = [
        Mark(kind="promotion", at=one.promoted_at, version=one.candidate.version, text=f"promoted: {one.reason}")
        for one in newest(model, PromotionRecord, EVENTS)
    ]
    returned = [
        Mark(kind="rollback", at=one.decided_at, version=one.offender.version, text=one.sentence)
        for one in newest(model, RollbackReport, EVENTS)
    ]
    rehearsed = [
        Mark(
            kind="drill" if one.outcome.satisfied else "drill failed",
            at=one.at,
            version=one.champion.version,
            text=one.reason,
        )
        for one in newest(model, DrillReport, EVENTS)
        if one.champion is not None and one.outcome is not Outcome.INCONCLUSIVE
    ]
    withdrawn = [
        Mark(kind="canary rolled back", at=one.updated_at, version=one.candidate.version, text=one.reason)
        for one in newest(model, RolloutState, EVENTS)
        if one.phase is RolloutPhase.ROLLED_BACK
    ]
    return sorted([*promoted, *returned, *rehearsed, *withdrawn], key=lambda mark: mark.at)
