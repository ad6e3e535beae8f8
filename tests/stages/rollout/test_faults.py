"""What goes wrong while a rollout runs: crashes between any two writes, lost races, silent servers, people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gauntlet.core.errors import Conflict, InfrastructureError, MissingRecord, RolloutAborted, SpecError
from gauntlet.core.ledger import Change
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.ledger import CandidateState
from gauntlet.core.records.rollout import CommandKind, PauseCause, Quarantine, RolloutPhase
from gauntlet.stages.command_rollout import command_rollout

MODEL = "loans"


class Killed(BaseException):
    """The process died here."""


class Mortal:
    """Lets a number of calls through to the real thing, then kills the process: before or after the call."""

    def __init__(self, world: Any, lives: int, *, after: bool) -> None:
        self.left, self.after = lives, after
        for owner, names in (
            (world.store.records, ("put",)),
            (world.store.ledger, ("swap", "commit")),
            (world.server, ("apply",)),
        ):
            for name in names:
                setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, call: Any) -> Any:
        def mortal(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0 and not self.after:
                raise Killed
            self.left -= 1
            answer = call(*args, **kwargs)
            if self.left < 0 and self.after:
                raise Killed
            return answer

        return mortal

    def rest(self) -> None:
        self.left = 10**9


def drive(world: Any, mortal: Mortal, act: Any) -> None:
    """Act until it ends by itself, coming back after every death."""
    try:
        act()
    except Killed:
        mortal.rest()
        act()
    finally:
        mortal.rest()


def bad(x: np.ndarray) -> np.ndarray:
    return np.clip(0.05 + 0.5 * x + 0.3, 0, 1)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("lives", range(7))
def test_killed_anywhere_a_step_is_entered_once(world: Any, lives: int, after: bool) -> None:
    world.start()
    world.clock.wait(1)
    world.traffic(200)
    world.clock.wait(1)
    mortal = Mortal(world, lives, after=after)
    drive(world, mortal, lambda: world.look(0))
    state = world.state()
    assert (state.phase, state.step, state.weight_ppm) == (RolloutPhase.STEP, 1, 500_000)
    assert world.routing.weight_ppm == 500_000
    assert world.server.routing == world.routing
    assert state.step_epoch <= world.routing.epoch
    entered = [entry for entry in world.store.audit.entries(MODEL) if entry.action == "rollout.entered"]
    assert len(entered) == 2
    assert world.look(1, wait=2, requests=200).step == 2


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("lives", range(9))
def test_killed_anywhere_a_roll_back_is_finished(world: Any, lives: int, after: bool) -> None:
    world.start()
    world.clock.wait(1)
    world.traffic(300, live={"id2": bad})
    world.clock.wait(1)
    mortal = Mortal(world, lives, after=after)
    with pytest.raises(RolloutAborted):
        drive(world, mortal, lambda: world.look(0))
    closed = world.close()
    assert closed.phase is RolloutPhase.ROLLED_BACK
    assert world.routing.canary is None
    assert world.server.routing.weight_ppm == 0
    assert len(world.store.records.newest(MODEL, Quarantine, limit=9)) == 1
    standing = world.store.ledger.standing(MODEL, closed.candidate.release_digest)
    assert standing.state is CandidateState.QUARANTINED
    withdrawn = [entry for entry in world.store.audit.entries(MODEL) if entry.action == "rollout.withdrawn"]
    assert len(withdrawn) == 1


def test_a_decided_roll_back_cannot_be_talked_out_of_it(world: Any) -> None:
    """The server does not answer; when it does, better numbers have come, but the decision stands."""
    world.start()
    world.clock.wait(1)
    world.traffic(300, live={"id2": bad})
    world.clock.wait(1)
    world.server.apply = lambda routing, timeout_s: (_ for _ in ()).throw(InfrastructureError("no answer"))
    with pytest.raises(InfrastructureError):
        world.look(0)
    del world.server.apply
    assert world.state().phase is RolloutPhase.ROLLING_BACK
    world.traffic(3000)
    with pytest.raises(RolloutAborted):
        world.look(0, wait=1)
    assert world.server.routing.canary is None


def test_a_dead_server_is_no_verdict(world: Any) -> None:
    world.start()
    world.server.down = True
    with pytest.raises(InfrastructureError):
        world.look(0, wait=2)
    assert world.state().phase is RolloutPhase.STEP
    with pytest.raises(InfrastructureError):
        world.close()
    world.server.down = False
    assert world.close().phase is RolloutPhase.ROLLED_BACK


def test_golden_rows_that_are_not_answered_never_pass(world: Any) -> None:
    world.start()
    world.server.predict = lambda *_, **__: (_ for _ in ()).throw(InfrastructureError("busy"))
    state = world.look(0, wait=2, requests=300)
    assert state.step == 0
    assert state.analysis.outcome is Outcome.ERROR
    del world.server.predict
    assert world.look(0).step == 1


def test_golden_rows_answered_otherwise_abort(world: Any) -> None:
    world.start()
    world.server.scores["id2"] = bad
    with pytest.raises(RolloutAborted, match="golden"):
        world.look(0, wait=0.5)


def test_a_lost_race_for_the_routing_is_tried_again_by_the_next_tick(world: Any) -> None:
    world.start()
    world.clock.wait(1)
    world.traffic(200)
    world.clock.wait(1)
    real = world.store.ledger.swap

    def beaten(*args: Any, **kwargs: Any) -> Any:
        raise Conflict("somebody was faster")

    world.store.ledger.swap = beaten
    with pytest.raises(Conflict):
        world.look(0)
    world.store.ledger.swap = real
    assert world.look(0).step == 1


def test_another_writer_ends_the_rollout_without_a_fight(world: Any) -> None:
    world.start()
    row = world.routing
    champion = world.store.ledger.champion(MODEL)
    third = world.release(3)
    from gauntlet.stages.releases import served

    world.store.ledger.commit(
        Change(
            model=MODEL,
            actor="ann",
            action="rollback",
            reason="night call",
            routing=row.model_copy(
                update={"stable": served(third), "canary": None, "weight_ppm": 0, "rollout": None, "lease_until": None}
            ),
            routing_epoch=row.epoch,
            champion_epoch=champion.epoch,
        )
    )
    epoch = world.routing.epoch
    with pytest.raises(RolloutAborted, match="changed by somebody else"):
        world.look(0, wait=1)
    assert world.state().phase is RolloutPhase.SUPERSEDED
    assert world.routing.epoch == epoch
    assert world.close().phase is RolloutPhase.SUPERSEDED


def test_a_tripped_breaker_ends_the_rollout(world: Any) -> None:
    world.start()
    world.server.tripped = True
    with pytest.raises(RolloutAborted, match="by itself"):
        world.look(0, wait=0.5)
    assert world.store.records.newest(MODEL, Quarantine)


def test_a_worker_that_has_only_just_started_is_no_breaker(world: Any) -> None:
    world.start()
    world.server.loaded.discard("id2")
    world.server.tripped = True  # no traffic for the canary, for want of it
    world.server.predict = lambda *_, **__: (_ for _ in ()).throw(InfrastructureError("loading"))
    state = world.look(0, wait=0.5)
    assert state.phase is RolloutPhase.STEP
    assert world.server.applied[-1] == world.routing


def test_a_lapsed_lease_starts_the_step_again(world: Any) -> None:
    world.start()
    world.traffic(400)
    epoch = world.routing.epoch
    state = world.look(0, wait=60)
    assert (state.step, state.phase) == (0, RolloutPhase.STEP)
    assert state.step_started_at == world.clock.now()
    assert world.routing.epoch > epoch
    assert world.routing.lease_until > world.clock.now()
    assert world.server.reports(MODEL)[0].weight_ppm == 50_000
    assert not world.look(0, wait=2).step_done(0)  # what came before the gap no longer counts
    assert world.look(0, wait=2, requests=300).step_done(0)


def test_the_lease_is_renewed_in_time_and_not_at_every_tick(world: Any) -> None:
    world.start()
    epoch = world.routing.epoch
    for _ in range(30):
        world.look(0, wait=1)
        assert world.routing.lease_until - world.clock.now() >= timedelta(seconds=5)
    assert 5 <= world.routing.epoch - epoch <= 10


def test_without_paired_scores_the_arms_are_compared(world: Any) -> None:
    world.start()
    world.look(0, wait=2, requests=1000, paired=False)
    with pytest.raises(RolloutAborted):
        world.look(1, wait=2, requests=1500, paired=False, live={"id2": bad})


def test_a_failing_canary_is_out_after_a_handful_of_requests(world: Any) -> None:
    world.start()
    with pytest.raises(RolloutAborted, match="error_rate"):
        world.look(0, wait=1, requests=150, canary_errors=1.0)


def test_one_invalid_score_ends_the_rollout(world: Any) -> None:
    world.start()
    with pytest.raises(RolloutAborted, match="invalid_outputs"):
        world.look(0, wait=1, requests=200, canary_errors=0.2, invalid=True)


def test_a_slow_canary_is_taken_out(world: Any) -> None:
    world.start()
    world.look(0, wait=2, requests=300)
    with pytest.raises(RolloutAborted, match="latency"):
        world.look(1, wait=2, requests=300, slow_ms=100)


# ---- people


def test_pause_resume_and_promote_by_hand(world: Any) -> None:
    world.start()
    command_rollout(world.services, MODEL, CommandKind.PAUSE, by="ann", reason="look at it first")
    state = world.look(0, wait=3, requests=300)
    assert (state.pause, state.step) == (PauseCause.MANUAL, 0)
    assert world.routing.weight_ppm == 50_000
    command_rollout(world.services, MODEL, CommandKind.RESUME, by="ann", reason="fine")
    state = world.look(0, wait=1)
    assert state.pause is None
    command_rollout(world.services, MODEL, CommandKind.PROMOTE, by="ann", reason="known from the shadow")
    assert world.look(state.step, wait=0.1).ready
    told = [entry.actor for entry in world.store.audit.entries(MODEL) if entry.action == "record.RolloutCommand"]
    assert told == ["ann", "ann", "ann"]


def test_abort_takes_traffic_back_before_any_tick(world: Any) -> None:
    world.start()
    command_rollout(world.services, MODEL, CommandKind.ABORT, by="ann", reason="customers call")
    assert world.server.routing.canary is None
    with pytest.raises(RolloutAborted, match="aborted by ann: customers call"):
        world.look(0, wait=1)
    assert world.state().phase is RolloutPhase.ROLLED_BACK
    assert not world.store.records.newest(MODEL, Quarantine)


def test_commands_need_a_name_a_reason_and_a_rollout(world: Any) -> None:
    with pytest.raises(MissingRecord, match="no rollout"):
        command_rollout(world.services, MODEL, CommandKind.PAUSE, by="ann", reason="r")
    world.start()
    with pytest.raises(SpecError, match="why"):
        command_rollout(world.services, MODEL, CommandKind.PAUSE, by="ann", reason=" ")
    with pytest.raises(SpecError, match="until when"):
        command_rollout(world.services, MODEL, CommandKind.HOLD_UNTIL, by="ann", reason="r")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("lives", range(5))
def test_killed_anywhere_one_candidate_supersedes_another_once(make_world: Any, lives: int, after: bool) -> None:
    world = make_world(on_new="supersede")
    world.champion()
    world.challenger()
    world.start()
    world.challenger(3, run="night-3")
    mortal = Mortal(world, lives, after=after)
    drive(world, mortal, lambda: world.open("canary-2"))
    assert world.state().phase is RolloutPhase.SUPERSEDED
    assert world.state("canary-2").candidate.version == 3
    assert world.routing.canary is None
    begun = world.start("canary-2")
    assert begun.phase is RolloutPhase.STEP
    # The teardown of the run that was overtaken leaves its successor alone.
    assert world.close().phase is RolloutPhase.SUPERSEDED
    assert world.routing.rollout == begun.rollout
    assert world.look(0, wait=2, requests=300, name="canary-2").step == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("lives", range(5))
def test_killed_anywhere_the_shadow_is_left_once(make_world: Any, lives: int, after: bool) -> None:
    world = make_world(shadow={"hold": "2s", "requests": 50})
    world.champion()
    world.challenger()
    world.start()
    world.clock.wait(1)
    world.traffic(200)
    world.clock.wait(1)
    mortal = Mortal(world, lives, after=after)
    drive(world, mortal, lambda: world.look(-1))
    state = world.state()
    assert (state.phase, state.step, world.routing.weight_ppm) == (RolloutPhase.STEP, 0, 50_000)
    assert world.server.routing == world.routing
    entered = [entry for entry in world.store.audit.entries(MODEL) if entry.action == "rollout.entered"]
    assert len(entered) == 2
