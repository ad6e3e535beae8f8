"""The rollout as a state machine: one pure function from what is known to what is done next.

``pending → preflight → shadow → step(i) → bake → promoted``, out of any of which ``rolling_back → rolled_back``. The
shadow is the stage before the first step and goes by the same rules. A pause is a phase of its own and keeps the
weight: the share of traffic does not change while people think. In the bake, where a candidate waits for an approval
or the end of a freeze, it is judged on as in the stage whose weight it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gauntlet.core.duration import words
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import (
    CanaryAnalysis,
    CommandKind,
    PauseCause,
    RolloutCommand,
    RolloutPhase,
    RolloutState,
)
from gauntlet.core.specs.rollout import SHADOW, RolloutSection, Stage, stage_name


@dataclass(frozen=True)
class Observation:
    """All that one tick saw. ``commands`` are those not carried out yet, oldest first.

    ``withdrawn`` says that traffic has left the canary without this rollout's doing (a breaker, another writer), and
    why; ``superseded`` names what has taken the rollout's place; ``lapsed`` that the lease ran out since the last tick.
    """

    analysis: CanaryAnalysis | None = None
    commands: Sequence[RolloutCommand] = ()
    withdrawn: str | None = None
    superseded: str | None = None
    lapsed: bool = False
    frozen: str | None = None


@dataclass(frozen=True)
class Route:
    """Give the canary this weight, and a lease until then."""

    weight_ppm: int
    lease_until: datetime


@dataclass(frozen=True)
class Withdraw:
    """Take the canary out of the routing."""


@dataclass(frozen=True)
class Alert:
    """Tell people."""

    severity: str
    text: str


Action = Route | Withdraw | Alert


@dataclass(frozen=True)
class Transition:
    """What follows from one observation: the next state, what to do for it, and what happened in one word."""

    state: RolloutState
    actions: tuple[Action, ...]
    event: str


def advance(state: RolloutState, plan: RolloutSection, observation: Observation, now: datetime) -> Transition:
    """The next state of a rollout. Pure, and total: every state and observation has exactly one answer.

    In order: an ended rollout stays ended; an abort beats everything; then what makes going on impossible (another
    writer, a breaker, a failed metric, the deadline); then people's other commands; then the step's own progress.
    """
    if state.over:
        return Transition(state, (), "over")
    if state.phase is RolloutPhase.ROLLING_BACK:
        return Transition(state, (Withdraw(),), "rolling_back")
    ending = _ending(state, plan, observation, now)
    if ending is not None:
        return ending
    state = _observed(state, observation, now)
    state, commanded = _obey(state, plan, observation, now)
    if commanded is not None:
        return commanded
    return _progress(state, plan, observation, now)


MAX_RESTARTS = 2
"""A journal that is incomplete time and again needs a person."""


def enter(state: RolloutState, plan: RolloutSection, step: int, now: datetime, reason: str) -> Transition:
    """Begin a stage at its weight, with a fresh window, or the bake when there is no further one."""
    if step >= len(plan.steps):
        done = _window(state, now).model_copy(
            update={"phase": RolloutPhase.BAKE, "step": len(plan.steps), "pause": None, "reason": reason}
        )
        return Transition(done, (_route(done.weight_ppm, plan, now),), "passed")
    weight = plan.stage(step).weight_ppm
    again = step == state.step and state.phase in _STEPPING
    entered = _moved(
        state,
        now,
        phase=_running(step),
        step=step,
        weight_ppm=weight,
        step_started_at=now,
        looks=0,
        windows=state.windows + 1 if again else 1,
        restarts=state.restarts if step == state.step else 0,
        pause=None,
        hold_until=None,
        extended_until=None,
        reason=reason,
    )
    return Transition(entered, (_route(weight, plan, now),), "entered")


def finish(state: RolloutState, phase: RolloutPhase, now: datetime, reason: str) -> RolloutState:
    """The state at the end of a rollout, however it ended."""
    return _moved(state, now, phase=phase, weight_ppm=0, reason=reason)


def lease_renewal_due(lease_until: datetime | None, plan: RolloutSection, now: datetime) -> bool:
    """Whether a lease must be renewed now: another tick may come a whole tick late and must still find it valid."""
    return lease_until is None or lease_until - now < plan.lease / 2 + plan.tick


def is_paused_at_the_end(plan: RolloutSection, state: RolloutState) -> bool:
    """Whether a person has paused a rollout in its bake, when nothing but promotion was left."""
    return state.phase is RolloutPhase.PAUSED and bool(plan.steps) and state.step >= len(plan.steps)


def missing_evidence(analysis: CanaryAnalysis, step: Stage) -> str | None:
    """What a stage still waits for in counts, as words."""
    requests = "canary requests" if step.weight_ppm else "requests scored by both"
    counts = (
        (requests, analysis.requests, step.requests),
        ("entities", analysis.entities, step.entities),
        ("labels", analysis.labels, step.labels),
    )
    missing = [f"{seen} of {needed} {what}" for what, seen, needed in counts if seen < needed]
    return ", ".join(missing) or None


def _ending(state: RolloutState, plan: RolloutSection, seen: Observation, now: datetime) -> Transition | None:
    abort = next((command for command in seen.commands if command.kind is CommandKind.ABORT), None)
    if abort is not None:
        state = _carried_out(state, seen.commands)
        return _roll_back(state, now, f"aborted by {abort.by}: {abort.reason}")
    if seen.superseded is not None:
        ended = finish(state, RolloutPhase.SUPERSEDED, now, seen.superseded)
        return Transition(ended, (Withdraw(), Alert("warning", seen.superseded)), "superseded")
    if seen.withdrawn is not None:
        return _roll_back(state, now, seen.withdrawn, harmful=True)
    if seen.analysis is not None and _condemned(state, plan, seen.analysis, now):
        return _roll_back(_observed(state, seen, now), now, seen.analysis.reason, harmful=True)
    if now - state.started_at > plan.deadline:
        ended = finish(state, RolloutPhase.EXPIRED, now, f"older than its deadline of {plan.deadline}")
        return Transition(ended, (Withdraw(), Alert("warning", ended.reason)), "expired")
    return None


def _condemned(state: RolloutState, plan: RolloutSection, analysis: CanaryAnalysis, now: datetime) -> bool:
    """A critical metric counts from the first request, any other when the warm-up is over."""
    if analysis.step != state.step:
        return False
    if analysis.critical:
        return True
    warm = state.step < len(plan.steps) and now - state.step_started_at < plan.stage(state.step).warm_up
    return analysis.outcome is Outcome.FAILED and not warm


def _obey(
    state: RolloutState, plan: RolloutSection, seen: Observation, now: datetime
) -> tuple[RolloutState, Transition | None]:
    """Carry out commands in order; the last one that moves the rollout decides where it goes."""
    moved: Transition | None = None
    for command in seen.commands:
        said = f"{command.kind.value} by {command.by}: {command.reason}"
        state = _carried_out(moved.state if moved else state, (command,))
        if seen.frozen is not None and command.kind in _FORWARD:
            why = f"{command.kind.value} by {command.by} is not carried out, frozen: {seen.frozen}"
            stay = (_route(state.weight_ppm, plan, now),) if state.phase in _IN_TRAFFIC else ()
            moved = Transition(_moved(state, now, reason=why), (*stay, Alert("warning", why)), "refused")
            state = moved.state
            continue
        moved = _command(state, plan, command, now, said)
        state = moved.state
    return state, moved


def _command(
    state: RolloutState, plan: RolloutSection, command: RolloutCommand, now: datetime, said: str
) -> Transition:
    stay = (_route(state.weight_ppm, plan, now),) if state.phase in _IN_TRAFFIC else ()
    match command.kind:
        case CommandKind.PAUSE if state.phase in _IN_TRAFFIC:
            return Transition(_paused(state, PauseCause.MANUAL, now, said), stay, "paused")
        case CommandKind.RESUME if state.pause is PauseCause.MANUAL:
            phase = RolloutPhase.BAKE if state.step >= len(plan.steps) else _running(state.step)
            again = _moved(state, now, phase=phase, pause=None, reason=said)
            return Transition(again, stay, "resumed")
        case CommandKind.RESUME if state.phase is RolloutPhase.PAUSED:
            begun = enter(state.model_copy(update={"restarts": 0}), plan, state.step, now, said)
            return Transition(begun.state, begun.actions, "restarted")
        case CommandKind.PROMOTE_STEP if state.phase in _STEPPING:
            return enter(state, plan, state.step + 1, now, said)
        case CommandKind.PROMOTE if state.phase in _STEPPING:
            return enter(state, plan, len(plan.steps), now, said)
        case CommandKind.EXTEND if command.until is not None and state.phase in _STEPPING:
            return Transition(_moved(state, now, extended_until=command.until, reason=said), stay, "extended")
        case CommandKind.HOLD_UNTIL if command.until is not None and state.phase in _STEPPING:
            return Transition(_moved(state, now, hold_until=command.until, reason=said), stay, "held")
    nothing = f"{command.kind.value} changes nothing in phase {state.phase.value}"
    return Transition(_moved(state, now, reason=nothing), stay, "ignored")


def _progress(state: RolloutState, plan: RolloutSection, seen: Observation, now: datetime) -> Transition:
    if state.phase is RolloutPhase.PENDING:
        return Transition(state, (), "waiting")
    if state.phase is RolloutPhase.PREFLIGHT:
        first = plan.stages[0]
        if seen.frozen is not None:
            return Transition(_moved(state, now, reason=f"waits to begin, frozen: {seen.frozen}"), (), "waiting")
        return enter(state, plan, first, now, f"begins with {_named(first, plan)}")
    if state.phase is RolloutPhase.BAKE:
        return Transition(_baked(state, plan, seen, now), (_route(state.weight_ppm, plan, now),), "ready")
    if seen.lapsed:
        text = f"lease lapsed, the canary had no traffic: {stage_name(state.step)} starts again"
        again = enter(state, plan, state.step, now, text)
        begun = _paused(again.state, state.pause, now, text) if state.pause is PauseCause.MANUAL else again.state
        return Transition(begun, (*again.actions, Alert("warning", text)), "restarted")
    if state.pause is PauseCause.MANUAL:
        paused = _baked(state, plan, seen, now) if state.step >= len(plan.steps) else state
        return Transition(paused, (_route(state.weight_ppm, plan, now),), "paused")
    if seen.frozen is not None:
        return _pause(state, plan, PauseCause.FREEZE, now, f"frozen: {seen.frozen}")
    return _step(state, plan, seen.analysis, now)


def _baked(state: RolloutState, plan: RolloutSection, seen: Observation, now: datetime) -> RolloutState:
    """The wait for a promotion goes on, judged window by window.

    A window that speaks for the candidate ends with the stage's hold and the next one begins: what was good for days
    must not hide what is bad now. One with holes stays so, and is begun anew as well.
    """
    if seen.lapsed:
        return _window(state, now)
    if seen.analysis is None or seen.analysis.step != state.step:
        return state
    stage = plan.stage_at(state.weight_ppm)
    waited = now - state.step_started_at
    lacking = _lacking(seen.analysis, state, stage)
    if lacking is None and waited >= stage.hold:
        return _window(state, now)
    incomplete = lacking is not None and lacking[0] is PauseCause.INCOMPLETE
    return _window(state, now) if incomplete and waited >= 2 * stage.hold else state


def _window(state: RolloutState, now: datetime) -> RolloutState:
    """A fresh window of evidence at the same weight; each has its own part of ``alpha``."""
    return _moved(state, now, step_started_at=now, looks=0, windows=state.windows + 1)


def _step(state: RolloutState, plan: RolloutSection, analysis: CanaryAnalysis | None, now: datetime) -> Transition:
    step = plan.stage(state.step)
    waited = now - state.step_started_at
    held = waited >= step.warm_up + step.hold and (state.hold_until is None or now >= state.hold_until)
    lacking = _lacking(analysis, state, step)
    if held and lacking is None:
        return _passed(state, plan, now)
    if lacking and waited >= 2 * (step.warm_up + step.hold):
        if lacking[0] is PauseCause.INCOMPLETE:
            return _begin_again(state, plan, lacking[1], now)
        if lacking[0] is PauseCause.NO_TRAFFIC:
            return _pause(state, plan, PauseCause.NO_TRAFFIC, now, lacking[1])
    patience = step.max_hold is not None and waited >= step.max_hold and held
    if patience and lacking is not None and (state.extended_until is None or now >= state.extended_until):
        return _out_of_patience(state, plan, lacking, now)
    reason = lacking[1] if lacking else f"holding at {step.weight:g} % for {_left(step, state, now)} more"
    waiting = _moved(state, now, phase=_running(state.step), pause=None, reason=reason + _verdict_in(analysis))
    return Transition(waiting, (_route(state.weight_ppm, plan, now),), "waiting")


def _passed(state: RolloutState, plan: RolloutSection, now: datetime) -> Transition:
    last = state.step + 1 >= len(plan.steps)
    passed = f"{stage_name(state.step)} of {len(plan.steps)} passed" if plan.steps else "shadow passed"
    if last and plan.finish == "ask":
        told = f"{passed}, and the plan with it: promote it, or abort"
        paused = _paused(state, PauseCause.MANUAL, now, told)
        return Transition(paused, (_route(state.weight_ppm, plan, now), Alert("info", told)), "finished")
    following = "" if last else f", on to {plan.stage(state.step + 1).weight:g} %"
    return enter(state, plan, state.step + 1, now, passed + following)


def _named(number: int, plan: RolloutSection) -> str:
    if number == SHADOW:
        return "the shadow: the challenger scores, and answers nothing"
    return f"step {number + 1} of {len(plan.steps)} at {plan.stage(number).weight:g} %"


def _running(step: int) -> RolloutPhase:
    return RolloutPhase.SHADOW if step == SHADOW else RolloutPhase.STEP


def _begin_again(state: RolloutState, plan: RolloutSection, why: str, now: datetime) -> Transition:
    """What the journal has lost stays lost: only a window that begins now can become a complete one."""
    if state.restarts >= MAX_RESTARTS:
        return _pause(state, plan, PauseCause.INCOMPLETE, now, why)
    again = enter(state, plan, state.step, now, f"{stage_name(state.step)} starts again: {why}")
    counted = again.state.model_copy(update={"restarts": state.restarts + 1})
    return Transition(counted, (*again.actions, Alert("warning", counted.reason)), "restarted")


def _lacking(analysis: CanaryAnalysis | None, state: RolloutState, step: Stage) -> tuple[PauseCause, str] | None:
    """Why the step cannot pass on this evidence."""
    if analysis is None or analysis.step != state.step:
        return PauseCause.INCONCLUSIVE, "not judged yet"
    if not analysis.complete:
        return PauseCause.INCOMPLETE, analysis.reason
    missing = missing_evidence(analysis, step)
    if missing is not None:
        cause = PauseCause.INCONCLUSIVE if analysis.requests else PauseCause.NO_TRAFFIC
        return cause, f"waiting for evidence: {missing}"
    if not analysis.outcome.satisfied:
        return PauseCause.INCONCLUSIVE, analysis.reason
    return None


def _out_of_patience(
    state: RolloutState, plan: RolloutSection, lacking: tuple[PauseCause, str], now: datetime
) -> Transition:
    """The longest wait is over: as the spec says, except that silence is no evidence against the challenger."""
    cause, why = lacking
    if plan.on_max_hold == "roll_back" and cause is PauseCause.INCONCLUSIVE:
        return _roll_back(state, now, f"no verdict within the longest hold: {why}")
    if plan.on_max_hold == "extend" and cause is PauseCause.INCONCLUSIVE:
        extended = _moved(state, now, phase=_running(state.step), pause=None, reason=f"extended: {why}")
        return Transition(extended, (_route(state.weight_ppm, plan, now),), "extended")
    return _pause(state, plan, cause, now, why)


def _pause(state: RolloutState, plan: RolloutSection, cause: PauseCause, now: datetime, why: str) -> Transition:
    new = state.pause is not cause
    paused = _paused(state, cause, now, why)
    alert = (Alert("warning", f"rollout paused, {cause.value.replace('_', ' ')}: {why}"),) if new else ()
    return Transition(paused, (_route(state.weight_ppm, plan, now), *alert), "paused")


def _roll_back(state: RolloutState, now: datetime, reason: str, *, harmful: bool = False) -> Transition:
    back = _moved(
        state, now, phase=RolloutPhase.ROLLING_BACK, weight_ppm=0, reason=reason, decided_at=now, harmful=harmful
    )
    return Transition(back, (Withdraw(), Alert("critical", f"rolling back: {reason}")), "rolling_back")


def _paused(state: RolloutState, cause: PauseCause, now: datetime, why: str) -> RolloutState:
    return _moved(state, now, phase=RolloutPhase.PAUSED, pause=cause, reason=why)


def _route(weight_ppm: int, plan: RolloutSection, now: datetime) -> Route:
    return Route(weight_ppm, now + plan.lease)


def _observed(state: RolloutState, seen: Observation, now: datetime) -> RolloutState:
    if seen.analysis is None:
        return state
    return _moved(state, now, analysis=seen.analysis, looks=state.looks + 1)


def _carried_out(state: RolloutState, commands: Sequence[RolloutCommand]) -> RolloutState:
    done = [command.command for command in commands if command.command not in state.commands]
    return state.model_copy(update={"commands": (*state.commands, *done)})


def _moved(state: RolloutState, now: datetime, **changes: object) -> RolloutState:
    return state.model_copy(update={"updated_at": now, **changes})


def _left(step: Stage, state: RolloutState, now: datetime) -> str:
    until = state.step_started_at + step.warm_up + step.hold
    until = max(until, state.hold_until) if state.hold_until else until
    return words(max(timedelta(0), until - now).total_seconds())


def _verdict_in(analysis: CanaryAnalysis | None) -> str:
    """How long a verdict takes at the traffic there is."""
    if analysis is None or not analysis.seconds_to_verdict:
        return ""
    return f"; at this traffic a verdict in about {words(analysis.seconds_to_verdict)}"


_STEPPING = frozenset({RolloutPhase.SHADOW, RolloutPhase.STEP, RolloutPhase.PAUSED})
_FORWARD = frozenset({CommandKind.PROMOTE_STEP, CommandKind.PROMOTE})
_IN_TRAFFIC = _STEPPING | {RolloutPhase.BAKE}
