"""The rollout's state machine: what always holds, and each way it can go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import (
    OVER,
    CanaryAnalysis,
    CommandKind,
    MetricVerdict,
    PauseCause,
    RolloutCommand,
    RolloutPhase,
    RolloutState,
    ServedVersion,
)
from gauntlet.core.rollout import Alert, Observation, Route, Withdraw, advance, lease_renewal_due, missing_evidence
from gauntlet.core.specs.rollout import SHADOW, RolloutSection, ShadowSection

T0 = datetime(2026, 3, 1, 2, tzinfo=UTC)
PLAN = RolloutSection.model_validate({
    "steps": [
        {"weight": 1, "hold": "60s", "requests": 100, "max_hold": "10m"},
        {"weight": 10, "hold": "60s", "requests": 100, "entities": 50, "warm_up": "30s", "max_hold": "10m"},
        {"weight": 100, "hold": "60s", "requests": 100, "max_hold": "10m"},
    ]
})
IN_TRAFFIC = (RolloutPhase.SHADOW, RolloutPhase.STEP, RolloutPhase.PAUSED)


def version(number: int) -> ServedVersion:
    return ServedVersion(version=number, version_id=f"v{number}", release_uri="u", release_digest=f"d{number}")


def rollout(phase: RolloutPhase = RolloutPhase.STEP, step: int = 0, **changes: Any) -> RolloutState:
    weight = (
        0
        if step == SHADOW
        else PLAN.steps[min(step, 2)].weight_ppm
        if phase in IN_TRAFFIC or phase is RolloutPhase.BAKE
        else 0
    )
    return RolloutState(**{
        "rollout": "r",
        "model": "m",
        "run": "c1",
        "phase": phase,
        "step": step,
        "weight_ppm": weight,
        "candidate": version(2),
        "stable": version(1),
        "reason": "",
        "started_at": T0,
        "step_started_at": T0,
        "updated_at": T0,
        **changes,
    })


def analysis(outcome: Outcome = Outcome.PASSED, step: int = 0, **changes: Any) -> CanaryAnalysis:
    critical = changes.pop("critical", False)
    verdict = MetricVerdict(
        metric="error_rate",
        outcome=outcome,
        critical=critical,
        sentence=f"error_rate: {outcome.value}",
        stable=0.0,
        canary=0.0,
        limit=0.01,
        stable_n=100,
        canary_n=100,
    )
    return CanaryAnalysis(**{
        "rollout": "r",
        "step": step,
        "weight_ppm": 10_000,
        "outcome": outcome,
        "reason": verdict.sentence,
        "metrics": (verdict,),
        "since": T0,
        "until": T0,
        "requests": 1000,
        "entities": 1000,
        **changes,
    })


def command(kind: CommandKind, number: int = 1, **changes: Any) -> RolloutCommand:
    said = {"command": f"c{number}", "rollout": "r", "kind": kind, "by": "ann", "reason": "because", "at": T0}
    return RolloutCommand(**{**said, **changes})


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


ELSEWHERE = (RolloutPhase.SUPERSEDED, RolloutPhase.SHADOW)
phases = st.sampled_from([phase for phase in RolloutPhase if phase not in ELSEWHERE])
outcomes = st.sampled_from(list(Outcome))


@st.composite
def states(draw: st.DrawFn) -> RolloutState:
    phase = draw(phases)
    step = 3 if phase is RolloutPhase.BAKE else draw(st.integers(0, 2))
    pause = draw(st.sampled_from(list(PauseCause))) if phase is RolloutPhase.PAUSED else None
    return rollout(phase, step, pause=pause, looks=draw(st.integers(0, 9)))


@st.composite
def observations(draw: st.DrawFn, *, kinds: st.SearchStrategy[CommandKind] | None = None) -> Observation:
    judged = None
    if draw(st.booleans()):
        judged = analysis(
            draw(outcomes),
            draw(st.integers(0, 2)),
            requests=draw(st.sampled_from([0, 10, 1000])),
            complete=draw(st.booleans()),
            critical=draw(st.booleans()),
        )
    some = (
        kinds if kinds is not None else st.sampled_from([kind for kind in CommandKind if kind is not CommandKind.ABORT])
    )
    said = draw(st.lists(some, max_size=3))
    return Observation(
        analysis=judged,
        commands=[command(kind, number, until=after(900)) for number, kind in enumerate(said)],
        withdrawn=draw(st.sampled_from([None, "breaker"])),
        lapsed=draw(st.booleans()),
        frozen=draw(st.sampled_from([None, "holiday"])),
    )


moments = st.integers(0, 2000).map(after)


@given(states(), observations(), moments)
def test_every_observation_has_an_answer_and_a_reason(state: RolloutState, seen: Observation, now: datetime) -> None:
    transition = advance(state, PLAN, seen, now)
    assert transition.event
    assert RolloutState.model_validate(transition.state.model_dump()) == transition.state
    assert advance(state, PLAN, seen, now) == transition


@given(states(), observations(), moments)
def test_abort_beats_everything(state: RolloutState, seen: Observation, now: datetime) -> None:
    seen = Observation(
        analysis=seen.analysis,
        commands=[*seen.commands, command(CommandKind.ABORT, 9)],
        withdrawn=seen.withdrawn,
        superseded="somebody else",
        lapsed=seen.lapsed,
        frozen=seen.frozen,
    )
    transition = advance(state, PLAN, seen, now)
    if state.over:
        assert transition.state == state
        return
    assert transition.state.phase is RolloutPhase.ROLLING_BACK
    assert Withdraw() in transition.actions
    assert not any(isinstance(action, Route) for action in transition.actions)
    if state.phase is not RolloutPhase.ROLLING_BACK:
        assert "aborted by ann" in transition.state.reason
        assert not transition.state.harmful


@given(states(), observations(), moments)
def test_weight_is_only_ever_a_steps_and_rises_only_from_step_to_step(
    state: RolloutState, seen: Observation, now: datetime
) -> None:
    after_state = advance(state, PLAN, seen, now).state
    assert after_state.weight_ppm in {0, *(step.weight_ppm for step in PLAN.steps)}
    if after_state.weight_ppm > state.weight_ppm:
        assert after_state.step > state.step or state.phase is RolloutPhase.PREFLIGHT
        by_hand = any(one.kind in (CommandKind.PROMOTE, CommandKind.PROMOTE_STEP) for one in seen.commands)
        assert after_state.phase in IN_TRAFFIC or (after_state.phase is RolloutPhase.BAKE and by_hand)


@given(states(), observations(kinds=st.sampled_from([CommandKind.PAUSE, CommandKind.EXTEND])), moments)
def test_nothing_moves_on_without_evidence(state: RolloutState, seen: Observation, now: datetime) -> None:
    if state.phase not in IN_TRAFFIC:
        return
    judged = seen.analysis
    enough = (
        judged is not None
        and judged.step == state.step
        and judged.complete
        and judged.outcome.satisfied
        and missing_evidence(judged, PLAN.steps[state.step]) is None
    )
    after_state = advance(state, PLAN, seen, now).state
    if not enough or now - state.step_started_at < PLAN.steps[state.step].hold:
        assert after_state.step == state.step


@given(states(), observations(), moments)
def test_a_canary_in_traffic_always_has_a_lease(state: RolloutState, seen: Observation, now: datetime) -> None:
    transition = advance(state, PLAN, seen, now)
    routes = [action for action in transition.actions if isinstance(action, Route)]
    if transition.state.phase in (*IN_TRAFFIC, RolloutPhase.BAKE):
        assert routes == [Route(transition.state.weight_ppm, now + PLAN.lease)]
    else:
        assert not routes


@given(st.sampled_from(sorted(OVER)), observations(), moments)
def test_what_is_over_stays_over(phase: RolloutPhase, seen: Observation, now: datetime) -> None:
    state = rollout(phase, 1)
    assert advance(state, PLAN, seen, now).state == state


def test_preflight_leads_into_the_first_step() -> None:
    transition = advance(rollout(RolloutPhase.PREFLIGHT), PLAN, Observation(), after(1))
    assert (transition.state.phase, transition.state.weight_ppm) == (RolloutPhase.STEP, 10_000)
    assert transition.event == "entered"


def test_a_step_passes_on_time_counts_and_checks() -> None:
    transition = advance(rollout(), PLAN, Observation(analysis()), after(60))
    assert (transition.state.step, transition.state.weight_ppm) == (1, 100_000)
    assert transition.state.step_started_at == after(60)
    assert transition.state.looks == 0


@pytest.mark.parametrize(
    ("seconds", "judged", "why"),
    [
        (59, analysis(), "holding"),
        (60, None, "not judged"),
        (60, analysis(requests=99), "99 of 100 canary requests"),
        (60, analysis(Outcome.INCONCLUSIVE), "inconclusive"),
        (60, analysis(Outcome.ERROR), "error"),
        (60, analysis(complete=False), "passed"),
        (60, analysis(step=1), "not judged"),
    ],
)
def test_a_step_waits_for_what_is_missing(seconds: float, judged: CanaryAnalysis | None, why: str) -> None:
    transition = advance(rollout(), PLAN, Observation(judged), after(seconds))
    assert transition.state.step == 0
    assert why in transition.state.reason


def test_entities_are_waited_for() -> None:
    seen = Observation(analysis(step=1, entities=49))
    assert advance(rollout(step=1), PLAN, seen, after(95)).state.reason.startswith("waiting for evidence: 49 of 50")


def test_warm_up_is_added_to_the_hold_and_spares_what_is_not_critical() -> None:
    state = rollout(step=1)
    assert advance(state, PLAN, Observation(analysis(step=1)), after(80)).state.step == 1
    assert advance(state, PLAN, Observation(analysis(step=1)), after(90)).state.step == 2
    failed = Observation(analysis(Outcome.FAILED, step=1))
    assert advance(state, PLAN, failed, after(10)).state.phase is RolloutPhase.STEP
    assert advance(state, PLAN, failed, after(31)).state.phase is RolloutPhase.ROLLING_BACK
    critical = Observation(analysis(Outcome.FAILED, step=1, critical=True))
    assert advance(state, PLAN, critical, after(1)).state.phase is RolloutPhase.ROLLING_BACK


def test_a_failed_metric_rolls_back_and_condemns() -> None:
    transition = advance(rollout(), PLAN, Observation(analysis(Outcome.FAILED)), after(1))
    assert transition.state.phase is RolloutPhase.ROLLING_BACK
    assert transition.state.harmful
    assert transition.state.decided_at == after(1)
    assert transition.state.weight_ppm == 0
    assert any(isinstance(action, Alert) and action.severity == "critical" for action in transition.actions)


def test_last_step_ends_in_the_bake() -> None:
    state = advance(rollout(step=2), PLAN, Observation(analysis(step=2)), after(60)).state
    assert state.phase is RolloutPhase.BAKE
    assert state.ready
    assert state.step_done(2)


@pytest.mark.parametrize(
    ("policy", "judged", "phase", "pause"),
    [
        ("roll_back", analysis(Outcome.INCONCLUSIVE), RolloutPhase.ROLLING_BACK, None),
        ("pause", analysis(Outcome.INCONCLUSIVE), RolloutPhase.PAUSED, PauseCause.INCONCLUSIVE),
        ("extend", analysis(Outcome.INCONCLUSIVE), RolloutPhase.STEP, None),
        ("roll_back", analysis(requests=0), RolloutPhase.PAUSED, PauseCause.NO_TRAFFIC),
        ("extend", analysis(requests=0), RolloutPhase.PAUSED, PauseCause.NO_TRAFFIC),
    ],
)
def test_after_the_longest_hold(
    policy: str, judged: CanaryAnalysis, phase: RolloutPhase, pause: PauseCause | None
) -> None:
    plan = PLAN.model_copy(update={"on_max_hold": policy})
    state = advance(rollout(), plan, Observation(judged), after(600)).state
    assert (state.phase, state.pause) == (phase, pause)
    assert not state.harmful


def test_a_pause_without_traffic_alerts_once_and_ends_by_itself() -> None:
    first = advance(rollout(), PLAN, Observation(analysis(requests=0)), after(600))
    assert any(isinstance(action, Alert) for action in first.actions)
    again = advance(first.state, PLAN, Observation(analysis(requests=0)), after(630))
    assert not any(isinstance(action, Alert) for action in again.actions)
    assert advance(again.state, PLAN, Observation(analysis()), after(660)).state.step == 1


def test_a_person_pauses_and_resumes() -> None:
    paused = advance(rollout(), PLAN, Observation(analysis(), [command(CommandKind.PAUSE)]), after(60)).state
    assert (paused.phase, paused.pause, paused.step) == (RolloutPhase.PAUSED, PauseCause.MANUAL, 0)
    still = advance(paused, PLAN, Observation(analysis()), after(120)).state
    assert still.pause is PauseCause.MANUAL
    failed = advance(paused, PLAN, Observation(analysis(Outcome.FAILED)), after(120)).state
    assert failed.phase is RolloutPhase.ROLLING_BACK
    resumed = advance(still, PLAN, Observation(analysis(), [command(CommandKind.RESUME, 2)]), after(130)).state
    assert resumed.pause is None
    assert resumed.commands == ("c1", "c2")


def test_a_person_promotes_a_step_or_all() -> None:
    step = advance(rollout(), PLAN, Observation(None, [command(CommandKind.PROMOTE_STEP)]), after(1)).state
    assert (step.step, step.weight_ppm) == (1, 100_000)
    full = advance(rollout(), PLAN, Observation(None, [command(CommandKind.PROMOTE)]), after(1)).state
    assert full.phase is RolloutPhase.BAKE
    assert full.weight_ppm == 10_000


def test_a_failed_metric_beats_a_promotion_by_hand() -> None:
    seen = Observation(analysis(Outcome.FAILED), [command(CommandKind.PROMOTE)])
    assert advance(rollout(), PLAN, seen, after(1)).state.phase is RolloutPhase.ROLLING_BACK


def test_hold_until() -> None:
    held = advance(
        rollout(), PLAN, Observation(None, [command(CommandKind.HOLD_UNTIL, until=after(300))]), after(1)
    ).state
    assert advance(held, PLAN, Observation(analysis()), after(299)).state.step == 0
    assert advance(held, PLAN, Observation(analysis()), after(300)).state.step == 1


def test_a_command_is_carried_out_once() -> None:
    seen = Observation(None, [command(CommandKind.PROMOTE_STEP, 1), command(CommandKind.PROMOTE_STEP, 2)])
    state = advance(rollout(), PLAN, seen, after(1)).state
    assert (state.step, state.commands) == (2, ("c1", "c2"))


def test_a_command_that_makes_no_sense_is_said_to_change_nothing() -> None:
    transition = advance(rollout(), PLAN, Observation(None, [command(CommandKind.RESUME)]), after(1))
    assert "changes nothing" in transition.state.reason
    assert transition.state.step == 0


def test_a_lapsed_lease_starts_the_step_again() -> None:
    transition = advance(rollout(step=1), PLAN, Observation(lapsed=True), after(400))
    assert (transition.event, transition.state.step) == ("restarted", 1)
    assert transition.state.step_started_at == after(400)


def test_windows_of_a_stage_are_counted_whatever_made_it_start_again() -> None:
    state = advance(rollout(RolloutPhase.PREFLIGHT), PLAN, Observation(), after(1)).state
    assert state.windows == 1
    state = advance(state, PLAN, Observation(lapsed=True), after(400)).state
    state = advance(state, PLAN, Observation(lapsed=True), after(800)).state
    assert (state.step, state.windows) == (0, 3)
    assert advance(state, PLAN, Observation(analysis()), after(860)).state.windows == 1


def test_a_lapsed_lease_does_not_resume_what_a_person_has_paused() -> None:
    paused = rollout(RolloutPhase.PAUSED, 1, pause=PauseCause.MANUAL)
    state = advance(paused, PLAN, Observation(lapsed=True), after(400)).state
    assert (state.phase, state.pause, state.step_started_at) == (RolloutPhase.PAUSED, PauseCause.MANUAL, after(400))


def test_a_breaker_rolls_back() -> None:
    state = advance(rollout(), PLAN, Observation(withdrawn="breaker of w1"), after(1)).state
    assert state.phase is RolloutPhase.ROLLING_BACK
    assert state.harmful


def test_a_freeze_pauses_and_thaws() -> None:
    frozen = advance(rollout(), PLAN, Observation(analysis(), frozen="holiday"), after(60)).state
    assert frozen.pause is PauseCause.FREEZE
    assert frozen.weight_ppm == 10_000
    assert advance(frozen, PLAN, Observation(analysis()), after(61)).state.step == 1


def test_a_rollout_does_not_begin_in_a_freeze() -> None:
    frozen = advance(rollout(RolloutPhase.PREFLIGHT), PLAN, Observation(frozen="holiday"), after(1))
    assert frozen.state.phase is RolloutPhase.PREFLIGHT
    assert not frozen.actions
    assert advance(frozen.state, PLAN, Observation(), after(2)).state.phase is RolloutPhase.STEP


def test_an_old_rollout_expires() -> None:
    transition = advance(rollout(), PLAN, Observation(analysis()), T0 + PLAN.deadline + timedelta(seconds=1))
    assert transition.state.phase is RolloutPhase.EXPIRED
    assert Withdraw() in transition.actions


@given(left=st.floats(-100, 1000), tick=st.integers(1, 100), more=st.floats(0.1, 1000))
def test_a_lease_never_runs_out_between_two_ticks_in_time(left: float, tick: int, more: float) -> None:
    plan = PLAN.model_copy(update={"tick": timedelta(seconds=tick), "lease": timedelta(seconds=2 * tick + more)})
    if not lease_renewal_due(after(left), plan, T0):
        assert left >= tick * 2


def test_an_incomplete_window_begins_again_and_at_last_waits_for_a_person() -> None:
    broken = Observation(analysis(complete=False))
    assert advance(rollout(), PLAN, broken, after(119)).state.step_started_at == T0
    first = advance(rollout(), PLAN, broken, after(120))
    assert (first.event, first.state.restarts, first.state.step_started_at) == ("restarted", 1, after(120))
    second = advance(first.state, PLAN, broken, after(240)).state
    paused = advance(second, PLAN, broken, after(360)).state
    assert (paused.pause, paused.restarts, paused.step) == (PauseCause.INCOMPLETE, 2, 0)
    assert not advance(paused, PLAN, broken, after(10_000)).state.step_done(0)
    resumed = advance(paused, PLAN, Observation(None, [command(CommandKind.RESUME)]), after(400))
    assert (resumed.state.phase, resumed.state.step_started_at) == (RolloutPhase.STEP, after(400))
    assert advance(resumed.state, PLAN, Observation(analysis()), after(460)).state.step == 1


# ---- the shadow, plans that end with a question, and time


SHADOWED = PLAN.model_copy(update={"shadow": ShadowSection(hold="60s", requests=100, max_hold="10m")})


def shadowing(**changes: Any) -> RolloutState:
    return rollout(RolloutPhase.SHADOW, SHADOW, **changes)


def test_the_shadow_comes_before_the_first_step_and_has_no_weight_but_a_lease() -> None:
    begun = advance(rollout(RolloutPhase.PREFLIGHT), SHADOWED, Observation(), after(1))
    assert (begun.state.phase, begun.state.step, begun.state.weight_ppm) == (RolloutPhase.SHADOW, SHADOW, 0)
    assert begun.actions == (Route(0, after(1) + SHADOWED.lease),)
    assert not begun.state.step_done(SHADOW)


def test_the_shadow_passes_on_time_counts_and_checks_into_the_first_step() -> None:
    seen = Observation(analysis(step=SHADOW))
    assert advance(shadowing(), SHADOWED, seen, after(59)).state.phase is RolloutPhase.SHADOW
    few = advance(shadowing(), SHADOWED, Observation(analysis(step=SHADOW, requests=3)), after(60)).state
    assert "3 of 100 requests scored by both" in few.reason
    passed = advance(shadowing(), SHADOWED, seen, after(60)).state
    assert (passed.phase, passed.step, passed.weight_ppm) == (RolloutPhase.STEP, 0, 10_000)
    assert passed.step_done(SHADOW)
    assert not passed.step_done(0)


def test_a_challenger_that_fails_in_the_shadow_never_gets_traffic() -> None:
    failed = Observation(analysis(Outcome.FAILED, step=SHADOW))
    state = advance(shadowing(), SHADOWED, failed, after(10)).state
    assert (state.phase, state.harmful) == (RolloutPhase.ROLLING_BACK, True)


@pytest.mark.parametrize("kind", [CommandKind.PAUSE, CommandKind.RESUME])
def test_the_shadow_can_be_paused_and_goes_on_as_shadow(kind: CommandKind) -> None:
    state = advance(shadowing(), SHADOWED, Observation(None, [command(CommandKind.PAUSE)]), after(1)).state
    assert (state.phase, state.weight_ppm) == (RolloutPhase.PAUSED, 0)
    if kind is CommandKind.RESUME:
        state = advance(state, SHADOWED, Observation(None, [command(kind, 2)]), after(2)).state
        assert state.phase is RolloutPhase.SHADOW


def test_a_lapsed_lease_begins_the_shadow_again() -> None:
    state = advance(shadowing(), SHADOWED, Observation(lapsed=True), after(90)).state
    assert (state.phase, state.step, state.step_started_at) == (RolloutPhase.SHADOW, SHADOW, after(90))


def test_a_plan_that_asks_waits_for_a_person_at_its_end() -> None:
    asks = PLAN.model_copy(update={"finish": "ask"})
    ended = advance(rollout(step=2), asks, Observation(analysis(step=2)), after(60))
    assert (ended.state.phase, ended.state.pause) == (RolloutPhase.PAUSED, PauseCause.MANUAL)
    assert ended.state.weight_ppm == 1_000_000
    assert any(isinstance(action, Alert) for action in ended.actions)
    again = advance(ended.state, asks, Observation(analysis(step=2)), after(90))
    assert not any(isinstance(action, Alert) for action in again.actions)
    promoted = advance(again.state, asks, Observation(None, [command(CommandKind.PROMOTE)]), after(91)).state
    assert promoted.phase is RolloutPhase.BAKE


def test_silence_ends_in_a_pause_with_an_alert_even_without_a_longest_hold() -> None:
    step = PLAN.steps[0].model_copy(update={"max_hold": None})
    plan = PLAN.model_copy(update={"steps": (step, *PLAN.steps[1:])})
    silent = Observation(analysis(Outcome.INCONCLUSIVE, requests=0))
    assert advance(rollout(), plan, silent, after(119)).state.phase is RolloutPhase.STEP
    paused = advance(rollout(), plan, silent, after(120))
    assert paused.state.pause is PauseCause.NO_TRAFFIC
    assert any(isinstance(action, Alert) for action in paused.actions)
    assert advance(paused.state, plan, Observation(analysis()), after(150)).state.step == 1


def test_a_person_gives_a_stage_more_time_than_its_longest_hold() -> None:
    more = command(CommandKind.EXTEND, until=after(1200))
    state = advance(rollout(), PLAN, Observation(None, [more]), after(1)).state
    unsure = Observation(analysis(Outcome.INCONCLUSIVE))
    assert advance(state, PLAN, unsure, after(1199)).state.phase is RolloutPhase.STEP
    assert advance(state, PLAN, unsure, after(1200)).state.phase is RolloutPhase.ROLLING_BACK
    assert advance(state, PLAN, Observation(analysis()), after(60)).state.step == 1


def test_the_time_to_a_verdict_is_in_the_sentence() -> None:
    seen = Observation(analysis(requests=40, seconds_to_verdict=7500.0))
    assert "at this traffic a verdict in about 2 h 5 min" in advance(rollout(), PLAN, seen, after(70)).state.reason
    assert "a verdict in about 2 h 5 min" in advance(rollout(), PLAN, seen, after(10)).state.reason


@st.composite
def shadow_states(draw: st.DrawFn) -> RolloutState:
    paused = draw(st.sampled_from([None, *PauseCause]))
    phase = RolloutPhase.PAUSED if paused else RolloutPhase.SHADOW
    return rollout(phase, SHADOW, pause=paused, looks=draw(st.integers(0, 9)))


@given(shadow_states(), observations(), st.sampled_from([SHADOW, 0]), moments)
def test_whatever_is_seen_the_shadow_has_a_lease_and_no_weight(
    state: RolloutState, seen: Observation, step: int, now: datetime
) -> None:
    if seen.analysis is not None:
        seen = replace(seen, analysis=seen.analysis.model_copy(update={"step": step}))
    transition = advance(state, SHADOWED, seen, now)
    after_state = transition.state
    assert transition.event
    routes = [action for action in transition.actions if isinstance(action, Route)]
    if after_state.phase in (*IN_TRAFFIC, RolloutPhase.BAKE):
        assert routes == [Route(after_state.weight_ppm, now + SHADOWED.lease)]
    else:
        assert not routes
    if after_state.step == SHADOW:
        assert after_state.weight_ppm == 0
        assert not after_state.step_done(SHADOW) or after_state.ready
    enough = (
        seen.analysis is not None
        and seen.analysis.step == SHADOW
        and seen.analysis.complete
        and seen.analysis.outcome.satisfied
        and missing_evidence(seen.analysis, SHADOWED.stage(SHADOW)) is None
    )
    by_hand = any(one.kind in (CommandKind.PROMOTE, CommandKind.PROMOTE_STEP) for one in seen.commands)
    if after_state.weight_ppm:
        assert enough or by_hand
