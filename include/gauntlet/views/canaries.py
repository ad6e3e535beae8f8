"""Rollouts: weight over time, and what the judge said of both arms at each look."""

from __future__ import annotations

from gauntlet.core.errors import MissingRecord
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.rollout import (
    MetricVerdict,
    PreflightReport,
    RolloutCommand,
    RolloutState,
    ServedVersion,
)
from gauntlet.core.registry import did_you_mean
from gauntlet.views.links import CANARY, Link, airflow_run

MOST_TICKS = 600
MOST = 100


class RolloutLine(Record):
    """One rollout in a line."""

    rollout: str
    run: str
    source_run: str
    phase: str
    pause: str | None
    step: int
    weight_ppm: int
    candidate: ServedVersion
    stable: ServedVersion | None
    reason: str
    started_at: Instant
    updated_at: Instant
    over: bool


class Rollouts(Record):
    """The newest rollouts, newest first."""

    model: str
    steps: tuple[float, ...]
    """The ramp in percent, from the spec."""
    rollouts: tuple[RolloutLine, ...]
    empty: str | None


class Tick(Record):
    """One look. ``metrics`` compare the arms; ``outcome`` is ``None`` where nothing was judged."""

    at: Instant
    phase: str
    step: int
    weight_ppm: int
    outcome: str | None
    reason: str
    requests: int | None
    stable_requests: int | None
    explored: int = 0
    """Requests that the exploration reserve has decided."""
    metrics: tuple[MetricVerdict, ...]


class Weight(Record):
    """From this time on, the canary had this weight."""

    at: Instant
    weight_ppm: int
    reason: str


class RolloutPage(Record):
    """One rollout in full."""

    model: str
    line: RolloutLine
    ticks: tuple[Tick, ...]
    left_out: int
    """Looks that are not shown: of very many, those between which nothing changed are thinned."""
    weights: tuple[Weight, ...]
    preflight: PreflightReport | None
    commands: tuple[RolloutCommand, ...]
    withdraw_seconds: float | None
    links: tuple[Link, ...]


def rollouts(services: Services, model: str, limit: int = 30) -> Rollouts:
    """The newest rollouts of a model."""
    spec = services.specs.get(model)
    found = services.records.newest(model, RolloutState, limit)
    return Rollouts(
        model=model,
        steps=tuple(step.weight for step in spec.rollout.steps),
        rollouts=tuple(_line(state) for state in found),
        empty=None if found else "No rollout yet. A version that passes its gates starts one by itself.",
    )


def rollout(services: Services, model: str, name: str) -> RolloutPage:
    """One rollout with every look there was; MissingRecord when none is called so."""
    known = {state.rollout: state for state in services.records.newest(model, RolloutState, MOST)}
    if name not in known:
        raise MissingRecord(f"{model}: no rollout is called {name!r}: {did_you_mean(name, known)}")
    state = known[name]
    key = f"{model}/{state.run}"
    past = [one for one in services.records.past(key, RolloutState) if one.rollout == name]
    ticks = [_tick(one, before) for before, one in zip([None, *past], past, strict=False)]
    shown = thinned(ticks)
    return RolloutPage(
        model=model,
        line=_line(state),
        ticks=tuple(shown),
        left_out=len(ticks) - len(shown),
        weights=tuple(_weights(services, model, name)),
        preflight=services.records.find(key, PreflightReport),
        commands=tuple(services.records.named(key, RolloutCommand).values()),
        withdraw_seconds=state.withdraw_seconds,
        links=(airflow_run(f"{model}__{CANARY}", state.run),),
    )


def thinned(ticks: list[Tick], most: int = MOST_TICKS) -> list[Tick]:
    """Of very many looks every n-th, and all at which phase, step or outcome changed."""
    if len(ticks) <= most:
        return ticks
    every = -(-len(ticks) // most)
    before = [None, *ticks]
    return [
        tick
        for place, (last, tick) in enumerate(zip(before, ticks, strict=False))
        if place % every == 0 or last is None or place == len(ticks) - 1 or _facts(last) != _facts(tick)
    ]


def _facts(tick: Tick) -> tuple[str, int, int, str | None]:
    return tick.phase, tick.step, tick.weight_ppm, tick.outcome


def _tick(state: RolloutState, before: RolloutState | None) -> Tick:
    # A state that only says what followed from a judgement carries that judgement again.
    analysis = state.analysis if before is None or state.analysis != before.analysis else None
    return Tick(
        at=state.updated_at,
        phase=state.phase,
        step=state.step,
        weight_ppm=analysis.weight_ppm if analysis else state.weight_ppm,
        outcome=analysis.outcome if analysis else None,
        reason=state.reason,
        requests=analysis.requests if analysis else None,
        stable_requests=analysis.stable_requests if analysis else None,
        explored=analysis.explored if analysis else 0,
        metrics=analysis.metrics if analysis else (),
    )


def _weights(services: Services, model: str, name: str) -> list[Weight]:
    """From the routing rows, which are the truth for traffic; the row after the last ends it."""
    weights: list[Weight] = []
    mine = False
    for change in services.ledger.routings(model):
        was, mine = mine, change.routing.rollout == name
        if mine or was:
            weight = change.routing.weight_ppm if mine else 0
            weights.append(Weight(at=change.at, weight_ppm=weight, reason=change.reason))
    return weights


def _line(state: RolloutState) -> RolloutLine:
    return RolloutLine(
        rollout=state.rollout,
        run=state.run,
        source_run=state.source_run,
        phase=state.phase,
        pause=state.pause,
        step=state.step,
        weight_ppm=state.weight_ppm,
        candidate=state.candidate,
        stable=state.stable,
        reason=state.reason,
        started_at=state.started_at,
        updated_at=state.updated_at,
        over=state.over,
    )
