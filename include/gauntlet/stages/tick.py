"""One look at a ramp step: judge the journal, act, renew the lease. Safe to repeat."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from gauntlet.core.errors import InfrastructureError, MissingRecord, Rejection, RolloutAborted
from gauntlet.core.judge import Golden, case_for, judge, metrics_of
from gauntlet.core.live.window import Window, read_window
from gauntlet.core.ports import Services
from gauntlet.core.records.rollout import (
    CanaryAnalysis,
    PreflightReport,
    RolloutCommand,
    RolloutPhase,
    RolloutState,
    Routing,
)
from gauntlet.core.records.run import RunContext
from gauntlet.core.rollout import Observation, advance
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.rollout import RolloutSection, Stage, stage_name
from gauntlet.stages.ab_report import ab_report
from gauntlet.stages.carry_out import ACTOR, carry_out
from gauntlet.stages.challengers import overtaken_by
from gauntlet.stages.hold import frozen
from gauntlet.stages.live_evidence import join_labels, measure_products
from gauntlet.stages.preflight import largest_difference
from gauntlet.stages.release_folder import read_golden

GOLDEN_ROWS = 32
SKEW = timedelta(seconds=0.5)
IN_TRAFFIC = (RolloutPhase.SHADOW, RolloutPhase.STEP, RolloutPhase.PAUSED, RolloutPhase.BAKE)


def tick(services: Services, run: RunContext, step: int) -> RolloutState:
    """Look once at stage ``step``: -1 is the shadow, steps are numbered from 0.

    The state says with :meth:`RolloutState.step_done` whether it has passed. Everything is in the store, so a tick may
    come late, twice, or from another process.

    Raises:
        RolloutAborted: the canary is out of traffic; every server has reported it.
        MissingRecord: the step before, or the preflight, has not passed.
    """
    state = services.records.get(run.key, RolloutState)
    if state.phase is RolloutPhase.PROMOTED or (state.step_done(step) and not state.over):
        return state
    _in_turn(state, step)
    spec = services.specs.get(run.model)
    if not state.over:
        state = look_once(services, run, spec, state)
    if state.over and state.phase is not RolloutPhase.PROMOTED:
        raise RolloutAborted(_epitaph(state))
    return state


def _in_turn(state: RolloutState, step: int) -> None:
    if state.phase is RolloutPhase.PENDING:
        raise MissingRecord(f"{state.rollout}: its preflight has not passed yet; run that task first")
    if not state.over and step > state.step:
        raise MissingRecord(f"{state.rollout} is in {stage_name(state.step)}; {stage_name(step)} comes after it")


def look_once(services: Services, run: RunContext, spec: ModelSpec, state: RolloutState) -> RolloutState:
    """Judge, decide, act; the state after it is stored."""
    now = services.clock.now()
    # What was seen is acted on only while the routing is still the one that was seen: the epoch is the fence.
    epoch = services.routing.read(run.model).epoch
    observation = observe(services, run, spec, state, now)
    if observation.analysis is not None:
        services.records.put(run.key, observation.analysis, f"step-{state.step + 1}", actor=ACTOR)
    # Reading the journal may wait for its writers: the decision is made now, not when the look began.
    transition = advance(state, spec.rollout, observation, services.clock.now())
    done = carry_out(services, transition, spec.rollout, at=run.key, epoch=epoch)
    if transition.event == "finished" and spec.rollout.ab is not None:
        ab_report(services, run.model)
    return done


def observe(services: Services, run: RunContext, spec: ModelSpec, state: RolloutState, now: datetime) -> Observation:
    """Everything this tick goes by: commands, who else touched the routing, what the servers say, the judgement."""
    commands = waiting_commands(services, run.key, state)
    why = frozen(services, run.model, starting=state.phase is RolloutPhase.PREFLIGHT)
    if state.phase not in IN_TRAFFIC:
        return Observation(commands=commands, frozen=why)
    routing = services.routing.read(run.model)
    superseded = _superseded(state, routing) or overtaken_by(services, spec.rollout, state, routing)
    if superseded is not None:
        return Observation(commands=commands, superseded=superseded)
    # Clocks of hosts differ a little: so near its end, a worker's lease may be over and its canary without traffic.
    lapsed = routing.lease_until is None or routing.lease_until <= now + SKEW
    return Observation(
        analysis=None if lapsed else _analyse(services, spec, state, now),
        commands=commands,
        withdrawn=None if lapsed else _tripped(services, routing),
        lapsed=lapsed,
        frozen=why,
    )


def waiting_commands(services: Services, run_key: str, state: RolloutState) -> tuple[RolloutCommand, ...]:
    """Commands to this rollout that no tick has carried out yet, oldest first."""
    named = services.records.named(run_key, RolloutCommand)
    waiting = [command for command in named.values() if command.command not in state.commands]
    return tuple(sorted(waiting, key=lambda command: (command.at, command.command)))


def _superseded(state: RolloutState, routing: Routing) -> str | None:
    if routing.rollout == state.rollout and routing.canary == state.candidate and routing.stable == state.stable:
        return None
    stable = f"version {routing.stable.version}" if routing.stable else "nobody"
    return f"the routing was changed by somebody else at epoch {routing.epoch}: {stable} is champion now"


def _tripped(services: Services, routing: Routing) -> str | None:
    """A worker that has the canary loaded and gives it no traffic though the routing does: its breaker.

    One that has not loaded it (yet) has only just started: that is for the servers to mend, and no evidence.
    """
    canary = routing.canary.version_id if routing.canary else ""
    for report in services.server.reports(routing.model):
        stopped = report.epoch == routing.epoch and report.weight_ppm < routing.weight_ppm
        if stopped and canary in report.loaded:
            return f"worker {report.worker} has taken the canary out of traffic by itself: its breaker has tripped"
    return None


def _analyse(services: Services, spec: ModelSpec, state: RolloutState, now: datetime) -> CanaryAnalysis:
    plan, stage = spec.rollout, _stage(spec.rollout, state)
    since = state.step_started_at
    report = services.records.get(f"{state.model}/{state.run}", PreflightReport)
    case = case_for(
        plan,
        spec.task,
        look=state.looks + 1,
        window=state.windows,
        stable_threshold=report.stable_threshold,
        canary_threshold=report.candidate_threshold,
        expected=report.expected,
    )
    return judge(
        _window(services, spec, state, report, now),
        case,
        task=spec.task,
        rollout=state.rollout,
        step=state.step,
        plan=stage,
        since=since,
        until=now,
        golden=_golden(services, state),
        products=plan.metrics,
    )


def _window(services: Services, spec: ModelSpec, state: RolloutState, report: PreflightReport, now: datetime) -> Window:
    plan, stage, since = spec.rollout, _stage(spec.rollout, state), state.step_started_at
    # Nothing changes when the bake begins, so nothing has to warm up.
    settled_from = since if state.step >= len(plan.steps) else since + stage.warm_up
    table = services.journal.read(state.model, since, now, state.rollout)
    if stage.labels:
        table = join_labels(services, spec, table, now)
    judged = metrics_of(stage, spec.task, plan.metrics)
    return read_window(
        table,
        rollout=state.rollout,
        weight_ppm=stage.weight_ppm,
        step_epoch=state.step_epoch,
        settled_from=settled_from,
        products=measure_products(
            services,
            spec,
            {name: metric for name, metric in plan.metrics.items() if name in judged},
            table,
            rollout=state.rollout,
            since=since,
            until=now,
            thresholds=(report.stable_threshold, report.candidate_threshold),
        ),
    )


def _stage(plan: RolloutSection, state: RolloutState) -> Stage:
    """What is judged by: the stage the rollout is in, in the bake the one whose weight it waits at."""
    return plan.stage_at(state.weight_ppm) if state.step >= len(plan.steps) else plan.stage(state.step)


def _golden(services: Services, state: RolloutState) -> Golden:
    golden = read_golden(services, state.candidate)
    rows = golden.rows[:GOLDEN_ROWS]
    try:
        scores = services.server.predict(state.model, rows, version_id=state.candidate.version_id)
    except (InfrastructureError, Rejection):
        # Not answered is not the same as answered wrongly: the judge calls it an error, which never passes.
        return Golden(0, math.inf, golden.tolerance)
    return Golden(len(rows), largest_difference(scores, golden.scores[:GOLDEN_ROWS]), golden.tolerance)


def _epitaph(state: RolloutState) -> str:
    took = state.withdraw_seconds
    speed = f"; traffic was back {took:.3f} s after the decision" if took is not None else ""
    return (
        f"{state.model}: version {state.candidate.version} was taken out in {stage_name(state.step)} "
        f"({state.phase.value.replace('_', ' ')}): {state.reason}{speed}"
    )
